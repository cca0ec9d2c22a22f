//! What happens in the night, in order.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::desk::Desk;
use super::site::{OTHER, PLAN, Site, UPGRADE};
use crate::fleet::agents;
use crate::fleet::run::RunSeen;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::{self, Scene, Start};
use crate::wait;

const AGENT: &str = "drydock-agent.service";
/// `run extend … 30m`, less what passes between two looks.
const EXTENDED: Duration = Duration::from_secs(29 * 60);

/// A start without a rehearsal is warned of. The fleet is frozen, so nobody leaves, and the run is ended again.
pub(super) fn unrehearsed(desk: &mut Desk<'_, '_>, proofs: &mut Proofs) -> Result<()> {
    desk.types("drydock freeze --why 'somebody works on the switch'", 0, proofs)?;
    desk.types(&format!("drydock run start {PLAN}"), 0, proofs)?;
    proofs.check(desk.offers("drydock rehearse").is_ok(), "the start says that the plan was not rehearsed");
    until(desk.scene, 1, "the freeze to be waited for", |run| kind(run) == "freeze")?;
    desk.types("drydock why", 0, proofs)?;
    desk.takes("drydock run abort", 0, proofs)?;
    until(desk.scene, 1, "run 1 to be aborted", |run| run.status == "aborted")?;
    desk.types("drydock thaw", 0, proofs)?;
    Ok(())
}

pub(super) fn rehearsed(desk: &mut Desk<'_, '_>, proofs: &mut Proofs) -> Result<()> {
    // An operator who has never called is one whom the coordinator cannot know of.
    desk.types_as(OTHER, "drydock node list", 0, proofs)?;
    desk.types(&format!("drydock plan {PLAN}"), 0, proofs)?;
    desk.takes("drydock rehearse", 0, proofs)?;
    let started = desk.takes("drydock run start", 0, proofs)?;
    let warned = started.text().lines().any(|line| line.trim_start().starts_with("! "));
    proofs.check(!warned, "a start of what was rehearsed warns of nothing");
    Ok(())
}

/// The canary is done, and the rest waits for somebody else's word.
pub(super) fn approved(desk: &mut Desk<'_, '_>, proofs: &mut Proofs) -> Result<()> {
    let waits = |run: &RunSeen| kind(run) == "approval" && run.handed_out.is_empty();
    let run = until(desk.scene, UPGRADE, "the second wave to wait for its approval", waits)?;
    let phases: Vec<&str> = run.nodes().map(|node| node.phase.as_str()).collect();
    proofs.check(
        phases == ["done", "staged", "staged"],
        format!("the canary is done; what the others need is fetched, and they are in service: {phases:?}"),
    );
    let left = run.waiting.and_then(|waiting| waiting.left_ms).map(Duration::from_millis);
    proofs.check(
        left.is_some_and(|left| left <= Duration::from_secs(7200)),
        format!("the wait has its deadline: {left:?} are left"),
    );
    desk.types("drydock why", 0, proofs)?;
    desk.takes("drydock run approve", 1, proofs)?;
    desk.types_as(OTHER, "drydock run approve 2 --wave etcd/rest --digest 00000000", 1, proofs)?;
    let run = desk.scene.fleet.run(UPGRADE)?;
    proofs.check(kind(&run) == "approval", "both were refused, and the wave still waits");
    desk.types_as(OTHER, "drydock why", 0, proofs)?;
    desk.takes_at_once(OTHER, "drydock run approve", 0, proofs)?;
    Ok(())
}

/// Paused while a member is changed; gives the starts of the last one's etcd until then.
pub(super) fn paused(
    desk: &mut Desk<'_, '_>,
    site: &Site,
    proofs: &mut Proofs,
) -> Result<Option<BTreeSet<Start>>> {
    let node = desk.node(&site.second)?;
    until_phase(desk.scene, &site.second, "applying")?;
    // So that what was handed out is still handed out when the screens are read.
    ensure!(agents::signal(node, Signal::SIGSTOP)?, "no agent on {}", site.second);
    let before = desk.scene.fleet.run(UPGRADE)?;
    desk.types("drydock run pause 2", 0, proofs)?;
    let run = desk.scene.fleet.run(UPGRADE)?;
    let out = format!("apply on {}", site.second);
    proofs.check(
        run.status == "paused" && run.handed_out == [out],
        format!("acknowledged, and the answer names what is out: {:?}", run.handed_out),
    );
    desk.types("drydock why", 0, proofs)?;
    agents::signal(node, Signal::SIGCONT)?;
    let run = until(desk.scene, UPGRADE, "the section to end", |run| {
        run.handed_out.is_empty() && run.node(&site.second).is_some_and(|node| node.phase == "soaking")
    })?;
    proofs.check(run.status == "paused", "what was out came to its end, and the run is still paused");
    let last = before.log.last().map_or(0, |line| line.seq);
    let about =
        |line: &&crate::fleet::run::LineSeen| line.seq > last && line.node.as_ref() == Some(&site.last);
    let since: Vec<&str> = run.log.iter().filter(about).map(|line| line.text.as_str()).collect();
    proofs.check(since.is_empty(), format!("nothing was handed to {} meanwhile: {since:?}", site.last));

    // The same plan once more goes behind it, and says what the fleet has become since the rehearsal.
    desk.types(&format!("drydock run start {PLAN}"), 0, proofs)?;
    desk.types("drydock why 3", 0, proofs)?;
    let run = desk.scene.fleet.run(3)?;
    proofs.check(run.status == "queued" && kind(&run) == "queue", format!("run 3 is {}", run.status));
    desk.takes("drydock run abort 3", 0, proofs)?;
    Ok(desk.scene.starts()?.get(&site.last).cloned())
}

