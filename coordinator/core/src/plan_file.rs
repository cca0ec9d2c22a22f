//! The plan as an operator writes it. A key that is not here is refused, so what the file asks for is done
//! or the file is not taken.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{ComponentName, Label, Millis, NodeName, Version};
use serde::{Deserialize, Serialize};

/// The only `apiVersion` of this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// `drydock/v1`
    #[serde(rename = "drydock/v1")]
    V1,
}

/// `kind: Plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanKind {
    /// `Plan`
    Plan,
}

/// A plan file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanFile {
    /// `drydock/v1`
    pub api_version: ApiVersion,
    /// `Plan`
    pub kind: PlanKind,
    /// Its name.
    pub metadata: PlanMetadata,
    /// What is to be done.
    pub spec: PlanSpec,
}

/// Names a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanMetadata {
    /// For people: shown in every screen and report.
    pub name: Label,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanSpec {
    /// A DAG by `needs`; a stage begins when all it needs are done.
    pub stages: Vec<StageSpec>,
    /// How many nodes may be out of service, and where that is counted.
    #[serde(default)]
    pub budget: BudgetSpec,
}

/// How many nodes may be disrupted at once, for any cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSpec {
    /// Nodes in one failure domain.
    #[serde(default = "one")]
    pub per_failure_domain: u32,
    /// The label that names a node's failure domain. Without it the whole fleet is one domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_label: Option<Label>,
}

impl Default for BudgetSpec {
    fn default() -> Self {
        Self { per_failure_domain: 1, domain_label: None }
    }
}

/// One component to one version, on waves of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageSpec {
    /// Unique in the plan.
    pub name: Label,
    /// The component.
    pub component: ComponentName,
    /// A built-in recipe's name, or a file: `./my-recipe.yaml`.
    pub recipe: String,
    /// The version to reach.
    pub to: Version,
    /// The binary, where the recipe needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactSpec>,
    /// Values for the recipe's parameters. Substituted where the file is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, serde_json::Value>,
    /// Stages that must be done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Label>,
    /// In order.
    pub waves: Vec<WaveSpec>,
    /// What a failed node does.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Permits a version lower than the one that runs.
    #[serde(default)]
    pub allow_downgrade: bool,
    /// Accepts by name and length that something is out while its only members are (rule 6).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outage: BTreeMap<String, Millis>,
}

/// Where a stage's binary is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactSpec {
    /// The file beside the plan.
    pub path: String,
    /// Its minisign signature; `PATH.minisig` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What a node does whose section failed. Either way the run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Take this node back to what it was (where it still can be), then hold.
    #[default]
    Rollback,
    /// Leave it as it is and hold.
    Hold,
}

/// A set of nodes, taken in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaveSpec {
    /// Unique in the stage.
    pub name: Label,
    /// Which nodes.
    pub nodes: Selector,
    /// In which order.
    #[serde(default)]
    pub order: Order,
    /// How many at once. This build takes 1.
    #[serde(default = "one")]
    pub concurrency: u32,
    /// How long a node is watched after it is back before the next one leaves.
    #[serde(default)]
    pub soak: Millis,
}

/// Which nodes. A node is taken when it is named or has all labels, and is not excluded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// By label: all must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Label, Label>,
    /// By name, in the order written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NodeName>,
    /// Not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<NodeName>,
}

/// The order within a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As named; labelled nodes by name.
    #[default]
    Listed,
    /// Whoever leads when its turn comes goes last. Judged again at each gate.
    FollowersFirst,
}

const fn one() -> u32 {
    1
}
