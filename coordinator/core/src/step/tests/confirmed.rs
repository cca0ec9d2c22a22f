//! Changes that a node takes back by itself: what its agent is told, and that its word is taken in every state.

use drydock_types::{Millis, SectionKind, section::CommitConfirmed};

use super::world::{World, undone};
use crate::{
    inventory::Role::Follower,
    plan::tests::fixture::*,
    run::Event,
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
