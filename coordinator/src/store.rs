//! What is on disk, and how it gets there: one transaction a transition.
//!
//! [`RunStore`] is what the driver needs and no more, so that a second implementation (in memory, for tests
//! and the simulation; one day etcd) stays possible; `store::conformance` runs both through one suite.
//! [`registry`] holds what only the services need: nodes, tokens, artifacts, backups. [`record`] walks the
//! chain of events.

#[cfg(test)]
mod conformance;
pub mod memory;
pub mod record;
pub mod registry;
pub mod sqlite;

use std::collections::BTreeMap;

use drydock_types::{
    ComponentName, EffectId, Epoch, Fence, FleetId, InstanceId, NodeKey, NodeName, RunId, Sha256, Version,
};

/// Why the store could not do it. After an error of `commit` nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no: full disk, I/O error, corruption.
    #[error("the store {path}: {what}")]
    Database {
        /// The file.
        path: String,
        /// What SQLite said, and in which operation.
        what: String,
    },
    /// The file was written by another version of Drydock.
    #[error("the store {path} has schema {found}, this build reads {known}: use the version that wrote it")]
    Schema {
        /// The file.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Somebody else has taken the store over since.
    #[error("epoch {found} has taken the store over from {ours}: this coordinator must stop")]
    TakenOver {
        /// The epoch that stands in the store.
        found: u64,
        /// The one that tried to write.
        ours: u64,
    },
    /// What was to be written contradicts what stands there.
    #[error("not written to the store: {what}")]
    Refused {
        /// What, and what stands there.
        what: String,
    },
    /// No room on the disk.
    #[error(
        "the disk is full: {path} needs about {wanted_bytes} more bytes and {free_bytes} are free in its \
         directory; nothing was written. Free some space there and try again"
    )]
    Full {
        /// The file.
        path: String,
        /// About how much is wanted.
        wanted_bytes: u64,
        /// What the file system has left for us.
        free_bytes: u64,
    },
    /// Another process has it.
    #[error("{path} is in use by {holder}: one coordinator a store. Stop that one, or use another directory")]
    InUse {
        /// The file.
        path: String,
        /// `process 4711`.
        holder: String,
    },
    /// None there.
    #[error("there is no store at {path}: `drydock serve` makes one in its state directory")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// One is there already.
    #[error("{path} exists and is not overwritten: open it, or move it away first")]
    Exists {
        /// The file.
        path: String,
    },
    /// A row cannot be read back.
    #[error("the store holds something unreadable in {place}: {what}")]
    Unreadable {
        /// Table and key.
        place: String,
        /// What is wrong.
        what: String,
    },
}

/// A run: a row, and parts that are written one by one. What is written names the parts that changed; what is
/// read has all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What people call it; rises by one.
    pub number: u64,
    /// For ever.
    pub id: RunId,
    /// Not yet over?
    pub open: bool,
    /// The run that it takes back, where it does.
    pub undoes: Option<u64>,
    /// `drydock_core::run::RunHead` as JSON. Written every time.
    pub state: Vec<u8>,
    /// JSON documents by number: what they are is the driver's business (`driver::rows`).
    pub parts: BTreeMap<u32, Vec<u8>>,
}

/// An event that is to be appended to a run's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Of which run.
    pub run: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// The event as JSON: exact bytes, hashed into the chain.
    pub event: Vec<u8>,
}

/// An event in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its number over all runs; rises by one.
    pub seq: u64,
    /// Of which run.
    pub run: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Its bytes.
    pub event: Vec<u8>,
    /// [`chain`] of the hash before it and its own fields.
    pub hash: Sha256,
}

/// The end of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordEnd {
    /// The last event's number; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Sha256,
}

/// An effect that has been decided and not ended: what the coordinator asks about after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectRow {
    /// Its id.
    pub effect: EffectId,
    /// Of which run.
    pub run: u64,
    /// On which node.
    pub node: NodeName,
    /// The section's exact bytes.
    pub section: Vec<u8>,
}