/// What the plan allows, and what it does not; approved anew, for it is another plan.
pub(super) fn amended(desk: &mut Desk<'_, '_>, site: &Site, proofs: &mut Proofs) -> Result<()> {
    let before = desk.scene.fleet.run(UPGRADE)?.digest;
    desk.types("drydock run amend 2 --wave etcd/rest concurrency=2", 1, proofs)?;
    desk.types("drydock run amend 2 --wave etcd/rest soak=5s", 0, proofs)?;
    let after = desk.scene.fleet.run(UPGRADE)?.digest;
    proofs.check(before != after, "it is another plan, by its digest");
    desk.types("drydock why 2", 0, proofs)?;
    desk.takes("drydock run resume 2", 0, proofs)?;
    until(desk.scene, UPGRADE, "the approval to be waited for anew", |run| kind(run) == "approval")?;
    // From here on the canary's agent is away: the last member will wait at its gate.
    desk.node(&site.canary)?.run(&["systemctl", "stop", AGENT])?;
    let old = before.get(..8).context("a digest in hex")?;
    desk.types_as(OTHER, &format!("drydock run approve 2 --wave etcd/rest --digest {old}"), 1, proofs)?;
    desk.types_as(OTHER, "drydock why 2", 0, proofs)?;
    desk.takes_at_once(OTHER, "drydock run approve", 0, proofs)?;
    Ok(())
}

/// The last member waits at its gate: it gets longer, and then it is left out.
pub(super) fn left_out(desk: &mut Desk<'_, '_>, site: &Site, proofs: &mut Proofs) -> Result<()> {
    let run = until(desk.scene, UPGRADE, "the last member to wait at its gate", |run| {
        kind(run) == "gate"
            && run.waiting.as_ref().is_some_and(|waiting| waiting.node.as_ref() == Some(&site.last))
    })?;
    let left = |run: &RunSeen| {
        Duration::from_millis(run.waiting.as_ref().and_then(|waiting| waiting.left_ms).unwrap_or_default())
    };
    let before = left(&run);
    desk.types("drydock why 2", 0, proofs)?;
    desk.takes("drydock run extend", 0, proofs)?;
    let after = left(&desk.scene.fleet.run(UPGRADE)?);
    proofs.check(after >= before + EXTENDED, format!("{} had {before:?} and has {after:?}", site.last));
    desk.types("drydock why 2", 0, proofs)?;
    desk.takes("drydock run skip", 0, proofs)?;
    let run = until(desk.scene, UPGRADE, "the run to be done", |run| run.status == "done")?;
    let skipped = run.node(&site.last).is_some_and(|node| node.phase == "skipped");
    proofs.check(skipped, format!("{} was left out, and the run is done", site.last));
    desk.types("drydock run show 2", 0, proofs)?;
    desk.node(&site.canary)?.run(&["systemctl", "start", AGENT])?;
    desk.scene.fleet.wait_connected(scene::MEMBERS)?;
    let versions = desk.scene.versions()?;
    let newer = Some(desk.scene.newer.version.clone());
    let now = [&site.canary, &site.second].map(|node| versions.get(node).cloned().flatten());
    proofs.check(now == [newer.clone(), newer], format!("two members run the new version: {versions:?}"));
    Ok(())
}

/// One node of the run, then the rest of it.
pub(super) fn taken_back(desk: &mut Desk<'_, '_>, site: &Site, proofs: &mut Proofs) -> Result<()> {
    desk.types(&format!("drydock run rollback 2 --node {} --wait", site.second), 0, proofs)?;
    is_rollback(desk.scene, (4, UPGRADE), &site.second, proofs)?;
    desk.types("drydock run rollback 2 --wait", 0, proofs)?;
    is_rollback(desk.scene, (5, UPGRADE), &site.canary, proofs)?;
    desk.types(&format!("drydock node show {}", site.second), 0, proofs)?;
    desk.takes("drydock node release", 0, proofs)?;
    Ok(())
}

