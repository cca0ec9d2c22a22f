//! Several nodes of a wave at once.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{Millis, SectionKind, Verdict};

use super::world::{World, undone};
use crate::{
    bundle::Bundle,
    inventory::{Inventory, Role},
    plan::tests::fixture::*,
    plan_file::{BudgetSpec, Count, Order},
    run::{Change, Event},
    view::{Phase, RunStatus},
};

/// A wave of listed nodes, `concurrency` at once, within this budget; nodes are in the zones that are named.
fn world(zones: &[&str], concurrency: u32, budget: u32) -> World {
    let (bundle, inventory) = fleet(zones, concurrency, budget);
    let mut world = World::of(&bundle, &inventory);
    world.tell(Event::Started {});
    world
}

fn fleet(zones: &[&str], concurrency: u32, budget: u32) -> (Bundle, Inventory) {
    let mut inventory = inventory(zones.len());
    for (node, zone) in inventory.nodes.values_mut().zip(zones).filter(|(_, zone)| !zone.is_empty()) {
        node.labels.insert(label("zone"), label(zone));
    }
    let mut bundle = usual();
    bundle.plan.spec.budget = BudgetSpec { per_failure_domain: budget, domain_label: Some(label("zone")) };
    bundle.plan.spec.allow = vec![crate::plan_file::Allow::Concurrency];
    let wave = &mut bundle.plan.spec.stages[0].waves[0];
    (wave.order, wave.concurrency, wave.soak) = (Order::Listed, Count::Nodes(concurrency), Millis(0));
    // Nothing to fetch and nothing to protect: who leaves is what this is about.
    bundle.stages[0].recipe.spec.stage.clear();
    bundle.stages[0].recipe.spec.protect.clear();
    (bundle, inventory)
}

fn at(world: &World, phase: Phase) -> Vec<&str> {
    world.run.nodes.iter().filter(|node| node.phase == phase).map(|node| node.name.as_str()).collect()
}

fn change(world: &mut World, of: &str) {
    world.look_clear(of, seen_old(Role::Follower));
    assert!(world.sent().contains(&(of.to_string(), SectionKind::Apply)), "{:?}", world.sent());
}

fn finish(world: &mut World, of: &str) {
    world.done(of);
    world.look_clear(of, seen_new(Role::Follower));
    assert_eq!(world.phase(of), Phase::Done);
}

#[test]
fn as_many_leave_at_once_as_the_wave_allows_and_the_next_when_one_is_done() {
    let mut world = world(&["a", "b", "c", "d"], 2, 1);
    assert_eq!(at(&world, Phase::Gating), ["ctl-1", "ctl-2"]);
    change(&mut world, "ctl-2");
    change(&mut world, "ctl-1");
    assert_eq!(at(&world, Phase::Applying), ["ctl-1", "ctl-2"]);
    assert_eq!(at(&world, Phase::Gating), Vec::<&str>::new());
    finish(&mut world, "ctl-2");
    assert_eq!(at(&world, Phase::Gating), ["ctl-3"]);
    finish(&mut world, "ctl-1");
    assert_eq!(at(&world, Phase::Gating), ["ctl-3", "ctl-4"]);
}

#[test]
fn a_domain_that_is_full_lets_the_next_domain_go_first_and_says_so() {
    let mut world = world(&["a", "a", "b"], 3, 1);
    assert_eq!(at(&world, Phase::Gating), ["ctl-1", "ctl-3"]);
    let waiting = world.node("ctl-2").waiting.clone().unwrap();
    assert_eq!(waiting.what, "a free slot in zone a");
    assert_eq!(waiting.because, "ctl-1 is at work there, and the budget is 1");
    // It stands before its gate, not in it: no deadline of a gate runs.
    assert_eq!(world.node("ctl-2").deadline_ms, None);
    change(&mut world, "ctl-1");
    finish(&mut world, "ctl-1");
    assert_eq!(at(&world, Phase::Gating), ["ctl-2", "ctl-3"]);
    assert_eq!(world.node("ctl-2").waiting, None);
}

#[test]
fn a_node_whose_domain_is_not_known_counts_in_every_domain() {
    let mut world = world(&["a", "", "b"], 3, 1);
    assert_eq!(at(&world, Phase::Gating), ["ctl-1", "ctl-3"]);
    assert!(world.node("ctl-2").waiting.as_ref().unwrap().what.contains("whatever zone it is in"));
    change(&mut world, "ctl-1");
    change(&mut world, "ctl-3");
    finish(&mut world, "ctl-1");
    assert_eq!(at(&world, Phase::Staged), ["ctl-2"]);
    finish(&mut world, "ctl-3");
    assert_eq!(at(&world, Phase::Gating), ["ctl-2"]);
}

#[test]
fn the_budget_counts_this_run_s_own_nodes_even_where_nobody_else_does() {
    // The second gate's answer names nobody: the first node left after it was looked at.
    let mut world = world(&["a", "a"], 2, 2);
    change(&mut world, "ctl-1");
    world.run.plan = {
        let mut plan = (*world.run.plan).clone();
        plan.budget.per_failure_domain = 1;
        alloc::sync::Arc::new(plan)
    };
    world.first = world.run.clone();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    let waiting = world.node("ctl-2").waiting.as_ref().unwrap();
    assert_eq!(
        (waiting.what.as_str(), waiting.because.as_str()),
        ("the budget", "out of service already: ctl-1 (this run has not finished it)")
    );
}

