//! Rule 6: an outage that the plan accepts by name lasts no longer than it says before a person is asked.

use alloc::{collections::BTreeMap, string::ToString, vec, vec::Vec};

use drydock_types::{Millis, SectionKind, Verdict, outcome::SectionResult};

use super::{
    rules::Taken,
    world::{World, failure, undone},
};
use crate::{
    hold_kind::HoldKind,
    inventory::Role,
    plan::tests::fixture::*,
    plan_file::{Allow, Count},
    run::{Effect, Event, Left},
    run_view::{self, Live},
    view::{Phase, RunNodeView, RunStatus, RunView},
};

/// Until when each node's outage is accepted, by when its change was handed out and what people said since.
#[derive(Default)]
pub(super) struct Outages {
    until_ms: BTreeMap<usize, u64>,
}

impl Outages {
    /// A run that goes on has no node between its change and its return for longer than the plan accepts.
    pub(super) fn check(&mut self, taken: &Taken<'_>) {
        let (before, run, now) = (taken.before, taken.after, taken.now);
        let accepted = |index: usize| run.stage_of(&run.nodes[index]).outage.values().min().copied();
        // A person decides about the node that the run is shown to hold for, and about no other.
        let decided = matches!(taken.event, Event::Resumed { .. }) && before.status == RunStatus::Held;
        if let Some(index) = before.hold.as_ref().and_then(|hold| hold.node).filter(|_| decided)
            && let Some(until) = self.until_ms.get_mut(&index)
        {
            *until = now.clock_ms + accepted(index).unwrap_or_default().0;
        }
        if let Event::Extended { node, more, .. } = taken.event
            && before.nodes.get(*node) != run.nodes.get(*node)
            && let Some(until) = self.until_ms.get_mut(node)
        {
            *until += more.0;
        }
        for effect in taken.effects {
            if let Effect::Dispatch { section } = effect
                && matches!(section.kind, SectionKind::Apply | SectionKind::Undo)
            {
                let index = run.nodes.iter().position(|node| node.name == section.node).unwrap();
                self.until_ms.extend(accepted(index).map(|most| (index, now.clock_ms + most.0)));
            }
        }
        let may_be_out = |phase| matches!(phase, Phase::Applying | Phase::Returning | Phase::Held);
        self.until_ms.retain(|index, _| may_be_out(run.nodes[*index].phase));
        let goes_on = matches!(run.status, RunStatus::Running | RunStatus::Paused | RunStatus::Aborting);
        for (index, until) in self.until_ms.iter().filter(|_| goes_on) {
            let node = &run.nodes[*index];
            let held = node.phase == Phase::Held;
            // While it is aborted, nothing follows a node that only has to be seen well: its return's own deadline
            // bounds that, and nobody would look at it again once it were held.
            let only_returns = run.status == RunStatus::Aborting && node.open.is_none();
            assert!(
                held || only_returns || now.clock_ms < *until,
                "{} is out for too long in {:?}",
                node.name,
                node.phase
            );
        }
    }
}

/// A run that accepts that etcd is out for this long.
fn accepting(length: Millis) -> World {
    let mut bundle = usual();
    let spec = &mut bundle.plan.spec;
    spec.stages[0].outage.insert("etcd".to_string(), length);
    spec.allow = vec![Allow::Extend];
    let mut world = World::of(&bundle, &inventory(2));
    world.tell(Event::Started {});
    world
}

fn seen(world: &World) -> RunView {
    run_view::view(&world.run, &Live::default(), Vec::new(), world.now)
}

fn node_seen(world: &World, of: &str) -> RunNodeView {
    let nodes = seen(world).stages.remove(0).waves.remove(0).nodes;
    nodes.into_iter().find(|node| node.node.as_str() == of).unwrap()
}

const MINUTE_MS: u64 = 60_000;

#[test]
fn a_section_that_goes_on_for_longer_than_the_accepted_outage_holds_the_run() {
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    let out_since = world.now.wall_ms;
    world.tick(2 * MINUTE_MS);
    let outage = node_seen(&world, "ctl-2").outage.unwrap();
    assert_eq!(
        (outage.what.as_str(), outage.since_unix_ms, outage.accepted_ms, outage.left_ms),
        ("etcd", out_since, 5 * MINUTE_MS, Some(3 * MINUTE_MS))
    );
    // It is what is waited for, and not the section's own, longer deadline.
    assert_eq!(seen(&world).waiting.unwrap().left_ms, Some(3 * MINUTE_MS));
    world.tick(3 * MINUTE_MS - 1);
    assert_eq!(world.run.status, RunStatus::Running);
    assert_eq!(world.run.next_wake_ms(), Some(world.now.clock_ms + 1));
    world.tick(1);
    let hold = world.run.hold.clone().unwrap();
    assert_eq!((hold.kind, hold.from), (HoldKind::OutageTooLong, Phase::Applying));
    assert_eq!(hold.reason, "etcd on ctl-2 has been out for 5m, and the plan accepts 5m");
    assert!(hold.state_now.contains("ends its section, or takes it back"), "{}", hold.state_now);
    assert!(world.node("ctl-2").open.is_some(), "its agent has it still, and reports it");
    let next = seen(&world).hold.unwrap().next;
    assert!(next.iter().any(|it| it.command == "drydock run resume 12"), "{next:?}");
    assert_eq!(next[0].command, "systemctl status drydock-agent");
}