/// What was seen running on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentRow {
    /// The node.
    pub node: NodeName,
    /// The component.
    pub component: ComponentName,
    /// The version, or why there is none.
    pub version: Result<Version, String>,
    /// Unix milliseconds.
    pub seen_ms: u64,
}

/// How long a node took, for estimates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// Which recipe, by digest.
    pub recipe: Sha256,
    /// The component.
    pub component: ComponentName,
    /// From gate to done.
    pub took_ms: u64,
}

/// What stands on record about a node, beyond any run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRow {
    /// The node, by its identity.
    pub node: NodeKey,
    /// `drydock_core::standing::Standing` as JSON.
    pub document: Vec<u8>,
}

/// A node that was let out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetOutRow {
    /// The node, by its identity.
    pub node: NodeKey,
    /// By which run.
    pub run: u64,
    /// In which of its stages, by index.
    pub stage: u32,
    /// In which attempt.
    pub attempt: u32,
    /// When it last was, on the fleet's clock.
    pub clock_ms: u64,
}

/// An effect of a run that is over, which its agent's journal still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRow {
    /// Which.
    pub effect: EffectId,
    /// Of which run.
    pub run: u64,
    /// On which node.
    pub node: NodeName,
    /// By its identity: a name that was enrolled again has another journal.
    pub key: NodeKey,
    /// It is the last change of this component there, and can be taken back: the agent is to keep its notes.
    /// `None`: it may be forgotten, and the agent has not said yet that it is.
    pub keeps: Option<ComponentName>,
}

/// So long a row of [`LetOutRow`] is kept, on the fleet's clock: an hour.
pub const LET_OUT_KEPT_MS: u64 = 3_600_000;

/// One transition: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// The fleet's clock; never falls.
    pub clock_ms: u64,
    /// Inserted or replaced by number; a part that is not named stays as it is.
    pub runs: Vec<RunRow>,
    /// Appended in order.
    pub events: Vec<NewEvent>,
    /// Effects decided now; must not exist, unless with the same bytes. One that has ended and is opened
    /// again with the same bytes is open again; an id never gets other bytes (rule 3).
    pub open: Vec<EffectRow>,
    /// Effects that ended; after `open`. One that is not open is passed over.
    pub close: Vec<EffectId>,
    /// What was seen.
    pub components: Vec<ComponentRow>,
    /// What was measured.
    pub samples: Vec<SampleRow>,
    /// Effects that only an agent's journal knows, and that an operator has decided about: see
    /// [`RunStore::knows_effect`].
    pub adopted: Vec<EffectId>,
    /// Inserted or replaced by node.
    pub standings: Vec<StandingRow>,
    /// `drydock_core::standing::FleetState` as JSON, where it changed.
    pub fleet_state: Option<Vec<u8>>,
    /// Inserted, or given a later time. Those older than [`LET_OUT_KEPT_MS`] go.
    pub let_out: Vec<LetOutRow>,
    /// What agents still hold of runs that are over: inserted or replaced by effect.
    pub remembered: Vec<RememberedRow>,
    /// Of those, what its agent has forgotten.
    pub forgotten: Vec<EffectId>,
    /// What the events name by digest: exact texts, kept under their SHA-256. One that is there stays.
    pub documents: Vec<Vec<u8>>,
}

/// What the driver starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The fleet.
    pub fleet: FleetId,
    /// The fleet's clock as it was last written.
    pub clock_ms: u64,
    /// Runs that are not over.
    pub runs: Vec<RunRow>,
    /// The highest number of any run.
    pub last_run: u64,
    /// Effects that have not ended.
    pub effects: Vec<EffectRow>,
    /// What stands on record about nodes.
    pub standings: Vec<StandingRow>,
    /// What stands about the fleet as a whole, where something was ever said.
    pub fleet_state: Option<Vec<u8>>,
    /// Nodes that were let out of service lately, the oldest first.
    pub let_out: Vec<LetOutRow>,
    /// What agents still hold of runs that are over, by effect.
    pub remembered: Vec<RememberedRow>,
}

