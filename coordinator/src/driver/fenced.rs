//! A coordinator that agents do not obey, and the way back.
//!
//! Once an agent was heard to obey somebody else nothing further is handed out, to nobody: two coordinators
//! must not both work. Runs stay as they are. A person can put this coordinator in the other's place on the
//! agents' evidence; from then on every open effect is asked about as after a start, and an effect that only
//! an agent's journal knows holds its node at the gate: this store is older than it, and nothing here tells
//! what it was.

use std::collections::BTreeMap;

use drydock_core::{
    Now,
    inventory::Seen,
    run::{CheckResult, Event, Recorded, Run},
    run_view,
    view::Phase,
};
use drydock_types::{
    ComponentName, EffectId, Epoch, Fence, InstanceId, NodeKey, NodeName, Verdict, Version, document,
};

use super::{Driver, Output};
use crate::store::{Commit, NewEvent, RunStore, StoreError};

/// The check that a strange effect is told as. Holds name it, and the guide explains it.
pub const JOURNAL_CHECK: &str = "journal";

/// A section that an agent's journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEffect {
    /// Its id.
    pub effect: EffectId,
    /// Its outcome is known there; else it is at work.
    pub ended: bool,
    /// What it is, in the agent's words.
    pub what: String,
}

impl<S: RunStore> Driver<S> {
    /// Whom an agent was heard to obey in this coordinator's stead.
    #[must_use]
    pub const fn fenced_by(&self) -> Option<Fence> {
        self.fenced
    }

    /// From now on nothing is handed out, and no run moves. The highest that was heard of is kept.
    pub(super) fn fence_off(&mut self, by: Fence) {
        if self.fenced.is_none_or(|known| by.epoch > known.epoch) {
            self.fenced = Some(by);
            self.changes += 1;
        }
    }

    /// What an agent's journal holds that was never decided here.
    pub(super) fn journal_holds(&mut self, node: NodeName, held: Vec<HeldEffect>) -> Result<(), StoreError> {
        let mut strange = Vec::new();
        for held in held {
            if !self.store.knows_effect(held.effect)? {
                strange.push(held);
            }
        }
        if strange.is_empty() {
            self.strange.remove(&node);
        } else {
            tracing::warn!(%node, effects = strange.len(), "its agent's journal holds what this record does not know");
            self.strange.insert(node, strange);
        }
        Ok(())
    }

    /// What runs on such a node tells nothing of how far somebody is there: it is neither taken for being there
    /// already nor for being ready to be changed.
    pub(super) fn doubt(&self, run: &Run, index: usize, results: &mut Vec<CheckResult>, seen: &mut Seen) {
        if let Some(check) = self.journal_check(run, index) {
            let why = check.verdict.reason().unwrap_or_default().to_string();
            *seen = Seen { version: Some(Err(why)), exe_sha256: None, role: None, down: false };
            results.push(check);
        }
    }

    /// An agent reports the end of a section that only its journal knows.
    pub(super) fn strange_ended(&mut self, node: &NodeName, effect: EffectId) {
        let held = self.strange.get_mut(node).into_iter().flatten().find(|held| held.effect == effect);
        if let Some(held) = held {
            held.ended = true;
        }
    }

    /// What this coordinator itself knows that would keep a node from leaving service, for a rehearsal.
    #[must_use]
    pub fn in_the_way(
        &self,
        node: &NodeName,
        key: NodeKey,
        component: &ComponentName,
        to: &Version,
        now: Now,
    ) -> Vec<CheckResult> {
        let own = self.own_checks_ahead(node, key, component, to, now);
        self.strange_at(node).into_iter().chain(own).collect()
    }

    /// A node whose journal holds what is not known here does not leave service: a person decides.
    fn journal_check(&self, run: &Run, index: usize) -> Option<CheckResult> {
        let node = run.nodes.get(index)?;
        if !matches!(node.phase, Phase::Gating | Phase::Rechecking) {
            return None;
        }
        self.strange_at(&node.name)
    }

