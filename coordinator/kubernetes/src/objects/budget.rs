//! A PodDisruptionBudget.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{Meta, Pod, null_is_default, selector::LabelSelector};

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Budget {
    /// Name, UID, generation.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(default)]
    pub spec: BudgetSpec,
    /// What the disruption controller counted.
    #[serde(default)]
    pub status: BudgetStatus,
}

/// `spec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// Over which pods of its namespace. Without a selector: over none. With an empty one: over all.
    pub selector: Option<LabelSelector>,
    /// A number or a share that must stay.
    pub min_available: Option<Amount>,
    /// A number or a share that may be missing.
    pub max_unavailable: Option<Amount>,
    /// What becomes of pods that are not ready.
    pub unhealthy_pod_eviction_policy: UnhealthyPods,
}

/// A number or a share: `2`, `50%`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// `2`
    Number(i64),
    /// `50%`
    Share(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Share(share) => out.write_str(share),
        }
    }
}

/// `unhealthyPodEvictionPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<String>")]
pub enum UnhealthyPods {
    /// They go while the healthy ones are as many as they must be. The server's default.
    #[default]
    IfHealthyBudget,
    /// They go.
    AlwaysAllow,
}

impl From<Option<String>> for UnhealthyPods {
    fn from(word: Option<String>) -> Self {
        // A later server's word is taken for the stricter one.
        if word.as_deref() == Some("AlwaysAllow") { Self::AlwaysAllow } else { Self::IfHealthyBudget }
    }
}

/// `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    /// Which generation was counted; 0 where none was yet.
    pub observed_generation: i64,
    /// How many may go now.
    pub disruptions_allowed: i64,
    /// How many are healthy.
    pub current_healthy: i64,
    /// How many must be.
    pub desired_healthy: i64,
    /// How many there should be.
    pub expected_pods: i64,
    /// Evictions that were let through and are not seen yet, by pod, since when.
    #[serde(deserialize_with = "null_is_default")]
    pub disrupted_pods: BTreeMap<String, String>,
}

impl Budget {
    /// `shop/cart`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Is it over this pod?
    #[must_use]
    pub fn covers(&self, pod: &Pod) -> bool {
        self.metadata.namespace == pod.metadata.namespace
            && self.spec.selector.as_ref().is_some_and(|selector| selector.matches(&pod.metadata.labels))
    }

    /// Does its status speak of its spec as it is?
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.status.observed_generation >= self.metadata.generation && self.metadata.generation > 0
    }

    /// `minAvailable: 2`, `maxUnavailable: 0`.
    #[must_use]
    pub fn rule(&self) -> String {
        match (&self.spec.min_available, &self.spec.max_unavailable) {
            (Some(amount), _) => format!("minAvailable: {amount}"),
            (None, Some(amount)) => format!("maxUnavailable: {amount}"),
            (None, None) => "minAvailable: 1".to_owned(),
        }
    }
}
