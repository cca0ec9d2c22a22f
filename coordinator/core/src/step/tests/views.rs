//! What operators read of a run that waits: the blocker by its name, and only commands that do something.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{ClusterName, outcome::SectionResult};

use super::world::World;
use crate::{
    hold_kind::{HoldKind, WaitKind},
    inventory::Role,
    plan::tests::fixture::*,
    run::Event,
    run_view::{self, Live},
    standing::{Decision, Machine, Standing, Twins},
    view::{CommandView, Phase, RunView, WaitingView},
};

fn old() -> crate::inventory::Seen {
    seen_old(Role::Follower)
}

fn view(world: &World, silent: &[&str]) -> RunView {
    let silent = silent.iter().map(|of| (name(of), world.now.wall_ms - 5_000)).collect();
    run_view::view(&world.run, &Live { silent, ..Live::default() }, Vec::new(), world.now)
}

fn waiting(world: &World, silent: &[&str]) -> WaitingView {
    view(world, silent).waiting.unwrap()
}

fn typed(list: &[CommandView]) -> Vec<&str> {
    list.iter().map(|item| item.command.as_str()).collect()
}

#[test]
fn a_section_at_work_is_no_blocker_until_its_agent_is_silent() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let at_work = waiting(&world, &[]);
    assert!(at_work.at_work && at_work.left_ms.is_some());
    assert_eq!(at_work.because, "its agent is at work on it");
    assert_eq!(at_work.then, "the run holds at ctl-2 and asks you");
    let all = ["drydock run show 12 --node ctl-2", "drydock run pause 12", "drydock run abort 12"];
    assert_eq!(typed(&at_work.can), all);
    let silent = waiting(&world, &["ctl-2"]);
    assert!(!silent.at_work && silent.because.contains("the agent of ctl-2 is silent"), "{silent:?}");
    assert_eq!(typed(&silent.can)[0], "systemctl status drydock-agent");
    assert!(silent.can[0].does.contains("ctl-2"));
}

#[test]
fn while_aborting_nothing_is_offered_that_does_nothing() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.abort();
    assert_eq!(typed(&waiting(&world, &[]).can), ["drydock run show 12 --node ctl-2"]);
}

#[test]
fn the_budget_s_blocker_is_named_with_where_to_look() {
    let mut world = World::usual();
    world.stage_all();
    world.look_disrupted("ctl-2", old(), &["edge-7"]);
    let wait = waiting(&world, &["edge-7", "edge-8"]);
    assert!(wait.because.contains("edge-7") && !wait.at_work, "{wait:?}");
    assert_eq!(typed(&wait.can)[..2], ["systemctl status drydock-agent", "drydock run show 12 --node ctl-2"]);
    assert_eq!(wait.can[0].does, "type it on edge-7: does its agent run?");
    assert_eq!(typed(&waiting(&world, &[]).can)[0], "drydock run show 12 --node ctl-2");
}

#[test]
fn a_pause_is_as_old_as_it_is() {
    let mut world = World::usual();
    world.stage_all();
    world.pause();
    let paused = world.now;
    world.tick(5000);
    let seen = view(&world, &[]);
    let wait = seen.waiting.unwrap();
    assert_eq!((wait.since_unix_ms, seen.stopped_unix_ms), (paused.wall_ms, Some(paused.wall_ms)));
    assert_eq!(typed(&wait.can), ["drydock run resume 12", "drydock run abort 12"]);
    assert_eq!(wait.can[1].does, "end the run: no node is upgraded");
}

#[test]
fn a_hold_says_what_helps_on_the_node_and_what_an_abort_leaves() {
    let mut world = World::usual();
    world.bring_to_done("ctl-2", Role::Follower);
    world.bring_to_applying("ctl-3", &old());
    world.end("ctl-3", super::world::undone());
    world.look_clear("ctl-3", old());
    let hold = view(&world, &[]).hold.unwrap();
    assert!(!hold.happened.contains("journalctl"), "{}", hold.happened);
    assert!(hold.on_the_node[0].contains("journalctl"), "{:?}", hold.on_the_node);
    let next = [
        "drydock run resume 12",
        "drydock run abort 12",
        "drydock run rollback 12",
        "drydock run show 12 --node ctl-3",
    ];
    assert_eq!(typed(&hold.next), next);
    assert_eq!(hold.next[1].does, "leave it here: ctl-2 stays upgraded");
    assert!(
        hold.state_now.ends_with("; of the others ctl-2 is done, with 3.5.16, ctl-1 is not begun"),
        "{}",
        hold.state_now
    );
}

