//! A node leaves service by moves of the coordinator's, and is given back by them.
//!
//! What is wanted stands in the node's phase; [`settle`] gives the orders that follow from it, after every event. So
//! a move that nobody wants any more is stopped by whatever has changed the phase, and one that a restart forgot is
//! ordered again once it is wanted again.

use alloc::{format, string::ToString, vec::Vec};

use drydock_types::{EffectId, id::EffectKey};

use super::{
    AFTER_LAPSE_MS, LOOK_AGAIN_MS, LOOK_LOST_MS,
    advance::{finish, is_at_work},
    begin::{WALL_AGAIN_MS, is_barred, is_shut},
    control::phase_deadline,
    ended::{enter_returning, put_off, rolled_back},
    hold::{HoldBecause, hold, let_go},
};
use crate::{
    Now,
    hold_kind::HoldKind,
    moves::{Doing, Force, Move, MoveEnd, MoveOrder, Moving, REPLACEMENTS},
    run::{Effect, Lapses, NodeRun, Run},
    view::{Phase, RunStatus},
};

impl Run {
    /// Does the node leave service by moves before it is changed? One that was left half-way and is down serves
    /// nobody: there is nothing to move away from it that could be moved.
    #[must_use]
    pub fn leaves_by_moves(&self, node: &NodeRun) -> bool {
        let down = node.half_way && node.seen.as_ref().is_some_and(|seen| seen.down);
        !down && !self.stage_of(node).recipe.spec.drain.is_empty()
    }

    fn move_id(&self, node: &NodeRun, doing: Doing) -> EffectId {
        EffectId::derive(&EffectKey {
            fleet: self.fleet,
            run: self.id,
            plan: self.accepted_digest,
            node: node.key,
            stage: self.stage_of(node).name.as_str(),
            what: &format!("{}-{}", doing.as_str(), node.moves),
            undo: doing == Doing::GiveBack,
            attempt: node.attempt,
        })
    }
}

/// The gate is open: the node leaves service.
pub(super) fn leave(run: &mut Run, index: usize, now: Now) {
    let within = run.stage_of(&run.nodes[index]).recipe.spec.deadlines.drain;
    let node = &mut run.nodes[index];
    node.enter(Phase::Draining, now);
    node.drained = false;
    node.drain_by_ms.get_or_insert(now.clock_ms.saturating_add(within.0));
    node.deadline_ms = node.drain_by_ms;
    watch_the_window(run, index, now);
}

/// The time for leaving is over, and the plan says what then: what is left is deleted, in as much time again. `false`:
/// it says nothing of the kind, or that was tried.
pub(super) fn force_by_plan(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let says_so = run.stage_of(node).recipe.spec.drain.iter().any(Move::forces_at_deadline);
    let tried = node.forced_by_plan;
    if node.waiting.as_ref().is_some_and(|waiting| waiting.what == REPLACEMENTS) {
        // Nobody is left to be forced.
        return false;
    }
    if node.phase != Phase::Draining || run.status != RunStatus::Running || tried || !says_so {
        return false;
    }
    run.nodes[index].force = Some(Force::Plan {});
    run.nodes[index].forced_by_plan = true;
    run.nodes[index].drain_by_ms = None;
    let waiting = run.nodes[index].waiting.take();
    leave(run, index, now);
    run.nodes[index].waiting = waiting;
    true
}

/// What had left is there again: it is emptied anew, in the time that it has left.
pub(super) fn leave_again(run: &mut Run, index: usize, because: &str, now: Now) {
    leave(run, index, now);
    run.nodes[index].wait_for("the node to be empty again", because, now);
}

/// The node is well, or was not changed: it goes on to `then`, behind the giving back of what this run has marked.
pub(super) fn come_back(run: &mut Run, index: usize, then: Phase, now: Now) {
    if !run.nodes[index].marked {
        return arrive(run, index, then, now);
    }
    let node = &mut run.nodes[index];
    node.enter(Phase::Releasing, now);
    node.ended = None;
    node.then = Some(then);
    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
}

fn arrive(run: &mut Run, index: usize, then: Phase, now: Now) {
    let node = &mut run.nodes[index];
    node.then = None;
    let waited =
        node.phase == Phase::Releasing && now.clock_ms >= node.since.clock_ms.saturating_add(LOOK_LOST_MS);
    if waited && is_changed(run, index, Some(then)) {
        // How it was seen to be is too long ago to call it well.
        return enter_returning(run, index, now);
    }
    match then {
        Phase::RolledBack => {
            // It was seen to be back before its marks were taken back.
            run.nodes[index].phase = Phase::Returning;
            rolled_back(run, index, now);
        }
        Phase::Done | Phase::Soaking if run.status == RunStatus::Aborting => finish(run, index, now),
        Phase::Done | Phase::Soaking if super::observe::too_long(run, index, now) => {}
        Phase::Done => finish(run, index, now),
        Phase::Soaking => super::soak::begin(run, index, now),
        then => run.nodes[index].enter(then, now),
    }
}