/// What was taken back is quarantined: the next run holds for it, and goes on by the very line that the hold offers.
pub(super) fn held(desk: &mut Desk<'_, '_>, site: &Site, proofs: &mut Proofs) -> Result<()> {
    desk.types(&format!("drydock run start {PLAN} --wait"), 3, proofs)?;
    desk.types("drydock why", 3, proofs)?;
    let run = desk.scene.fleet.run(6)?;
    let at = run.hold.as_ref().and_then(|hold| hold.node.clone());
    proofs.check(
        run.status == "held" && at.as_ref() == Some(&site.canary),
        format!("run 6 is {} at {at:?}: {:?}", run.status, run.hold.map(|hold| hold.reason)),
    );
    desk.takes("drydock node release", 0, proofs)?;
    let waits = |run: &RunSeen| kind(run) == "approval" && run.handed_out.is_empty();
    let run = until(desk.scene, 6, "the canary to be done again", waits)?;
    let done = run.node(&site.canary).is_some_and(|node| node.phase == "done");
    proofs.check(done, format!("{} was let go and upgraded: the line works as it stands", site.canary));
    desk.types("drydock why", 0, proofs)?;
    desk.takes("drydock run abort", 0, proofs)?;
    desk.types("drydock run rollback 6 --wait", 0, proofs)?;
    is_rollback(desk.scene, (7, 6), &site.canary, proofs)?;
    // Once more, and the other way on is taken: without that node.
    desk.types(&format!("drydock run start {PLAN} --wait"), 3, proofs)?;
    desk.takes("drydock run skip", 0, proofs)?;
    let run = until(desk.scene, 8, "the rest to wait for its approval", waits)?;
    let skipped = run.node(&site.canary).is_some_and(|node| node.phase == "skipped");
    proofs.check(skipped, format!("{} is left out, and the run goes on", site.canary));
    desk.types("drydock run abort 8", 0, proofs)?;
    Ok(())
}

/// The first run is the rollback of the second, and took this node back.
fn is_rollback(scene: &Scene<'_>, (number, of): (u64, u64), node: &str, proofs: &mut Proofs) -> Result<()> {
    let run = scene.fleet.run(number)?;
    let asked = run.nodes().filter(|node| node.phase != "skipped");
    let nodes: Vec<(&str, &str)> = asked.map(|node| (node.node.as_str(), node.phase.as_str())).collect();
    proofs.check(
        run.status == "done" && run.undoes == Some(of) && nodes == [(node, "done")],
        format!("run {number} is {} and has taken back of run {:?}: {nodes:?}", run.status, run.undoes),
    );
    Ok(())
}

/// What is left to read in the morning.
pub(super) fn told(desk: &mut Desk<'_, '_>, proofs: &mut Proofs) -> Result<()> {
    desk.types("drydock why", 0, proofs)?;
    desk.types("drydock run list", 0, proofs)?;
    let report = desk.types("drydock run report 2", 0, proofs)?;
    for told in ["soak of etcd/rest", "approved by bert", "paused by admin", "left out by admin"] {
        proofs.check(report.text().contains(told), format!("the report has it: {told:?}"));
    }
    desk.types("drydock audit verify", 0, proofs)?;
    Ok(())
}

fn kind(run: &RunSeen) -> &str {
    run.waiting.as_ref().map_or("", |waiting| waiting.kind.as_str())
}

fn until(scene: &Scene<'_>, number: u64, what: &str, is: impl Fn(&RunSeen) -> bool) -> Result<RunSeen> {
    let mut last = None;
    let seen = wait::until(
        what,
        scene::RUN,
        Duration::from_millis(100),
        || {
            let run = scene.fleet.run(number)?;
            let found = is(&run).then(|| run.clone());
            last = Some(run);
            Ok(found)
        },
        || format!("see `drydock run show {number}`"),
    );
    seen.with_context(|| format!("{last:#?}"))
}

/// By the coordinator's log: screens are slower than a change is long.
fn until_phase(scene: &Scene<'_>, node: &str, phase: &str) -> Result<()> {
    let mut log = scene.fleet.log();
    wait::until(
        &format!("{node} to be {phase}"),
        scene::RUN,
        Duration::from_millis(2),
        || {
            log.news()?;
            Ok((log.phase_of(node) == Some(phase)).then_some(()))
        },
        || "see the coordinator's log".to_owned(),
    )?;
    Ok(())
}
