//! A Node.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Meta, null_is_default,
    quantity::Amounts,
    selector::{Effect, Taint},
};

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Name, UID, labels.
    pub metadata: Meta,
    /// What is wanted of it.
    #[serde(default)]
    pub spec: NodeSpec,
    /// What its kubelet and others say of it.
    #[serde(default)]
    pub status: NodeStatus,
}

/// `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NodeSpec {
    /// It is cordoned.
    #[serde(default)]
    pub unschedulable: bool,
    /// Who keeps which pods off.
    #[serde(default, deserialize_with = "null_is_default")]
    pub taints: Vec<Taint>,
}

/// `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// `Ready`, pressures, other people's.
    #[serde(default, deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// Which machine it is.
    #[serde(default)]
    pub node_info: NodeInfo,
    /// What pods may have of it together.
    #[serde(default)]
    pub allocatable: Amounts,
    /// How it is reached: addresses and names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub addresses: Vec<Address>,
}

/// One of `status.addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// `10.0.0.11`, `k3s-1`.
    pub address: String,
}

/// One of `status.conditions`, of a Node or a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// In one word.
    #[serde(default)]
    pub reason: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// Since when (RFC 3339).
    #[serde(default)]
    pub last_transition_time: Option<String>,
}

/// `status.nodeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeInfo {
    /// `/etc/machine-id`.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// The kernel's.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// `v1.33.4+k3s1`.
    #[serde(rename = "kubeletVersion")]
    pub kubelet_version: String,
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// What a condition of it says: `True`, `False`, `Unknown`.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Does its kubelet say that it is ready?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| ready.status == "True")
    }

    /// A taint of that key.
    #[must_use]
    pub fn taint(&self, key: &str) -> Option<&Taint> {
        self.spec.taints.iter().find(|taint| taint.key == key)
    }

    /// The taints that keep a new pod off, which a `PreferNoSchedule` does not.
    pub fn repelling(&self) -> impl Iterator<Item = &Taint> {
        self.spec.taints.iter().filter(|taint| taint.effect != Effect::PreferNoSchedule)
    }

    /// What a node selector matches: its labels, and its name as a field.
    #[must_use]
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.metadata.labels
    }
}
