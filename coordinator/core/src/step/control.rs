//! What operators, restarts and the clock do to a run.

use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};

use drydock_types::{Millis, SectionKind};

use super::{
    hold::{HoldBecause, hold},
    moves, outage,
};
use crate::{
    Now,
    hold_kind::HoldKind,
    run::{Determined, Effect, LastChange, Left, NodeRun, Run},
    view::{Phase, RunStatus},
};

pub(super) fn started(run: &mut Run) {
    if run.status == RunStatus::Queued && run.queued_behind.is_none() {
        run.status = RunStatus::Running;
    }
}

/// Its turn. One that was paused in the queue stays paused, but no longer waits for the run before it.
///
/// What its plan saw was seen before that run changed these nodes: nobody is left out for it, nobody's order
/// or version is believed. Each gate looks anew, and leaves out whoever is there already.
pub(super) fn unqueued(run: &mut Run, now: Now) {
    if run.queued_behind.take().is_none() {
        return;
    }
    let undoes = run.plan.undoes.is_some();
    for node in run.nodes.iter_mut().filter(|node| !(undoes && node.phase == Phase::Skipped)) {
        node.enter(Phase::Pending, now);
        node.ended = None;
        node.seen = None;
        node.from = None;
        node.deferred = false;
        node.note.clear();
    }
    if run.status == RunStatus::Queued {
        run.status = RunStatus::Running;
    }
}

/// The run that this one takes back is over: what became of its changes. Only before anything has begun.
pub(super) fn determined(run: &mut Run, changes: &BTreeMap<usize, Determined>, now: Now) {
    if run.plan.undoes.is_none() || run.queued_behind.is_none() {
        return;
    }
    for (index, change) in changes {
        let Some(node) = run.nodes.get_mut(*index) else { continue };
        match change {
            Determined::There { half_way, mark } => {
                node.half_way = *half_way;
                (node.marked, node.mark_of) = (mark.is_some(), *mark);
            }
            Determined::Gone { why } => {
                // What the other run has left marked stands on record, and is not this one's.
                (node.marked, node.mark_of) = (false, None);
                node.enter(Phase::Skipped, now);
                node.note.clone_from(why);
            }
        }
    }
}

/// Nothing that was seen before the restart is believed: every look is taken anew, and a node between its
/// gate and its change goes back to the gate.
pub(super) fn restarted(run: &mut Run, now: Now) {
    for node in &mut run.nodes {
        node.look = None;
        if matches!(node.phase, Phase::Gating | Phase::Rechecking) {
            node.enter(Phase::Staged, now);
        }
        if matches!(node.phase, Phase::Returning | Phase::Soaking) {
            node.look_again_ms = Some(now.clock_ms);
        }
    }
    moves::restarted(run, now);
}

/// From here on nothing is handed out. A gate that is being looked at is left; what an agent already has
/// ends by itself.
pub(super) fn paused(run: &mut Run, by: &str, now: Now) {
    if matches!(run.status, RunStatus::Running | RunStatus::Queued) {
        run.status = RunStatus::Paused;
        run.stopped_by = Some(by.to_string());
        run.stopped = Some(now);
    }
}

/// The recorded decision of a person: what was held goes on, with a new attempt where one is needed.
pub(super) fn resumed(run: &mut Run, by: &str, now: Now, effects: &mut Vec<Effect>) {
    match run.status {
        RunStatus::Paused => {
            run.status = if run.queued_behind.is_some() { RunStatus::Queued } else { RunStatus::Running };
        }
        RunStatus::Held => {
            take_up(run, now, effects);
            if !run.holds_behind.is_empty() {
                // What else it holds for has its own decision.
                run.hold = Some(run.holds_behind.remove(0));
                return;
            }
            run.status = RunStatus::Running;
            // No deadline ran while a person was asked: everybody has the whole of it again.
            for index in 0..run.nodes.len() {
                if run.nodes[index].deadline_ms.is_some() {
                    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
                }
            }
        }
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Aborting
        | RunStatus::Aborted
        | RunStatus::Done => return,
    }
    run.stopped_by = None;
    run.stopped = None;
    // Who stood marked meanwhile has the whole time for leaving again.
    run.nodes.iter_mut().for_each(|node| node.drain_by_ms = None);
    for node in run.nodes.iter_mut().filter(|node| !node.note.is_empty() && node.phase == Phase::Staged) {
        node.note = format!("taken up again by {by}");
    }
}

