//! Who could not be evicted, for an operator who decides what becomes of them.

use drydock_core::moves::ForcedPod;
use drydock_types::NodeName;
use serde::{Deserialize, Serialize};

/// A pod that has to leave a node, and is there still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeftPod {
    /// Which, and the budget that would be passed over.
    pub pod: ForcedPod,
    /// What keeps it, and what would be lost with it, in words.
    pub because: Vec<String>,
    /// How long its processes may take to end, in seconds.
    pub grace_s: u64,
    /// It was told to end already: by somebody, since when (RFC 3339).
    pub ends_since: Option<String>,
}

/// What `run force` shows before it does anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainLeftView {
    /// The run's number.
    pub number: u64,
    /// The node.
    pub node: NodeName,
    /// Who is left there.
    pub pods: Vec<LeftPod>,
}
