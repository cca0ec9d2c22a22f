//! Outcomes that were not believed: their effects stay open and are asked about again.
//!
//! What ends the wait is the section's own deadline: then the run holds, and `run resume` asks once more. The
//! record holds one line for each effect and stream, however often an agent repeats itself.

use drydock_core::{Now, run::Event};
use drydock_types::{EffectId, NodeName};

use super::{Driver, Output};
use crate::store::{RunStore, StoreError};

/// After an outcome was refused its agent is asked again, later each time.
const ASK_AGAIN_MS: [u64; 5] = [1000, 2000, 5000, 15_000, 30_000];

/// An effect whose outcome was refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    node: NodeName,
    /// On which stream.
    session: u64,
    /// How often.
    count: usize,
    /// When its agent is asked again, on the fleet's clock; `None` while an answer is awaited.
    ask_at_ms: Option<u64>,
}

impl<S: RunStore> Driver<S> {
    pub(super) fn outcome_refused(
        &mut self,
        node: NodeName,
        session: u64,
        effect: EffectId,
        why: &str,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        if self.holder(&node, effect).is_none() {
            tracing::warn!(%node, effect = %effect.short(), why, "an outcome was refused, of an effect that is not open here");
            return Ok(Vec::new());
        }
        let open: Vec<EffectId> = self.open_effects().collect();
        self.refused.retain(|effect, _| open.contains(effect));
        let entry = self.refused.entry(effect).or_insert(Refused {
            node: node.clone(),
            session: 0,
            count: 0,
            ask_at_ms: None,
        });
        let told = std::mem::replace(&mut entry.session, session) == session;
        let wait_ms = ASK_AGAIN_MS[entry.count.min(ASK_AGAIN_MS.len() - 1)];
        entry.count = entry.count.saturating_add(1);
        entry.ask_at_ms = Some(now.clock_ms.saturating_add(wait_ms));
        if told {
            return Ok(Vec::new());
        }
        tracing::error!(target: "drydock::refused", %node, effect = %effect.short(), why, "an outcome was refused: it changes nothing, and the node is asked again");
        let why = format!("an outcome was refused: {why}");
        self.about(&node, effect, Event::OutcomeRefused { effect, why }, now)
    }

    /// Questions that are due.
    pub(super) fn ask_again(&mut self, now: Now) -> Vec<Output> {
        let due = |refused: &Refused| refused.ask_at_ms.is_some_and(|at| at <= now.clock_ms);
        let effects: Vec<EffectId> =
            self.refused.iter().filter(|(_, refused)| due(refused)).map(|(effect, _)| *effect).collect();
        let mut outputs = Vec::new();
        for effect in effects {
            let Some(refused) = self.refused.get_mut(&effect) else { continue };
            refused.ask_at_ms = None;
            let node = refused.node.clone();
            if self.holder(&node, effect).is_some() {
                outputs.push(Output::Ask { node, effect });
            } else {
                self.refused.remove(&effect);
            }
        }
        outputs
    }

    /// When the next of them is due, on the fleet's clock.
    pub(super) fn ask_again_ms(&self) -> Option<u64> {
        self.refused.values().filter_map(|refused| refused.ask_at_ms).min()
    }

    fn open_effects(&self) -> impl Iterator<Item = EffectId> {
        let nodes = self.runs.values().flat_map(|run| &run.nodes);
        nodes.filter_map(|node| node.open.as_ref().map(|open| open.effect))
    }
}
