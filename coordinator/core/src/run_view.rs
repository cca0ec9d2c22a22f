//! From a run's state to what operators see of it.
//!
//! | module | what lives here |
//! |---|---|
//! | [`waiting`] | what a run waits for, and what can be typed meanwhile |
//! | [`hold`] | why it stopped on purpose, and the commands that go on |
//! | [`node`](mod@node) | what one node of it waits for |
//! | [`record`](mod@record) | events as lines of the record |

mod hold;
mod node;
mod record;
mod waiting;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{ClusterName, NodeName, Version};

pub use self::{
    node::node,
    record::{record, restored},
};
use crate::{
    Now,
    inventory::{Role, Seen},
    run::{Amendment, Approval, NodeRun, Run},
    standing::{Decision, Standing},
    view::{
        AmendmentView, ApprovalView, CommandView, EstimateView, EventLineView, FailedBeforeView, OutageView,
        Phase, RunLineView, RunNodeView, RunStageView, RunStatus, RunView, RunWaveView,
    },
};

/// What is true at this moment and not worth writing down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Nodes whose stream is not open, and since when (Unix ms).
    pub silent: BTreeMap<NodeName, u64>,
    /// The step that a node's agent is at, and how far.
    pub at_step: BTreeMap<NodeName, (String, Option<(u64, u64)>)>,
    /// Median and number of earlier nodes' times, from other runs of the recipe.
    pub earlier: Option<(u64, u64)>,
    /// The fleet is frozen.
    pub frozen: Option<Decision>,
    /// What stands on record about nodes, where there is something.
    pub standings: BTreeMap<NodeName, Standing>,
    /// Runs that take this one back, or parts of it.
    pub undone_by: Vec<u64>,
}

/// The whole run.
#[must_use]
pub fn view(run: &Run, live: &Live, log: Vec<EventLineView>, now: Now) -> RunView {
    let waiting = waiting::waiting(run, live, now);
    RunView {
        number: run.number,
        id: run.id,
        name: run.plan.name.clone(),
        file: run.plan.file.clone(),
        digest: run.plan.digest,
        status: run.status,
        started_by: run.started_by.clone(),
        started_unix_ms: run.started.wall_ms,
        ended_unix_ms: run.ended.map(|at| at.wall_ms),
        now_unix_ms: now.wall_ms,
        queued_behind: run.queued_behind,
        undoes: run.plan.undoes,
        undone_by: live.undone_by.clone(),
        stopped_by: run.stopped_by.clone(),
        stopped_unix_ms: run.stopped.map(|at| at.wall_ms),
        frozen: live.frozen.clone(),
        amendments: amendments(run),
        approvals: approvals(run),
        handed_out: run.handed_out(),
        failed_before: failed_before(run),
        stages: stages(run, live, now),
        waiting,
        hold: hold::hold(run, live),
        estimate: estimate(run, live, now),
        log,
    }
}

/// One line of `run list`.
#[must_use]
pub fn line(run: &Run) -> RunLineView {
    let count = |keep: fn(&NodeRun) -> bool| run.nodes.iter().filter(|node| keep(node)).count() as u64;
    let at = run.nodes.iter().find(|node| node.phase.is_at_work());
    let summary = match (&run.hold, at) {
        (Some(hold), _) => hold.reason.clone(),
        (None, Some(node)) => format!("{} {}", node.name, node.phase.word()),
        (None, None) => {
            let behind = run.queued_behind.filter(|_| !run.status.is_closed());
            let undoes = || run.plan.undoes.map(|of| format!("takes run {of} back"));
            behind.map(|other| format!("queued behind run {other}")).or_else(undoes).unwrap_or_default()
        }
    };
    RunLineView {
        number: run.number,
        name: run.plan.name.clone(),
        status: run.status,
        summary,
        started_by: run.started_by.clone(),
        started_unix_ms: run.started.wall_ms,
        ended_unix_ms: run.ended.map(|at| at.wall_ms),
        done: count(|node| node.phase == Phase::Done),
        total: count(|node| node.phase != Phase::Skipped),
    }
}