#[test]
fn nobody_leaves_while_a_node_that_was_changed_is_not_well() {
    let mut world = world(&["a", "b", "c"], 2, 1);
    change(&mut world, "ctl-1");
    world.done("ctl-1");
    world.look("ctl-1", seen_new(Role::Follower), Verdict::Waiting("a member is down".to_string()));
    // The other was at its gate: it is as if it had not been asked.
    assert_eq!((world.phase("ctl-1"), world.phase("ctl-2")), (Phase::Returning, Phase::Staged));
    world.tick(500);
    assert_eq!(world.looks(), ["ctl-1"]);
    world.look_clear("ctl-1", seen_new(Role::Follower));
    assert_eq!(at(&world, Phase::Gating), ["ctl-2", "ctl-3"]);
}

#[test]
fn an_answer_that_comes_when_somebody_is_not_well_opens_no_gate() {
    let mut world = world(&["a", "b"], 2, 1);
    change(&mut world, "ctl-1");
    world.done("ctl-1");
    let answer = world.clear("ctl-2", seen_old(Role::Follower));
    world.look("ctl-1", seen_new(Role::Follower), Verdict::Waiting("a member is down".to_string()));
    world.tell(answer);
    assert!(world.sent().is_empty());
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
}

#[test]
fn two_that_fail_are_two_holds_and_each_has_its_own_decision() {
    let mut world = world(&["a", "b", "c"], 2, 1);
    change(&mut world, "ctl-1");
    change(&mut world, "ctl-2");
    for of in ["ctl-1", "ctl-2"] {
        world.end(of, undone());
        world.look_clear(of, seen_old(Role::Follower));
        assert_eq!(world.phase(of), Phase::RolledBack);
    }
    assert!(world.reason().starts_with("ctl-1"));
    assert_eq!(world.run.holds_behind.len(), 1);
    world.resume();
    assert_eq!(
        (world.run.status, world.phase("ctl-1"), world.phase("ctl-2")),
        (RunStatus::Held, Phase::Pending, Phase::RolledBack)
    );
    assert!(world.reason().starts_with("ctl-2"));
    world.resume();
    assert_eq!(at(&world, Phase::Gating), ["ctl-1", "ctl-2"]);
    assert_eq!(world.node("ctl-2").attempt, 2);
}

#[test]
fn one_that_fails_stops_the_others_at_their_gates_and_who_is_out_comes_to_its_end() {
    let mut world = world(&["a", "b", "c"], 3, 1);
    change(&mut world, "ctl-1");
    change(&mut world, "ctl-2");
    world.end("ctl-1", undone());
    world.look_clear("ctl-1", seen_old(Role::Follower));
    assert_eq!((world.run.status, world.phase("ctl-3")), (RunStatus::Held, Phase::Staged));
    finish(&mut world, "ctl-2");
    assert_eq!((world.run.status, world.phase("ctl-3")), (RunStatus::Held, Phase::Staged));
}

#[test]
fn fewer_at_once_by_an_amendment_call_nobody_back() {
    let mut world = world(&["a", "b", "c"], 2, 1);
    change(&mut world, "ctl-1");
    change(&mut world, "ctl-2");
    let change = Change::Concurrency { stage: 0, wave: 0, concurrency: 1 };
    world.tell(Event::Amended { by: "bert".to_string(), change });
    finish(&mut world, "ctl-1");
    assert_eq!(world.phase("ctl-3"), Phase::Staged);
    finish(&mut world, "ctl-2");
    assert_eq!(world.phase("ctl-3"), Phase::Gating);
}

#[test]
fn the_leader_goes_alone_however_many_may_go_at_once() {
    let (mut bundle, inventory) = fleet(&["a", "b", "c"], 3, 1);
    bundle.plan.spec.stages[0].waves[0].order = Order::FollowersFirst;
    let mut world = World::of(&bundle, &inventory);
    world.tell(Event::Started {});
    assert_eq!(at(&world, Phase::Gating), ["ctl-2", "ctl-3"]);
    // Leadership moves to one of those that are at their gates.
    world.look_clear("ctl-3", seen_old(Role::Leader));
    assert_eq!((world.phase("ctl-3"), world.phase("ctl-1")), (Phase::Staged, Phase::Gating));
    change(&mut world, "ctl-2");
    change(&mut world, "ctl-1");
    finish(&mut world, "ctl-2");
    assert_eq!(world.phase("ctl-3"), Phase::Staged, "somebody is at work still");
    finish(&mut world, "ctl-1");
    assert_eq!(world.phase("ctl-3"), Phase::Gating);
}

#[test]
fn as_many_are_staged_ahead_as_may_leave_together_and_one_more() {
    let (mut bundle, inventory) = fleet(&["a", "b", "c", "d", "e"], 2, 1);
    bundle.stages[0].recipe.spec.stage = recipe().spec.stage;
    let mut world = World::of(&bundle, &inventory);
    world.tell(Event::Started {});
    assert_eq!(at(&world, Phase::Staging), ["ctl-1", "ctl-2", "ctl-3"]);
    world.done("ctl-2");
    // In their order: the second waits for the first to be ready.
    assert_eq!(at(&world, Phase::Gating), Vec::<&str>::new());
    world.done("ctl-1");
    assert_eq!(at(&world, Phase::Gating), ["ctl-1", "ctl-2"]);
    change(&mut world, "ctl-1");
    assert_eq!(at(&world, Phase::Staging), ["ctl-3", "ctl-4", "ctl-5"]);
}
