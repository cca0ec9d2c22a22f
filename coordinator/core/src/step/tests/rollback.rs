//! A run that takes another one back.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{NodeName, RunId, SectionKind, Verdict, outcome::SectionResult};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngSeed},
};

use super::world::{World, failure, journal, outcome, undone};
use crate::{
    inventory::{Role, Seen},
    plan::{
        tests::fixture::*,
        undo::{self, UndoError, undo_plan},
    },
    run::{Determined, Disrupted, Event, Left, Run},
    view::{Phase, RunStatus},
};

fn old() -> Seen {
    seen_old(Role::Follower)
}

fn new() -> Seen {
    seen_new(Role::Follower)
}

/// All three members upgraded, `ctl-1` last.
fn upgraded() -> World {
    let mut world = World::usual();
    for of in ["ctl-2", "ctl-3", "ctl-1"] {
        world.bring_to_done(of, Role::Follower);
    }
    assert_eq!(world.run.status, RunStatus::Done);
    world
}

/// The run that takes this one back, accepted and not begun.
fn rollback_of(world: &World, only: Option<&str>) -> Run {
    let only = only.map(name);
    let plan = undo_plan(&world.run, only.as_ref()).unwrap();
    Run::new(13, RunId([8; 16]), world.run.fleet, plan, "anna".to_string(), world.now)
}

/// The same, begun.
fn begun(world: &World, only: Option<&str>) -> World {
    let mut back = World::over(rollback_of(world, only), world.now);
    back.tell(Event::Started {});
    back
}

/// Whom it takes back, in order.
fn order(run: &Run) -> Vec<String> {
    run.nodes.iter().filter(|node| run.undo_of(node).is_some()).map(|node| node.name.to_string()).collect()
}

/// From its gate to done.
fn take_back(world: &mut World, of: &str) {
    assert_eq!(world.phase(of), Phase::Gating, "{:?}", world.phases());
    world.look_clear(of, new());
    assert_eq!(world.sent(), [(of.to_string(), SectionKind::Undo)]);
    world.done(of);
    world.look_clear(of, old());
    assert_eq!(world.phase(of), Phase::Soaking);
    world.pass(10_000);
    world.tell(Event::Tick {});
    world.look_clear(of, old());
    assert_eq!(world.phase(of), Phase::Done);
}

#[test]
fn whoever_left_service_last_goes_back_first_and_one_at_a_time() {
    let mut back = begun(&upgraded(), None);
    assert_eq!(order(&back.run), ["ctl-1", "ctl-3", "ctl-2"]);
    assert_eq!((back.run.plan.undoes, back.run.plan.window.as_ref()), (Some(12), None));
    for of in ["ctl-1", "ctl-3", "ctl-2"] {
        assert_eq!(back.looks(), [of], "nobody else is asked for meanwhile");
        take_back(&mut back, of);
    }
    assert_eq!(back.run.status, RunStatus::Done);
}

#[test]
fn an_undo_section_names_the_change_and_what_ran_before_it_and_is_the_same_when_it_is_sent_again() {
    let first = upgraded();
    let mut back = begun(&first, Some("ctl-3"));
    assert_eq!(order(&back.run), ["ctl-3"]);
    // The others stand in its stage all the same: the gate of a cluster asks every member.
    assert_eq!((back.run.nodes.len(), back.phase("ctl-1")), (3, Phase::Skipped));
    back.look_clear("ctl-3", new());
    let section = back.sections().remove(0);
    assert_eq!(section.undoes, first.node("ctl-3").last_change.map(|change| change.effect));
    assert_eq!((section.to.to_string(), section.from.as_ref()), (OLD.to_string(), None));
    assert!(section.allow_downgrade && section.artifact.is_none());
    // The rules see to it that what goes out again under the id is the same to the byte.
    back.lapse("ctl-3");
    back.tick(1000);
    let again = Seen { version: Some(Err("it does not answer".to_string())), ..new() };
    back.look("ctl-3", again, Verdict::Clear);
    assert_eq!(back.phase("ctl-3"), Phase::Gating, "a gate is shut while the version is not known");
    back.tick(1000);
    back.look_clear("ctl-3", new());
    assert_eq!(back.sections(), [section]);
}

