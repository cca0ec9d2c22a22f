//! What is done to K3s.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{fifteen_minutes, five_minutes, ten_minutes, two_minutes};
use crate::{AbsPath, Millis, UnitName};

/// What K3s is on this node, as its unit says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckK3s {
    /// `k3s.service`, `k3s-agent.service`.
    pub unit: UnitName,
    /// The program that the unit must start.
    pub path: AbsPath,
    /// What it must be started as.
    pub role: K3sRole,
}

/// What K3s is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum K3sRole {
    /// `k3s server`: control plane and kubelet.
    Server,
    /// `k3s agent`: a kubelet.
    Agent,
}

impl K3sRole {
    /// K3s's own word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// What a K3s server's datastore holds, saved before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupK3s {
    /// The server's unit: `k3s.service`.
    pub unit: UnitName,
    /// A verified backup of this node by this run that is younger is good enough; another node's never is.
    #[serde(default = "fifteen_minutes")]
    pub max_age: Millis,
    /// How long taking and copying it may take.
    #[serde(default = "ten_minutes")]
    pub within: Millis,
    /// Who saves a datastore that is not K3s's own; without it such a one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_datastore_backed_up_by: Option<String>,
}

/// Leadership among the servers of a K3s cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveK3sLeader {
    /// The server's unit: `k3s.service`.
    pub unit: UnitName,
    /// How long it may take.
    #[serde(default = "two_minutes")]
    pub within: Millis,
}

/// The API of this node's K3s server is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct K3sReady {
    /// The server's unit: `k3s.service`.
    pub unit: UnitName,
    /// How long it may take until it is.
    #[serde(default = "five_minutes")]
    pub within: Millis,
}

/// An archive of images for a node without a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaceK3sImages {
    /// Where it lies on the node: `/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst`.
    pub path: AbsPath,
}
