//! A run is taken back by command: real binaries, services that count their own starts.

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet, node::Node, wait};
use drydock_types::outcome::Evidence;

/// Three nodes on 2.0.0, by run 1.
fn upgraded() -> Fleet {
    let fleet = Fleet::start(3);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(0);
    fleet
}

fn is_on(node: &Node, version: &str, starts: &[&str]) {
    assert_eq!(node.version().as_deref(), Some(version), "{}", node.name);
    assert_eq!(node.starts(), starts, "{}", node.name);
}

#[test]
fn a_run_is_taken_back_last_out_first_one_at_a_time_and_each_service_restarts_once() {
    let fleet = upgraded();
    let plan = fleet.dir().join("plan-2.0.0.yaml").display().to_string();
    let new = fleet.nodes[0].installed();
    let asked = fleet.drydock(&["run", "rollback", "1", "--wait"]);
    asked.exits(0).says(&["Run 2 takes run 1 back", "1. n3: demo 2.0.0 back to 1.0.0", "3. n1: demo 2.0.0"]);
    for node in &fleet.nodes {
        is_on(node, "1.0.0", &["1.0.0", "2.0.0", "1.0.0"]);
        assert_ne!(node.installed(), new, "{}", node.name);
        assert_eq!(node.beside(), Vec::<String>::new(), "nothing is left beside it");
    }
    let view = fleet.run(2);
    assert_eq!(
        (view.status, view.undoes, fleet::phases(&view)),
        (RunStatus::Done, Some(1), vec![Phase::Done; 3])
    );
    let names: Vec<_> = fleet::nodes(&view).map(|node| node.node.to_string()).collect();
    assert_eq!(names, ["n3", "n2", "n1"], "in the order in which they went back");
    let times: Vec<_> = fleet::nodes(&view).map(|node| (node.began_unix_ms, node.ended_unix_ms)).collect();
    assert!(times.windows(2).all(|pair| pair[0].1.is_some() && pair[0].1 <= pair[1].0), "{times:?}");
    assert!(fleet::nodes(&view).all(|node| node.out_of_service_ms.is_some()));
    // Seen in the target: the executable in memory is the very one that had been displaced.
    let old = fleet.nodes[0].installed();
    for node in fleet::nodes(&view) {
        let runs = |seen: &Evidence| matches!(seen, Evidence::Running(running) if running.exe_sha256 == old);
        assert!(node.evidence.iter().any(runs), "{}: {:?}", node.node, node.evidence);
    }

    // Both runs name each other.
    fleet.drydock(&["run", "list"]).exits(0).says(&["takes run 1 back"]);
    assert_eq!(fleet.run(1).undone_by, [2]);
    fleet.drydock(&["run", "show", "1"]).exits(0).says(&["taken back by run 2"]);
    fleet.drydock(&["run", "show", "2"]).exits(0).says(&["takes run 1 back", "2.0.0 → 1.0.0"]);

    // It is not taken back twice, and the version is not put there again unasked.
    fleet.drydock(&["run", "rollback", "1"]).exits(1).says(&["nothing to take back", "n2: it is back on"]);
    fleet.drydock(&["node", "show", "n1"]).exits(0).says(&["demo 2.0.0", "drydock node release n1"]);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3);
    assert!(fleet.nodes.iter().all(|node| node.starts().len() == 3), "nobody was touched");
    let open = fleet.run(0);
    if !open.status.is_closed() {
        fleet.drydock(&["run", "abort", &open.number.to_string()]).exits(0);
    }
    for node in &fleet.nodes {
        fleet.drydock(&["node", "release", &node.name]).exits(0);
    }
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(0);
    assert!(fleet.nodes.iter().all(|node| node.version().as_deref() == Some("2.0.0")));
}

