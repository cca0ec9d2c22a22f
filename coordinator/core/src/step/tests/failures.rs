//! Sections that end otherwise than well, lapse, or are declined.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{Millis, SectionKind, Verdict, outcome::SectionResult};

use super::world::{World, failure, outcome, undone};
use crate::{
    inventory::{Role::Follower, Seen},
    plan::tests::fixture::*,
    plan_file::OnFailure,
    run::{Effect, Event},
    run_view::{self, Live},
    view::{Phase, RunStatus},
};

fn old() -> Seen {
    seen_old(Follower)
}

#[test]
fn a_node_that_was_taken_back_is_seen_back_rolled_back_and_the_run_holds() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let first = world.effect("ctl-2");
    world.end("ctl-2", undone());
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Returning, RunStatus::Running));
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Returning, "it says the new version: it is not back");
    world.tick(500);
    world.look_clear("ctl-2", old());
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::RolledBack, Phase::Staged));
    let hold = world.run.hold.clone().unwrap();
    assert!(hold.reason.contains("ctl-2 did not come back with etcd 3.5.16, and is back on 3.4.23"));
    assert_eq!((hold.from, hold.next_attempt), (Phase::Returning, true));
    let view = run_view::view(&world.run, &Live::default(), Vec::new(), world.now).hold.unwrap();
    assert_eq!(view.next[0].does, "try ctl-2 again, as attempt 2");
    assert!(view.happened.contains("did not become active"), "{}", view.happened);

    world.tick(1_000_000);
    assert_eq!(world.sent().len(), 0, "nothing is tried again by itself");
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Staging, 2));
    assert_eq!(world.node("ctl-2").failure, None);
    world.bring_to_applying("ctl-2", &old());
    assert_ne!(world.effect("ctl-2"), first, "a new attempt is a new effect");
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
}

#[test]
fn a_node_that_does_not_come_back_from_its_undo_holds_as_such() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", undone());
    world.tick(300_000);
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Held));
    world.resume();
    assert_eq!(world.phase("ctl-2"), Phase::Returning);
    world.look_clear("ctl-2", old());
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::RolledBack, 1));
}

#[test]
fn each_section_that_failed_before_anything_was_changed_holds_and_resumes_as_a_new_attempt() {
    type Result = fn() -> SectionResult;
    let results: [Result; 2] =
        [|| SectionResult::Refused { failure: failure() }, || SectionResult::Failed { failure: failure() }];
    for result in results {
        for kind in [SectionKind::Stage, SectionKind::Protect, SectionKind::Apply] {
            let mut world = World::usual();
            match kind {
                SectionKind::Stage => {}
                SectionKind::Protect => {
                    world.stage_all();
                    world.look_clear("ctl-2", old());
                }
                SectionKind::Undo => unreachable!("a run that takes another one back has its own tests"),
                SectionKind::Apply => world.bring_to_applying("ctl-2", &old()),
            }
            world.end("ctl-2", result());
            assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Held));
            assert!(world.reason().contains(kind.as_str()), "{}", world.reason());
            assert!(world.run.hold.as_ref().unwrap().state_now.contains("nothing was changed"));
            world.resume();
            assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Staging, 2));
        }
    }
}

#[test]
fn a_node_that_was_left_alone_is_looked_at_and_never_changed_again_on_resume() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let because = "the cluster's version has risen".to_string();
    world.end("ctl-2", SectionResult::LeftAlone { failure: failure(), because });
    assert!(world.reason().contains("was not taken back: the cluster's version has risen"));
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Returning, 0));
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Soaking, 1));
}

#[test]
fn what_nobody_can_tell_holds_for_a_person() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end(
        "ctl-2",
        SectionResult::Undecidable { step: "swapBinary".to_string(), because: "two files".to_string() },
    );
    assert!(world.reason().contains("nobody can tell whether `swapBinary` took place on ctl-2"));
    world.tick(10_000_000);
    assert!(world.sent().is_empty());
    world.resume();
    assert_eq!(world.node("ctl-2").attempt, 2);
}

#[test]
fn a_node_that_turns_out_to_be_there_after_a_doubt_is_not_left_out_but_proved_and_soaked() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end(
        "ctl-2",
        SectionResult::Undecidable { step: "restartUnit".to_string(), because: "a crash".to_string() },
    );
    world.resume();
    world.stage_all();
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-3")), (Phase::Returning, Phase::Staged));
    world.look("ctl-2", seen_new(Follower), Verdict::Waiting("no leader".to_string()));
    assert_eq!(world.phase("ctl-3"), Phase::Staged, "nobody leaves while it is not well");
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
}