/// What the driver needs of a store. Every method is durable when it returns.
pub trait RunStore: Send {
    /// Takes the store over: raises the epoch by one for this instance. From now on a commit of an earlier
    /// owner fails with [`StoreError::TakenOver`].
    ///
    /// # Errors
    /// When it cannot be written.
    fn take_over(&mut self, instance: InstanceId) -> Result<Fence, StoreError>;

    /// Takes the store over for this instance with an epoch above `above` and above its own, and says so in the
    /// record: all of it or nothing. For a store that is older than what agents have obeyed since.
    ///
    /// # Errors
    /// When it cannot be written, or there is no number above.
    fn take_over_above(
        &mut self,
        instance: InstanceId,
        above: Epoch,
        record: &NewEvent,
    ) -> Result<Fence, StoreError>;

    /// Was this effect ever decided here, or has an operator decided about it since an agent told of it?
    ///
    /// # Errors
    /// When it cannot be read.
    fn knows_effect(&self, effect: EffectId) -> Result<bool, StoreError>;

    /// What the driver starts from.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// One transition.
    ///
    /// # Errors
    /// When it could not be written (nothing of it is), or the store was taken over.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// A run's row, open or closed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn run(&self, number: u64) -> Result<Option<RunRow>, StoreError>;

    /// The runs that take this one back, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn undone_by(&self, number: u64) -> Result<Vec<u64>, StoreError>;

    /// Runs, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn runs(&self, most: u32) -> Result<Vec<RunRow>, StoreError>;

    /// The last events of a run, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn events(&self, run: u64, most: u32) -> Result<Vec<EventRow>, StoreError>;

    /// What was seen on a node, by component.
    ///
    /// # Errors
    /// When it cannot be read.
    fn components(&self, node: &NodeName) -> Result<Vec<ComponentRow>, StoreError>;

    /// The last samples of a recipe, newest first; when it has none, of the component.
    ///
    /// # Errors
    /// When they cannot be read.
    fn samples(&self, recipe: Sha256, component: &ComponentName, most: u32) -> Result<Vec<u64>, StoreError>;

    /// The end of the record as the last commit left it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn record_end(&self) -> Result<RecordEnd, StoreError>;

    /// A document that an event names by its digest, exactly as it was committed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn document(&self, digest: Sha256) -> Result<Option<Vec<u8>>, StoreError>;

    /// Walks the whole record and compares every hash, and its end with the length and head that each
    /// commit writes beside it.
    ///
    /// # Errors
    /// When it cannot be read. A record that is not whole is an answer, not an error.
    fn verify_chain(&self) -> Result<record::RecordCheck, StoreError>;
}

/// The chain of the record: each event's hash holds the one before it.
#[must_use]
pub fn chain(previous: Sha256, seq: u64, event: &NewEvent) -> Sha256 {
    chain_over(previous, seq, event.run, event.wall_ms, Sha256::of(&event.event))
}

/// The same from the digest of the event's bytes: a run that is taken out of the record alone carries no more of
/// the others' events than their digests, and the chain can still be followed through them.
#[must_use]
pub fn chain_over(previous: Sha256, seq: u64, run: u64, wall_ms: u64, event: Sha256) -> Sha256 {
    let (seq, run, wall_ms) = (seq.to_be_bytes(), run.to_be_bytes(), wall_ms.to_be_bytes());
    Sha256::of_parts(&[&previous.0, &seq, &run, &wall_ms, &event.0])
}

/// The hash before the first event of a fleet.
#[must_use]
pub fn chain_start(fleet: FleetId) -> Sha256 {
    Sha256::of_parts(&[b"drydock record v1", &fleet.0])
}

/// The first epoch above both.
pub(crate) fn next_epoch(own: Epoch, above: Epoch) -> Result<Epoch, StoreError> {
    let what = || format!("there is no epoch above {}", own.max(above).0);
    let next = own.max(above).0.checked_add(1).filter(|next| i64::try_from(*next).is_ok());
    next.map(Epoch).ok_or_else(|| StoreError::Refused { what: what() })
}

/// An epoch that nobody has held.
pub const BEFORE_FIRST: Epoch = Epoch(0);
