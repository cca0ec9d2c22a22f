//! What a plan breaks of the order that a cluster's nodes have among themselves, as far as it can be seen ahead.
//!
//! What is not in the plan is judged at the gates: there the cluster itself is asked.

use alloc::{collections::BTreeSet, format, string::String};
use core::cmp::Ordering;

use drydock_types::{ClusterName, Label, NodeName, Version};

use super::FindingView;
use crate::{
    inventory::{Inventory, Seen},
    plan::{Plan, PlanNode, PlanStage},
    view::PlanView,
};

pub(super) fn look(plan: &Plan, inventory: &Inventory, view: &mut PlanView) {
    for (index, stage) in plan.stages.iter().enumerate() {
        unbound(stage, inventory, view);
        ahead(plan, index, stage, inventory, view);
    }
}

/// Whoever is taken out of a cluster is known to be one of its Nodes.
fn unbound(stage: &PlanStage, inventory: &Inventory, view: &mut PlanView) {
    let Some(bound) = inventory.bound.as_ref().filter(|_| !stage.recipe.spec.drain.is_empty()) else {
        return;
    };
    let to_do = stage.waves.iter().flat_map(|wave| &wave.nodes).filter(|node| node.skip.is_none());
    for node in to_do.filter(|node| !bound.contains_key(&node.name)) {
        let name = &node.name;
        view.blockers.push(FindingView {
            node: Some(name.clone()),
            what: format!(
                "recipe {} takes it out of its cluster, and nobody has said which Node of which cluster it is",
                stage.recipe.metadata.name
            ),
            next: format!("drydock node bind {name} CLUSTER [NODE]"),
        });
    }
}

/// No stage takes its nodes past those that they depend on.
fn ahead(plan: &Plan, index: usize, stage: &PlanStage, inventory: &Inventory, view: &mut PlanView) {
    let Some(of) = &stage.recipe.spec.versions.not_ahead_of else { return };
    let mut told = BTreeSet::new();
    let after = plan.stages.iter().enumerate().filter(|(_, other)| other.recipe.metadata.name == *of);
    for (at, other) in after {
        for node in other.waves.iter().flat_map(|wave| &wave.nodes) {
            // Each once, by the last stage before this one that has it, or else by what runs there.
            if !concerns(stage, &node.name, inventory) || !told.insert(&node.name) {
                continue;
            }
            let by_then = by_then(plan, index, of, node, &stage.to);
            if let Some(what) = is_ahead(stage, &node.name, by_then) {
                let (mine, theirs) = (&stage.name, &other.name);
                let next = if at > index {
                    format!("write `needs: [{theirs}]` in stage {mine}")
                } else {
                    format!("take {theirs} to {} or later, or {mine} no further than it", stage.to)
                };
                view.blockers.push(FindingView { node: Some(node.name.clone()), what, next });
                break;
            }
        }
    }
}

impl Plan {
    /// The stage before a stage that takes those whom its nodes may not be ahead of at least as far as it goes itself, while
    /// they are not there yet. That every single one of them is taken there, a plan without blockers has had judged.
    #[must_use]
    pub fn takes_them_there(&self, index: usize, concerns: impl Fn(&PlanNode) -> bool) -> Option<&Label> {
        let stage = self.stages.get(index)?;
        let of = stage.recipe.spec.versions.not_ahead_of.as_ref()?;
        let goes_there = |earlier: &&PlanStage| {
            let goes = |node: &PlanNode| node.skip.is_none() && concerns(node);
            let goes = earlier.waves.iter().flat_map(|wave| &wave.nodes).any(goes);
            let far_enough = matches!(stage.to.compare(&earlier.to), Some(Ordering::Less | Ordering::Equal));
            goes && far_enough && earlier.recipe.metadata.name == *of
        };
        self.stages.iter().take(index).find(goes_there).map(|earlier| &earlier.name)
    }
}

/// What runs on a node when a stage's turn has come; `Err` says why that is not known.
fn by_then<'a>(
    plan: &'a Plan,
    index: usize,
    of: &drydock_types::Label,
    node: &'a PlanNode,
    to: &Version,
) -> Result<&'a Version, String> {
    let stages = plan.stages.iter().take(index).rev().filter(|stage| stage.recipe.metadata.name == *of);
    let reached = stages
        .filter_map(|stage| Some((stage, stage.node(&node.name)?)))
        .find(|(_, node)| node.skip.is_none())
        .map(|(stage, _)| &stage.to);
    if let Some(version) = reached {
        return Ok(version);
    }
    let runs = node.seen.as_ref().and_then(Seen::answered);
    runs.ok_or_else(|| format!("what runs there is not known, and it may not be older than {to}"))
}

