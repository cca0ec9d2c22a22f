//! `kill -9` at any instant: the run ends right, and what took place took place once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet, node::Node, seed::Seed, wait};

/// How many kills each test must have landed while a run was open.
const KILLS: usize = 10;
/// The time between two kills is below this: about what two nodes take when nobody disturbs them.
const BETWEEN: Duration = Duration::from_millis(1500);

/// The usual plan with a soak, so that a kill can fall into it.
fn soaking_plan(fleet: &Fleet, version: &str) -> String {
    fleet.release(version, Behaviour::Well);
    let text = fleet.plan_text(version);
    assert!(text.contains("soak: 0s"));
    fleet.write(&format!("plan-{version}.yaml"), &text.replace("soak: 0s", "soak: 400ms"))
}

/// No effect was accepted twice: nothing was ever sent again that had been begun.
fn accepted_once(node: &Node) {
    let accepted = node.accepted();
    let different: BTreeSet<_> = accepted.iter().collect();
    assert_eq!(accepted.len(), different.len(), "{}: {accepted:#?}", node.name);
}

#[test]
fn a_coordinator_killed_at_any_instant_ends_the_run_right_and_each_service_restarts_once() {
    let mut seed = Seed::new(1);
    let mut fleet = Fleet::start(3);
    let mut expected = vec!["1.0.0".to_owned()];
    let (mut kills, mut phases) = (0, BTreeSet::new());
    while kills < KILLS {
        let version = format!("{}.0.0", expected.len() + 1);
        let plan = soaking_plan(&fleet, &version);
        fleet.drydock(&["run", "start", &plan]).exits(0);
        for _ in 0..3 {
            wait::pause(seed.below(BETWEEN));
            fleet.coordinator.kill();
            fleet.coordinator.start();
            let view = fleet.run(0);
            // One that came too late hit nothing, and does not count.
            if view.status == RunStatus::Done {
                break;
            }
            kills += 1;
            phases.extend(fleet::nodes(&view).map(|node| node.phase));
        }
        let view = fleet.until_status(RunStatus::Done);
        assert_eq!(fleet::phases(&view), [Phase::Done; 3], "run {}", view.number);
        expected.push(version);
        for node in &fleet.nodes {
            assert_eq!(node.starts(), expected, "{} in run {} after {kills} kills", node.name, view.number);
            accepted_once(node);
        }
    }
    assert!(phases.len() >= 4, "the kills fell into few phases only: {phases:?}");
    println!("{kills} kills; phases that were found after one: {phases:?}");
}

#[test]
fn an_agent_killed_at_any_instant_carries_its_section_to_the_end() {
    let mut seed = Seed::new(2);
    let mut fleet = Fleet::start(2);
    let (mut kills, mut version) = (0, 1);
    while kills < KILLS {
        version += 1;
        let goal = format!("{version}.0.0");
        let plan = soaking_plan(&fleet, &goal);
        fleet.drydock(&["run", "start", &plan]).exits(0);
        let mut killed = [0, 0];
        let until = Instant::now() + wait::RUN;
        loop {
            assert!(Instant::now() < until, "{}", fleet.everything(&fleet.try_run(0)));
            let view = fleet.run(0);
            let Some(at) = fleet::nodes(&view).position(|node| !node.phase.is_ended()) else { break };
            if killed.iter().sum::<usize>() < 4 {
                wait::pause(seed.below(BETWEEN / 3));
                fleet.nodes[at].kill();
                killed[at] += 1;
                fleet.nodes[at].launch();
                let open = fleet.run(0).status == RunStatus::Running;
                kills += usize::from(open);
            }
        }
        let view = fleet.until_status(RunStatus::Done);
        assert_eq!(fleet::phases(&view), [Phase::Done; 2], "run {}", view.number);
        for (node, times) in fleet.nodes.iter().zip(killed) {
            wait::until_true("the service to answer", wait::SOON, || {
                node.version().as_deref() == Some(goal.as_str())
            });
            // The demo's services die with their agent and are started with it. Beside that: once, never back.
            let starts: Vec<_> =
                node.starts().into_iter().map(|start| start.parse::<drydock_types::Version>().ok()).collect();
            let of_goal = starts.iter().flatten().filter(|start| start.as_str() == goal).count();
            assert!((1..=1 + times).contains(&of_goal), "{}: {starts:?} with {times} kills", node.name);
            let numbers: Vec<_> = starts.iter().flatten().map(|start| start.minor()).collect();
            assert!(numbers.is_sorted(), "{}: {starts:?}", node.name);
            accepted_once(node);
        }
    }
}
