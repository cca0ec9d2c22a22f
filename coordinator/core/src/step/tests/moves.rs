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
    step::moves::STILL_MARKED,
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
            let said = node.note.contains(STILL_MARKED);
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
    if taken.before.nodes[index].phase == Phase::Draining && taken.after.nodes[index].force.is_some() {
        // It was leaving already: what may be forced besides is another order.
        return;
    }
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

pub(super) const WHY: &str = "PodDisruptionBudget shop/cart allows 0 disruptions";

pub(super) fn bundle_with_drain() -> crate::bundle::Bundle {
    let mut bundle = usual();
    bundle.stages[0].recipe.spec.drain = vec![Move::KubernetesDrain(KubernetesDrain::default())];
    bundle.plan.spec.allow = vec![Allow::Skip, Allow::Extend];
    bundle
}

pub(super) fn drained() -> World {
    let mut world = World::of(&bundle_with_drain(), &inventory(3));
    world.tell(Event::Started {});
    world
}

/// `ctl-2` is being emptied.
pub(super) fn draining() -> World {
    let mut world = drained();
    world.stage_all();
    to_draining(&mut world);
    world
}

/// From its gate, with a snapshot where the last one is too old.
pub(super) fn to_draining(world: &mut World) {
    world.look_clear("ctl-2", seen_old(Role::Follower));
    if world.phase("ctl-2") == Phase::Protecting {
        world.done("ctl-2");
        world.look_clear("ctl-2", seen_old(Role::Follower));
    }
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Draining, leave()));
}

pub(super) fn leave() -> Vec<(String, Option<Doing>)> {
    vec![("ctl-2".to_string(), Some(Doing::Leave))]
}

fn give_back() -> Vec<(String, Option<Doing>)> {
    vec![("ctl-2".to_string(), Some(Doing::GiveBack))]
}

pub(super) fn stop() -> Vec<(String, Option<Doing>)> {
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
    // What comes back as fast as it leaves is not chased as fast as it can be looked at.
    world.left("ctl-2");
    assert!(world.looks().is_empty() && world.node("ctl-2").look_again_ms > Some(world.now.clock_ms));
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
    assert!(hold.happened.contains(WHY) && hold.state_now.contains(STILL_MARKED), "{hold:?}");
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
    assert!(world.run.hold.as_ref().unwrap().state_now.contains(STILL_MARKED));
    world.abort();
    assert_eq!((world.run.status, world.orders()), (RunStatus::Aborted, Vec::new()));
    assert!(world.node("ctl-2").note.contains(STILL_MARKED));
}

#[test]
fn a_node_that_is_in_doubt_is_not_given_back_because_a_window_shuts() {
    let mut world = in_a_window(applying_in);
    let (step, because) = ("swapBinary".to_string(), "?".to_string());
    world.end("ctl-2", drydock_types::outcome::SectionResult::Undecidable { step, because });
    world.resume();
    world.stage_all();
    assert!(world.node("ctl-2").marked && world.node("ctl-2").unsettled.is_some());
    world.now.wall_ms += 3 * 3_600_000;
    world.tick(30_000);
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Staged, Vec::new()));
    assert!(world.node("ctl-2").marked);
}

