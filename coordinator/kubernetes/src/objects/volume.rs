//! A PersistentVolume, as far as it says where its data lies.

use serde::Deserialize;

use super::{Meta, pod::Nothing, selector::NodeSelector};

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// Its name.
    pub metadata: Meta,
    /// What it is.
    #[serde(default)]
    pub spec: VolumeSpec,
}

/// `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// Whose it is.
    pub claim_ref: Option<ClaimRef>,
    /// From where it can be reached; without it from everywhere.
    pub node_affinity: Option<VolumeAffinity>,
    /// A directory of whichever node the pod runs on.
    pub host_path: Option<Nothing>,
    /// A disk of one node.
    pub local: Option<Nothing>,
}

/// `claimRef`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// The claim's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `nodeAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeAffinity {
    /// From which nodes.
    pub required: Option<NodeSelector>,
}