#[test]
fn what_its_agent_reports_after_that_still_counts_and_a_person_goes_on() {
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.tick(5 * MINUTE_MS);
    world.done("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Returning, RunStatus::Held));
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!((world.phase("ctl-2"), &world.node("ctl-2").outage), (Phase::Soaking, &None));
    world.resume();
    assert_eq!(world.run.status, RunStatus::Running);
}

#[test]
fn a_resume_accepts_the_same_length_once_more_and_tells_the_whole_outage() {
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.tick(5 * MINUTE_MS);
    world.tick(MINUTE_MS);
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.asked().len()), (Phase::Applying, 1));
    world.tick(5 * MINUTE_MS - 1);
    assert_eq!(world.run.status, RunStatus::Running);
    world.tick(1);
    assert_eq!(world.reason(), "etcd on ctl-2 has been out for 11m, and the plan accepts 5m");
}

#[test]
fn a_node_that_does_not_return_is_held_for_the_outage_before_its_own_deadline() {
    let mut world = accepting(Millis::secs(120));
    world.bring_to_returning("ctl-2", &seen_old(Role::Follower));
    world.look("ctl-2", seen_new(Role::Follower), Verdict::Waiting("it knows no leader".to_string()));
    world.tick(2 * MINUTE_MS);
    let hold = world.run.hold.clone().unwrap();
    assert_eq!((hold.kind, hold.from), (HoldKind::OutageTooLong, Phase::Returning));
    assert_eq!(hold.happened, "etcdQuorum: it knows no leader");
    assert!(world.node("ctl-2").unsettled.is_some(), "it counts as out of service for every run");
}

#[test]
fn a_node_that_becomes_unwell_in_its_soak_is_out_from_that_look_until_it_is_well_again() {
    let mut world = accepting(Millis::secs(30));
    world.bring_to_soaking("ctl-2", Role::Follower);
    world.tick(2000);
    let unwell = || Verdict::Waiting("it knows no leader".to_string());
    world.look("ctl-2", seen_new(Role::Follower), unwell());
    let since = world.now;
    assert_eq!(world.node("ctl-2").outage.as_ref().unwrap().since, since);
    world.tick(1000);
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!(world.node("ctl-2").outage, None);
    world.tick(1000);
    world.look("ctl-2", seen_new(Role::Follower), unwell());
    world.tick(30_000);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::OutageTooLong);
}

#[test]
fn what_was_never_begun_and_what_changed_nothing_is_no_outage() {
    for end in [SectionResult::Failed { failure: failure() }, SectionResult::Refused { failure: failure() }] {
        let mut world = accepting(Millis::secs(300));
        world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
        world.end("ctl-2", end);
        assert_eq!((world.phase("ctl-2"), &world.node("ctl-2").outage), (Phase::Held, &None));
    }
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.lapse("ctl-2");
    assert_eq!(world.node("ctl-2").outage, None);
    // One that is taken back is out until it is seen to be well with what it ran before.
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.end("ctl-2", undone());
    assert!(world.node("ctl-2").outage.is_some());
    world.look_clear("ctl-2", seen_old(Role::Follower));
    assert_eq!((world.phase("ctl-2"), &world.node("ctl-2").outage), (Phase::RolledBack, &None));
}

#[test]
fn an_extension_lengthens_the_outage_too() {
    let mut world = accepting(Millis::secs(300));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    let (by, node) = ("anna".to_string(), world.index("ctl-2"));
    world.tell(Event::Extended { by, node, more: Millis::secs(60) });
    world.tick(6 * MINUTE_MS - 1);
    assert_eq!(world.run.status, RunStatus::Running);
    world.tick(1);
    assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::OutageTooLong);
}

#[test]
fn a_plan_that_accepts_no_outage_has_none() {
    let mut world = World::usual();
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    assert_eq!(world.node("ctl-2").outage, None);
}

#[test]
fn a_node_whose_agent_reports_late_while_the_run_is_aborted_is_looked_at_and_not_left_in_doubt() {
    let mut world = accepting(Millis::secs(60));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.abort();
    world.tick(MINUTE_MS);
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Held, RunStatus::Aborting));
    world.tick(MINUTE_MS / 2);
    world.done("ctl-2");
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Returning, RunStatus::Aborting));
    assert_eq!(
        node_seen(&world, "ctl-2").outage.unwrap().left_ms,
        None,
        "nobody asks about its outage any more"
    );
    world.look("ctl-2", seen_new(Role::Follower), Verdict::Waiting("it knows no leader".to_string()));
    let before = world.now.clock_ms;
    assert!(world.run.next_wake_ms().unwrap() > before, "it is not looked at in a loop");
    let mut late = World::over(world.run.clone(), world.now);
    world.tick(500);
    world.look_clear("ctl-2", seen_new(Role::Follower));
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Done, RunStatus::Aborted));
    assert_eq!(world.node("ctl-2").unsettled, None);

    // One that is not seen well is held all the same: by the deadline of its return.
    late.tick(5 * MINUTE_MS - 1);
    assert_eq!((late.phase("ctl-2"), late.run.status), (Phase::Returning, RunStatus::Aborting));
    late.tick(1);
    assert_eq!((late.phase("ctl-2"), late.run.status), (Phase::Held, RunStatus::Aborted));
    assert!(late.node("ctl-2").unsettled.is_some());
}

