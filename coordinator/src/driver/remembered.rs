//! What agents' journals hold of runs that are over: notes that a rollback will want, and what may be forgotten.
//!
//! Of each node's component the last change is kept, by whichever run, until a later run has changed it too or has
//! taken it back. Everything else of a closed run may go: it is told to the agent whenever its stream opens, until
//! the agent answers that it knows nothing of it. A stream keeps its order, so that an answer to a question which
//! was sent behind the word says that the word was heard.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    Now,
    run::{Left, NodeRun, Run},
    view::Phase,
};
use drydock_types::{ComponentName, EffectId, NodeKey, NodeName};

use super::{Driver, FleetNode, Output};
use crate::store::{Commit, Loaded, RememberedRow, RunStore, StoreError};

/// Effects that one word to an agent names at most; the rest comes when those are forgotten.
const TOLD_AT_ONCE: usize = 256;

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    rows: BTreeMap<EffectId, RememberedRow>,
    /// By identity: what its agent was told to forget, by the last of which it was asked whether it has.
    told: BTreeMap<NodeKey, (EffectId, BTreeSet<EffectId>)>,
}

impl Remembered {
    pub(super) fn read(loaded: &Loaded) -> Self {
        let rows = loaded.remembered.iter().map(|row| (row.effect, row.clone())).collect();
        Self { rows, told: BTreeMap::new() }
    }

    /// The last change of a component on a node, while its agent keeps the notes.
    pub(super) fn change(&self, key: NodeKey, component: &ComponentName) -> Option<&RememberedRow> {
        self.rows.values().find(|row| row.key == key && row.keeps.as_ref() == Some(component))
    }

    /// A run is closed: what of it is kept, and what may go.
    pub(super) fn close(&self, run: &Run, commit: &mut Commit) {
        let mut rows: BTreeMap<EffectId, RememberedRow> = BTreeMap::new();
        for node in &run.nodes {
            let component = &run.stage_of(node).component;
            let row = |effect: EffectId, keeps: Option<ComponentName>| {
                let (node, key) = (node.name.clone(), node.key);
                RememberedRow { effect, run: run.number, node, key, keeps }
            };
            for effect in &node.effects {
                rows.insert(*effect, row(*effect, None));
            }
            let ended = what_it_left(run, node);
            if matches!(ended, Ended::Nothing) {
                continue;
            }
            // An earlier change, of this run or of another, is not the last one any more.
            let earlier = self.rows.values().chain(rows.values());
            let same = |row: &&RememberedRow| row.key == node.key && row.keeps.as_ref() == Some(component);
            let earlier: Vec<RememberedRow> = earlier.filter(same).cloned().collect();
            for earlier in earlier {
                rows.insert(earlier.effect, RememberedRow { keeps: None, ..earlier });
            }
            if let Ended::Kept(effect) = ended {
                rows.insert(effect, row(effect, Some(component.clone())));
            }
        }
        commit.remembered.extend(rows.into_values());
    }

    /// After the commit.
    pub(super) fn take(&mut self, commit: &Commit) {
        self.rows.extend(commit.remembered.iter().map(|row| (row.effect, row.clone())));
        for effect in &commit.forgotten {
            self.rows.remove(effect);
        }
    }

    /// What this node's agent may forget, and the question whether it has.
    pub(super) fn tell(&mut self, node: &NodeName, key: NodeKey) -> Vec<Output> {
        let may_go = self.rows.values().filter(|row| row.key == key && row.keeps.is_none());
        let effects: Vec<EffectId> = may_go.map(|row| row.effect).take(TOLD_AT_ONCE).collect();
        let Some(last) = effects.last().copied() else { return Vec::new() };
        self.told.insert(key, (last, effects.iter().copied().collect()));
        let node = node.clone();
        vec![Output::Forget { node: node.clone(), effects }, Output::Ask { node, effect: last }]
    }

    /// An agent knows nothing of an effect. Was it the one by which it was asked? Then all that it was told is gone.
    pub(super) fn not_known(&mut self, key: NodeKey, effect: EffectId) -> Vec<EffectId> {
        let Some((_, told)) = self.told.get(&key).filter(|(asked, _)| *asked == effect).cloned() else {
            return Vec::new();
        };
        self.told.remove(&key);
        // One that is kept again since was decided about anew.
        let may_go = |effect: &EffectId| self.rows.get(effect).is_some_and(|row| row.keeps.is_none());
        told.into_iter().filter(may_go).collect()
    }

    /// Rows of identities that are registered no longer: their journals are of no concern any more.
    pub(super) fn of_others(&self, registered: &BTreeSet<NodeKey>) -> Vec<EffectId> {
        let gone = self.rows.values().filter(|row| !registered.contains(&row.key));
        gone.map(|row| row.effect).collect()
    }
}

/// What a run leaves in a node's journal.
enum Ended {
    /// The last change stays what it was.
    Nothing,
    /// There is none any more that could be taken back.
    Gone,
    /// This one.
    Kept(EffectId),
}

fn what_it_left(run: &Run, node: &NodeRun) -> Ended {
    if run.plan.undoes.is_some() {
        // Not of one that was skipped: what ran before runs there, by whoever's doing.
        return if node.phase == Phase::Done { Ended::Gone } else { Ended::Nothing };
    }
    match node.last_change {
        None => Ended::Nothing,
        Some(change) if change.left == Left::Unknown => Ended::Gone,
        Some(change) => Ended::Kept(change.effect),
    }
}

impl<S: RunStore> Driver<S> {
    /// The agents of a run that is over: what they may forget.
    pub(super) fn tell_to_forget(&mut self, run: &Run) -> Vec<Output> {
        let nodes: BTreeMap<&NodeName, NodeKey> =
            run.nodes.iter().map(|node| (&node.name, node.key)).collect();
        let there = nodes.into_iter().filter(|(name, key)| self.fleet.session_of(name, *key).is_some());
        let there: Vec<_> = there.collect();
        there.into_iter().flat_map(|(name, key)| self.remembered.tell(name, key)).collect()
    }

    /// An agent knows nothing of an effect that it was told to forget.
    pub(super) fn is_forgotten(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        now: Now,
    ) -> Result<(), StoreError> {
        let Some(key) = self.fleet.key(node) else { return Ok(()) };
        let forgotten = self.remembered.not_known(key, effect);
        self.forget(forgotten, now)
    }

    /// What journals of machines hold that are registered no longer is of no concern.
    pub(super) fn remember_only(
        &mut self,
        nodes: &[(NodeName, FleetNode)],
        now: Now,
    ) -> Result<(), StoreError> {
        let registered = nodes.iter().map(|(_, node)| node.key).collect();
        self.forget(self.remembered.of_others(&registered), now)
    }

    fn forget(&mut self, forgotten: Vec<EffectId>, now: Now) -> Result<(), StoreError> {
        if forgotten.is_empty() || self.fenced.is_some() {
            return Ok(());
        }
        let commit = Commit { clock_ms: now.clock_ms, forgotten, ..Commit::default() };
        self.write(&commit)?;
        self.remembered.take(&commit);
        Ok(())
    }
}
