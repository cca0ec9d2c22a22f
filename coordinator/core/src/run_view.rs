//! From a run's state to what operators see of it.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{EffectId, NodeName};

use crate::{
    Now,
    inventory::{Role, Seen},
    run::{CheckResult, Event, Hold, NodeRun, Recorded, Run},
    view::{
        CommandView, EstimateView, EventLineView, HoldView, Phase, RunLineView, RunNodeView, RunStageView,
        RunStatus, RunView, RunWaveView, WaitingView,
    },
};

/// How the record's line of a pause begins: it is found again by it.
const PAUSED_BY: &str = "paused by ";

/// What is true at this moment and not worth writing down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Nodes whose stream is not open, and since when (Unix ms).
    pub silent: BTreeMap<NodeName, u64>,
    /// The step that a node's agent is at, and how far.
    pub at_step: BTreeMap<NodeName, (String, Option<(u64, u64)>)>,
    /// Median and number of earlier nodes' times, from other runs of the recipe.
    pub earlier: Option<(u64, u64)>,
}

/// The whole run.
#[must_use]
pub fn view(run: &Run, live: &Live, log: Vec<EventLineView>, now: Now) -> RunView {
    let waiting = waiting(run, live, &log, now);
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
        stopped_by: run.stopped_by.clone(),
        handed_out: run.handed_out(),
        stages: stages(run, live),
        waiting,
        hold: hold(run),
        estimate: estimate(run, live, now),
        log,
    }
}

