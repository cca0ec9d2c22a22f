//! `drydock rehearse`: every check on every node of every wave.

use alloc::{boxed::Box, string::String, vec::Vec};

use drydock_types::{NodeName, Sha256};
use serde::{Deserialize, Serialize};

use super::{EstimateView, SkippedView};

/// What a rehearsal says while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum RehearsalStep {
    /// A node was looked at.
    Looked {
        /// Which.
        node: NodeName,
        /// So many are.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// It is over.
    Rehearsed(Box<RehearsalView>),
}

view! {
    /// What a rehearsal found. Nothing has been changed.
    pub struct RehearsalView {
        /// The plan's name.
        pub name: String,
        /// What would be done, as one number.
        pub digest: Sha256,
        /// Nodes that the run would change.
        pub nodes: u64,
        /// How many of them were looked at.
        pub looked: u64,
        /// How long it took.
        pub took_ms: u64,
        /// How many would go through.
        pub clear: u64,
        /// What would stop the run.
        pub blockers: Vec<FoundView>,
        /// What an operator should know.
        pub warnings: Vec<FoundView>,
        /// What belongs to it and is in nobody's way: artifacts that are still to be sent, approvals to come.
        pub notes: Vec<String>,
        /// Nodes that are left out, and why.
        pub skipped: Vec<SkippedView>,
        /// How long it will take, where there is something to judge by.
        pub estimate: Option<EstimateView>,
        /// The same if all go as fast as the fastest quarter of earlier nodes did, and as slow as the slowest.
        pub range_ms: Option<(u64, u64)>,
        /// Whether it fits the plan's window.
        pub window: Option<WindowFitView>,
    }
}

view! {
    /// Something that was found, at one or several nodes.
    pub struct FoundView {
        /// At which; none where it concerns the plan.
        pub nodes: Vec<NodeName>,
        /// By which check or step.
        pub check: String,
        /// What.
        pub what: String,
        /// What to do.
        pub next: String,
    }
}

view! {
    /// A plan's window.
    pub struct WindowFitView {
        /// `sat 22:00 to 04:00 (Europe/Berlin)`.
        pub words: String,
        /// How long it is open at most; `None` where it never shuts.
        pub longest_ms: Option<u64>,
    }
}