#[test]
fn a_resume_renews_the_outage_of_the_node_that_was_decided_about_and_of_no_other() {
    let mut bundle = usual();
    let spec = &mut bundle.plan.spec;
    spec.stages[0].outage.insert("etcd".to_string(), Millis::secs(300));
    spec.stages[0].waves[0].concurrency = Count::Nodes(2);
    spec.budget.per_failure_domain = 2;
    let mut world = World::of(&bundle, &inventory(5));
    world.tell(Event::Started {});
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.tick(MINUTE_MS);
    world.bring_to_applying("ctl-3", &seen_old(Role::Follower));
    let at = |world: &World| world.run.hold.as_ref().and_then(|hold| hold.node);
    let (first, second) = (world.index("ctl-2"), world.index("ctl-3"));
    world.tick(4 * MINUTE_MS);
    assert_eq!(at(&world), Some(first));
    world.tick(MINUTE_MS / 2);
    world.resume();
    assert_eq!((world.phase("ctl-2"), world.run.status), (Phase::Applying, RunStatus::Running));
    world.tick(MINUTE_MS / 2 - 1);
    assert_eq!(world.run.status, RunStatus::Running);
    world.tick(1);
    assert_eq!(at(&world), Some(second), "nobody was asked about ctl-3");
    assert_eq!(world.reason(), "etcd on ctl-3 has been out for 5m, and the plan accepts 5m");
    // While a person is asked nothing is judged; with the word to go on, what is over by then is.
    world.tick(5 * MINUTE_MS);
    assert_eq!((at(&world), world.phase("ctl-2")), (Some(second), Phase::Applying));
    world.resume();
    assert_eq!((at(&world), world.phase("ctl-3")), (Some(first), Phase::Applying));
    assert_eq!(world.reason(), "etcd on ctl-2 has been out for 11m, and the plan accepts 5m");
    world.resume();
    assert_eq!(world.run.status, RunStatus::Running);
}

#[test]
fn a_second_abort_waits_for_an_agent_that_is_held_for_its_outage_and_within_its_own_deadline() {
    let mut world = accepting(Millis::secs(60));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.tick(MINUTE_MS);
    world.abort();
    world.abort();
    assert_eq!((world.run.status, world.phase("ctl-2")), (RunStatus::Aborting, Phase::Held));
    assert!(world.node("ctl-2").open.is_some(), "its agent is at work on it");
    let said = seen(&world).hold.unwrap().next.remove(0);
    assert_eq!(said.command, "drydock run abort 12");
    assert!(said.does.starts_with("once its section was handed out 21m ago: "), "{}", said.does);
    world.tick(20 * MINUTE_MS - 1);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborting);
    world.tick(1);
    world.abort();
    assert_eq!(world.run.status, RunStatus::Aborted);
    assert_eq!(world.node("ctl-2").last_change.unwrap().left, Left::Unheard);
    assert!(world.node("ctl-2").unsettled.is_some());
}

#[test]
fn a_node_that_was_changed_and_is_out_for_too_long_can_be_taken_back_by_command() {
    let back = "drydock run rollback 12 --node ctl-2";
    let next = |world: &World| seen(world).hold.unwrap().next;
    let mut world = accepting(Millis::secs(120));
    world.bring_to_returning("ctl-2", &seen_old(Role::Follower));
    world.tick(2 * MINUTE_MS);
    let can = next(&world);
    assert!(can.iter().any(|it| it.command == back), "{can:?}");
    let abort = can.iter().find(|it| it.command == "drydock run abort 12").unwrap();
    assert!(abort.does.ends_with("ctl-2 is in doubt until a run sees it well"), "{}", abort.does);
    assert!(world.node("ctl-2").unsettled.is_some());

    // Not while its agent is at work on it, and not where that turned out never to have begun.
    let mut world = accepting(Millis::secs(120));
    world.bring_to_applying("ctl-2", &seen_old(Role::Follower));
    world.tick(2 * MINUTE_MS);
    for _ in 0..2 {
        assert_eq!(world.run.hold.as_ref().unwrap().kind, HoldKind::OutageTooLong);
        let can = next(&world);
        assert!(!can.iter().any(|it| it.command == back || it.does.contains("in doubt")), "{can:?}");
        if world.node("ctl-2").open.is_some() {
            world.lapse("ctl-2");
        }
    }
    assert!(world.node("ctl-2").open.is_none());
}
