//! Pods, events, claims and workloads, trimmed to what is judged of them.
//!
//! Source: `staging/src/k8s.io/api/{core/v1,apps/v1}/types.go` of kubernetes/kubernetes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::objects::{
    Meta,
    node::Condition,
    null_is_default,
    pod::{Affinity, PodName},
};

/// A Pod, as far as it says how it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pod {
    /// Name, owners, times.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(default)]
    pub spec: PodSpec,
    /// What is.
    #[serde(default)]
    pub status: PodStatus,
}

impl Pod {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> PodName {
        PodName { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }

    /// A condition of it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// On which Node it is; before it has one, on which its DaemonSet wants it. Empty where nobody says.
    #[must_use]
    pub fn meant_for(&self) -> &str {
        if !self.spec.node_name.is_empty() {
            return &self.spec.node_name;
        }
        let terms = self.spec.affinity.node_affinity.required.iter().flat_map(|of| &of.node_selector_terms);
        let by_name = terms.flat_map(|term| &term.match_fields).find(|field| field.key == "metadata.name");
        by_name.and_then(|field| field.values.first()).map_or("", String::as_str)
    }

    /// Whose it is, as people know it: the Deployment and not its ReplicaSet, the CronJob and not one of its Jobs.
    #[must_use]
    pub fn workload(&self) -> Workload {
        let Some(owner) = self.metadata.controller() else {
            return Workload { kind: "Pod".to_owned(), name: self.name() };
        };
        let hash = self.metadata.labels.get("pod-template-hash");
        let (kind, name) = match owner.kind.as_str() {
            "ReplicaSet" => match hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}"))) {
                Some(name) => ("Deployment", name),
                None => ("ReplicaSet", owner.name.as_str()),
            },
            "Job" => match owner.name.rsplit_once('-') {
                // A CronJob's Jobs are called by the minute at which they were due.
                Some((name, minute)) if minute.len() >= 8 && minute.bytes().all(|b| b.is_ascii_digit()) => {
                    ("CronJob", name)
                }
                _ => ("Job", owner.name.as_str()),
            },
            kind => (kind, owner.name.as_str()),
        };
        let name = PodName { namespace: self.metadata.namespace.clone(), name: name.to_owned() };
        Workload { kind: kind.to_owned(), name }
    }
}

/// What makes pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// `Deployment`.
    pub kind: String,
    /// Where, and how it is called.
    pub name: PodName,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

/// `spec` of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Where it runs; empty while it waits for a node.
    pub node_name: String,
    /// For how long its kubelet lets it run, in seconds; none: for ever.
    pub active_deadline_seconds: Option<i64>,
    /// Which nodes it may get.
    #[serde(deserialize_with = "null_is_default")]
    pub affinity: Affinity,
    /// Its containers: their images and limits.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// Those that run before.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Vec<Container>,
    /// Its volumes: which claims are behind them.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: Vec<Volume>,
}

/// A container, as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub image: String,
    /// What it may have.
    #[serde(deserialize_with = "null_is_default")]
    pub resources: Resources,
}

/// `resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At most; as it was written: `256Mi`.
    #[serde(deserialize_with = "null_is_default")]
    pub limits: BTreeMap<String, serde_json::Value>,
}

/// A volume of a pod: the claim behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Where there is one.
    pub persistent_volume_claim: Option<ClaimOf>,
}

/// `persistentVolumeClaim`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOf {
    /// In the pod's namespace.
    pub claim_name: String,
}

/// `status` of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// `Ready`, `PodScheduled`, …
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// When its kubelet took it.
    pub start_time: Option<String>,
    /// Its address; empty while it has none.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// In one word: `Evicted`, `OutOfcpu`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// How its containers are.
    #[serde(deserialize_with = "null_is_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// How its init containers are.
    #[serde(deserialize_with = "null_is_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub image: String,
    /// It answers as it should.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u64,
    /// What it is at.
    #[serde(deserialize_with = "null_is_default")]
    pub state: State,
    /// What it was at before it was started again.
    #[serde(deserialize_with = "null_is_default")]
    pub last_state: State,
}

