//! Disks of coordinators, which branch as the story does. The store itself is the one in memory that the conformance
//! suite runs; it is copied before the first write of each step.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drydock_coordinator::store::{
    Commit, ComponentRow, EffectRow, EventRow, Loaded, NewEvent, RecordEnd, RunRow, RunStore, StoreError,
    memory::MemoryStore, record::RecordCheck,
};
use drydock_core::run::{NodeRun, RunHead};
use drydock_types::{ComponentName, EffectId, Epoch, Fence, FleetId, InstanceId, NodeName, Sha256, document};

/// What is at hand while one coordinator does one step.
#[derive(Debug)]
struct AtHand {
    store: MemoryStore,
    owner: Option<Fence>,
    written: bool,
}

/// The place through which every coordinator of every branch reads and writes: its disk is laid there first.
#[derive(Debug, Clone)]
pub(super) struct Desk(Arc<Mutex<AtHand>>);

impl Desk {
    pub(super) fn new() -> Self {
        let store = MemoryStore::new(FleetId([7; 16]));
        Self(Arc::new(Mutex::new(AtHand { store, owner: None, written: false })))
    }

    fn lock(&self) -> MutexGuard<'_, AtHand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lay(&self, disk: &Disk) {
        *self.lock() = AtHand { store: disk.store.reopen(), owner: disk.owner, written: false };
    }

    /// The disk as it is after the step, where something was written.
    pub(super) fn take(&self) -> Option<Rc<Disk>> {
        let at_hand = self.lock();
        at_hand.written.then(|| Rc::new(Disk::of(at_hand.store.reopen(), at_hand.owner)))
    }
}

/// A coordinator's disk at one moment.
#[derive(Debug)]
pub(super) struct Disk {
    store: MemoryStore,
    /// Who took it over last.
    pub(super) owner: Option<Fence>,
    /// What is on it, as far as it decides about anything.
    pub(super) clock_ms: u64,
    pub(super) runs: Vec<(RunHead, Vec<NodeRun>)>,
    /// Effects that are open there.
    pub(super) effects: Vec<EffectRow>,
    /// The rest of it, as text.
    pub(super) rest: String,
}

impl Disk {
    pub(super) fn empty() -> Self {
        Self::of(MemoryStore::new(FleetId([7; 16])), None)
    }

    fn of(store: MemoryStore, owner: Option<Fence>) -> Self {
        let mut disk =
            Self { store, owner, clock_ms: 0, runs: Vec::new(), effects: Vec::new(), rest: String::new() };
        // What cannot be read back is a broken store: the next start says so, and that ends the exploration.
        let Ok(loaded) = disk.store.load() else { return disk };
        disk.clock_ms = loaded.clock_ms;
        disk.runs = loaded.runs.iter().filter_map(run).collect();
        let open: Vec<EffectId> = loaded.effects.iter().map(|row| row.effect).collect();
        disk.rest = format!("{open:?} {:?} {:?}", loaded.standings, loaded.remembered);
        disk.effects = loaded.effects;
        disk
    }

    /// A disk of its own with the same on it.
    pub(super) fn copy(&self) -> Self {
        Self::of(self.store.copy(), self.owner)
    }
}

fn run(row: &RunRow) -> Option<(RunHead, Vec<NodeRun>)> {
    let head = document::decode_own("run", &row.state).ok()?;
    let nodes = row.parts.iter().filter(|(part, _)| **part > 0);
    let nodes = nodes.map(|(_, bytes)| document::decode_own("node", bytes).ok()).collect::<Option<_>>()?;
    Some((head, nodes))
}

/// One coordinator's way to whatever lies on the desk.
#[derive(Debug, Clone)]
pub(super) struct DeskStore {
    desk: Desk,
    fence: Option<Fence>,
    /// The experiment's store does not ask whose it is.
    anybody: bool,
}

impl DeskStore {
    pub(super) const fn new(desk: Desk, anybody: bool) -> Self {
        Self { desk, fence: None, anybody }
    }

    fn store(&self) -> MemoryStore {
        self.desk.lock().store.opened_under(self.fence)
    }

    fn owns(&mut self, fence: Fence) {
        self.fence = Some(fence);
        self.desk.lock().owner = Some(fence);
    }

    /// A disk that other branches do not see.
    fn store_for_writing(&self) -> MemoryStore {
        let mut at_hand = self.desk.lock();
        if !at_hand.written {
            at_hand.store = at_hand.store.copy();
            at_hand.written = true;
        }
        at_hand.store.opened_under(self.fence)
    }
}

impl RunStore for DeskStore {
    fn take_over(&mut self, instance: InstanceId) -> Result<Fence, StoreError> {
        let fence = self.store_for_writing().take_over(instance)?;
        self.owns(fence);
        Ok(fence)
    }

    fn take_over_above(
        &mut self,
        instance: InstanceId,
        above: Epoch,
        record: &NewEvent,
    ) -> Result<Fence, StoreError> {
        let fence = self.store_for_writing().take_over_above(instance, above, record)?;
        self.owns(fence);
        Ok(fence)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        // The record and what was measured decide about nothing: a branch is lighter without them.
        let lean = Commit {
            events: Vec::new(),
            documents: Vec::new(),
            samples: Vec::new(),
            components: Vec::new(),
            ..commit.clone()
        };
        let mut store = self.store_for_writing();
        if self.anybody {
            // Whoever writes is taken for the owner.
            store = store.opened_under(self.desk.lock().owner);
        }
        store.commit(&lean)
    }

    fn knows_effect(&self, effect: EffectId) -> Result<bool, StoreError> {
        self.store().knows_effect(effect)
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.store().load()
    }

    fn run(&self, number: u64) -> Result<Option<RunRow>, StoreError> {
        self.store().run(number)
    }

    fn undone_by(&self, number: u64) -> Result<Vec<u64>, StoreError> {
        self.store().undone_by(number)
    }

    fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError> {
        self.store().runs(most)
    }

    fn events(&self, run: u64, most: u32) -> Result<Vec<EventRow>, StoreError> {
        self.store().events(run, most)
    }

    fn components(&self, node: &NodeName) -> Result<Vec<ComponentRow>, StoreError> {
        self.store().components(node)
    }

    fn samples(&self, recipe: Sha256, component: &ComponentName, most: u32) -> Result<Vec<u64>, StoreError> {
        self.store().samples(recipe, component, most)
    }

    fn record_end(&self) -> Result<RecordEnd, StoreError> {
        self.store().record_end()
    }

    fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        self.store().document(digest)
    }

    fn verify_chain(&self) -> Result<RecordCheck, StoreError> {
        self.store().verify_chain()
    }
}
