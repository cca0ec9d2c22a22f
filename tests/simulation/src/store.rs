//! The coordinator's store in memory, with a witness to what it durably holds, and a disk that fails when it is
//! told to.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use drydock_coordinator::store::{
    Commit, ComponentRow, EventRow, Loaded, NewEvent, RecordEnd, RunRow, RunStore, StoreError,
    memory::MemoryStore, record::RecordCheck,
};
use drydock_types::{
    ComponentName, EffectId, Epoch, Fence, InstanceId, NodeName, Section, Sha256, Step, document,
};

use crate::{rules::Intent, shared::Shared};

/// What the next commit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fails {
    /// It takes place.
    Not = 0,
    /// The disk is full: nothing of it takes place.
    Full = 1,
    /// An I/O error: nothing of it took place.
    Io = 2,
    /// An I/O error, and it took place all the same: whoever asks the disk later finds it there.
    IoBehind = 3,
}

/// The store of one start of a coordinator.
pub(crate) struct WitnessStore {
    store: MemoryStore,
    shared: Shared,
    fails: Arc<AtomicU8>,
}

impl WitnessStore {
    pub(crate) const fn new(store: MemoryStore, shared: Shared, fails: Arc<AtomicU8>) -> Self {
        Self { store, shared, fails }
    }

    fn witness(&self, commit: &Commit) {
        if commit.open.is_empty() {
            return;
        }
        let now_ms = self.shared.now_ms();
        let mut inner = self.shared.lock();
        for row in &commit.open {
            let Ok(section) = document::decode::<Section>("section", &row.section) else { continue };
            let intent = Intent {
                payload: Sha256::of(&row.section),
                run: section.run,
                kind: section.kind,
                node: row.node.clone(),
                from: section.from,
                to: section.to,
                steps: section.steps.iter().chain(&section.verify).map(Step::name).collect(),
            };
            inner.rules.decided_durably(row.effect, intent, now_ms);
        }
    }
}

impl RunStore for WitnessStore {
    fn take_over(&mut self, instance: InstanceId) -> Result<Fence, StoreError> {
        self.store.take_over(instance)
    }

    fn take_over_above(
        &mut self,
        instance: InstanceId,
        above: Epoch,
        record: &NewEvent,
    ) -> Result<Fence, StoreError> {
        self.store.take_over_above(instance, above, record)
    }

    fn knows_effect(&self, effect: EffectId) -> Result<bool, StoreError> {
        self.store.knows_effect(effect)
    }

    fn undone_by(&self, number: u64) -> Result<Vec<u64>, StoreError> {
        self.store.undone_by(number)
    }

    fn record_end(&self) -> Result<RecordEnd, StoreError> {
        self.store.record_end()
    }

    fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.document(digest)
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let fails = self.fails.swap(Fails::Not as u8, Ordering::Relaxed);
        let io =
            || StoreError::Database { path: "drydock.db".into(), what: "disk I/O error in commit".into() };
        match fails {
            1 => {
                let path = "drydock.db".to_string();
                return Err(StoreError::Full { path, wanted_bytes: 4096, free_bytes: 0 });
            }
            2 => return Err(io()),
            _ => {}
        }
        self.store.commit(commit)?;
        self.witness(commit);
        if fails == Fails::IoBehind as u8 { Err(io()) } else { Ok(()) }
    }

    fn run(&self, number: u64) -> Result<Option<RunRow>, StoreError> {
        self.store.run(number)
    }

    fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError> {
        self.store.runs(most)
    }

    fn events(&self, run: u64, most: u32) -> Result<Vec<EventRow>, StoreError> {
        self.store.events(run, most)
    }

    fn components(&self, node: &NodeName) -> Result<Vec<ComponentRow>, StoreError> {
        self.store.components(node)
    }

    fn samples(&self, recipe: Sha256, component: &ComponentName, most: u32) -> Result<Vec<u64>, StoreError> {
        self.store.samples(recipe, component, most)
    }

    fn verify_chain(&self) -> Result<RecordCheck, StoreError> {
        self.store.verify_chain()
    }
}
