//! The small worlds, as far as an ordinary test run goes, and that what they are explored for is found when it is there.

#![expect(clippy::unwrap_used, reason = "a world that cannot begin fails the test")]

use drydock_simulation::explore::{AgentLacks, Explored, Lacks, Wanted, explore, worlds};

fn world(name: &str) -> Wanted {
    worlds().into_iter().find(|world| world.name == name).unwrap()
}

/// With so many things that go wrong.
fn with(name: &str, faults: u8, lacks: Lacks) -> Explored {
    explore(&Wanted { faults, lacks, ..world(name) }).unwrap()
}

/// The rule that is broken, and the story.
fn found(name: &str, faults: u8, lacks: Lacks) -> (u8, Vec<String>) {
    let (broken, story) = with(name, faults, lacks).failed.unwrap();
    (broken.rule, story)
}

#[test]
fn where_nothing_goes_wrong_every_order_ends_with_the_run_done() {
    for wanted in worlds() {
        let explored = explore(&Wanted { faults: 0, ..wanted }).unwrap();
        assert_eq!(explored.failed, None);
        assert!(explored.complete && explored.rests == 1, "{explored:?}");
    }
}

#[test]
fn whatever_one_thing_goes_wrong_with_one_coordinator_every_rule_holds() {
    for name in [
        "one coordinator",
        "one coordinator, and journals that are lost",
        "one coordinator, and nodes that are drained",
    ] {
        let explored = with(name, 1, Lacks::default());
        assert_eq!(explored.failed, None, "{name}");
        assert!(explored.complete, "{name}");
    }
}

#[test]
fn a_second_coordinator_breaks_no_rule_within_some_thousand_states() {
    for name in worlds().into_iter().map(|world| world.name).filter(|name| name.starts_with("two")) {
        let explored = explore(&Wanted { faults: 2, states: 1200, ..world(&name) }).unwrap();
        assert_eq!(explored.failed, None, "{name}");
        assert!(explored.states >= 1200, "{name}: {explored:?}");
    }
}

#[test]
fn it_is_the_same_exploration_each_time() {
    let count = || {
        let explored = explore(&Wanted { faults: 2, states: 500, ..world("one coordinator") }).unwrap();
        (explored.states, explored.transitions, explored.depth, explored.rests)
    };
    assert_eq!(count(), count());
}

#[test]
fn checks_that_are_always_clear_are_found_out_with_the_shortest_story() {
    let (rule, story) = found("one coordinator", 1, Lacks { checks: true, ..Lacks::default() });
    // What was not clear was acted on, or two of three voters were down by it.
    assert!(matches!(rule, 6 | 8), "{story:#?}");
    assert!(story.len() < 30, "{story:#?}");
}

#[test]
fn nodes_that_are_not_looked_at_again_before_they_are_changed_are_found_out() {
    let lacks = Lacks { left: true, ..Lacks::default() };
    let (rule, story) = found("one coordinator, and nodes that are drained", 1, lacks);
    assert_eq!(rule, 8, "{story:#?}");
    assert!(story.len() < 30, "{story:#?}");
}

#[test]
fn an_agent_that_does_what_it_has_done_again_is_found_out() {
    let agent = AgentLacks { memory: true, ..AgentLacks::default() };
    let (rule, story) = found("one coordinator", 1, Lacks { agent, ..Lacks::default() });
    assert_eq!(rule, 3, "{story:#?}");
}

#[test]
fn agents_that_obey_whoever_speaks_are_found_out() {
    let agent = AgentLacks { fence: true, ..AgentLacks::default() };
    let (rule, story) =
        found("two coordinators on copies of a store", 2, Lacks { agent, ..Lacks::default() });
    assert_eq!(rule, 2, "{story:#?}");
}

#[test]
fn a_store_that_takes_what_anybody_writes_is_found_out() {
    let (rule, story) = found("two coordinators on one store", 2, Lacks { owner: true, ..Lacks::default() });
    assert_ne!(rule, 0, "{story:#?}");
}
