//! What was accepted, begun and done, on disk before it takes place.
//!
//! One file of framed, checksummed records behind a header with the journal's id. The open section is kept
//! in memory, ended ones as places in the file, so memory does not grow with history. What this module does
//! not know: what steps do, and in which order ([`executor`](crate::executor) knows).
//!
//! After an error that [stops the agent](JournalError::stops_the_agent) nothing more is written: whether the
//! last bytes are on the disk is then unknown, and an fsync that is tried again may lie
//! (<https://wiki.postgresql.org/wiki/Fsync_Errors>). The next start reads what is really there.

mod disk;
mod frame;
mod heads;
pub mod memory;
mod past;
mod record;
mod state;
#[cfg(test)]
mod tests;

use std::io;

use drydock_types::{
    ComponentName, EffectId, Fence, Head, JournalId, Outcome, Sha256, document, signed::Followed,
};

pub use self::{
    disk::{FileDisk, JournalDisk},
    heads::Heads,
    past::{Change, MAX_CHANGES, MAX_CHANGES_BYTES, Past},
    record::Record,
    state::{Open, StepState},
};
use self::{
    frame::{FRAME_BYTES, Found, HEADER_BYTES, Header, MAX_RECORD_BYTES},
    state::State,
};

/// Outcomes that are kept at most until a coordinator says that their runs are closed.
pub const MAX_ENDED: usize = 1024;
/// Bytes that those outcomes may take.
pub const MAX_ENDED_BYTES: u64 = 8 << 20;
/// Always kept free behind the end, so that a fence can be noted on a full disk.
const SLACK_BYTES: u64 = 64 << 10;
/// A smaller file is not worth compacting.
const COMPACT_FROM_BYTES: u64 = 128 << 10;

/// Why the journal did not take something.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written and nothing has begun; there may be room later.
    #[error("no room to journal this on the disk of the agent's state directory; free some space there")]
    Full,
    /// Too many outcomes that no coordinator has released.
    #[error(
        "the journal holds {count} outcomes ({bytes} bytes) of runs that no coordinator has closed; \
             close or forget those runs first"
    )]
    Crowded {
        /// How many.
        count: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// One record is over the limit. A bug or an attack: bounded before it comes here.
    #[error("a record of {0} bytes is over the journal's limit of {MAX_RECORD_BYTES}")]
    TooLong(usize),
    /// The disk failed: what is on it is not known. The agent stops.
    #[error(
        "journal: cannot {doing}: {source}; look at the disk (dmesg, smartctl); the agent stops and \
             reads at its next start what is really there"
    )]
    Disk {
        /// At what.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged where it had been safe. The agent stops.
    #[error(
        "journal: damaged at byte {at}: {why}; what this node did last cannot be told from it. Move the \
             journal directory aside and start the agent: it begins a new journal, and the coordinator holds \
             every open effect of this node for a person to decide"
    )]
    Damaged {
        /// Offset in the file.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// An earlier write failed or was abandoned half-way. The agent stops.
    #[error("journal: an earlier write failed; nothing more is written before a restart")]
    Stopped,
}

impl JournalError {
    /// Must the process end, and read the journal again at its next start?
    #[must_use]
    pub const fn stops_the_agent(&self) -> bool {
        matches!(self, Self::Disk { .. } | Self::Damaged { .. } | Self::Stopped)
    }
}

/// What the journal knows of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// Never accepted, or forgotten.
    Unknown,
    /// Accepted, and not ended.
    Open {
        /// The digest of the section's bytes.
        payload: Sha256,
    },
    /// Ended.
    Ended {
        /// The digest of the section's bytes.
        payload: Sha256,
        /// What came of it.
        outcome: Box<Outcome>,
    },
}

/// The journal. One writer.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn JournalDisk>,
    id: JournalId,
    state: State,
    /// Records ever written.
    written: u64,
    /// Of those, how many are known to be on the disk.
    durable: u64,
    /// Heads of the coordinator's record that go along with the next write.
    told: Vec<Record>,
    /// Set while a write is under way and after one that failed.
    stopped: bool,
}

