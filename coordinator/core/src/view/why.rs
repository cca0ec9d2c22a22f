//! `drydock why NODE`: what a node waits for in any open run, what stands on record about it, why it counts as out of
//! service.

use alloc::{string::String, vec::Vec};

use drydock_types::{ComponentName, Label, NodeName};
use serde::{Deserialize, Serialize};

use super::{CommandView, HoldView, OutageView, Phase, RunStatus, WaitingView};

view! {
    /// A node, and everything that keeps it where it is.
    pub struct WhyNodeView {
        /// Its name.
        pub node: NodeName,
        /// When the coordinator made this view.
        pub now_unix_ms: u64,
        /// Is its agent's stream open?
        pub connected: bool,
        /// Since when that is so.
        pub since_unix_ms: u64,
        /// Why it counts as out of service; empty when it does not.
        pub out_of_service: Vec<String>,
        /// Why it is in no count, whatever stands above: a person set it aside.
        pub uncounted: Option<String>,
        /// Open runs that have it, the one that began first before the others.
        pub runs: Vec<NodeInRunView>,
        /// What stands on record about it.
        pub on_record: Vec<OnRecordView>,
        /// What an operator can do about what stands above.
        pub can: Vec<CommandView>,
    }
}

view! {
    /// A node in an open run.
    pub struct NodeInRunView {
        /// The run's number.
        pub run: u64,
        /// Its plan's name.
        pub name: Label,
        /// How the run stands.
        pub status: RunStatus,
        /// The component that is changed.
        pub component: ComponentName,
        /// Where the node is.
        pub phase: Phase,
        /// Since when.
        pub since_unix_ms: u64,
        /// Why it is there: held, left out.
        pub note: String,
        /// An outage that the plan accepts, while it may be going on.
        pub outage: Option<OutageView>,
        /// What it waits for: its own blocker, else what the run waits for before it comes to this node.
        pub waiting: Option<WaitingView>,
        /// Why the run holds, while it does.
        pub hold: Option<HoldView>,
    }
}

view! {
    /// One thing on record.
    pub struct OnRecordView {
        /// What.
        pub what: String,
        /// The command that ends it and nothing else; none where a person has to choose or do something first: the
        /// text says what.
        pub command: Option<String>,
    }
}
