//! What operators see of clusters. Nothing secret is in any of it.

use drydock_kubernetes::survey::Survey;
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
