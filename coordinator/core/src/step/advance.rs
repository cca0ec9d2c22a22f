//! What is looked at, who is staged ahead, when the run is over.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Section, SectionKind, section::CommitConfirmed};

use super::{LOOK_LOST_MS, REQUIRES, REQUIRES_CONFIRMED, begin, control::section_deadline, moves};
use crate::{
    Now,
    inventory::Seen,
    plan_file::{OnFailure, Order},
    run::{Effect, Look, LookFor, NodeRun, OpenEffect, Run},
    view::{Phase, RunStatus},
};

/// How many nodes behind the next ones are staged ahead: what a node needs is there when its turn comes, and a run that holds has not filled the disks of the whole fleet.
const STAGED_AHEAD: usize = 1;

/// Brings the run as far as it can go without anything new from outside.
pub(super) fn advance(run: &mut Run, now: Now, effects: &mut Vec<Effect>) {
    for node in run.nodes.iter_mut().filter(|node| node.not_before_ms <= now.clock_ms) {
        node.not_before_ms = 0;
    }
    if run.status == RunStatus::Running {
        begin::leave_barred_gates(run, now);
    } else {
        run.waiting = None;
    }
    if let Some((stage, wave)) = current_wave(run).filter(|_| run.status == RunStatus::Running) {
        begin::judge_wave(run, stage, wave, now);
    }
    look_where_due(run, now, effects);
    match run.status {
        RunStatus::Running => {
            if let Some((stage, wave)) = current_wave(run) {
                stage_ahead(run, stage, wave, now, effects);
                begin::take_next(run, stage, wave, now, effects);
            }
        }
        RunStatus::Aborting | RunStatus::Paused | RunStatus::Held => leave_gates(run, now),
        RunStatus::Queued | RunStatus::Aborted | RunStatus::Done => {}
    }
    moves::leave_off(run, now);
    moves::settle(run, now, effects);
    close_if_over(run, now, effects);
}

/// Looks that are due: at gates while running; at nodes that have been changed always, for they must be
/// brought to an end even when nothing new is begun.
fn look_where_due(run: &mut Run, now: Now, effects: &mut Vec<Effect>) {
    for index in 0..run.nodes.len() {
        let node = &run.nodes[index];
        let purpose = match node.phase {
            Phase::Gating => LookFor::Gate,
            Phase::Rechecking => LookFor::Recheck,
            Phase::Returning => LookFor::Returned,
            Phase::Soaking => LookFor::Soak,
            _ => continue,
        };
        let gate = matches!(purpose, LookFor::Gate | LookFor::Recheck);
        let due = match &node.look {
            Some(look) => is_lost(look, now),
            None => node.look_again_ms.is_none_or(|at| now.clock_ms >= at),
        };
        if !due || (gate && run.status != RunStatus::Running) {
            continue;
        }
        ask(run, index, purpose, now, effects);
    }
}

/// Was it asked for so long ago that no answer is to be believed?
pub(super) const fn is_lost(look: &Look, now: Now) -> bool {
    now.clock_ms >= look.asked_ms.saturating_add(LOOK_LOST_MS)
}

pub(super) fn ask(run: &mut Run, index: usize, purpose: LookFor, now: Now, effects: &mut Vec<Effect>) {
    run.round = run.round.saturating_add(1);
    let round = run.round;
    let spec = run.recipe_of(&run.nodes[index]);
    let gate = spec.deadlines.gate;
    let checks = match purpose {
        LookFor::Gate | LookFor::Recheck => spec.gate,
        LookFor::Returned | LookFor::Soak => spec.returned,
    };
    let node = &mut run.nodes[index];
    node.look = Some(Look { round, purpose, asked_ms: now.clock_ms });
    node.look_again_ms = None;
    if matches!(purpose, LookFor::Gate | LookFor::Recheck) && node.deadline_ms.is_none() {
        node.deadline_ms = Some(now.clock_ms.saturating_add(gate.0));
    }
    effects.push(Effect::Look { node: index, round, checks });
}

