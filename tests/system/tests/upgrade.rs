//! A plan from its start to its report.

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet, node};

#[test]
fn a_plan_upgrades_three_nodes_one_after_another_and_the_report_says_what_was_seen() {
    let fleet = Fleet::start(3);
    let old = fleet.nodes[0].installed();
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    let new = node::digest(&fleet.dir().join("demo-2.0.0"));

    let shown = fleet.drydock(&["plan", &plan]);
    shown.exits(0).says(&["n1", "n2", "n3", "1.0.0", "2.0.0", "nothing has been changed"]);
    assert!(
        fleet.nodes.iter().all(|node| node.installed() == old && node.starts() == ["1.0.0"]),
        "{}",
        shown.said()
    );

    let started = fleet.drydock(&["run", "start", &plan, "--wait"]);
    started.exits(0);
    assert!(started.stdout.contains("n3"), "{}", started.said());
    for node in &fleet.nodes {
        assert_eq!(node.version().as_deref(), Some("2.0.0"), "{}", node.name);
        assert_eq!(node.starts(), ["1.0.0", "2.0.0"], "{} was started exactly once more", node.name);
        assert_eq!(node.installed(), new, "{}", node.name);
        // The old file is kept, for the day that somebody wants it back; nothing else is left beside it.
        let kept: Vec<_> =
            node.beside().iter().map(|name| node::digest(&node.dir.join("bin").join(name))).collect();
        assert_eq!(kept, [old], "{}: {:?}", node.name, node.beside());
    }

    let view = fleet.run(1);
    assert_eq!((view.status, fleet::phases(&view)), (RunStatus::Done, vec![Phase::Done; 3]));
    // One after another: the next node's gate is looked at when the one before is done.
    let times: Vec<_> = fleet::nodes(&view).map(|node| (node.began_unix_ms, node.ended_unix_ms)).collect();
    assert!(times.windows(2).all(|pair| pair[0].1.is_some() && pair[0].1 <= pair[1].0), "{times:?}");
    for node in fleet::nodes(&view) {
        assert_eq!(node.from.as_ref().map(ToString::to_string).as_deref(), Some("1.0.0"));
        assert!(
            node.out_of_service_ms.is_some_and(|ms| (1..10_000).contains(&ms)),
            "{:?}",
            node.out_of_service_ms
        );
    }

    let digest = new.to_string();
    fleet.drydock(&["run", "report", "1"]).exits(0).says(&["1.0.0", "2.0.0", &digest[..8], "n1", "n2", "n3"]);
    let report = fleet.drydock(&["-o", "json", "run", "report", "1"]);
    report.exits(0);
    assert!(report.stdout.contains(&digest), "the digest in memory: {}", report.said());

    // The same plan again: everybody is there already, by the digest in memory and the service's own answer.
    fleet
        .drydock(&["run", "start", &plan, "--wait"])
        .exits(0)
        .says(&["nothing to do", "n1, n2, n3   already runs 2.0.0"]);
    let again = fleet.run(2);
    assert_eq!((again.status, fleet::phases(&again)), (RunStatus::Done, vec![Phase::Skipped; 3]));
    assert!(fleet.nodes.iter().all(|node| node.starts().len() == 2));
}
