//! How a node leaves service by moves of the coordinator's, and is given back: rules 5, 7, 9 and 10.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{EffectId, SectionKind, Verdict};

use super::{
    rules::Taken,
    world::{World, failure, undone},
};
use crate::{
    hold_kind::{HoldKind, WaitKind},
    inventory::Role,
    moves::{Doing, KubernetesDrain, Move, MoveEnd},
    plan::tests::fixture::*,
    plan_file::Allow,
    run::{CheckResult, Effect, Event},
    run_view::{self, Live},
    view::{Phase, RunStatus, RunView},
};

/// What is under way outside, by what was ordered and told.
#[derive(Default)]
pub(super) struct Moves {
    under_way: BTreeMap<EffectId, (usize, Doing)>,
}

impl Moves {
    pub(super) fn check(&mut self, taken: &Taken<'_>) {
        let run = taken.after;
        if let Event::Restarted {} | Event::Restored { .. } = taken.event {
            self.under_way.clear();
        }
        if let Event::Moved { effect, .. } = taken.event {
            self.under_way.remove(effect);
        }
        for effect in taken.effects {
            match effect {
                Effect::Move(order) => match order.doing {
                    None => assert!(self.under_way.remove(&order.effect).is_some(), "stopped twice"),
                    Some(doing) => {
                        if doing == Doing::Leave {
                            leaves_on_a_clear_look(taken, order.node);
                        }
                        let node = &run.nodes[order.node];
                        assert!(node.marked, "{} is to be moved and nobody says so (rule 2)", node.name);
                        assert!(!order.moves.is_empty());
                        let known = self.under_way.insert(order.effect, (order.node, doing));
                        assert_eq!(known, None, "an order under an id that is known");
                    }
                },
                Effect::Dispatch { section } if section.kind != SectionKind::Stage => {
                    let node = run.nodes.iter().find(|node| node.name == section.node).unwrap();
                    let changes = section.kind != SectionKind::Protect;
                    assert!(
                        !changes
                            || !run.leaves_by_moves(node)
                            || (node.marked && was_emptied(taken, node.stage)),
                        "{} is changed before it has left service",
                        node.name
                    );
                }
                _ => {}
            }
        }
        for (effect, (index, doing)) in &self.under_way {
            let node = &run.nodes[*index];
            let phase = if *doing == Doing::Leave { Phase::Draining } else { Phase::Releasing };
            assert_eq!(node.phase, phase, "{} is {doing:?} and nobody wants it", node.name);
            assert_eq!(node.moving.as_ref().map(|moving| moving.effect), Some(*effect));
            // Rule 7.
            assert!(*doing == Doing::GiveBack || run.status == RunStatus::Running, "{:?}", run.status);
        }
        for node in &run.nodes {
            let counted = run.disrupts().iter().any(|out| out.name == node.name && out.stage == node.stage);
            assert!(!node.marked || counted, "{} is marked and counts as in service (rule 1)", node.name);
            // Rule 10: whatever way out it took, what is marked is taken back, or said.
            let over =
                matches!(node.phase, Phase::Done | Phase::Skipped | Phase::RolledBack | Phase::Soaking);
            assert!(!node.marked || !over, "{} is {:?} and marked", node.name, node.phase);
            let said = node.unsettled.is_some() && !node.note.is_empty();
            assert!(
                !run.status.is_closed() || !node.marked || said,
                "{} is left marked: {node:?}",
                node.name
            );
        }
    }
}

/// Rule 8: a node leaves service on the answer to the question at its gate; or it had left, and something is there
/// again.
fn leaves_on_a_clear_look(taken: &Taken<'_>, index: usize) {
    let Event::Looked { node, results, .. } = taken.event else {
        panic!("it leaves without a look: {:?}", taken.event);
    };
    let was = &taken.before.nodes[*node];
    assert_eq!(*node, index);
    let clear = results.iter().all(|result| result.verdict.is_clear());
    let again = was.drained && results.iter().any(|result| matches!(result.verdict, Verdict::Waiting(_)));
    assert!(clear || again, "it leaves on {results:?}");
}

/// The change follows a look that found it empty still.
fn was_emptied(taken: &Taken<'_>, stage: usize) -> bool {
    let Event::Looked { node, results, .. } = taken.event else { return false };
    let drain = &taken.after.plan.stages[stage].recipe.spec.drain;
    let clear = |of: &Move| results.iter().any(|it| it.check == of.name() && it.verdict.is_clear());
    taken.before.nodes[*node].drained && drain.iter().all(clear)
}