    fn strange_at(&self, node: &NodeName) -> Option<CheckResult> {
        let strange = self.strange.get(node)?;
        let each = strange.iter().map(|held| {
            let state = if held.ended { "" } else { ", at work" };
            format!("{} ({}{state})", held.effect.short(), held.what)
        });
        let why = format!(
            "the journal of {}'s agent holds what this coordinator's record does not know: {}. The store was \
             restored from before it; look at the node, then resume: what was done there is not done again",
            node,
            each.collect::<Vec<_>>().join("; ")
        );
        Some(CheckResult { check: JOURNAL_CHECK.to_string(), verdict: Verdict::Refused(why) })
    }

    /// An operator resumes a run that holds at such a node: a decision about what was done there.
    pub(super) fn adopt_strange(&mut self, number: u64, now: Now) -> Result<(), StoreError> {
        let held_at = |run: &Run| {
            let hold = run.hold.as_ref()?;
            let ours = hold.reason.starts_with(JOURNAL_CHECK);
            run.nodes.get(hold.node.filter(|_| ours)?).map(|node| node.name.clone())
        };
        let Some(node) = self.runs.get(&number).and_then(held_at) else { return Ok(()) };
        let Some(strange) = self.strange.get(&node) else { return Ok(()) };
        if strange.iter().any(|held| !held.ended) {
            // It is still at work: there is nothing to decide about yet, and the gate says so again.
            return Ok(());
        }
        let adopted = strange.iter().map(|held| held.effect).collect();
        self.write(&Commit { clock_ms: now.clock_ms, adopted, ..Commit::default() })?;
        self.strange.remove(&node);
        Ok(())
    }

    /// Nobody who is enrolled obeys somebody else any more: it goes on as after a start.
    ///
    /// # Errors
    /// When the store does not take it: the coordinator must stop.
    pub fn unfence(&mut self, now: Now) -> Result<Vec<Output>, StoreError> {
        if self.fenced.take().is_none() {
            return Ok(Vec::new());
        }
        self.changes += 1;
        let mut outputs = Vec::new();
        for number in self.open_numbers() {
            outputs.extend(self.transition(number, Event::Restarted {}, now)?);
        }
        Ok(outputs)
    }

    /// Runs that are not over.
    #[must_use]
    pub fn open_numbers(&self) -> Vec<u64> {
        self.runs.keys().copied().collect()
    }

    /// Takes the place of whoever was obeyed: an epoch above every one that was reported, and a line in the
    /// record of the fleet and of each open run, before anything else is done.
    ///
    /// # Errors
    /// When the store does not take it: nothing of it happened, and the coordinator must stop.
    pub fn take_over_above(
        &mut self,
        instance: InstanceId,
        reported: &BTreeMap<NodeName, u64>,
        by: &str,
        now: Now,
    ) -> Result<(Fence, Vec<Output>), StoreError> {
        let from = self.fence.epoch.0;
        let above = reported.values().copied().max().unwrap_or(from).max(from);
        let event = |to| Event::Restored { by: by.to_string(), from, to, reported: reported.clone() };
        let foreseen = above.saturating_add(1);
        let text = run_view::restored(by, from, foreseen, reported);
        let recorded = Recorded { event: event(foreseen), node: None, text, proof: None };
        let record = NewEvent { run: 0, wall_ms: now.wall_ms, event: document::encode(&recorded) };
        let taken = self.store.take_over_above(instance, Epoch(above), &record);
        let fence = taken.inspect_err(|_| self.failed = true)?;
        self.end = self.store.record_end().inspect_err(|_| self.failed = true)?;
        self.fence = fence;
        self.fenced = None;
        self.changes += 1;
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        let mut outputs = Vec::new();
        for number in numbers {
            outputs.extend(self.transition(number, event(fence.epoch.0), now)?);
        }
        Ok((fence, outputs))
    }
}