#[test]
fn a_section_that_lapses_is_decided_anew_after_a_while_and_under_the_same_id() {
    let mut world = World::usual();
    let effect = world.effect("ctl-2");
    world.lapse("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Pending, 0), "no hot loop");
    world.tick(999);
    assert_eq!(world.sent().len(), 0);
    world.tick(1);
    assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Stage)]);
    assert_eq!(world.effect("ctl-2"), effect);

    world.bring_to_applying("ctl-2", &old());
    let effect = world.effect("ctl-2");
    world.lapse("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Staged, 0));
    world.tick(1000);
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Gating, 0), "on fresh evidence only");
    world.look_clear("ctl-2", old());
    assert_eq!((world.effect("ctl-2"), world.node("ctl-2").attempt), (effect, 1));
}

#[test]
fn sections_that_are_never_begun_wait_longer_each_time_and_then_hold() {
    let mut world = World::usual();
    world.done("ctl-3");
    let began = world.now.clock_ms;
    let mut waits = Vec::new();
    while world.run.status == RunStatus::Running {
        world.lapse("ctl-2");
        if world.run.status != RunStatus::Running {
            break;
        }
        let waiting = world.node("ctl-2").waiting.clone().unwrap();
        assert_eq!(waiting.since.clock_ms, began, "since when is kept over all of them");
        let wake = world.run.next_wake_ms().unwrap();
        waits.push(wake - world.now.clock_ms);
        world.tick(wake - world.now.clock_ms);
        assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Stage)]);
    }
    assert_eq!(waits[..5], [1000, 2000, 5000, 15_000, 15_000]);
    assert!(world.now.clock_ms - began <= 1_800_000 + 15_000);
    assert!(world.reason().contains("has not begun its stage section for 30m"), "{}", world.reason());
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Staging, 1));
}

#[test]
fn an_agent_that_opens_its_stream_ends_the_wait_after_a_lapse() {
    let mut world = World::usual();
    world.lapse("ctl-2");
    world.tick(1000);
    world.lapse("ctl-2");
    world.pass(10);
    world.connect("ctl-2", super::world::journal(1, 4));
    assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Stage)]);
}

#[test]
fn a_node_that_somebody_else_changed_after_its_section_lapsed_holds() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.lapse("ctl-2");
    world.tick(1000);
    world.look_clear("ctl-2", Seen { version: Some(Ok(version("3.4.27"))), ..old() });
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Held, 0));
    assert!(world.reason().contains("it ran 3.4.23 when its change was decided, and runs 3.4.27"));
    world.resume();
    world.stage_all();
    world.look_clear("ctl-2", Seen { version: Some(Ok(version("3.4.27"))), ..old() });
    assert_eq!(world.phase("ctl-2"), Phase::Applying);
    assert_eq!(world.sections()[0].from, Some(version("3.4.27")));
}

#[test]
fn a_section_that_is_declined_holds_in_the_agents_words() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    let effect = world.effect("ctl-2");
    world.tell(Event::Declined { effect, why: "unit etcd.service is not in the policy".to_string() });
    assert_eq!(world.run.hold.as_ref().unwrap().happened, "unit etcd.service is not in the policy");
    world.resume();
    assert_eq!(world.node("ctl-2").attempt, 2);
}

#[test]
fn words_about_effects_that_are_not_open_change_nothing() {
    let mut world = World::usual();
    let stale = world.effect("ctl-2");
    world.stage_all();
    let foreign = drydock_types::EffectId([9; 32]);
    for effect in [stale, foreign] {
        for event in [
            Event::Ended { outcome: outcome(effect, undone()) },
            Event::Lapsed { effect, why: "x".to_string() },
            Event::Declined { effect, why: "x".to_string() },
        ] {
            let before = world.run.clone();
            world.tell(event);
            assert_eq!((&world.run, world.effects.len()), (&before, 0));
        }
    }
}

#[test]
fn looks_at_nodes_that_do_not_exist_change_nothing() {
    let mut world = World::usual();
    world.stage_all();
    let mut event = world.clear("ctl-2", old());
    if let Event::Looked { node, .. } = &mut event {
        *node = usize::MAX;
    }
    let before = world.run.clone();
    world.tell(event);
    assert_eq!(world.run, before);
}

