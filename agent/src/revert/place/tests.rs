use drydock_types::{ComponentName, Sha256, Version};

use super::*;
use crate::sys::network::Network;

fn plan(effect: u8) -> Plan {
    Plan {
        effect: EffectId([effect; 32]),
        run_number: 7,
        component: ComponentName::parse("etcd").unwrap(),
        to: Version::parse("3.5.16").unwrap(),
        boot_id: "b".into(),
        armed_unix_ms: 1,
        armed_age_ms: 2,
        within: Millis::secs(30),
        witness: vec!["10.0.0.1:22".into()],
        program_sha256: Sha256::of(b"x"),
        files: Vec::new(),
        units: Vec::new(),
        packages: None,
        switch: None,
        network: Network::default(),
    }
}

fn confirmed(effect: u8) -> Confirmed {
    Confirmed { effect: EffectId([effect; 32]), by: "witness 10.0.0.1:22".into(), after: Millis(900) }
}

fn report(effect: u8) -> Report {
    Report {
        effect: EffectId([effect; 32]),
        at_unix_ms: 5,
        after: Millis(30_000),
        because: "not confirmed".into(),
        restored: vec!["/usr/bin/etcd".into()],
        failed: Vec::new(),
    }
}

fn place() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(dir.path());
    place.make().unwrap();
    (dir, place)
}

#[test]
fn whoever_renames_first_decides_and_the_other_finds_nothing() {
    let (_dir, place) = place();
    place.arm(&plan(1)).unwrap();
    assert_eq!(place.state().unwrap(), State::Armed(plan(1)));
    assert!(place.confirm(&confirmed(1)).unwrap());
    assert_eq!(place.claim_revert().unwrap(), None);
    assert_eq!(place.state().unwrap(), State::Confirmed(confirmed(1)));

    place.arm(&plan(2)).unwrap();
    assert_eq!(place.claim_revert().unwrap(), Some(plan(2)));
    assert!(!place.confirm(&confirmed(2)).unwrap());
    assert_eq!(place.state().unwrap(), State::Reverting(plan(2)));
    // Interrupted in its middle, it is gone on with.
    assert_eq!(place.claim_revert().unwrap(), Some(plan(2)));
    place.report(&report(2)).unwrap();
    assert_eq!(place.state().unwrap(), State::Reverted(report(2)));
    assert_eq!(place.claim_revert().unwrap(), None);
    place.put_away(EffectId([2; 32])).unwrap();
    assert_eq!(place.state().unwrap(), State::Nothing);
    assert!(place.dir().join(LAST).exists(), "the report stays for people");
}

#[test]
fn a_confirmation_that_was_cut_off_before_its_claim_means_nothing_and_behind_it_holds() {
    let (_dir, place) = place();
    place.arm(&plan(1)).unwrap();
    place.write(CONFIRMED_BY, &encode(&confirmed(1))).unwrap();
    assert_eq!(place.state().unwrap(), State::Armed(plan(1)));
    assert!(place.claim(ARMED, CONFIRMED).unwrap());
    assert_eq!(place.state().unwrap(), State::Confirmed(confirmed(1)));
    fs::remove_file(place.dir().join(CONFIRMED_BY)).unwrap();
    assert!(matches!(place.state().unwrap(), State::Confirmed(done) if done.effect == plan(1).effect));
}

#[test]
fn a_revert_of_another_change_is_not_armed_over() {
    let (_dir, place) = place();
    place.arm(&plan(1)).unwrap();
    place.arm(&plan(1)).unwrap();
    let problem = place.arm(&plan(2)).unwrap_err();
    assert!(problem.what.contains("run 7") && !problem.next.is_empty(), "{problem:?}");
    place.disarm().unwrap();
    place.arm(&plan(2)).unwrap();
}

#[test]
fn a_file_that_others_can_read_or_write_is_not_believed() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, place) = place();
    place.arm(&plan(1)).unwrap();
    let armed = place.dir().join(ARMED);
    fs::set_permissions(&armed, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(place.state().unwrap_err().what.contains("not believed"));
    fs::remove_file(&armed).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &armed).unwrap();
    assert!(place.state().is_err());
}

#[test]
fn a_revert_that_has_reported_is_not_gone_on_with_whoever_puts_it_away() {
    let (_dir, place) = place();
    for by_the_agent in [false, true] {
        place.arm(&plan(1)).unwrap();
        place.claim_revert().unwrap().unwrap();
        // The reverter dies behind its report: both lie there.
        place.write(REVERTED, &encode(&report(1))).unwrap();
        assert!(place.dir().join(REVERTING).exists());
        if by_the_agent {
            place.put_away(plan(1).effect).unwrap();
        }
        assert_eq!(place.claim_revert().unwrap(), None);
        assert!(!place.dir().join(REVERTING).exists());
        place.put_away(plan(1).effect).unwrap();
        assert_eq!(place.state().unwrap(), State::Nothing);
    }
}

#[test]
fn what_a_reverter_that_died_behind_its_report_has_left_does_not_come_before_the_next_change() {
    let (_dir, place) = place();
    place.arm(&plan(1)).unwrap();
    place.claim_revert().unwrap().unwrap();
    place.write(REVERTED, &encode(&report(1))).unwrap();
    place.arm(&plan(2)).unwrap();
    assert_eq!(place.state().unwrap(), State::Armed(plan(2)));
    assert!(place.confirm(&confirmed(2)).unwrap());
    assert_eq!(place.claim_revert().unwrap(), None);
}

#[test]
fn while_one_has_the_lock_nobody_else_gets_it() {
    let (_dir, place) = place();
    let lock = place.lock().unwrap();
    assert!(place.try_lock().unwrap().is_none());
    drop(lock);
    assert!(place.try_lock().unwrap().is_some());
}
