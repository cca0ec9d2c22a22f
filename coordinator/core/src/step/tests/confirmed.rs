//! Changes that a node takes back by itself: what its agent is told, and that its word is taken in every state.

use alloc::{boxed::Box, string::String, vec, vec::Vec};

use drydock_types::{AbsPath, EffectId, Millis, SectionKind, UnitName, section::CommitConfirmed};

use super::world::{World, undone};
use crate::{
    hold_kind::HoldKind,
    inventory::Role::Follower,
    plan::{
        tests::fixture::*,
        undo::{Confirmed, UndoError, undo_plan},
    },
    run::{Event, Hold, LastChange, Left, Run},
    run_view::{self, Live},
    view::{Phase, RunStatus},
};

fn confirmed() -> World {
    let mut bundle = usual();
    let spec = &mut bundle.stages[0].recipe.spec;
    spec.can_undo.clear();
    let witness = alloc::vec!["10.0.0.1:22".into()];
    spec.commit_confirmed = Some(CommitConfirmed { within: Millis::secs(30), witness });
    let mut fleet = inventory(3);
    for node in fleet.nodes.values_mut() {
        node.requirements.insert("commitConfirmed".into());
    }
    let mut world = World::of(&bundle, &fleet);
    world.tell(Event::Started {});
    world
}

#[test]
fn only_the_change_itself_is_commit_confirmed_and_the_agent_must_know_the_word() {
    let mut world = confirmed();
    let staged = world.sections()[0].clone();
    assert_eq!((staged.kind, staged.commit_confirmed), (SectionKind::Stage, None));
    assert!(!staged.requires.iter().any(|word| word == "commitConfirmed"));
    world.bring_to_applying("ctl-2", &seen_old(Follower));
    let section = world.sections()[0].clone();
    assert_eq!(section.commit_confirmed.map(|wanted| wanted.within), Some(Millis::secs(30)));
    assert!(section.requires.iter().any(|word| word == "commitConfirmed"));
}

/// Brings a world to where something is to happen.
type Before = fn(&mut World);

#[test]
fn that_a_node_took_its_change_back_is_accepted_in_every_state() {
    let hours = 10 * 3_600_000;
    let befores: [(&str, Before); 6] = [
        ("running", |_| {}),
        ("paused", World::pause),
        ("aborting", World::abort),
        ("late", |world| world.tick(10 * 3_600_000)),
        ("late and aborting", |world| {
            world.tick(10 * 3_600_000);
            world.abort();
        }),
        ("after a restart", |world| world.tell(Event::Restarted {})),
    ];
    for (state, before) in befores {
        let mut world = confirmed();
        world.bring_to_applying("ctl-2", &seen_old(Follower));
        before(&mut world);
        world.end("ctl-2", undone());
        assert_eq!(world.phase("ctl-2"), Phase::Returning, "{state}");
        assert!(world.node("ctl-2").undone && world.node("ctl-2").failure.is_some(), "{state}");
        world.look_clear("ctl-2", seen_old(Follower));
        assert_eq!(world.phase("ctl-2"), Phase::RolledBack, "{state}");
        assert!(
            matches!(world.run.status, RunStatus::Held | RunStatus::Aborting | RunStatus::Aborted),
            "{state}"
        );
        world.tick(hours);
        assert!(!world.sections().iter().any(|section| section.kind == SectionKind::Apply), "{state}");
    }
}

/// A stage of the agent itself, confirmed by its nodes, and one of etcd behind it over the same nodes. Nothing is
/// begun.
fn both() -> World {
    let wave = || wave("all", labelled());
    let mut bundle = bundle(vec![stage("agent", vec![wave()]), stage("etcd", vec![wave()])]);
    let recipe = &mut bundle.stages[0].recipe;
    recipe.metadata.name = label("drydock-agent");
    recipe.spec.detect.unit = Some(UnitName::parse("agent-of-drydock.service").unwrap());
    recipe.spec.detect.path = Some(AbsPath::parse("/opt/drydock/bin/agent").unwrap());
    let witness = vec!["10.0.0.1:22".into()];
    recipe.spec.commit_confirmed = Some(CommitConfirmed { within: Millis::secs(30), witness });
    let mut fleet = inventory(3);
    for node in fleet.nodes.values_mut() {
        node.requirements.insert("commitConfirmed".into());
    }
    World::of(&bundle, &fleet)
}

