//! The same store in memory: for tests and the simulation. Nothing of it survives the process.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drydock_types::{
    ComponentName, EffectId, Epoch, Fence, FleetId, InstanceId, NodeKey, NodeName, RunId, Sha256,
};

use super::{
    BEFORE_FIRST, Commit, ComponentRow, EffectRow, EventRow, LET_OUT_KEPT_MS, LetOutRow, Loaded, NewEvent,
    RecordEnd, RememberedRow, RunRow, RunStore, SampleRow, StandingRow, StoreError, chain, chain_start,
    next_epoch,
    record::{RecordCheck, Walk},
};

/// What a `drydock.db` holds. A commit is checked whole before anything of it is applied.
#[derive(Debug, Clone)]
struct Content {
    fleet: FleetId,
    epoch: Epoch,
    instance: Option<InstanceId>,
    clock_ms: u64,
    runs: BTreeMap<u64, RunRow>,
    run_ids: BTreeMap<RunId, u64>,
    events: Vec<EventRow>,
    head: (u64, Sha256),
    /// Every effect ever decided, and whether it is open.
    effects: BTreeMap<EffectId, (EffectRow, bool)>,
    components: BTreeMap<(NodeName, ComponentName), ComponentRow>,
    samples: Vec<SampleRow>,
    documents: BTreeMap<Sha256, Vec<u8>>,
    standings: BTreeMap<NodeKey, Vec<u8>>,
    remembered: BTreeMap<EffectId, RememberedRow>,
    fleet_state: Option<Vec<u8>>,
    let_out: Vec<LetOutRow>,
    adopted: BTreeSet<EffectId>,
}

/// A store without a disk. [`MemoryStore::reopen`] is what another start of the coordinator sees.
#[derive(Debug)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    fence: Option<Fence>,
    failures: VecDeque<StoreError>,
}

impl MemoryStore {
    /// An empty store of this fleet.
    #[must_use]
    pub fn new(fleet: FleetId) -> Self {
        let content = Content {
            fleet,
            epoch: BEFORE_FIRST,
            instance: None,
            clock_ms: 0,
            runs: BTreeMap::new(),
            run_ids: BTreeMap::new(),
            events: Vec::new(),
            head: (0, chain_start(fleet)),
            effects: BTreeMap::new(),
            components: BTreeMap::new(),
            samples: Vec::new(),
            documents: BTreeMap::new(),
            standings: BTreeMap::new(),
            remembered: BTreeMap::new(),
            fleet_state: None,
            let_out: Vec::new(),
            adopted: BTreeSet::new(),
        };
        Self { content: Arc::new(Mutex::new(content)), fence: None, failures: VecDeque::new() }
    }

    /// A second opener of the same content, which has taken nothing over yet.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { content: Arc::clone(&self.content), fence: None, failures: VecDeque::new() }
    }

    /// A store of its own with the same content, as if somebody had copied the file. Nothing is taken over.
    #[must_use]
    pub fn copy(&self) -> Self {
        let content = Arc::new(Mutex::new(self.content().clone()));
        Self { content, ..self.reopen() }
    }

    /// Another opener of the same content, for whoever took it over under this fence before: an exploration that
    /// goes on from one moment in many ways opens the store of each way so.
    #[must_use]
    pub fn opened_under(&self, fence: Option<Fence>) -> Self {
        Self { fence, ..self.reopen() }
    }

    /// The next commit fails with this and leaves nothing. Called twice: the next two.
    pub fn fail_next_commit(&mut self, error: StoreError) {
        self.failures.push_back(error);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing panics while it changes content, so that a poisoned lock still guards whole content.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events as somebody at the file could change them.
    #[cfg(test)]
    pub(super) fn tamper(&self, with: impl FnOnce(&mut Vec<EventRow>)) {
        with(&mut self.content().events);
    }
}

impl Content {
    fn check_owner(&self, ours: Option<Fence>) -> Result<(), StoreError> {
        let theirs = self.instance.map(|instance| Fence { epoch: self.epoch, instance });
        if ours.is_some() && ours == theirs {
            return Ok(());
        }
        let ours = ours.map_or(BEFORE_FIRST, |fence| fence.epoch).0;
        Err(StoreError::TakenOver { found: self.epoch.0, ours })
    }

