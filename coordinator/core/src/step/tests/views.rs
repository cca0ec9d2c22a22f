//! What operators read of a run that waits: the blocker by its name, and only commands that do something.

use alloc::{string::ToString, vec, vec::Vec};

use super::world::World;
use crate::{
    inventory::Role,
    plan::tests::fixture::*,
    run_view::{self, Live},
    view::{CommandView, EventLineView, RunView, WaitingView},
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
fn a_pause_is_as_old_as_the_record_says() {
    let mut world = World::usual();
    world.stage_all();
    world.pause();
    let line = |seq, unix_ms, text: &str| EventLineView { seq, unix_ms, node: None, text: text.to_string() };
    let log = vec![line(1, 10, "paused by anna"), line(2, 20, "paused by bert"), line(3, 30, "time passed")];
    let wait = run_view::view(&world.run, &Live::default(), log, world.now).waiting.unwrap();
    assert_eq!(wait.since_unix_ms, 20);
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
    let next = ["drydock run resume 12", "drydock run abort 12", "drydock run show 12 --node ctl-3"];
    assert_eq!(typed(&hold.next), next);
    assert_eq!(hold.next[1].does, "leave it here: ctl-2 stays upgraded");
}