/// One line of `run list`.
#[must_use]
pub fn line(run: &Run) -> RunLineView {
    let count = |keep: fn(&NodeRun) -> bool| run.nodes.iter().filter(|node| keep(node)).count() as u64;
    let at = run.nodes.iter().find(|node| is_at_work(node.phase));
    let summary = match (&run.hold, at) {
        (Some(hold), _) => hold.reason.clone(),
        (None, Some(node)) => format!("{} {}", node.name, node.phase.word()),
        (None, None) => {
            let behind = run.queued_behind.filter(|_| !run.status.is_closed());
            behind.map(|other| format!("queued behind run {other}")).unwrap_or_default()
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

const fn is_at_work(phase: Phase) -> bool {
    !phase.is_ended() && !matches!(phase, Phase::Pending | Phase::Staging | Phase::Staged)
}

fn stages(run: &Run, live: &Live) -> Vec<RunStageView> {
    let wave_view = |stage_index: usize, wave_index: usize| {
        let stage = &run.plan.stages[stage_index];
        let wave = &stage.waves[wave_index];
        let here = |node: &&NodeRun| (node.stage, node.wave) == (stage_index, wave_index);
        let mut nodes: Vec<&NodeRun> = run.nodes.iter().filter(here).collect();
        // In the order in which they left service; the others as foreseen, leaders last.
        nodes.sort_by_key(|node| (node.began.map_or(u64::MAX, |at| at.clock_ms), node.deferred));
        RunWaveView {
            name: wave.name.clone(),
            nodes: nodes.into_iter().map(|node| node_view(run, node, live)).collect(),
            point_of_no_return: crate::plan::point_of_no_return(stage, wave),
        }
    };
    let stage_view = |(index, stage): (usize, &crate::plan::PlanStage)| RunStageView {
        name: stage.name.clone(),
        component: stage.component.clone(),
        to: stage.to.clone(),
        waves: (0..stage.waves.len()).map(|wave| wave_view(index, wave)).collect(),
    };
    run.plan.stages.iter().enumerate().map(stage_view).collect()
}

fn node_view(run: &Run, node: &NodeRun, live: &Live) -> RunNodeView {
    // What a silent agent was at is not what it is at.
    let heard = node.open.is_some() && !live.silent.contains_key(&node.name);
    let at = live.at_step.get(&node.name).filter(|_| heard);
    let note =
        node.waiting.as_ref().map(|waiting| format!("waits for {}: {}", waiting.what, waiting.because));
    RunNodeView {
        node: node.name.clone(),
        phase: node.phase,
        since_unix_ms: node.since.wall_ms,
        from: node.from.clone(),
        now: node.seen.as_ref().and_then(Seen::answered).cloned(),
        to: run.stage_of(node).to.clone(),
        role: node.seen.as_ref().and_then(|seen| seen.role).map(Role::word).map(ToString::to_string),
        step: at.map(|(step, _)| step.clone()),
        progress: at.and_then(|(_, progress)| *progress),
        began_unix_ms: node.began.map(|at| at.wall_ms),
        ended_unix_ms: node.ended.map(|at| at.wall_ms),
        planned_ms: run.planned_ms.get(&node.stage).copied(),
        out_of_service_ms: node.out_of_service_ms,
        soak_ms: run.wave_of(node).soak.0,
        note: note.unwrap_or_else(|| node.note.clone()),
        attempt: node.attempt,
        evidence: node.evidence.clone(),
        steps: node.steps.clone(),
        failure: node.failure.clone(),
    }
}

fn command(does: &str, command: String) -> CommandView {
    CommandView { does: does.to_string(), command }
}

/// The first thing that is not clear.
fn waiting(run: &Run, live: &Live, log: &[EventLineView], now: Now) -> Option<WaitingView> {
    if run.status == RunStatus::Queued {
        return run.queued_behind.map(|other| queued(run, other, now));
    }
    if run.status == RunStatus::Paused {
        return Some(paused(run, log, now));
    }
    if run.status == RunStatus::Held || run.status.is_closed() {
        return None;
    }
    let node = run.nodes.iter().find(|node| is_at_work(node.phase) && blocker(node, live).is_some());
    let node = node
        .or_else(|| run.nodes.iter().find(|node| !node.phase.is_ended() && blocker(node, live).is_some()))?;
    let blocker = blocker(node, live)?;
    let name = &node.name;
    let left_ms = node.deadline_ms.map(|deadline| deadline.saturating_sub(now.clock_ms));
    let then = match left_ms {
        Some(_) => format!("the run holds at {name} and asks you"),
        None => String::new(),
    };
    Some(WaitingView {
        node: Some(name.clone()),
        phase: Some(node.phase),
        waiting_for: blocker.what,
        because: blocker.because,
        since_unix_ms: blocker.since_unix_ms,
        seen_unix_ms: blocker.seen_unix_ms.unwrap_or(now.wall_ms),
        at_work: blocker.at_work,
        left_ms,
        then,
        can: can(run, node, live),
    })
}

/// What an operator can type while the run waits at this node. Only what does something in this state.
fn can(run: &Run, node: &NodeRun, live: &Live) -> Vec<CommandView> {
    let (number, name) = (run.number, &node.name);
    // Who is silent: the node itself, and whoever is named as the reason.
    let words = |text: &str, name: &NodeName| {
        text.split(|c: char| c.is_whitespace() || ",;:()".contains(c)).any(|word| word == name.as_str())
    };
    let named = |other: &NodeName| node.waiting.as_ref().is_some_and(|it| words(&it.because, other));
    let silent = live.silent.keys().filter(|other| (*other == name && node.open.is_some()) || named(other));
    let ask = |other: &NodeName| {
        command(
            &format!("type it on {other}: does its agent run?"),
            "systemctl status drydock-agent".to_string(),
        )
    };
    let mut list: Vec<CommandView> = silent.take(3).map(ask).collect();
    list.push(command(
        "see what was done to the node and seen on it",
        format!("drydock run show {number} --node {name}"),
    ));
    if run.status == RunStatus::Running {
        list.push(command("hand out nothing new", format!("drydock run pause {number}")));
        list.push(command(&ends(run), format!("drydock run abort {number}")));
    }
    list
}

/// What `run abort` does now.
fn ends(run: &Run) -> String {
    match run.handed_out().as_slice() {
        [] => format!("end the run: {}", stays(run)),
        open => format!("end the run: no further node begins, {} ends first", open.join(", ")),
    }
}

/// What an aborted run leaves behind.
fn stays(run: &Run) -> String {
    let done: Vec<&str> =
        run.nodes.iter().filter(|node| node.phase == Phase::Done).map(|node| node.name.as_str()).collect();
    match done.as_slice() {
        [] => "no node is upgraded".to_string(),
        [one] => format!("{one} stays upgraded"),
        [one, two] => format!("{one} and {two} stay upgraded"),
        many => format!("the {} nodes that are done stay upgraded", many.len()),
    }
}

/// What is in a node's way, or at work on it.
struct Blocker {
    what: String,
    because: String,
    since_unix_ms: u64,
    seen_unix_ms: Option<u64>,
    at_work: bool,
}

fn blocker(node: &NodeRun, live: &Live) -> Option<Blocker> {
    if let (Some(open), Some(since)) = (&node.open, live.silent.get(&node.name)) {
        let name = &node.name;
        return Some(Blocker {
            what: format!("the {} section of {name} to end", open.kind.as_str()),
            because: format!(
                "the agent of {name} is silent; if it runs it goes on by itself, and reports when it is back"
            ),
            since_unix_ms: *since,
            seen_unix_ms: Some(*since),
            at_work: false,
        });
    }
    if let Some(waiting) = &node.waiting {
        return Some(Blocker {
            what: format!("{} at {}", waiting.what, node.name),
            because: waiting.because.clone(),
            since_unix_ms: waiting.since.wall_ms,
            seen_unix_ms: Some(waiting.seen.wall_ms),
            at_work: false,
        });
    }
    let open = node.open.as_ref()?;
    let at = live.at_step.get(&node.name).map(|(step, _)| format!(": {step}")).unwrap_or_default();
    Some(Blocker {
        what: format!("the {} section of {} to end", open.kind.as_str(), node.name),
        because: format!("its agent is at work on it{at}"),
        since_unix_ms: node.since.wall_ms,
        seen_unix_ms: None,
        at_work: true,
    })
}

fn queued(run: &Run, other: u64, now: Now) -> WaitingView {
    WaitingView {
        node: None,
        phase: None,
        waiting_for: format!("run {other} to end"),
        because: "both want some of the same nodes".to_string(),
        since_unix_ms: run.started.wall_ms,
        seen_unix_ms: now.wall_ms,
        at_work: false,
        left_ms: None,
        then: format!("run {other} is done or aborted; then run {} begins by itself", run.number),
        can: vec![
            command("see what that run waits for", format!("drydock why {other}")),
            command("take this run out of the queue", format!("drydock run abort {}", run.number)),
        ],
    }
}

fn paused(run: &Run, log: &[EventLineView], now: Now) -> WaitingView {
    // The record knows when; the state does not.
    let since = log.iter().rev().find(|line| line.node.is_none() && line.text.starts_with(PAUSED_BY));
    let by = run.stopped_by.as_deref().unwrap_or("an operator");
    let out = run.handed_out();
    let because = match out.is_empty() {
        true => format!("{by} paused it; nothing is handed out"),
        false => format!("{by} paused it; handed out before and ending by itself: {}", out.join(", ")),
    };
    WaitingView {
        node: None,
        phase: None,
        waiting_for: "an operator to let it go on".to_string(),
        because,
        since_unix_ms: since.map_or(run.started.wall_ms, |line| line.unix_ms),
        seen_unix_ms: now.wall_ms,
        at_work: false,
        left_ms: None,
        then: "somebody resumes or aborts it; by itself it stays as it is".to_string(),
        can: vec![
            command("go on", format!("drydock run resume {}", run.number)),
            command(&ends(run), format!("drydock run abort {}", run.number)),
        ],
    }
}

fn hold(run: &Run) -> Option<HoldView> {
    let hold = run.hold.as_ref()?;
    let node = hold.node.and_then(|index| run.nodes.get(index));
    let failure = node.and_then(|node| node.failure.as_ref());
    let again = match (hold.next_attempt, node) {
        (true, Some(node)) => {
            format!("try {} again, as attempt {}", node.name, node.attempt.saturating_add(1))
        }
        (false, Some(node)) => format!("look at {} again and go on if it is well", node.name),
        (_, None) => "go on".to_string(),
    };
    let abort = format!("drydock run abort {}", run.number);
    let mut next = if run.status == RunStatus::Aborting {
        vec![command("end the run without waiting for that agent any longer", abort)]
    } else {
        let resume = format!("drydock run resume {}", run.number);
        vec![command(&again, resume), command(&format!("leave it here: {}", stays(run)), abort)]
    };
    if let Some(node) = node {
        let see = format!("drydock run show {} --node {}", run.number, node.name);
        next.push(command("see what was done to the node and seen on it", see));
    }
    Some(HoldView {
        node: node.map(|node| node.name.clone()),
        phase: node.map(|_| hold.from),
        reason: hold.reason.clone(),
        happened: hold.happened.clone(),
        on_the_node: failure.map(|failure| failure.next.clone()).unwrap_or_default(),
        state_now: state_now(run, hold),
        since_unix_ms: hold.since.wall_ms,
        log: failure.map(|failure| failure.log.clone()).unwrap_or_default(),
        next,
    })
}

/// How things stand, and what else it holds for: that has its own decision after this one.
fn state_now(run: &Run, hold: &Hold) -> String {
    let behind = run.holds_behind.iter().map(|other| format!("; after this it holds for: {}", other.reason));
    core::iter::once(hold.state_now.clone()).chain(behind).collect()
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
    let left = run.nodes.iter().filter(|node| !node.phase.is_ended());
    let left_of = |node: &NodeRun| {
        let spent = node.began.map_or(0, |at| now.clock_ms.saturating_sub(at.clock_ms));
        per_node_ms.saturating_sub(spent)
    };
    Some(EstimateView { total_ms: left.map(left_of).sum(), per_node_ms, samples })
}

/// An event as it stands in the record: what it changed, in one line.
#[must_use]
pub fn record(was: &Run, is: &Run, event: &Event) -> Recorded {
    let (node, text) = narrate(was, is, event);
    Recorded { event: event.clone(), node, text }
}

fn narrate(was: &Run, is: &Run, event: &Event) -> (Option<NodeName>, String) {
    match event {
        Event::Started {} => (None, format!("started by {}", is.started_by)),
        Event::Unqueued {} => (None, "the run before it is closed; its turn".to_string()),
        Event::Tick {} => match moved(was, is) {
            Some((node, text)) => (Some(node), text),
            None => (None, "time passed".to_string()),
        },
        Event::Restarted {} => {
            (None, "a coordinator took the run over; everything is looked at again".to_string())
        }
        Event::AgentConnected { node, .. } => (Some(node.clone()), "its agent opened its stream".to_string()),
        Event::Looked { node, results, .. } => looked(was, is, *node, results),
        Event::Ended { outcome } => {
            let text = |kind: &str| format!("{kind} section {}", outcome.result.word());
            about(was, is, outcome.effect, &text)
        }
        Event::Lapsed { effect, why } => {
            about(was, is, *effect, &|kind| format!("{kind} section lapsed: {why}"))
        }
        Event::Declined { effect, why } => {
            about(was, is, *effect, &|kind| format!("{kind} section declined: {why}"))
        }
        Event::Paused { by } => (None, format!("{PAUSED_BY}{by}")),
        Event::Resumed { by } => (None, format!("resumed by {by}")),
        Event::Aborted { by } => (None, format!("aborted by {by}")),
    }
}

/// The first node whose phase changed, and where it is now.
fn moved(was: &Run, is: &Run) -> Option<(NodeName, String)> {
    let changed = was.nodes.iter().zip(&is.nodes).find(|(was, is)| was.phase != is.phase);
    changed.map(|(_, node)| (node.name.clone(), format!("now {}", node.phase.word())))
}

fn about(was: &Run, is: &Run, effect: EffectId, text: &dyn Fn(&str) -> String) -> (Option<NodeName>, String) {
    let opened = |node: &NodeRun| {
        node.open.as_ref().filter(|open| open.effect == effect).map(|open| open.kind.as_str())
    };
    let found =
        was.nodes.iter().zip(&is.nodes).find_map(|(was, is)| Some((opened(was).or_else(|| opened(is))?, is)));
    match found {
        Some((kind, node)) => (Some(node.name.clone()), format!("{}; now {}", text(kind), node.phase.word())),
        None => (None, text("a")),
    }
}

fn looked(was: &Run, is: &Run, index: usize, results: &[CheckResult]) -> (Option<NodeName>, String) {
    let Some((before, node)) = was.nodes.get(index).zip(is.nodes.get(index)) else {
        return (None, "looked at a node that is not there".to_string());
    };
    let unclear = results.iter().find(|result| !result.verdict.is_clear());
    let text = match (unclear, &node.waiting) {
        (Some(result), _) => format!("{}: {}", result.check, result.verdict.reason().unwrap_or_default()),
        (None, Some(waiting)) => format!("waits for {}: {}", waiting.what, waiting.because),
        (None, None) if before.phase == node.phase => format!("clear while {}", node.phase.word()),
        (None, None) => {
            let note = if node.note.is_empty() { String::new() } else { format!(" ({})", node.note) };
            format!("clear while {}; now {}{note}", before.phase.word(), node.phase.word())
        }
    };
    (Some(node.name.clone()), text)
}
