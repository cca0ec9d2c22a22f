//! One server and two agents: the control plane is out while its only server is restarted. That is refused unless the plan
//! accepts it, and measured.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::budgets::Budgets;
use super::site::{self, PLAN, Site};
use super::upgrade::{bare_restarts, conclude, repair};
use super::witness::Witness;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;

/// As the plan says it.
const ACCEPTED: Duration = Duration::from_secs(300);

pub(in crate::scenarios) fn play() -> Result<()> {
    drydock_test_cluster::available().map_err(anyhow::Error::msg)?;
    let lab = site::boot(1)?;
    let site = Site::set(&lab)?;
    let mut proofs = Proofs::default();
    repair(&site)?;
    let witness = Witness::begin(&site.network, &site.endpoints)?;
    let bare = bare_restarts(&site, &witness)?;
    let budgets = Budgets::watch(&site.network, &site.endpoints);

    site.write_plan("")?;
    let refused = site.show(&["rehearse", PLAN])?;
    proofs.exit(&refused, 3, "a rehearsal of a plan that does not accept the outage");
    let named = refused.text().contains("outage: {controlPlane:");
    proofs.check(named, "it says which word in the plan would accept it");

    site.write_plan("      outage: {controlPlane: 5m}\n")?;
    ensure!(code(&site.show(&["plan", PLAN])?) == 0, "the plan was not clear");
    let began = witness.now();
    let ran = site.show(&["run", "start", PLAN, "--wait"])?;
    proofs.exit(&ran, 0, "the run");
    site.show(&["run", "report"])?;
    let run = site.fleet.run(0)?;
    let seen = conclude(&site, witness, budgets, &bare, began, &run, &mut proofs)?;
    let silent = site.endpoints.iter().filter_map(|(name, _)| seen.silent_since(name, began)).max();
    proofs.check(
        silent.is_some_and(|silent| silent < ACCEPTED),
        format!("the control plane was out for {silent:?}, which is less than the plan accepts"),
    );
    proofs.conclude()
}
