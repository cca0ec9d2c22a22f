//! `drydock rehearse`: every check on every node, nothing changed; and what a start says of it.

use drydock_core::view::RehearsalView;
use drydock_system_tests::{Behaviour, Fleet, wait};

fn rehearsal(fleet: &Fleet, plan: &str, code: i32) -> RehearsalView {
    let ran = fleet.drydock(&["-o", "json", "rehearse", plan]);
    serde_json::from_value(ran.exits(code).json()).unwrap_or_else(|error| panic!("{error}: {}", ran.said()))
}

/// Everything at a node that a rehearsal could change: starts, the installed file, what lies beside it, sections.
type OfNode = (Vec<String>, drydock_types::Sha256, Vec<String>, Vec<String>);

fn of_node(fleet: &Fleet) -> Vec<OfNode> {
    let each = fleet.nodes.iter();
    each.map(|node| (node.starts(), node.installed(), node.beside(), node.accepted())).collect()
}

#[test]
fn a_rehearsal_looks_at_every_node_changes_nothing_and_is_remembered() {
    let fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet
        .drydock(&["run", "start", &plan, "--detach"])
        .exits(0)
        .says(&["this plan was not rehearsed", "drydock rehearse"]);
    fleet.until_status(drydock_core::view::RunStatus::Done);

    let plan = fleet.plan("3.0.0", Behaviour::Well);
    let before = of_node(&fleet);
    let runs = fleet.drydock(&["-o", "json", "run", "list"]).exits(0).stdout.clone();
    let view = rehearsal(&fleet, &plan, 0);
    assert_eq!((view.nodes, view.looked, view.clear), (2, 2, 2), "{view:#?}");
    assert_eq!((view.blockers.len(), view.warnings.len()), (0, 0), "{view:#?}");
    assert!(view.notes.iter().any(|note| note.contains("run start sends it")), "{view:#?}");
    assert_eq!(view.estimate.as_ref().map(|estimate| estimate.samples), Some(2), "{view:#?}");
    assert_eq!(of_node(&fleet), before, "nothing of the nodes is another");
    assert_eq!(fleet.drydock(&["-o", "json", "run", "list"]).exits(0).stdout, runs, "and there is no run");
    let piped = fleet.drydock(&["rehearse", &plan]);
    piped.exits(0).says(&[
        "Rehearsed 2 of 2 nodes",
        "0 blockers",
        "Next:  drydock run start",
        "looked at 2 of 2 nodes",
    ]);
    assert!(!piped.stderr.contains('\u{1b}'), "a file is written lines: {}", piped.stderr);

    // As it was rehearsed there is nothing to say.
    let started = fleet.drydock(&["-o", "json", "run", "start", &plan, "--detach"]).exits(0).json();
    assert_eq!(started["warnings"].as_array().map(Vec::len), Some(0), "{started:#}");
    fleet.until_status(drydock_core::view::RunStatus::Done);
}

#[test]
fn what_a_node_would_refuse_is_a_blocker_with_the_line_for_its_policy() {
    let mut fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    let policy = fleet.nodes[1].policy(&fleet.public_key);
    let without = policy.replace("units = [\"demo.service\"]", "units = []");
    assert_ne!(policy, without);
    fleet.nodes[1].write_policy(&without);
    fleet.nodes[1].kill();
    fleet.nodes[1].start();
    fleet.all_connected();
    let view = rehearsal(&fleet, &plan, 3);
    assert_eq!((view.looked, view.clear), (2, 1), "{view:#?}");
    assert!(
        view.blockers.iter().all(|found| found.nodes.iter().all(|node| node.as_str() == "n2")),
        "{view:#?}"
    );
    let told = view.blockers.iter().find(|found| found.what.contains("demo.service"));
    assert!(told.is_some_and(|found| found.next.contains("units")), "{view:#?}");
    fleet.drydock(&["rehearse", &plan]).exits(3).says(&["✗ n2", "1 node would go through", "Rehearse again"]);
    let started = fleet.drydock(&["-o", "json", "run", "start", &plan, "--detach"]).exits(0).json();
    let warning = started["warnings"][0]["what"].as_str().unwrap_or_default();
    assert!(warning.contains("its rehearsal by admin found"), "{started:#}");
}

#[test]
fn a_silent_node_is_a_finding_and_the_others_are_looked_at_all_the_same() {
    let mut fleet = Fleet::start(3);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet.nodes[2].kill();
    wait::until_true("n3's stream to be gone", wait::SOON, || {
        fleet.drydock(&["-o", "json", "node", "show", "n3"]).exits(0).json()["connected"] == false
    });
    let view = rehearsal(&fleet, &plan, 3);
    assert_eq!((view.nodes, view.looked), (3, 3), "{view:#?}");
    let silent = view.blockers.iter().find(|found| found.nodes.iter().any(|node| node.as_str() == "n3"));
    assert!(silent.is_some_and(|found| found.what.contains("silent")), "{view:#?}");
}

#[test]
fn a_start_says_what_changed_since_the_rehearsal() {
    let mut fleet = Fleet::start(1);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    rehearsal(&fleet, &plan, 0);
    // Another node that the plan's selector takes makes it another plan.
    fleet.add("n2").start();
    fleet.all_connected();
    let started = fleet.drydock(&["-o", "json", "run", "start", &plan, "--detach"]).exits(0).json();
    let told: Vec<_> =
        started["warnings"].as_array().unwrap().iter().map(|warning| warning["what"].to_string()).collect();
    assert!(told[0].contains("was not rehearsed as it is now"), "{told:?}");
    assert!(told[1].contains("was not there when the plan was rehearsed"), "{told:?}");
    assert_eq!(started["warnings"][1]["node"], "n2");
    fleet.until_status(drydock_core::view::RunStatus::Done);
}

#[test]
fn a_start_says_on_which_nodes_the_policy_was_changed_since_the_rehearsal() {
    let mut fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    rehearsal(&fleet, &plan, 0);
    let policy = fleet.nodes[1].policy(&fleet.public_key);
    fleet.nodes[1].write_policy(&format!("# somebody was here\n{policy}"));
    fleet.nodes[1].kill();
    fleet.nodes[1].start();
    fleet.all_connected();
    let started = fleet.drydock(&["-o", "json", "run", "start", &plan, "--detach"]).exits(0).json();
    let warnings = started["warnings"].as_array().cloned().unwrap_or_default();
    assert_eq!((warnings.len(), &warnings[0]["node"]), (1, &"n2".into()), "{started:#}");
    let told = warnings[0]["what"].as_str().unwrap_or_default();
    assert!(told.contains("policy was changed"), "{told}");
    fleet.until_status(drydock_core::view::RunStatus::Done);
}

#[test]
fn a_bad_file_and_a_coordinator_that_is_away_have_their_exit_codes() {
    let mut fleet = Fleet::start(1);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    let bad = fleet.write("bad.yaml", "apiVersion: drydock/v1\nkind: Plan\nnodez: 1\n");
    fleet.drydock(&["rehearse", &bad]).exits(2).says(&["nodez"]);
    fleet.coordinator.kill();
    fleet.drydock(&["rehearse", &plan]).exits(1);
}
