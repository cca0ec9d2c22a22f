//! What operators do to a run, and what its deadlines do.

use alloc::string::ToString;

use drydock_types::{Verdict, outcome::SectionResult};

use super::world::{World, failure, outcome, undone};
use crate::{
    inventory::Role::Follower,
    plan::tests::fixture::*,
    run::{Effect, Event},
    run_view::{self, Live},
    view::{Phase, RunStatus},
};

fn commands(world: &World) -> alloc::vec::Vec<alloc::string::String> {
    let view = run_view::view(&world.run, &Live::default(), alloc::vec::Vec::new(), world.now);
    let can = view.hold.map(|hold| hold.next).or(view.waiting.map(|waiting| waiting.can));
    can.unwrap().into_iter().map(|next| next.command).collect()
}

#[test]
fn a_pause_at_a_gate_leaves_it_and_an_answer_on_its_way_lets_nobody_out() {
    let mut world = World::usual();
    world.stage_all();
    let on_its_way = world.clear("ctl-2", seen_old(Follower));
    world.pause();
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Paused, Phase::Staged));
    world.tell(on_its_way.clone());
    assert_eq!((world.sent().len(), world.looks().len()), (0, 0));
    world.tick(60_000);
    assert_eq!(world.run.next_wake_ms(), None, "a paused run with nothing out sleeps");
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.looks()), (Phase::Gating, alloc::vec!["ctl-2".to_string()]));
    world.tell(on_its_way);
    assert_eq!(world.phase("ctl-2"), Phase::Gating, "the old answer opens no new gate");
}

#[test]
fn what_was_handed_out_before_a_pause_ends_by_itself_and_nothing_follows() {
    let mut world = World::usual();
    world.pause();
    assert_eq!(world.run.handed_out(), ["stage on ctl-2", "stage on ctl-3"]);
    world.done("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.looks().len()), (Phase::Staged, 0));

    let mut world = World::usual();
    world.stage_all();
    world.look_clear("ctl-2", seen_old(Follower));
    world.pause();
    world.done("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Staged, "protected, but it is judged again before its change");
    assert_eq!(world.looks().len(), 0, "no gate is looked at while it is paused");
    world.resume();
    world.look_clear("ctl-2", seen_old(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Applying);

    world.pause();
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Follower));
    world.tick(10_000);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Done, Phase::Staged));
    assert_eq!(world.run.status, RunStatus::Paused);
    world.resume();
    assert_eq!(world.phase("ctl-3"), Phase::Gating);
}

#[test]
fn a_pause_says_who_paused_and_the_command_that_goes_on() {
    let mut world = World::usual();
    world.pause();
    assert_eq!(world.run.stopped_by.as_deref(), Some("bert"));
    assert_eq!(commands(&world), ["drydock run resume 12", "drydock run abort 12"]);
    world.resume();
    assert_eq!(world.run.stopped_by, None);
}

#[test]
fn a_queued_run_waits_for_its_turn_paused_or_not() {
    let mut world = World::of(&usual(), &inventory(3));
    world.run.queued_behind = Some(11);
    world.tell(Event::Started {});
    world.tick(1_000_000);
    assert_eq!(
        (world.run.status, world.effects.len(), world.run.next_wake_ms()),
        (RunStatus::Queued, 0, None)
    );
    assert_eq!(commands(&world), ["drydock why 11", "drydock run abort 12"]);
    world.pause();
    world.resume();
    assert_eq!(world.run.status, RunStatus::Queued, "resumed, and still not its turn");
    world.pause();
    world.tell(Event::Unqueued {});
    assert_eq!((world.run.status, world.run.queued_behind), (RunStatus::Paused, None));
    world.resume();
    assert_eq!(
        (world.run.status, world.sent().len()),
        (RunStatus::Running, 2),
        "its turn came while it was paused"
    );
}

#[test]
fn a_queued_run_believes_nothing_that_was_seen_before_its_turn() {
    let mut world = World::of(&usual(), &inventory(3));
    world.run.queued_behind = Some(11);
    world.tell(Event::Started {});
    // When it was planned ctl-2 was there already; the run before it has changed that.
    let index = world.index("ctl-2");
    world.run.nodes[index].enter(Phase::Skipped, world.now);
    world.run.nodes[index].note = "already runs 3.5.16".to_string();
    world.tell(Event::Unqueued {});
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Gating, "it is looked at anew");
    world.look_clear("ctl-2", seen_old(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Protecting, "and not left out for what once was");
    let at_work = world.run.clone();
    world.tell(Event::Unqueued {});
    assert_eq!(world.run, at_work, "said again it changes nothing");
}

