//! A coordinator that agents do not obey, and one whose store is older than what was done.

use super::*;

fn stranger(epoch: u64) -> Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([9; 16]) }
}

fn one_node(world: &World) -> Plan {
    plan_over(&world.driver, &["a"], serde_json::json!({}))
}

fn two_nodes(world: &World) -> Plan {
    plan_over(&world.driver, &["a", "b"], serde_json::json!({}))
}

fn reported(epoch: u64) -> BTreeMap<NodeName, u64> {
    BTreeMap::from([(name("a"), epoch)])
}

fn held(id: u8, ended: bool) -> HeldEffect {
    HeldEffect { effect: EffectId([id; 32]), ended, what: "restartUnit: done".to_string() }
}

#[test]
fn a_fenced_coordinator_hands_out_nothing_to_anybody_and_its_runs_stay_as_they_are() {
    let mut world = World::of(&["a", "b"]);
    let plan = one_node(&world);
    let number = world.start(plan);
    let run = world.run(number).clone();
    world.tell(Input::Fenced { by: stranger(7) });
    assert_eq!(world.driver.fenced_by(), Some(stranger(7)));
    assert_eq!(world.driver.next_wake_ms(), None, "nothing is due");
    // The answer that would let the node leave service, from an agent that still obeys; and time.
    world.clear(number, "a");
    assert_eq!(world.sent(), []);
    world.tick(3_600_000);
    world.connect("a");
    assert!(world.out.is_empty(), "{:?}", world.out);
    assert_eq!(*world.run(number), run);
    // The highest that was heard of is kept.
    world.tell(Input::Fenced { by: stranger(5) });
    assert_eq!(world.driver.fenced_by(), Some(stranger(7)));
}

#[test]
fn a_take_over_stands_above_everybody_and_in_the_record_and_asks_before_it_sends() {
    let mut world = World::of(&["a"]);
    let plan = one_node(&world);
    let number = world.start(plan);
    world.clear(number, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
    let open = world.open(number, "a");
    world.tell(Input::Fenced { by: stranger(7) });
    let (fence, out) =
        world.driver.take_over_above(InstanceId([5; 16]), &reported(7), "anna", world.now).unwrap();
    assert_eq!((fence.epoch, world.driver.fence()), (Epoch(8), fence));
    assert!(out.iter().all(|output| !matches!(output, Output::Dispatch { .. })), "{out:?}");
    assert_eq!(world.driver.fenced_by(), None);
    for run in [0, number] {
        let events = world.driver.store().events(run, 100).unwrap();
        let last = String::from_utf8(events.last().unwrap().event.clone()).unwrap();
        assert!(last.contains("restored: anna put this coordinator"), "run {run}: {last}");
        assert!(last.contains("from epoch 1 to 8; agents reported: a epoch 7"), "run {run}: {last}");
    }
    // As after a start: what is open is asked about when its agent is there, and nothing is sent.
    world.connect("a");
    assert_eq!((world.asks(), world.sent()), (vec!["a".to_string()], vec![]));
    assert_eq!(world.open(number, "a"), open);
    // It is the store's owner under its new epoch, and goes on.
    world.tick(60_000);
}

#[test]
fn a_node_whose_journal_holds_a_strange_effect_is_held_at_its_gate_until_a_person_decides() {
    let mut world = World::of(&["a", "b"]);
    world.tell(Input::Held { node: name("a"), effects: vec![held(7, true)] });
    let plan = two_nodes(&world);
    let number = world.start(plan);
    world.clear(number, "a");
    assert_eq!(world.phase(number, "a"), Phase::Held);
    assert_eq!(world.sent(), [], "neither it nor anybody after it");
    let hold = world.run(number).hold.clone().unwrap();
    assert!(hold.reason.starts_with(JOURNAL_CHECK), "{hold:?}");
    assert!(hold.happened.contains("07070707 (restartUnit: done)"), "{hold:?}");
    world.control(number, ControlVerb::Resume);
    world.clear(number, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
    // The decision is on the disk: the same word of the agent is no news after a restart.
    world.done(number, "a");
    world.restart();
    world.register();
    world.tell(Input::Held { node: name("a"), effects: vec![held(7, true)] });
    assert!(world.driver.strange.is_empty());
}

#[test]
fn a_strange_section_that_is_at_work_cannot_be_decided_about_before_it_has_ended() {
    let mut world = World::of(&["a"]);
    world.tell(Input::Held { node: name("a"), effects: vec![held(7, false)] });
    let plan = one_node(&world);
    let number = world.start(plan);
    world.clear(number, "a");
    world.control(number, ControlVerb::Resume);
    world.clear(number, "a");
    assert_eq!((world.phase(number, "a"), world.sent()), (Phase::Held, vec![]));
    assert!(world.run(number).hold.clone().unwrap().happened.contains("at work"));
    world.tell(ended("a", outcome(EffectId([7; 32]))));
    world.control(number, ControlVerb::Resume);
    world.clear(number, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
}

#[test]
fn what_a_journal_holds_of_sections_that_were_decided_here_holds_nobody() {
    let mut world = World::of(&["a"]);
    let plan = one_node(&world);
    let number = world.start(plan);
    world.clear(number, "a");
    let effect = world.open(number, "a");
    let known = HeldEffect { effect, ended: true, what: "nothing: done".to_string() };
    world.tell(Input::Held { node: name("a"), effects: vec![known] });
    assert!(world.driver.strange.is_empty());
    assert!(
        world
            .driver
            .in_the_way(&name("a"), key("a"), &"thing".parse().unwrap(), &"2.0".parse().unwrap(), world.now)
            .is_empty()
    );
}

#[test]
fn a_coordinator_that_nobody_fences_any_more_goes_on_as_after_a_start() {
    let mut world = World::of(&["a"]);
    let plan = one_node(&world);
    let number = world.start(plan);
    assert_eq!(world.driver.unfence(world.now).unwrap(), []);
    world.tell(Input::Fenced { by: stranger(7) });
    world.clear(number, "a");
    assert_eq!(world.sent(), []);
    world.out = world.driver.unfence(world.now).unwrap();
    assert_eq!((world.driver.fenced_by(), world.sent()), (None, vec![]));
    // The answer from before is not believed: it is asked anew, at the same epoch.
    world.tick(60_000);
    world.clear(number, "a");
    assert_eq!(world.sent(), [("a".to_string(), SectionKind::Apply)]);
}
