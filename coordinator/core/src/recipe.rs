//! A recipe: how one component is upgraded on one node. Data, with its parameters already filled in.

use alloc::{string::String, vec::Vec};

use drydock_types::{
    AbsPath, ComponentName, Label, Millis, NodeName, Step, UnitName,
    section::CommitConfirmed,
    step::{HealthProbe, UndoGuard, VersionSource},
};
use serde::{Deserialize, Serialize};

mod hypervisor;
mod kubernetes;
mod threshold;

pub use self::{
    hypervisor::{LibvirtQuiescence, OpenvswitchCheck, OvnControllerCheck, OvnOrder, PackagesCheck},
    kubernetes::{
        Already, ConditionOf, Expected, KubeletVersion, KubernetesCluster, KubernetesCondition,
        KubernetesNode, KubernetesSkew, NodeCanary, Part, Scalar,
    },
    threshold::Threshold,
};
use crate::{moves::Move, observe::Observer, plan_file::ApiVersion};

/// `kind: Recipe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipeKind {
    /// `Recipe`
    Recipe,
}

/// A recipe file, after substitution of its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipe {
    /// `drydock/v1`
    pub api_version: ApiVersion,
    /// `Recipe`
    pub kind: RecipeKind,
    /// Its name and what it is for.
    pub metadata: RecipeMetadata,
    /// What is done.
    pub spec: RecipeSpec,
}

/// Names a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecipeMetadata {
    /// What plans say under `recipe:`.
    pub name: Label,
    /// The component that it upgrades; without it any (`systemd-binary`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// One line for `recipe list`.
    pub summary: String,
}

/// What is done to a node, phase by phase (see ARCHITECTURE.md, "Node life in a run").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecipeSpec {
    /// How to see what runs.
    pub detect: Detect,
    /// Which versions may follow which.
    #[serde(default)]
    pub versions: VersionRules,
    /// Before the node leaves service.
    #[serde(default)]
    pub stage: Vec<Step>,
    /// Must be clear before the node leaves service, and again right before the change.
    #[serde(default)]
    pub gate: Vec<Check>,
    /// Snapshot or backup, off the node.
    #[serde(default)]
    pub protect: Vec<Step>,
    /// How the node leaves service before the change, by the coordinator; taken back in reverse when it is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<Move>,
    /// What is measured from outside while it is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observe: Vec<Observer>,
    /// The change.
    pub apply: Vec<Step>,
    /// The agent's own look after it.
    #[serde(default)]
    pub verify: Vec<Step>,
    /// What must still hold for the change to be taken back.
    #[serde(default)]
    pub can_undo: Vec<UndoGuard>,
    /// The change can cut the node off: the node takes it back by itself unless it is confirmed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_confirmed: Option<CommitConfirmed>,
    /// Must be clear before the node counts as back; looked at again while it soaks.
    #[serde(default)]
    pub returned: Vec<Check>,
    /// How long each phase may take.
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// How to see what runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Detect {
    /// The service. Without it (as in `nothing`) there is none to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// Its binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<AbsPath>,
    /// Where the running service says its version. Without it every target version counts as new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionSource>,
}

/// Which versions may follow which.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionRules {
    /// No minor may be left out.
    #[serde(default)]
    pub one_minor_at_a_time: bool,
    /// The step over a minor cannot be taken back once every member has taken it.
    #[serde(default)]
    pub no_return_after_last_member: bool,
    /// Nothing that has taken the step over a minor can go back by itself: no node waits for the others there.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub no_return_over_minor: bool,
    /// The recipe of those whose versions this one's may never be ahead of: a kubelet's servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ahead_of: Option<Label>,
}

/// A look that the coordinator takes, through agents, and judges itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Check {
    /// Every etcd member healthy and agreed upon; this one may stop.
    EtcdQuorum(EtcdQuorum),
    /// What runs on the node may be followed by the target version.
    VersionSkew(VersionSkew),
    /// A health probe of the node's service passes, as the node itself or another place sees it.
    Health(HealthCheck),
    /// A unit of the node is up; during a soak also that it was not started anew.
    Unit(UnitCheck),
    /// The datastore of a K3s server lets this one stop.
    K3sDatastore(K3sDatastoreCheck),
    /// A query that Prometheus answers is within its bounds.
    Prometheus(PrometheusCheck),
    /// No package manager is at work, and none has left anything half-done.
    Packages(PackagesCheck),
    /// libvirt's daemon on the node may be restarted now.
    LibvirtQuiescence(LibvirtQuiescence),
    /// Open vSwitch on the node answers, holds no flows back and is of a kind that can be reloaded.
    Openvswitch(OpenvswitchCheck),
    /// ovn-controller on the node is connected and has caught up.
    OvnController(OvnControllerCheck),
    /// The Kubernetes cluster that the node belongs to is well: nothing fails there that did not fail before the run.
    KubernetesCluster(KubernetesCluster),
    /// The node's own Kubernetes Node is Ready, by a kubelet that has reported since the machine was started.
    KubernetesNode(KubernetesNode),
    /// Servers and kubelets of the cluster may be beside the target version.
    KubernetesSkew(KubernetesSkew),
    /// Objects of the cluster have a condition, or a value at a JSONPath.
    KubernetesCondition(KubernetesCondition),
    /// A pod of our own is started on the node, gets an address, answers, and is gone again.
    NodeCanary(NodeCanary),
}

