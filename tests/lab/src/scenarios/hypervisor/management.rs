//! The address by which a node is reached lies on a bridge of Open vSwitch, and the new version forwards nothing for it: the
//! node takes it back by itself, while nobody can reach it. With a good version the same plan goes through.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::judge;
use super::site::{self, Scene, Stage};
use super::watch::{self, Watch};
use crate::Node;
use crate::hypervisor::Target;
use crate::hypervisor::archive::Flavour;
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::Facts;
use crate::hypervisor::trace::{Span, now};
use crate::scenarios::answering;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;
use crate::wait::until;

const NODES: usize = 2;
/// Not the one with OVN's databases.
const NUMBER: usize = 2;
/// The change is taken back so long after it was armed.
const WITHIN: Duration = Duration::from_secs(60);
/// Packages are fetched and installed before.
const CUT: Duration = Duration::from_secs(180);
/// So long after it was cut off it must be back.
const BACK: Duration = Duration::from_secs(180);
/// What goes down with a switch that does not come up, and is started with it.
const WITH_IT: [&str; 2] = ["unit openvswitch-switch.service", "unit ovs-record-hostname.service"];
/// Addresses, routes and rules, without the numbers and the states of links.
const NETWORK: &str = "ip -br -4 addr show scope global | awk '{print $1, $3}'; ip route; ip rule";

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let mut scene = Scene::set(&lab)?;
    let mut proofs = Proofs::default();
    let node = lab.node(NUMBER);
    scene.site.move_management(NUMBER)?;
    scene.fleet.wait_connected(NODES)?;
    let watch = Watch::begin_of(&scene.site, &[&Target::of(NUMBER)[..], &[Target::Host(NUMBER)]].concat())?;
    let before = Before { facts: Facts::of(node)?, network: network(node)? };
    println!("{}", before.network);
    let on_bridge = |line: &str| line.starts_with("brm ") && line.contains(&format!(" {}/", node.address()));
    proofs.check(before.network.lines().any(on_bridge), "the node's address lies on brm");
    let mut spans = Vec::new();
    for (flavour, what) in [
        (Flavour::Dead, "an ovs-vswitchd that ends at once"),
        (Flavour::Mute, "an ovs-vswitchd that gives the bridge no interface"),
    ] {
        println!("\n-- {what}");
        spans.push((what, cut_off(&mut scene, flavour, &before, &mut proofs)?));
    }
    println!("\n-- a good version");
    spans.push(("a good version", good(&scene, &before, &mut proofs)?));
    let traces = watch.finish()?;
    for (what, span) in spans {
        for trace in &traces {
            println!("  {what}: {}", trace.within(span));
        }
        let own =
            traces.iter().find(|trace| *trace.target() == Target::Host(NUMBER)).context("its own trace")?;
        let gap = own.within(span).longest_gap;
        // Half a minute beside the limit for the packages' way back.
        proofs.check(
            gap < WITHIN + Duration::from_secs(30),
            format!("{what}: out of reach for {} ms", gap.as_millis()),
        );
    }
    proofs.conclude()
}

struct Before {
    facts: Facts,
    network: String,
}

fn plan(scene: &Scene<'_>, name: &str) -> Result<String> {
    let with = format!(
        "{{witness: {}, flows: caughtUp, within: {}s}}",
        answering::witnesses(scene.lab),
        WITHIN.as_secs()
    );
    let to = Part::Openvswitch.versions().newer;
    let stage = Stage { component: "openvswitch", recipe: "openvswitch", with, to, down: false };
    scene.write_plan(name, &[stage], Some(&scene.lab.node(NUMBER).name()))
}

fn network(node: &Node) -> crate::Result<String> {
    node.run(&["sh", "-ec", NETWORK])
}

