//! What an audit found, for screens and for programs.

use drydock_types::{Epoch, FleetId, NodeName, Sha256};
use serde::{Deserialize, Serialize};

/// The most findings that are listed one by one.
pub const MAX_FINDINGS: usize = 200;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditView {
    /// Whose record.
    pub fleet: Option<FleetId>,
    /// SHA-256 of the CA's certificate that everything was judged by.
    pub ca_pin: Sha256,
    /// Was the CA known to whoever asked, rather than taken from the file itself?
    pub ca_known: bool,
    /// The run, where only one was asked for.
    pub run: Option<u64>,
    /// The first event that was looked at; 0 when there is none.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The last one's hash.
    pub head: Sha256,
    /// Events that were looked at.
    pub events: u64,
    /// Outcomes whose signature was found good.
    pub outcomes: u64,
    /// What agents keep of the record.
    pub heads: Vec<HeadView>,
    /// Nodes whose agents did not say.
    pub silent: Vec<SilentView>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond [`MAX_FINDINGS`].
    pub more_findings: u64,
    /// What is to be known and is not wrong by itself.
    pub remarks: Vec<String>,
}

/// What an agent keeps of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadView {
    /// The node.
    pub node: NodeName,
    /// The event's number; `None` on an agent that was never told one.
    pub seq: Option<u64>,
    /// Its hash.
    pub hash: Option<Sha256>,
    /// Under which epoch it was told.
    pub epoch: Option<Epoch>,
    /// Beside the record.
    pub standing: Standing,
}

/// An agent's head beside the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// The record has this event with this hash.
    Held,
    /// It has another hash, or no such event.
    Contradicted,
    /// It lies before the part that was looked at.
    Before,
    /// It was never told one.
    None,
}

/// A node whose agent did not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SilentView {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub why: String,
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An event was edited, or stands in another's place.
    Edited,
    /// Events are missing between two others.
    Missing,
    /// The record ends before its end.
    Truncated,
    /// The record was rewritten with new hashes: an agent keeps an older one.
    Rewritten,
    /// Two agents keep heads that cannot be of one record.
    Disagreement,
    /// An agent was told heads that contradict each other, and kept both.
    Contradiction,
    /// An outcome is not signed, or not by its node.
    Signature,
    /// What an outcome's node signed is not what the record says, or is not there.
    Outcome,
    /// What an agent says of the record cannot be believed.
    Statement,
    /// The authority is not the one that is trusted.
    Authority,
    /// The file or the answer is not whole.
    File,
}

impl Kind {
    /// The word on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Rewritten => "rewritten",
            Self::Disagreement => "disagreement",
            Self::Contradiction => "contradiction",
            Self::Signature => "signature",
            Self::Outcome => "outcome",
            Self::Statement => "statement",
            Self::Authority => "authority",
            Self::File => "file",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// At which event.
    pub seq: Option<u64>,
    /// At which node.
    pub node: Option<NodeName>,
    /// The other node, where two disagree.
    pub other: Option<NodeName>,
    /// One sentence.
    pub what: String,
}
