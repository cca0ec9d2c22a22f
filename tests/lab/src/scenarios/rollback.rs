//! A rollback by command on a live cluster. While an old member remains, two upgraded ones go back to 3.4, last out
//! first, under writes. Once the last member has the new version the cluster's version rises: then the command
//! is refused on the node by its own look, nothing is touched, and the run holds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::proofs::Proofs;
use super::scene::{self, PLAN, Scene, code};

/// The plan that watches each member for long enough to be taken back meanwhile.
const SLOW: &str = "slow.yaml";

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let mut proofs = Proofs::default();
    while_an_old_member_remains(&scene, &mut proofs)?;
    past_the_point_of_no_return(&scene, &mut proofs)?;
    proofs.conclude()
}

fn while_an_old_member_remains(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let leader = scene.cluster.leader()?.name();
    let old = scene.versions()?;
    let old = old.values().next().cloned().flatten().context("a member that says no version")?;
    scene.plan(SLOW, "etcd", "./newer/etcd", "20s")?;
    ensure!(code(&scene.show(&["run", "start", SLOW])?) == 0, "the run did not begin");
    let out = until_two_are_out(scene)?;
    ensure!(!out.contains(&leader), "the leader, {leader}, is among the first: {out:?}");
    let before = scene.starts()?;
    let watch = scene.watch("rollback")?;

    // The run is open, and its second node is watched: it is aborted first.
    let output = scene.show(&["run", "rollback", "1", "--wait"])?;
    proofs.exit(&output, 0, "`run rollback 1`");
    let run = scene.fleet.run(2)?;
    scene.show(&["run", "show", "1"])?;
    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;
    let seen = watch.finish(scene)?;
    proofs.untouched_service(&seen);
    proofs.watched_all_of(&run, &seen)?;
    proofs.all_answer(&scene.versions()?, &old);
    let done = run.nodes().filter(|node| node.phase == "done");
    let back: Vec<String> = done.map(|node| node.node.clone()).collect();
    let reversed: Vec<String> = out.iter().rev().cloned().collect();
    proofs.check(back == reversed, format!("last out went back first: out {out:?}, back {back:?}"));
    let now = scene.starts()?;
    // A 3.4 does not say its version in its log as later ones do; the members' own answers stand above.
    for node in &back {
        let known = before.get(node).map_or(0, std::collections::BTreeSet::len);
        let starts = now.get(node).map_or(0, std::collections::BTreeSet::len);
        proofs.check(starts == known + 1, format!("{node}: one start of etcd during the rollback"));
    }
    proofs.not_restarted(&before, &now, [leader.as_str()]);
    for node in run.nodes() {
        let out = node.out_of_service_ms.map_or_else(|| "?".to_owned(), |ms| ms.to_string());
        println!("  {}: out of service {out} ms by its agent", node.node);
    }
    // The version is quarantined there now, and a person says that it may be tried again.
    for node in &back {
        let shown = scene.show(&["node", "show", node])?;
        let says = shown.text().contains(&format!("drydock node release {node}"));
        proofs.check(says, format!("{node}: the version is quarantined, and how it is let go is said"));
    }
    for node in &back {
        ensure!(code(&scene.show(&["node", "release", node])?) == 0, "{node} was not released");
    }
    Ok(())
}

fn past_the_point_of_no_return(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    ensure!(code(&scene.show(&["run", "start", PLAN, "--wait"])?) == 0, "the run did not end well");
    let run = scene.fleet.run(0)?;
    let (before, binaries) = (scene.starts()?, scene.binaries()?);
    let number = run.number.to_string();
    let output = scene.show(&["run", "rollback", &number, "--wait"])?;
    proofs.exit(&output, 3, "past the point of no return: `run rollback`");
    let back = scene.fleet.run(0)?;
    proofs.check(back.status == "held", format!("run {} is {}", back.number, back.status));
    let hold = back.hold.context("a held run says why")?;
    let last = run.nodes().last().map(|node| node.node.clone());
    proofs.check(hold.node == last, format!("it holds at whoever was upgraded last: {:?}", hold.node));
    proofs.check(hold.reason.contains("was not taken back"), format!("and says why: {}", hold.reason));
    proofs.check(
        hold.state_now.contains("nothing was touched"),
        format!("and what is there: {}", hold.state_now),
    );
    let why = scene.show(&["why"])?;
    proofs.check(why.text().contains(&hold.reason), "`why` says so");
    let nodes: Vec<String> = scene.lab.nodes().iter().map(crate::Node::name).collect();
    proofs.not_restarted(&before, &scene.starts()?, nodes.iter().map(String::as_str));
    proofs.check(scene.binaries()? == binaries, "every binary on the disk is as it was");
    proofs.all_answer(&scene.versions()?, &scene.newer.version);
    ensure!(
        code(&scene.show(&["run", "abort", &back.number.to_string()])?) == 0,
        "the rollback was not ended"
    );
    Ok(())
}

/// Waits until the second member has the new version and is watched; both, in the order in which they left.
fn until_two_are_out(scene: &Scene<'_>) -> Result<Vec<String>> {
    let began = std::time::Instant::now();
    loop {
        let run = scene.fleet.run(1)?;
        let nodes: Vec<_> = run.nodes().collect();
        if let [first, second, ..] = nodes.as_slice()
            && first.phase == "done"
            && second.phase == "soaking"
        {
            return Ok(vec![first.node.clone(), second.node.clone()]);
        }
        ensure!(began.elapsed() < scene::RUN, "two members were not upgraded in time: {run:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
