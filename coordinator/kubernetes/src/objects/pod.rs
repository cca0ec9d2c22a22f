//! A Pod.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{
    Meta, Owner,
    node::Condition,
    null_is_default,
    quantity::{Amounts, Milli},
    selector::{NodeSelector, Toleration},
};

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pod {
    /// Name, UID, owners.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(default)]
    pub spec: PodSpec,
    /// What is.
    #[serde(default)]
    pub status: PodStatus,
}

/// `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Where it runs; empty while it waits for a node.
    pub node_name: String,
    /// Of its priority class; 0 without one.
    #[serde(deserialize_with = "null_is_default")]
    pub priority: i32,
    /// Its volumes' kinds.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: Vec<PodVolume>,
    /// Labels that its node must have.
    #[serde(deserialize_with = "null_is_default")]
    pub node_selector: BTreeMap<String, String>,
    /// What else its node must be.
    #[serde(deserialize_with = "null_is_default")]
    pub affinity: Affinity,
    /// Which taints it bears.
    #[serde(deserialize_with = "null_is_default")]
    pub tolerations: Vec<Toleration>,
    /// What it asks for.
    #[serde(deserialize_with = "null_is_default")]
    containers: Vec<Container>,
    /// What it asks for before.
    #[serde(deserialize_with = "null_is_default")]
    init_containers: Vec<Container>,
    /// What its sandbox costs.
    #[serde(deserialize_with = "null_is_default")]
    overhead: Amounts,
    /// How long its processes may take to end, in seconds.
    pub termination_grace_period_seconds: Option<u64>,
}

/// A volume of a pod: which kind it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodVolume {
    /// Its name in the pod.
    pub name: String,
    /// Data that go with the pod.
    #[serde(default)]
    pub empty_dir: Option<EmptyDir>,
    /// Data behind a claim.
    #[serde(default)]
    pub persistent_volume_claim: Option<ClaimOf>,
    /// A claim that is made for the pod and goes with it: `POD-VOLUME`.
    #[serde(default)]
    pub ephemeral: Option<Nothing>,
}

/// `emptyDir`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EmptyDir {
    /// `Memory`, or empty for the node's disk.
    pub medium: String,
}

/// `persistentVolumeClaim`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOf {
    /// In the pod's namespace.
    pub claim_name: String,
}

/// Something of which only the being there counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Nothing {}

/// `affinity`, as far as it binds to nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// To nodes.
    #[serde(deserialize_with = "null_is_default")]
    pub node_affinity: NodeAffinity,
}

/// `nodeAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// What the scheduler does not go without.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
}

/// A container: what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "null_is_default")]
    resources: Resources,
    /// `Always` makes an init container one that stays.
    restart_policy: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "null_is_default")]
    requests: Amounts,
}

/// `status`. How its containers are is read by whoever judges what fails ([`crate::health`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// `Ready`, `PodScheduled`, …
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// The node on which the scheduler is making room for it; empty where there is none.
    #[serde(deserialize_with = "null_is_default")]
    pub nominated_node_name: String,
}

/// A pod's name with its namespace, as people write it: `shop/cart-5f7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Where.
    pub namespace: String,
    /// What.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl Pod {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> PodName {
        PodName { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }

    /// It has ended by itself and will not run again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The kubelet made it from a file and cannot be kept from it.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.contains_key("kubernetes.io/config.mirror")
            || self.metadata.controller().is_some_and(|owner| owner.kind == "Node")
    }

    /// The DaemonSet whose it is.
    #[must_use]
    pub fn daemon_set(&self) -> Option<&Owner> {
        self.metadata.controller().filter(|owner| owner.kind == "DaemonSet")
    }

    /// Does it count as healthy where budgets are counted?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// The scheduler has looked for a node for it, found none, and makes room on none: in its words.
    #[must_use]
    pub fn fits_nowhere(&self) -> Option<&str> {
        let says_so = |condition: &&Condition| {
            condition.kind == "PodScheduled"
                && condition.status == "False"
                && condition.reason == "Unschedulable"
        };
        let waits = self.spec.node_name.is_empty() && self.status.nominated_node_name.is_empty();
        self.status.conditions.iter().find(says_so).filter(|_| waits).map(|condition| &*condition.message)
    }

    /// What the scheduler sets aside for it: its containers together with those init containers that stay, or the
    /// greatest init container where that is more; and its sandbox.
    #[must_use]
    pub fn asks(&self) -> Amounts {
        let mut running = Amounts::default();
        let mut most = Amounts::default();
        for init in &self.spec.init_containers {
            if init.restart_policy == "Always" {
                running.add(&init.resources.requests);
                most.raise(&running);
            } else {
                let mut now = running.clone();
                now.add(&init.resources.requests);
                most.raise(&now);
            }
        }
        for container in &self.spec.containers {
            running.add(&container.resources.requests);
        }
        running.raise(&most);
        running.add(&self.spec.overhead);
        running.set("pods", Milli::ONE);
        running
    }

    /// The claims behind its volumes, by name.
    pub fn claims(&self) -> impl Iterator<Item = String> {
        self.spec.volumes.iter().filter_map(|volume| {
            match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Some(claim.claim_name.clone()),
                (None, Some(_)) => Some(format!("{}-{}", self.metadata.name, volume.name)),
                (None, None) => None,
            }
        })
    }
}
