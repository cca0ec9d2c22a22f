//! Waves, the window and approvals, as an operator reads them before anything is done.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{Millis, NodeName};

use crate::{
    inventory::Inventory,
    plan::{Plan, PlanStage, PlanWave},
    plan_file::{ApprovalBy, OnFailure, Order},
    recipe::{Check, HealthCheck, Vantage},
    view::{FindingView, PlanView},
    window::{self, State},
};

/// `one at a time, followers first, soak 10s, on failure: roll this node back, then hold`.
pub(super) fn manner(stage: &PlanStage, wave: &PlanWave) -> String {
    let mut words = vec![match wave.concurrency {
        0 | 1 => "one at a time".to_string(),
        many => format!("up to {many} at a time"),
    }];
    if wave.order == Order::FollowersFirst {
        words.push("followers first".to_string());
    }
    if wave.soak.0 > 0 {
        words.push(format!("soak {}", wave.soak));
    }
    if !wave.soak_checks.is_empty() {
        let checks: Vec<&str> = wave.soak_checks.iter().map(Check::name).collect();
        words.push(format!("watched meanwhile: {}", checks.join(", ")));
    }
    if let Some(approval) = wave.approval {
        let by = match approval.by {
            ApprovalBy::Anybody => "an operator",
            ApprovalBy::SomebodyElse => "an operator who did not start the run",
        };
        words.push(format!("begins when {by} approves it, within {}", approval.within));
    }
    if let Some((what, accepted)) = stage.accepted_outage() {
        words.push(format!("{what} may be out for {accepted} at each node, then the run holds"));
    }
    if let Some(confirmed) = &stage.recipe.spec.commit_confirmed {
        words.push(format!("taken back by the node itself after {} unless confirmed", confirmed.within));
        words.push("once confirmed it goes back by a plan, not by `run rollback`".to_string());
    }
    words.push(match stage.on_failure {
        OnFailure::Rollback => "on failure: roll this node back, then hold".to_string(),
        OnFailure::Hold => "on failure: leave it as it is and hold".to_string(),
    });
    words.join(", ")
}

/// `sat 22:00 to 04:00 (Europe/Berlin); opens sat 2026-11-28 22:00`.
pub(super) fn window_line(plan: &Plan, inventory: &Inventory) -> Option<String> {
    let spec = plan.window.as_ref()?;
    let stands = match window::state(spec, inventory.wall_ms) {
        Ok(State::Open { until_ms }) => format!("open until {}", window::moment(spec, until_ms)),
        Ok(State::Shut { opens_ms }) => format!("opens {}", window::moment(spec, opens_ms)),
        Err(why) => why,
    };
    Some(format!("{}; {stands}", window::in_words(spec)))
}

/// Nodes from which others are looked at: they have to be there, and to be others.
fn vantages(stage: &PlanStage, inventory: &Inventory, view: &mut PlanView) {
    let spec = &stage.recipe.spec;
    let waves = stage.waves.iter();
    let checks = spec.gate.iter().chain(&spec.returned).chain(waves.flat_map(|wave| &wave.soak_checks));
    let from = checks.filter_map(|check| match check {
        Check::Health(HealthCheck { from: Some(Vantage::Node(node)), .. }) => Some(node),
        _ => None,
    });
    let mut from: Vec<&NodeName> = from.collect();
    from.sort();
    from.dedup();
    for other in from {
        let mut block = |node: Option<&NodeName>, what: String| {
            let next = "name another node that is enrolled, or `from: coordinator`".to_string();
            view.blockers.push(FindingView { node: node.cloned(), what, next });
        };
        if !inventory.nodes.contains_key(other) {
            block(None, format!("stage {} looks from node {other}, and there is none", stage.name));
        }
        let own = stage.node(other).filter(|node| node.skip.is_none());
        if let Some(node) = own {
            block(Some(&node.name), "it is looked at from itself: no second source".to_string());
        }
    }
}

/// What an operator should know of a stage's waves, and what would stop them.
pub(super) fn look(plan: &Plan, stage: &PlanStage, inventory: &Inventory, view: &mut PlanView) {
    let measured = inventory.durations.get(&stage.name).map(|(median, _)| *median);
    vantages(stage, inventory, view);
    for wave in stage.waves.iter().filter(|wave| wave.nodes.iter().any(|node| node.skip.is_none())) {
        let (place, at_once) = (format!("{}/{}", stage.name, wave.name), plan.at_once(wave));
        let nodes = wave.nodes.iter().filter(|node| node.skip.is_none()).count();
        if at_once < (wave.concurrency as usize).min(nodes) {
            let what = format!(
                "wave {place} asks for {} at a time, and the budget lets {at_once}: it is never exceeded",
                wave.concurrency
            );
            let next = "raise `budget.perFailureDomain`, or name the label of the failure domains: `budget.domainLabel`";
            view.warnings.push(FindingView { node: None, what, next: next.to_string() });
        }
        let takes_ms = stage.foreseen_ms(wave, measured);
        let longest = plan.window.as_ref().and_then(window::longest_ms).filter(|longest| *longest < takes_ms);
        if let Some(longest_ms) = longest {
            let basis = if measured.is_some() {
                "as earlier ones did"
            } else {
                "by the recipe's deadlines and its soak"
            };
            let (longest, takes) = (Millis(longest_ms), Millis(takes_ms / 1000 * 1000));
            let what = format!(
                "a node of wave {place} is foreseen to take {takes} ({basis}), and the window is open for {longest} at a time: none would ever begin"
            );
            let next = "widen `window`, shorten the soak or the recipe's deadlines, or leave the window out"
                .to_string();
            view.blockers.push(FindingView { node: None, what, next });
        }
    }
}
