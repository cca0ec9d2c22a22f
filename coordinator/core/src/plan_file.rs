//! The plan as an operator writes it. A key that is not here is refused, so what the file asks for is done
//! or the file is not taken.

mod count;
mod time_of_day;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{ComponentName, Label, Millis, NodeName, Version};
use serde::{Deserialize, Serialize};

pub use self::{count::Count, time_of_day::TimeOfDay};
use crate::{observe::Observer, recipe::Check};

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
    /// When nodes may leave service. Without it at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// What operators may change while the run is at work. Nothing else can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
}

/// An amendment that a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Allow {
    /// `run extend`: a node's deadline.
    Extend,
    /// `run skip`: a node is left out.
    Skip,
    /// `run amend soak=…`: how long the nodes of a wave are watched.
    Soak,
    /// `run amend concurrency=…`: how many nodes of a wave at once.
    Concurrency,
    /// `run amend window=none`: the window no longer binds this run.
    Window,
    /// `run force`: pods that could not be evicted in time are deleted, each by its name.
    Force,
}

/// A span of the week in which nodes may leave service. A span whose end is not after its beginning ends on
/// the next day; `days` name the days on which it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSpec {
    /// The days on which it begins; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// `22:00`, on the zone's clock.
    pub from: TimeOfDay,
    /// `04:00`, on the zone's clock.
    pub to: TimeOfDay,
    /// An IANA name: `Europe/Berlin`.
    pub time_zone: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
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
    /// What must be clear before a node leaves service, beside what the recipe asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<Check>,
    /// What must be clear before a node counts as back, beside what the recipe asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Check>,
    /// What is measured from outside while a node is changed, beside what the recipe has measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observe: Vec<Observer>,
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
    /// How many at once: a number, or a share of the wave's nodes. Never above the budget.
    #[serde(default)]
    pub concurrency: Count,
    /// Takes the nodes in waves of these sizes, one after another; who is left comes in a last one:
    /// `[1, 10%, 50%]` is a canary, a tenth, half, and the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Count>,
    /// How long a node is watched after it is back before the next one leaves.
    #[serde(default)]
    pub soak: Millis,
    /// What must stay clear during the soak, on the node and on every node of the stage that was changed
    /// before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soak_checks: Vec<Check>,
    /// Who must approve before the first node of the wave leaves service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
}

/// Who must approve a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalSpec {
    /// Whose word counts.
    pub by: ApprovalBy,
    /// How long it is waited for before the run holds.
    #[serde(default = "seven_days")]
    pub within: Millis,
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ApprovalBy {
    /// Any operator, also who started the run.
    Anybody,
    /// An operator who did not start the run.
    SomebodyElse,
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
const fn seven_days() -> Millis {
    Millis::secs(7 * 24 * 3600)
}