#[test]
fn a_queued_run_that_is_aborted_is_over_at_once() {
    let mut world = World::of(&usual(), &inventory(3));
    world.run.queued_behind = Some(11);
    world.tell(Event::Started {});
    world.abort();
    assert_eq!((world.run.status, world.effects.len()), (RunStatus::Aborted, 0));
}

#[test]
fn an_abort_brings_the_node_at_work_to_an_end_and_begins_no_other() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.abort();
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Aborting, Phase::Applying));
    world.done("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Returning);
    world.look("ctl-2", seen_new(Follower), Verdict::Waiting("no leader".to_string()));
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Done, Phase::Staged));
    assert_eq!(world.run.status, RunStatus::Aborted);
    assert!(matches!(world.effects[..], [Effect::Forget { .. }]));
}

#[test]
fn an_aborted_run_is_never_taken_up_again() {
    let mut world = World::usual();
    world.stage_all();
    let (look, effect) = (world.clear("ctl-2", seen_old(Follower)), world.run.nodes[0].effects[0]);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborted);
    let closed = world.run.clone();
    world.resume();
    world.tell(look);
    world.tell(Event::Ended { outcome: outcome(effect, SectionResult::Done {}) });
    world.tell(Event::Restarted {});
    world.tell(Event::Unqueued {});
    world.tell(Event::Started {});
    world.tick(1_000_000);
    world.abort();
    assert_eq!(world.run, closed);
}

#[test]
fn a_node_that_goes_back_while_the_run_is_aborted_is_rolled_back_and_the_run_ends() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.abort();
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", seen_old(Follower));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::RolledBack, RunStatus::Aborted));
    assert!(world.node("ctl-2").note.contains("is back on 3.4.23"));
    assert_eq!(world.node("ctl-2").failure, Some(failure()));
}

#[test]
fn a_second_abort_no_longer_waits_for_an_agent_that_is_not_heard() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.abort();
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborting, "it is not late yet: its end is waited for");
    world.tick(1_260_000);
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Aborting, Phase::Held));
    assert_eq!(commands(&world)[0], "drydock run abort 12");
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborted);
    assert!(
        world.node("ctl-2").note.contains("aborted by dora without waiting for the end of its apply section")
    );
}

#[test]
fn an_agent_that_is_heard_after_all_ends_an_abort_by_itself() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.abort();
    world.tick(1_260_000);
    assert_eq!(world.phase("ctl-2"), Phase::Held);
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Done, RunStatus::Aborted));
}

#[test]
fn a_held_run_is_aborted_at_once() {
    let mut world = World::usual();
    world.end("ctl-2", SectionResult::Refused { failure: failure() });
    assert_eq!(world.run.status, RunStatus::Held);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborting, "ctl-3 still has its stage section");
    world.done("ctl-3");
    assert_eq!((world.run.status, world.run.hold.is_none()), (RunStatus::Aborted, true));
}

#[test]
fn each_phase_has_its_deadline_and_the_hold_names_it() {
    // Phase, the deadline in ms, where `resume` goes on.
    let cases: [(Phase, u64, Phase); 7] = [
        (Phase::Staging, 2 * 1_800_000 + 60_000, Phase::Staging),
        (Phase::Gating, 1_800_000, Phase::Staged),
        (Phase::Protecting, 2 * 1_800_000 + 60_000, Phase::Protecting),
        (Phase::Rechecking, 1_800_000, Phase::Staged),
        (Phase::Applying, 2 * 600_000 + 60_000, Phase::Applying),
        (Phase::Returning, 300_000, Phase::Returning),
        (Phase::Soaking, 310_000, Phase::Soaking),
    ];
    for (phase, within, resume_at) in cases {
        let mut bundle = usual();
        bundle.plan.spec.stages[0].waves[0].nodes = named(&["ctl-2"]);
        let mut world = World::of(&bundle, &inventory(3));
        world.tell(Event::Started {});
        let old = seen_old(Follower);
        match phase {
            Phase::Staging => {}
            Phase::Gating => world.stage_all(),
            Phase::Protecting | Phase::Rechecking => {
                world.stage_all();
                world.look_clear("ctl-2", old);
                if phase == Phase::Rechecking {
                    world.done("ctl-2");
                }
            }
            Phase::Applying => world.bring_to_applying("ctl-2", &old),
            Phase::Returning => world.bring_to_returning("ctl-2", &old),
            _ => world.bring_to_soaking("ctl-2", Follower),
        }
        assert_eq!(world.phase("ctl-2"), phase);
        world.tick(within - 1);
        assert_eq!(world.phase("ctl-2"), phase, "one millisecond early");
        world.tick(1);
        assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Held), "{phase:?}");
        assert!(world.reason().contains("ctl-2"), "{}", world.reason());
        let hold = world.run.hold.clone().unwrap();
        assert_eq!((hold.from, hold.resume_at, hold.next_attempt), (phase, resume_at, false));
        let wake = world.run.next_wake_ms();
        assert_eq!(wake, None, "{phase:?}: no deadline runs while a person is asked");
        let open = world.node("ctl-2").open.clone();
        world.pass(10_000_000);
        world.resume();
        let expected = match resume_at {
            Phase::Staged => Phase::Gating,
            other => other,
        };
        assert_eq!((world.phase("ctl-2"), world.run.status), (expected, RunStatus::Running));
        assert_eq!(world.node("ctl-2").attempt, 1);
        assert!(world.sent().is_empty(), "nothing is sent twice");
        assert_eq!(world.asked(), open.map(|open| open.effect).into_iter().collect::<alloc::vec::Vec<_>>());
    }
}