/// When a node in its present phase must have left it; the phase begins now.
pub(super) fn phase_deadline(run: &Run, index: usize, now: Now) -> Option<u64> {
    let node = &run.nodes[index];
    let deadlines = &run.stage_of(node).recipe.spec.deadlines;
    let within = |time: Millis| Some(now.clock_ms.saturating_add(time.0));
    match node.phase {
        Phase::Staging => Some(section_deadline(SectionKind::Stage, deadlines, now)),
        Phase::Gating | Phase::Rechecking => within(deadlines.gate),
        Phase::Protecting => Some(section_deadline(SectionKind::Protect, deadlines, now)),
        Phase::Applying => Some(section_deadline(SectionKind::Apply, deadlines, now)),
        Phase::Returning => within(deadlines.returned),
        Phase::Draining => node.drain_by_ms.or_else(|| within(deadlines.drain)),
        Phase::Releasing => within(deadlines.drain),
        Phase::Soaking => within(Millis(run.wave_of(node).soak.0.saturating_add(deadlines.returned.0))),
        Phase::Pending | Phase::Staged | Phase::Done | Phase::RolledBack | Phase::Held | Phase::Skipped => {
            None
        }
    }
}

fn take_up(run: &mut Run, now: Now, effects: &mut Vec<Effect>) {
    let Some(hold) = run.hold.take() else { return };
    let Some(index) = hold.node else { return };
    let node = &mut run.nodes[index];
    node.ended = None;
    node.failure = None;
    node.lapses = None;
    node.again = node.marked;
    let mut resume_at = hold.resume_at;
    if hold.next_attempt && node.open.is_none() {
        node.attempt = node.attempt.saturating_add(1);
        node.protections = 0;
        node.undone = false;
        // A new attempt begins at the beginning: what was staged for the last one may be gone.
        node.staged = false;
        resume_at = Phase::Pending;
    }
    node.enter(resume_at, now);
    node.note = "resumed".to_string();
    if let Some(open) = &node.open {
        // It was late: perhaps only its report was lost.
        effects.push(Effect::Ask { node: node.name.clone(), effect: open.effect });
    }
    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
    outage::accepted_anew(run, index, now);
}

/// Ends the run: no further node. Said a second time it no longer waits for a section whose node was held
/// because its agent had not been heard in time: that agent ends or undoes it by itself, and the node's note
/// says that nobody waited. Before that deadline it still waits, also where the node is held already for an outage
/// that the plan no longer accepts.
pub(super) fn aborted(run: &mut Run, by: &str, now: Now) {
    if run.status == RunStatus::Aborting {
        for index in 0..run.nodes.len() {
            let overdue = now.clock_ms >= run.section_due_ms(&run.nodes[index]).unwrap_or(u64::MAX);
            let node = &mut run.nodes[index];
            if node.phase == Phase::Held
                && overdue
                && let Some(open) = node.open.take()
            {
                if open.kind == SectionKind::Apply {
                    node.last_change = Some(LastChange { effect: open.effect, left: Left::Unheard });
                }
                if matches!(open.kind, SectionKind::Apply | SectionKind::Undo) {
                    node.unsettled =
                        Some(format!("nobody waited for the end of its {} section", open.kind.as_str()));
                }
                node.note = format!(
                    "aborted by {by} without waiting for the end of its {} section",
                    open.kind.as_str()
                );
            }
        }
    }
    if run.status == RunStatus::Held {
        // No deadline ran while a person was asked.
        for index in 0..run.nodes.len() {
            if run.nodes[index].phase == Phase::Releasing {
                run.nodes[index].deadline_ms = phase_deadline(run, index, now);
            }
        }
    }
    run.status = RunStatus::Aborting;
    run.stopped_by = Some(by.to_string());
    run.stopped = Some(now);
}

