//! What operators change in a live run: approvals, nodes left out, deadlines, amendments.
//!
//! Each has a question ([`Run::approval_wanted`], [`Run::why_not_skipped`], …) that is asked before the event
//! is made, so that an operator is told why not; the event asks it again, so that a record that is played back
//! never does more than its plan allows.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
};

use drydock_types::Millis;

use super::{hold::hold_of, moves};
use crate::{
    Now,
    hold_kind::HoldKind,
    moves::{Force, ForcedPod, forced_in_words},
    plan::{Plan, PlanWave},
    plan_file::{Allow, ApprovalBy},
    run::{Amendment, Approval, Change, NodeRun, Run},
    view::{Phase, RunStatus},
};

/// The longest that a deadline is moved at once.
pub(crate) const LONGEST_EXTENSION: Millis = Millis::secs(7 * 24 * 3600);

impl Run {
    /// Does the plan allow this to be changed while it runs?
    #[must_use]
    pub fn may(&self, what: Allow) -> bool {
        self.plan.allow.contains(&what)
    }

    /// Is this wave approved, as the plan stands now?
    #[must_use]
    pub fn is_approved(&self, stage: usize, wave: usize) -> bool {
        let wave_of = |plan: &Plan| plan.stages.get(stage).and_then(|stage| stage.waves.get(wave)?.approval);
        let Some(wanted) = wave_of(&self.plan) else { return true };
        self.approvals.iter().any(|approval| {
            (approval.stage, approval.wave, approval.digest) == (stage, wave, self.plan.digest)
                && (wanted.by == ApprovalBy::Anybody || approval.by != self.started_by)
        })
    }

    /// Will no node of this wave leave service any more?
    #[must_use]
    pub fn wave_is_over(&self, stage: usize, wave: usize) -> bool {
        let here = |node: &&NodeRun| (node.stage, node.wave) == (stage, wave);
        self.nodes.iter().filter(here).all(|node| matches!(node.phase, Phase::Done | Phase::Skipped))
    }

    /// `etcd/members`
    #[must_use]
    pub fn place(&self, stage: usize, wave: usize) -> String {
        let name = self.plan.stages.get(stage).and_then(|of| Some((&of.name, &of.waves.get(wave)?.name)));
        name.map_or_else(String::new, |(stage, wave)| format!("{stage}/{wave}"))
    }

    /// Would this operator's approval of a wave count? `Err` says why not.
    ///
    /// # Errors
    /// A text for people.
    pub fn approval_wanted(&self, by: &str, stage: usize, wave: usize) -> Result<(), String> {
        let (number, place) = (self.number, self.place(stage, wave));
        let found = self.plan.stages.get(stage).and_then(|stage| stage.waves.get(wave));
        match found.map(|wave| wave.approval) {
            None => Err(format!("run {number} has no such wave")),
            Some(None) => Err(format!("wave {place} of run {number} wants no approval")),
            Some(Some(_)) if self.wave_is_over(stage, wave) => {
                Err(format!("wave {place} of run {number} is over: there is nothing to approve any more"))
            }
            Some(Some(wanted)) if wanted.by == ApprovalBy::SomebodyElse && by == self.started_by => {
                Err(format!(
                    "{by} started run {number}, and wave {place} wants the approval of somebody else: ask another operator to type  drydock run approve {number} --wave {place} --digest {}",
                    self.plan.digest.short()
                ))
            }
            Some(Some(_)) => Ok(()),
        }
    }