#[test]
fn a_node_in_service_has_the_same_gates_as_an_upgrade() {
    let mut back = begun(&upgraded(), None);
    back.look("ctl-1", new(), Verdict::Waiting("ctl-2 has no leader".to_string()));
    assert_eq!((back.phase("ctl-1"), back.sent().len()), (Phase::Gating, 0));
    back.tick(500);
    back.look_disrupted("ctl-1", new(), &["db-7"]);
    assert_eq!((back.phase("ctl-1"), back.sent().len()), (Phase::Gating, 0), "the budget is used up");
    back.tick(1000);
    back.look("ctl-1", new(), Verdict::Refused("NOSPACE".to_string()));
    assert!(back.reason().contains("forbids"), "{}", back.reason());
}

#[test]
fn a_node_that_runs_what_ran_before_is_left_out_and_one_that_runs_something_else_holds() {
    let mut back = begun(&upgraded(), None);
    back.look_clear("ctl-1", old());
    assert_eq!(back.phase("ctl-1"), Phase::Skipped);
    assert!(back.node("ctl-1").note.contains(OLD));
    back.look_clear("ctl-3", Seen { version: Some(Ok(version("3.5.17"))), ..new() });
    assert!(back.reason().contains("ctl-3"), "{}", back.reason());
    let happened = &back.run.hold.as_ref().unwrap().happened;
    assert!(happened.contains("answers 3.5.17; run 12 had put 3.5.16 there"), "{happened}");
}

#[test]
fn the_same_version_with_the_new_binary_in_memory_is_not_back() {
    let mut back = begun(&upgraded(), None);
    let disguised = Seen { exe_sha256: Some(new_exe()), ..old() };
    back.look_clear("ctl-1", disguised.clone());
    assert_eq!(back.sent(), [("ctl-1".to_string(), SectionKind::Undo)]);
    back.done("ctl-1");
    back.look_clear("ctl-1", disguised);
    assert_eq!(back.phase("ctl-1"), Phase::Returning);
    let because = &back.node("ctl-1").waiting.as_ref().unwrap().because;
    assert!(because.contains("was to be taken back"), "{because}");
    back.tick(500);
    back.look_clear("ctl-1", old());
    assert_eq!(back.phase("ctl-1"), Phase::Soaking);
}

#[test]
fn past_a_point_of_no_return_the_run_holds_and_nothing_was_touched() {
    let mut back = begun(&upgraded(), None);
    back.look_clear("ctl-1", new());
    let because = "the cluster's version is 3.5: 3.4.23 refuses to start".to_string();
    let failure = drydock_types::outcome::Failure { step: "canUndo".to_string(), ..failure() };
    back.end("ctl-1", SectionResult::LeftAlone { failure, because: because.clone() });
    assert!(back.reason().contains(&because), "{}", back.reason());
    let hold = back.run.hold.as_ref().unwrap();
    assert!(hold.state_now.contains("nothing was touched"), "{}", hold.state_now);
    assert!(!back.node("ctl-1").half_way && back.node("ctl-1").unsettled.is_none());
    // Resumed it is asked again, under another id and through its gate.
    let before = back.node("ctl-1").effects.clone();
    back.resume();
    assert_eq!(back.looks(), ["ctl-1"]);
    back.look_clear("ctl-1", new());
    assert!(!before.contains(&back.effect("ctl-1")));
}

#[test]
fn what_was_left_half_way_is_tried_again_without_the_gate() {
    let mut back = begun(&upgraded(), None);
    back.look_clear("ctl-1", new());
    let because = "restartUnit could not be taken back: it did not become active".to_string();
    back.end("ctl-1", SectionResult::LeftAlone { failure: failure(), because });
    let hold = back.run.hold.as_ref().unwrap();
    assert!(hold.state_now.contains("half-way"), "{}", hold.state_now);
    assert!(back.node("ctl-1").unsettled.is_some());
    back.resume();
    let down = Seen {
        version: Some(Err("connection refused".to_string())),
        exe_sha256: None,
        role: None,
        down: true,
    };
    back.look("ctl-1", down, Verdict::Refused("ctl-1 is not healthy".to_string()));
    assert_eq!(back.sent(), [("ctl-1".to_string(), SectionKind::Undo)]);
    back.done("ctl-1");
    back.look_clear("ctl-1", old());
    assert_eq!(back.phase("ctl-1"), Phase::Soaking);
}