/// The coordinator is gone from before the node is cut off until the node is as before.
fn cut_off(scene: &mut Scene<'_>, flavour: Flavour, before: &Before, proofs: &mut Proofs) -> Result<Span> {
    let node = scene.lab.node(NUMBER);
    scene.archive.offer(node, flavour)?;
    let file = plan(scene, flavour.name())?;
    let shown = scene.show(&["plan", &file])?;
    let said = shown.text().split_whitespace().collect::<Vec<_>>().join(" ");
    proofs.check(
        code(&shown) == 0 && said.contains("taken back by the node itself after"),
        "the plan says that the node takes it back by itself",
    );
    let mut log = scene.fleet.log();
    log.news()?;
    let from = now();
    scene.begin(&file)?;
    let cut = until(
        "the node to be cut off",
        CUT,
        Duration::from_millis(50),
        || Ok((!network(node)?.contains(&format!(" {}/", node.address()))).then_some(())),
        String::new,
    );
    if let Err(error) = cut {
        scene.show(&["why"])?;
        return Err(error.into());
    }
    scene.fleet.kill_coordinator()?;
    let exchanged =
        |of: &str| (Part::Openvswitch.may_change(of) && !of.starts_with("package")) || WITH_IT.contains(&of);
    let mut differences = Vec::new();
    let back = until(
        "the node to be as before",
        BACK,
        Duration::from_millis(200),
        || {
            // While a daemon is down nothing can be looked at.
            let (Ok(facts), Ok(network)) = (Facts::of(node), network(node)) else { return Ok(None) };
            differences = before.facts.differences(&facts, exchanged);
            if network != before.network {
                differences.push(network);
            }
            Ok(differences.is_empty().then_some(()))
        },
        String::new,
    );
    proofs.check(back.is_ok(), format!("the node is as before without anybody's help: {differences:?}"));
    let end = now();
    println!(
        "  as before {:.1} s after the run's start, nobody but the node at work",
        (end - from).as_secs_f32()
    );
    scene.fleet.start_coordinator()?;
    scene.fleet.wait_serving()?;
    let followed = watch::follow(scene, &mut log)?;
    proofs.check(followed.status == "Held", format!("the run is {}", followed.status));
    scene.show(&["why"])?;
    println!("{}", node.run(&["journalctl", "-q", "--no-pager", "-o", "cat", "-u", "drydock-revert*"])?);
    let run = scene.fleet.run(0)?;
    let hold = run.hold.context("a held run says why")?;
    let alone = hold.happened.contains("took the change back by itself");
    proofs
        .check(alone, format!("the run holds and says that the node took it back alone: {}", hold.happened));
    judge::same_as(node, &before.facts, exchanged, "guests, flows, groups, packages are as before", proofs)?;
    let after = Facts::of(node)?;
    proofs.check(
        after.get(Part::Openvswitch.says())? == before.facts.get(Part::Openvswitch.says())?
            && !after.get(Part::Openvswitch.runs())?.contains("(deleted)"),
        "the old ovs-vswitchd runs, and it is what is installed",
    );
    proofs.check(network(node)? == before.network, "addresses, routes and rules are as before");
    judge::nothing_left(std::slice::from_ref(node), proofs)?;
    ensure!(code(&scene.show(&["run", "abort", &run.number.to_string()])?) == 0, "the run was not ended");
    ensure!(
        code(&scene.show(&["node", "release", &node.name(), "--all"])?) == 0,
        "the node was not released"
    );
    Ok(Span { from, until: end })
}

fn good(scene: &Scene<'_>, before: &Before, proofs: &mut Proofs) -> Result<Span> {
    let (node, part) = (scene.lab.node(NUMBER), Part::Openvswitch);
    scene.archive.offer(node, Flavour::Newer)?;
    let file = plan(scene, "good")?;
    // Each time that the node took the switch back units were started anew.
    let same = Facts::of(node)?;
    let mut log = scene.fleet.log();
    log.news()?;
    let from = now();
    scene.begin(&file)?;
    super::rest::ends_well(scene, &mut log, proofs)?;
    let until = now();
    judge::same_as(node, &same, |of| part.may_change(of), "all else is as before", proofs)?;
    let after = Facts::of(node)?;
    proofs.check(
        after.get(part.says())? == part.versions().said && !after.get(part.runs())?.contains("(deleted)"),
        format!("ovs-vswitchd {} runs, and it is what is installed", after.get(part.says())?),
    );
    proofs.check(network(node)? == before.network, "addresses, routes and rules are as before");
    judge::nothing_left(std::slice::from_ref(node), proofs)?;
    Ok(Span { from, until })
}