#[test]
fn a_window_that_shuts_ends_a_drain_without_anybody_saying_anything_and_it_is_given_back() {
    let mut world = in_a_window(to_draining);
    for _ in 0..10 {
        assert_eq!(world.phase("ctl-2"), Phase::Draining);
        let wake = world.run.next_wake_ms().expect("the wall clock is read");
        let ms = wake.saturating_sub(world.now.clock_ms);
        assert!(ms <= 30_000);
        if world.now.wall_ms % DAY_MS + ms >= SHUTS_MS {
            break;
        }
        world.now.wall_ms += 10 * 60_000;
        world.tick(ms);
    }
    world.now.wall_ms += 3 * 3_600_000;
    world.tick(30_000);
    assert_eq!((world.phase("ctl-2"), world.orders()), (Phase::Releasing, [stop(), give_back()].concat()));
    world.given_back("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Staged);
}

#[test]
fn a_node_that_is_not_well_stops_the_drain_of_another_and_takes_nothing_back() {
    let mut bundle = bundle_with_drain();
    bundle.plan.spec.stages[0].waves[0].concurrency = crate::plan_file::Count::Nodes(2);
    bundle.plan.spec.budget.per_failure_domain = 2;
    let mut world = World::of(&bundle, &inventory(4));
    world.tell(Event::Started {});
    world.stage_all();
    to_draining(&mut world);
    world.left("ctl-2");
    world.look_clear("ctl-2", seen_old(Role::Follower));
    world.look_clear("ctl-3", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-3"), Phase::Draining);
    let by = world.node("ctl-3").drain_by_ms;
    world.done("ctl-2");
    world.look("ctl-2", seen_new(Role::Follower), Verdict::Waiting("it has just been started".to_string()));
    assert_eq!(world.orders(), [("ctl-3".to_string(), None)]);
    assert!(world.node("ctl-3").marked);
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Role::Follower));
    world.given_back("ctl-2");
    assert_eq!(world.phase("ctl-3"), Phase::Gating, "{:?}", world.phases());
    assert_eq!(world.node("ctl-3").drain_by_ms, by, "within the same time");
}

#[test]
fn what_is_there_again_does_not_open_a_gate_that_something_else_shuts() {
    let mut world = draining();
    world.left("ctl-2");
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        results[0].verdict = Verdict::Refused("NOSPACE".to_string());
        results.last_mut().unwrap().verdict = Verdict::Waiting("a pod has landed there".to_string());
    }
    world.tell(event);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::GateRefused);
    assert_eq!(world.orders(), Vec::new());
}

#[test]
fn a_rollback_takes_back_the_mark_that_the_run_before_it_left() {
    let mut world = applying();
    let because = "risen".to_string();
    world.end("ctl-2", drydock_types::outcome::SectionResult::LeftAlone { failure: failure(), because });
    world.abort();
    let plan = crate::plan::undo::undo_plan(&world.run, None).unwrap();
    let (id, now) = (drydock_types::RunId([8; 16]), world.now);
    let run = crate::run::Run::new(13, id, world.run.fleet, plan, "anna".to_string(), now);
    let mut back = World::over(run, now);
    back.tell(Event::Started {});
    assert_eq!(back.node("ctl-2").mark_of, Some(world.run.id));
    // It is down: there is nobody to move away from it, and its change is taken back at once.
    let down = crate::inventory::Seen {
        version: Some(Err("connection refused".to_string())),
        exe_sha256: None,
        role: None,
        down: true,
    };
    back.look_clear("ctl-2", down);
    assert_eq!(back.sent(), [("ctl-2".to_string(), SectionKind::Undo)]);
    back.done("ctl-2");
    back.look_clear("ctl-2", seen_old(Role::Follower));
    let orders = back.effects.iter().filter_map(|effect| match effect {
        Effect::Move(order) => Some((order.doing, order.mark_of)),
        _ => None,
    });
    assert_eq!(orders.collect::<Vec<_>>(), [(Some(Doing::GiveBack), Some(world.run.id))]);
}

#[test]
fn what_cannot_be_given_back_is_tried_less_and_less_often() {
    let mut world = draining();
    world.abort();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        world.moved("ctl-2", MoveEnd::Lapsed { why: "no endpoint of the cluster answers".to_string() });
        pauses.push(world.node("ctl-2").not_before_ms - world.now.clock_ms);
        world.tick(pauses[pauses.len() - 1]);
        assert_eq!(world.orders(), give_back());
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[3], "{pauses:?}");
}

const DAY_MS: u64 = 24 * 3_600_000;
/// When the window shuts, behind midnight in UTC.
const SHUTS_MS: u64 = 30 * 60_000;

fn applying_in(world: &mut World) {
    to_draining(world);
    world.left("ctl-2");
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(world.phase("ctl-2"), Phase::Applying);
}

