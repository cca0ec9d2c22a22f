//! Which nodes, in which order: stages by their needs, waves by their selectors.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Label, NodeName, Sha256, document};

use super::{PlanError, PlanNode, PlanStage, waves};
use crate::{
    bundle::{Bundle, StageBundle},
    inventory::{Inventory, InventoryNode, Role},
    observe,
    per_node::{self, Variables},
    plan_file::{Order, Selector, StageSpec, WaveSpec},
    recipe::RecipeSpec,
    window,
};

/// Stages in an order that honours `needs`, and otherwise as written.
pub(super) fn stages(bundle: &Bundle, inventory: &Inventory) -> Result<Vec<PlanStage>, PlanError> {
    let specs = &bundle.plan.spec.stages;
    if specs.len() != bundle.stages.len() {
        return Err(PlanError::Bundle(
            "it has another number of recipes than the plan has stages".to_string(),
        ));
    }
    if bundle.plan.spec.budget.per_failure_domain == 0 {
        return Err(PlanError::Bundle("a budget of 0 lets no node leave service".to_string()));
    }
    if let Some(window) = bundle.plan.spec.window.as_ref().filter(|it| !window::knows_zone(&it.time_zone)) {
        let zone = &window.time_zone;
        return Err(PlanError::Bundle(format!(
            "its window is in a time zone that is not known here: {zone:?}"
        )));
    }
    let domain_label = bundle.plan.spec.budget.domain_label.as_ref();
    let mut done: Vec<&Label> = Vec::new();
    let mut left: Vec<usize> = (0..specs.len()).collect();
    let mut stages = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().position(|index| specs[*index].needs.iter().all(|need| done.contains(&need)));
        let Some(ready) = ready else {
            let names: Vec<_> = left.iter().map(|index| specs[*index].name.as_str()).collect();
            return Err(PlanError::Needs(names.join(", ")));
        };
        let index = left.remove(ready);
        if done.contains(&&specs[index].name) {
            // Effects are told apart by their stage's name.
            return Err(PlanError::Bundle(format!("two stages are called {}", specs[index].name)));
        }
        done.push(&specs[index].name);
        stages.push(stage(&specs[index], &bundle.stages[index], inventory, domain_label)?);
    }
    Ok(stages)
}

fn stage(
    spec: &StageSpec,
    bundle: &StageBundle,
    inventory: &Inventory,
    domain_label: Option<&Label>,
) -> Result<PlanStage, PlanError> {
    if spec.name != bundle.stage {
        return Err(PlanError::Bundle(format!(
            "stage {} comes with the recipe of {}",
            spec.name, bundle.stage
        )));
    }
    let names = core::iter::once(&spec.name).chain(spec.waves.iter().map(|wave| &wave.name));
    if let Some(name) = names.into_iter().find(|name| name.as_str().contains('/')) {
        return Err(PlanError::Bundle(format!(
            "the name {name} has a slash in it, and waves are named STAGE/WAVE"
        )));
    }
    if let Some((name, _)) = spec.outage.iter().find(|(_, length)| length.0 == 0) {
        let stage = &spec.name;
        return Err(PlanError::Bundle(format!(
            "stage {stage} accepts that {name} is out for 0s, which is not at all"
        )));
    }
    let artifact = bundle.artifact.as_ref().map(|artifact| artifact.sha256);
    let mut taken: BTreeMap<NodeName, Label> = BTreeMap::new();
    let mut planned = Vec::new();
    for wave in &spec.waves {
        let names = matching(spec, wave, inventory)?;
        for name in &names {
            if let Some(first) = taken.insert(name.clone(), wave.name.clone()) {
                let (stage, node, second) = (spec.name.clone(), name.clone(), wave.name.clone());
                return Err(PlanError::Twice { stage, node, first, second });
            }
        }
        let mut nodes: Vec<PlanNode> = names
            .into_iter()
            .filter_map(|name| Some((inventory.nodes.get(&name)?, name)))
            .map(|(node, name)| {
                let mut planned = plan_node(name, node, spec, wave, bundle, artifact)?;
                planned.domain = domain_label.and_then(|label| node.labels.get(label).cloned());
                Ok(planned)
            })
            .collect::<Result<_, _>>()?;
        if wave.order == Order::FollowersFirst {
            // Stable: followers keep the order they were named in.
            nodes.sort_by_key(|node| node.seen.as_ref().and_then(|seen| seen.role) == Some(Role::Leader));
        }
        planned.extend(waves::parts(wave, nodes));
    }
    if let Some(twice) = waves::named_twice(&planned) {
        return Err(PlanError::Bundle(format!("stage {}: two waves are called {twice}", spec.name)));
    }
    Ok(PlanStage {
        name: spec.name.clone(),
        component: spec.component.clone(),
        to: spec.to.clone(),
        artifact: bundle.artifact.clone(),
        recipe_digest: Sha256::of(&document::encode(&bundle.recipe)),
        recipe: bundle.recipe.clone(),
        on_failure: spec.on_failure,
        allow_downgrade: spec.allow_downgrade,
        outage: spec.outage.clone(),
        waves: planned,
    })
}