fn stages(run: &Run, live: &Live, now: Now) -> Vec<RunStageView> {
    let wave_view = |stage_index: usize, wave_index: usize| {
        let stage = &run.plan.stages[stage_index];
        let wave = &stage.waves[wave_index];
        let here = |node: &&NodeRun| (node.stage, node.wave) == (stage_index, wave_index);
        let mut nodes: Vec<&NodeRun> = run.nodes.iter().filter(here).collect();
        // In the order in which they left service; the others as foreseen, leaders last.
        nodes.sort_by_key(|node| (node.began.map_or(u64::MAX, |at| at.clock_ms), node.deferred));
        RunWaveView {
            name: wave.name.clone(),
            nodes: nodes.into_iter().map(|node| node_view(run, node, live, now)).collect(),
            point_of_no_return: crate::plan::point_of_no_return(stage, wave)
                .filter(|_| run.plan.undoes.is_none()),
        }
    };
    let stage_view = |(index, stage): (usize, &crate::plan::PlanStage)| RunStageView {
        name: stage.name.clone(),
        component: stage.component.clone(),
        to: reached(run, index).unwrap_or(&stage.to).clone(),
        waves: (0..stage.waves.len()).map(|wave| wave_view(index, wave)).collect(),
    };
    run.plan.stages.iter().enumerate().map(stage_view).collect()
}

/// What a stage's nodes are to run: in a run that takes another one back, what ran before on the first of them.
fn reached(run: &Run, stage: usize) -> Option<&Version> {
    // A rollback leaves nodes out: they say nothing about what the others go back to.
    let asked = |node: &&NodeRun| run.plan.undoes.is_none() || run.undo_of(node).is_some();
    run.wanted(run.nodes.iter().filter(asked).find(|node| node.stage == stage)?)
}

/// How long the service has been out that the plan lets be so for a while.
fn outage(run: &Run, node: &NodeRun, now: Now) -> Option<OutageView> {
    let outage = node.outage.as_ref()?;
    let accepted_ms = run.stage_of(node).outage.get(&outage.what).map_or(0, |accepted| accepted.0);
    let runs = matches!(run.status, RunStatus::Running | RunStatus::Paused | RunStatus::Aborting);
    let until_ms = run.outage_until_ms(node).filter(|_| runs && !node.phase.is_ended());
    Some(OutageView {
        what: outage.what.clone(),
        since_unix_ms: outage.since.wall_ms,
        accepted_ms,
        left_ms: until_ms.map(|until| until.saturating_sub(now.clock_ms)),
    })
}

fn node_view(run: &Run, node: &NodeRun, live: &Live, now: Now) -> RunNodeView {
    // What a silent agent was at is not what it is at.
    let heard = node.open.is_some() && !live.silent.contains_key(&node.name);
    let at = live.at_step.get(&node.name).filter(|_| heard);
    // What a closed run waited for last is worth knowing, and waited for no more.
    let waits = if run.status.is_closed() { "waited" } else { "waits" };
    let note =
        node.waiting.as_ref().map(|waiting| format!("{waits} for {}: {}", waiting.what, waiting.because));
    RunNodeView {
        node: node.name.clone(),
        phase: node.phase,
        since_unix_ms: node.since.wall_ms,
        from: node.from.clone(),
        now: node.seen.as_ref().and_then(Seen::answered).cloned(),
        to: run.wanted(node).unwrap_or(&run.stage_of(node).to).clone(),
        role: node.seen.as_ref().and_then(|seen| seen.role).map(Role::word).map(ToString::to_string),
        step: at.map(|(step, _)| step.clone()),
        progress: at.and_then(|(_, progress)| *progress),
        began_unix_ms: node.began.map(|at| at.wall_ms),
        ended_unix_ms: node.ended.map(|at| at.wall_ms),
        planned_ms: run.planned_ms.get(&node.stage).copied(),
        out_of_service_ms: node.out_of_service_ms,
        observed: node.observed.clone(),
        outage: outage(run, node, now),
        soak_ms: run.wave_of(node).soak.0,
        note: note.unwrap_or_else(|| node.note.clone()),
        attempt: node.attempt,
        evidence: node.evidence.clone(),
        steps: node.steps.clone(),
        failure: node.failure.clone(),
    }
}

