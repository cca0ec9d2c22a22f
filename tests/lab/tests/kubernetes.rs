//! A cluster in K3s's shape on real nodes, upgraded by Drydock while it is used: needs root, Go and the built programs
//! (`cargo build --workspace`); `tests/run lab` does it all.
//! `cargo test -p drydock-lab --test kubernetes -- --ignored --nocapture --test-threads=1`

use anyhow::Result;
use drydock_lab::scenarios::Scenario;

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn servers_then_agents_are_upgraded_while_the_cluster_is_used_and_a_blocking_budget_is_named() -> Result<()> {
    if !drydock_test_cluster::here() {
        return Ok(());
    }
    Scenario::Kubernetes.play()
}

#[test]
#[ignore = "boots nodes and builds a control plane: needs root and Go"]
fn one_server_alone_is_upgraded_only_where_the_plan_accepts_the_outage() -> Result<()> {
    if !drydock_test_cluster::here_with_all("DRYDOCK_LAB_ALL") {
        return Ok(());
    }
    Scenario::OneServer.play()
}
