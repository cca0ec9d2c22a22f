//! What operators decide beyond starting and stopping: nodes left out, set aside and released, deadlines,
//! amendments, approvals, a frozen fleet.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, Ran, fleet, wait};

/// The usual plan with more in its spec.
fn plan(fleet: &Fleet, behaviour: Behaviour, spec: &str, wave: &str) -> String {
    fleet.release("2.0.0", behaviour);
    let text = fleet.plan_text("2.0.0").replace("spec:\n", &format!("spec:\n{spec}"));
    fleet.write("plan.yaml", &text.replace("          soak: 0s\n", &format!("          soak: 0s\n{wave}")))
}

fn slow(fleet: &Fleet, spec: &str, wave: &str) -> String {
    plan(fleet, Behaviour::Slow, spec, wave)
}

fn typed(fleet: &Fleet, line: &str) -> Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

/// Until `n1` is at its change.
fn until_changing(fleet: &Fleet) {
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);
}

#[test]
fn a_node_is_left_out_of_a_live_run_and_the_others_are_not() {
    let fleet = Fleet::start(3);
    let file = slow(&fleet, "  allow: [skip]\n", "");
    fleet.drydock(&["run", "start", &file]).exits(0);
    fleet.until_run("n1 to be changed and n2 to be staged", wait::RUN, |view| {
        fleet::phases(view)[..2] == [Phase::Applying, Phase::Staged]
    });
    typed(&fleet, "run skip 1 --node n1").exits(1).says(&["apply section is handed out to n1"]);
    typed(&fleet, "run extend 1 --node n1 5m")
        .exits(1)
        .says(&["extend is not in its spec.allow, which has skip"]);
    typed(&fleet, "run skip 1 --node n2").exits(0).says(&["n2 is left out", "drydock why 1"]);
    let view = fleet.until_status(RunStatus::Done);
    let skipped: Vec<_> = fleet::nodes(&view).filter(|node| node.phase == Phase::Skipped).collect();
    assert_eq!(skipped.iter().map(|node| node.node.as_str()).collect::<Vec<_>>(), ["n2"]);
    let versions: Vec<_> = fleet.nodes.iter().map(|node| node.version().unwrap()).collect();
    assert_eq!(versions, ["2.0.0", "1.0.0", "2.0.0"]);
    typed(&fleet, "run report 1").exits(0).says(&["left out by admin"]);
}

#[test]
fn an_amendment_stands_in_the_run_with_both_digests_over_a_restart_of_the_coordinator() {
    let mut fleet = Fleet::start(2);
    let file = slow(&fleet, "  allow: [soak, extend]\n", "");
    fleet.drydock(&["run", "start", &file]).exits(0);
    until_changing(&fleet);
    let before = fleet.run(1).digest;
    typed(&fleet, "run amend 1 soak=1s").exits(0).says(&["soak of demo/all is 1s now", "→"]);
    typed(&fleet, "run amend 1 concurrency=2").exits(1).says(&["concurrency is not in its spec.allow"]);
    typed(&fleet, "run amend 1 --wave demo/none soak=1s").exits(1).says(&["it has demo/all"]);
    typed(&fleet, "run amend 1 soak=soon").exits(2);
    typed(&fleet, "run extend 1 --node n1 30m").exits(0).says(&["n1 has 30m more"]);
    fleet.coordinator.kill();
    fleet.coordinator.start();
    let view = fleet.run(1);
    assert_eq!(
        (view.amendments.len(), view.amendments[0].from, view.amendments[0].to),
        (1, before, view.digest)
    );
    assert_ne!(view.digest, before);
    typed(&fleet, "run show 1").says(&["soak of demo/all from", "to 1s · by admin", "digest"]);
    let view = fleet.until_status(RunStatus::Done);
    assert!(fleet::nodes(&view).all(|node| node.soak_ms == 1000));
}

#[test]
fn a_wave_begins_when_somebody_else_has_approved_it_and_not_before() {
    let fleet = Fleet::start(1);
    fleet.second_operator("bert");

    let approval = "          approval: {by: somebodyElse, within: 1h}\n";
    let file = plan(&fleet, Behaviour::Well, "", approval);
    // Whose certificate was never used is not known to be there.
    let alone = "this coordinator has heard no other one";
    fleet.drydock(&["plan", &file]).exits(0).says(&[alone, "other than admin"]);
    typed(&fleet, "--context bert node list").exits(0);
    assert!(!fleet.drydock(&["plan", &file]).exits(0).stdout.contains(alone));
    fleet.drydock(&["run", "start", &file]).exits(0);
    fleet.until_run("the approval to be waited for", wait::SOON, |view| view.waiting.is_some());
    typed(&fleet, "why 1").says(&["wave demo/all to be approved", "drydock run approve 1 --wave demo/all"]);
    typed(&fleet, "--context admin run approve 1").exits(1).says(&["admin started run 1", "somebody else"]);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0"]);
    typed(&fleet, "--context bert run approve 1").exits(0).says(&["approved by bert as it stands", "n1"]);
    fleet.until_status(RunStatus::Done);
    typed(&fleet, "run show 1").says(&["demo/all · by bert"]);
}

