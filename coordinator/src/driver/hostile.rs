//! Tables for what agents, and their streams, can do to the driver's state.

use drydock_core::{
    inventory::Seen,
    plan::plan,
    run::{CheckResult, JournalRef},
    view::Phase,
};
use drydock_types::{
    InstanceId, JournalId, Millis, NodeKey, Outcome, RunId, Sha256, Verdict, document,
    outcome::{Evidence, SectionResult},
    probe::HostFacts,
};

use super::{tests::ended, *};
use crate::store::memory::MemoryStore;

const NOW: Now = Now { clock_ms: 1_000_000, wall_ms: 1_700_000_000_000 };

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn registered(names: &[&str], key: fn(&str) -> NodeKey) -> Input {
    let node = |of: &&str| (name(of), FleetNode { key: key(of), labels: BTreeMap::new() });
    Input::Registered { nodes: names.iter().map(node).collect() }
}

fn key(of: &str) -> NodeKey {
    Sha256::of(of.as_bytes())
}

fn connected(of: &str, session: u64, length: u64) -> Input {
    let agent = Agent {
        session,
        key: key(of),
        version: "0.1.0".to_string(),
        journal: JournalRef { id: JournalId([1; 16]), length },
        steps: Default::default(),
        requirements: Default::default(),
        facts: HostFacts::default(),
    };
    Input::Connected { node: name(of), agent: Box::new(agent) }
}

/// A plan over these nodes: nothing is staged, `health` is the gate, one section changes nothing.
fn planned(driver: &Driver<MemoryStore>, names: &[&str]) -> drydock_core::plan::Plan {
    let health = serde_json::json!({"health": {"probe": {"tcp": {"address": "127.0.0.1:1"}}}});
    let bundle = serde_json::json!({
        "file": "p.yaml",
        "plan": {
            "apiVersion": "drydock/v1", "kind": "Plan", "metadata": {"name": "p"},
            "spec": {"stages": [{
                "name": "s", "component": "thing", "recipe": "thing", "to": "2.0",
                "waves": [{"name": "w", "nodes": {"names": names}}],
            }]},
        },
        "stages": [{"stage": "s", "artifact": null, "recipe": {
            "apiVersion": "drydock/v1", "kind": "Recipe", "metadata": {"name": "thing", "summary": "x"},
            "spec": {"detect": {}, "gate": [health], "apply": [{"nothing": {}}], "returned": [health]},
        }}],
    });
    let bundle = document::decode("bundle", &document::encode(&bundle)).unwrap();
    plan(&bundle, &driver.inventory(NOW)).unwrap().0
}

/// Nodes `a` and `b`; `a` is at its change.
fn applying() -> (MemoryStore, Driver<MemoryStore>, EffectId) {
    let store = MemoryStore::new(FleetId([1; 16]));
    let mut first = store.reopen();
    let fence = first.take_over(InstanceId([0; 16])).unwrap();
    let (mut driver, _) = Driver::open(first, fence, NOW).unwrap();
    for input in [registered(&["a", "b"], key), connected("a", 5, 10), connected("b", 6, 10)] {
        driver.handle(input, NOW).unwrap();
    }
    let plan = planned(&driver, &["a", "b"]);
    driver.start_run(plan, "anna", false, RunId([1; 16]), NOW).unwrap();
    let round = driver.runs[&1].nodes[0].look.as_ref().unwrap().round;
    let results = vec![CheckResult { check: "health".to_string(), verdict: Verdict::Clear }];
    let seen = Seen { version: None, exe_sha256: None, role: None, down: false };
    driver.handle(Input::Looked { run: 1, node: 0, round, results, seen }, NOW).unwrap();
    let effect = driver.runs[&1].nodes[0].open.as_ref().unwrap().effect;
    (store, driver, effect)
}

#[test]
fn a_hello_heard_behind_a_later_one_does_not_look_like_a_journal_that_lost_memory() {
    let (_, mut driver, effect) = applying();
    driver.handle(connected("a", 9, 12), NOW).unwrap();
    let out = driver.handle(connected("a", 8, 11), NOW).unwrap();
    assert_eq!(out, []);
    let node = &driver.runs[&1].nodes[0];
    assert_eq!((node.phase, node.open.as_ref().map(|open| open.effect)), (Phase::Applying, Some(effect)));
    assert_eq!(driver.fleet.session(&name("a")), Some(9));
}

#[test]
fn a_run_whose_state_has_outgrown_every_message_is_taken_up_again_after_a_restart() {
    let (store, mut driver, effect) = applying();
    let outcome = Outcome {
        effect,
        result: SectionResult::Done {},
        steps: Vec::new(),
        took: Millis(1),
        out_of_service: None,
        evidence: vec![Evidence::Healthy { source: "x".repeat(1000) }; 5000],
    };
    driver.handle(ended("a", outcome), NOW).unwrap();
    let mut next = store.reopen();
    let fence = next.take_over(InstanceId([2; 16])).unwrap();
    let (driver, _) = Driver::open(next, fence, NOW).unwrap();
    assert_eq!(driver.runs[&1].nodes[0].evidence.len(), 5000);
}

#[test]
fn a_machine_enrolled_anew_between_plan_and_start_is_not_taken_for_the_one_that_was_planned() {
    let (_, mut driver, _) = applying();
    let plan = planned(&driver, &["b"]);
    driver.handle(registered(&["a", "b"], |of| Sha256::of(format!("other {of}").as_bytes())), NOW).unwrap();
    let refused = driver.start_run(plan, "anna", false, RunId([2; 16]), NOW).unwrap_err();
    assert!(matches!(&refused, OperatorError::NodeChanged(node) if node == &name("b")), "{refused}");
    assert_eq!(driver.open_runs(), 1);
}

#[test]
fn a_node_that_comes_and_goes_does_not_grow_the_record_of_what_another_does() {
    let (store, mut driver, _) = applying();
    let lines = |store: &MemoryStore| store.events(1, 10_000).unwrap().len();
    let before = lines(&store);
    for session in 10..60 {
        driver.handle(connected("b", session, 10), NOW).unwrap();
    }
    assert_eq!(lines(&store), before);
    driver.handle(connected("a", 60, 10), NOW).unwrap();
    assert_eq!(lines(&store), before + 1, "of the node at work it is told");
}

#[test]
fn a_machine_that_took_a_name_over_says_nothing_of_what_was_handed_to_the_one_before() {
    let (_, mut driver, effect) = applying();
    driver.handle(registered(&["a", "b"], |of| Sha256::of(format!("other {of}").as_bytes())), NOW).unwrap();
    for input in [
        Input::NotKnown { node: name("a"), effect },
        Input::Declined { node: name("a"), effect, why: "no".to_string(), lapsed: false },
        Input::NotKnown { node: name("b"), effect },
    ] {
        driver.handle(input, NOW).unwrap();
        assert_eq!(driver.runs[&1].nodes[0].phase, Phase::Applying);
    }
}
