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
    plan_file::Allow,
    run::{Effect, Event},
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
        let decided = matches!(taken.event, Event::Resumed { .. }) && before.status == RunStatus::Held;
        for (index, until) in self.until_ms.iter_mut().filter(|_| decided && run.status != RunStatus::Held) {
            *until = now.clock_ms + accepted(*index).unwrap_or_default().0;
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
            assert!(held || now.clock_ms < *until, "{} is out for too long in {:?}", node.name, node.phase);
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