    /// May a node be left out: is nothing that this run did to it standing or at work? `None` when it may.
    #[must_use]
    pub fn why_not_skipped(&self, node: usize) -> Option<String> {
        let Some(node) = self.nodes.get(node) else { return Some("there is no such node".to_string()) };
        let (name, number) = (&node.name, self.number);
        if let Some(open) = &node.open {
            return Some(format!(
                "its {} section is handed out to {name}: wait for its end (drydock why {number}), or pause the run and try again",
                open.kind.as_str()
            ));
        }
        match node.phase {
            Phase::Skipped => Some(format!("{name} is left out already: {}", node.note)),
            Phase::Done => Some(format!("{name} is done already")),
            // Taken back and seen to be well: nothing of this run is left on it.
            Phase::RolledBack => None,
            Phase::Pending
            | Phase::Staged
            | Phase::Gating
            | Phase::Draining
            | Phase::Rechecking
            | Phase::Held
                if node.unsettled.is_none() && !self.change_was_sent(node) =>
            {
                None
            }
            _ => Some(format!(
                "this run has handed {name} its change: it is brought to its end, or ended with  drydock run abort {number}"
            )),
        }
    }

    /// May a node be left out?
    #[must_use]
    pub fn can_skip(&self, node: usize) -> bool {
        self.why_not_skipped(node).is_none()
    }

    /// Why a node's deadline cannot be moved now; `None` when it can.
    #[must_use]
    pub fn why_not_extended(&self, node: usize, more: Millis) -> Option<String> {
        let Some(node) = self.nodes.get(node) else { return Some("there is no such node".to_string()) };
        let (name, number) = (&node.name, self.number);
        if more.0 == 0 || more.0 > LONGEST_EXTENSION.0 {
            return Some(format!("{more} is no extension: say between 1s and {LONGEST_EXTENSION}"));
        }
        if self.status == RunStatus::Held {
            return Some(format!(
                "run {number} is on hold, and no deadline runs: drydock run resume {number} gives every node its whole time again"
            ));
        }
        if node.phase.is_ended() || node.deadline_ms.is_none() {
            return Some(format!("{name} is {} and has no deadline that could be moved", node.phase.word()));
        }
        None
    }
}

impl Run {
    /// Why no pod of a node may be forced off it now; `None` when they may.
    #[must_use]
    pub fn why_not_forced(&self, node: usize) -> Option<String> {
        let Some(node) = self.nodes.get(node) else { return Some("there is no such node".to_string()) };
        let (name, number) = (&node.name, self.number);
        if !self.leaves_by_moves(node) {
            return Some(format!(
                "nothing is evicted from {name} before it is changed: there is nothing to force"
            ));
        }
        let leaves = matches!(
            node.phase,
            Phase::Staged | Phase::Gating | Phase::Draining | Phase::Rechecking | Phase::Held
        );
        if leaves && node.open.is_none() && node.unsettled.is_none() && !self.change_was_sent(node) {
            return None;
        }
        Some(format!(
            "{name} is {} and not on its way out of service: drydock why {number}",
            node.phase.word()
        ))
    }
}

pub(super) fn approved(run: &mut Run, by: &str, stage: usize, wave: usize, now: Now) {
    let digest = run.plan.digest;
    let known = run
        .approvals
        .iter()
        .any(|known| known.by == by && (known.stage, known.wave, known.digest) == (stage, wave, digest));
    if !known && run.approval_wanted(by, stage, wave).is_ok() {
        run.approvals.push(Approval { stage, wave, by: by.to_string(), at: now, digest });
    }
}

pub(super) fn skipped(run: &mut Run, by: &str, index: usize, now: Now) {
    if !run.may(Allow::Skip) || !run.can_skip(index) {
        return;
    }
    let name = run.nodes[index].name.clone();
    if let Some(hold) = hold_of(run, index) {
        // What it was held for is decided by leaving it out; the run itself goes on by `run resume`.
        hold.kind = HoldKind::ToBeDecided;
        hold.node = None;
        hold.reason = format!("{name} is left out by {by}, and the run waits for a decision");
        hold.next_attempt = false;
    }
    let node = &mut run.nodes[index];
    let before = if node.phase == Phase::RolledBack { "rolled back, then " } else { "" };
    node.lapses = None;
    node.note = format!("{before}left out by {by}");
    moves::come_back(run, index, Phase::Skipped, now);
}

