//! Configurations of the checks that look at the Kubernetes cluster which a node belongs to.

use alloc::{string::String, vec::Vec};
use core::fmt;

use drydock_types::Millis;
use serde::{Deserialize, Serialize};

/// Configuration of `kubernetesCluster`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesCluster {
    /// What becomes of what failed before the run began.
    #[serde(default)]
    pub already_failing: Already,
    /// Namespaces of which neither pods nor claims nor workloads count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_namespaces: Vec<String>,
}

/// What failed before the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Already {
    /// It is recorded, and holds nobody: it is not the run's doing.
    #[default]
    Record,
    /// No node leaves service while it fails.
    Refuse,
}

/// Configuration of `kubernetesNode`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesNode {
    /// Which kubelet must report once the node was changed. Before that any does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<KubeletVersion>,
}

/// Which version a kubelet must report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KubeletVersion {
    /// The one that the node should be running: the stage's, or what ran before on a node that was taken back.
    Target,
}

/// Configuration of `kubernetesSkew`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesSkew {
    /// What is changed on the node.
    pub of: Part,
}

/// What a node runs of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// An API server, and the kubelet beside it where there is one.
    Server,
    /// A kubelet alone.
    Kubelet,
}

/// Configuration of `kubernetesCondition`: which objects, and what must be so of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesCondition {
    /// API group; nothing for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// `v1`, `v1beta2`.
    pub version: String,
    /// `Kustomization`.
    pub kind: String,
    /// Where; with a selector nothing means everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Every object with these labels, as `kubectl -l` takes them; `""` for all of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// One of `status.conditions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionOf>,
    /// Where a value is (RFC 9535): every value that is found there must be as expected, and one at least be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// The value must be this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Scalar>,
    /// The value must be one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Scalar>,
}

impl KubernetesCondition {
    /// What a value at the JSONPath must be; empty where nothing was said.
    #[must_use]
    pub fn expected(&self) -> Expected<'_> {
        Expected { equals: self.equals.as_ref(), one_of: &self.one_of }
    }
}

/// Which values are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    equals: Option<&'a Scalar>,
    one_of: &'a [Scalar],
}

impl<'a> Expected<'a> {
    /// Every value that will do.
    pub fn values(self) -> impl Iterator<Item = &'a Scalar> {
        self.equals.into_iter().chain(self.one_of)
    }
}

impl fmt::Display for Expected<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.values().enumerate() {
            let joint = if at == 0 { "" } else { " or " };
            write!(out, "{joint}{value}")?;
        }
        Ok(())
    }
}

/// A condition, as objects of Kubernetes have them in `status.conditions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionOf {
    /// `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What its status must be.
    #[serde(default = "yes")]
    pub status: String,
}

/// A value to compare with: what JSON has without parts, but no fractions, of which no two writings are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `3`
    Number(i64),
    /// `HEALTH_OK`
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(out),
            Self::Number(value) => value.fmt(out),
            Self::Text(value) => out.write_str(value),
        }
    }
}

/// Configuration of `nodeCanary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeCanary {
    /// What it runs; best an image that the cluster has at hand.
    pub image: String,
    /// What it does instead of its image's own doing: it must end with 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A name that it must resolve, by `getent` or `nslookup` of its image: `kubernetes.default.svc.cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<String>,
    /// How long it may take from being made to its answer.
    #[serde(default = "two_minutes")]
    pub within: Millis,
}

fn yes() -> String {
    String::from("True")
}

const fn two_minutes() -> Millis {
    Millis::secs(120)
}
