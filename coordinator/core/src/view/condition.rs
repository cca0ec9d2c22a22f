//! What is wrong with a node, and what runs on which.

use alloc::{string::String, vec::Vec};

use drydock_types::{
    NodeName,
    findings::{Finding, Looked, RunningVersion, Weight},
};
use serde::{Deserialize, Serialize};

view! {
    /// What `check node` found.
    pub struct NodeCheckView {
        /// Which node.
        pub node: NodeName,
        /// When it was looked at, by the coordinator's clock.
        pub seen_unix_ms: u64,
        /// What is wrong, the worst first.
        pub findings: Vec<Finding>,
        /// What was looked at; and what could not be, with why.
        pub looked_at: Vec<Looked>,
        /// What runs there.
        pub versions: Vec<RunningVersion>,
    }
}

impl NodeCheckView {
    /// Must a person act before anything is changed there? What could not be seen is not known to be well.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.findings.iter().any(|found| found.weight == Weight::Stops)
            || self.looked_at.iter().any(|looked| looked.seen.is_err())
    }
}

view! {
    /// What runs on a node, seen just now.
    pub struct NodeVersionsView {
        /// Which node.
        pub node: NodeName,
        /// What runs there; or why that could not be seen.
        pub versions: Result<Vec<RunningVersion>, String>,
    }
}
