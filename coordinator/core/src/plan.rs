//! Bundle and inventory in, plan and report out. Everything that can be decided ahead is decided here.
//!
//! The order within a wave is a forecast: who leads is judged again at each gate.

mod report;
mod select;
pub mod undo;
mod waves;

pub(crate) use report::point_of_no_return;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{
    ArtifactRef, ComponentName, EffectId, Label, Millis, NodeKey, NodeName, RunId, Sha256, Version, document,
};
use serde::{Deserialize, Serialize};

use crate::{
    bundle::Bundle,
    inventory::{Inventory, Seen},
    per_node::{self, Variables},
    plan_file::{Allow, ApprovalSpec, BudgetSpec, OnFailure, Order, WindowSpec},
    recipe::{Check, Deadlines, Detect, Recipe, RecipeSpec},
    view::PlanView,
};

/// A compiled plan: what a run executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The plan's name.
    pub name: Label,
    /// The file that it came from.
    pub file: String,
    /// Of everything below that was decided by the operator: not of what was seen.
    pub digest: Sha256,
    /// How many nodes may be disrupted.
    pub budget: BudgetSpec,
    /// When nodes may leave service.
    pub window: Option<WindowSpec>,
    /// What operators may change while it runs.
    pub allow: Vec<Allow>,
    /// The run that this one takes back, where it does: every node has its [`PlanNode::undo`].
    pub undoes: Option<u64>,
    /// Stages in an order that honours `needs`.
    pub stages: Vec<PlanStage>,
}

/// A stage of a compiled plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanStage {
    /// Its name.
    pub name: Label,
    /// The component.
    pub component: ComponentName,
    /// The version to reach.
    pub to: Version,
    /// The binary.
    pub artifact: Option<ArtifactRef>,
    /// Pinned by value.
    pub recipe: Recipe,
    /// Digest of the recipe.
    pub recipe_digest: Sha256,
    /// What a failed node does.
    pub on_failure: OnFailure,
    /// Permits a lower version.
    pub allow_downgrade: bool,
    /// Outages accepted by name.
    pub outage: BTreeMap<String, Millis>,
    /// In order.
    pub waves: Vec<PlanWave>,
}

/// A wave of a compiled plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanWave {
    /// Its name.
    pub name: Label,
    /// The wave of the file that it is a part of, where that is taken in parts (`split`).
    pub part_of: Option<Label>,
    /// The order within it.
    pub order: Order,
    /// How many of its nodes at once; at least 1.
    pub concurrency: u32,
    /// How long each node is watched.
    pub soak: Millis,
    /// What must stay clear meanwhile, on the node and on those of the stage that were changed before it.
    pub soak_checks: Vec<Check>,
    /// Who must approve before it begins.
    pub approval: Option<ApprovalSpec>,
    /// In the order that is foreseen.
    pub nodes: Vec<PlanNode>,
}

/// A node of a compiled plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanNode {
    /// Its name.
    pub name: NodeName,
    /// Its identity when the plan was made. A name that was enrolled again is another node.
    pub key: NodeKey,
    /// Those of its labels that the recipe's placeholders name; see [`crate::per_node`].
    pub labels: BTreeMap<Label, Label>,
    /// Its failure domain, where the plan names a label for it and the node has it.
    pub domain: Option<Label>,
    /// In a run that takes another one back: what is undone here.
    pub undo: Option<UndoOf>,
    /// What was seen there.
    pub seen: Option<Seen>,
    /// Left out, and why.
    pub skip: Option<String>,
}

impl PlanNode {
    /// A check as it is for this node; see [`crate::per_node`].
    #[must_use]
    pub fn fill(&self, check: &Check) -> Check {
        let variables = Variables { node: &self.name, labels: &self.labels };
        per_node::fill(check, variables).unwrap_or_else(|_| check.clone())
    }
}

/// A change that is to be taken back from what its agent's journal holds of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UndoOf {
    /// The apply section that made it.
    pub effect: EffectId,
    /// What ran before it, where that was known.
    pub to: Option<Version>,
    /// It was left half-way: what answers there does not tell what lies on the disk. While it is down it is taken back
    /// in the slot of the budget that it occupies already, without the recipe's gate; while it serves it has the whole
    /// gate.
    pub half_way: bool,
    /// What that run had marked for the node stands still: it is taken back with the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<RunId>,
}

impl Plan {
    /// How many nodes of a wave can be out of service at once: its concurrency, as far as the budget of their
    /// domains goes. At least 1.
    #[must_use]
    pub fn at_once(&self, wave: &PlanWave) -> usize {
        let budget = self.budget.per_failure_domain as usize;
        let mut domains: BTreeMap<Option<&Label>, usize> = BTreeMap::new();
        for node in wave.nodes.iter().filter(|node| node.skip.is_none()) {
            *domains.entry(node.domain.as_ref()).or_default() += 1;
        }
        // Whose domain is not known counts in every one: the others cannot make up for it.
        let slots: usize = domains.values().map(|nodes| (*nodes).min(budget)).sum();
        let slots = if domains.contains_key(&None) { budget.min(slots) } else { slots };
        slots.min(wave.concurrency as usize).max(1)
    }
}

