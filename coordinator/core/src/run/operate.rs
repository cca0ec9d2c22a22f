//! What operators changed in a live run, and what they approved.

use alloc::{string::String, vec::Vec};

use drydock_types::{Millis, Sha256};
use serde::{Deserialize, Serialize};

use crate::{Now, moves::ForcedPod};

/// An operator's change to a live run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amendment {
    /// Who.
    pub by: String,
    /// When.
    pub at: Now,
    /// What was changed, in one line.
    pub what: String,
    /// The plan's digest before.
    pub from: Sha256,
    /// And after.
    pub to: Sha256,
}

/// What can be amended. Anything else takes another plan, and another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// How long the nodes of a wave that has not ended are watched.
    Soak {
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
        /// The new length.
        soak: Millis,
    },
    /// How many nodes of a wave at once.
    Concurrency {
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
        /// The new number; at least 1.
        concurrency: u32,
    },
    /// The window no longer binds this run.
    NoWindow {},
    /// Pods that could not be evicted are deleted. The plan itself stays as it is.
    Force {
        /// Index of the node that they keep.
        node: usize,
        /// Exactly these.
        pods: Vec<ForcedPod>,
        /// Their grace period in seconds, where it is not to be their own.
        grace_s: Option<u32>,
    },
}

/// A wave that somebody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Index of the stage.
    pub stage: usize,
    /// Index of the wave.
    pub wave: usize,
    /// Who.
    pub by: String,
    /// When.
    pub at: Now,
    /// The plan's digest that was approved: an amendment after it asks anew.
    pub digest: Sha256,
}