/// When a section must have been reported: its own deadline, as much again for its undo, and a minute for
/// an agent that has to come back first.
pub(super) fn section_deadline(kind: SectionKind, deadlines: &crate::recipe::Deadlines, now: Now) -> u64 {
    now.clock_ms.saturating_add(section_patience(kind, deadlines).0)
}

/// How long the end of a section is waited for.
const fn section_patience(kind: SectionKind, deadlines: &crate::recipe::Deadlines) -> Millis {
    let own = match kind {
        SectionKind::Stage => deadlines.stage,
        SectionKind::Protect => deadlines.protect,
        SectionKind::Apply | SectionKind::Undo => deadlines.apply,
    };
    Millis(own.0.saturating_mul(2).saturating_add(60_000))
}

impl Run {
    /// How long the end of the section is waited for that a node has out.
    pub(crate) fn section_patience(&self, node: &NodeRun) -> Option<Millis> {
        Some(section_patience(node.open.as_ref()?.kind, &self.stage_of(node).recipe.spec.deadlines))
    }

    /// Since when the section that a node has out is overdue, on the fleet's clock, whatever was decided meanwhile.
    fn section_due_ms(&self, node: &NodeRun) -> Option<u64> {
        Some(node.open.as_ref()?.sent_ms.saturating_add(self.section_patience(node)?.0))
    }
}

/// A wait that has lasted too long holds the run, with the blocker's name.
pub(super) fn deadlines(run: &mut Run, now: Now) {
    if !matches!(run.status, RunStatus::Running | RunStatus::Paused | RunStatus::Aborting) {
        return;
    }
    if outage::too_long(run, now) {
        return;
    }
    let late = |deadline: Option<u64>| deadline.is_some_and(|deadline| now.clock_ms >= deadline);
    let Some(index) = run.nodes.iter().position(|node| !node.phase.is_ended() && late(node.deadline_ms))
    else {
        return;
    };
    if moves::force_by_plan(run, index, now) {
        return;
    }
    let node = &run.nodes[index];
    let (phase, name) = (node.phase, node.name.clone());
    let what = node.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.what, waiting.because));
    let because = match (&node.open, what) {
        (Some(open), what) => HoldBecause {
            kind: HoldKind::NotReported,
            reason: format!("{name} has not reported the end of its {} section in time", open.kind.as_str()),
            happened: format!(
                "the section was handed to its agent, which has not said how it ended{}; {}",
                what.map(|what| format!(" ({what})")).unwrap_or_default(),
                if phase == Phase::Applying {
                    "its service may be out"
                } else {
                    "its service was not touched"
                }
            ),
            state_now: format!(
                "unknown until the agent of {name} is heard; it ends or undoes its section by itself"
            ),
            resume_at: phase,
            next_attempt: false,
        },
        (None, what) => HoldBecause {
            kind: match phase {
                Phase::Returning => HoldKind::NotBack,
                Phase::Soaking => HoldKind::Unwell,
                Phase::Draining => HoldKind::NotDrained,
                Phase::Releasing => HoldKind::NotGivenBack,
                _ => HoldKind::WaitedTooLong,
            },
            reason: format!("{name} waited too long while {}", phase.word()),
            happened: what.unwrap_or_else(|| "nothing was seen of it in time".to_string()),
            state_now: state_when_late(node),
            resume_at: match phase {
                Phase::Gating | Phase::Draining | Phase::Rechecking => Phase::Staged,
                Phase::Releasing => moves::given_back_from(run, index),
                phase => phase,
            },
            next_attempt: false,
        },
    };
    hold(run, index, because, now);
}

fn state_when_late(node: &NodeRun) -> alloc::string::String {
    let text = match node.phase {
        Phase::Returning => "it was changed and its checks have not become clear",
        Phase::Soaking => "it was changed, came back, and is not well",
        _ if node.marked => "nothing was changed on it in this phase",
        _ => "nothing was changed on it in this phase; it is in service as far as Drydock knows",
    };
    text.to_string()
}
