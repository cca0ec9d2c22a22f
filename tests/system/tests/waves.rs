//! How many nodes are out at once: shares, domains, the budget over all runs, canaries and growing waves, the limit
//! of nodes an hour. Judged by when each node left and came back, as the record has it.

#![allow(clippy::unwrap_used, reason = "tests")]

use drydock_core::{
    hold_kind::WaitKind,
    view::{Phase, RunNodeView, RunStatus, RunView},
};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};

/// The usual plan with more in its spec and in its wave.
fn plan(fleet: &Fleet, name: &str, behaviour: Behaviour, spec: &str, wave: &str) -> String {
    fleet.release("2.0.0", behaviour);
    let text = fleet.plan_text("2.0.0").replace("spec:\n", &format!("spec:\n{spec}"));
    fleet.write(name, &text.replace("          soak: 0s\n", &format!("          soak: 0s\n{wave}")))
}

fn typed(fleet: &Fleet, line: &str) -> drydock_system_tests::Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

/// From its gate to its end.
fn out(node: &RunNodeView) -> (u64, u64) {
    (node.began_unix_ms.unwrap(), node.ended_unix_ms.unwrap())
}

fn overlap(one: &RunNodeView, other: &RunNodeView) -> bool {
    let (one, other) = (out(one), out(other));
    one.0 < other.1 && other.0 < one.1
}

fn pairs(view: &RunView) -> Vec<(&RunNodeView, &RunNodeView)> {
    let nodes: Vec<_> = fleet::nodes(view).collect();
    let beside = |at: usize| nodes[at + 1..].iter().map(|other| (nodes[at], *other)).collect::<Vec<_>>();
    (0..nodes.len()).flat_map(beside).collect()
}

fn kept_by(view: &RunView, kind: WaitKind) -> bool {
    view.waiting.as_ref().is_some_and(|waiting| waiting.kind == kind)
}

#[test]
fn half_of_a_wave_goes_at_once_and_never_two_of_one_failure_domain() {
    let fleet = Fleet::start(4);
    let zones = [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")];
    for (node, zone) in zones {
        typed(&fleet, &format!("node label {node} zone={zone}")).exits(0);
    }
    let zone = |node: &RunNodeView| zones.iter().find(|(name, _)| *name == node.node.as_str()).unwrap().1;
    let spec = "  budget: {perFailureDomain: 1, domainLabel: zone}\n";
    let file = plan(&fleet, "plan.yaml", Behaviour::Slow, spec, "          concurrency: 50%\n");
    fleet
        .drydock(&["plan", &file])
        .exits(0)
        .says(&["up to 2 at a time", "1 node out of service in each zone"]);
    fleet.drydock(&["run", "start", &file, "--wait"]).exits(0);
    let view = fleet.run(1);
    for (one, other) in pairs(&view) {
        assert!(zone(one) != zone(other) || !overlap(one, other), "{one:#?}\n{other:#?}");
    }
    assert!(pairs(&view).iter().any(|(one, other)| overlap(one, other)), "nobody went beside another");
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
}

#[test]
fn the_budget_wins_over_a_greater_concurrency_and_the_plan_says_so() {
    let fleet = Fleet::start(3);
    let file = plan(&fleet, "plan.yaml", Behaviour::Slow, "", "          concurrency: 3\n");
    fleet.drydock(&["plan", &file]).show().exits(0).says(&["budget"]);
    fleet.drydock(&["run", "start", &file, "--wait"]).exits(0);
    let view = fleet.run(1);
    for (one, other) in pairs(&view) {
        assert!(!overlap(one, other), "{one:#?}\n{other:#?}");
    }
}

#[test]
fn two_runs_over_different_nodes_are_at_work_together_and_share_one_budget() {
    let fleet = Fleet::start(2);
    for node in ["n1", "n2"] {
        let file = plan(&fleet, &format!("{node}.yaml"), Behaviour::Slow, "", "");
        let text = std::fs::read_to_string(fleet.dir().join(&file)).unwrap();
        fleet.write(
            &file,
            &text.replace("nodes: {labels: {role: demo}}", &format!("nodes: {{names: [{node}]}}")),
        );
    }
    fleet.drydock(&["run", "start", "n1.yaml"]).exits(0);
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);
    fleet.drydock(&["run", "start", "n2.yaml"]).exits(0);
    let view = fleet.until_run("n2 to be kept in service by the budget", wait::SOON, |view| {
        view.number == 2 && kept_by(view, WaitKind::Gate)
    });
    assert_eq!((view.status, view.queued_behind), (RunStatus::Running, None));
    typed(&fleet, "why 2").show().exits(0).says(&["budget", "n1", "run 1", "drydock why 1"]);
    fleet.until_run("run 2 to be done", wait::RUN, |view| view.number == 2 && view.status == RunStatus::Done);
    let (first, second) = (fleet.run(1), fleet.run(2));
    let (one, other) = (fleet::nodes(&first).next().unwrap(), fleet::nodes(&second).next().unwrap());
    // Both stand at their gates together; what may not overlap is the time out of service.
    assert!(one.ended_unix_ms.unwrap() <= other.ended_unix_ms.unwrap() - other.out_of_service_ms.unwrap());
}

