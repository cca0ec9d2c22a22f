//! Label selectors, node selectors and tolerations, as the server matches them.
//!
//! Source: `apimachinery/pkg/labels/selector.go`, `component-helpers/scheduling/corev1/nodeaffinity`,
//! `api/core/v1/toleration.go`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::null_is_default;

/// `metav1.LabelSelector`. An empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All of these.
    #[serde(deserialize_with = "null_is_default")]
    pub match_labels: BTreeMap<String, String>,
    /// And all of these.
    #[serde(deserialize_with = "null_is_default")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    /// Of which label or field.
    pub key: String,
    /// How it is compared.
    pub operator: String,
    /// With what.
    #[serde(default, deserialize_with = "null_is_default")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Does it match an object with these labels?
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|one| one.matches(labels.get(&one.key).map(String::as_str)))
    }
}

impl Requirement {
    /// An operator that is not known matches nothing.
    fn matches(&self, value: Option<&str>) -> bool {
        let among = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator.as_str() {
            "In" => among(),
            "NotIn" => !among(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" | "Lt" => {
                let (Some(is), [bound]) = (value.and_then(|value| value.parse::<i64>().ok()), &*self.values)
                else {
                    return false;
                };
                bound.parse::<i64>().is_ok_and(|bound| match self.operator.as_str() {
                    "Gt" => is > bound,
                    _ => is < bound,
                })
            }
            _ => false,
        }
    }
}

/// `NodeSelector`: any of its terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// One is enough.
    #[serde(deserialize_with = "null_is_default")]
    pub node_selector_terms: Vec<NodeTerm>,
}

/// A term: all of its requirements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTerm {
    /// Of labels.
    #[serde(deserialize_with = "null_is_default")]
    pub match_expressions: Vec<Requirement>,
    /// Of fields: only `metadata.name` exists.
    #[serde(deserialize_with = "null_is_default")]
    pub match_fields: Vec<Requirement>,
}

impl NodeSelector {
    /// Does it match a node of this name and these labels? An empty term matches none.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector_terms.iter().any(|term| {
            !(term.match_expressions.is_empty() && term.match_fields.is_empty())
                && term
                    .match_expressions
                    .iter()
                    .all(|one| one.matches(labels.get(&one.key).map(String::as_str)))
                && term.match_fields.iter().all(|one| one.key == "metadata.name" && one.matches(Some(name)))
        })
    }
}

/// What a taint does to pods that do not bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Effect {
    /// New ones stay away.
    NoSchedule,
    /// New ones stay away where they can.
    PreferNoSchedule,
    /// All go.
    NoExecute,
}

impl From<String> for Effect {
    fn from(word: String) -> Self {
        match word.as_str() {
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            // What is not known keeps pods off.
            _ => Self::NoSchedule,
        }
    }
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; empty where it has none.
    #[serde(default)]
    pub value: String,
    /// What it does.
    pub effect: Effect,
}

/// What a pod bears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    /// Which key; empty for all.
    pub key: String,
    /// `Exists`, or `Equal`, which is the default.
    pub operator: String,
    /// Compared by `Equal`.
    pub value: String,
    /// Which effect; none for all.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Is this taint borne?
    #[must_use]
    pub fn bears(&self, taint: &Taint) -> bool {
        if self.effect.is_some_and(|effect| effect != taint.effect)
            || !(self.key.is_empty() || self.key == taint.key)
        {
            return false;
        }
        match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => !self.key.is_empty() && self.value == taint.value,
            _ => false,
        }
    }
}
