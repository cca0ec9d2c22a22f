//! What stands on record beyond any run, and what it keeps from leaving service.

use drydock_core::{
    standing::{FleetRecorded, Release},
    view::StandingView,
};
use drydock_types::outcome::Failure;

use super::*;

fn ended_with(world: &mut World, of: &str, result: SectionResult) {
    let effect = world.open(1, of);
    world.tell(ended(of, Outcome { result, ..outcome(effect) }));
}

fn undecidable() -> SectionResult {
    SectionResult::Undecidable { step: "nothing".to_string(), because: "the power went".to_string() }
}

fn undone() -> SectionResult {
    let failure = Failure {
        step: "restartUnit".to_string(),
        what: "exit 1".to_string(),
        next: Vec::new(),
        log: Vec::new(),
    };
    SectionResult::Undone { failure }
}

fn release(world: &mut World, of: &str) -> Result<StandingView, OperatorError> {
    world.driver.release(&name(of), &Release::default(), "bert", world.now)
}

/// Restarted, with everybody back.
fn again(world: &mut World) {
    world.restart();
    world.register();
    for (of, _) in world.nodes.clone() {
        world.connect(of.as_str());
    }
}

/// The lines of the record that belong to no run.
fn told(world: &World) -> Vec<String> {
    let rows = world.store.events(FLEET_RUN, 100).unwrap();
    let line = |row: &crate::store::EventRow| {
        document::decode_own::<FleetRecorded>("event of the fleet", &row.event).unwrap().text
    };
    rows.iter().map(line).collect()
}

fn refused(result: Result<impl std::fmt::Debug, OperatorError>) -> String {
    match result.unwrap_err() {
        OperatorError::Refused(why) => why,
        other => panic!("{other}"),
    }
}

#[test]
fn a_node_that_is_set_aside_is_out_of_the_count_and_is_not_worked_on() {
    let mut world = World::of(&["a", "b"]);
    // Planned before anybody set it aside; a plan that is made after that leaves it out.
    let plan = usual(&world.driver, &["a", "b"]);
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    world.driver.set_aside(&name("b"), "bert", "its disk is being replaced", world.now).unwrap();
    let later = usual(&world.driver, &["a", "b"]);
    let skipped = later.stages[0].waves[0].nodes[1].skip.as_deref();
    assert_eq!(skipped, Some("set aside by bert: its disk is being replaced"));
    world.start(plan);
    assert_eq!(disrupted(&world, 1, "a"), [], "silent, and set aside by a person on record");
    world.clear(1, "a");
    world.done(1, "a");
    world.clear(1, "a");
    // Its turn: nothing is done to it, and the hold has the command that ends it.
    world.connect("b");
    world.clear(1, "b");
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    assert!(hold.reason.contains("setAside") && hold.happened.contains("disk is being replaced"), "{hold:?}");
    assert!(hold.next[0].command.starts_with("drydock node release b --aside && "), "{:?}", hold.next);
    assert!(world.sent().is_empty());
    again(&mut world);
    assert!(world.driver.standing(key("b")).unwrap().set_aside.is_some(), "it outlives the coordinator");
    release(&mut world, "b").unwrap();
    world.control(1, ControlVerb::Resume);
    world.clear(1, "b");
    assert_eq!(world.sent(), [("b".to_string(), SectionKind::Apply)]);
    assert_eq!(
        told(&world),
        [
            "b was set aside by bert: its disk is being replaced",
            "b was released by bert from: set aside by bert: its disk is being replaced"
        ]
    );
    assert!(matches!(world.store.verify_chain().unwrap(), crate::store::record::RecordCheck::Whole { .. }));
}

/// Hostile input 11.
#[test]
fn a_re_enrolled_name_inherits_nothing_of_what_stood_on_record() {
    let mut world = World::of(&["a", "b"]);
    world.driver.set_aside(&name("b"), "bert", "x", world.now).unwrap();
    world.nodes[1].1.key = key("another machine");
    world.register();
    assert_eq!(world.driver.standing(key("another machine")), None);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    assert_eq!(disrupted(&world, 1, "a").len(), 1, "the new b is silent, and nobody set it aside");
    assert!(refused(release(&mut world, "b")).contains("nothing stands on record"));
}