    /// Everything that a commit may be refused for, before anything is changed.
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let refused = |what| Err(StoreError::Refused { what });
        let (mut numbers, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for run in &commit.runs {
            let id = self.runs.get(&run.number).map(|known| known.id);
            let number = self.run_ids.get(&run.id).copied();
            let same_id = *numbers.entry(run.number).or_insert(id.unwrap_or(run.id)) == run.id;
            let same_number = *ids.entry(run.id).or_insert(number.unwrap_or(run.number)) == run.number;
            if !same_id || !same_number {
                return refused(format!("run {} is another run than {}", run.number, run.id));
            }
        }
        let mut opened = BTreeMap::new();
        for effect in &commit.open {
            let short = effect.effect.short();
            if !self.runs.contains_key(&effect.run) && !numbers.contains_key(&effect.run) {
                return refused(format!("effect {short} is of run {}, which does not exist", effect.run));
            }
            let known = self.effects.get(&effect.effect).map_or(effect, |(known, _)| known);
            if *opened.entry(effect.effect).or_insert(known) != effect {
                return refused(format!("effect {short} on {} is known with another payload", effect.node));
            }
        }
        Ok(())
    }

    fn apply(&mut self, commit: &Commit) {
        for run in &commit.runs {
            self.run_ids.insert(run.id, run.number);
            let mut parts = self.runs.remove(&run.number).map(|known| known.parts).unwrap_or_default();
            parts.extend(run.parts.clone());
            self.runs.insert(run.number, RunRow { parts, ..run.clone() });
        }
        commit.events.iter().for_each(|event| self.append(event));
        for effect in &commit.open {
            self.effects.insert(effect.effect, (effect.clone(), true));
        }
        for effect in &commit.close {
            if let Some((_, open)) = self.effects.get_mut(effect) {
                *open = false;
            }
        }
        for seen in &commit.components {
            self.components.insert((seen.node.clone(), seen.component.clone()), seen.clone());
        }
        self.samples.extend(commit.samples.iter().cloned());
        for row in &commit.standings {
            self.standings.insert(row.node, row.document.clone());
        }
        if let Some(state) = &commit.fleet_state {
            self.fleet_state = Some(state.clone());
        }
        self.note_let_out(commit);
        self.remembered.extend(commit.remembered.iter().map(|row| (row.effect, row.clone())));
        commit.forgotten.iter().for_each(|effect| drop(self.remembered.remove(effect)));
        for document in &commit.documents {
            self.documents.entry(Sha256::of(document)).or_insert_with(|| document.clone());
        }
        self.adopted.extend(&commit.adopted);
        self.clock_ms = self.clock_ms.max(commit.clock_ms);
    }

    fn note_let_out(&mut self, commit: &Commit) {
        if commit.let_out.is_empty() {
            return;
        }
        let same = |a: &LetOutRow, b: &LetOutRow| {
            (a.node, a.run, a.stage, a.attempt) == (b.node, b.run, b.stage, b.attempt)
        };
        self.let_out.retain(|known| {
            !commit.let_out.iter().any(|new| same(known, new))
                && known.clock_ms.saturating_add(LET_OUT_KEPT_MS) > commit.clock_ms
        });
        self.let_out.extend(commit.let_out.iter().cloned());
        self.let_out.sort_by_key(|row| (row.clock_ms, row.node, row.run, row.stage, row.attempt));
    }

    fn append(&mut self, event: &NewEvent) {
        let seq = self.head.0 + 1;
        let hash = chain(self.head.1, seq, event);
        let NewEvent { run, wall_ms, event } = event.clone();
        self.events.push(EventRow { seq, run, wall_ms, event, hash });
        self.head = (seq, hash);
    }
}

