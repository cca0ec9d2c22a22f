//! What a section's end means for its node.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{
    EffectId, NodeKey, NodeName, Outcome, SectionKind, Version,
    outcome::{Failure, SectionResult},
};

use super::{
    AFTER_LAPSE_MS,
    control::phase_deadline,
    hold::{HoldBecause, hold, hold_of},
    same_bytes,
};
use crate::{
    Now,
    hold_kind::HoldKind,
    run::{Effect, JournalRef, Lapses, LastChange, Left, NodeRun, OpenEffect, Run},
    view::{Phase, RunStatus},
};

/// The step that an agent names when the guards of `canUndo` did not hold: nothing was touched then.
const GUARDS: &str = "canUndo";

/// The node that has this effect open.
fn open_at(run: &Run, effect: EffectId) -> Option<(usize, SectionKind)> {
    let index = run.nodes.iter().position(|node| node.has_open(effect))?;
    Some((index, run.nodes[index].open.as_ref()?.kind))
}

pub(super) fn ended(run: &mut Run, outcome: &Outcome, now: Now) {
    let Some((index, kind)) = open_at(run, outcome.effect) else { return };
    // An outcome may come after the run already held for its lateness: the hold has served its purpose.
    if run.nodes[index].phase == Phase::Held {
        come_back_from_late(run, index, kind, now);
    }
    let node = &mut run.nodes[index];
    let sent_ms = node.open.take().map_or(now.clock_ms, |open| open.sent_ms);
    node.lapses = None;
    node.steps.extend(outcome.steps.iter().cloned());
    node.evidence.extend(outcome.evidence.iter().cloned());
    if kind == SectionKind::Apply {
        remember_change(node, outcome);
    }
    if outcome.out_of_service.is_some() {
        node.out_of_service_ms = outcome.out_of_service.map(|time| time.0);
    }
    match &outcome.result {
        SectionResult::Done {} => done(run, index, kind, sent_ms, now),
        SectionResult::Undone { failure } => undone(run, index, failure, now),
        SectionResult::Refused { failure } | SectionResult::Failed { failure } => {
            unchanged(run, index, kind, failure, now);
        }
        SectionResult::LeftAlone { failure, because } if kind == SectionKind::Undo => {
            not_taken_back(run, index, failure, because, now);
        }
        SectionResult::LeftAlone { failure, because } => left_alone(run, index, failure, because, now),
        SectionResult::Undecidable { step, because } => undecidable(run, index, step, because, now),
    }
}

/// What a rollback would have to take back. An attempt that changed nothing, or took itself back, leaves what an
/// earlier one did.
fn remember_change(node: &mut NodeRun, outcome: &Outcome) {
    let effect = outcome.effect;
    let left = match &outcome.result {
        SectionResult::Done {} => Left::Whole,
        SectionResult::LeftAlone { .. } => Left::HalfWay,
        SectionResult::Undecidable { .. } => Left::Unknown,
        SectionResult::Undone { .. } | SectionResult::Refused { .. } | SectionResult::Failed { .. } => return,
    };
    node.last_change = Some(LastChange { effect, left });
}

/// The run held because this was late; the node is put back where it was, and the run stays held until
/// somebody resumes it.
fn come_back_from_late(run: &mut Run, index: usize, kind: SectionKind, now: Now) {
    let node = &mut run.nodes[index];
    node.ended = None;
    node.enter(phase_of(kind), now);
    let name = node.name.clone();
    let Some(hold) = hold_of(run, index) else { return };
    hold.kind = HoldKind::ToBeDecided;
    hold.node = None;
    hold.reason = format!("{name} reported late, and the run waits for a decision");
    hold.state_now = format!("the {} section of {name} has ended", kind.as_str());
}

const fn phase_of(kind: SectionKind) -> Phase {
    match kind {
        SectionKind::Stage => Phase::Staging,
        SectionKind::Protect => Phase::Protecting,
        SectionKind::Apply | SectionKind::Undo => Phase::Applying,
    }
}

