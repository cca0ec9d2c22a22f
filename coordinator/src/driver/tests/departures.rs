//! Two nodes at their gates together: what was seen before one left is no evidence for the other.

use drydock_core::recipe::{Check, EtcdQuorum};
use drydock_types::Label;

use super::*;

/// A plan over these nodes, two at a time.
fn two_at_once(driver: &Driver<MemoryStore>, names: &[&str]) -> Plan {
    let mut plan = plan_over(driver, names, serde_json::json!({"perFailureDomain": 2}));
    plan.stages[0].waves[0].concurrency = 2;
    plan
}

fn sent_to(world: &World) -> Vec<String> {
    world.sent().into_iter().map(|(node, _)| node).collect()
}

fn because(world: &World, run: u64, of: &str) -> (String, String) {
    let node = world.run(run).nodes.iter().find(|node| node.name.as_str() == of).unwrap();
    node.waiting.clone().map(|waiting| (waiting.what, waiting.because)).unwrap_or_default()
}

#[test]
fn a_look_from_before_somebody_left_opens_no_gate_and_the_next_one_does() {
    let mut world = World::of(&["a", "b", "c"]);
    let plan = two_at_once(&world.driver, &["a", "b", "c"]);
    world.start(plan);
    world.clear(1, "a");
    assert_eq!(sent_to(&world), ["a"]);
    // This was looked at while `a` was in service still.
    world.clear(1, "b");
    assert_eq!(sent_to(&world), Vec::<String>::new());
    assert_eq!(
        because(&world, 1, "b"),
        ("evidence".to_string(), "a left service after this was looked at".to_string())
    );
    world.tick(500);
    world.clear(1, "b");
    assert_eq!(sent_to(&world), ["b"]);
}

#[test]
fn it_is_the_same_when_another_run_took_the_other_node() {
    let mut world = World::of(&["a", "b"]);
    for of in ["a", "b"] {
        let plan = two_at_once(&world.driver, &[of]);
        world.start(plan);
    }
    world.clear(2, "b");
    assert_eq!(sent_to(&world), ["b"]);
    world.clear(1, "a");
    assert_eq!(sent_to(&world), Vec::<String>::new());
    assert_eq!(because(&world, 1, "a").1, "b left service after this was looked at");
    world.tick(500);
    world.clear(1, "a");
    assert_eq!(sent_to(&world), ["a"]);
}

#[test]
fn while_a_member_is_being_changed_no_look_at_its_cluster_is_believed_however_fresh() {
    let mut world = World::of(&["a", "b"]);
    let mut plan = two_at_once(&world.driver, &["a", "b"]);
    plan.stages[0].recipe.spec.gate = vec![Check::EtcdQuorum(EtcdQuorum { max_lag: 5000 })];
    world.start(plan);
    let quorum = |world: &mut World, index: usize| {
        let round = world.run(1).nodes[index].look.as_ref().unwrap().round;
        let results = vec![CheckResult { check: "etcdQuorum".to_string(), verdict: Verdict::Clear }];
        let seen = Seen { version: None, exe_sha256: None, role: Some(Role::Follower), down: false };
        world.tell(Input::Looked { run: 1, node: index, round, results, seen });
    };
    quorum(&mut world, 0);
    assert_eq!(sent_to(&world), ["a"]);
    quorum(&mut world, 1);
    world.tick(500);
    // Asked for after `a` was told to go, and perhaps before it went.
    quorum(&mut world, 1);
    assert_eq!(sent_to(&world), Vec::<String>::new());
    assert_eq!(
        because(&world, 1, "b").1,
        "run 1 is changing a: what its cluster says of it now will not last"
    );
    world.done(1, "a");
    world.tick(1000);
    quorum(&mut world, 1);
    assert_eq!(sent_to(&world), ["b"]);
}

#[test]
fn the_budget_is_counted_again_for_each_of_two_gates_that_open_in_one_transition() {
    let zone = |of: &str| Label::parse(of).unwrap();
    let labels = |of: &str| BTreeMap::from([(zone("zone"), zone(of))]);
    let node = |of: &str, zone: &str| (name(of), FleetNode { key: key(of), labels: labels(zone) });
    let mut world = World::with(vec![node("a", "z1"), node("b", "z2")]);
    let budget = serde_json::json!({"perFailureDomain": 1, "domainLabel": "zone"});
    let mut plan = plan_over(&world.driver, &["a", "b"], budget);
    plan.stages[0].waves[0].concurrency = 2;
    // Nothing is asked of an agent: the driver answers both looks itself.
    plan.stages[0].recipe.spec.gate.clear();
    // One zone by now, whatever the plan saw.
    world.nodes = vec![node("a", "z1"), node("b", "z1")];
    world.register();
    world.start(plan);
    assert_eq!(sent_to(&world), ["a"]);
    assert_eq!(because(&world, 1, "b").0, "the budget");
}
