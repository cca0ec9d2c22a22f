//! One plan takes libvirt, Open vSwitch and ovn-controller of three nodes to the archive's higher versions, and another
//! takes all of it back. Before, on one node of the same lab, the same is done by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::judge::{self, Way};
use super::site::{self, Scene, Stage};
use super::watch::{self, Watch};
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::{Facts, Seen};
use crate::hypervisor::trace::{Span, now};
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;
use crate::scenarios::{answering, table};

const NODES: usize = 3;
/// The node on which all is done by hand first; not the one with OVN's databases.
const BY_HAND: usize = 2;
/// There and back so often.
const ROUNDS: usize = 2;
/// Pings see nothing done for so long, before and after.
const PEACE: Duration = Duration::from_secs(2);

pub(in crate::scenarios) fn play() -> Result<()> {
    let started = Instant::now();
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let mut proofs = Proofs::default();
    let boots: Vec<String> =
        (1..=NODES).map(|number| scene.site.guest_boot(number)).collect::<crate::Result<_>>()?;
    let watch = Watch::begin(&scene.site)?;
    std::thread::sleep(PEACE);
    let (told, answers) = watch::while_asked(&scene.site, || upgrade(&scene, &mut proofs))?;
    std::thread::sleep(PEACE);
    let traces = watch.finish()?;

    let Told { bare, runs, whole } = told;
    let mut rows = Vec::new();
    for run in &runs {
        let Run { parts, way, followed, after } = run;
        rows.extend(judge::rows(&scene, (parts, *way), followed, &traces, &bare, after, &mut proofs)?);
    }
    judge::gaps(&rows, &mut proofs);
    let followed: Vec<_> = runs.iter().map(|run| &run.followed).collect();
    let idle = judge::elsewhere(&traces, &followed, whole);
    println!("  the longest gap of anybody while his node was left alone: {} ms", idle.as_millis());
    judge::answered(&scene, &answers, &boots, &mut proofs);
    judge::watched(&traces, whole, scene.site.targets().len(), &mut proofs);
    println!("  all of it took {:.0} s", started.elapsed().as_secs_f32());
    proofs.conclude()
}

/// What was done, and when.
struct Told {
    bare: BTreeMap<Part, Duration>,
    runs: Vec<Run>,
    whole: Span,
}

struct Run {
    parts: Vec<Part>,
    way: Way,
    followed: watch::Followed,
    after: Vec<Facts>,
}