const WHY: &str = "PodDisruptionBudget shop/cart allows 0 disruptions";

fn drained() -> World {
    let mut bundle = usual();
    bundle.stages[0].recipe.spec.drain = vec![Move::KubernetesDrain(KubernetesDrain::default())];
    bundle.plan.spec.allow = vec![Allow::Skip, Allow::Extend];
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world
}

/// `ctl-2` is being emptied.
fn draining() -> World {
    let mut world = drained();
    world.stage_all();
    to_draining(&mut world);
    world
}

/// From its gate, with a snapshot where the last one is too old.
fn to_draining(world: &mut World) {
    world.look_clear("ctl-2", seen_old(Role::Follower));
    if world.phase("ctl-2") == Phase::Protecting {
        world.done("ctl-2");
        world.look_clear("ctl-2", seen_old(Role::Follower));
    }
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Draining, leave()));
}

fn leave() -> Vec<(String, Option<Doing>)> {
    vec![("ctl-2".to_string(), Some(Doing::Leave))]
}

fn give_back() -> Vec<(String, Option<Doing>)> {
    vec![("ctl-2".to_string(), Some(Doing::GiveBack))]
}

fn stop() -> Vec<(String, Option<Doing>)> {
    vec![("ctl-2".to_string(), None)]
}

/// It has left, and its change is handed out.
fn applying() -> World {
    let mut world = draining();
    world.left("ctl-2");
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.sent(), [("ctl-2".to_string(), SectionKind::Apply)]);
    world
}

fn seen(world: &World) -> RunView {
    run_view::view(&world.run, &Live::default(), Vec::new(), world.now)
}

#[test]
fn a_node_is_emptied_looked_at_again_changed_and_given_back_when_it_is_well() {
    let mut world = applying();
    world.done("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Returning, Vec::new()));
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Releasing, give_back()));
    world.given_back("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").marked), (Phase::Soaking, false));
}

#[test]
fn what_is_there_again_right_before_the_change_sends_it_back_to_be_emptied_within_the_same_time() {
    let mut world = draining();
    let by = world.node("ctl-2").deadline_ms;
    world.pass(60_000);
    world.left("ctl-2");
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        results.last_mut().unwrap().verdict = Verdict::Waiting("somebody has uncordoned it".to_string());
    }
    world.tell(event);
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Draining, leave()));
    assert_eq!(world.node("ctl-2").deadline_ms, by);
    let waiting = seen(&world).waiting.unwrap();
    assert_eq!((waiting.kind, waiting.because.as_str()), (WaitKind::Move, "somebody has uncordoned it"));
}

#[test]
fn a_recheck_that_says_nothing_of_the_drain_is_not_clear() {
    let mut world = draining();
    world.left("ctl-2");
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        results.pop();
    }
    world.tell(event);
    assert_eq!((world.phase("ctl-2"), world.sent()), (Phase::Rechecking, Vec::new()));
    assert_eq!(world.node("ctl-2").waiting.as_ref().unwrap().what, "kubernetesDrain");
}

#[test]
fn what_forbids_the_drain_holds_the_run_before_anything_is_touched() {
    let mut world = drained();
    world.stage_all();
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        results.last_mut().unwrap().verdict = Verdict::Refused(WHY.to_string());
    }
    world.tell(event);
    let hold = world.run.hold.as_ref().unwrap();
    assert_eq!((hold.kind, hold.happened.as_str()), (HoldKind::GateRefused, WHY));
    assert!(!world.node("ctl-2").marked);
}

#[test]
fn at_its_deadline_a_drain_is_stopped_and_held_with_what_it_waited_for() {
    let mut world = draining();
    let effect = world.node("ctl-2").moving.as_ref().unwrap().effect;
    let what = "pods of shop/cart to leave".to_string();
    world.tell(Event::MoveWaits { effect, what, because: WHY.to_string() });
    let waiting = seen(&world).waiting.unwrap();
    assert_eq!(waiting.waiting_for, "pods of shop/cart to leave at ctl-2");
    world.tick(30 * 60_000);
    let hold = world.run.hold.as_ref().unwrap();
    assert_eq!(hold.kind, HoldKind::NotDrained);
    assert!(hold.happened.contains(WHY) && hold.state_now.contains("still marked"), "{hold:?}");
    assert_eq!(world.orders(), stop());
    // By the same command it goes to its gate again, and is emptied from there.
    world.resume();
    to_draining(&mut world);
}

