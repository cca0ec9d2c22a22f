//! What is wrong with a node, and what runs on it.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Version};

/// Something that somebody should know before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// Would it stop a change, or is it to be known?
    pub weight: Weight,
    /// What, for a person, with the name of the thing.
    pub what: String,
    /// For how many seconds at least; `None` where nothing tells.
    pub for_s: Option<u64>,
    /// What to do about it.
    pub next: Vec<String>,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingKind {
    /// A unit of systemd.
    Unit,
    /// Space, inodes, or a file system that cannot be written to.
    Disk,
    /// A socket that somebody needs.
    Socket,
    /// A socket without which no pod gets an address.
    PodNetwork,
    /// Packages, and who works on them.
    Packages,
    /// The kernel that runs.
    Kernel,
    /// The node's clock.
    Clock,
    /// Memory that ran out.
    Memory,
    /// The agent and its stream.
    Agent,
    /// Versions that differ from those of other nodes.
    Versions,
    /// The pods of the Kubernetes node.
    Pods,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Weight {
    /// A person must act before anything is changed here.
    Stops,
    /// To be known.
    Warns,
}

/// What a node finds wrong with itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FindingsView {
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What was looked at and is well, and what could not be looked at, with why: silence is no answer.
    pub looked_at: Vec<Looked>,
    /// The node's clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// One kind of thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Looked {
    /// `units`, `disks`, `sockets`.
    pub at: String,
    /// How many of them; or why it could not be looked at.
    pub seen: Result<u64, String>,
}

/// Something with a version that runs on a node, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningVersion {
    /// `libvirt`, `qemu`, `openvswitch`, `ovn-controller`, `kernel`, `drydock-agent`.
    pub component: ComponentName,
    /// The version that runs; or why it is not known.
    pub version: Result<Version, String>,
    /// Where there are several (QEMU: one a guest), how many run this one.
    pub count: u64,
    /// For how many seconds it has run; `None` where there are several, or nothing tells.
    pub for_s: Option<u64>,
}