impl Journal {
    /// Opens the journal of this disk, or begins one with the id that `new_id` gives. Cuts a torn tail.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when something is damaged that had been on the disk;
    /// [`JournalError::Disk`] when the disk fails, [`JournalError::Full`] when a new journal has no room.
    pub async fn open(
        mut disk: Box<dyn JournalDisk>,
        new_id: impl FnOnce() -> JournalId,
    ) -> Result<Self, JournalError> {
        if disk.length() == 0 {
            let header = Header { id: new_id(), base: 0 };
            disk.replace(header.encode()).await.map_err(failed("begin a new journal"))?;
        }
        let head = disk.read(0, HEADER_BYTES).map_err(failed("read the header"))?;
        let header =
            Header::decode(&head).map_err(|why| JournalError::Damaged { at: 0, why: why.to_owned() })?;
        let (state, written, told, stopped) = (State::default(), header.base, Vec::new(), false);
        let mut journal = Self { disk, id: header.id, state, written, durable: header.base, told, stopped };
        let end = journal.replay()?;
        if end < journal.disk.length() {
            tracing::warn!(at = end, "the journal's last write was interrupted: its rest is cut off");
            journal.disk.truncate(end).await.map_err(failed("cut a torn tail"))?;
        }
        // What was read may still be in the page cache only; from here on it is relied upon.
        journal.disk.append(Vec::new(), true).await.map_err(failed("fsync"))?;
        journal.durable = journal.written;
        journal.keep_slack().await?;
        Ok(journal)
    }

    /// Reads all records; the offset behind the last sound one.
    fn replay(&mut self) -> Result<u64, JournalError> {
        let mut at = HEADER_BYTES as u64;
        let damaged = |at, why: String| JournalError::Damaged { at, why };
        loop {
            let found = frame::read(&*self.disk, at, self.written).map_err(failed("read"))?;
            let json = match found {
                Found::End => return Ok(at),
                Found::Record { durable, json } => {
                    debug_assert!(durable <= self.written, "no record knows more than was written");
                    json
                }
                Found::Damaged => {
                    let safe = frame::was_durable(&*self.disk, at, self.written).map_err(failed("read"))?;
                    let why = || "a checksum is wrong, and sound records follow".to_owned();
                    return if safe { Err(damaged(at, why())) } else { Ok(at) };
                }
            };
            let record = document::decode("record", &json).map_err(|error| damaged(at, error.to_string()))?;
            let (place, length) = (at + FRAME_BYTES as u64, json.len());
            self.state.take(record, place, bounded(length)?).map_err(|why| damaged(at, why))?;
            at = place + length as u64;
            self.written += 1;
        }
    }

    /// The journal's id.
    #[must_use]
    pub const fn id(&self) -> JournalId {
        self.id
    }

