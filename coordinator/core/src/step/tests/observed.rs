//! What is measured from outside while a node is changed, and what becomes of a gap that is too long.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{Millis, reach::ReachTarget};

use super::world::World;
use crate::{
    hold_kind::HoldKind,
    inventory::Role,
    moves::{KubernetesDrain, Move},
    observe::{ControlPlane, Gap, Interruption, Observed, Observer, Part, Reach},
    plan::tests::fixture::*,
    run::Event,
    run_view::{self, Live},
    view::{Phase, RunStatus},
};

/// A run in which the control plane may not answer for so long.
fn allowing(max_gap: Millis, drained: bool) -> World {
    let mut bundle = usual();
    let spec = &mut bundle.stages[0].recipe.spec;
    spec.observe = vec![Observer::ControlPlane(ControlPlane { max_gap })];
    spec.drain = drained.then(|| Move::KubernetesDrain(KubernetesDrain::default())).into_iter().collect();
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world
}

fn gap(longest_ms: u64) -> Gap {
    Gap { longest_ms, asked: 100, answered: 90 }
}

/// What a coordinator says that was started anew.
const LOST: &str = "the coordinator was started anew meanwhile";

fn seen(whole: Result<Gap, &str>) -> Vec<Observed> {
    let part = |name: &str| Part { name: name.to_string(), gap: gap(5000) };
    vec![Observed {
        observer: "controlPlane".to_string(),
        what: "the API of prod".to_string(),
        lost: whole == Err(LOST),
        each: false,
        interrupted: None,
        whole: whole.map_err(ToString::to_string),
        parts: vec![part("https://a:6443"), part("https://b:6443")],
    }]
}

/// `ctl-2` was changed, this was measured, and its look is clear.
fn returns(world: &mut World, measured: Result<Gap, &str>) {
    let (node, round) = (world.index("ctl-2"), world.node("ctl-2").look.as_ref().unwrap().round);
    world.tell(Event::Measured { node, round, seen: seen(measured) });
    world.look_clear("ctl-2", seen_new(Role::Follower));
}

fn changed(max_gap: Millis) -> World {
    let mut world = allowing(max_gap, false);
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.done("ctl-2");
    world
}

#[test]
fn a_gap_within_its_bound_is_told_and_holds_nothing() {
    let mut world = changed(Millis::secs(5));
    returns(&mut world, Ok(gap(5000)));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Soaking, RunStatus::Running));
    let view = run_view::view(&world.run, &Live::default(), Vec::new(), world.now);
    let nodes = &view.stages[0].waves[0].nodes;
    let told = nodes.iter().find(|node| node.node.as_str() == "ctl-2").unwrap();
    assert_eq!(told.observed, seen(Ok(gap(5000))));
}

#[test]
fn a_gap_past_its_bound_holds_before_the_next_node_and_is_no_reason_to_take_the_change_back() {
    let mut world = changed(Millis::secs(5));
    returns(&mut world, Ok(gap(5001)));
    let hold = world.run.hold.clone().unwrap();
    assert_eq!((hold.kind, hold.resume_at), (HoldKind::GapTooLong, Phase::Returning));
    assert!(hold.reason.contains("the API of prod did not answer for 5s1ms"), "{}", hold.reason);
    assert!(hold.happened.contains("https://a:6443: no answer for 5s"), "{}", hold.happened);
    assert_eq!((world.run.status, world.node("ctl-2").unsettled.as_ref()), (RunStatus::Held, None));
    assert!(world.sent().is_empty());
    // A person goes on: it is seen to be well, and not held for the same gap again.
    world.resume();
    returns(&mut world, Err(LOST));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Soaking, RunStatus::Running));
    assert_eq!(world.node("ctl-2").observed, seen(Ok(gap(5001))), "the figure stays");
}

#[test]
fn a_figure_that_is_lost_is_said_and_holds_nothing() {
    let mut world = changed(Millis::secs(5));
    returns(&mut world, Err(LOST));
    assert_eq!(world.phase("ctl-2"), Phase::Soaking);
    let line = world.node("ctl-2").observed[0].line();
    assert_eq!(line, "the API of prod was not measured: the coordinator was started anew meanwhile");
}

#[test]
fn where_nobody_could_ask_a_person_decides_and_only_once() {
    let mut world = changed(Millis::secs(5));
    returns(&mut world, Err("its credentials cannot be opened"));
    let hold = world.run.hold.clone().unwrap();
    assert_eq!((hold.kind, hold.resume_at), (HoldKind::GapTooLong, Phase::Returning));
    assert!(
        hold.reason.contains("could not be measured (its credentials cannot be opened)"),
        "{}",
        hold.reason
    );
    world.resume();
    returns(&mut world, Err("its credentials cannot be opened"));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Soaking, RunStatus::Running));
}

#[test]
fn what_belongs_to_another_look_is_not_believed() {
    let mut world = changed(Millis::secs(5));
    let (node, round) = (world.index("ctl-2"), world.node("ctl-2").look.as_ref().unwrap().round);
    world.tell(Event::Measured { node, round: round + 1, seen: seen(Ok(gap(9000))) });
    world.tell(Event::Measured { node: 99, round, seen: seen(Ok(gap(9000))) });
    let other = world.index("ctl-3");
    world.tell(Event::Measured { node: other, round, seen: seen(Ok(gap(9000))) });
    assert!(world.run.nodes.iter().all(|node| node.observed.is_empty()));
}