/// The first wave that is not over, in the first stage that is not over. Stages stand in an order that
/// honours their needs.
fn current_wave(run: &Run) -> Option<(usize, usize)> {
    run.nodes.iter().find(|node| !is_through(node)).map(|node| (node.stage, node.wave))
}

const fn is_through(node: &NodeRun) -> bool {
    matches!(node.phase, Phase::Done | Phase::Skipped)
}

/// The same phases as [`Phase::is_at_work`], which views go by; spelt out, for the reducer's own guards hang on them.
pub(super) const fn is_at_work(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Gating
            | Phase::Protecting
            | Phase::Draining
            | Phase::Rechecking
            | Phase::Applying
            | Phase::Returning
            | Phase::Releasing
            | Phase::Soaking
    )
}

/// Indices of a wave's nodes that have not left service, those that led when last judged behind the others. Who was
/// left in doubt, or is marked as leaving, goes first: it counts as out of service, and keeps the others in it.
pub(super) fn candidates(run: &Run, stage: usize, wave: usize) -> Vec<usize> {
    let waits = |node: &NodeRun| matches!(node.phase, Phase::Pending | Phase::Staging | Phase::Staged);
    let here = |node: &NodeRun| (node.stage, node.wave) == (stage, wave) && waits(node);
    let mut list: Vec<usize> = (0..run.nodes.len()).filter(|index| here(&run.nodes[*index])).collect();
    if run.plan.stages[stage].waves[wave].order == Order::FollowersFirst {
        list.sort_by_key(|index| run.nodes[*index].deferred);
    }
    list.sort_by_key(|index| run.nodes[*index].hosts_coordinator);
    list.sort_by_key(|index| run.nodes[*index].unsettled.is_none() && !run.nodes[*index].marked);
    list
}

/// Fetching and dry checks, before a node leaves service: for those that may leave together, and for one behind
/// them. It needs neither a window nor an approval.
fn stage_ahead(run: &mut Run, stage: usize, wave: usize, now: Now, effects: &mut Vec<Effect>) {
    // What is taken back lies on its node already.
    let nothing_to_stage = run.plan.undoes.is_some() || run.plan.stages[stage].recipe.spec.stage.is_empty();
    let deadline = section_deadline(SectionKind::Stage, &run.plan.stages[stage].recipe.spec.deadlines, now);
    let ahead = (run.plan.stages[stage].waves[wave].concurrency as usize).saturating_add(STAGED_AHEAD);
    for index in candidates(run, stage, wave).into_iter().take(ahead) {
        let node = &mut run.nodes[index];
        if node.phase != Phase::Pending || now.clock_ms < node.not_before_ms {
            continue;
        }
        if nothing_to_stage || node.staged {
            node.staged = true;
            let waiting = node.waiting.take();
            node.enter(Phase::Staged, now);
            node.waiting = waiting;
            continue;
        }
        node.enter(Phase::Staging, now);
        node.deadline_ms = Some(deadline);
        dispatch(run, index, SectionKind::Stage, now, effects);
    }
}

/// Nobody leaves service now: a node that was at its gate is as if it had not been asked.
fn leave_gates(run: &mut Run, now: Now) {
    for node in run.nodes.iter_mut().filter(|node| matches!(node.phase, Phase::Gating | Phase::Rechecking)) {
        node.enter(Phase::Staged, now);
    }
}

/// Hands a section to a node's agent. The effect id is the same until an operator decides otherwise.
pub(super) fn dispatch(run: &mut Run, index: usize, kind: SectionKind, now: Now, effects: &mut Vec<Effect>) {
    let section = section(run, index, kind);
    let effect = section.effect;
    let node = &mut run.nodes[index];
    node.open = Some(OpenEffect { effect, kind, sent_ms: now.clock_ms, accepted: false });
    if !node.effects.contains(&effect) {
        node.effects.push(effect);
    }
    effects.push(Effect::Dispatch { section: Box::new(section) });
}

