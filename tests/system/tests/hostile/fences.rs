//! Who is obeyed, and what a captured order is worth.

use drydock_proto::PROTOCOL;
use drydock_system_tests::{node::UNIT, wait};
use drydock_types::Millis;
use drydock_types::{Section, SectionKind, Step, document, outcome::SectionResult, step::UnitStep};

use super::double::{Double, fence};

fn restart(double: &Double, number: u8) -> Section {
    let restart = Step::RestartUnit(UnitStep { unit: UNIT.parse().unwrap(), within: Millis::secs(10) });
    double.section(number, SectionKind::Apply, "2.0.0", None, vec![restart])
}

/// Hostile input 18: a captured dispatch, word for word, with another payload, and from another coordinator.
#[test]
fn a_captured_order_is_answered_with_its_stored_outcome_and_never_carried_out_again() {
    let double = Double::start();
    let section = restart(&double, 1);
    let bytes = document::encode(&section);
    let first = double.dispatch(fence(5, 1), section.effect, &bytes).ended();
    assert!(matches!(first.result, SectionResult::Done { .. }), "{first:#?}");
    assert_eq!(double.node.starts().len(), 2);
    for _ in 0..3 {
        assert_eq!(double.dispatch(fence(5, 1), section.effect, &bytes).ended(), first);
    }
    let mut other = section.clone();
    other.deadline = Millis::secs(31);
    let why = double.dispatch(fence(5, 1), section.effect, &document::encode(&other)).declined();
    assert!(why.contains("is known here with another section"), "{why}");

    // Captured, and sent by somebody who is not obeyed: not even the stored outcome is said.
    for (epoch, instance) in [(4, 1), (5, 2), (0, 0)] {
        let fresh = restart(&double, 2);
        for section in [&section, &fresh] {
            let why = double
                .dispatch(fence(epoch, instance), section.effect, &document::encode(section))
                .declined();
            assert!(
                why.contains(&format!("coordinator epoch {epoch}")) && why.contains("already obeyed epoch 5"),
                "{why}"
            );
        }
    }
    // For another node, and under another effect's id.
    let mut elsewhere = restart(&double, 3);
    elsewhere.node = "n2".parse().unwrap();
    let why = double.dispatch(fence(5, 1), elsewhere.effect, &document::encode(&elsewhere)).declined();
    assert!(why.contains("is for node") && why.contains("n2"), "{why}");
    let why = double
        .dispatch(fence(5, 1), restart(&double, 5).effect, &document::encode(&restart(&double, 4)))
        .declined();
    assert!(why.contains("its section for"), "{why}");
    assert_eq!(double.node.starts().len(), 2, "restarted once, by the first order");
}

/// Hostile input 18: a coordinator of a lower epoch, and of the same epoch and another instance.
#[test]
fn an_older_coordinator_and_a_twin_are_not_obeyed_and_both_are_named() {
    let mut double = Double::start();
    wait::until_true("the first stream", wait::SOON, || double.hellos() == 1);
    for (epoch, instance, name) in [(4, 1, "01".repeat(16)), (5, 2, "02".repeat(16))] {
        let before = double.hellos();
        double.welcomes(fence(epoch, instance), PROTOCOL);
        double.hang_up();
        wait::until_true("another stream", wait::SOON, || double.hellos() > before);
        let says = format!("coordinator epoch {epoch} instance {name}");
        wait::until_true(&says, wait::SOON, || {
            let log = double.node.log();
            log.contains(&says) && log.contains("already obeyed epoch 5")
        });
    }
    // It remembers after a restart too: the fence is on the disk.
    double.node.kill();
    let before = double.hellos();
    double.node.launch();
    wait::until_true("a refusal after the restart", wait::SOON, || double.hellos() > before);
    double.welcomes(fence(6, 7), PROTOCOL);
    let connected = || double.node.log().contains("connected to coordinator 9.9.9, epoch 6");
    wait::until_true("a newer coordinator to be obeyed", wait::SOON, connected);
}
