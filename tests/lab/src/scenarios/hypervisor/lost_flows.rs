//! A reload of Open vSwitch that loses every flow and ends with 0, as somebody's drop-in for the unit may have it: the agent
//! starts what is down and tells the switch its flows and groups again from what it has kept, and the change is taken back,
//! over the same reload.

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
use crate::scenarios::answering;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;

const NODES: usize = 2;
const NUMBER: usize = 2;
/// The change is taken back so long after it was armed: whoever waits for that has not noticed by himself.
const WITHIN: Duration = Duration::from_secs(180);
/// From here on a reload is what the argument says. What it leaves is written down.
const LOSE: &str = r#"mkdir -p /run/systemd/system/openvswitch-switch.service.d
{
    echo '#!/bin/sh'
    echo 'alone() { systemctl --job-mode=ignore-dependencies "$@"; }'
    echo "$1"
    echo 'ovs-ofctl dump-flows br0 2>/dev/null | grep -c cookie >>/run/left-of-flows; :'
} >/run/lose-flows
chmod 755 /run/lose-flows
printf '[Service]\nExecReload=\nExecReload=/run/lose-flows\n' >/run/systemd/system/openvswitch-switch.service.d/lose.conf
systemctl daemon-reload"#;
const KEEP: &str = r"rm -r /run/systemd/system/openvswitch-switch.service.d /run/left-of-flows
systemctl daemon-reload";
/// What a reload is, and what it says of itself afterwards.
const FAULTS: [(&str, &str, &str); 2] = [
    (
        "a reload that restarts both daemons",
        "alone restart ovsdb-server.service; alone restart ovs-vswitchd.service",
        "br0: it had 222 flows and has 0",
    ),
    (
        "a reload that leaves the switch stopped",
        "alone stop ovs-vswitchd.service; alone restart ovsdb-server.service",
        "ovs-vswitchd.service started",
    ),
];

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let node = lab.node(NUMBER);
    let mut proofs = Proofs::default();
    let watch = Watch::begin(&scene.site)?;
    let before = Facts::of(node)?;
    let with = format!(
        "{{witness: {}, flows: caughtUp, within: {}s}}",
        answering::witnesses(&lab),
        WITHIN.as_secs()
    );
    let to = Part::Openvswitch.versions().newer;
    let stage = Stage { component: "openvswitch", recipe: "openvswitch", with, to, down: false };
    let file = scene.write_plan("lost", &[stage], Some(&node.name()))?;

    let mut spans = Vec::new();
    for (what, reload, said) in FAULTS {
        println!("\n-- {what}");
        node.run(&["sh", "-ec", LOSE, "sh", reload])?;
        spans.push((what, held(&scene, &file, said, &mut proofs)?));
        let left = node.run(&["cat", "/run/left-of-flows"])?;
        let left: Vec<&str> = left.split_whitespace().collect();
        proofs.check(
            !left.is_empty() && left.iter().all(|count| *count == "0"),
            format!("at the end of each reload br0 has no flow: {left:?}"),
        );
        let exchanged = |of: &str| Part::Openvswitch.may_change(of) && !of.starts_with("package");
        judge::same_as(node, &before, exchanged, "flows, groups and packages are as before", &mut proofs)?;
        says(node, before.get(Part::Openvswitch.says())?, &mut proofs)?;
        judge::nothing_left(std::slice::from_ref(node), &mut proofs)?;
        node.run(&["sh", "-ec", KEEP])?;
        over(&scene)?;
    }

    println!("\n-- a reload that keeps them");
    let kept = goes_through(&scene, &file, &mut proofs)?;
    let part = Part::Openvswitch;
    judge::same_as(node, &before, |of| part.may_change(of), "all else is as before", &mut proofs)?;
    says(node, part.versions().said, &mut proofs)?;
    judge::nothing_left(std::slice::from_ref(node), &mut proofs)?;

    let traces = watch.finish()?;
    for trace in traces.iter().filter(|trace| Target::of(NUMBER).contains(trace.target())) {
        println!("  a reload that keeps them: {}", trace.within(kept));
        for (what, span) in &spans {
            let seen = trace.within(*span);
            // How much of the stretch was answered says only how quick the rest of the section was.
            let soon = seen.longest_gap < WITHIN / 3 && seen.received > 0;
            proofs.check(soon, format!("{what}: long before the limit of {} s: {seen}", WITHIN.as_secs()));
        }
    }
    proofs.conclude()
}

/// The run holds and says what was lost, that it was mended, and what to do.
fn held(scene: &Scene<'_>, file: &str, said: &str, proofs: &mut Proofs) -> Result<Span> {
    let mut log = scene.fleet.log();
    log.news()?;
    let from = now();
    scene.begin(file)?;
    let followed = watch::follow(scene, &mut log)?;
    proofs.check(followed.status == "Held", format!("the run is {}", followed.status));
    scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    let hold = run.hold.context("a held run says why")?;
    for words in
        [said, "br0: 0 of 222 flows were there; all of them were replayed", "took the change back by itself"]
    {
        proofs.check(hold.happened.contains(words), format!("it says {words:?}: {}", hold.happened));
    }
    // Flows that were told again are there: the change is taken back whole.
    proofs.check(
        !hold.reason.contains("could not put everything back"),
        format!("it was taken back: {}", hold.reason),
    );
    let next: Vec<&str> = hold.next.iter().map(|next| next.command.as_str()).collect();
    proofs.check(!next.is_empty(), format!("and what to do: {next:?}"));
    Ok(Span { from, until: now() })
}

/// The run is ended, and the node let try the same version again.
fn over(scene: &Scene<'_>) -> Result<()> {
    let (number, name) = (scene.fleet.run(0)?.number.to_string(), scene.lab.node(NUMBER).name());
    ensure!(code(&scene.show(&["run", "abort", &number])?) == 0, "the run was not ended");
    ensure!(code(&scene.show(&["node", "release", &name, "--all"])?) == 0, "the node was not released");
    Ok(())
}

fn goes_through(scene: &Scene<'_>, file: &str, proofs: &mut Proofs) -> Result<Span> {
    let mut log = scene.fleet.log();
    log.news()?;
    let from = now();
    scene.begin(file)?;
    let followed = watch::follow(scene, &mut log)?;
    if followed.status != "Done" {
        scene.show(&["why"])?;
    }
    proofs.check(followed.status == "Done", format!("the run is {}", followed.status));
    Ok(Span { from, until: now() })
}

fn says(node: &Node, version: &str, proofs: &mut Proofs) -> Result<()> {
    let facts = Facts::of(node)?;
    let (said, running) = (facts.get(Part::Openvswitch.says())?, facts.get(Part::Openvswitch.runs())?);
    proofs.check(
        said == version && !running.contains("(deleted)"),
        format!("{}: ovs-vswitchd {said} is what is installed", node.name()),
    );
    Ok(())
}
