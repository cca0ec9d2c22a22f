//! What is wrong with a node, and what runs on which.

use alloc::{string::String, vec::Vec};

use drydock_types::{
    NodeName,
    findings::{Finding, Looked, RunningVersion, Weight},
    libvirt::LibvirtView,
    openvswitch::OpenvswitchView,
    ovn::OvnView,
    packages::PackagesView,
};
use serde::{Deserialize, Serialize};

use super::NodeView;

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

view! {
    /// What a node is at, seen just now: each part, or why it could not be seen.
    pub struct NodeLiveView {
        /// Which node.
        pub node: NodeName,
        /// When it was looked at, by the coordinator's clock.
        pub seen_unix_ms: u64,
        /// libvirt and its guests.
        pub libvirt: Result<LibvirtView, String>,
        /// Open vSwitch and its bridges.
        pub openvswitch: Result<OpenvswitchView, String>,
        /// ovn-controller.
        pub ovn: Result<OvnView, String>,
        /// The package manager, and processes that run what is not installed any more.
        pub packages: Result<PackagesView, String>,
    }
}

/// `node show`: what is known of a node, and what it is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeShownView {
    /// What the coordinator knows.
    #[serde(flatten)]
    pub node: NodeView,
    /// What its agent sees just now; `None` where it was not asked.
    pub live: Option<NodeLiveView>,
}
