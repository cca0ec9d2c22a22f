//! What agents say about sections: only the node that a section was handed to may speak of it.

use drydock_core::{
    Now,
    run::{Event, Run},
};
use drydock_types::{EffectId, NodeKey, NodeName, Outcome};

use super::{Driver, Output};
use crate::{
    heard::Signed,
    store::{RunStore, StoreError},
};

impl<S: RunStore> Driver<S> {
    /// An event about an effect: only the node that it was handed to may speak of it, and not another machine
    /// that has its name by now.
    pub(super) fn about(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        event: Event,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        self.about_signed(node, effect, event, None, now)
    }

    fn about_signed(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        event: Event,
        signed: Option<Signed>,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some((number, _)) = self.holder(node, effect) else {
            tracing::debug!(%node, effect = %effect.short(), "an answer about an effect that is not open here");
            return Ok(Vec::new());
        };
        if let Some(live) = self.live.get_mut(&number) {
            live.at_step.remove(node);
        }
        if !matches!(event, Event::OutcomeRefused { .. } | Event::Accepted { .. }) {
            self.limiter.heard(effect);
        }
        self.transition_signed(number, event, signed, now)
    }

    /// The run that has this effect open at this node, and the node's identity: the one of the plan, which is
    /// registered under its name.
    pub(super) fn holder(&self, node: &NodeName, effect: EffectId) -> Option<(u64, NodeKey)> {
        let key = self.fleet.key(node)?;
        let holds =
            |run: &&Run| run.with_open(effect).is_some_and(|other| &other.name == node && other.key == key);
        self.runs.values().find(holds).map(|run| (run.number, key))
    }

    /// The key that signed must be the one that the section was handed to: a stream that was opened under
    /// another key of the same name says nothing here.
    pub(super) fn outcome(
        &mut self,
        node: &NodeName,
        outcome: Outcome,
        signed: Signed,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let effect = outcome.effect;
        self.strange_ended(node, effect);
        if self.holder(node, effect).is_some_and(|(_, key)| key != signed.proof.node) {
            tracing::warn!(target: "drydock::refused", %node, effect = %effect.short(), "an outcome was signed by another key than the node's");
            return Ok(Vec::new());
        }
        self.about_signed(node, effect, Event::Ended { outcome }, Some(signed), now)
    }

    pub(super) fn progress(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        step: String,
        progress: Option<(u64, u64)>,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some((number, _)) = self.holder(node, effect) else { return Ok(Vec::new()) };
        let open = self.runs[&number].with_open(effect).and_then(|node| node.open.as_ref());
        let outputs = match open {
            // Whoever is at a step has it in its journal; the word that it accepted it came to an earlier coordinator.
            Some(open) if !open.accepted => self.about(node, effect, Event::Accepted { effect }, now)?,
            _ => Vec::new(),
        };
        self.live.entry(number).or_default().at_step.insert(node.clone(), (step, progress));
        self.changes += 1;
        Ok(outputs)
    }
}