fn done(run: &mut Run, index: usize, kind: SectionKind, sent_ms: u64, now: Now) {
    let stage = run.nodes[index].stage;
    match kind {
        SectionKind::Stage => {
            if let Some(what) = same_bytes::differs(run, index) {
                return other_bytes(run, index, what, now);
            }
            let node = &mut run.nodes[index];
            node.staged = true;
            node.enter(Phase::Staged, now);
        }
        SectionKind::Protect => {
            let node = &mut run.nodes[index];
            node.enter(Phase::Rechecking, now);
            node.protections = node.protections.saturating_add(1);
            // As old as its section: an outcome can come long after the snapshot.
            node.protected_at_ms = Some(sent_ms);
            run.protected_at_ms.insert(stage, sent_ms);
        }
        SectionKind::Apply | SectionKind::Undo => enter_returning(run, index, now),
    }
}

/// Staged with other files than the nodes before it: nothing was changed on it yet.
fn other_bytes(run: &mut Run, index: usize, what: String, now: Now) {
    let name = run.nodes[index].name.clone();
    let because = HoldBecause {
        kind: HoldKind::OtherBytes,
        reason: format!("{name} would get other packages than the nodes before it"),
        happened: what,
        state_now: format!("nothing was changed on {name}: it runs what it ran"),
        resume_at: Phase::Pending,
        next_attempt: true,
    };
    hold(run, index, because, now);
}

/// Changed, or taken back: its checks must become clear in time.
pub(super) fn enter_returning(run: &mut Run, index: usize, now: Now) {
    run.nodes[index].enter(Phase::Returning, now);
    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
}

fn undone(run: &mut Run, index: usize, failure: &Failure, now: Now) {
    let node = &mut run.nodes[index];
    node.failure = Some(failure.clone());
    node.undone = true;
    enter_returning(run, index, now);
}

/// Taken back and seen to be back: the node is rolled back, the run holds.
pub(super) fn rolled_back(run: &mut Run, index: usize, now: Now) {
    let node = &run.nodes[index];
    let stage = run.stage_of(node);
    let from = node.from.as_ref().map_or_else(|| "what it was".to_string(), Version::to_string);
    let (name, to, component) = (&node.name, &stage.to, &stage.component);
    let runs = node.seen.as_ref().and_then(|seen| seen.exe_sha256);
    if runs.is_some() && runs == stage.artifact.as_ref().map(|artifact| artifact.sha256) {
        // An earlier attempt, of which nothing was known, had put it there: taken back was only the last one.
        let because = HoldBecause {
            kind: HoldKind::LeftAlone,
            reason: format!(
                "{name} is as it was before this attempt, and that is what an earlier attempt left there"
            ),
            happened: node
                .failure
                .as_ref()
                .map(|failure| format!("{}: {}", failure.step, failure.what))
                .unwrap_or_default(),
            state_now: format!("the executable in memory is this run's own; {component} answers {from}"),
            resume_at: Phase::Pending,
            next_attempt: true,
        };
        return hold(run, index, because, now);
    }
    let because = HoldBecause {
        kind: HoldKind::RolledBack,
        reason: format!("{name} did not come back with {component} {to}, and is back on {from}"),
        happened: node
            .failure
            .as_ref()
            .map(|failure| format!("{}: {}", failure.step, failure.what))
            .unwrap_or_default(),
        state_now: format!(
            "{name} runs {from} again and its checks are clear; nothing of this run is left on it"
        ),
        resume_at: Phase::Staged,
        next_attempt: true,
    };
    hold(run, index, because, now);
}

fn unchanged(run: &mut Run, index: usize, kind: SectionKind, failure: &Failure, now: Now) {
    run.nodes[index].failure = Some(failure.clone());
    let name: NodeName = run.nodes[index].name.clone();
    let because = HoldBecause {
        kind: HoldKind::NothingChanged,
        reason: format!("{name} could not do its {} section", kind.as_str()),
        happened: format!("{}: {}", failure.step, failure.what),
        state_now: format!("nothing was changed on {name}: it runs what it ran"),
        resume_at: if kind == SectionKind::Stage { Phase::Pending } else { Phase::Staged },
        next_attempt: true,
    };
    hold(run, index, because, now);
}