#[test]
fn one_node_of_an_open_run_is_taken_back_and_the_run_is_ended_first() {
    let fleet = Fleet::start(3);
    fleet.release("2.0.0", Behaviour::Well);
    let text = fleet.plan_text("2.0.0").replace("soak: 0s", "soak: 20s");
    let plan = fleet.write("slow.yaml", &text);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_run("n1 to soak", wait::RUN, |view| fleet::phases(view)[0] == Phase::Soaking);
    let asked = fleet.drydock(&["-o", "json", "run", "rollback", "1", "--node", "n1"]);
    let answer = asked.exits(0).json();
    assert_eq!(
        (&answer["number"], &answer["undoes"], &answer["aborted"]),
        (&2.into(), &1.into(), &true.into())
    );
    // A rollback watches as long as the plan says: the operator says that this is long enough.
    fleet.until_run("n1 to soak again", wait::RUN, |view| {
        view.number == 2 && fleet::phases(view)[0] == Phase::Soaking
    });
    assert_eq!(fleet.run(1).status, RunStatus::Aborted);
    fleet.drydock(&["run", "amend", "2", "soak=0s"]).exits(0);
    assert_eq!(fleet.until_status(RunStatus::Done).number, 2);
    is_on(&fleet.nodes[0], "1.0.0", &["1.0.0", "2.0.0", "1.0.0"]);
    assert!(fleet.nodes[1..].iter().all(|node| node.starts() == ["1.0.0"]));
}

#[test]
fn a_run_of_which_one_node_was_taken_back_already_is_taken_back_without_it() {
    let fleet = upgraded();
    fleet.drydock(&["run", "rollback", "1", "--node", "n2", "--wait"]).exits(0);
    let asked = fleet.drydock(&["run", "rollback", "1", "--wait"]);
    asked.exits(0).says(&[
        "1. n3: demo 2.0.0 back to 1.0.0",
        "2. n1: demo 2.0.0",
        "n2 (demo): it is back on",
    ]);
    for node in &fleet.nodes {
        is_on(node, "1.0.0", &["1.0.0", "2.0.0", "1.0.0"]);
    }
    let report = fleet.drydock(&["run", "report", "3"]);
    report.exits(0).says(&[
        "2 nodes back to demo 1.0.0",
        "takes run 1 back",
        "## demo / all: demo back to 1.0.0",
    ]);
    fleet.drydock(&["run", "report", "1"]).exits(0).says(&["taken back by runs 2, 3"]);
}

#[test]
fn what_a_later_run_has_changed_is_never_taken_along() {
    let fleet = upgraded();
    let later = fleet.plan("3.0.0", Behaviour::Well);
    fleet.drydock(&["run", "start", &later, "--wait"]).exits(0);
    let refused = fleet.drydock(&["run", "rollback", "1"]);
    refused.exits(1).says(&["run 2 has changed demo on", "drydock run rollback 2"]);
    fleet.drydock(&["run", "rollback", "2", "--wait"]).exits(0);
    for node in &fleet.nodes {
        is_on(node, "2.0.0", &["1.0.0", "2.0.0", "3.0.0", "2.0.0"]);
    }
    fleet.drydock(&["run", "rollback", "1"]).exits(1).says(&["told to forget", "allowDowngrade"]);
    fleet.drydock(&["run", "rollback", "9"]).exits(1).says(&["no run 9"]);
}

#[test]
fn a_coordinator_and_agents_that_die_in_a_rollback_end_it_right() {
    let mut fleet = upgraded();
    fleet.drydock(&["run", "rollback", "1"]).exits(0);
    for round in 0..6 {
        wait::pause(std::time::Duration::from_millis(150 + 97 * round));
        if fleet.try_run(2).is_ok_and(|view| view.status.is_closed()) {
            break;
        }
        match round % 2 {
            0 => {
                fleet.coordinator.kill();
                fleet.coordinator.start();
            }
            _ => {
                let at = fleet.run(2);
                let busy = fleet::nodes(&at).position(|node| node.phase == Phase::Applying);
                let index = busy.map_or(0, |place| 2 - place);
                fleet.nodes[index].kill();
                fleet.nodes[index].start();
            }
        }
    }
    let view = fleet.until_status(RunStatus::Done);
    assert_eq!((view.number, fleet::phases(&view)), (2, vec![Phase::Done; 3]));
    for node in &fleet.nodes {
        assert_eq!(node.version().as_deref(), Some("1.0.0"), "{}", node.name);
        assert_eq!(node.beside(), Vec::<String>::new(), "{}", node.name);
    }
}
