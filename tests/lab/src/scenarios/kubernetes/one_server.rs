//! One server and two agents: the control plane is out while its only server is restarted. That is refused unless the plan
//! accepts it, and measured. What is saved before depends on where the server keeps the cluster's state.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Datastore;
use super::budgets::Budgets;
use super::restore;
use super::site::{self, DATA, PLAN, Site};
use super::upgrade::{bare_restarts, conclude, repair, until_ended};
use super::witness::Witness;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;
use crate::scenarios::snapshot;

/// As the plan says it.
const ACCEPTED: Duration = Duration::from_secs(300);
const OUTAGE: &str = "      outage: {controlPlane: 5m}\n";
/// Who saves a datastore that Drydock does not.
const WHO: &str = "the people of the lab";

pub(in crate::scenarios) fn play(datastore: Datastore) -> Result<()> {
    drydock_test_cluster::available().map_err(anyhow::Error::msg)?;
    let lab = site::boot(1)?;
    let site = Site::set(&lab, datastore)?;
    let mut proofs = Proofs::default();
    repair(&site)?;
    let witness = Witness::begin(&site.network, &site.endpoints)?;
    let bare = bare_restarts(&site, &witness)?;
    let budgets = Budgets::watch(&site.network, &site.endpoints);

    let with = refused_first(&site, datastore, &mut proofs)?;
    site.write_plan(&with, OUTAGE)?;
    ensure!(code(&site.show(&["plan", PLAN])?) == 0, "the plan was not clear");
    let (before, began) = (witness.acknowledged(), witness.now());
    if datastore == Datastore::External {
        let ran = site.show(&["run", "start", PLAN, "--wait"])?;
        proofs.exit(&ran, 0, "the run");
    } else {
        with_another_token(&site, &mut proofs)?;
    }
    let run = until_ended(&site)?;
    let report = site.show(&["run", "report"])?;
    let seen = conclude(&site, witness, budgets, &bare, began, &run, &mut proofs)?;
    let silent = site.endpoints.iter().filter_map(|(name, _)| seen.silent_since(name, began)).max();
    proofs.check(
        silent.is_some_and(|silent| silent < ACCEPTED),
        format!("the control plane was out for {silent:?}, which is less than the plan accepts"),
    );
    let held = snapshot::backups(&site.fleet.state_dir().join("backups")).unwrap_or_default();
    let wanted = usize::from(datastore != Datastore::External);
    proofs.check(held.len() == wanted, format!("the coordinator holds {} encrypted backup(s)", held.len()));
    match (datastore, held.last()) {
        (Datastore::Sqlite, Some(backup)) => restore::prove(&site, backup, &before, &seen, &mut proofs)?,
        (Datastore::External, _) => {
            proofs
                .check(report.text().contains(WHO), format!("the report says that {WHO} save the datastore"));
        }
        _ => {}
    }
    proofs.conclude()
}

/// What the plan must say before anything begins: that the outage is accepted, and who saves a datastore of somebody else.
/// Without each it is refused. The words of the second are given back.
fn refused_first(site: &Site<'_>, datastore: Datastore, proofs: &mut Proofs) -> Result<String> {
    let with = said_who_saves(site, datastore, proofs)?;
    site.write_plan(&with, "")?;
    let refused = site.show(&["rehearse", PLAN])?;
    proofs.exit(&refused, 3, "a rehearsal of a plan that does not accept the outage");
    let named = refused.text().contains("outage: {controlPlane:");
    proofs.check(named, "it says which word in the plan would accept it");
    Ok(with)
}

/// A datastore of somebody else is refused until the plan says who saves it; then these words stand in the plan.
fn said_who_saves(site: &Site<'_>, datastore: Datastore, proofs: &mut Proofs) -> Result<String> {
    if datastore != Datastore::External {
        return Ok(String::new());
    }
    site.write_plan("", OUTAGE)?;
    let refused = site.show(&["rehearse", PLAN])?;
    proofs.exit(&refused, 3, "a rehearsal of a plan that does not say who saves the datastore");
    let named = refused.text().contains("externalDatastoreBackedUpBy:");
    proofs.check(named, "it says which word in the plan would say so");
    Ok(format!(", externalDatastoreBackedUpBy: {WHO}"))
}

/// On the server lies a token whose password does not open what K3s keeps in this database: a backup with it beside would be
/// worth nothing. The run holds before anything is touched, and goes on when somebody has put the right one there.
fn with_another_token(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let (server, token) = (site.lab.node(1), format!("{DATA}/server/token"));
    let right = server.read_file(&token)?;
    let another = String::from_utf8(right.clone())?.trim().to_owned() + "-of-before\n";
    server.write_file(&token, another.as_bytes(), 0o600)?;
    let pid = || server.run(&["systemctl", "show", "-P", "MainPID", "k3s.service"]);
    let started = pid()?;
    let cordons = || -> Result<Vec<serde_json::Value>> {
        Ok(site.kube_nodes()?.iter().map(|node| node["spec"]["unschedulable"].clone()).collect())
    };
    let before = cordons()?;
    let held = site.show(&["run", "start", PLAN, "--wait"])?;
    proofs.exit(&held, 3, "the run with another token beside the database");
    let hold = site.fleet.run(0)?.hold;
    let happened = hold.map(|hold| hold.happened).unwrap_or_default();
    proofs.check(
        happened.contains("not the token of this datastore") && pid()? == started && cordons()? == before,
        format!("it holds before anything was touched: {happened}"),
    );
    println!("\nSomebody puts the right token there");
    server.write_file(&token, &right, 0o600)?;
    ensure!(code(&site.show(&["run", "resume", "1"])?) == 0, "the run was not resumed");
    Ok(())
}