/// Was it changed by this run, and seen well before its marks were to be taken back?
fn is_changed(run: &Run, index: usize, then: Option<Phase>) -> bool {
    matches!(then, Some(Phase::Soaking | Phase::Done | Phase::RolledBack))
        && run.change_was_sent(&run.nodes[index])
}

/// Nobody leaves service now. Whoever was on the way out stays as it is, marked, while a person is asked or another
/// node is not well; where the run is ended, or the window is shut or an approval missing, it is given back. Never one
/// that is in doubt, and never what another run had marked, before this one has done anything there.
pub(super) fn leave_off(run: &mut Run, now: Now) {
    for index in 0..run.nodes.len() {
        let node = &run.nodes[index];
        let running = run.status == RunStatus::Running;
        let on_the_way =
            matches!(node.phase, Phase::Draining | Phase::Gating | Phase::Rechecking | Phase::Staged);
        let ours = node.mark_of.is_none() || run.change_was_sent(node);
        let may = node.marked && ours && node.unsettled.is_none() && node.open.is_none();
        let shut = running && may && on_the_way && is_shut(run, index, now);
        let ends = run.status == RunStatus::Aborting
            && may
            // What could not be given back is said; it is not tried for ever.
            && node.then.is_none()
            && (!is_at_work(node.phase) || node.phase == Phase::Draining);
        let draining = node.phase == Phase::Draining;
        if shut || ends {
            // What it was held for is over with the run; why stands in its note.
            let then =
                if is_at_work(node.phase) || node.phase == Phase::Held { Phase::Staged } else { node.phase };
            let_go(run, index);
            come_back(run, index, then, now);
        } else if draining && (!running || is_barred(run, index, now)) {
            run.nodes[index].enter(Phase::Staged, now);
        } else if draining && run.nodes[index].look_again_ms.is_some_and(|at| now.clock_ms >= at) {
            watch_the_window(run, index, now);
        }
    }
}

/// Nothing is looked at while a node is being emptied: the wall clock is read all the same.
fn watch_the_window(run: &mut Run, index: usize, now: Now) {
    let again = run.plan.window.is_some().then(|| now.clock_ms.saturating_add(WALL_AGAIN_MS));
    run.nodes[index].look_again_ms = again;
}

/// The orders that follow from how the nodes stand.
pub(super) fn settle(run: &mut Run, now: Now, effects: &mut Vec<Effect>) {
    for index in 0..run.nodes.len() {
        let node = &run.nodes[index];
        let wanted = match node.phase {
            Phase::Draining => Some(Doing::Leave),
            Phase::Releasing => Some(Doing::GiveBack),
            _ => None,
        };
        let force = node.force.as_ref().filter(|_| wanted == Some(Doing::Leave));
        let moving = node.moving.as_ref();
        // What may be forced besides is another order.
        let as_ordered = moving.is_none_or(|moving| moving.force.as_ref() == force);
        if moving.map(|moving| moving.doing) == wanted && as_ordered {
            continue;
        }
        let force = force.cloned();
        if let Some(stopped) = run.nodes[index].moving.take() {
            effects.push(order(run, index, stopped.effect, None));
        }
        if let Some(doing) = wanted.filter(|_| run.nodes[index].not_before_ms <= now.clock_ms) {
            run.nodes[index].moves = run.nodes[index].moves.saturating_add(1);
            let effect = run.move_id(&run.nodes[index], doing);
            // From here on something of ours may stand out there, whatever is heard of it.
            let was_marked = core::mem::replace(&mut run.nodes[index].marked, true);
            run.nodes[index].moving = Some(Moving { effect, doing, was_marked, force });
            effects.push(order(run, index, effect, Some(doing)));
        }
    }
}

fn order(run: &Run, index: usize, effect: EffectId, doing: Option<Doing>) -> Effect {
    let node = &run.nodes[index];
    let moves = run.recipe_of(node).drain;
    let (name, again, mark_of) = (node.name.clone(), node.again, node.mark_of);
    let force = node.force.clone().filter(|_| doing == Some(Doing::Leave));
    Effect::Move(MoveOrder { node: index, name, effect, doing, again, mark_of, force, moves })
}

fn moving_at(run: &Run, effect: EffectId) -> Option<usize> {
    run.nodes.iter().position(|node| node.moving.as_ref().is_some_and(|moving| moving.effect == effect))
}

/// What a move waits for.
pub(super) fn waits(run: &mut Run, effect: EffectId, what: &str, because: &str, now: Now) {
    if let Some(index) = moving_at(run, effect) {
        run.nodes[index].wait_for(what, because, now);
    }
}