#[test]
fn a_node_that_a_run_left_in_doubt_counts_over_all_runs_until_it_is_released() {
    let mut world = applying();
    ended_with(&mut world, "a", undecidable());
    world.control(1, ControlVerb::Abort);
    assert!(world.driver.runs.is_empty());
    again(&mut world);
    let plan = usual(&world.driver, &["b"]);
    world.start(plan);
    assert_eq!(disrupted(&world, 2, "b"), [("a".to_string(), "run 1 left thing in doubt there".to_string())]);
    world.clear(2, "b");
    assert_eq!((world.sent().len(), world.phase(2, "b")), (0, Phase::Gating));
    release(&mut world, "a").unwrap();
    world.tick(5000);
    world.clear(2, "b");
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn a_node_that_was_left_in_doubt_is_settled_by_a_later_look_that_finds_it_well() {
    let mut world = applying();
    ended_with(&mut world, "a", undecidable());
    world.control(1, ControlVerb::Abort);
    let plan = usual(&world.driver, &["a"]);
    world.start(plan);
    world.look(2, "a", Verdict::Waiting("503".to_string()));
    assert!(world.driver.standing(key("a")).is_some(), "it was not well");
    world.tick(5000);
    world.clear(2, "a");
    assert_eq!(world.driver.standing(key("a")), None);
    assert_eq!(told(&world).last().unwrap(), "thing on a was seen well by run 2");
    again(&mut world);
    assert_eq!(world.driver.standing(key("a")), None);
}

#[test]
fn a_resumed_node_in_doubt_still_counts_before_it_is_at_work_again() {
    let mut world = applying();
    ended_with(&mut world, "a", undecidable());
    world.control(1, ControlVerb::Resume);
    let plan = usual(&world.driver, &["b"]);
    assert_eq!(world.run(1).nodes[0].attempt, 2);
    let beside = world.driver.disrupted_beside(world.run(1), 1);
    assert_eq!(beside.len(), 1, "{beside:?}, {}", plan.name);
}

#[test]
fn a_version_that_failed_on_a_node_is_not_tried_there_again_until_a_person_releases_it() {
    let mut world = applying();
    ended_with(&mut world, "a", undone());
    world.clear(1, "a");
    assert_eq!(world.phase(1, "a"), Phase::RolledBack);
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    assert_eq!(hold.next[0].command, "drydock node release a --quarantine thing@2.0 && drydock run resume 1");
    again(&mut world);
    world.control(1, ControlVerb::Resume);
    world.clear(1, "a");
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    assert!(world.sent().is_empty());
    assert!(
        hold.happened.contains("thing 2.0 is quarantined on a since run 1: restartUnit: exit 1"),
        "{hold:?}"
    );
    release(&mut world, "a").unwrap();
    world.control(1, ControlVerb::Resume);
    world.clear(1, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
}

#[test]
fn a_node_tells_why_it_counts_what_it_waits_for_and_what_ends_each_thing_on_record() {
    let mut world = applying();
    ended_with(&mut world, "a", undecidable());
    let why = |world: &World, of: &str| world.driver.why_node(&name(of), world.now).unwrap();
    let at_a = why(&world, "a");
    assert!(at_a.out_of_service[0].starts_with("run 1 is at it (held: "), "{at_a:?}");
    assert_eq!(at_a.runs[0].hold.as_ref().unwrap().node, Some(name("a")));
    world.control(1, ControlVerb::Abort);
    world.driver.set_aside(&name("a"), "bert", "disk", world.now).unwrap();
    let at_a = why(&world, "a");
    assert_eq!(at_a.out_of_service, ["run 1 left thing in doubt there"]);
    assert!(at_a.uncounted.is_some() && at_a.runs.is_empty());
    let commands: Vec<&str> =
        at_a.on_record.iter().map(|item| item.command.as_deref().unwrap_or_default()).collect();
    assert_eq!(commands, ["drydock node release a --aside", "drydock node release a --doubt=thing"]);
    assert!(refused(release(&mut world, "a")).contains("say which ends"));
    let doubt = Release { doubt: Some(None), ..Release::default() };
    world.driver.release(&name("a"), &doubt, "bert", world.now).unwrap();
    again(&mut world);
    assert!(world.driver.standing(key("a")).unwrap().set_aside.is_some(), "the rest stands, also on disk");
    assert_eq!(world.driver.standing(key("a")).unwrap().unsettled, []);
    world.tell(Input::Disconnected { node: name("b"), session: 2 });
    assert!(matches!(
        world.driver.why_node(&name("z"), world.now),
        Err(OperatorError::NoSuchNode(of)) if of == name("z")
    ));
}

#[test]
fn a_frozen_fleet_brings_what_is_at_work_to_its_end_and_lets_nobody_out() {
    let mut world = applying();
    let (view, _) = world.driver.freeze("bert", "the core router", world.now).unwrap();
    assert_eq!(view.handed_out, ["apply on a (run 1)"]);
    assert!(refused(world.driver.freeze("anna", "y", world.now)).contains("frozen already, by bert"));
    world.done(1, "a");
    world.clear(1, "a");
    assert_eq!(world.phase(1, "a"), Phase::Done);
    // Hours, and a restart: it waits, and does not hold.
    for _ in 0..50 {
        world.tick(600_000);
        if world.phase(1, "b") == Phase::Gating {
            world.clear(1, "b");
            assert!(world.sent().is_empty());
        }
    }
    again(&mut world);
    world.tick(5000);
    world.clear(1, "b");
    assert_eq!((world.run(1).status, world.sent().len()), (RunStatus::Running, 0));
    let view = world.driver.show(1, world.now).unwrap();
    let wait = view.waiting.unwrap();
    assert_eq!(wait.kind, drydock_core::hold_kind::WaitKind::Freeze);
    assert!(wait.because.contains("bert froze the fleet: the core router"), "{wait:?}");
    assert_eq!((wait.can[0].command.as_str(), wait.left_ms), ("drydock thaw", None));
    assert_eq!(view.frozen.unwrap().by, "bert");
    world.driver.thaw("anna", world.now).unwrap();
    world.tick(5000);
    world.clear(1, "b");
    assert_eq!(world.sent(), [("b".to_string(), SectionKind::Apply)]);
    assert!(refused(world.driver.thaw("anna", world.now)).contains("not frozen"));
}

#[test]
fn a_node_that_was_retired_counts_nowhere_and_holds_the_run_that_wants_it() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    let view = world.driver.retire(&name("b"), "bert", "sold", world.now).unwrap();
    assert_eq!(view.runs, [1]);
    world.nodes.pop();
    world.register();
    assert_eq!(disrupted(&world, 1, "a"), []);
    world.clear(1, "a");
    world.done(1, "a");
    world.clear(1, "a");
    world.clear(1, "b");
    let hold = world.driver.show(1, world.now).unwrap().hold.unwrap();
    assert!(hold.happened.contains("b was retired"), "{hold:?}");
    assert_eq!(told(&world), ["b was retired by bert: sold"]);
}

#[test]
fn right_after_a_start_nobody_is_taken_for_retired() {
    let mut world = World::of(&["a", "b"]);
    let plan = usual(&world.driver, &["a", "b"]);
    world.start(plan);
    world.restart();
    // An answer that is quicker than the registry.
    world.clear(1, "a");
    assert_eq!((world.run(1).status, world.sent().len()), (RunStatus::Running, 0));
}

#[test]
fn a_decision_that_the_store_does_not_take_was_not_made() {
    let mut world = World::of(&["a"]);
    let full = || StoreError::Full { path: "x".to_string(), wanted_bytes: 1, free_bytes: 0 };
    world.driver.store.fail_next_commit(full());
    assert!(world.driver.set_aside(&name("a"), "bert", "x", world.now).is_err());
    assert!(world.driver.has_failed());
    assert_eq!(world.driver.standing(key("a")), None);
    assert!(told(&world).is_empty());
}

mod machines {
    use drydock_core::standing::Machine;

    use super::*;

    fn of_machine(id: &str) -> Release {
        Release { machine: Some(id.to_string()), ..Release::default() }
    }

    fn caller(start: u8, id: &str) -> Caller {
        let machine = Machine {
            machine_id: id.to_string(),
            hostname: id.to_string(),
            address: "192.0.2.7".to_string(),
        };
        Caller { start: vec![start; 16], machine }
    }

    fn admit(world: &mut World, caller: &Caller) -> Admission {
        world.driver.admit(&name("a"), key("a"), caller, true, world.now).unwrap()
    }

    /// Hostile input 10, in the driver.
    #[test]
    fn of_two_machines_with_one_identity_neither_is_listened_to_until_a_person_says_which() {
        let mut world = World::of(&["a", "b"]);
        assert_eq!(admit(&mut world, &caller(1, "aaaa")), Admission::Welcome);
        assert_eq!(admit(&mut world, &caller(2, "bbbb")), Admission::Welcome);
        for again in [1, 2, 3] {
            let Admission::Refused(why) = admit(&mut world, &caller(again, "aaaa")) else {
                panic!("{again}")
            };
            assert!(why.contains("aaaa") && why.contains("bbbb"), "{why}");
            assert!(why.contains("drydock node release a --machine"), "{why}");
        }
        again(&mut world);
        assert!(
            matches!(admit(&mut world, &caller(2, "bbbb")), Admission::Refused(_)),
            "also after a restart"
        );
        let plan = usual(&world.driver, &["b"]);
        world.start(plan);
        assert_eq!(
            disrupted(&world, 1, "b"),
            [("a".to_string(), "two machines hold its identity".to_string())]
        );
        assert!(refused(release(&mut world, "a")).contains("--machine"));
        let wrong = world.driver.release(&name("a"), &of_machine("cc"), "bert", world.now);
        assert!(refused(wrong).contains("not one of the two"));
        world.driver.release(&name("a"), &of_machine("bb"), "bert", world.now).unwrap();
        assert_eq!(admit(&mut world, &caller(4, "bbbb")), Admission::Welcome);
        let Admission::Refused(why) = admit(&mut world, &caller(5, "aaaa")) else { panic!() };
        assert!(why.contains("only machine bbbb"), "{why}");
        assert_eq!(disrupted(&world, 1, "b"), []);
    }
}
