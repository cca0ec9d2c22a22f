//! What operators' commands on a run answer: durable when it is read.

use alloc::{string::String, vec::Vec};

use drydock_types::{ComponentName, NodeName, Sha256, Version};
use serde::{Deserialize, Serialize};

use super::{FindingView, PlanView, RunStatus, SkippedView};

view! {
    /// What an operator changed in a live run.
    pub struct AmendmentView {
        /// In one line.
        pub what: String,
        /// Who.
        pub by: String,
        /// When.
        pub unix_ms: u64,
        /// The plan's digest before.
        pub from: Sha256,
        /// And after.
        pub to: Sha256,
    }
}

view! {
    /// A wave that somebody approved.
    pub struct ApprovalView {
        /// Its stage and name: `etcd/members`.
        pub wave: String,
        /// Who.
        pub by: String,
        /// When.
        pub unix_ms: u64,
        /// The plan's digest that was approved.
        pub digest: Sha256,
        /// It is the digest of the plan as it stands: an amendment since then asks anew.
        pub stands: bool,
    }
}

view! {
    /// What `run approve`, `amend`, `skip` and `extend` answer: durable when it is read.
    pub struct AmendedView {
        /// The run's number.
        pub number: u64,
        /// How it stands now.
        pub status: RunStatus,
        /// What was done, in one line.
        pub what: String,
        /// The plan's digest before.
        pub from: Sha256,
        /// And after: the same, unless it was amended.
        pub to: Sha256,
        /// The nodes that it is about.
        pub nodes: Vec<NodeName>,
    }
}

view! {
    /// What `run start` answers.
    pub struct StartedView {
        /// The run's number.
        pub number: u64,
        /// The plan as it will run.
        pub plan: PlanView,
        /// Behind which run it is queued.
        pub queued_behind: Option<u64>,
        /// That it was not rehearsed, or what changed since.
        pub warnings: Vec<FindingView>,
    }
}

view! {
    /// What `run pause`, `resume` and `abort` answer: durable when it is read.
    pub struct ControlView {
        /// The run's number.
        pub number: u64,
        /// How it stands now.
        pub status: RunStatus,
        /// Sections already handed out, which end by themselves.
        pub handed_out: Vec<String>,
    }
}

view! {
    /// What `run rollback` answers: durable when it is read.
    pub struct RollbackView {
        /// The number of the run that takes the other one back.
        pub number: u64,
        /// The run that is taken back.
        pub undoes: u64,
        /// That one was open, and was aborted for this.
        pub aborted: bool,
        /// Behind which run it is queued.
        pub queued_behind: Option<u64>,
        /// Node by node, in the order in which they are taken back.
        pub nodes: Vec<RollbackNodeView>,
        /// Nodes that are not, and why.
        pub left_out: Vec<SkippedView>,
    }
}

view! {
    /// A node of a rollback.
    pub struct RollbackNodeView {
        /// Its name.
        pub node: NodeName,
        /// The component.
        pub component: ComponentName,
        /// What the other run put there.
        pub from: Version,
        /// What ran before, where that was known.
        pub to: Option<Version>,
        /// `left half-way; taken back without the gate if it is down`.
        pub note: String,
    }
}
