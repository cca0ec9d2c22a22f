//! An ovn-controller that finds no southbound database after its restart: it never catches up, which is said and taken
//! back, and traffic goes on by the flows that are there. When the way is free again the same plan goes through.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::judge;
use super::site::{self, Scene, Stage};
use super::watch::{self, Watch};
use crate::Node;
use crate::hypervisor::Target;
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::Facts;
use crate::hypervisor::trace::{Span, now};
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;

const NODES: usize = 2;
/// Not the one with the databases.
const NUMBER: usize = 2;
/// From the next start of the controller on it is sent to where nobody listens.
const ASTRAY: &str = r"mkdir -p /run/systemd/system/ovn-controller.service.d
printf '[Service]\nExecStartPre=/usr/bin/ovs-vsctl --no-wait set open_vswitch . external_ids:ovn-remote=tcp:10.99.0.1:6999\n' \
    >/run/systemd/system/ovn-controller.service.d/astray.conf
systemctl daemon-reload";
const RIGHT: &str = r"rm -r /run/systemd/system/ovn-controller.service.d
systemctl daemon-reload
ovs-vsctl --no-wait set open_vswitch . external_ids:ovn-remote=tcp:10.99.0.1:6642";

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let node = lab.node(NUMBER);
    let mut proofs = Proofs::default();
    let watch = Watch::begin(&scene.site)?;
    let before = Facts::of(node)?;
    let to = Part::OvnController.versions().newer;
    let stage =
        Stage { component: "ovn-controller", recipe: "ovn-controller", with: String::new(), to, down: false };
    let file = scene.write_plan("astray", &[stage], Some(&node.name()))?;

    node.run(&["sh", "-ec", ASTRAY])?;
    let (from, number) = (now(), held(&scene, &file, &mut proofs)?);
    let until = now();
    same(node, &before, "the packages are the old ones again, and", &mut proofs)?;
    node.run(&["sh", "-ec", RIGHT])?;
    ensure!(code(&scene.show(&["run", "abort", &number.to_string()])?) == 0, "the run was not ended");
    // The version that failed, and the node that could not be taken back whole.
    let released = scene.show(&["node", "release", &node.name(), "--all"])?;
    ensure!(code(&released) == 0, "the node was not released");

    println!("\n-- the way is free again");
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(&file)?;
    super::rest::ends_well(&scene, &mut log, &mut proofs)?;
    let facts = Facts::of(node)?;
    let part = Part::OvnController;
    proofs
        .check(facts.get(part.says())? == part.versions().said, format!("{}: {}", node.name(), part.says()));
    judge::nothing_left(std::slice::from_ref(node), &mut proofs)?;
    for trace in watch.finish()?.iter().filter(|trace| Target::of(NUMBER).contains(trace.target())) {
        let seen = trace.within(Span { from, until });
        let few = seen.longest_gap < Duration::from_secs(2);
        proofs.check(few, format!("while it was astray traffic went on: {seen}"));
    }
    proofs.conclude()
}

/// The run holds, and says what the controller is at.
fn held(scene: &Scene<'_>, file: &str, proofs: &mut Proofs) -> Result<u64> {
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(file)?;
    let followed = watch::follow(scene, &mut log)?;
    proofs.check(followed.status == "Held", format!("the run is {}", followed.status));
    scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    let hold = run.hold.context("a held run says why")?;
    let named = ["ovn-controller", "connected"].iter().all(|word| hold.happened.contains(word));
    proofs.check(named, format!("it names the controller, and that it is not connected: {}", hold.happened));
    Ok(run.number)
}

/// As before, but for the controller's own process.
fn same(node: &Node, before: &Facts, what: &str, proofs: &mut Proofs) -> Result<()> {
    let process = ["unit ovn-controller.service", "running ovn-controller"];
    let differences = before.differences(&Facts::of(node)?, |of| process.contains(&of));
    proofs.check(
        differences.is_empty(),
        format!("{}: {what} all else is as before: {differences:?}", node.name()),
    );
    Ok(())
}