#[test]
fn what_was_left_half_way_and_serves_is_taken_back_through_its_gate_alone() {
    let mut back = begun(&upgraded(), None);
    back.look_clear("ctl-1", new());
    let because = "restartUnit could not be taken back: it did not become active".to_string();
    back.end("ctl-1", SectionResult::LeftAlone { failure: failure(), because });
    back.resume();
    // It is not known to be down: a version that was not heard is no process that is gone.
    let silent = Seen { version: Some(Err("no answer within 6 s".to_string())), ..new() };
    back.look("ctl-1", silent, Verdict::Waiting("ctl-2 is not healthy".to_string()));
    assert_eq!((back.phase("ctl-1"), back.sent().len()), (Phase::Gating, 0));
    back.tick(60_000);
    // It answers, so that taking it back takes it out of service: a cluster that lacks somebody keeps it there.
    back.look("ctl-1", new(), Verdict::Waiting("ctl-2 is not healthy".to_string()));
    assert_eq!((back.phase("ctl-1"), back.sent().len()), (Phase::Gating, 0));
    back.tick(60_000);
    let mut event = back.clear("ctl-1", new());
    if let Event::Looked { disrupted, .. } = &mut event {
        disrupted.push(Disrupted { node: name("ctl-2"), why: "its agent is silent".to_string() });
    }
    back.tell(event);
    assert_eq!((back.phase("ctl-1"), back.sent().len()), (Phase::Gating, 0));
    let waiting = back.node("ctl-1").waiting.clone().unwrap();
    assert!(waiting.because.contains("ctl-2"), "{waiting:?}");
    back.tick(60_000);
    back.look_clear("ctl-1", new());
    assert_eq!(back.sent(), [("ctl-1".to_string(), SectionKind::Undo)]);
}

#[test]
fn what_the_driver_adds_keeps_also_a_node_that_is_half_way() {
    let mut first = World::usual();
    first.bring_to_applying("ctl-2", &old());
    first.end("ctl-2", SectionResult::LeftAlone { failure: failure(), because: "undo failed".to_string() });
    first.abort();
    assert_eq!(first.run.status, RunStatus::Aborted);
    let mut back = begun(&first, None);
    assert_eq!(order(&back.run), ["ctl-2"]);
    assert!(back.node("ctl-2").half_way);
    let note = &undo::in_order(&back.run)[0].note;
    assert_eq!(note, "left half-way; taken back without the gate if it is down");
    for (check, verdict, status) in [
        ("freeze", Verdict::Waiting("the fleet is frozen by anna".to_string()), RunStatus::Running),
        ("evidence", Verdict::Unknown("ctl-1 left service after this".to_string()), RunStatus::Running),
        ("setAside", Verdict::Refused("ctl-2 is set aside by anna".to_string()), RunStatus::Held),
    ] {
        let mut event = back.clear("ctl-2", old());
        if let Event::Looked { results, .. } = &mut event {
            results.push(crate::run::CheckResult { check: check.to_string(), verdict });
        }
        back.tell(event);
        assert_eq!((back.run.status, back.sent().len()), (status, 0));
        back.tick(60_000);
    }
    // Old by its own answer, but what lies on the disk is not known: it is taken back all the same.
    back.resume();
    back.look_clear("ctl-2", old());
    assert_eq!(back.sent(), [("ctl-2".to_string(), SectionKind::Undo)]);
}

#[test]
fn a_run_that_changed_nothing_or_took_everything_back_has_nothing_to_take_back() {
    let world = World::usual();
    assert!(matches!(undo_plan(&world.run, None), Err(UndoError::Nothing { run: 12, .. })));

    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", old());
    assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
    let error = undo_plan(&world.run, None).unwrap_err().to_string();
    assert!(error.contains("ctl-2: it is back on what it ran before"), "{error}");

    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end("ctl-2", SectionResult::Failed { failure: failure() });
    assert!(undo_plan(&world.run, None).is_err());

    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &old());
    world.end(
        "ctl-2",
        SectionResult::Undecidable { step: "swapBinary".to_string(), because: "?".to_string() },
    );
    let error = undo_plan(&world.run, None).unwrap_err().to_string();
    assert!(error.contains("nothing tells how its change ended"), "{error}");

    let world = upgraded();
    let error = undo_plan(&world.run, Some(&name("ctl-9"))).unwrap_err().to_string();
    assert!(error.contains("no node ctl-9") && error.contains("drydock run show 12"), "{error}");
    let back = rollback_of(&world, None);
    let error = undo_plan(&back, None).unwrap_err().to_string();
    assert!(error.contains("itself the rollback of run 12"), "{error}");
}

/// One done, one at its change, aborted.
fn aborted_at_work() -> World {
    let mut world = World::usual();
    world.bring_to_done("ctl-2", Role::Follower);
    world.bring_to_applying("ctl-3", &old());
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborting);
    world
}