#[test]
fn a_pause_stops_the_drain_at_once_and_leaves_the_mark_which_an_abort_takes_back() {
    let mut world = draining();
    world.pause();
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Staged, stop()));
    assert!(world.node("ctl-2").marked);
    let waiting = seen(&world).waiting.unwrap();
    assert!(waiting.because.contains("(cordoned): ctl-2"), "{}", waiting.because);
    world.abort();
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Releasing, give_back()));
    world.given_back("ctl-2");
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Aborted, Phase::Staged));
}

#[test]
fn whoever_is_marked_goes_first_when_the_run_goes_on() {
    let mut world = draining();
    world.pause();
    world.resume();
    assert_eq!(world.phase("ctl-2"), Phase::Gating);
    world.look_clear("ctl-2", seen_old(Role::Leader));
    assert_eq!(world.orders(), leave(), "it leads by now, and is marked: nobody goes before it");
}

#[test]
fn a_node_that_is_left_out_while_it_is_emptied_is_given_back() {
    let mut world = draining();
    let node = world.index("ctl-2");
    world.tell(Event::NodeSkipped { by: "anna".to_string(), node });
    assert_eq!(world.orders(), [stop(), give_back()].concat());
    world.given_back("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Skipped);
    assert_eq!(world.node("ctl-2").note, "left out by anna");
}

#[test]
fn a_change_that_is_taken_back_is_given_back_before_the_run_holds() {
    let mut world = applying();
    world.end("ctl-2", undone());
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Releasing, give_back()));
    world.given_back("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::RolledBack);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::RolledBack);
}

#[test]
fn a_node_that_is_left_alone_stays_marked_and_it_is_said() {
    let mut world = applying();
    let because = "risen".to_string();
    world.end("ctl-2", drydock_types::outcome::SectionResult::LeftAlone { failure: failure(), because });
    assert!(world.node("ctl-2").marked && world.node("ctl-2").unsettled.is_some());
    world.abort();
    assert_eq!((world.run.status, world.orders()), (RunStatus::Aborted, Vec::new()));
}

#[test]
fn what_the_limiter_keeps_back_is_not_marked() {
    let mut world = draining();
    world.moved("ctl-2", MoveEnd::NeverBegun { why: "the limiter counts db-7".to_string() });
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").marked), (Phase::Staged, false));
    let waiting = seen(&world).waiting.unwrap();
    assert_eq!(waiting.waiting_for, "the drain to be begun at ctl-2");
    world.tick(1000);
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.orders(), leave());
    world.moved("ctl-2", MoveEnd::Lapsed { why: "the coordinator stops".to_string() });
    assert!(world.node("ctl-2").marked, "it was begun");
}

#[test]
fn after_a_restart_nothing_is_moved_on_what_was_seen_before_it() {
    let mut world = draining();
    world.tell(Event::Restarted {});
    assert_eq!(world.orders(), Vec::new());
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").marked), (Phase::Gating, true));
    let mut world = applying();
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Role::Follower));
    world.tell(Event::Restarted {});
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Returning, Vec::new()));
}

#[test]
fn what_cannot_be_given_back_holds_and_an_abort_leaves_it_said() {
    let mut world = applying();
    world.done("ctl-2");
    world.look_clear("ctl-2", seen_new(Role::Follower));
    world.moved("ctl-2", MoveEnd::Refused { why: "nodes is forbidden: cannot patch".to_string() });
    let hold = world.run.hold.as_ref().unwrap();
    assert_eq!((hold.kind, hold.resume_at), (HoldKind::NotGivenBack, Phase::Releasing));
    let mut resumed = World::over(world.run.clone(), world.now);
    resumed.resume();
    assert_eq!(resumed.orders(), give_back());
    resumed.given_back("ctl-2");
    assert_eq!(resumed.phase("ctl-2"), Phase::Soaking);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborted);
    let node = world.node("ctl-2");
    assert!(node.marked && node.unsettled.is_some() && node.note.contains("could not be taken back"));
}

#[test]
fn an_answer_to_an_older_order_changes_nothing() {
    let mut world = draining();
    let old = world.node("ctl-2").moving.as_ref().unwrap().effect;
    world.pause();
    world.resume();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    let before = world.run.clone();
    world.tell(Event::Moved { effect: old, end: MoveEnd::Left { seen: "?".to_string() } });
    assert_eq!(world.run, before);
    let results = |world: &World| -> Vec<CheckResult> {
        match world.clear("ctl-2", seen_old(Role::Follower)) {
            Event::Looked { results, .. } => results,
            _ => Vec::new(),
        }
    };
    world.left("ctl-2");
    assert!(results(&world).iter().any(|result| result.check == "kubernetesDrain"));
}
