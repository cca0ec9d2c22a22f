//! Pause, resume, abort; and runs that wait for each other.

use std::time::Duration;

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};

#[test]
fn a_paused_run_hands_nothing_further_out_and_a_resumed_one_goes_on_where_it_stood() {
    let fleet = Fleet::start(3);
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    fleet.drydock(&["run", "start", &plan]).exits(0).says(&["1"]);
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);

    let paused = fleet.drydock(&["run", "pause", "1"]);
    paused.exits(0).says(&["apply on n1"]);
    // What was handed out ends by itself, and stays the only thing.
    let view = fleet.until_run("n1 to be done", wait::RUN, |view| fleet::phases(view)[0] == Phase::Done);
    assert_eq!(view.status, RunStatus::Paused);
    wait::pause(Duration::from_secs(2));
    let later = fleet.run(1);
    assert_eq!(later.log.last(), view.log.last(), "nothing happened while it was paused");
    assert!(later.handed_out.is_empty(), "{:?}", later.handed_out);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"]);
    fleet.drydock(&["why"]).exits(0).says(&["paused", "drydock run resume 1"]);

    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
    fleet.drydock(&["run", "pause", "1"]).exits(1).says(&["run 1 is over"]);
}

#[test]
fn an_aborted_run_brings_the_node_at_work_to_its_end_and_begins_no_other() {
    let fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);
    fleet.drydock(&["run", "abort", "1"]).exits(0);
    let view = fleet.until_status(RunStatus::Aborted);
    assert_eq!(fleet::phases(&view)[0], Phase::Done);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0"]);
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"]);
    fleet.drydock(&["run", "watch", "1"]).exits(1);
    fleet.drydock(&["run", "resume", "1"]).exits(1).says(&["run 1 is over"]);
}

#[test]
fn a_second_run_over_the_same_nodes_is_queued_says_behind_what_and_begins_by_itself() {
    let fleet = Fleet::start(2);
    let (first, second) = (fleet.plan("2.0.0", Behaviour::Slow), fleet.plan("3.0.0", Behaviour::Well));
    fleet.drydock(&["run", "start", &first]).exits(0);
    let refused = fleet.drydock(&["run", "start", &second, "--no-wait"]);
    refused.exits(1).says(&["run 1 works on some of the same nodes"]);
    fleet.drydock(&["run", "start", &second]).exits(0).says(&["behind run 1"]);
    fleet.drydock(&["run", "list"]).exits(0).says(&["queued", "behind run 1"]);
    fleet.drydock(&["why", "2"]).exits(0).says(&["run 1"]);
    let view = fleet.run(2);
    assert_eq!((view.status, view.queued_behind), (RunStatus::Queued, Some(1)));

    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.run(1).status, RunStatus::Done);
    for node in &fleet.nodes {
        assert_eq!(node.starts(), ["1.0.0", "2.0.0", "3.0.0"], "{}: in the order of the runs", node.name);
    }
}