#[test]
fn a_frozen_fleet_lets_nobody_out_and_says_so_wherever_one_looks() {
    let fleet = Fleet::start(2);
    let file = slow(&fleet, "", "");
    fleet.drydock(&["run", "start", &file]).exits(0);
    until_changing(&fleet);
    fleet.drydock(&["freeze"]).exits(2);
    let frozen = fleet.drydock(&["freeze", "--why", "the core router"]);
    frozen.exits(0).says(&["frozen", "the core router", "apply on n1 (run 1)", "drydock thaw"]);
    // What is at work is brought to its end; nobody follows.
    fleet.until_run("n1 to be done", wait::RUN, |view| fleet::phases(view)[0] == Phase::Done);
    let is_kept = |view: &drydock_core::view::RunView| {
        view.waiting.as_ref().is_some_and(|waiting| waiting.because.contains("froze the fleet"))
    };
    fleet.until_run("n2 to be kept in service", wait::SOON, is_kept);
    typed(&fleet, "why 1").exits(0).says(&["admin froze the fleet: the core router", "drydock thaw"]);
    typed(&fleet, "run show 1").says(&["frozen", "drydock thaw"]);
    typed(&fleet, "node list").says(&["The fleet is frozen"]);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"]);
    typed(&fleet, "thaw").exits(0).says(&["not frozen"]);
    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0", "2.0.0"]);
}

#[test]
fn a_node_that_is_set_aside_is_left_alone_until_it_is_released() {
    let fleet = Fleet::start(2);
    let why = ["node", "set-aside", "n2", "--why", "its disk is being replaced"];
    fleet.drydock(&why).exits(0).says(&["set aside by admin", "drydock node release n2"]);
    typed(&fleet, "node list").says(&["n2: set aside by admin: its disk is being replaced"]);
    typed(&fleet, "node show n2").says(&["On record", "drydock node release n2"]);
    let file = plan(&fleet, Behaviour::Well, "", "");
    fleet.drydock(&["plan", &file]).says(&["n2", "set aside by admin"]);
    fleet.drydock(&["run", "start", &file, "--wait"]).exits(0);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"]);
    typed(&fleet, "node release n2").exits(0).says(&["released by admin"]);
    typed(&fleet, "node release n2").exits(1).says(&["nothing stands on record"]);
    fleet.drydock(&["run", "start", &file, "--wait"]).exits(0);
    assert_eq!(fleet.nodes[1].version().as_deref(), Some("2.0.0"));
}

/// Hostile inputs 9 and 11: a revoked certificate on an open stream, and a name that is enrolled again.
#[test]
fn a_retired_node_is_gone_at_once_and_its_name_is_another_node_s() {
    let mut fleet = Fleet::start(2);
    fleet.drydock(&["node", "set-aside", "n2", "--why", "to be sold"]).exits(0);
    let connected = |fleet: &Fleet| fleet.coordinator.log().matches("an agent's stream ended").count();
    let before = connected(&fleet);
    let retired = fleet.drydock(&["node", "retire", "n2", "--why", "sold"]);
    retired.exits(0).says(&["n2 was retired by admin: sold", "drydock token create n2"]);
    let began = std::time::Instant::now();
    wait::until_true("the open stream to be dropped", Duration::from_secs(1), || connected(&fleet) > before);
    println!("the open stream was dropped {} ms after the answer", began.elapsed().as_millis());
    typed(&fleet, "node show n2").exits(1).says(&["no node n2"]);
    wait::until_true("the agent to be told", wait::SOON, || fleet.nodes[1].log().contains("revoked"));
    // The name is free, and the machine that has it now inherits nothing.
    fleet.nodes[1].kill();
    std::fs::remove_dir_all(fleet.nodes[1].state_dir()).unwrap();
    let token = fleet.token("n2", &[]);
    fleet.nodes[1].enrol(&token).exits(0);
    let node = typed(&fleet, "-o json node show n2").exits(0).json();
    assert_eq!((&node["standing"], &node["labels"]), (&serde_json::Value::Null, &serde_json::json!({})));
}