fn left_alone(run: &mut Run, index: usize, failure: &Failure, why: &str, now: Now) {
    run.nodes[index].failure = Some(failure.clone());
    let (name, to) = (run.nodes[index].name.clone(), run.stage_of(&run.nodes[index]).to.clone());
    let because = HoldBecause {
        kind: HoldKind::LeftAlone,
        reason: format!("{name} failed on its way to {to} and was not taken back: {why}"),
        happened: format!("{}: {}", failure.step, failure.what),
        state_now: format!("the new binary was left alone on {name}; nothing further was changed"),
        resume_at: Phase::Returning,
        next_attempt: false,
    };
    hold(run, index, because, now);
}

/// An undo by command that its agent could not do, or must not: past a point of no return nothing was touched.
fn not_taken_back(run: &mut Run, index: usize, failure: &Failure, why: &str, now: Now) {
    let node = &mut run.nodes[index];
    let untouched = failure.step == GUARDS;
    // Where it stands half-way and is down, the gate would only keep it there.
    node.half_way |= !untouched;
    node.failure = Some(failure.clone());
    let (name, component) = (node.name.clone(), run.stage_of(&run.nodes[index]).component.clone());
    let because = HoldBecause {
        kind: HoldKind::NotTakenBack,
        reason: format!("the change of {component} on {name} was not taken back: {why}"),
        happened: format!("{}: {}", failure.step, failure.what),
        state_now: if untouched {
            format!("nothing was touched on {name}: it runs what it ran, in service as far as Drydock knows")
        } else {
            format!("{name} is half-way between the two versions; nothing further was changed")
        },
        resume_at: Phase::Pending,
        next_attempt: true,
    };
    if !untouched {
        run.nodes[index].unsettled = Some(because.reason.clone());
    }
    hold(run, index, because, now);
}

fn undecidable(run: &mut Run, index: usize, step: &str, why: &str, now: Now) {
    let name = run.nodes[index].name.clone();
    let because = HoldBecause {
        kind: HoldKind::Undecidable,
        reason: format!("nobody can tell whether `{step}` took place on {name}; look at it before going on"),
        happened: why.to_string(),
        state_now: format!("{name} is as the interruption left it; nothing was tried again"),
        resume_at: Phase::Staged,
        next_attempt: true,
    };
    hold(run, index, because, now);
}

/// An outcome that its node did not sign. The section is still waited for, until its deadline, and the wait says
/// what came instead.
pub(super) fn refused(run: &mut Run, effect: EffectId, why: &str, now: Now) {
    let Some((index, kind)) = open_at(run, effect) else { return };
    let node = &mut run.nodes[index];
    if !node.phase.is_ended() {
        node.wait_for(&format!("the outcome of the {} section", kind.as_str()), why, now);
    }
}

/// Never begun: the node goes back to where the section would have been decided, and is judged anew.
pub(super) fn lapsed(run: &mut Run, effect: EffectId, why: &str, now: Now) {
    let Some((index, kind)) = open_at(run, effect) else { return };
    let before = if kind == SectionKind::Stage { Phase::Pending } else { Phase::Staged };
    let node = &mut run.nodes[index];
    node.open = None;
    let name = node.name.clone();
    // Also while the run is being aborted: a node that a person was told of stays as it was told.
    if node.phase == Phase::Held
        && let Some(hold) = hold_of(run, index)
    {
        hold.state_now = format!("the section was never begun on {name}: {why}");
        hold.resume_at = before;
        return;
    }
    put_off(run, index, &format!("{} section", kind.as_str()), why, before, now);
}

/// What a node was to begin it has not: it goes back to `before`, and is taken up again after a while; the longer the
/// more often. When that has lasted as long as a gate may stay shut, the run holds.
pub(super) fn put_off(run: &mut Run, index: usize, what: &str, why: &str, before: Phase, now: Now) {
    let patience = run.stage_of(&run.nodes[index]).recipe.spec.deadlines.gate;
    let node = &mut run.nodes[index];
    let name = node.name.clone();
    let lapses = node.lapses.unwrap_or(Lapses { since: now, count: 0 });
    node.enter(before, now);
    node.lapses = Some(Lapses { count: lapses.count.saturating_add(1), ..lapses });
    if run.status == RunStatus::Running && now.clock_ms >= lapses.since.clock_ms.saturating_add(patience.0) {
        let because = HoldBecause {
            kind: HoldKind::NeverBegun,
            reason: format!("{name} has not begun its {what} for {patience}"),
            happened: why.to_string(),
            state_now: format!("nothing was changed on {name} by it"),
            resume_at: before,
            next_attempt: false,
        };
        return hold(run, index, because, now);
    }
    let pause = AFTER_LAPSE_MS[(lapses.count as usize).min(AFTER_LAPSE_MS.len() - 1)];
    node.not_before_ms = now.clock_ms.saturating_add(pause);
    node.wait_for(&format!("the {what} to be begun"), why, now);
    if let Some(waiting) = &mut node.waiting {
        waiting.since = lapses.since;
    }
}