#[test]
fn a_node_is_given_back_before_anybody_is_asked_about_its_gap() {
    let mut world = allowing(Millis::secs(5), true);
    world.stage_all();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    if world.phase("ctl-2") == Phase::Protecting {
        world.done("ctl-2");
        world.look_clear("ctl-2", seen_old(Role::Follower));
    }
    assert_eq!(world.phase("ctl-2"), Phase::Draining);
    world.left("ctl-2");
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Applying);
    world.done("ctl-2");
    returns(&mut world, Ok(gap(60_000)));
    assert_eq!((world.phase("ctl-2"), world.run.hold.is_none()), (Phase::Releasing, true));
    world.given_back("ctl-2");
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::GapTooLong);
    assert!(!world.node("ctl-2").marked);
}

/// A run of which two observers of one kind have each a bound of their own.
fn watched(bounds: [Millis; 2]) -> World {
    let mut bundle = usual();
    let one = |max_gap| {
        Observer::Reach(Reach {
            from: "net-1".to_string(),
            to: vec![ReachTarget::Ping { address: "10.0.0.7".to_string() }],
            every: Millis(100),
            max_gap,
        })
    };
    bundle.stages[0].recipe.spec.observe = bounds.map(one).to_vec();
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.done("ctl-2");
    world
}

fn reached(what: &str, longest_ms: u64, interrupted: Option<Interruption>) -> Observed {
    Observed {
        observer: "reach".to_string(),
        what: what.to_string(),
        whole: Ok(gap(longest_ms)),
        each: true,
        interrupted,
        lost: false,
        parts: Vec::new(),
    }
}

fn told(world: &mut World, seen: Vec<Observed>) {
    let (node, round) = (world.index("ctl-2"), world.node("ctl-2").look.as_ref().unwrap().round);
    world.tell(Event::Measured { node, round, seen });
    world.look_clear("ctl-2", seen_new(Role::Follower));
}

#[test]
fn two_observers_of_one_kind_have_each_their_own_bound() {
    let both = || vec![reached("a", 3_000, None), reached("b", 1_000, None)];
    let mut world = watched([Millis::secs(5), Millis::secs(1)]);
    told(&mut world, both());
    assert_eq!((world.phase("ctl-2"), world.run.hold.is_none()), (Phase::Soaking, true));
    let mut world = watched([Millis::secs(1), Millis::secs(5)]);
    told(&mut world, both());
    let hold = world.run.hold.clone().unwrap();
    assert!(hold.reason.contains("a did not answer for 3s"), "{}", hold.reason);
    // And the figure of one is not kept for the other.
    world.resume();
    let lost = |of: &str| Observed { whole: Err(LOST.to_string()), lost: true, ..reached(of, 0, None) };
    told(&mut world, vec![lost("a"), reached("b", 1_100, None)]);
    let kept: Vec<_> =
        world.node("ctl-2").observed.iter().map(|of| of.whole.clone().unwrap().longest_ms).collect();
    assert_eq!(kept, [3_000, 1_100]);
}

#[test]
fn what_was_measured_with_an_interruption_is_never_no_gap() {
    let broken = |unseen_ms| Some(Interruption { unseen_ms, times: 1 });
    let mut world = watched([Millis::secs(5); 2]);
    told(&mut world, vec![reached("a", 0, broken(5_001)), reached("b", 0, None)]);
    let hold = world.run.hold.clone().unwrap();
    assert_eq!(hold.kind, HoldKind::GapTooLong);
    assert!(hold.reason.contains("a did not answer while ctl-2 was changed is not known"), "{}", hold.reason);
    assert!(hold.reason.contains("an interruption of 5s1ms"), "{}", hold.reason);
    assert!(hold.happened.contains("measured with an interruption of"), "{}", hold.happened);
    // A gap may have run into it on either side.
    let mut world = watched([Millis::secs(5); 2]);
    told(&mut world, vec![reached("a", 0, None), reached("b", 1_501, broken(2_000))]);
    assert!(world.run.hold.is_some());
    // Where even the worst is within the bound, it was kept to; and it is said all the same.
    let mut world = watched([Millis::secs(5); 2]);
    told(&mut world, vec![reached("a", 0, None), reached("b", 1_500, broken(2_000))]);
    assert_eq!((world.phase("ctl-2"), world.run.hold.is_none()), (Phase::Soaking, true));
    let line = world.node("ctl-2").observed[1].line();
    assert_eq!(
        line,
        "b: measured with an interruption of 2s: no answer for 1s500ms, 90 of 100 questions answered"
    );
}

#[test]
fn a_change_that_is_handed_out_anew_is_measured_from_then_on() {
    let mut world = watched([Millis::secs(5); 2]);
    let began = world.node("ctl-2").observed_from_ms.unwrap();
    assert!(began <= world.now.clock_ms);
    let usual = allowing(Millis::secs(5), false);
    assert_eq!(usual.node("ctl-2").observed_from_ms, None, "nothing was handed out");
    told(&mut world, vec![reached("a", 0, None), reached("b", 0, None)]);
    assert_eq!(world.node("ctl-2").observed_from_ms, Some(began));
}