#[test]
fn a_deadline_that_passes_in_a_pause_holds_too() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.pause();
    world.tick(1_260_000);
    assert_eq!(world.run.status, RunStatus::Held);
}

#[test]
fn a_gate_that_opens_after_its_deadline_lets_nobody_out() {
    let mut world = World::usual();
    world.stage_all();
    world.pass(1_799_990);
    world.tell(Event::Tick {});
    let late = world.clear("ctl-2", seen_old(Follower));
    world.pass(10);
    world.tell(late);
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Held, 0));
}

#[test]
fn an_outcome_that_comes_after_the_hold_counts_and_the_run_stays_held() {
    for undo in [false, true] {
        let mut world = World::usual();
        world.bring_to_applying("ctl-2", &seen_old(Follower));
        world.tick(1_260_000);
        assert!(world.reason().contains("has not reported the end of its apply section"));
        world.end("ctl-2", if undo { undone() } else { SectionResult::Done {} });
        assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Returning, RunStatus::Held));
        assert!(world.reason().contains("reported late"));
        assert_eq!(world.looks(), ["ctl-2"], "it is brought to an end though the run is held");
        if undo {
            world.look_clear("ctl-2", seen_old(Follower));
            assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
            assert!(world.reason().contains("is back on 3.4.23"), "the second hold has answered the first");
            assert!(world.run.holds_behind.is_empty());
        } else {
            world.look_clear("ctl-2", seen_new(Follower));
            world.pass(1_000_000);
            world.resume();
            assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Soaking, RunStatus::Running));
            assert_eq!(world.node("ctl-2").attempt, 1);
        }
    }
}

#[test]
fn a_section_that_was_late_and_never_begun_goes_back_to_its_gate() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    world.tick(1_260_000);
    world.lapse("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Held);
    assert!(world.run.hold.as_ref().unwrap().state_now.contains("never begun"));
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.looks()), (Phase::Gating, alloc::vec!["ctl-2".to_string()]));
}

#[test]
fn what_soaks_is_given_the_time_of_a_return_and_a_whole_soak_when_it_is_no_longer_well() {
    let mut world = World::usual();
    world.bring_to_soaking("ctl-2", Follower);
    world.tick(1000);
    world.look("ctl-2", seen_new(Follower), Verdict::Waiting("no leader".to_string()));
    let deadline = world.node("ctl-2").deadline_ms.unwrap();
    assert_eq!(deadline, world.now.clock_ms + 300_000 + 10_000);
    world.tick(500);
    world.look("ctl-2", seen_new(Follower), Verdict::Waiting("no leader".to_string()));
    assert_eq!(world.node("ctl-2").deadline_ms, Some(deadline), "a second bad look buys no time");
    world.pass(1000);
    world.tell(Event::Tick {});
    world.look_clear("ctl-2", seen_new(Follower));
    assert!(world.node("ctl-2").waiting.is_none());
    world.tick(1000);
    world.look("ctl-2", seen_new(Follower), Verdict::Waiting("no leader".to_string()));
    assert_eq!(world.node("ctl-2").deadline_ms, Some(deadline), "nor does a second regression");
    world.tick(deadline - world.now.clock_ms);
    assert_eq!(world.phase("ctl-2"), Phase::Held);
    assert!(world.run.hold.as_ref().unwrap().state_now.contains("is not well"));
    assert_eq!(world.phase("ctl-3"), Phase::Staged, "nobody follows one that is not well");
}

#[test]
fn a_section_that_lapses_at_a_held_node_while_the_run_is_aborted_leaves_it_held() {
    let mut world = World::usual();
    let wake = world.run.next_wake_ms().unwrap();
    world.tick(wake - world.now.clock_ms);
    let late = world.run.nodes.iter().find(|node| node.phase == Phase::Held).unwrap().name.to_string();
    world.abort();
    world.lapse(&late);
    assert_eq!(world.phase(&late), Phase::Held);
}