fn is_ahead(stage: &PlanStage, node: &NodeName, by_then: Result<&Version, String>) -> Option<String> {
    let (name, to) = (&stage.name, &stage.to);
    match by_then {
        Err(why) => Some(why),
        Ok(version) => match to.compare(version) {
            Some(Ordering::Less | Ordering::Equal) => None,
            Some(Ordering::Greater) => {
                Some(format!("stage {name} would be ahead of it: {to}, where {node} has {version} by then"))
            }
            None => Some(format!(
                "stage {name} goes to {to}, and {node} has {version} by then: they have no order, and {name} may not be ahead"
            )),
        },
    }
}

/// Is the node one that the stage's nodes depend on? Of different clusters they are not.
fn concerns(stage: &PlanStage, node: &NodeName, inventory: &Inventory) -> bool {
    let cluster = |name: &NodeName| -> Option<&ClusterName> { inventory.bound.as_ref()?.get(name) };
    let Some(theirs) = cluster(node) else { return true };
    let mut mine = stage.waves.iter().flat_map(|wave| &wave.nodes);
    mine.any(|node| cluster(&node.name).is_none_or(|cluster| cluster == theirs))
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, string::ToString, vec, vec::Vec};

    use super::*;
    use crate::{
        bundle::Bundle,
        inventory::Role,
        plan::{plan, tests::fixture::*},
    };

    /// `servers` (ctl-1, ctl-2) and `agents` (ctl-3), in an order, each to a version.
    fn bundle_of(stages: &[(&str, &[&str], &str)]) -> Bundle {
        let made = stages.iter().map(|(of, nodes, _)| stage(of, vec![wave("all", named(nodes))]));
        let mut bundle = bundle(made.collect());
        let versions = stages.iter().map(|(_, _, to)| version(to));
        for ((spec, part), to) in bundle.plan.spec.stages.iter_mut().zip(&mut bundle.stages).zip(versions) {
            (spec.to, spec.artifact, part.artifact) = (to, None, None);
            let agents = spec.name.as_str().starts_with("agents");
            part.recipe.metadata.name = label(if agents { "k3s-agent" } else { "k3s-server" });
            part.recipe.spec.stage.clear();
            part.recipe.spec.versions.not_ahead_of = agents.then(|| label("k3s-server"));
        }
        bundle
    }

    fn fleet(stages: &[(&str, &[&str], &str)], runs: &[(&str, &str)]) -> Inventory {
        let mut fleet = inventory(3);
        for (of, node) in &mut fleet.nodes {
            node.seen.clear();
            let Some((_, runs)) = runs.iter().find(|(name, _)| *name == of.as_str()) else { continue };
            let seen = Seen { version: Some(Ok(version(runs))), ..seen_old(Role::Follower) };
            let mine = stages.iter().filter(|(_, nodes, _)| nodes.contains(&of.as_str()));
            node.seen = mine.map(|(stage, ..)| (Label::parse(stage).unwrap(), seen.clone())).collect();
        }
        fleet
    }

    type Stages<'a> = &'a [(&'a str, &'a [&'a str], &'a str)];

    fn found(stages: Stages<'_>, runs: &[(&str, &str)]) -> Vec<(String, String)> {
        let (_, view) = plan(&bundle_of(stages), &fleet(stages, runs)).unwrap();
        view.blockers.into_iter().map(|finding| (finding.what, finding.next)).collect()
    }

    const SERVERS: &[&str] = &["ctl-1", "ctl-2"];
    const AGENTS: &[&str] = &["ctl-3"];
    const ALL_OLD: &[(&str, &str)] = &[("ctl-1", "1.33.4"), ("ctl-2", "1.33.4"), ("ctl-3", "1.33.4")];

    #[test]
    fn servers_and_then_their_agents_stand_in_nobodys_way() {
        assert_eq!(found(&[("servers", SERVERS, "1.34.1"), ("agents", AGENTS, "1.34.1")], ALL_OLD), []);
        assert_eq!(found(&[("servers", SERVERS, "1.34.1"), ("agents", AGENTS, "1.33.9")], ALL_OLD), []);
        let builds: Stages<'_> = &[("servers", SERVERS, "1.33.4+k3s1"), ("agents", AGENTS, "1.33.4+k3s1")];
        assert_eq!(found(builds, ALL_OLD), []);
    }

    #[test]
    fn a_stage_of_servers_takes_them_there_if_it_comes_before_goes_far_enough_and_concerns_them() {
        let there = |stages: Stages<'_>, index, of: &str| {
            let (plan, _) = plan(&bundle_of(stages), &fleet(stages, ALL_OLD)).unwrap();
            plan.takes_them_there(index, |server| server.name.as_str() == of).map(ToString::to_string)
        };
        let stages: Stages<'_> = &[("servers", SERVERS, "1.34.1"), ("agents", AGENTS, "1.34.1")];
        assert_eq!(there(stages, 1, "ctl-2").as_deref(), Some("servers"));
        assert_eq!(there(stages, 1, "ctl-9"), None, "servers of another cluster");
        assert_eq!(there(stages, 0, "ctl-2"), None, "servers are ahead of nobody");
        let stages: Stages<'_> = &[("agents", AGENTS, "1.34.1"), ("servers", SERVERS, "1.34.1")];
        assert_eq!(there(stages, 0, "ctl-2"), None, "it comes after");
        let stages: Stages<'_> = &[("servers", SERVERS, "1.33.5"), ("agents", AGENTS, "1.34.1")];
        assert_eq!(there(stages, 1, "ctl-2"), None, "not far enough");
    }

    #[test]
    fn agents_before_their_servers_are_refused_with_the_line_that_mends_it() {
        let found = found(&[("agents", AGENTS, "1.34.1"), ("servers", SERVERS, "1.34.1")], ALL_OLD);
        assert_eq!(
            found,
            [(
                "stage agents would be ahead of it: 1.34.1, where ctl-1 has 1.33.4 by then".to_string(),
                "write `needs: [servers]` in stage agents".to_string()
            )]
        );
    }

    #[test]
    fn agents_that_catch_up_before_the_servers_go_on_are_not_ahead() {
        let runs = &[("ctl-1", "1.34.1"), ("ctl-2", "1.34.1"), ("ctl-3", "1.33.4")];
        assert_eq!(found(&[("agents", AGENTS, "1.34.1"), ("servers", SERVERS, "1.35.0")], runs), []);
    }

    #[test]
    fn agents_past_their_servers_are_refused_whichever_comes_first() {
        let found = found(&[("servers", SERVERS, "1.34.1"), ("agents", AGENTS, "1.34.2")], ALL_OLD);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains("ctl-1 has 1.34.1 by then"), "{found:?}");
        assert!(found[0].1.contains("take servers to 1.34.2 or later"), "{found:?}");
    }

    #[test]
    fn a_server_that_is_left_out_stays_what_it_is() {
        let stages: Stages<'_> = &[("servers", SERVERS, "1.34.1"), ("agents", AGENTS, "1.34.1")];
        let mut fleet = fleet(stages, ALL_OLD);
        fleet.nodes.get_mut(&name("ctl-2")).unwrap().set_aside = Some("anna".to_string());
        let (_, view) = plan(&bundle_of(stages), &fleet).unwrap();
        assert_eq!(view.blockers.len(), 1, "{:?}", view.blockers);
        assert!(view.blockers[0].what.contains("ctl-2 has 1.33.4 by then"), "{:?}", view.blockers);
    }

    #[test]
    fn a_server_of_which_nothing_is_known_is_not_taken_for_new_enough() {
        let stages: Stages<'_> = &[("agents", AGENTS, "1.34.1"), ("servers", SERVERS, "1.35.1")];
        let found = found(stages, &[("ctl-2", "1.34.1"), ("ctl-3", "1.33.4")]);
        assert!(found.iter().any(|(what, _)| what.contains("may not be older than 1.34.1")), "{found:?}");
    }

    #[test]
    fn servers_of_another_cluster_are_nothing_to_them() {
        let stages: Stages<'_> = &[("servers", SERVERS, "1.33.5"), ("agents", AGENTS, "1.34.1")];
        let mut fleet = fleet(stages, ALL_OLD);
        let cluster = |of: &str| ClusterName::parse(of).unwrap();
        let of = [("ctl-1", "a"), ("ctl-2", "a"), ("ctl-3", "b")];
        let bound: BTreeMap<_, _> = of.iter().map(|(node, of)| (name(node), cluster(of))).collect();
        fleet.bound = Some(bound);
        let blockers = |fleet: &Inventory| plan(&bundle_of(stages), fleet).unwrap().1.blockers.len();
        assert_eq!(blockers(&fleet), 0);
        fleet.bound.as_mut().unwrap().insert(name("ctl-3"), cluster("a"));
        assert_eq!(blockers(&fleet), 1);
        fleet.bound.as_mut().unwrap().remove(&name("ctl-3"));
        assert_eq!(blockers(&fleet), 1, "whose it is nobody has said");
    }

    #[test]
    fn a_node_that_is_drained_and_bound_to_no_cluster_is_found_in_the_plan() {
        let stages: Stages<'_> = &[("servers", SERVERS, "1.34.1")];
        let (mut bundle, mut fleet) = (bundle_of(stages), fleet(stages, ALL_OLD));
        let drain = crate::moves::Move::KubernetesDrain(crate::moves::KubernetesDrain::default());
        bundle.stages[0].recipe.spec.drain = vec![drain];
        let cluster = ClusterName::parse("prod").unwrap();
        fleet.bound = Some(BTreeMap::from([(name("ctl-1"), cluster)]));
        let (_, view) = plan(&bundle, &fleet).unwrap();
        assert_eq!(view.blockers.len(), 1, "{:?}", view.blockers);
        assert_eq!(view.blockers[0].node, Some(name("ctl-2")));
        assert_eq!(view.blockers[0].next, "drydock node bind ctl-2 CLUSTER [NODE]");
        fleet.bound = None;
        assert_eq!(plan(&bundle, &fleet).unwrap().1.blockers, [], "nobody was asked");
    }
}
