//! The form in which a record leaves the coordinator: one strict JSON document a line, in this order: [`Begin`],
//! what agents keep, then the events with what they name before them, then [`End`].

use drydock_types::{Epoch, FleetId, NodeKey, NodeName, Sha256, Signature};
use serde::{Deserialize, Serialize};

use crate::store::{EventRow, RecordEnd};

/// The form that this build writes and reads.
pub const VERSION: u32 = 1;
/// The longest line of a sealed file in bytes: an event holds a whole outcome, as text within text.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// The first.
    Begin(Begin),
    /// What an agent keeps of the record.
    Head(HeadLine),
    /// A node whose agent did not say what it keeps.
    Silent(Silent),
    /// An exact text that the next event names by its digest.
    Document(String),
    /// An event.
    Event(EventLine),
    /// An event of a run that was not asked for: where it stands in the chain, and no more.
    Other(OtherLine),
    /// What stands in an event's place and is none.
    Unreadable(UnreadableLine),
    /// The last: where the store says that the record ends.
    End(End),
}

/// Whose record, and from where on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Begin {
    /// [`VERSION`].
    pub version: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// The fleet's CA (PEM).
    pub ca: String,
    /// The run that was asked for; `None` for the whole record.
    pub run: Option<u64>,
    /// The event before the first one here; 0 when the record is here from its beginning.
    pub after: u64,
    /// Its hash.
    pub after_hash: Sha256,
    /// Whoever asked chose it, and the agents signed it.
    pub nonce: Sha256,
    /// When, in Unix milliseconds, by the coordinator's clock.
    pub wall_ms: u64,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Its build.
    pub drydock: String,
}

/// What an agent keeps of the record, in its own words and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadLine {
    /// The node.
    pub node: NodeName,
    /// Its certificate (PEM).
    pub certificate: String,
    /// A `HeadStatement`: the exact text that is signed.
    pub statement: String,
    /// The signature.
    pub signature: Signature,
}

/// A node whose agent did not say what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Silent {
    /// The node.
    pub node: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// Why not.
    pub why: String,
}

/// An event as it stands in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventLine {
    /// Its number.
    pub seq: u64,
    /// Of which run.
    pub run: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Its exact text.
    pub event: String,
    /// Its hash in the chain.
    pub hash: Sha256,
}

/// An event of another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherLine {
    /// Its number.
    pub seq: u64,
    /// Of which run.
    pub run: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// The digest of its text.
    pub event: Sha256,
    /// Its hash in the chain.
    pub hash: Sha256,
}

/// What stands in an event's place and is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnreadableLine {
    /// The number that it has in the store.
    pub seq: i64,
    /// What is wrong.
    pub why: String,
}

/// Where the store says that the record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct End {
    /// The last event's number, as the last commit left it.
    pub last_event: u64,
    /// Its hash.
    pub last_hash: Sha256,
}

impl From<RecordEnd> for End {
    fn from(end: RecordEnd) -> Self {
        Self { last_event: end.seq, last_hash: end.hash }
    }
}

impl Line {
    /// An event, whole when it is of the run that was asked for.
    #[must_use]
    pub fn of_event(row: EventRow, only: Option<u64>) -> Self {
        let EventRow { seq, run, wall_ms, event, hash } = row;
        if only.is_some_and(|only| only != run) {
            return Self::Other(OtherLine { seq, run, wall_ms, event: Sha256::of(&event), hash });
        }
        match String::from_utf8(event) {
            Ok(event) => Self::Event(EventLine { seq, run, wall_ms, event, hash }),
            Err(why) => Self::Unreadable(UnreadableLine {
                seq: i64::try_from(seq).unwrap_or(i64::MAX),
                why: why.to_string(),
            }),
        }
    }
}
