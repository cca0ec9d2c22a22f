//! What a person or the plan has deleted where it could not be evicted, and where the coordinator itself runs.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::Verdict;

use super::{
    moves::{WHY, bundle_with_drain, draining, leave, stop, to_draining},
    world::World,
};
use crate::{
    hold_kind::HoldKind,
    inventory::Role,
    moves::{AtDeadline, Doing, Force, ForcedPod, KubernetesDrain, Move, OWN_POD, REPLACEMENTS},
    plan::tests::fixture::*,
    plan_file::Allow,
    run::{Change, CheckResult, Effect, Event},
    view::{Phase, RunStatus},
};

fn pods() -> Vec<ForcedPod> {
    let budget = Some("shop/cart".to_string());
    let (namespace, name, uid) = ("shop".to_string(), "cart-0".to_string(), "u-0".to_string());
    vec![ForcedPod { namespace, name, uid, budget }]
}

fn force(world: &World, pods: Vec<ForcedPod>) -> Event {
    let change = Change::Force { node: world.index("ctl-2"), pods, grace_s: None };
    Event::Amended { by: "anna".to_string(), change }
}

/// `ctl-2` is being emptied, by a plan that lets an operator force.
fn allowing() -> World {
    let mut bundle = bundle_with_drain();
    bundle.plan.spec.allow.push(Allow::Force);
    draining_of(&bundle)
}

fn draining_of(bundle: &crate::bundle::Bundle) -> World {
    let mut world = World::of(bundle, &inventory(3));
    world.tell(Event::Started {});
    world.stage_all();
    to_draining(&mut world);
    world
}

fn forced_by(world: &World) -> Option<Force> {
    let mut orders = world.effects.iter().filter_map(|effect| match effect {
        Effect::Move(order) if order.doing == Some(Doing::Leave) => Some(order.force.clone()),
        _ => None,
    });
    orders.next_back().flatten()
}

#[test]
fn an_operators_word_orders_a_drain_anew_with_exactly_the_pods_that_were_named_and_stands_on_record() {
    let mut world = allowing();
    world.tell(force(&world, pods()));
    assert_eq!(world.orders(), [stop(), leave()].concat());
    let expected = Force::Pods { by: "anna".to_string(), pods: pods(), grace_s: None };
    assert_eq!(forced_by(&world), Some(expected));
    let amended = world.run.amendments.last().unwrap();
    assert_eq!(
        amended.what,
        "ctl-2: what cannot be evicted is deleted: shop/cart-0 past the PodDisruptionBudget shop/cart"
    );
    assert_eq!(amended.from, amended.to, "the plan stays as it is");
    // The same word once more is no further order.
    world.tell(force(&world, pods()));
    assert_eq!((world.orders(), world.run.amendments.len()), (vec![], 1));
    // Whoever lands there afterwards is another pod.
    world.left("ctl-2");
    assert_eq!(world.node("ctl-2").force, None);
}

#[test]
fn the_word_outlasts_the_hold_that_it_answers() {
    let mut world = allowing();
    world.tick(30 * 60_000);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::NotDrained);
    world.tell(force(&world, pods()));
    assert_eq!(world.orders(), [], "nothing is done while the run holds");
    world.resume();
    to_draining(&mut world);
    assert!(matches!(forced_by(&world), Some(Force::Pods { .. })));
}

#[test]
fn without_the_plans_leave_or_a_name_or_a_drain_nothing_is_forced() {
    let mut world = draining();
    world.tell(force(&world, pods()));
    assert_eq!((world.orders(), world.run.amendments.len()), (vec![], 0), "the plan does not allow it");
    let mut world = allowing();
    world.tell(force(&world, Vec::new()));
    assert_eq!((world.orders(), world.run.amendments.len()), (vec![], 0), "nobody is named");
    world.left("ctl-2");
    world.look_clear("ctl-2", seen_old(Role::Follower));
    world.tell(force(&world, pods()));
    assert_eq!(world.run.amendments.len(), 0, "it has left");
    assert!(world.run.why_not_forced(world.index("ctl-2")).is_some());
}

fn plan_that_forces() -> World {
    let mut bundle = bundle_with_drain();
    let drain = KubernetesDrain { at_deadline: AtDeadline::Force, ..KubernetesDrain::default() };
    bundle.stages[0].recipe.spec.drain = vec![Move::KubernetesDrain(drain)];
    draining_of(&bundle)
}

