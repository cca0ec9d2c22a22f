//! Two coordinators of one fleet: on one store, on copies of it, one that wakes up, one restored from a backup.
//! Agents obey one; the other says so, hands out nothing, and goes on only when a person decides it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{
    Behaviour, Fleet, coordinator::Coordinator, fleet, node::Node, relay::Relay, wait,
};
use nix::sys::signal::Signal;

/// A fleet whose agents reach their coordinator through a relay; its operator dials it itself.
fn behind_a_relay(nodes: usize) -> (Fleet, Relay) {
    let mut fleet = Fleet::without_nodes();
    let relay = Relay::start();
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    fleet.coordinator.advertise = Some(relay.address);
    fleet.coordinator.start();
    relay.leads_to(fleet.coordinator.address);
    for number in 1..=nodes {
        fleet.add(&format!("n{number}")).start();
    }
    fleet.all_connected();
    (fleet, relay)
}

fn copy_of(fleet: &Fleet, name: &str) -> Coordinator {
    let dir = fleet.dir().join(name);
    std::fs::create_dir(&dir).unwrap();
    fleet.coordinator.copy_to(&dir)
}

/// Waits until every agent has said to this coordinator that it obeys another.
fn until_fenced(coordinator: &Coordinator, agents: usize) -> serde_json::Value {
    wait::until("the agents to say whom they obey", wait::SOON, || {
        let ran = coordinator.drydock(&["-o", "json", "takeover"]);
        let fenced = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok()?.get("fenced")?.clone();
        let all = fenced["agents"].as_array()?.len() == agents;
        all.then(|| {
            ran.exits(3);
            fenced
        })
    })
}

/// Waits until nothing says any more that the other one is alive: one that spoke right before this one began may
/// be taken to have spoken after it, for a minute.
fn until_not_alive(coordinator: &Coordinator, agents: usize) -> serde_json::Value {
    wait::until("nothing to say that the other is alive", wait::RUN, || {
        Some(until_fenced(coordinator, agents)).filter(|fenced| fenced["alive"].is_null())
    })
}

fn takes_over(coordinator: &Coordinator, highest: u64) {
    let (confirm, now) = (highest.to_string(), format!("agents obey epoch {}", highest + 1));
    coordinator.drydock(&["takeover", "--confirm", &confirm]).exits(0).says(&[&now]);
}

fn plan(fleet: &Fleet, soak: &str) -> String {
    fleet.release("2.0.0", Behaviour::Well);
    fleet.write("plan.yaml", &fleet.plan_text("2.0.0").replace("soak: 0s", &format!("soak: {soak}")))
}

fn restarted_once(nodes: &[Node]) {
    for node in nodes {
        assert_eq!(node.starts(), ["1.0.0", "2.0.0"], "{}", node.name);
    }
}

#[test]
fn a_second_coordinator_on_the_same_store_is_refused_and_told_who_has_it() {
    let fleet = Fleet::without_nodes();
    let mut second = Coordinator::new(fleet.dir());
    second.launch();
    let ended = second.process.as_mut().unwrap().wait(wait::SOON);
    assert_eq!(ended.code(), Some(1));
    let pid = fleet.coordinator.process.as_ref().unwrap().pid();
    let log = second.log();
    assert!(
        log.contains(&format!("in use by process {pid}")) && log.contains("one coordinator a store"),
        "{log}"
    );
    fleet.drydock(&["node", "list"]).exits(0);
}

/// Hostile input 18, by real coordinators: the same epoch of another instance.
#[test]
fn a_second_coordinator_on_a_copy_is_fenced_and_says_so_while_the_first_goes_on() {
    let (mut fleet, relay) = behind_a_relay(2);
    let plan = plan(&fleet, "0s");
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    let mut copy = copy_of(&fleet, "copy");
    fleet.coordinator.start();
    fleet.all_connected();
    copy.start();
    // For a moment the address leads to the copy: the same epoch, and another instance.
    relay.leads_to(copy.address);
    let fenced = until_fenced(&copy, 2);
    assert_eq!(fenced["epoch"], fenced["obeyedEpoch"], "the same epoch, another instance: {fenced:#}");
    // And back, so that the first speaks to its agents once more; and to the copy again.
    relay.leads_to(fleet.coordinator.address);
    fleet.all_connected();
    relay.leads_to(copy.address);
    let fenced = wait::until("the evidence that the first is alive", wait::SOON, || {
        Some(until_fenced(&copy, 2)).filter(|fenced| fenced["alive"].is_string())
    });
    assert!(fenced["alive"].as_str().unwrap().contains("is alive"), "{fenced:#}");
    // Reading is answered, with what happened beside it; nothing else is.
    copy.drydock(&["run", "list"]).exits(0).says(&[
        "warning: this coordinator",
        "is fenced",
        "drydock takeover",
    ]);
    copy.drydock(&["node", "list"]).exits(0).says(&["n1", "is fenced"]);
    let file = fleet.dir().join(&plan).display().to_string();
    for refused in [&["plan", &file][..], &["run", "start", &file], &["token", "create", "n9"]] {
        copy.drydock(refused).exits(1).says(&["n1, n2 obey epoch", "hands out nothing", "drydock takeover"]);
    }
    // While the first is alive it is not put aside, whatever is confirmed.
    let highest = fenced["obeyedEpoch"].to_string();
    copy.drydock(&["takeover", "--confirm", &highest]).exits(1).says(&["not taken over", "is alive"]);
    copy.drydock(&["takeover", "--confirm", "99"]).exits(1).says(&["not 99", "drydock takeover"]);
    assert!(copy.log().contains("an agent obeys another coordinator"), "{}", copy.log());
    // The first noticed nothing but streams that broke.
    relay.leads_to(fleet.coordinator.address);
    fleet.all_connected();
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_status(RunStatus::Done);
    restarted_once(&fleet.nodes);
    fleet.drydock(&["takeover"]).exits(0).says(&["nothing to take over"]);
}