#[test]
fn a_canary_goes_alone_and_the_waves_after_it_grow() {
    let fleet = Fleet::start(4);
    let wave = "          split: [1, 50%]\n          concurrency: 2\n";
    let spec = "  budget: {perFailureDomain: 2}\n";
    let file = plan(&fleet, "plan.yaml", Behaviour::Slow, spec, wave);
    fleet.drydock(&["plan", &file]).show().exits(0).says(&["all-1", "all-2", "all-3"]);
    fleet.drydock(&["run", "start", &file, "--wait"]).exits(0);
    let view = fleet.run(1);
    let waves = &view.stages[0].waves;
    assert_eq!(waves.iter().map(|wave| wave.nodes.len()).collect::<Vec<_>>(), [1, 2, 1]);
    for (before, after) in waves.iter().zip(&waves[1..]) {
        let ended = before.nodes.iter().map(|node| out(node).1).max();
        let began = after.nodes.iter().map(|node| out(node).0).min();
        assert!(ended <= began, "{} ended at {ended:?}, {} began at {began:?}", before.name, after.name);
    }
    let [one, other] = waves[1].nodes.as_slice() else { panic!("{waves:#?}") };
    assert!(overlap(one, other), "the second wave went one after another");
}

#[test]
fn the_hourly_limit_holds_over_a_restart_until_it_is_raised() {
    let mut fleet = Fleet::start(2);
    let setting = |most: u32| vec![("DRYDOCK_MOST_DISRUPTED_PER_HOUR", most.to_string())];
    fleet.coordinator.settings = setting(1);
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    fleet.coordinator.start();
    fleet.all_connected();
    let file = plan(&fleet, "plan.yaml", Behaviour::Well, "", "");
    fleet.drydock(&["run", "start", &file]).exits(0);
    let kept = |view: &RunView| kept_by(view, WaitKind::HourlyLimit) && fleet::phases(view)[0] == Phase::Done;
    let view = fleet.until_run("n2 to be kept in service", wait::RUN, kept);
    assert_eq!(view.waiting.as_ref().unwrap().node.as_ref().unwrap().as_str(), "n2");
    typed(&fleet, "why").show().exits(0).says(&["1 node left service within the last hour"]);
    // What was let out is on the disk: starting anew frees nothing.
    fleet.coordinator.kill();
    fleet.coordinator.start();
    fleet.all_connected();
    fleet.until_run("n2 to be kept in service again", wait::RUN, kept);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"]);
    fleet.coordinator.settings = setting(2);
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    fleet.coordinator.start();
    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0", "2.0.0"]);
}