/// What a node is sent.
pub(crate) fn section(run: &Run, index: usize, kind: SectionKind) -> Section {
    let node = &run.nodes[index];
    let effect = run.effect_id(node, kind);
    let stage = run.stage_of(node);
    let spec = run.recipe_of(node);
    let (steps, verify, deadline) = match kind {
        SectionKind::Stage => (spec.stage, Vec::new(), spec.deadlines.stage),
        SectionKind::Protect => (spec.protect, Vec::new(), spec.deadlines.protect),
        SectionKind::Apply => (spec.apply, spec.verify, spec.deadlines.apply),
        SectionKind::Undo => (Vec::new(), Vec::new(), spec.deadlines.apply),
    };
    // Only the change depends on what was seen at its gate: another section that is sent again after a restart
    // must be the same to the byte.
    let from = match kind {
        SectionKind::Apply => {
            node.seen.as_ref().and_then(Seen::answered).cloned().or_else(|| node.from.clone())
        }
        SectionKind::Stage | SectionKind::Protect | SectionKind::Undo => None,
    };
    let undoes = run.undo_of(node).filter(|_| kind == SectionKind::Undo);
    let commit_confirmed = spec.commit_confirmed.filter(|_| kind == SectionKind::Apply);
    Section {
        effect,
        run: run.id,
        run_number: run.number,
        stage: stage.name.to_string(),
        node: node.name.clone(),
        kind,
        component: stage.component.clone(),
        from,
        to: undoes.and_then(|undo| undo.to.as_ref()).unwrap_or(&stage.to).clone(),
        // Going back to what ran before is what was commanded; the agent holds it against its journal.
        allow_downgrade: stage.allow_downgrade || undoes.is_some(),
        artifact: stage.artifact.clone().filter(|_| undoes.is_none()),
        steps,
        verify,
        can_undo: spec.can_undo,
        undoes: undoes.map(|undo| undo.effect),
        undo_on_failure: stage.on_failure == OnFailure::Rollback,
        deadline,
        requires: required(commit_confirmed.as_ref()),
        commit_confirmed,
    }
}

/// What the agent must know by name, else it refuses the section.
fn required(confirmed: Option<&CommitConfirmed>) -> Vec<String> {
    REQUIRES.iter().copied().chain(confirmed.map(|_| REQUIRES_CONFIRMED)).map(ToString::to_string).collect()
}

/// Upgraded, verified, back, soaked.
pub(super) fn finish(run: &mut Run, index: usize, now: Now) {
    let (stage, wave) = (run.nodes[index].stage, run.nodes[index].wave);
    run.nodes[index].enter(Phase::Done, now);
    run.nodes[index].unsettled = None;
    run.nodes[index].deferred = false;
    // Leadership may have moved while it was at work: who led before is judged anew.
    let others = run.nodes.iter_mut().filter(|node| (node.stage, node.wave) == (stage, wave));
    for node in others.filter(|node| !node.phase.is_ended()) {
        node.deferred = node.seen.as_ref().and_then(|seen| seen.role) == Some(crate::inventory::Role::Leader);
        node.gave_way = false;
    }
}

fn close_if_over(run: &mut Run, now: Now, effects: &mut Vec<Effect>) {
    let nothing_open = run.nodes.iter().all(|node| node.open.is_none());
    let nobody_at_work = !run.nodes.iter().any(|node| is_at_work(node.phase));
    match run.status {
        RunStatus::Running if run.nodes.iter().all(is_through) => run.status = RunStatus::Done,
        RunStatus::Aborting if nothing_open && nobody_at_work => run.status = RunStatus::Aborted,
        _ => return,
    }
    moves::name_what_stands(run);
    run.ended = Some(now);
    run.hold = None;
    run.holds_behind.clear();
    let forget = run.nodes.iter().filter(|node| !node.effects.is_empty());
    let forget: Vec<_> = forget.map(|node| (node.name.clone(), node.effects.clone())).collect();
    if !forget.is_empty() {
        effects.push(Effect::Forget { effects: forget });
    }
}