fn upgrade(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<Told> {
    let bare = by_hand(scene, ROUNDS)?;
    let from = now();
    let there = scene.write_plan("patch", &stages(scene, Way::There)?, None)?;
    clear(scene, &there, proofs)?;
    let mut runs = vec![run(scene, &there, Way::There, proofs)?];
    scene.show(&["node", "list", "--versions"])?;
    refused_by_command(scene, proofs)?;
    let back = scene.write_plan("back", &stages(scene, Way::Back)?, None)?;
    clear(scene, &back, proofs)?;
    runs.push(run(scene, &back, Way::Back, proofs)?);
    Ok(Told { bare, runs, whole: Span { from, until: now() } })
}

/// The same by hand on one node, there and back; the longest gap of each part.
pub(super) fn by_hand(scene: &Scene<'_>, rounds: usize) -> Result<BTreeMap<Part, Duration>> {
    let mut longest: BTreeMap<Part, Duration> = BTreeMap::new();
    let mut shown = vec![table::row(["part", "to", "gap", "received/sent", "took"])];
    for part in Part::ALL {
        let old = part.installed(&scene.stock[BY_HAND - 1])?;
        for _ in 0..rounds {
            for packages in [part.newer(), old.clone()] {
                let began = Instant::now();
                let cost = part.change(&scene.site, BY_HAND, &packages)?;
                let gap = cost.longest_gap();
                longest.entry(part).and_modify(|known| *known = gap.max(*known)).or_insert(gap);
                let count = |of: fn(&Seen) -> u64| cost.seen.iter().map(of).sum::<u64>();
                shown.push(table::row([
                    &format!("{part:?}"),
                    packages.first().map_or("", |package| package.split('=').nth(1).unwrap_or_default()),
                    &format!("{} ms", gap.as_millis()),
                    &format!("{}/{}", count(|seen| seen.received), count(|seen| seen.sent)),
                    &format!("{} ms", began.elapsed().as_millis()),
                ]));
            }
        }
    }
    println!("\nBy hand, on n{BY_HAND}");
    table::print(&shown);
    Ok(longest)
}

/// The order there: libvirt, the switch, its controller; back it is the other way round.
fn order(way: Way) -> Vec<Part> {
    let mut parts = Part::ALL.to_vec();
    if way == Way::Back {
        parts.reverse();
    }
    parts
}

fn stages<'a>(scene: &'a Scene<'_>, way: Way) -> Result<Vec<Stage<'a>>> {
    let stage = |part: Part| {
        let to = match way {
            Way::There => part.versions().newer,
            Way::Back => scene.stock_version(part)?,
        };
        let (component, with) = match part {
            Part::Libvirt => ("libvirt", "{quiescence: restartSafe}".to_owned()),
            Part::Openvswitch => {
                ("openvswitch", format!("{{witness: {}, flows: caughtUp}}", answering::witnesses(scene.lab)))
            }
            Part::OvnController => ("ovn-controller", String::new()),
        };
        Ok(Stage { component, recipe: component, with, to, down: way == Way::Back })
    };
    order(way).into_iter().map(stage).collect()
}

/// The rehearsal finds nothing in the way, and changes nothing.
fn clear(scene: &Scene<'_>, file: &str, proofs: &mut Proofs) -> Result<()> {
    let before = scene.lab.nodes().iter().map(Facts::of).collect::<crate::Result<Vec<_>>>()?;
    ensure!(code(&scene.show(&["plan", file])?) == 0, "{file} was not taken");
    let rehearsed = scene.show(&["rehearse", file])?;
    proofs.exit(&rehearsed, 0, &format!("`rehearse {file}`, which finds nothing in the way,"));
    for (node, before) in scene.lab.nodes().iter().zip(&before) {
        let differences = before.differences(&Facts::of(node)?, |_| false);
        proofs.check(differences.is_empty(), format!("{}: it changed nothing: {differences:?}", node.name()));
    }
    Ok(())
}

fn run(scene: &Scene<'_>, file: &str, way: Way, proofs: &mut Proofs) -> Result<Run> {
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(file)?;
    let followed = watch::follow(scene, &mut log)?;
    let run = scene.fleet.run(0)?;
    if followed.status != "Done" {
        scene.show(&["why"])?;
        bail!("run {} of {file} is {}", run.number, run.status);
    }
    proofs.check(
        run.status == "done",
        format!("run {} is {} after {:.0} s", run.number, run.status, followed.took.as_secs_f32()),
    );
    scene.show(&["run", "report"])?;
    let parts = order(way);
    let after = judge::as_before(scene, &parts, &format!("after {file}"), proofs)?;
    judge::versions(scene, &parts, way, &after, proofs)?;
    judge::nothing_left(scene.lab.nodes(), proofs)?;
    Ok(Run { parts, way, followed, after })
}

/// A change that a node itself confirmed is not taken back by command: nothing is begun, and the plan that goes back is
/// said.
fn refused_by_command(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let number = scene.fleet.run(0)?.number;
    let refused = scene.show(&["run", "rollback", &number.to_string()])?;
    let said = format!("{}\n{}", refused.text(), refused.error_text());
    proofs.check(
        code(&refused) != 0,
        "`run rollback` refuses a run with a stage that nodes confirmed themselves",
    );
    let openvswitch = scene.stock_version(Part::Openvswitch)?;
    for word in [
        "commitConfirmed",
        "Nothing was begun",
        "component: openvswitch",
        openvswitch,
        "allowDowngrade: true",
    ] {
        proofs.check(said.contains(word), format!("it says {word:?}"));
    }
    proofs.check(scene.fleet.run(0)?.number == number, "no run was begun");
    Ok(())
}