#[test]
fn a_plan_that_says_so_forces_at_the_deadline_and_holds_when_that_does_not_help_either() {
    let mut world = plan_that_forces();
    assert_eq!(forced_by(&world), None, "not before the time is over");
    let effect = world.node("ctl-2").moving.as_ref().unwrap().effect;
    world.tell(Event::MoveWaits { effect, what: "pods to leave".to_string(), because: WHY.to_string() });
    world.tick(30 * 60_000);
    assert_eq!((world.run.status, world.orders()), (RunStatus::Running, [stop(), leave()].concat()));
    assert_eq!(forced_by(&world), Some(Force::Plan {}));
    world.tick(29 * 60_000);
    assert_eq!(world.run.status, RunStatus::Running);
    world.tick(60_000);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::NotDrained);
    // A person's resume gives it its time again, and the budgets theirs.
    world.resume();
    to_draining(&mut world);
    assert_eq!(forced_by(&world), None);
}

#[test]
fn a_drain_that_is_stopped_forgets_the_plans_word_until_its_time_is_over_again() {
    let mut world = plan_that_forces();
    world.tick(30 * 60_000);
    world.pause();
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").force.clone()), (Phase::Staged, None));
}

#[test]
fn what_comes_back_as_often_as_it_is_forced_is_not_forced_for_ever() {
    let mut world = plan_that_forces();
    world.tick(30 * 60_000);
    assert_eq!(forced_by(&world), Some(Force::Plan {}));
    // It left, and is there again before the change: emptied anew, in the time that is left.
    world.left("ctl-2");
    world.tick(1000);
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        let of_move = results.iter_mut().find(|result| result.check == "kubernetesDrain").unwrap();
        of_move.verdict = Verdict::Waiting("pod shop/cart-0 is there again".to_string());
    }
    world.tell(event);
    assert_eq!(world.phase("ctl-2"), Phase::Draining);
    world.tick(30 * 60_000);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::NotDrained, "not forced a second time");
}

#[test]
fn nobody_is_forced_where_only_replacements_are_waited_for_and_a_person_is_asked() {
    let mut world = plan_that_forces();
    let effect = world.node("ctl-2").moving.as_ref().unwrap().effect;
    let because = "the ReplicaSet shop/cart has 1 of 2 pods ready on other nodes".to_string();
    world.tell(Event::MoveWaits { effect, what: REPLACEMENTS.to_string(), because });
    world.tick(30 * 60_000);
    assert_eq!((world.run.hold.as_ref().unwrap().kind, forced_by(&world)), (HoldKind::NotDrained, None));
}

#[test]
fn the_leader_does_not_wait_for_the_node_that_goes_last_because_the_coordinator_runs_there() {
    let mut bundle = bundle_with_drain();
    bundle.stages[0].recipe.spec.protect = Vec::new();
    let mut world = World::of(&bundle, &inventory(2));
    world.tell(Event::Started {});
    world.stage_all();
    hosting(&mut world, "ctl-2");
    assert_eq!((world.phase("ctl-2"), world.phase("ctl-1")), (Phase::Staged, Phase::Gating));
    // ctl-1 leads: it goes behind the followers, but for the one that goes behind everybody.
    world.look_clear("ctl-1", seen_old(Role::Leader));
    assert_eq!(world.phase("ctl-1"), Phase::Draining);
}

fn hosting(world: &mut World, of: &str) {
    let mut event = world.clear(of, seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        let verdict = Verdict::Refused("this coordinator itself runs here".to_string());
        results.push(CheckResult { check: OWN_POD.to_string(), verdict });
    }
    world.tell(event);
}

#[test]
fn the_node_that_the_coordinator_runs_on_goes_last_of_its_wave_and_then_says_what_to_do() {
    let mut bundle = bundle_with_drain();
    bundle.stages[0].recipe.spec.protect = Vec::new();
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world.stage_all();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    hosting(&mut world, "ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
    let waits = world.node("ctl-2").waiting.clone().unwrap();
    assert!(waits.because.contains("this coordinator itself runs here"), "{waits:?}");
    assert!(!world.node("ctl-2").marked);
    let mut others: Vec<String> = Vec::new();
    while let Some((name, _)) = world.phases().into_iter().find(|(_, phase)| *phase == Phase::Gating) {
        if name == "ctl-2" {
            break;
        }
        world.look_clear(&name, seen_old(Role::Follower));
        world.left(&name);
        world.look_clear(&name, seen_old(Role::Follower));
        world.done(&name);
        world.look_clear(&name, seen_new(Role::Follower));
        world.given_back(&name);
        let soak = world.run.plan.stages[0].waves[0].soak.0;
        world.tick(soak);
        world.look_clear(&name, seen_new(Role::Follower));
        assert_eq!(world.phase(&name), Phase::Done, "{:?}", world.phases());
        others.push(name);
    }
    assert_eq!(others.len(), 2, "{others:?}");
    // Nobody is left to go before it.
    hosting(&mut world, "ctl-2");
    let hold = world.run.hold.as_ref().unwrap();
    assert_eq!(
        (hold.kind, hold.happened.as_str()),
        (HoldKind::GateRefused, "this coordinator itself runs here")
    );
    assert!(!world.node("ctl-2").marked);
    // It was moved: the node is one like any other.
    world.resume();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Draining);
}