/// Hostile input 18, by real coordinators: a lower epoch.
#[test]
fn an_old_coordinator_that_wakes_up_hands_out_nothing_and_cannot_take_over_from_a_living_one() {
    let (mut fleet, relay) = behind_a_relay(2);
    let plan = plan(&fleet, "0s");
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    let mut newer = copy_of(&fleet, "newer");
    fleet.coordinator.start();
    fleet.all_connected();
    // It hangs, and somebody starts the copy in its place.
    fleet.coordinator.process.as_ref().unwrap().signal(Signal::SIGSTOP);
    newer.start();
    relay.leads_to(newer.address);
    let fenced = until_not_alive(&newer, 2);
    takes_over(&newer, fenced["obeyedEpoch"].as_u64().unwrap());
    let old = std::mem::replace(&mut fleet.coordinator, newer);
    fleet.all_connected();
    // The old one wakes up, and the address leads to it once more.
    old.process.as_ref().unwrap().signal(Signal::SIGCONT);
    relay.leads_to(old.address);
    let fenced = until_fenced(&old, 2);
    let (epoch, obeyed) = (fenced["epoch"].as_u64().unwrap(), fenced["obeyedEpoch"].as_u64().unwrap());
    assert!(epoch < obeyed, "{fenced:#}");
    let file = fleet.dir().join(&plan).display().to_string();
    old.drydock(&["run", "start", &file]).exits(1).says(&["is fenced"]);
    old.drydock(&["takeover", "--confirm", &obeyed.to_string()]).exits(1).says(&["is alive"]);
    relay.leads_to(fleet.coordinator.address);
    fleet.all_connected();
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_status(RunStatus::Done);
    restarted_once(&fleet.nodes);
}

#[test]
fn a_coordinator_restored_from_an_older_copy_takes_over_on_evidence_and_nothing_is_done_twice() {
    let (mut fleet, relay) = behind_a_relay(3);
    let plan = plan(&fleet, "3s");
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_run("n1 to soak", wait::RUN, |view| fleet::phases(view)[0] == Phase::Soaking);
    // The backup: what lies on the disk while nothing runs.
    fleet.coordinator.kill();
    let mut restored = copy_of(&fleet, "restored");
    fleet.coordinator.start();
    fleet.until_run("n2 to soak", wait::RUN, |view| fleet::phases(view)[1] == Phase::Soaking);
    fleet.coordinator.kill();
    // Its machine is lost. What the backup does not know: n2 was changed.
    restored.start();
    relay.leads_to(restored.address);
    fleet.coordinator = restored;
    let fenced = until_not_alive(&fleet.coordinator, 3);
    let told = fenced["agents"].as_array().unwrap().iter().find(|agent| agent["node"] == "n2").unwrap();
    let ended = told["ended"].as_array().unwrap();
    assert!(ended.len() == 1 && ended[0].as_str().unwrap().contains("restartUnit"), "{told:#}");
    let before = fleet.run(1);
    wait::pause(Duration::from_secs(2));
    assert_eq!(fleet.run(1).log, before.log, "its run stays as it is");

    takes_over(&fleet.coordinator, fenced["obeyedEpoch"].as_u64().unwrap());
    fleet.all_connected();
    // n1 is known and comes to its end; n2's journal holds what the store does not know.
    let view = fleet.until_status(RunStatus::Held);
    assert_eq!(fleet::phases(&view)[..2], [Phase::Done, Phase::Held], "{view:#?}");
    let hold = view.hold.as_ref().unwrap();
    assert!(
        hold.reason.contains("journal") && hold.happened.contains("restored from before it"),
        "{hold:#?}"
    );
    assert!(view.log.iter().any(|line| line.text.starts_with("restored: admin")), "{:#?}", view.log);
    fleet.drydock(&["why"]).exits(3).says(&["journal", "drydock run resume 1"]);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    let view = fleet.until_status(RunStatus::Done);
    assert_eq!(fleet::phases(&view), [Phase::Done, Phase::Skipped, Phase::Done], "{view:#?}");
    restarted_once(&fleet.nodes);
    // A decision is one: after a restart nobody is asked again.
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    fleet.coordinator.start();
    fleet.all_connected();
    fleet.drydock(&["takeover"]).exits(0).says(&["nothing to take over"]);
}