#[test]
fn a_hold_never_chooses_between_two_machines() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", super::world::undone());
    world.look_clear("ctl-2", old());
    let machine = |id: &str| Machine {
        machine_id: id.to_string(),
        hostname: "h".to_string(),
        address: "192.0.2.1".to_string(),
    };
    let resume = |second: &str, aside: bool| {
        let said = Decision { by: "anna".to_string(), why: "disk".to_string(), unix_ms: 1 };
        let twins = Twins { machines: [machine("aa"), machine(second)].to_vec(), unix_ms: 1 };
        let standing =
            Standing { twins: Some(twins), set_aside: aside.then_some(said), ..Standing::new(name("ctl-2")) };
        let standings = [(name("ctl-2"), standing)].into();
        let live = Live { standings, ..Live::default() };
        run_view::view(&world.run, &live, Vec::new(), world.now).hold.unwrap().next.remove(0)
    };
    let apart = resume("bb", false);
    assert_eq!(apart.command, "drydock run resume 12");
    assert!(apart.does.contains("; see which one is the node, and say so"), "{apart:?}");
    assert!(apart.does.contains(" --machine ID") && apart.does.contains("Then try ctl-2 again"), "{apart:?}");
    let alike = resume("aa", true);
    assert_eq!(alike.command, "drydock node release ctl-2 --aside && drydock run resume 12");
    assert!(
        alike.does.contains("stop the agent that is not the node, then drydock node release"),
        "{alike:?}"
    );
}

#[test]
fn who_waits_for_what_another_run_has_out_can_look_at_that_run() {
    let mut world = World::usual();
    world.stage_all();
    let now = world.now;
    let gate = &mut world.run.nodes[0];
    gate.phase = Phase::Gating;
    gate.wait_for("budget", "out of service already: ctl-9 (run 11 is at it)", now);
    let can = waiting(&world, &[]).can;
    assert!(typed(&can).contains(&"drydock why 11"), "{can:?}");
}

#[test]
fn of_several_waits_the_most_urgent_is_told_first_and_the_others_behind_it() {
    let mut world = World::usual();
    world.stage_all();
    let now = world.now;
    let gate = &mut world.run.nodes[0];
    gate.phase = Phase::Gating;
    gate.wait_for("etcdQuorum", "ctl-9 lags", now);
    let back = &mut world.run.nodes[1];
    back.phase = Phase::Returning;
    back.deadline_ms = Some(now.clock_ms + 60_000);
    back.wait_for("health", "503", now);
    let (first, second) = (world.run.nodes[1].name.clone(), world.run.nodes[0].name.clone());
    let wait = waiting(&world, &[]);
    assert_eq!((wait.node, wait.kind, wait.left_ms), (Some(first), WaitKind::Gate, Some(60_000)));
    assert_eq!(wait.others, [alloc::format!("etcdQuorum at {second}: ctl-9 lags")]);
}

#[test]
fn what_cannot_be_decided_says_where_to_look_first() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let because = "the power went".to_string();
    world.end("ctl-2", SectionResult::Undecidable { step: "restartUnit".to_string(), because });
    let hold = view(&world, &[]).hold.unwrap();
    assert_eq!(hold.kind, HoldKind::Undecidable);
    assert_eq!(typed(&hold.next)[..2], ["systemctl status etcd.service", "drydock run resume 12"]);
    assert!(hold.next[1].does.contains("judge it anew, as attempt 2"), "{:?}", hold.next);
}

#[test]
fn a_node_that_was_left_alone_and_taken_back_by_hand_is_rolled_back_by_what_is_seen_of_it() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let SectionResult::Undone { failure } = super::world::undone() else { panic!("another result") };
    world.end(
        "ctl-2",
        SectionResult::LeftAlone { failure, because: "the cluster's version rose".to_string() },
    );
    let hold = view(&world, &[]).hold.unwrap();
    assert_eq!((hold.kind, typed(&hold.next)[0]), (HoldKind::LeftAlone, "systemctl status etcd.service"));
    assert!(typed(&hold.next).contains(&"drydock run rollback 12 --node ctl-2"), "{:?}", hold.next);
    assert!(world.node("ctl-2").unsettled.is_some());
    world.resume();
    world.look_clear("ctl-2", old());
    assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
    assert!(world.node("ctl-2").unsettled.is_none(), "it was seen to be well");
}

#[test]
fn a_node_whose_old_process_goes_on_over_a_new_file_is_not_taken_back() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let SectionResult::Undone { failure } = super::world::undone() else { panic!("another result") };
    world.end("ctl-2", SectionResult::LeftAlone { failure, because: "the plan says so".to_string() });
    world.resume();
    // It answers the old version, and the look says nothing of an executable that is also what lies there.
    world.look_clear("ctl-2", crate::inventory::Seen { exe_sha256: None, ..old() });
    assert_eq!(world.phase("ctl-2"), Phase::Returning);
    assert!(world.node("ctl-2").unsettled.is_some());
}

#[test]
fn what_failed_before_the_run_is_shown_as_it_was_first_seen() {
    let mut world = World::usual();
    assert!(view(&world, &[]).failed_before.is_empty());
    let cluster = ClusterName::parse("prod").unwrap();
    let found = |said: &str| Event::FailedBefore {
        cluster: cluster.clone(),
        keys: vec![said.to_string()],
        said: vec![said.to_string()],
    };
    world.tell(found("queue-0 does not start"));
    // A look that was asked for before the first came in.
    world.tell(found("queue-1 does not start"));
    let shown = view(&world, &[]).failed_before;
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (&shown[0].cluster, &shown[0].said),
        (&cluster, &vec![String::from("queue-0 does not start")])
    );
    assert_eq!(world.run.failed_before[&cluster], ["queue-0 does not start"]);
}