/// A command that can be copied.
fn command(does: &str, command: String) -> CommandView {
    CommandView { does: does.to_string(), command }
}

/// Where `run show` tells everything about a node.
fn see_node(run: &Run, node: &NodeName) -> CommandView {
    let see = format!("drydock run show {} --node {node}", run.number);
    command("see what was done to the node and seen on it", see)
}

/// What an aborted run leaves behind.
fn stays(run: &Run) -> String {
    let done: Vec<&str> =
        run.nodes.iter().filter(|node| node.phase == Phase::Done).map(|node| node.name.as_str()).collect();
    let (is, as_it_is) = match run.plan.undoes {
        Some(_) => ("taken back", "back on what ran before"),
        None => ("upgraded", "upgraded"),
    };
    match done.as_slice() {
        [] => format!("no node is {is}"),
        [one] => format!("{one} stays {as_it_is}"),
        [one, two] => format!("{one} and {two} stay {as_it_is}"),
        many => format!("the {} nodes that are done stay {as_it_is}", many.len()),
    }
}

/// Who was changed, is watched, and is brought to its end whatever becomes of the run.
fn coming(run: &Run) -> String {
    let watched = run.nodes.iter().filter(|node| matches!(node.phase, Phase::Returning | Phase::Soaking));
    match watched.map(|node| node.name.as_str()).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [one] => format!(", {one} is brought to its end"),
        many => format!(", {} are brought to their end", many.join(" and ")),
    }
}

/// What `run abort` does now.
fn ends(run: &Run) -> String {
    match run.handed_out().as_slice() {
        [] => format!("end the run: {}{}", stays(run), coming(run)),
        [one] => format!("end the run: no further node begins, {one} ends first"),
        open => format!("end the run: no further node begins, {} end first", open.join(", ")),
    }
}

/// Median of this run's finished nodes from gate to done, and how many they are.
#[must_use]
pub fn median(run: &Run) -> Option<(u64, u64)> {
    let done = run.nodes.iter().filter(|node| node.phase == Phase::Done);
    let mut times: Vec<u64> =
        done.filter_map(|node| Some(node.ended?.clock_ms.saturating_sub(node.began?.clock_ms))).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied()?;
    Some((middle, times.len() as u64))
}

/// What is left, by the nodes so far, else by earlier runs.
fn estimate(run: &Run, live: &Live, now: Now) -> Option<EstimateView> {
    let (per_node_ms, samples) = median(run).or(live.earlier)?;
    let left = || run.nodes.iter().filter(|node| !node.phase.is_ended());
    let left_of = |node: &NodeRun| {
        let spent = node.began.map_or(0, |at| now.clock_ms.saturating_sub(at.clock_ms));
        per_node_ms.saturating_sub(spent)
    };
    // Nodes of one wave can be at work together.
    let mut waves: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for node in left() {
        *waves.entry((node.stage, node.wave)).or_default() += left_of(node);
    }
    let at_once =
        |(stage, wave): (usize, usize)| run.plan.at_once(&run.plan.stages[stage].waves[wave]) as u64;
    let total_ms = waves.into_iter().map(|(place, ms)| ms.div_ceil(at_once(place))).sum();
    Some(EstimateView { total_ms, per_node_ms, samples })
}

fn amendments(run: &Run) -> Vec<AmendmentView> {
    let line = |made: &Amendment| AmendmentView {
        what: made.what.clone(),
        by: made.by.clone(),
        unix_ms: made.at.wall_ms,
        from: made.from,
        to: made.to,
    };
    run.amendments.iter().map(line).collect()
}

fn failed_before(run: &Run) -> Vec<FailedBeforeView> {
    let line = |(cluster, said): (&ClusterName, &Vec<String>)| FailedBeforeView {
        cluster: cluster.clone(),
        said: said.clone(),
    };
    run.failed_before_said.iter().map(line).collect()
}

fn approvals(run: &Run) -> Vec<ApprovalView> {
    let line = |given: &Approval| ApprovalView {
        wave: run.place(given.stage, given.wave),
        by: given.by.clone(),
        unix_ms: given.at.wall_ms,
        digest: given.digest,
        stands: given.digest == run.plan.digest,
    };
    run.approvals.iter().map(line).collect()
}