#[test]
fn a_rollback_behind_a_run_that_is_being_aborted_sees_in_its_turn_what_became_of_it() {
    for (result, half_way, phase) in [
        (SectionResult::Done {}, false, Phase::Done),
        (undone(), false, Phase::Skipped),
        (SectionResult::Failed { failure: failure() }, false, Phase::Skipped),
        (SectionResult::LeftAlone { failure: failure(), because: "?".to_string() }, true, Phase::Held),
    ] {
        let mut first = aborted_at_work();
        let mut run = rollback_of(&first, None);
        run.queued_behind = Some(12);
        assert_eq!(order(&run), ["ctl-3", "ctl-2"]);
        let mut back = World::over(run, first.now);
        back.tell(Event::Started {});
        assert_eq!(back.run.status, RunStatus::Queued);

        let well = if result == (SectionResult::Done {}) { new() } else { old() };
        first.end("ctl-3", result.clone());
        while !first.run.status.is_closed() {
            first.look_clear("ctl-3", well.clone());
        }
        let changes = undo::determine(&first.run, &back.run);
        back.tell(Event::Determined { changes });
        back.tell(Event::Unqueued {});
        let gone = phase == Phase::Skipped;
        assert_eq!(back.phase("ctl-3") == Phase::Skipped, gone, "{result:?}");
        assert_eq!(back.node("ctl-3").half_way, half_way, "{result:?}");
        if gone {
            assert!(!back.node("ctl-3").note.is_empty());
            assert_eq!(back.looks(), ["ctl-2"]);
        } else {
            assert_eq!(back.looks(), ["ctl-3"]);
        }
    }
}

#[test]
fn a_change_that_nobody_waited_for_is_asked_of_its_agent() {
    let mut first = aborted_at_work();
    first.tick(10_000_000);
    first.abort();
    assert_eq!(first.run.status, RunStatus::Aborted);
    assert_eq!(first.node("ctl-3").last_change.unwrap().left, Left::Unheard);
    let back = rollback_of(&first, None);
    assert_eq!(order(&back), ["ctl-3", "ctl-2"]);
    assert!(
        back.nodes.iter().all(|node| !node.half_way),
        "it may be well and in service: the gates are kept"
    );
}

#[test]
fn what_becomes_of_changes_is_taken_in_only_before_the_turn_and_only_by_a_rollback() {
    let mut back = begun(&upgraded(), None);
    let gone = BTreeMap::from([(0, Determined::Gone { why: "x".to_string() })]);
    back.tell(Event::Determined { changes: gone.clone() });
    assert_eq!(back.phase("ctl-1"), Phase::Gating);
    let mut world = World::usual();
    let before = world.run.clone();
    world.tell(Event::Determined { changes: gone });
    assert_eq!(world.run, before);
}

/// What may happen to a rollback; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Act {
    Look { verdict: u8, seen: u8 },
    End { how: u8 },
    Lapse,
    Decline,
    Connect { memory: u8 },
    Pause,
    Resume,
    Abort,
    Restart,
    Tick { ms: u32 },
    Wake,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        30 => (any::<u8>(), any::<u8>()).prop_map(|(verdict, seen)| Act::Look { verdict, seen }),
        30 => any::<u8>().prop_map(|how| Act::End { how }),
        4 => Just(Act::Lapse),
        1 => Just(Act::Decline),
        3 => any::<u8>().prop_map(|memory| Act::Connect { memory }),
        2 => Just(Act::Pause),
        6 => Just(Act::Resume),
        1 => Just(Act::Abort),
        2 => Just(Act::Restart),
        8 => prop_oneof![0u32..30, 0u32..20_000, 0u32..2_000_000].prop_map(|ms| Act::Tick { ms }),
        14 => Just(Act::Wake),
    ]
}