impl RunStore for MemoryStore {
    fn take_over(&mut self, instance: InstanceId) -> Result<Fence, StoreError> {
        let mut content = self.content();
        content.epoch = Epoch(content.epoch.0.saturating_add(1));
        content.instance = Some(instance);
        let fence = Fence { epoch: content.epoch, instance };
        drop(content);
        self.fence = Some(fence);
        Ok(fence)
    }

    fn take_over_above(
        &mut self,
        instance: InstanceId,
        above: Epoch,
        record: &NewEvent,
    ) -> Result<Fence, StoreError> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = next_epoch(content.epoch, above)?;
        if let Some(error) = self.failures.pop_front() {
            return Err(error);
        }
        (content.epoch, content.instance) = (epoch, Some(instance));
        content.append(record);
        let fence = Fence { epoch, instance };
        self.fence = Some(fence);
        Ok(fence)
    }

    fn knows_effect(&self, effect: EffectId) -> Result<bool, StoreError> {
        let content = self.content();
        Ok(content.effects.contains_key(&effect) || content.adopted.contains(&effect))
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let content = self.content();
        Ok(Loaded {
            fleet: content.fleet,
            clock_ms: content.clock_ms,
            runs: content.runs.values().filter(|run| run.open).cloned().collect(),
            last_run: content.runs.last_key_value().map_or(0, |(number, _)| *number),
            effects: content.effects.values().filter(|(_, open)| *open).map(|(row, _)| row.clone()).collect(),
            standings: content
                .standings
                .iter()
                .map(|(node, document)| StandingRow { node: *node, document: document.clone() })
                .collect(),
            fleet_state: content.fleet_state.clone(),
            let_out: content.let_out.clone(),
            remembered: content.remembered.values().cloned().collect(),
        })
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.check_owner(self.fence)?;
        content.check(commit)?;
        if let Some(error) = self.failures.pop_front() {
            return Err(error);
        }
        content.apply(commit);
        Ok(())
    }

    fn run(&self, number: u64) -> Result<Option<RunRow>, StoreError> {
        Ok(self.content().runs.get(&number).cloned())
    }

    fn undone_by(&self, number: u64) -> Result<Vec<u64>, StoreError> {
        let content = self.content();
        Ok(content.runs.values().filter(|run| run.undoes == Some(number)).map(|run| run.number).collect())
    }

    fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError> {
        Ok(self.content().runs.values().rev().take(count(most)).cloned().collect())
    }

    fn events(&self, run: u64, most: u32) -> Result<Vec<EventRow>, StoreError> {
        let content = self.content();
        let newest = content.events.iter().rev().filter(|event| event.run == run).take(count(most));
        let mut events: Vec<_> = newest.cloned().collect();
        events.reverse();
        Ok(events)
    }

    fn components(&self, node: &NodeName) -> Result<Vec<ComponentRow>, StoreError> {
        Ok(self.content().components.values().filter(|seen| seen.node == *node).cloned().collect())
    }

    fn samples(&self, recipe: Sha256, component: &ComponentName, most: u32) -> Result<Vec<u64>, StoreError> {
        let content = self.content();
        let newest = |which: &dyn Fn(&SampleRow) -> bool| -> Vec<u64> {
            let fit = content.samples.iter().rev().filter(|sample| which(sample));
            fit.take(count(most)).map(|sample| sample.took_ms).collect()
        };
        let of_recipe = newest(&|sample| sample.recipe == recipe);
        if of_recipe.is_empty() {
            Ok(newest(&|sample| sample.component == *component))
        } else {
            Ok(of_recipe)
        }
    }

    fn record_end(&self) -> Result<RecordEnd, StoreError> {
        let (seq, hash) = self.content().head;
        Ok(RecordEnd { seq, hash })
    }

    fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.content().documents.get(&digest).cloned())
    }

    fn verify_chain(&self) -> Result<RecordCheck, StoreError> {
        let content = self.content();
        let mut walk = Walk::begin(content.fleet);
        for event in &content.events {
            if let Err(broken) = walk.step(event.clone()) {
                return Ok(broken);
            }
        }
        Ok(walk.end(content.head.0, content.head.1))
    }
}

fn count(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}
