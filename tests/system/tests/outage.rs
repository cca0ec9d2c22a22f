//! A service whose outage the plan accepts by name and length, and that is out for longer (rule 6).

use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus},
};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};

fn accepting(fleet: &Fleet, length: &str) -> String {
    let text = fleet.plan_text("2.0.0");
    let stage = "      waves:\n";
    assert!(text.contains(stage), "{text}");
    let text = text.replacen(stage, &format!("      outage: {{demo: {length}}}\n{stage}"), 1);
    fleet.write("accepting.yaml", &text)
}

#[test]
fn an_outage_that_is_longer_than_the_plan_accepts_holds_the_run_and_its_section_ends_by_itself() {
    let fleet = Fleet::start(2);
    fleet.release("2.0.0", Behaviour::Slow);
    let plan = accepting(&fleet, "1s");
    fleet.drydock(&["plan", &plan]).exits(0).says(&["demo may be out for 1s at each node"]);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    let held = fleet.until_status(RunStatus::Held);
    let hold = held.hold.clone().unwrap_or_else(|| panic!("no hold: {held:#?}"));
    assert_eq!(
        (hold.kind, hold.node.as_ref().map(|node| node.as_str())),
        (HoldKind::OutageTooLong, Some("n1"))
    );
    assert!(hold.reason.starts_with("demo on n1 has been out for "), "{}", hold.reason);
    fleet.drydock(&["why"]).exits(3).says(&["the plan accepts 1s", "drydock run resume 1", "Outage"]);

    // What its agent was at goes on without a word from anybody, and nobody follows it.
    let view = fleet.until_run("n1 to be done", wait::RUN, |view| fleet::phases(view)[0] == Phase::Done);
    assert_eq!((view.status, fleet.nodes[1].starts().len()), (RunStatus::Held, 1));
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0"]);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    // The other one takes as long: it is held too, and a person says again whether that is accepted.
    let view = fleet.until_run("n2 to be held", wait::RUN, |view| {
        view.hold.as_ref().is_some_and(|hold| hold.node.as_ref().is_some_and(|node| node.as_str() == "n2"))
    });
    assert_eq!(view.hold.map(|hold| hold.kind), Some(HoldKind::OutageTooLong));
    fleet.until_run("n2 to be done", wait::RUN, |view| fleet::phases(view)[1] == Phase::Done);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
}

#[test]
fn an_outage_that_is_over_in_time_holds_nobody() {
    let fleet = Fleet::start(1);
    fleet.release("2.0.0", Behaviour::Well);
    let plan = accepting(&fleet, "5m");
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(0);
    fleet.drydock(&["plan", &accepting(&fleet, "0s")]).exits(2).says(&["an outage of 0s"]);
}
