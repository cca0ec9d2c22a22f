//! The main job: three members of a live cluster from 3.4 to 3.5, one after the other, under writes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use drydock_witness::summary::Summary;

use super::proofs::{Proofs, order};
use super::scene::{self, PLAN, Scene, code};
use super::{snapshot, table};
use crate::etcd::{self, BareRestart};
use crate::fleet::run::RunSeen;

/// How often the observer for times out of service asks.
const FINE: Duration = Duration::from_millis(10);

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let mut scene = Scene::set(&lab, "fleet")?;
    let bare = bare_restarts(&scene)?;
    let before = scene.starts()?;
    let watch = scene.watch("upgrade")?;
    // As fine as the bare restarts are measured, for the comparison with them alone.
    let mut fine = scene.cluster.observe_every("upgrade-fine", FINE)?;

    ensure!(code(&scene.show(&["plan", PLAN])?) == 0, "the plan was not clear");
    ensure!(code(&scene.show(&["run", "start", PLAN, "--wait"])?) == 0, "the run did not end well");
    scene.show(&["run", "report"])?;
    scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    let seen = watch.finish(&scene)?;
    let fine = etcd::summarize(&fine.finish()?)?;

    println!("\nTime out of service, seen from outside every {} ms", FINE.as_millis());
    print(&scene, &fine, &bare, &run);
    println!("\nSeen from outside every 50 ms\n{}", seen.summary);
    let mut proofs = Proofs::default();
    proofs.check(run.status == "done", format!("run {} is {}", run.number, run.status));
    proofs.all_answer(&scene.versions()?, &scene.newer.version);
    proofs.watched_all_of(&run, &seen)?;
    proofs.untouched_service(&seen);
    proofs.leader_last(&scene, &seen.summary);
    proofs.restarted_once(&before, &scene.starts()?, &scene.newer.version);
    snapshot::prove(&scene, &seen, run.started_unix_ms, &mut proofs)?;
    scene.fleet.stop_coordinator()?;
    proofs.check(true, "the coordinator ends with 0 when it is told to stop");
    proofs.conclude()
}

/// What a restart costs by itself, on each member of this cluster, in this very run; the leader last, as
/// somebody would do it by hand.
fn bare_restarts(scene: &Scene<'_>) -> Result<BTreeMap<String, BareRestart>> {
    let leader = scene.cluster.leader()?.name();
    let (leads, follows): (Vec<_>, Vec<_>) = scene.lab.nodes().iter().partition(|node| node.name() == leader);
    let mut costs = BTreeMap::new();
    for node in follows.into_iter().chain(leads) {
        costs.insert(scene.cluster.endpoint(node), scene.cluster.measure_bare_restart(node)?);
    }
    Ok(costs)
}

fn print(scene: &Scene<'_>, summary: &Summary, bare: &BTreeMap<String, BareRestart>, run: &RunSeen) {
    let mut rows =
        vec![table::row(["member", "versions", "silent", "bare restart", "ratio", "by the agent"])];
    for (_, endpoint) in order(summary, &scene.newer.version) {
        let member = &summary.members[&endpoint];
        let node = scene.lab.nodes().iter().find(|node| scene.cluster.endpoint(node) == endpoint);
        let name = node.map_or_else(|| endpoint.clone(), crate::Node::name);
        let versions: Vec<&str> = member.first_seen_ms.keys().map(String::as_str).collect();
        let by_agent = run.node(&name).and_then(|node| node.out_of_service_ms);
        let bare = bare.get(&endpoint);
        let bare_ms = bare.map_or(0, |bare| bare.silent.as_millis());
        let led = bare.map_or("", |bare| if bare.was_leader { " (led)" } else { "" });
        rows.push(table::row([
            &name,
            &versions.join(" → "),
            &format!("{} ms", member.total_silence_ms),
            &format!("{bare_ms} ms{led}"),
            &ratio(u128::from(member.total_silence_ms), bare_ms),
            &by_agent.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        ]));
    }
    table::print(&rows);
}

/// `1.25`, in whole hundredths.
fn ratio(is: u128, floor: u128) -> String {
    if floor == 0 {
        return "-".to_owned();
    }
    let hundredths = is * 100 / floor;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
