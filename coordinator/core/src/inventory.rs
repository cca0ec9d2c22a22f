//! The fleet as it was seen: what the planner decides on.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use drydock_types::{ClusterName, Label, NodeKey, NodeName, Sha256, Version};
use serde::{Deserialize, Serialize};

use crate::standing::Quarantined;

/// All enrolled nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// By name.
    pub nodes: BTreeMap<NodeName, InventoryNode>,
    /// Open runs and the nodes that they hold.
    pub busy: Vec<(u64, BTreeSet<NodeName>)>,
    /// By stage: how long earlier nodes took (median in ms, how many).
    pub durations: BTreeMap<Label, (u64, u64)>,
    /// When it was seen, in Unix time: a window is told as it stands then.
    pub wall_ms: u64,
    /// Of which cluster each machine is a Node, as operators have said; `None` where nobody was asked.
    pub bound: Option<BTreeMap<NodeName, ClusterName>>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryNode {
    /// A person set it aside, and why: it is left out.
    pub set_aside: Option<String>,
    /// Versions that failed there, and that its gate refuses.
    pub quarantined: Vec<Quarantined>,
    /// Its identity.
    pub key: NodeKey,
    /// Set by operators.
    pub labels: BTreeMap<Label, Label>,
    /// `None` while its stream is open, else for how long it has been silent.
    pub silent_for_ms: Option<u64>,
    /// The architecture that its agent reports.
    pub arch: String,
    /// Steps that its agent can do.
    pub steps: BTreeSet<String>,
    /// Safety fields that its agent knows.
    pub requirements: BTreeSet<String>,
    /// Bytes free for staging.
    pub free_bytes: u64,
    /// By stage: what runs there. Missing where it was not looked at.
    pub seen: BTreeMap<Label, Seen>,
}

/// The part that a node plays in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
}

impl Role {
    /// The word on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        }
    }
}

/// What a look at a node's component saw: the process and its own answer, never the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// The version that the running service answered, or why it did not; `None` where the recipe has no source.
    pub version: Option<Result<Version, String>>,
    /// Digest of the executable in memory, where the unit has a process.
    pub exe_sha256: Option<Sha256>,
    /// Its part in the cluster, where it has one.
    pub role: Option<Role>,
    /// Its agent says that the unit is not active and has no process. Whoever was not asked, did not answer, or answers
    /// something else is not known to be down, and counts as one that serves.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub down: bool,
}

impl Seen {
    /// The version, if one was answered.
    #[must_use]
    pub fn answered(&self) -> Option<&Version> {
        self.version.as_ref().and_then(|version| version.as_ref().ok())
    }

    /// Does the target already run: by the digest in memory *and* the service's own answer?
    #[must_use]
    pub fn is_already(&self, to: &Version, artifact: Option<Sha256>) -> bool {
        let answers = match &self.version {
            Some(answer) => answer.as_ref() == Ok(to),
            None => artifact.is_some(),
        };
        let runs = artifact.is_none_or(|wanted| self.exe_sha256 == Some(wanted));
        answers && runs
    }
}
