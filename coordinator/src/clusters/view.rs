//! What operators see of clusters. Nothing secret is in any of it.

use std::collections::BTreeMap;

use drydock_kubernetes::{
    health::{self, Kind, Observed, Weight},
    survey::Survey,
};
use drydock_types::{ClusterName, NodeName};
use serde::{Deserialize, Serialize};

use crate::store::registry::{BindingRow, ClusterRow};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterView {
    /// As operators call it.
    pub name: ClusterName,
    /// Of the kubeconfig that it came from; empty: the coordinator's own pod.
    pub context: String,
    /// URLs, the preferred one first.
    pub endpoints: Vec<String>,
    /// When the credentials end, in Unix seconds; where they say so.
    pub valid_until_unix_s: Option<i64>,
    /// Who added it.
    pub added_by: String,
    /// When.
    pub added_unix_ms: u64,
    /// Machines that are its Nodes.
    pub nodes: Vec<BoundNodeView>,
}

/// A machine that is a Node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BoundNodeView {
    /// The machine.
    pub node: NodeName,
    /// The Node's name in the cluster.
    pub kube_node: String,
    /// By whose word.
    pub bound_by: String,
    /// When.
    pub bound_unix_ms: u64,
}

/// What `cluster test` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterTestView {
    /// Which cluster.
    pub cluster: ClusterView,
    /// What was seen of it.
    pub survey: Survey,
}

/// What `check cluster` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterCheckView {
    /// Which cluster.
    pub cluster: ClusterName,
    /// When it was looked at, in Unix seconds by the coordinator's clock.
    pub seen_unix_s: i64,
    /// How many Nodes there are.
    pub nodes: usize,
    /// How many of them are Ready.
    pub ready: usize,
    /// How many Nodes have a kubelet of each version.
    pub kubelets: BTreeMap<String, usize>,
    /// How many pods were looked at, those that have ended included.
    pub pods: usize,
    /// How many of them fail.
    pub failing: usize,
    /// How many claims were looked at.
    pub claims: usize,
    /// How many Deployments, StatefulSets and DaemonSets were looked at.
    pub workloads: usize,
    /// What fails, what weighs most first.
    pub problems: Vec<ProblemView>,
}

impl ClusterCheckView {
    /// Is there anything that would stop a run, had it begun under it?
    #[must_use]
    pub fn stops(&self) -> bool {
        self.problems.iter().any(|problem| problem.weight > Weight::Note)
    }
}

/// One root cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProblemView {
    /// What kind of thing it is.
    pub kind: Kind,
    /// How much it weighs.
    pub weight: Weight,
    /// In one line.
    pub what: String,
    /// What to do about it.
    pub next: String,
    /// Since when the first of them has, in Unix seconds.
    pub since_unix_s: Option<i64>,
    /// Whom it concerns: the first hundred.
    pub of: Vec<String>,
    /// How many it concerns in all.
    pub count: usize,
}

/// What `node bind` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingView {
    /// The machine.
    pub node: NodeName,
    /// Which cluster; none: it is no Node any more.
    pub cluster: Option<ClusterName>,
    /// The Node's name there.
    pub kube_node: Option<String>,
}

pub(super) fn of(row: ClusterRow, bindings: &[BindingRow]) -> ClusterView {
    let nodes = bindings.iter().filter(|bound| bound.cluster == row.name).map(|bound| BoundNodeView {
        node: bound.node.clone(),
        kube_node: bound.kube_node.clone(),
        bound_by: bound.bound_by.clone(),
        bound_unix_ms: bound.bound_unix_ms,
    });
    ClusterView {
        nodes: nodes.collect(),
        name: row.name,
        context: row.context,
        endpoints: row.endpoints,
        valid_until_unix_s: row.valid_until_unix_s,
        added_by: row.added_by,
        added_unix_ms: row.added_unix_ms,
    }
}

/// More names than this nobody reads.
const MOST_OF: usize = 100;

pub(super) fn checked(cluster: ClusterName, seen: &Observed, now_unix_s: i64) -> ClusterCheckView {
    let mut kubelets = BTreeMap::new();
    for version in seen.nodes.iter().map(|node| &node.status.node_info.kubelet_version) {
        if !version.is_empty() {
            *kubelets.entry(version.chars().take(80).collect()).or_default() += 1;
        }
    }
    let problems = health::judge(seen, now_unix_s).into_iter().map(|problem| ProblemView {
        what: problem.what(now_unix_s),
        since_unix_s: problem.since_unix_s(),
        count: problem.members.len(),
        of: problem.members.iter().take(MOST_OF).map(|member| member.name.clone()).collect(),
        kind: problem.kind,
        weight: problem.weight,
        next: problem.next,
    });
    ClusterCheckView {
        cluster,
        seen_unix_s: now_unix_s,
        nodes: seen.nodes.len(),
        ready: seen.nodes.iter().filter(|node| node.is_ready()).count(),
        kubelets,
        pods: seen.counted.pods,
        failing: seen.failing.len() + seen.counted.more_failing,
        claims: seen.counted.claims,
        workloads: seen.counted.workloads,
        problems: problems.collect(),
    }
}