impl PlanStage {
    /// The stage's recipe as it is for one node. A compiled plan has been seen to fill in for every node; a
    /// text that could not be is left as it is, and the agent refuses it.
    #[must_use]
    pub fn recipe_for(&self, node: &PlanNode) -> RecipeSpec {
        let variables = Variables { node: &node.name, labels: &node.labels };
        per_node::fill(&self.recipe.spec, variables).unwrap_or_else(|_| self.recipe.spec.clone())
    }

    /// How long a node of this wave is foreseen to take, from its gate to its end: the median of earlier ones
    /// where there are any, else its soak and what the recipe allows for the change, the return and, where
    /// there is one, the snapshot.
    #[must_use]
    pub fn foreseen_ms(&self, wave: &PlanWave, measured: Option<u64>) -> u64 {
        let Deadlines { protect, apply, returned, .. } = self.recipe.spec.deadlines;
        let protect = if self.recipe.spec.protect.is_empty() { 0 } else { protect.0 };
        let allowed = apply.0.saturating_add(returned.0).saturating_add(protect).saturating_add(wave.soak.0);
        measured.map_or(allowed, |ms| ms.max(wave.soak.0))
    }

    /// How what runs there is seen on one node: of its recipe the part that a look at a whole stage asks every
    /// node for.
    #[must_use]
    pub fn detect_for(&self, node: &PlanNode) -> Detect {
        let variables = Variables { node: &node.name, labels: &node.labels };
        let detect = &self.recipe.spec.detect;
        per_node::fill(detect, variables).unwrap_or_else(|_| detect.clone())
    }

    /// A node of this stage, by name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&PlanNode> {
        self.waves.iter().flat_map(|wave| &wave.nodes).find(|node| &node.name == name)
    }
}

/// Why a bundle cannot become a plan for this fleet at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A node that nobody enrolled.
    #[error("stage {stage}, wave {wave}: there is no node {node}{suggestion}")]
    UnknownNode {
        /// The stage.
        stage: Label,
        /// The wave.
        wave: Label,
        /// The name.
        node: NodeName,
        /// `; did you mean ctl-1?`
        suggestion: String,
    },
    /// A selector that matches no node.
    #[error(
        "stage {stage}, wave {wave}: its selector ({selector}) matches none of the {nodes} enrolled nodes; see `drydock node list`"
    )]
    MatchesNothing {
        /// The stage.
        stage: Label,
        /// The wave.
        wave: Label,
        /// The selector in words.
        selector: String,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A node twice in one stage.
    #[error("stage {stage}: node {node} is in wave {first} and again in wave {second}")]
    Twice {
        /// The stage.
        stage: Label,
        /// The node.
        node: NodeName,
        /// Here.
        first: Label,
        /// And here.
        second: Label,
    },
    /// `needs` form a circle or name what is not there.
    #[error("the stages' `needs` cannot be put in an order: {0}")]
    Needs(String),
    /// A placeholder that cannot be filled in for a node.
    #[error("stage {stage}, node {node}: {why}")]
    Placeholder {
        /// The stage.
        stage: Label,
        /// The node.
        node: NodeName,
        /// What is missing, and the command that gives it.
        why: String,
    },
    /// The bundle's parts do not belong together.
    #[error("the bundle does not fit its plan: {0}")]
    Bundle(String),
}

/// Compiles.
///
/// # Errors
/// When the plan cannot be meant for this fleet; see [`PlanError`]. What merely stands in its way is in the
/// report's blockers.
pub fn plan(bundle: &Bundle, inventory: &Inventory) -> Result<(Plan, PlanView), PlanError> {
    let stages = select::stages(bundle, inventory)?;
    let mut plan = Plan {
        name: bundle.plan.metadata.name.clone(),
        file: bundle.file.clone(),
        digest: Sha256([0; 32]),
        budget: bundle.plan.spec.budget.clone(),
        window: bundle.plan.spec.window.clone(),
        allow: bundle.plan.spec.allow.clone(),
        undoes: None,
        stages,
    };
    plan.digest = digest(&plan);
    let report = report::report(&plan, inventory);
    Ok((plan, report))
}

/// What is done, as one number: without what was seen and foreseen, so that looking twice gives the same.
/// A listed order was decided and counts; followers-first is a forecast and does not.
pub(crate) fn digest(plan: &Plan) -> Sha256 {
    let mut decided = plan.clone();
    decided.digest = Sha256([0; 32]);
    // Where the file lay is not what is done.
    decided.file = String::new();
    for stage in &mut decided.stages {
        waves::join_parts(&mut stage.waves);
    }
    for wave in decided.stages.iter_mut().flat_map(|stage| &mut stage.waves) {
        for node in &mut wave.nodes {
            node.seen = None;
            node.skip = None;
            // Labels are the fleet's, and looked at again at each gate.
            node.domain = None;
        }
        if wave.order == Order::FollowersFirst {
            wave.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
    Sha256::of(&document::encode(&decided))
}

#[cfg(test)]
pub(crate) mod tests;
