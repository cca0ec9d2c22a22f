//! Outcomes that were not believed, and what stands in the record of those that were.

use super::*;

fn refused(world: &World, of: &str, session: u64) -> Input {
    let effect = world.open(1, "a");
    Input::OutcomeRefused { node: name(of), session, effect, why: "it is not signed".to_string() }
}

fn lines(world: &World) -> Vec<String> {
    let text = |row: crate::store::EventRow| {
        document::decode_own::<drydock_core::run::Recorded>("event", &row.event).unwrap().text
    };
    let says = |text: &String| text.contains("an outcome was refused");
    world.driver.store.events(1, 1000).unwrap().into_iter().map(text).filter(says).collect()
}

#[test]
fn an_outcome_that_is_refused_changes_nothing_stands_once_in_the_record_and_is_asked_for_again() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let session = world.driver.fleet.session(&name("a")).unwrap();
    for wait_ms in [1000, 2000, 5000, 15_000, 30_000, 30_000] {
        world.tell(refused(&world, "a", session));
        assert!(world.out.is_empty(), "not asked again at once: {:?}", world.out);
        assert_eq!((world.phase(1, "a"), world.open(1, "a")), (Phase::Applying, effect));
        let due = world.driver.next_wake_ms().unwrap();
        assert!(due <= world.now.clock_ms + wait_ms);
        world.tick(wait_ms - 1);
        assert!(world.asks().is_empty());
        world.tick(1);
        assert_eq!(world.asks(), ["a"]);
    }
    assert_eq!(lines(&world).len(), 1, "{:?}", lines(&world));
    let waiting = world.run(1).nodes[0].waiting.clone().unwrap();
    assert!(waiting.because.contains("it is not signed"), "{waiting:?}");
    // On another stream it is told again; of another node, or of what is not open, it is no news.
    world.tell(refused(&world, "a", session + 1));
    assert_eq!(lines(&world).len(), 2);
    world.tell(refused(&world, "b", 9));
    let unknown = EffectId([9; 32]);
    world.tell(Input::OutcomeRefused { node: name("a"), session, effect: unknown, why: "x".to_string() });
    assert_eq!(lines(&world).len(), 2);
    // The good one ends it, and nobody is asked any more.
    world.done(1, "a");
    assert_eq!(world.phase(1, "a"), Phase::Returning);
    world.tick(60_000);
    assert!(world.asks().is_empty(), "{:?}", world.out);
}

#[test]
fn the_sections_deadline_ends_the_wait_for_a_signed_outcome_and_says_what_came_instead() {
    let mut world = applying();
    let session = world.driver.fleet.session(&name("a")).unwrap();
    world.tell(refused(&world, "a", session));
    let deadline = world.run(1).nodes[0].deadline_ms.unwrap();
    world.tick(deadline - world.now.clock_ms);
    let hold = world.run(1).hold.clone().expect("the run holds");
    assert!(hold.happened.contains("an outcome was refused: it is not signed"), "{hold:?}");
    // A decision asks once more, and the signed outcome still counts.
    world.control(1, ControlVerb::Resume);
    assert_eq!(world.asks(), ["a"]);
    world.done(1, "a");
    assert_eq!(world.phase(1, "a"), Phase::Returning);
}

#[test]
fn an_outcome_by_another_key_than_the_one_that_the_section_was_handed_to_says_nothing() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let Input::Outcome { node, outcome, mut signed } = ended("a", outcome(effect)) else { unreachable!() };
    signed.proof.node = key("an older machine of that name");
    world.tell(Input::Outcome { node, outcome, signed });
    assert_eq!((world.phase(1, "a"), world.open(1, "a")), (Phase::Applying, effect));
}

#[test]
fn the_record_names_what_was_signed_and_the_store_keeps_it_to_the_byte() {
    let mut world = applying();
    let effect = world.open(1, "a");
    let before = world.driver.head();
    world.done(1, "a");
    let head = world.driver.head();
    assert!(head.seq > before.seq && head.hash != before.hash && head.fleet == FLEET);
    let row = world.driver.store.events(1, 1000).unwrap().into_iter().rev();
    let mut recorded =
        row.map(|row| document::decode_own::<drydock_core::run::Recorded>("event", &row.event).unwrap());
    let recorded = recorded.find(|line| matches!(line.event, Event::Ended { .. })).unwrap();
    let proof = recorded.proof.unwrap();
    let kept = |digest| world.driver.store.document(digest).unwrap().unwrap();
    assert_eq!(kept(proof.outcome), document::encode(&outcome(effect)));
    assert_eq!(kept(proof.certificate), b"certificate of a");
    assert_eq!(proof.node, key("a"));
}
