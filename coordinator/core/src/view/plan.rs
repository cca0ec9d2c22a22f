//! What `drydock plan` shows.

use alloc::{string::String, vec::Vec};

use drydock_types::{ComponentName, Label, NodeName, Sha256, Version};
use serde::{Deserialize, Serialize};

view! {
    /// What `drydock plan` shows. Nothing has been changed.
    pub struct PlanView {
        /// The plan's name.
        pub name: Label,
        /// What will be done, as one number: the plan, its recipes, its artifacts, its nodes.
        pub digest: Sha256,
        /// Stages in order.
        pub stages: Vec<PlanStageView>,
        /// Nodes that a selector matched and that are left out, and why.
        pub skipped: Vec<SkippedView>,
        /// How many nodes may be out of service, and who already is.
        pub budget: Vec<String>,
        /// When nodes may leave service, and how that stands now; at any time where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub window: Option<String>,
        /// What stops it: a run is not started while there is one.
        pub blockers: Vec<FindingView>,
        /// What an operator should know.
        pub warnings: Vec<FindingView>,
        /// How long it will take, where there is something to judge by.
        pub estimate: Option<EstimateView>,
    }
}

view! {
    /// A stage of a plan.
    pub struct PlanStageView {
        /// Its name.
        pub name: Label,
        /// The component.
        pub component: ComponentName,
        /// Its waves.
        pub waves: Vec<PlanWaveView>,
    }
}

view! {
    /// A wave of a plan.
    pub struct PlanWaveView {
        /// Its name.
        pub name: Label,
        /// `one at a time, followers first, soak 10s, on failure: roll this node back, then hold`.
        pub manner: String,
        /// In the order that is foreseen now.
        pub nodes: Vec<PlanNodeView>,
        /// What cannot be taken back, said before the last node.
        pub point_of_no_return: Option<String>,
    }
}

view! {
    /// A node of a plan.
    pub struct PlanNodeView {
        /// Its name.
        pub node: NodeName,
        /// What runs there.
        pub from: Option<Version>,
        /// What will.
        pub to: Version,
        /// `follower`, `leader now; leadership moves first`.
        pub note: String,
        /// The sections that it will be sent: `stage: fetchArtifact` …
        pub sections: Vec<String>,
    }
}

view! {
    /// A node that is left out.
    pub struct SkippedView {
        /// Which.
        pub node: NodeName,
        /// In which stage.
        pub stage: Label,
        /// Why.
        pub why: String,
    }
}

view! {
    /// Something found, with what to do.
    pub struct FindingView {
        /// On which node; empty where it concerns the plan.
        pub node: Option<NodeName>,
        /// What.
        pub what: String,
        /// What to do.
        pub next: String,
    }
}

view! {
    /// How long it will take.
    pub struct EstimateView {
        /// In all.
        pub total_ms: u64,
        /// For one node (median).
        pub per_node_ms: u64,
        /// From how many earlier nodes.
        pub samples: u64,
    }
}
