//! A node by itself: what keeps it where it is, and what ends one thing of several that stand on record about it.

use drydock_core::view::{RunStatus, WhyNodeView};
use drydock_system_tests::{Behaviour, Fleet, Ran, fleet, wait};

fn typed(fleet: &Fleet, line: &str) -> Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

fn why(fleet: &Fleet, node: &str) -> WhyNodeView {
    let ran = fleet.drydock(&["-o", "json", "why", node]);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.said()))
}

#[test]
fn of_what_stands_on_record_about_a_node_one_thing_is_ended_and_the_rest_stays() {
    let fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Exits);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3);
    typed(&fleet, "node set-aside n1 --why disk").exits(0).says(&["drydock node release n1 --aside"]);

    // Two things: whoever means one of them says which.
    let which = typed(&fleet, "node release n1");
    which.exits(1).says(&[
        "drydock node release n1 --aside",
        "drydock node release n1 --quarantine demo@2.0.0",
        "drydock node release n1 --all",
    ]);
    typed(&fleet, "node release n1 --doubt").exits(1).says(&["no doubt on record"]);
    typed(&fleet, "node release n1 --quarantine demo").exits(2).says(&["COMPONENT@VERSION"]);
    typed(&fleet, "node release n1 --quarantine demo@3.0.0").exits(1).says(&["no quarantine of demo 3.0.0"]);
    assert_eq!(why(&fleet, "n1").on_record.len(), 2, "nothing was ended by what was refused");
    typed(&fleet, "node release n1 --aside").exits(0).says(&["set aside by admin: disk"]);
    let view = why(&fleet, "n1");
    let left: Vec<&str> =
        view.on_record.iter().map(|item| item.command.as_deref().unwrap_or_default()).collect();
    assert_eq!((left, view.uncounted), (vec!["drydock node release n1 --quarantine demo@2.0.0"], None));

    // The commands of a screen do what they say, as they stand.
    let hold = fleet.run(1).hold.unwrap_or_else(|| panic!("no hold"));
    let next = &hold.next[0].command;
    assert_eq!(next, "drydock node release n1 --quarantine demo@2.0.0 && drydock run resume 1");
    for command in next.split(" && ") {
        typed(&fleet, command.trim_start_matches("drydock ")).exits(0);
    }
    fleet.until_run("the second attempt", wait::RUN, |view| {
        view.status == RunStatus::Held && fleet::nodes(view).any(|node| node.attempt == 2)
    });
    typed(&fleet, "node release n1 --all").exits(0);
    typed(&fleet, "node release n1 --all").exits(1).says(&["nothing stands on record"]);
}

#[test]
fn a_node_says_what_it_waits_for_in_each_open_run_and_why_it_counts_as_out_of_service() {
    let mut fleet = Fleet::start(3);
    let plan = fleet.plan("2.0.0", Behaviour::Exits);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3);
    let held = fleet.drydock(&["why", "n1"]);
    held.exits(3).says(&["Run 1", "on hold", "drydock run resume 1", "quarantine demo@2.0.0"]);
    // At another node the hold is told too, and asks nobody there.
    fleet.drydock(&["why", "n2"]).exits(0).says(&["on hold", "at n1", "drydock why 1"]);
    let view = why(&fleet, "n2");
    assert_eq!((view.runs.len(), view.runs[0].run, &view.out_of_service), (1, 1, &Vec::new()));

    fleet.nodes[2].kill();
    wait::until_true("n3 to be missed", wait::SOON, || !why(&fleet, "n3").connected);
    let silent = fleet.drydock(&["why", "n3"]);
    silent
        .exits(0)
        .says(&["counts as out of service: its agent is silent", "systemctl status drydock-agent"]);
    typed(&fleet, "node set-aside n3 --why sold").exits(0);
    fleet.drydock(&["why", "n3"]).exits(0).says(&["no budget counts it", "drydock node release n3 --aside"]);

    fleet.drydock(&["run", "abort", "1"]).exits(0);
    fleet.until_status(RunStatus::Aborted);
    fleet.drydock(&["why", "n1"]).exits(0).says(&["No open run has it", "--quarantine demo@2.0.0"]);
    fleet.drydock(&["why", "n9"]).exits(1).says(&["no node n9 is enrolled"]);
    fleet.drydock(&["why", "9"]).exits(1).says(&["run 9"]);
}

#[test]
fn asked_for_none_in_particular_the_newest_open_run_answers_and_names_the_others() {
    let fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    let other = fleet.plan("3.0.0", Behaviour::Well);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.drydock(&["run", "pause", "1"]).exits(0);
    fleet.drydock(&["run", "start", &other]).exits(0);
    fleet.drydock(&["run", "start", &other]).exits(0);
    fleet.drydock(&["run", "abort", "3"]).exits(0);
    fleet.until_status(RunStatus::Aborted);
    // The newest is over: what is open is what is asked about. The queue tells of the run at its head.
    fleet.drydock(&["why"]).exits(0).says(&["Run 2 has waited", "in the queue", "Run 1 was paused"]);
    fleet.drydock(&["why", "n1"]).exits(0).says(&["Run 1", "paused", "Run 2", "queued", "run 1 to end"]);
    fleet.drydock(&["-o", "json", "why"]).exits(0).says(&["\"number\":2"]);
    fleet.drydock(&["run", "abort", "2"]).exits(0);
    fleet.drydock(&["why"]).exits(0).says(&["Run 1 was paused"]);
}
