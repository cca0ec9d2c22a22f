//! Who is to ask from outside while a node is changed, as an operator reads it before anything is done: whoever asks has to be
//! another node, and to be there.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Millis, NodeName};

use crate::{
    inventory::Inventory,
    observe::{Observer, reach},
    plan::{Plan, PlanNode, PlanStage},
    view::{FindingView, PlanView},
};

/// `controlPlane (maxGap 30s), reach 10.0.0.7 (ping) from net-1 (maxGap 2s)`.
pub(super) fn in_words(observers: &[Observer]) -> String {
    let one = |of: &Observer| match of {
        Observer::ControlPlane(_) => of.name().to_string(),
        Observer::Reach(of) => {
            let whom: Vec<String> = of.to.iter().map(reach::told).collect();
            format!("reach {} from {}", whom.join(" and "), of.from)
        }
    };
    let all: Vec<String> =
        observers.iter().map(|of| format!("{} (maxGap {})", one(of), of.max_gap())).collect();
    all.join(", ")
}

pub(super) fn look(plan: &Plan, stage: &PlanStage, inventory: &Inventory, view: &mut PlanView) {
    let mut beside = BTreeSet::new();
    let waves = stage.waves.iter().flat_map(|wave| wave.nodes.iter().map(move |node| (wave, node)));
    for (wave, node) in waves.filter(|(_, node)| node.skip.is_none()) {
        for from in askers(stage, node) {
            if let Some(found) = in_the_way(node, &from, inventory) {
                view.blockers.push(found);
            } else if plan.at_once(wave) > 1
                && wave.nodes.iter().any(|of| of.name == from && of.skip.is_none())
            {
                beside.insert((&wave.name, from));
            }
        }
    }
    for (wave, from) in beside {
        let what = format!(
            "wave {}/{wave} takes several nodes at a time, and {from} watches others of it: while it is changed itself it may not see them",
            stage.name
        );
        let next = "name a node outside of the wave under `observe`, or leave `concurrency` at 1".to_string();
        view.warnings.push(FindingView { node: None, what, next });
    }
}

/// The nodes that ask while this one is changed.
fn askers(stage: &PlanStage, node: &PlanNode) -> BTreeSet<NodeName> {
    let observers = stage.recipe_for(node).observe;
    let from = observers.iter().filter_map(|of| match of {
        Observer::Reach(of) => of.from().ok(),
        Observer::ControlPlane(_) => None,
    });
    from.collect()
}

fn in_the_way(node: &PlanNode, from: &NodeName, inventory: &Inventory) -> Option<FindingView> {
    let name = &node.name;
    let (what, next) = if from == name {
        (
            "it would be watched from itself, and cannot see for how long it is away".to_string(),
            "name another node under `observe`: from: NODE, or by a label, from: \"{label:peer}\""
                .to_string(),
        )
    } else {
        match inventory.nodes.get(from) {
            None => (
                format!("it would be watched from {from}, and there is no such node"),
                "name one that is enrolled: drydock node list".to_string(),
            ),
            Some(of) => {
                // Parts of a second say nothing about a silence.
                let since = Millis(of.silent_for_ms? / 1000 * 1000);
                (
                    format!("it would be watched from {from}, whose agent has been silent for {since}"),
                    format!("start drydock-agent on {from}, or name another node under `observe`"),
                )
            }
        }
    };
    Some(FindingView { node: Some(name.clone()), what, next })
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec};

    use drydock_types::reach::ReachTarget;

    use crate::{
        inventory::Inventory,
        observe::{Observer, Reach},
        plan::{PlanError, plan, tests::fixture::*},
        view::PlanView,
    };

    fn watched(from: &str, inventory: &Inventory) -> Result<PlanView, PlanError> {
        let mut bundle = usual();
        let to = vec![ReachTarget::Ping { address: "{label:ip}".to_string() }];
        let (every, max_gap) = (drydock_types::Millis(100), drydock_types::Millis::secs(2));
        let of = Reach { from: from.to_string(), to, every, max_gap };
        bundle.stages[0].recipe.spec.observe = vec![Observer::Reach(of)];
        plan(&bundle, inventory).map(|(_, view)| view)
    }

    fn fleet() -> Inventory {
        let mut inventory = inventory(3);
        for (i, node) in inventory.nodes.values_mut().enumerate() {
            node.labels.insert(label("ip"), label(&alloc::format!("10.0.0.{}", i + 1)));
        }
        inventory.nodes.insert(name("net-1"), node("net-1", seen_old(crate::inventory::Role::Follower)));
        // Another kind of node: the plan does not take it.
        inventory.nodes.get_mut(&name("net-1")).unwrap().labels.clear();
        inventory
    }

    #[test]
    fn who_watches_is_shown_with_each_nodes_own_address() {
        let view = watched("net-1", &fleet()).unwrap();
        assert_eq!(view.blockers, []);
        let of = |node: &str| {
            let nodes = view.stages[0].waves.iter().flat_map(|wave| &wave.nodes);
            nodes.clone().find(|of| of.node == name(node)).unwrap().sections.join("; ")
        };
        assert!(
            of("ctl-2").contains("observe: reach 10.0.0.2 (ping) from net-1 (maxGap 2s)"),
            "{}",
            of("ctl-2")
        );
        assert!(of("ctl-3").contains("10.0.0.3"), "{}", of("ctl-3"));
    }

    #[test]
    fn a_node_is_not_watched_from_itself_from_nowhere_or_from_one_that_is_silent() {
        let view = watched("ctl-2", &fleet()).unwrap();
        let blocked: Vec<_> = view.blockers.iter().map(|of| of.node.clone().unwrap()).collect();
        assert_eq!(blocked, [name("ctl-2")], "{:?}", view.blockers);
        assert!(view.blockers[0].what.contains("from itself"));
        let view = watched("net-9", &fleet()).unwrap();
        assert_eq!(view.blockers.len(), 3);
        assert!(view.blockers[0].what.contains("no such node"));
        let mut silent = fleet();
        silent.nodes.get_mut(&name("net-1")).unwrap().silent_for_ms = Some(61_500);
        let view = watched("net-1", &silent).unwrap();
        assert!(
            view.blockers[0].what.contains("net-1, whose agent has been silent for 1m1s"),
            "{:?}",
            view.blockers
        );
    }

    #[test]
    fn an_address_that_is_none_once_it_is_filled_in_is_an_error_of_the_plan() {
        let mut odd = fleet();
        odd.nodes.get_mut(&name("ctl-3")).unwrap().labels.insert(label("ip"), label("127.0.0.1"));
        let error = watched("net-1", &odd).unwrap_err().to_string();
        assert!(error.contains("node ctl-3: no agent asks 127.0.0.1"), "{error}");
        let mut without = fleet();
        without.nodes.get_mut(&name("ctl-3")).unwrap().labels.remove(&label("ip"));
        let error = watched("net-1", &without).unwrap_err().to_string();
        assert!(error.contains("drydock node label ctl-3 ip="), "{error}");
    }

    use alloc::vec::Vec;
}
