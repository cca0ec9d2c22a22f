//! A cluster in K3s's shape on real nodes, upgraded by Drydock while it is used: needs root, Go and the built programs
//! (`cargo build --workspace`); `tests/run lab` does it all.
//! `cargo test -p drydock-lab --test kubernetes -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::{Datastore, Scenario};

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn servers_then_agents_are_upgraded_while_the_cluster_is_used_and_a_blocking_budget_is_named() -> Result<()> {
    if !drydock_test_cluster::here() {
        return Ok(());
    }
    Scenario::Kubernetes.play()
}

fn one_server(datastore: Datastore) -> Result<()> {
    if !drydock_test_cluster::here_with_all("DRYDOCK_LAB_ALL") {
        return Ok(());
    }
    Scenario::OneServer(datastore).play()
}

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn one_server_over_sqlite_goes_down_only_where_the_plan_accepts_it_and_its_backup_is_restored() -> Result<()>
{
    one_server(Datastore::Sqlite)
}

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn one_server_over_its_own_etcd_goes_down_only_where_the_plan_accepts_it() -> Result<()> {
    one_server(Datastore::Etcd)
}

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn one_server_over_a_datastore_of_others_wants_the_plan_to_say_who_saves_it() -> Result<()> {
    one_server(Datastore::External)
}