/// Within a window that is open for two hours from now.
fn in_a_window(bring: impl Fn(&mut World)) -> World {
    let mut bundle = bundle_with_drain();
    let time = |text| crate::plan_file::TimeOfDay::parse(text).unwrap();
    let (from, to, time_zone) = (time("22:00"), time("00:30"), "UTC".to_string());
    bundle.plan.spec.window = Some(crate::plan_file::WindowSpec { days: Vec::new(), from, to, time_zone });
    let mut world = World::of(&bundle, &inventory(3));
    world.tell(Event::Started {});
    world.stage_all();
    bring(&mut world);
    world
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
    assert_eq!((hold.kind, hold.resume_at), (HoldKind::NotGivenBack, Phase::Returning));
    assert!(hold.state_now.contains(STILL_MARKED), "{hold:?}");
    // It was well when it was looked at, and a person takes their time: it is looked at again first.
    let mut resumed = World::over(world.run.clone(), world.now);
    resumed.resume();
    assert_eq!((resumed.phase("ctl-2"), resumed.orders()), (Phase::Returning, Vec::new()));
    resumed.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!(resumed.orders(), give_back());
    resumed.given_back("ctl-2");
    assert_eq!(resumed.phase("ctl-2"), Phase::Soaking);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborted);
    let node = world.node("ctl-2");
    assert!(node.marked && node.note.contains("could not be taken back") && node.note.contains(STILL_MARKED));
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
    world.left("ctl-2");
    assert_eq!(world.phase("ctl-2"), Phase::Rechecking);
}

#[test]
fn what_somebody_has_undone_is_done_again_only_after_a_persons_word() {
    let again = |world: &World| -> Vec<bool> {
        let order = |effect: &Effect| match effect {
            Effect::Move(order) => Some(order.again),
            _ => None,
        };
        world.effects.iter().filter_map(order).collect()
    };
    let mut world = draining();
    assert_eq!(again(&world), [false]);
    // A restart is nobody's word.
    world.tell(Event::Restarted {});
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(again(&world), [false]);
    world.moved("ctl-2", MoveEnd::Refused { why: "somebody uncordoned the Node ctl-2".to_string() });
    world.resume();
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!(again(&world), [true]);
    world.left("ctl-2");
    assert!(!world.node("ctl-2").again, "from here on somebody else's word counts again");
}

#[test]
fn a_drain_that_stood_back_for_the_fleet_or_for_a_person_has_its_whole_time_again() {
    let mut world = draining();
    world.pass(20 * 60_000);
    // The driver ends drains when the fleet is frozen; the node stands at its gate again, and stays in the freeze.
    world.moved("ctl-2", MoveEnd::Lapsed { why: "anna froze the fleet".to_string() });
    world.tick(1000);
    let mut event = world.clear("ctl-2", seen_old(Role::Follower));
    if let Event::Looked { results, .. } = &mut event {
        let verdict = Verdict::Waiting("anna froze the fleet".to_string());
        results.push(CheckResult { check: crate::standing::checks::FREEZE.to_string(), verdict });
    }
    world.tell(event);
    assert_eq!((world.phase("ctl-2"), world.node("ctl-2").marked), (Phase::Staged, true));
    world.tick(60 * 60_000);
    to_draining(&mut world);
    assert_eq!(world.node("ctl-2").drain_by_ms, Some(world.now.clock_ms + 30 * 60_000));
}

#[test]
fn a_mark_of_a_change_that_is_gone_is_not_the_rollbacks_to_take_back() {
    let mut world = applying();
    let because = "risen".to_string();
    world.end("ctl-2", drydock_types::outcome::SectionResult::LeftAlone { failure: failure(), because });
    let plan = crate::plan::undo::undo_plan(&world.run, None).unwrap();
    let (id, now) = (drydock_types::RunId([8; 16]), world.now);
    let mut run = crate::run::Run::new(13, id, world.run.fleet, plan, "anna".to_string(), now);
    run.queued_behind = Some(12);
    let mut back = World::over(run, now);
    let node = back.index("ctl-2");
    assert!(back.node("ctl-2").marked);
    let gone = crate::run::Determined::Gone { why: "it took itself back".to_string() };
    back.tell(Event::Determined { changes: [(node, gone)].into() });
    assert_eq!((back.phase("ctl-2"), back.node("ctl-2").marked), (Phase::Skipped, false));
}