/// From now on a journal that does not know of it is an older one.
pub(super) fn accepted(run: &mut Run, effect: EffectId) {
    let open = run.nodes.iter_mut().filter_map(|node| node.open.as_mut());
    open.filter(|open| open.effect == effect).for_each(|open| open.accepted = true);
}

/// Its agent's journal does not hold it. Where it did, what changes nothing in service is simply done again.
pub(super) fn not_known(run: &mut Run, effect: EffectId, now: Now) {
    let Some(index) = open_at(run, effect).map(|(index, _)| index) else { return };
    let Some(open) = run.nodes[index].open.clone() else { return };
    if !open.accepted {
        return lapsed(run, effect, "its agent never accepted it", now);
    }
    let why = "its agent had it in its journal, and came back with an older one that does not know of it";
    if matches!(open.kind, SectionKind::Stage | SectionKind::Protect) {
        return lapsed(run, effect, why, now);
    }
    memory_lost(run, index, &open, why, now);
}

/// Whoever would know what became of a section does not remember it.
fn memory_lost(run: &mut Run, index: usize, open: &OpenEffect, why: &str, now: Now) {
    let node = &mut run.nodes[index];
    node.open = None;
    if open.kind == SectionKind::Apply {
        node.last_change = Some(LastChange { effect: open.effect, left: Left::Unknown });
    }
    undecidable(run, index, open.kind.as_str(), why, now);
}

/// The agent will not have it, and would not have it again.
pub(super) fn declined(run: &mut Run, effect: EffectId, why: &str, now: Now) {
    let Some((index, kind)) = open_at(run, effect) else { return };
    run.nodes[index].open = None;
    let name = run.nodes[index].name.clone();
    let because = HoldBecause {
        kind: HoldKind::Declined,
        reason: format!("the agent of {name} declined the {} section", kind.as_str()),
        happened: why.to_string(),
        state_now: format!("nothing was changed on {name}"),
        resume_at: if kind == SectionKind::Stage { Phase::Pending } else { Phase::Staged },
        next_attempt: true,
    };
    hold(run, index, because, now);
}

/// An agent that has opened its stream.
pub(super) struct Connected<'a> {
    pub(super) node: &'a NodeName,
    pub(super) key: NodeKey,
    pub(super) journal: JournalRef,
}

/// What was handed to this agent before is asked about, unless the journal that would know is gone.
pub(super) fn connected(run: &mut Run, agent: &Connected<'_>, now: Now, effects: &mut Vec<Effect>) {
    // What was not clear may have been so for want of this very stream: it is looked at again at once, and soon
    // after where a look is under way that was asked for without it.
    for node in run.nodes.iter_mut().filter(|node| node.unclear > 0) {
        node.unclear = 1;
        node.look_again_ms = node.look_again_ms.map(|at| at.min(now.clock_ms));
    }
    for index in 0..run.nodes.len() {
        let node = &mut run.nodes[index];
        if &node.name != agent.node || node.key != agent.key {
            continue;
        }
        let before = node.journal.replace(agent.journal);
        // What lapsed for want of a stream need not wait longer.
        node.not_before_ms = node.not_before_ms.min(now.clock_ms);
        let Some(open) = node.open.clone() else { continue };
        let lost = before
            .is_some_and(|before| before.id != agent.journal.id || agent.journal.length < before.length);
        if lost {
            let why = "its agent came back without the journal that it had: nothing tells what became of the section";
            memory_lost(run, index, &open, why, now);
        } else {
            effects.push(Effect::Ask { node: agent.node.clone(), effect: open.effect });
        }
    }
}