pub(super) fn moved(run: &mut Run, effect: EffectId, end: &MoveEnd, now: Now) {
    let Some(index) = moving_at(run, effect) else { return };
    let Some(Moving { doing, was_marked, .. }) = run.nodes[index].moving.take() else { return };
    match (doing, end) {
        (Doing::Leave, MoveEnd::Left { .. }) => {
            let node = &mut run.nodes[index];
            node.lapses = None;
            node.drained = true;
            node.again = false;
            // Whoever lands there from now on is another pod, of which nobody has said so.
            node.force = None;
            node.enter(Phase::Rechecking, now);
            if let Some(before) = node.moves.checked_sub(2) {
                // What comes back as fast as it leaves is not chased as fast as it can be looked at.
                let pause = LOOK_AGAIN_MS[(before as usize).min(LOOK_AGAIN_MS.len() - 1)];
                node.look_again_ms = Some(now.clock_ms.saturating_add(pause));
            }
            run.nodes[index].deadline_ms = phase_deadline(run, index, now);
        }
        (Doing::GiveBack, MoveEnd::GivenBack { .. }) => {
            let node = &mut run.nodes[index];
            (node.marked, node.mark_of, node.again) = (false, None, false);
            (node.drain_by_ms, node.lapses, node.force) = (None, None, None);
            node.forced_by_plan = false;
            let then = node.then.unwrap_or(Phase::Staged);
            arrive(run, index, then, now);
        }
        (doing, MoveEnd::Refused { why }) => refused(run, index, doing, why, now),
        (doing, MoveEnd::NeverBegun { why }) => {
            run.nodes[index].marked = was_marked;
            lapsed(run, index, doing, why, now);
        }
        (doing, MoveEnd::Lapsed { why }) => lapsed(run, index, doing, why, now),
        (doing, MoveEnd::Left { .. } | MoveEnd::GivenBack { .. }) => {
            lapsed(run, index, doing, "what was answered was no answer to it", now);
        }
    }
}

fn refused(run: &mut Run, index: usize, doing: Doing, why: &str, now: Now) {
    let name = run.nodes[index].name.clone();
    let because = match doing {
        Doing::Leave => HoldBecause {
            kind: HoldKind::NotDrained,
            reason: format!("{name} could not be taken out of service"),
            happened: why.to_string(),
            state_now: format!("nothing was changed on {name} in this phase"),
            resume_at: Phase::Staged,
            next_attempt: false,
        },
        Doing::GiveBack => HoldBecause {
            kind: HoldKind::NotGivenBack,
            reason: format!("what this run has marked for {name} could not be taken back"),
            happened: why.to_string(),
            state_now: format!("as far as it was seen, {name} is well"),
            resume_at: given_back_from(run, index),
            next_attempt: false,
        },
    };
    hold(run, index, because, now);
}

/// Where a node is taken up again whose marks could not be taken back: one that was changed is looked at first.
pub(super) fn given_back_from(run: &Run, index: usize) -> Phase {
    if is_changed(run, index, run.nodes[index].then) { Phase::Returning } else { Phase::Releasing }
}

/// What stands out there of a node that is marked.
pub(super) const STILL_MARKED: &str = "it is still marked as leaving service (its cordon)";

/// The run is over: whoever is marked still says so.
pub(super) fn name_what_stands(run: &mut Run) {
    for node in run.nodes.iter_mut().filter(|node| node.marked && !node.note.contains(STILL_MARKED)) {
        let before = if node.note.is_empty() { "" } else { "; " };
        node.note.push_str(before);
        node.note.push_str(STILL_MARKED);
    }
}

/// Not carried on: as with a section that was never begun, the node goes back to where it was decided.
fn lapsed(run: &mut Run, index: usize, doing: Doing, why: &str, now: Now) {
    match doing {
        Doing::Leave => put_off(run, index, "drain", why, Phase::Staged, now),
        Doing::GiveBack => {
            let node = &mut run.nodes[index];
            let lapses = node.lapses.unwrap_or(Lapses { since: now, count: 0 });
            let pause = AFTER_LAPSE_MS[(lapses.count as usize).min(AFTER_LAPSE_MS.len() - 1)];
            node.lapses = Some(Lapses { count: lapses.count.saturating_add(1), ..lapses });
            node.not_before_ms = now.clock_ms.saturating_add(pause);
            node.wait_for("what this run has marked to be taken back", why, now);
        }
    }
}

/// Nothing that was under way is known of any more. Who was on its way out goes to its gate again; who was on its way
/// back is looked at again first, where it was changed.
pub(super) fn restarted(run: &mut Run, now: Now) {
    for index in 0..run.nodes.len() {
        run.nodes[index].moving = None;
        match run.nodes[index].phase {
            Phase::Draining => run.nodes[index].enter(Phase::Staged, now),
            Phase::Releasing if is_changed(run, index, run.nodes[index].then) => {
                enter_returning(run, index, now);
            }
            _ => {}
        }
    }
}

/// The section that changes the node may go: what was to leave has left, and stays away.
pub(super) fn is_out(run: &Run, node: &NodeRun) -> bool {
    node.drained || !run.leaves_by_moves(node)
}
