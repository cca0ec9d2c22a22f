//! Checks that must stay clear while a node soaks, on it and on those before it.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{UnitName, Verdict};

use super::world::World;
use crate::{
    hold_kind::HoldKind,
    inventory::Role,
    plan::tests::fixture::*,
    recipe::{Check, PrometheusCheck, UnitCheck},
    run::Event,
    view::{Phase, RunStatus},
};

fn unit() -> Check {
    Check::Unit(UnitCheck {
        unit: UnitName::parse("{node}.service")
            .unwrap_or_else(|_| UnitName::parse("kubelet.service").unwrap()),
    })
}

fn prometheus() -> Check {
    let (url, query) = ("http://10.0.0.9:9090".to_string(), "up{job=\"etcd\"}".to_string());
    Check::Prometheus(PrometheusCheck { url, query, above: crate::recipe::Threshold::new(0.5), below: None })
}

fn world() -> World {
    let mut bundle = usual();
    bundle.plan.spec.stages[0].waves[0].soak_checks = vec![unit(), prometheus()];
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world
}

/// What is looked at in the soak of this node.
fn looked_at(world: &World, of: &str) -> Vec<alloc::string::String> {
    world.run.soak_looks(world.index(of)).iter().map(crate::run::SoakLook::name).collect()
}

/// The look's answer with this result not clear.
fn unclear(world: &mut World, of: &str, check: &str) {
    let mut event = world.clear(of, seen_new(Role::Follower));
    let Event::Looked { results, .. } = &mut event else { unreachable!() };
    let result = results.iter_mut().find(|result| result.check == check).unwrap();
    result.verdict = Verdict::Waiting("it is failed".to_string());
    world.tell(event);
}

/// From the soak's beginning to its next look.
fn next_look(world: &mut World) {
    let wake = world.run.next_wake_ms().unwrap();
    world.tick(wake - world.now.clock_ms);
}

#[test]
fn it_is_looked_at_on_the_node_and_on_those_that_were_changed_before_it() {
    let mut world = world();
    world.bring_to_soaking("ctl-2", Role::Follower);
    assert_eq!(looked_at(&world, "ctl-2"), ["unit on ctl-2", "prometheus in the soak"]);
    world.pass(10_000);
    world.tell(Event::Tick {});
    world.look_clear("ctl-2", seen_new(Role::Follower));
    world.bring_to_soaking("ctl-3", Role::Follower);
    assert_eq!(looked_at(&world, "ctl-3"), ["unit on ctl-2", "unit on ctl-3", "prometheus in the soak"]);
}

#[test]
fn three_looks_in_a_row_that_are_not_clear_hold_the_run() {
    let mut world = world();
    world.bring_to_done("ctl-2", Role::Follower);
    world.bring_to_soaking("ctl-3", Role::Follower);
    for looks in 1..=3 {
        assert_eq!(world.run.status, RunStatus::Running, "after {} looks", looks - 1);
        next_look(&mut world);
        unclear(&mut world, "ctl-3", "unit on ctl-2");
        assert_ne!(world.phase("ctl-1"), Phase::Gating, "nobody else leaves");
    }
    assert_eq!(world.reason(), "unit on ctl-2 is no longer clear while ctl-3 soaks");
    let hold = world.run.hold.clone().unwrap();
    assert_eq!((hold.kind, hold.from, hold.next_attempt), (HoldKind::Unwell, Phase::Soaking, false));
    assert!(hold.happened.starts_with("it is failed"));
    let live = crate::run_view::Live::default();
    let shown = crate::run_view::view(&world.run, &live, Vec::new(), world.now).hold.unwrap();
    let back = shown.next.iter().find(|it| it.command == "drydock run rollback 12 --node ctl-3");
    assert!(back.is_some(), "{:?}", shown.next);
    let abort = shown.next.iter().find(|it| it.command == "drydock run abort 12").unwrap();
    assert_eq!(
        abort.does,
        "leave it here: ctl-2 stays upgraded, and ctl-3 is in doubt until a run sees it well"
    );
    // Resumed, it soaks from the beginning.
    world.resume();
    assert_eq!((world.phase("ctl-3"), world.node("ctl-3").since), (Phase::Soaking, world.now));
    world.look_clear("ctl-3", seen_new(Role::Follower));
    assert_eq!(world.phase("ctl-3"), Phase::Soaking);
}

#[test]
fn two_that_are_not_clear_and_one_that_is_begin_the_soak_anew() {
    let mut world = world();
    world.bring_to_soaking("ctl-2", Role::Follower);
    for _ in 0..2 {
        next_look(&mut world);
        unclear(&mut world, "ctl-2", "prometheus in the soak");
    }
    assert_eq!((world.run.status, world.node("ctl-2").unclear), (RunStatus::Running, 2));
    next_look(&mut world);
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").unclear), (Phase::Soaking, 0));
    assert_eq!(world.node("ctl-2").since, world.now, "what counts is a whole soak without a break");
}

#[test]
fn a_check_that_was_not_answered_is_not_clear() {
    let mut world = world();
    world.bring_to_soaking("ctl-2", Role::Follower);
    for _ in 0..3 {
        next_look(&mut world);
        let mut event = world.clear("ctl-2", seen_new(Role::Follower));
        let Event::Looked { results, .. } = &mut event else { unreachable!() };
        results.retain(|result| result.check != "prometheus in the soak");
        world.tell(event);
    }
    assert!(world.reason().starts_with("prometheus in the soak"));
    assert!(world.run.hold.as_ref().unwrap().happened.contains("no answer"));
}

#[test]
fn what_the_recipe_asks_for_still_has_as_long_as_a_return_may_take() {
    let mut world = world();
    world.bring_to_soaking("ctl-2", Role::Follower);
    for _ in 0..5 {
        next_look(&mut world);
        world.look("ctl-2", seen_new(Role::Follower), Verdict::Waiting("a member is down".to_string()));
    }
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Running, Phase::Soaking));
}
