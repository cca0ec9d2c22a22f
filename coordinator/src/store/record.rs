//! The walk along the chain of events, the same for every store and for a file away from any store.

use drydock_types::{FleetId, Sha256};

use super::{EventRow, NewEvent, chain, chain_start};

/// What a walk over the whole record found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordCheck {
    /// Every event is there, in its place, as it was written.
    Whole {
        /// How many.
        events: u64,
        /// The last hash: what others may have kept a copy of.
        head: Sha256,
    },
    /// The record was changed behind our back.
    Broken {
        /// The first number that is not right. Events before it are.
        seq: u64,
        /// One sentence.
        why: String,
    },
}

/// A walk in progress: one event after the other, nothing kept but the last hash.
#[derive(Debug)]
pub struct Walk {
    next: u64,
    head: Sha256,
}

impl Walk {
    /// Before the first event of a fleet.
    #[must_use]
    pub fn begin(fleet: FleetId) -> Self {
        Self { next: 1, head: chain_start(fleet) }
    }

    /// The next event, in the order of numbers.
    ///
    /// # Errors
    /// [`RecordCheck::Broken`] when it is not the one that follows.
    pub fn step(&mut self, row: EventRow) -> Result<(), RecordCheck> {
        let expected = self.next;
        if row.seq != expected {
            let why = format!("event {expected} is missing: {} follows on {}", row.seq, expected - 1);
            return Err(RecordCheck::Broken { seq: expected, why });
        }
        let event = NewEvent { run: row.run, wall_ms: row.wall_ms, event: row.event };
        let hash = chain(self.head, row.seq, &event);
        if hash != row.hash {
            let why = format!(
                "event {expected} of run {} was edited or moved: its hash is {} and should be {}",
                event.run,
                row.hash.short(),
                hash.short()
            );
            return Err(RecordCheck::Broken { seq: expected, why });
        }
        self.head = hash;
        self.next += 1;
        Ok(())
    }

    /// What stands in the next event's place is not of an event's form.
    #[must_use]
    pub fn unreadable(&self, why: &dyn std::fmt::Display) -> RecordCheck {
        RecordCheck::Broken { seq: self.next, why: format!("event {} cannot be read: {why}", self.next) }
    }

    /// The end, compared with the number and hash of the last event as the last commit left them.
    #[must_use]
    pub fn end(self, last_event: u64, last_hash: Sha256) -> RecordCheck {
        let events = self.next - 1;
        if events != last_event {
            let why = format!("the record ends with event {events}; {last_event} were written");
            return RecordCheck::Broken { seq: events.min(last_event) + 1, why };
        }
        if self.head != last_hash {
            let why = "the last event is not the one that the last commit left".to_owned();
            return RecordCheck::Broken { seq: events, why };
        }
        RecordCheck::Whole { events, head: self.head }
    }
}