    /// Records since the journal was made that are on the disk. Never falls, through crash and compaction.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.durable
    }

    /// The highest fence that was obeyed.
    #[must_use]
    pub const fn seen(&self) -> Option<&Fence> {
        self.state.seen.as_ref()
    }

    /// What is kept of the coordinator's record.
    #[must_use]
    pub const fn heads(&self) -> &Heads {
        &self.state.heads
    }

    /// Takes in a head of the record. It is on the disk with the next write; see [`Journal::keep_heads`].
    pub fn hear_head(&mut self, told: Head) -> Followed {
        let (followed, record) = self.state.heads.hear(told);
        if let Some(record) = record {
            // A later head says all that an earlier one did.
            if matches!(record, Record::HeadSeen { .. }) {
                self.told.retain(|told| !matches!(told, Record::HeadSeen { .. }));
            }
            self.told.push(record);
        }
        followed
    }

    /// Writes what was heard and has not gone along with another write yet; without an fsync.
    ///
    /// # Errors
    /// When the disk fails; a full disk only means that it is kept in memory.
    pub async fn keep_heads(&mut self) -> Result<(), JournalError> {
        if self.told.is_empty() {
            return Ok(());
        }
        match self.append(&[], false).await {
            Err(JournalError::Full) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.tidy().await,
        }
    }

    /// The section that is accepted and has not ended.
    #[must_use]
    pub const fn open_section(&self) -> Option<&Open> {
        self.state.open.as_ref()
    }

    /// Effects whose outcome is kept.
    pub fn ended(&self) -> impl Iterator<Item = EffectId> + '_ {
        self.state.ended.keys().copied()
    }

    /// What is known of an effect.
    ///
    /// # Errors
    /// When the outcome cannot be read back.
    pub fn stored(&self, effect: EffectId) -> Result<Stored, JournalError> {
        if let Some(open) = self.state.open.as_ref().filter(|open| open.effect == effect) {
            return Ok(Stored::Open { payload: open.payload });
        }
        let Some(place) = self.state.ended.get(&effect) else { return Ok(Stored::Unknown) };
        let json = self.disk.read(place.at, place.length as usize).map_err(failed("read an outcome"))?;
        match document::decode("record", &json) {
            Ok(Record::Ended { payload, outcome, .. }) => {
                Ok(Stored::Ended { payload, outcome: Box::new(outcome) })
            }
            Ok(_) => Err(JournalError::Damaged { at: place.at, why: "no outcome stands here".into() }),
            Err(error) => Err(JournalError::Damaged { at: place.at, why: error.to_string() }),
        }
    }

    /// The last section that changed a component, or may have; of runs that are not forgotten.
    #[must_use]
    pub fn last_change(&self, component: &ComponentName) -> Option<&Change> {
        self.state.changes.of(component)
    }

    /// A change that can still be taken back, with its notes.
    ///
    /// # Errors
    /// When its records cannot be read back.
    pub fn past(&self, change: &Change) -> Result<Option<Past>, JournalError> {
        let Some(accepted) = change.trail.accepted.filter(|_| change.is_told) else { return Ok(None) };
        let damaged = |at, why: &str| JournalError::Damaged { at, why: why.to_owned() };
        let record = |spot: &past::Spot| -> Result<Record, JournalError> {
            let json =
                self.disk.read(spot.at, spot.length as usize).map_err(failed("read what can be undone"))?;
            document::decode("record", &json).map_err(|error| damaged(spot.at, &error.to_string()))
        };
        let section = match record(&accepted)? {
            Record::Accepted { section, .. } => document::decode("section", section.as_bytes())
                .map_err(|error| damaged(accepted.at, &error.to_string()))?,
            _ => return Err(damaged(accepted.at, "no accepted section stands here")),
        };
        let note = |(index, spot): (&u32, &past::Spot)| match record(spot)? {
            Record::StepBegun { note, .. } => Ok((*index, note)),
            _ => Err(damaged(spot.at, "no step's note stands here")),
        };
        let notes = change.trail.begun.iter().map(note).collect::<Result<_, _>>()?;
        Ok(Some(Past { section, notes }))
    }

    /// Takes room for so many bytes, so that a section that is begun can be ended.
    ///
    /// # Errors
    /// [`JournalError::Full`] or [`JournalError::Crowded`]: the section must not be begun.
    pub async fn reserve(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.is_writable()?;
        let (count, held) = (self.state.ended.len(), self.ended_bytes());
        if count >= MAX_ENDED || held >= MAX_ENDED_BYTES {
            return Err(JournalError::Crowded { count, bytes: held });
        }
        let reserved = self.disk.reserve(bytes + SLACK_BYTES).await.map_err(failed("reserve space"));
        self.stopped = reserved.as_ref().is_err_and(JournalError::stops_the_agent);
        reserved
    }

    /// Writes records, all or none. When `durable`, they and all before them are on the disk afterwards.
    ///
    /// # Errors
    /// [`JournalError::Full`] and [`JournalError::TooLong`]: nothing was written. All others stop the agent.
    pub async fn append(&mut self, records: &[Record], durable: bool) -> Result<(), JournalError> {
        self.is_writable()?;
        let start = self.disk.length();
        let records: Vec<Record> = self.told.iter().chain(records).cloned().collect();
        let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(records.len()));
        for (number, record) in (self.written..).zip(&records) {
            let json = document::encode(record);
            let length = bounded(json.len())?;
            places.push((start + (bytes.len() + FRAME_BYTES) as u64, length));
            frame::encode(number, self.durable, &json, &mut bytes);
        }
        // A future that is dropped here leaves the flag set: what is on the disk is then unknown.
        self.stopped = true;
        match self.disk.append(bytes, durable).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.disk.truncate(start).await.map_err(failed("take back a write that found no room"))?;
                self.stopped = false;
                return Err(JournalError::Full);
            }
            Err(source) => return Err(JournalError::Disk { doing: "write and fsync", source }),
        }
        self.stopped = false;
        self.told.clear();
        self.written += records.len() as u64;
        if durable {
            self.durable = self.written;
        }
        for (record, (at, length)) in records.into_iter().zip(places) {
            self.state.take(record, at, length).map_err(|why| JournalError::Damaged { at, why })?;
        }
        Ok(())
    }

    /// Lets the outcomes of closed runs go. The open section is never forgotten.
    ///
    /// # Errors
    /// When the disk fails; a full disk only means that they are kept.
    pub async fn forget(&mut self, effects: &[EffectId]) -> Result<(), JournalError> {
        let known = |effect: &&EffectId| self.state.ended.contains_key(effect);
        let effects: Vec<_> = effects.iter().filter(known).copied().collect();
        if effects.is_empty() {
            return Ok(());
        }
        match self.append(&[Record::Forgotten { effects }], false).await {
            Err(JournalError::Full) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.tidy().await,
        }
    }

    /// Compacts the file when it is mostly history and no section is open.
    ///
    /// # Errors
    /// When the disk fails; a full disk only means that the file stays as it is.
    pub async fn tidy(&mut self) -> Result<(), JournalError> {
        self.is_writable()?;
        let live = self.ended_bytes() + self.state.changes.bytes() + HEADER_BYTES as u64;
        let length = self.disk.length();
        if self.state.open.is_some() || length < COMPACT_FROM_BYTES || length < live * 2 {
            return Ok(());
        }
        let (contents, state, written) = self.compacted()?;
        self.stopped = true;
        match self.disk.replace(contents).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.stopped = false;
                tracing::warn!("no room to compact the journal: it stays as it is");
                return Ok(());
            }
            Err(source) => return Err(JournalError::Disk { doing: "compact", source }),
        }
        self.stopped = false;
        (self.state, self.written, self.durable) = (state, written, written);
        self.told.clear();
        self.keep_slack().await
    }

    /// The file as it would be with nothing but what is still needed. Its records count as written anew.
    fn compacted(&self) -> Result<(Vec<u8>, State, u64), JournalError> {
        let (mut bytes, mut state, mut written) =
            (Header { id: self.id, base: self.written }.encode(), State::default(), self.written);
        let mut put = |json: &[u8]| {
            let at = (bytes.len() + FRAME_BYTES) as u64;
            frame::encode(written, self.written, json, &mut bytes);
            written += 1;
            at
        };
        if let Some(fence) = self.state.seen {
            put(&document::encode(&Record::FenceSeen { fence }));
            state.seen = Some(fence);
        }
        for record in self.state.heads.records() {
            put(&document::encode(&record));
        }
        state.heads = self.state.heads.clone();
        // A change that can be taken back stays as it was journalled, and in its place among the others.
        let kept = self.state.changes.in_order();
        let others = self.state.ended.keys().filter(|effect| kept.iter().all(|kept| kept.effect != **effect));
        let mut again = |spot: past::Spot| -> Result<(), JournalError> {
            let json = self.disk.read(spot.at, spot.length as usize).map_err(failed("compact"))?;
            let (at, length) = (put(&json), spot.length);
            let record = document::decode("record", &json);
            let record =
                record.map_err(|error| JournalError::Damaged { at: spot.at, why: error.to_string() })?;
            state.take(record, at, length).map_err(|why| JournalError::Damaged { at: spot.at, why })
        };
        for effect in kept.iter().map(|kept| &kept.effect).chain(others) {
            let trail = kept.iter().find(|kept| kept.effect == *effect).map(|kept| &kept.trail);
            trail.into_iter().flat_map(past::Trail::spots).copied().try_for_each(&mut again)?;
            if let Some(ended) = self.state.ended.get(effect) {
                again(past::Spot { at: ended.at, length: ended.length })?;
            }
        }
        Ok((bytes, state, written))
    }

    async fn keep_slack(&mut self) -> Result<(), JournalError> {
        match self.disk.reserve(SLACK_BYTES).await {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!("the disk of the agent's state directory is full: sections will be refused");
                Ok(())
            }
            other => other.map_err(failed("reserve space")),
        }
    }

    fn ended_bytes(&self) -> u64 {
        self.state.ended.values().map(|place| u64::from(place.length) + FRAME_BYTES as u64).sum()
    }

    const fn is_writable(&self) -> Result<(), JournalError> {
        if self.stopped { Err(JournalError::Stopped) } else { Ok(()) }
    }
}

fn bounded(length: usize) -> Result<u32, JournalError> {
    let fits = u32::try_from(length).ok().filter(|_| length <= MAX_RECORD_BYTES);
    fits.ok_or(JournalError::TooLong(length))
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> JournalError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => JournalError::Full,
        _ => JournalError::Disk { doing, source },
    }
}
