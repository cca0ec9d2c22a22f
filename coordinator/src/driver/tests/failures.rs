//! What failed in a node's cluster before anything was changed: asked for at the first gate, kept and told once.

use drydock_core::recipe::{Check, KubernetesCluster};
use drydock_types::ClusterName;

use super::*;
use crate::driver::FailedBefore;

/// The plan asks for the cluster only while a node soaks.
fn watched() -> World {
    let mut world = World::of(&["a", "b"]);
    let mut plan = usual(&world.driver, &["a", "b"]);
    plan.stages[0].waves[0].soak_checks = vec![Check::KubernetesCluster(KubernetesCluster::default())];
    world.start(plan);
    world
}

fn asked(world: &World, of: &str) -> crate::driver::LookRequest {
    let look = |output: &Output| match output {
        Output::Look(request) if request.node.as_str() == of => Some((**request).clone()),
        _ => None,
    };
    world.out.iter().find_map(look).unwrap_or_else(|| panic!("nobody looks at {of}: {:?}", world.out))
}

fn found(key: &str) -> Input {
    let cluster = ClusterName::parse("prod").unwrap();
    let found = FailedBefore { cluster, keys: vec![key.to_string()], said: vec![format!("{key} fails")] };
    Input::FailedBefore { run: 1, found }
}

fn lines(world: &World) -> Vec<String> {
    let events = world.store.events(1, 100).unwrap();
    let text = |event: &crate::store::EventRow| String::from_utf8_lossy(&event.event).into_owned();
    let said = "failing in the cluster prod before this run";
    events.iter().map(text).filter(|text| text.contains(said)).collect()
}

#[test]
fn the_first_gate_is_asked_for_it_and_what_it_finds_is_kept_once() {
    let mut world = watched();
    let first = asked(&world, "a");
    assert!(first.notes_failures && first.failed_before.is_empty() && first.changed.is_empty(), "{first:?}");
    assert_eq!(first.began_unix_ms, world.run(1).started.wall_ms);
    world.tell(found("0123456789abcdef"));
    // A look that another node asked for at the same time has found the same, or more.
    world.tell(found("fedcba9876543210"));
    let kept = &world.run(1).failed_before[&ClusterName::parse("prod").unwrap()];
    assert_eq!(kept, &["0123456789abcdef"]);
    let stored = rows::read(&world.store.load().unwrap().runs[0]).unwrap();
    assert_eq!(
        &stored.failed_before,
        &world.run(1).failed_before,
        "a coordinator that is started anew knows it"
    );
    assert_eq!(lines(&world).len(), 1);
}

#[test]
fn a_stage_that_asks_for_it_has_what_failed_before_the_stages_ahead_of_it() {
    // As with the images of a cluster without a registry: they are placed first, and nothing is asked of the cluster.
    let mut world = World::of(&["a", "b"]);
    let mut plan = usual(&world.driver, &["a", "b"]);
    let mut later = plan.stages[0].clone();
    let second = plan.stages[0].waves[0].nodes.split_off(1);
    later.waves[0].nodes = second;
    later.name = drydock_types::Label::parse("later").unwrap();
    later.recipe.spec.gate = vec![Check::KubernetesCluster(KubernetesCluster::default())];
    plan.stages[0].recipe.spec.gate.clear();
    plan.stages.push(later);
    world.start(plan);
    let first = asked(&world, "a");
    assert!(first.notes_failures && first.changed.is_empty(), "{first:?}");
}

#[test]
fn a_look_after_something_was_changed_is_told_what_for_clusters_of_which_nothing_was() {
    let mut world = watched();
    world.tell(found("0123456789abcdef"));
    let run = world.run(1);
    let round = run.nodes[0].look.as_ref().unwrap().round;
    assert!(round > 0);
    world.clear(1, "a");
    world.done(1, "a");
    let after = asked(&world, "a");
    assert!(!after.notes_failures, "it is back from its change");
    world.clear(1, "a");
    let next = asked(&world, "b");
    // Of which cluster each is a Node the look knows: of that one nothing counts as before any more.
    assert!(next.before && next.notes_failures, "{next:?}");
    assert_eq!(next.changed, BTreeSet::from([key("a")]));
    assert_eq!(next.failed_before.len(), 1);
}
