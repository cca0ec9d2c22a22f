//! Another coordinator takes the run over; agents come back, with and without their memory.

use alloc::string::ToString;

use drydock_types::{Sha256, Verdict};

use super::world::{World, journal};
use crate::{
    inventory::Role::Follower,
    plan::tests::fixture::*,
    run::Event,
    view::{Phase, RunStatus},
};

/// A world with `ctl-2` in this phase.
fn at(phase: Phase) -> World {
    let mut world = World::usual();
    for of in ["ctl-1", "ctl-2", "ctl-3"] {
        world.connect(of, journal(1, 10));
    }
    match phase {
        Phase::Staging => {}
        Phase::Gating => world.stage_all(),
        Phase::Protecting | Phase::Rechecking => {
            world.stage_all();
            world.look_clear("ctl-2", seen_old(Follower));
            if phase == Phase::Rechecking {
                world.done("ctl-2");
            }
        }
        Phase::Applying => world.bring_to_applying("ctl-2", &seen_old(Follower)),
        Phase::Returning => world.bring_to_returning("ctl-2", &seen_old(Follower)),
        Phase::Soaking => world.bring_to_soaking("ctl-2", Follower),
        other => panic!("nothing is at work in {other:?}"),
    }
    assert_eq!(world.phase("ctl-2"), phase);
    world
}

#[test]
fn after_a_restart_nothing_is_sent_again_and_what_is_open_stays_open() {
    for phase in [Phase::Staging, Phase::Protecting, Phase::Applying] {
        let mut world = at(phase);
        let open = world.node("ctl-2").open.clone();
        let deadline = world.node("ctl-2").deadline_ms;
        world.tell(Event::Restarted {});
        assert_eq!((world.phase("ctl-2"), world.sent().len()), (phase, 0));
        assert_eq!((world.node("ctl-2").open.clone(), world.node("ctl-2").deadline_ms), (open, deadline));
        assert!(world.asked().is_empty(), "it is asked when its agent's stream opens");
        world.connect("ctl-2", journal(1, 12));
        assert_eq!((world.asked(), world.sent().len()), (alloc::vec![world.effect("ctl-2")], 0));
    }
}

#[test]
fn after_a_restart_gates_are_taken_anew_and_the_old_answer_opens_none() {
    for phase in [Phase::Gating, Phase::Rechecking] {
        let mut world = at(phase);
        let old = world.clear("ctl-2", seen_old(Follower));
        world.tell(Event::Restarted {});
        assert_eq!((world.phase("ctl-2"), world.looks()), (Phase::Gating, alloc::vec!["ctl-2".to_string()]));
        world.tell(old);
        assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Gating, 0));
    }
}

#[test]
fn after_a_restart_what_was_changed_is_looked_at_at_once_and_keeps_its_deadline() {
    for phase in [Phase::Returning, Phase::Soaking] {
        let mut world = at(phase);
        world.pass(1000);
        let deadline = world.node("ctl-2").deadline_ms;
        world.tell(Event::Restarted {});
        assert_eq!((world.phase("ctl-2"), world.looks()), (phase, alloc::vec!["ctl-2".to_string()]));
        assert_eq!(world.node("ctl-2").deadline_ms, deadline);
    }
}

#[test]
fn a_paused_run_and_a_held_one_stay_so_over_a_restart() {
    let mut world = at(Phase::Gating);
    world.pause();
    world.tell(Event::Restarted {});
    assert_eq!((world.run.status, world.effects.len()), (RunStatus::Paused, 0));
    let mut world = at(Phase::Gating);
    world.look("ctl-2", seen_old(Follower), Verdict::Refused("NOSPACE".to_string()));
    world.tell(Event::Restarted {});
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Held, Phase::Held));
}

#[test]
fn an_answer_that_it_was_never_accepted_brings_the_node_back_to_its_gate() {
    let mut world = at(Phase::Applying);
    world.tell(Event::Restarted {});
    world.connect("ctl-2", journal(1, 10));
    world.lapse("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    world.tick(1000);
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Gating, 0));
}

#[test]
fn an_agent_that_lost_its_journal_makes_what_was_open_undecidable() {
    for lost in [journal(2, 100), journal(1, 9)] {
        for phase in [Phase::Staging, Phase::Protecting, Phase::Applying] {
            let mut world = at(phase);
            world.connect("ctl-2", lost);
            assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Held));
            assert!(world.reason().contains("nobody can tell"), "{}", world.reason());
            assert!(world.asked().is_empty(), "there is nobody left who could answer");
            world.resume();
            assert_eq!(world.node("ctl-2").attempt, 2);
        }
    }
}

#[test]
fn an_agent_with_a_longer_journal_is_asked_and_one_with_nothing_open_is_not() {
    let mut world = at(Phase::Applying);
    world.connect("ctl-2", journal(1, 11));
    assert_eq!(world.asked(), [world.effect("ctl-2")]);
    let mut world = at(Phase::Returning);
    world.connect("ctl-2", journal(2, 0));
    assert!(world.asked().is_empty());
    assert_eq!(world.run.status, RunStatus::Running, "nothing was open, so nothing is in doubt");
}

#[test]
fn an_agent_of_another_key_is_another_node() {
    let mut world = at(Phase::Applying);
    let before = world.run.clone();
    let key = Sha256::of(b"enrolled again");
    world.tell(Event::AgentConnected { node: name("ctl-2"), key, journal: journal(9, 0) });
    assert_eq!((&world.run, world.effects.len()), (&before, 0));
}

#[test]
fn a_lost_journal_of_a_section_that_was_already_late_replaces_that_hold() {
    let mut world = at(Phase::Applying);
    world.tick(1_260_000);
    assert!(world.reason().contains("has not reported"));
    world.connect("ctl-2", journal(2, 0));
    assert!(world.reason().contains("nobody can tell"));
    assert!(world.run.holds_behind.is_empty());
    assert_eq!(world.run.hold.as_ref().unwrap().from, Phase::Applying);
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Staging, 2));
}