/// What a container is at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct State {
    /// It does not run.
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Why it does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ImagePullBackOff`, …
    pub reason: String,
    /// In words.
    pub message: String,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// `OOMKilled`, `Error`, `Completed`.
    pub reason: String,
    /// What it wrote of its end.
    pub message: String,
    /// Of its process.
    pub exit_code: i64,
    /// When (RFC 3339).
    pub finished_at: Option<String>,
}

/// An Event about a pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// About whom.
    pub involved_object: Involved,
    /// `FailedCreatePodSandBox`.
    #[serde(default)]
    pub reason: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// When it was seen last (RFC 3339), where it is counted.
    #[serde(default)]
    pub last_timestamp: Option<String>,
    /// When it was, where it is not.
    #[serde(default)]
    pub event_time: Option<String>,
    /// Where it came again and again.
    #[serde(default)]
    pub series: Option<Series>,
}

/// `involvedObject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Involved {
    /// Which one.
    pub uid: String,
}

/// `series`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When it was seen last.
    #[serde(default)]
    pub last_observed_time: Option<String>,
}

impl Event {
    /// When it was seen last, in seconds since 1970; 0 where it does not say.
    #[must_use]
    pub fn last_unix_s(&self) -> i64 {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let times = [series, self.last_timestamp.as_ref(), self.event_time.as_ref()];
        times.into_iter().filter_map(super::when::of).max().unwrap_or(0)
    }
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claim {
    /// Its name, and since when it is.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(default)]
    pub spec: ClaimSpec,
    /// What is.
    #[serde(default)]
    pub status: ClaimStatus,
}

/// `spec` of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Who makes its volume.
    pub storage_class_name: Option<String>,
    /// Its volume, once it has one.
    pub volume_name: String,
}

/// `status` of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimStatus {
    /// `Pending`, `Bound`, `Lost`.
    pub phase: String,
}

/// A Deployment, StatefulSet or DaemonSet: how many pods it has of how many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Scaled {
    /// Its name.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(default)]
    pub spec: ScaledSpec,
    /// What is.
    #[serde(default)]
    pub status: ScaledStatus,
}

/// `spec` of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledSpec {
    /// How many pods; not of a DaemonSet.
    pub replicas: i64,
    /// Of a StatefulSet: `OrderedReady` makes no pod before the one ahead of it is ready.
    pub pod_management_policy: String,
    /// Of a StatefulSet: how its pods are numbered.
    #[serde(deserialize_with = "null_is_default")]
    pub ordinals: Ordinals,
    /// Of a StatefulSet: how its pods are exchanged.
    #[serde(deserialize_with = "null_is_default")]
    pub update_strategy: UpdateStrategy,
}

/// `ordinals` of a StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The number of its first pod.
    #[serde(deserialize_with = "null_is_default")]
    pub start: i64,
}

/// `updateStrategy` of a StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate`, or `OnDelete`: a pod is exchanged when somebody deletes it.
    #[serde(rename = "type")]
    pub kind: String,
    /// How far.
    #[serde(deserialize_with = "null_is_default")]
    pub rolling_update: RollingUpdate,
}

/// `rollingUpdate` of a StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RollingUpdate {
    /// So many pods, from the first, stay as they are.
    #[serde(deserialize_with = "null_is_default")]
    pub partition: i64,
}

impl Default for ScaledSpec {
    fn default() -> Self {
        // The server's own default, which it writes out: this is only for what it leaves out.
        Self {
            replicas: 1,
            pod_management_policy: String::new(),
            ordinals: Ordinals::default(),
            update_strategy: UpdateStrategy::default(),
        }
    }
}

/// `status` of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledStatus {
    /// Of which generation this tells.
    pub observed_generation: i64,
    /// Of a Deployment or StatefulSet: pods that are ready.
    pub ready_replicas: i64,
    /// Of a Deployment or StatefulSet: pods as it wants them now.
    pub updated_replicas: i64,
    /// Of a StatefulSet: pods as it wanted them before.
    pub current_replicas: i64,
    /// Of a StatefulSet: which template those have.
    pub current_revision: String,
    /// Of a StatefulSet: which template all are to have.
    pub update_revision: String,
    /// Of a DaemonSet: on how many nodes it should run.
    pub desired_number_scheduled: i64,
    /// Of a DaemonSet: on how many it does, ready.
    pub number_ready: i64,
    /// `Available`, `Progressing`, `ReplicaFailure`.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}
