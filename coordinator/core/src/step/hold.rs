//! How a run stops on purpose: from where, why, and what goes on.

use alloc::{format, string::String, vec::Vec};

use super::{moves::STILL_MARKED, outage};
use crate::{
    Now,
    hold_kind::HoldKind,
    run::{Hold, Run},
    view::{Phase, RunStatus},
};

/// What a person must know.
pub(super) struct HoldBecause {
    /// Which kind of hold it is.
    pub(super) kind: HoldKind,
    /// One sentence.
    pub(super) reason: String,
    /// In the agent's or the check's words.
    pub(super) happened: String,
    /// How things stand at the node.
    pub(super) state_now: String,
    /// Where `run resume` takes the node up.
    pub(super) resume_at: Phase,
    /// Resuming is a new attempt.
    pub(super) next_attempt: bool,
}

/// The hold of a node, the one that is shown or one behind it.
pub(super) fn hold_of(run: &mut Run, index: usize) -> Option<&mut Hold> {
    run.hold.iter_mut().chain(&mut run.holds_behind).find(|hold| hold.node == Some(index))
}

/// Nobody is asked about this node any more.
pub(super) fn let_go(run: &mut Run, index: usize) {
    let holds: Vec<Hold> = run.hold.take().into_iter().chain(run.holds_behind.drain(..)).collect();
    let mut others = holds.into_iter().filter(|hold| hold.node != Some(index));
    run.hold = others.next();
    run.holds_behind = others.collect();
}

/// Stops the run at a node. While aborting there is nothing to resume: the node is held, the run ends.
pub(super) fn hold(run: &mut Run, index: usize, because: HoldBecause, now: Now) {
    let HoldBecause { kind, reason, happened, state_now, resume_at, next_attempt } = because;
    // A hold of this node that came before is answered by this one, and so is one that only waited for it.
    let mut before: Vec<Hold> = run.hold.take().into_iter().collect();
    before.append(&mut run.holds_behind);
    let replaced = before.iter().find(|hold| hold.node == Some(index)).map(|hold| hold.from);
    before.retain(|hold| hold.node.is_some_and(|node| node != index));
    let node = &mut run.nodes[index];
    let from = replaced.filter(|_| node.phase == Phase::Held).unwrap_or(node.phase);
    let rolled_back = node.undone && from == Phase::Returning && resume_at == Phase::Staged;
    node.enter(if rolled_back { Phase::RolledBack } else { Phase::Held }, now);
    if rolled_back {
        node.unsettled = None;
    } else if leaves_in_doubt(kind, from) && !matches!(from, Phase::Staging | Phase::Protecting) {
        // Staging and protecting touch no service, whatever became of them.
        node.unsettled = Some(reason.clone());
    }
    if !outage::may_go_on(kind) {
        node.outage = None;
    }
    let state_now = match node.marked {
        true => format!("{state_now}; {STILL_MARKED}"),
        false => state_now,
    };
    node.note.clone_from(&reason);
    before.push(Hold {
        kind,
        node: Some(index),
        from,
        reason,
        happened,
        state_now,
        since: now,
        resume_at,
        next_attempt,
    });
    stop(run, before);
}

/// Is the node, left as this kind of hold leaves it, not known to be well? Of a section that is at work its agent
/// will tell.
const fn leaves_in_doubt(kind: HoldKind, from: Phase) -> bool {
    matches!(kind, HoldKind::NotBack | HoldKind::Unwell | HoldKind::LeftAlone | HoldKind::Undecidable)
        || (matches!(kind, HoldKind::OutageTooLong) && !matches!(from, Phase::Applying))
}

/// Stops the run at no node: what it waited for did not come. Nobody is held by it, and resuming waits anew.
pub(super) fn hold_run(run: &mut Run, because: HoldBecause, now: Now) {
    let HoldBecause { kind, reason, happened, state_now, resume_at, next_attempt } = because;
    let mut holds: Vec<Hold> = run.hold.take().into_iter().collect();
    holds.append(&mut run.holds_behind);
    let from = Phase::Staged;
    holds.push(Hold {
        kind,
        node: None,
        from,
        reason,
        happened,
        state_now,
        since: now,
        resume_at,
        next_attempt,
    });
    stop(run, holds);
}

fn stop(run: &mut Run, holds: Vec<Hold>) {
    let mut holds = holds.into_iter();
    run.hold = holds.next();
    run.holds_behind = holds.collect();
    run.waiting = None;
    if run.status != RunStatus::Aborting {
        run.status = RunStatus::Held;
    }
}