#[test]
fn a_second_hold_does_not_lose_the_first_and_each_has_its_own_decision() {
    let mut world = World::usual();
    world.done("ctl-2");
    world.look_clear("ctl-2", old());
    world.done("ctl-2");
    world.look_clear("ctl-2", old());
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", old());
    assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
    let first = world.run.hold.clone();
    // ctl-3 was being staged ahead all the while, and fails now.
    world.end("ctl-3", SectionResult::Failed { failure: failure() });
    assert_eq!(world.run.hold, first, "what came first is shown first");
    world.resume();
    assert_eq!(world.run.status, RunStatus::Held);
    assert_eq!((world.phase("ctl-2"), world.sent().len()), (Phase::Pending, 0), "decided, and waits");
    assert!(world.reason().contains("ctl-3 could not do its stage section"));
    world.resume();
    assert_eq!(world.run.status, RunStatus::Running);
    assert_eq!((world.node("ctl-2").attempt, world.node("ctl-3").attempt), (2, 2));
}

#[test]
fn a_hold_leaves_the_gates_of_others() {
    let mut world = World::usual();
    world.done("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    world.look("ctl-2", old(), Verdict::Unknown("silent".to_string()));
    world.end("ctl-3", SectionResult::Failed { failure: failure() });
    assert_eq!((world.phase("ctl-2"), world.run.next_wake_ms()), (Phase::Staged, None));
    world.resume();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
}

#[test]
fn a_node_at_work_is_brought_to_an_end_while_another_ones_hold_stands() {
    let mut world = World::usual();
    world.done("ctl-2");
    world.look_clear("ctl-2", old());
    world.done("ctl-2");
    world.look_clear("ctl-2", old());
    world.end("ctl-3", SectionResult::Failed { failure: failure() });
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Follower));
    world.tick(10_000);
    world.look_clear("ctl-2", seen_new(Follower));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Done, RunStatus::Held));
}

#[test]
fn a_gate_that_refuses_holds_without_a_new_attempt() {
    let mut world = World::usual();
    world.stage_all();
    world.look("ctl-2", old(), Verdict::Refused("NOSPACE on 8e9e".to_string()));
    assert_eq!(world.phase("ctl-2"), Phase::Held);
    assert!(world.reason().contains("etcdQuorum forbids to take ctl-2 out of service"));
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").attempt), (Phase::Gating, 1));
}

#[test]
fn a_section_carries_what_its_stage_decided() {
    let mut bundle = usual();
    bundle.plan.spec.stages[0].on_failure = OnFailure::Hold;
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    let staged = world.sections()[0].clone();
    assert_eq!((staged.from, staged.verify.len(), staged.undo_on_failure), (None, 0, false));
    world.bring_to_applying("ctl-2", &old());
    let section = world.sections()[0].clone();
    assert_eq!(
        (section.from, section.to, section.allow_downgrade),
        (Some(version(OLD)), version(NEW), false)
    );
    assert_eq!((section.verify.len(), section.can_undo.len(), section.deadline), (1, 1, Millis::secs(600)));
    assert_eq!(section.requires, ["canUndo", "undoOnFailure"]);
    assert_eq!(section.artifact, Some(artifact()));
    let looks: Vec<_> = world.effects.iter().filter(|effect| matches!(effect, Effect::Look { .. })).collect();
    assert_eq!(looks, Vec::<&Effect>::new());
    assert_eq!(vec![section.node.to_string()], ["ctl-2"]);
}

#[test]
fn a_node_whose_old_process_goes_on_over_another_file_is_not_called_rolled_back() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", Seen { exe_sha256: None, ..old() });
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Returning, RunStatus::Running));
    let waiting = world.node("ctl-2").waiting.clone().unwrap();
    assert_eq!(waiting.what, "the running executable");
    world.tick(500);
    world.look_clear("ctl-2", old());
    assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
}

#[test]
fn a_node_that_is_back_on_what_an_earlier_attempt_left_is_not_called_rolled_back() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", Seen { exe_sha256: Some(new_exe()), ..old() });
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Held));
    let hold = world.run.hold.clone().unwrap();
    assert!(hold.state_now.contains("this run's own"), "{}", hold.state_now);
    assert!(hold.next_attempt);
}