pub(super) fn extended(run: &mut Run, index: usize, more: Millis) {
    if !run.may(Allow::Extend) || run.why_not_extended(index, more).is_some() {
        return;
    }
    let Some(node) = run.nodes.get_mut(index) else { return };
    node.deadline_ms = node.deadline_ms.map(|deadline| deadline.saturating_add(more.0));
    node.drain_by_ms = node.drain_by_ms.map(|deadline| deadline.saturating_add(more.0));
    if let Some(outage) = &mut node.outage {
        outage.until_ms = outage.until_ms.saturating_add(more.0);
    }
}

pub(super) fn amended(run: &mut Run, by: &str, change: &Change, now: Now) {
    if run.status == RunStatus::Aborting {
        return;
    }
    if let Change::Force { node, pods, grace_s } = change {
        return forced(run, by, *node, (pods, *grace_s), now);
    }
    let mut plan = (*run.plan).clone();
    let Some(what) = change_plan(run, &mut plan, change) else { return };
    let from = plan.digest;
    plan.digest = crate::plan::digest(&plan);
    if plan.digest == from {
        return;
    }
    if let Change::Soak { stage, wave, soak } = change {
        let before = run.plan.stages[*stage].waves[*wave].soak;
        move_soaks(run, (*stage, *wave), before, *soak);
    }
    run.amendments.push(Amendment { by: by.to_string(), at: now, what, from, to: plan.digest });
    run.plan = Arc::new(plan);
}

/// Who is named is deleted where it cannot be evicted, when the node leaves next or leaves now. A later word takes the
/// place of an earlier one. The plan stays as it is, and so does its digest.
fn forced(run: &mut Run, by: &str, index: usize, (pods, grace_s): (&[ForcedPod], Option<u32>), now: Now) {
    if !run.may(Allow::Force) || pods.is_empty() || run.why_not_forced(index).is_some() {
        return;
    }
    let force = Force::Pods { by: by.to_string(), pods: pods.to_vec(), grace_s };
    if run.nodes[index].force.as_ref() == Some(&force) {
        return;
    }
    let what = forced_in_words(&run.nodes[index].name, pods, grace_s);
    let digest = run.plan.digest;
    run.amendments.push(Amendment { by: by.to_string(), at: now, what, from: digest, to: digest });
    run.nodes[index].force = Some(force);
}

/// Whoever soaks now soaks as long as it says now, and has as much longer or shorter for it.
fn move_soaks(run: &mut Run, place: (usize, usize), before: Millis, soak: Millis) {
    let soaking = |node: &&mut NodeRun| (node.stage, node.wave) == place && node.phase == Phase::Soaking;
    for node in run.nodes.iter_mut().filter(soaking) {
        let moved = |deadline: u64| deadline.saturating_add(soak.0).saturating_sub(before.0);
        node.deadline_ms = node.deadline_ms.map(moved);
    }
}

/// What it says in one line; `None` where the plan does not allow it or there is nothing to change.
fn change_plan(run: &Run, plan: &mut Plan, change: &Change) -> Option<String> {
    let open = |plan: &mut Plan, stage: usize, wave: usize| -> Option<PlanWave> {
        (!run.wave_is_over(stage, wave)).then(|| plan.stages.get(stage)?.waves.get(wave).cloned())?
    };
    match change {
        Change::Soak { stage, wave, soak } if run.may(Allow::Soak) => {
            let before = open(plan, *stage, *wave)?.soak;
            plan.stages[*stage].waves[*wave].soak = *soak;
            Some(format!("soak of {} from {before} to {soak}", run.place(*stage, *wave)))
        }
        Change::Concurrency { stage, wave, concurrency } if run.may(Allow::Concurrency) => {
            let before = open(plan, *stage, *wave)?.concurrency;
            let after = (*concurrency).max(1);
            plan.stages[*stage].waves[*wave].concurrency = after;
            Some(format!("concurrency of {} from {before} to {after}", run.place(*stage, *wave)))
        }
        Change::NoWindow {} if run.may(Allow::Window) => {
            plan.window.take()?;
            Some("the window no longer binds".to_string())
        }
        Change::Soak { .. } | Change::Concurrency { .. } | Change::NoWindow {} | Change::Force { .. } => None,
    }
}