/// As if this node of this stage were upgraded.
fn upgraded(world: &mut World, stage: usize, of: &str) -> usize {
    let this = |node: &crate::run::NodeRun| node.stage == stage && node.name.as_str() == of;
    let index = world.run.nodes.iter().position(this).unwrap();
    let node = &mut world.run.nodes[index];
    node.enter(Phase::Done, world.now);
    node.from = Some(version(OLD));
    node.last_change = Some(LastChange { effect: EffectId([7; 32]), left: Left::Whole });
    index
}

fn refusal(run: &Run) -> Box<Confirmed> {
    match undo_plan(run, None) {
        Err(UndoError::Confirmed(confirmed)) => confirmed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_plan_back_for_an_agent_says_where_it_lies() {
    let mut world = both();
    upgraded(&mut world, 0, "ctl-2");
    let plan = refusal(&world.run).plan;
    let with = r#"with: {within: 30s, witness: ["10.0.0.1:22"], unit: "agent-of-drydock.service", path: "/opt/drydock/bin/agent"}"#;
    assert!(plan.contains(with), "{plan}");
}

#[test]
fn a_node_that_has_both_kinds_goes_back_whole_by_one_plan_what_came_last_first() {
    let mut world = both();
    upgraded(&mut world, 0, "ctl-2");
    upgraded(&mut world, 1, "ctl-2");
    upgraded(&mut world, 1, "ctl-3");
    let confirmed = refusal(&world.run);
    assert_eq!(confirmed.nodes, [name("ctl-2")]);
    let plan = confirmed.plan;
    let at = |word: &str| plan.find(word).unwrap_or_else(|| panic!("{word:?} is not in {plan}"));
    assert!(at("- name: back-1") < at("recipe: etcd"), "{plan}");
    assert!(
        at("recipe: etcd") < at("- name: back-2") && at("- name: back-2") < at("recipe: drydock-agent"),
        "{plan}"
    );
    assert_eq!(plan.matches("names: [ctl-2]").count(), 2, "{plan}");
    assert!(!plan.contains("ctl-3"), "by command: {plan}");
}

#[test]
fn another_node_is_one_that_a_rollback_by_command_takes_back() {
    let mut world = both();
    upgraded(&mut world, 0, "ctl-2");
    upgraded(&mut world, 1, "ctl-2");
    assert!(!refusal(&world.run).others, "ctl-2 is refused as a whole");
    assert!(undo_plan(&world.run, Some(&name("ctl-2"))).is_err());
    upgraded(&mut world, 1, "ctl-3");
    assert!(refusal(&world.run).others);
    assert!(undo_plan(&world.run, Some(&name("ctl-3"))).is_ok());
}

/// What is offered where the run holds for this node.
fn offered(world: &World, index: usize) -> Vec<String> {
    let mut run = world.run.clone();
    run.status = RunStatus::Held;
    run.nodes[index].enter(Phase::Held, world.now);
    run.hold = Some(Hold {
        kind: HoldKind::NotBack,
        node: Some(index),
        from: Phase::Returning,
        reason: "it is not back".into(),
        happened: "it does not answer".into(),
        state_now: "it was changed".into(),
        since: world.now,
        resume_at: Phase::Returning,
        next_attempt: false,
    });
    let view = run_view::view(&run, &Live::default(), Vec::new(), world.now);
    view.hold.unwrap().next.into_iter().map(|next| next.command).collect()
}

#[test]
fn a_hold_offers_no_rollback_by_command_that_would_be_refused() {
    let (whole, one) = ("drydock run rollback 12", "drydock run rollback 12 --node ctl-3");
    let offers = |world: &World, index: usize| {
        let can = offered(world, index);
        [whole, one].map(|command| can.iter().any(|can| can == command))
    };
    let mut world = both();
    upgraded(&mut world, 1, "ctl-2");
    let held = upgraded(&mut world, 1, "ctl-3");
    assert_eq!(offers(&world, held), [true, true]);
    upgraded(&mut world, 0, "ctl-2");
    assert_eq!(offers(&world, held), [false, true], "a rollback of the whole run is refused for ctl-2");
    upgraded(&mut world, 0, "ctl-3");
    assert_eq!(offers(&world, held), [false, false]);
}