fn plan_node(
    name: NodeName,
    node: &InventoryNode,
    spec: &StageSpec,
    wave: &WaveSpec,
    bundle: &StageBundle,
    artifact: Option<Sha256>,
) -> Result<PlanNode, PlanError> {
    let mut labels = per_node::labels_named(&bundle.recipe.spec, &node.labels);
    labels.extend(per_node::labels_named(&wave.soak_checks, &node.labels));
    let variables = Variables { node: &name, labels: &labels };
    let filled = per_node::fill(&bundle.recipe.spec, variables).and_then(|spec| observed(&spec));
    if let Err(why) = filled.and_then(|()| per_node::fill(&wave.soak_checks, variables).map(drop)) {
        return Err(PlanError::Placeholder { stage: spec.name.clone(), node: name, why });
    }
    let seen = node.seen.get(&spec.name).cloned();
    let already = seen.as_ref().is_some_and(|seen| seen.is_already(&spec.to, artifact));
    let there = || format!("already runs {} (by its own answer and the executable in memory)", spec.to);
    let skip = node.set_aside.clone().or_else(|| already.then(there));
    Ok(PlanNode { name, key: node.key, labels, domain: None, undo: None, seen, skip })
}

/// What is to be asked from outside, as it is for one node, can be asked.
fn observed(spec: &RecipeSpec) -> Result<(), String> {
    let most = observe::MOST;
    if spec.observe.len() > most {
        return Err(format!("{} observers of its change; there are {most} at most", spec.observe.len()));
    }
    spec.observe.iter().try_for_each(|of| of.is_one().map_err(|(what, next)| format!("{what}; {next}")))
}

/// Named ones as written, then labelled ones by name.
fn matching(spec: &StageSpec, wave: &WaveSpec, inventory: &Inventory) -> Result<Vec<NodeName>, PlanError> {
    let Selector { labels, names, exclude } = &wave.nodes;
    let mut matched: Vec<NodeName> = Vec::new();
    for name in names.iter().chain(exclude) {
        if !inventory.nodes.contains_key(name) {
            let (stage, wave, node) = (spec.name.clone(), wave.name.clone(), name.clone());
            return Err(PlanError::UnknownNode { stage, wave, node, suggestion: nearest(name, inventory) });
        }
    }
    matched.extend(names.iter().cloned());
    if !labels.is_empty() {
        let has_all =
            |node: &InventoryNode| labels.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let labelled = inventory.nodes.iter().filter(|(_, node)| has_all(node)).map(|(name, _)| name.clone());
        let more: Vec<_> = labelled.filter(|name| !names.contains(name)).collect();
        matched.extend(more);
    }
    matched.retain(|name| !exclude.contains(name));
    if matched.is_empty() {
        return Err(PlanError::MatchesNothing {
            stage: spec.name.clone(),
            wave: wave.name.clone(),
            selector: in_words(&wave.nodes),
            nodes: inventory.nodes.len(),
        });
    }
    Ok(matched)
}

fn in_words(selector: &Selector) -> String {
    let labels = selector.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let names = selector.names.iter().map(ToString::to_string);
    let exclude = selector.exclude.iter().map(|name| format!("not {name}"));
    labels.chain(names).chain(exclude).collect::<Vec<_>>().join(", ")
}

/// A name that differs in one character or in its case is probably what was meant.
fn nearest(name: &NodeName, inventory: &Inventory) -> String {
    let distance = |other: &NodeName| {
        let (a, b) = (name.as_str(), other.as_str());
        a.len().abs_diff(b.len()) + a.bytes().zip(b.bytes()).filter(|(x, y)| x != y).count()
    };
    let near =
        inventory.nodes.keys().min_by_key(|other| distance(other)).filter(|other| distance(other) <= 2);
    near.map(|other| format!("; did you mean {other}?")).unwrap_or_default()
}