impl Check {
    /// Its name as it stands in a recipe.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EtcdQuorum(_) => "etcdQuorum",
            Self::VersionSkew(_) => "versionSkew",
            Self::Health(_) => "health",
            Self::Unit(_) => "unit",
            Self::K3sDatastore(_) => "k3sDatastore",
            Self::Prometheus(_) => "prometheus",
            Self::Packages(_) => "packages",
            Self::LibvirtQuiescence(_) => "libvirtQuiescence",
            Self::Openvswitch(_) => "openvswitch",
            Self::OvnController(_) => "ovnController",
            Self::KubernetesCluster(_) => "kubernetesCluster",
            Self::KubernetesNode(_) => "kubernetesNode",
            Self::KubernetesSkew(_) => "kubernetesSkew",
            Self::KubernetesCondition(_) => "kubernetesCondition",
            Self::NodeCanary(_) => "nodeCanary",
        }
    }

    /// Is it about one node alone, and looked at on each, rather than about all of them together?
    #[must_use]
    pub const fn is_of_one_node(&self) -> bool {
        match self {
            Self::Health(_)
            | Self::Unit(_)
            | Self::Packages(_)
            | Self::LibvirtQuiescence(_)
            | Self::Openvswitch(_)
            | Self::OvnController(_)
            | Self::KubernetesNode(_)
            | Self::NodeCanary(_) => true,
            Self::EtcdQuorum(_)
            | Self::VersionSkew(_)
            | Self::K3sDatastore(_)
            | Self::Prometheus(_)
            | Self::KubernetesCluster(_)
            | Self::KubernetesSkew(_)
            | Self::KubernetesCondition(_) => false,
        }
    }
}

/// Configuration of `etcdQuorum`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdQuorum {
    /// How far a member's applied index may lie behind the furthest.
    #[serde(default = "five_thousand")]
    pub max_lag: u64,
}

/// Configuration of `k3sDatastore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct K3sDatastoreCheck {
    /// The server's unit: `k3s.service`.
    pub unit: UnitName,
    /// How far an embedded member's applied index may lie behind the furthest.
    #[serde(default = "five_thousand")]
    pub max_lag: u64,
    /// Who saves a datastore that is not K3s's own; without it such a one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_datastore_backed_up_by: Option<String>,
}

/// Configuration of `versionSkew`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionSkew {}

/// Configuration of `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// From where; on the node itself where nothing is said. What a node says of itself is one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vantage>,
}

/// Another place from which a node's service is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Vantage {
    /// The coordinator itself.
    Coordinator {},
    /// Another node, whose agent's policy has to allow it.
    Node(NodeName),
}

/// Configuration of `unit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitCheck {
    /// Which; one that the node's policy lists.
    pub unit: UnitName,
}

/// Configuration of `prometheus`. Every series of the answer must lie within the bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusCheck {
    /// Where it is asked, by the coordinator: `http://10.0.0.9:9090`.
    pub url: String,
    /// The query.
    pub query: String,
    /// The value must be above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Threshold>,
    /// The value must be below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Threshold>,
}

/// How long each phase of a node may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deadlines {
    /// Fetching and dry checks.
    #[serde(default = "thirty_minutes")]
    pub stage: Millis,
    /// How long a gate may stay shut before the run holds.
    #[serde(default = "thirty_minutes")]
    pub gate: Millis,
    /// Snapshot or backup.
    #[serde(default = "thirty_minutes")]
    pub protect: Millis,
    /// How long a node may take to leave service by its moves, and to be given back.
    #[serde(default = "thirty_minutes")]
    pub drain: Millis,
    /// The change with its local verification.
    #[serde(default = "ten_minutes")]
    pub apply: Millis,
    /// How long a node may take until its checks are clear again.
    #[serde(default = "five_minutes")]
    pub returned: Millis,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            stage: thirty_minutes(),
            gate: thirty_minutes(),
            protect: thirty_minutes(),
            drain: thirty_minutes(),
            apply: ten_minutes(),
            returned: five_minutes(),
        }
    }
}

const fn five_thousand() -> u64 {
    5000
}
const fn five_minutes() -> Millis {
    Millis::secs(300)
}
const fn ten_minutes() -> Millis {
    Millis::secs(600)
}
const fn thirty_minutes() -> Millis {
    Millis::secs(1800)
}
