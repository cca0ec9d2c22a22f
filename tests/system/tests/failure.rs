//! A version that does not come up: taken back on its node, and the run holds.

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet};

/// Raw control characters that a terminal would obey, from the failing service's own log.
fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}')
}

#[test]
fn a_service_that_does_not_come_up_is_taken_back_and_the_run_holds_with_what_to_do() {
    let fleet = Fleet::start(2);
    let old = fleet.nodes[0].installed();
    let plan = fleet.plan("2.0.0", Behaviour::Exits);
    let followed = fleet.drydock(&["run", "start", &plan, "--wait"]);
    followed.exits(3).says(&["on hold", "n1", "drydock run resume 1", "drydock run abort 1"]);

    let (failed, other) = (&fleet.nodes[0], &fleet.nodes[1]);
    assert_eq!(failed.version().as_deref(), Some("1.0.0"), "it is back on what it was");
    assert_eq!(failed.starts(), ["1.0.0", "2.0.0", "1.0.0"]);
    assert_eq!(failed.installed(), old);
    assert_eq!(failed.beside(), Vec::<String>::new());
    assert_eq!((other.starts().len(), other.installed()), (1, old), "nobody else was touched");

    let view = fleet.run(1);
    assert_eq!(view.status, RunStatus::Held);
    assert_eq!(fleet::phases(&view)[0], Phase::RolledBack);
    assert!(fleet::nodes(&view).any(|node| node.failure.is_some()));

    let why = fleet.drydock(&["why"]);
    why.exits(3).says(&["n1", "2.0.0", "drydock run resume 1", "drydock run abort 1", "listen failed"]);
    let shown = fleet.drydock(&["run", "show", "1"]);
    shown.exits(3).says(&["n1", "1.0.0"]);
    let node = fleet.drydock(&["run", "show", "1", "--node", "n1"]);
    node.exits(3).says(&["listen failed"]);
    let report = fleet.drydock(&["run", "report", "1"]);
    report.says(&["n1"]);
    // What a failing service writes reaches the operator's terminal as text, never as commands to it.
    for screen in [&followed, &why, &shown, &node, &report] {
        assert!(is_clean(&screen.stdout) && is_clean(&screen.stderr), "{:?}", screen.said());
    }

    fleet.drydock(&["run", "abort", "1"]).exits(0);
    assert_eq!(fleet.until_status(RunStatus::Aborted).status, RunStatus::Aborted);
    assert_eq!(failed.starts().len(), 3);
}

#[test]
fn a_version_that_is_ill_or_answers_another_version_is_taken_back_too() {
    for behaviour in [Behaviour::Ill, Behaviour::Lies] {
        let fleet = Fleet::start(1);
        let old = fleet.nodes[0].installed();
        fleet.plan("2.0.0", behaviour);
        let plan = fleet.write("impatient.yaml", &fleet.impatient(&fleet.plan_text("2.0.0")));
        let followed = fleet.drydock(&["run", "start", &plan, "--wait"]);
        followed.exits(3).says(&["n1"]);
        let node = &fleet.nodes[0];
        assert_eq!(node.version().as_deref(), Some("1.0.0"), "{behaviour:?}");
        assert_eq!((node.starts().len(), node.installed()), (3, old), "{behaviour:?}");
    }
}

#[test]
fn a_held_run_that_is_resumed_tries_the_node_again_with_a_new_attempt_once_it_is_released() {
    let fleet = Fleet::start(1);
    let plan = fleet.plan("2.0.0", Behaviour::Exits);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3);
    // The version failed there: it is not tried again unasked.
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.drydock(&["run", "watch", "1"]).exits(3).says(&["quarantine", "drydock node release n1"]);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0", "1.0.0"]);
    fleet.drydock(&["node", "release", "n1"]).exits(0).says(&["demo 2.0.0 is quarantined here since run 1"]);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.drydock(&["run", "watch", "1"]).exits(3);
    let view = fleet.run(1);
    assert!(fleet::nodes(&view).all(|node| node.attempt == 2), "{view:#?}");
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0", "1.0.0", "2.0.0", "1.0.0"]);
}