fn event(world: &World, back: &mut BTreeMap<NodeName, bool>, act: &Act) -> Option<Event> {
    let by = || "anna".to_string();
    Some(match act {
        Act::Look { verdict, seen } => {
            let node = world.run.nodes.iter().find(|node| node.look.is_some())?;
            let truth = if back[&node.name] { old() } else { new() };
            let seen = match seen {
                0..6 => Seen { version: Some(Err("refused".to_string())), ..truth },
                6..10 => Seen { version: Some(Ok(version("3.5.17"))), ..truth },
                10..16 => Seen { exe_sha256: None, ..truth },
                16..22 => old(),
                _ => truth,
            };
            let mut event = world.clear(node.name.as_str(), seen);
            if let Event::Looked { results, round, .. } = &mut event {
                match verdict {
                    0..10 => results[0].verdict = Verdict::Waiting("no leader".to_string()),
                    10..14 => results[0].verdict = Verdict::Refused("NOSPACE".to_string()),
                    14..18 => results.clear(),
                    18..22 => *round = round.wrapping_sub(1),
                    _ => {}
                }
            }
            event
        }
        Act::End { how } => {
            let node = world.run.nodes.iter().find(|node| node.open.is_some())?;
            let result = match how {
                0..12 => SectionResult::LeftAlone { failure: failure(), because: "risen".to_string() },
                12..18 => SectionResult::Refused { failure: failure() },
                18..24 => {
                    SectionResult::Undecidable { step: "section".to_string(), because: "?".to_string() }
                }
                _ => SectionResult::Done {},
            };
            let effect = node.open.as_ref()?.effect;
            *back.get_mut(&node.name)? |= result == SectionResult::Done {};
            Event::Ended { outcome: outcome(effect, result) }
        }
        Act::Lapse => {
            let open = world.run.nodes.iter().find_map(|node| node.open.as_ref())?;
            Event::Lapsed { effect: open.effect, why: "no stream".to_string() }
        }
        Act::Decline => {
            let open = world.run.nodes.iter().find_map(|node| node.open.as_ref())?;
            Event::Declined { effect: open.effect, why: "run 14 changed etcd here".to_string() }
        }
        Act::Connect { memory } => {
            let node = &world.run.nodes[usize::from(*memory) % world.run.nodes.len()];
            let journal = if *memory < 30 { journal(2, 5) } else { journal(1, 1000) };
            Event::AgentConnected { node: node.name.clone(), key: node.key, journal }
        }
        Act::Pause => Event::Paused { by: by() },
        Act::Resume => Event::Resumed { by: by() },
        Act::Abort => Event::Aborted { by: by() },
        Act::Restart => Event::Restarted {},
        Act::Tick { .. } | Act::Wake => Event::Tick {},
    })
}

fn play(half_way: bool, acts: &[Act]) -> (World, BTreeMap<NodeName, bool>) {
    let first = upgraded();
    let mut run = rollback_of(&first, None);
    run.nodes[0].half_way = half_way;
    let mut world = World::over(run, first.now);
    let mut back = world.run.nodes.iter().map(|node| (node.name.clone(), false)).collect();
    world.tell(Event::Started {});
    for act in acts {
        match act {
            Act::Tick { ms } => world.pass(u64::from(*ms)),
            Act::Wake => {
                let wake = world.run.next_wake_ms().unwrap_or(0);
                world.pass(wake.saturating_sub(world.now.clock_ms));
            }
            _ => world.pass(1),
        }
        if let Some(event) = event(&world, &mut back, act) {
            world.tell(event);
        }
    }
    (world, back)
}

proptest! {
    #![proptest_config(Config {
        cases: 150,
        rng_seed: RngSeed::Fixed(0x0D12_7D0D),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    })]

    #[test]
    fn the_rules_hold_after_any_sequence_of_events_of_a_rollback(
        half_way in any::<bool>(),
        acts in prop::collection::vec(act(), 0..120),
    ) {
        let (world, _) = play(half_way, &acts);
        let replayed = world
            .log
            .iter()
            .fold(world.first.clone(), |run, (event, now)| crate::step::step(run, event, *now).0);
        prop_assert_eq!(&replayed, &world.run, "the events alone give the run again");
    }

    #[test]
    fn a_rollback_to_which_everybody_answers_well_comes_to_its_end(
        half_way in any::<bool>(),
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let (mut world, mut back) = play(half_way, &acts);
        prop_assume!(!matches!(world.run.status, RunStatus::Aborting));
        for _ in 0..2000 {
            if world.run.status.is_closed() {
                break;
            }
            world.pass(1);
            let open = world.run.nodes.iter().find(|node| node.open.is_some()).map(|node| node.name.clone());
            let looked = world.run.nodes.iter().find(|node| node.look.is_some()).map(|node| node.name.clone());
            if matches!(world.run.status, RunStatus::Held | RunStatus::Paused) {
                world.resume();
            } else if let Some(of) = open {
                back.insert(of.clone(), true);
                world.done(of.as_str());
            } else if let Some(of) = looked {
                let returning = matches!(world.phase(of.as_str()), Phase::Returning | Phase::Soaking);
                let seen = if back[&of] || returning { old() } else { new() };
                world.look_clear(of.as_str(), seen);
            } else if let Some(wake) = world.run.next_wake_ms() {
                let ms = wake.saturating_sub(world.now.clock_ms);
                world.tick(ms);
            } else {
                prop_assert!(false, "nothing is waited for and nothing happens: {:?}", world.phases());
            }
        }
        prop_assert!(world.run.status.is_closed(), "{:?} {:?}", world.run.status, world.phases());
    }
}
