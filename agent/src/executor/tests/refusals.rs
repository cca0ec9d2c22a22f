//! What is declined before it begins, and disks that refuse.

use drydock_types::{Millis, SectionKind, Version, document::encode, outcome::SectionResult};

use super::bench::*;
use crate::{
    executor::*,
    journal::memory::{Fault, Survives},
};

/// Hostile input 18.
#[test]
fn the_same_effect_brings_the_stored_outcome_and_another_payload_is_refused() {
    run(async {
        let bench = Bench::new().await;
        let first = bench.done(&section()).await;
        assert_eq!(bench.done(&section()).await, first);
        assert_eq!(bench.node.with(|world| world.applied["swapBinary"]), 1);
        let other = Section { deadline: Millis::secs(61), ..section() };
        let (why, lapsed) = bench.declined(bench.dispatch(&other)).await;
        assert!(why.contains("another section") && !lapsed, "{why}");
    });
}

/// Hostile input 18.
#[test]
fn a_lower_epoch_and_the_same_epoch_of_another_instance_are_refused_naming_both() {
    run(async {
        let bench = Bench::new().await;
        bench.executor.obey(fence(7, 1)).await.unwrap();
        for refused in [fence(6, 1), fence(7, 2)] {
            let (why, _) = bench.declined(Dispatch { fence: refused, ..bench.dispatch(&section()) }).await;
            for part in [format!("epoch {}", refused.epoch.0), refused.instance.to_string(), "epoch 7".into()]
            {
                assert!(why.contains(&part), "{why}");
            }
            assert!(bench.executor.obey(refused).await.is_err());
        }
        bench.disk.crash(Survives::Nothing);
        let bench = Bench::on(bench.disk, bench.node).await;
        assert!(bench.executor.obey(fence(6, 1)).await.is_err(), "it is remembered");
        assert!(bench.executor.obey(fence(8, 2)).await.is_ok());
        assert!(bench.node.with(|world| world.log.is_empty()));
    });
}

#[test]
fn what_is_not_for_this_node_or_not_known_here_is_declined_untouched() {
    run(async {
        let bench = Bench::new().await;
        let low = Some(Version::parse("3.6.0").unwrap());
        let strange = Some(Version::parse("3.5.16+k3s1").unwrap());
        let cases = [
            (Section { node: NodeName::parse("n2").unwrap(), ..section() }, "n2"),
            (Section { requires: vec!["quorumLease".into()], ..section() }, "quorumLease"),
            (Section { from: low.clone(), ..section() }, "down"),
            (
                Section { from: strange, to: Version::parse("3.5.16+rke2r1").unwrap(), ..section() },
                "no order",
            ),
            (Section { kind: SectionKind::Stage, ..section() }, "stage"),
            (Section { verify: vec![swap()], ..section() }, "verify"),
            (Section { steps: vec![swap(); MAX_STEPS + 1], ..section() }, "64"),
        ];
        for (section, word) in cases {
            let (why, _) = bench.declined(bench.dispatch(&section)).await;
            assert!(why.contains(word), "{why}");
        }
        let mut bytes = encode(&section());
        bytes.pop();
        bytes.extend_from_slice(br#","skipChecks":true}"#);
        let (why, _) = bench.declined(Dispatch { section: bytes, ..bench.dispatch(&section()) }).await;
        assert!(why.contains("skipChecks"), "{why}");
        let wrong = Dispatch { effect: EffectId([6; 32]), ..bench.dispatch(&section()) };
        assert!(bench.declined(wrong).await.0.contains("its section"));
        assert!(bench.node.with(|world| world.log.is_empty()));
        let permitted = Section { from: low, allow_downgrade: true, ..section() };
        assert_eq!(bench.done(&permitted).await.result, SectionResult::Done {});
    });
}

#[test]
fn a_full_disk_declines_the_section_with_nothing_half_done() {
    run(async {
        let bench = Bench::new().await;
        bench.disk.set_capacity(Some(1 << 10));
        let (why, lapsed) = bench.declined(bench.dispatch(&section())).await;
        assert!(why.contains("free some space") && !lapsed, "{why}");
        assert_eq!(bench.executor.stored(section().effect).await.unwrap(), Stored::Unknown);
        assert!(bench.node.with(|world| world.log.is_empty()));
        // Room that was taken before the section began lasts to its end, however full the disk gets.
        bench.disk.set_capacity(None);
        assert_eq!(bench.done(&section()).await.result, SectionResult::Done {});
    });
}

#[test]
fn a_disk_that_fails_at_any_write_stops_the_agent_and_is_not_tried_again() {
    run(async {
        let whole = Bench::new().await;
        let from = whole.disk.operations();
        whole.done(&section()).await;
        for operation in from..whole.disk.operations() {
            let bench = Bench::new().await;
            bench.disk.fail(operation, Fault::Io);
            let took = bench.executor.take(bench.dispatch(&section())).await;
            let error = took.expect_err(&format!(
                "operation {} of {}",
                operation - from,
                whole.disk.operations() - from
            ));
            assert!(error.stops_the_agent(), "{error}");
            let stopped = bench.executor.obey(fence(9, 9)).await.unwrap_err();
            let again =
                matches!(stopped, NotObeyed::Journal(JournalError::Stopped | JournalError::Disk { .. }));
            assert!(again || operation == from, "{stopped}");
        }
    });
}

#[test]
fn what_changes_a_k3s_node_stands_in_no_section_of_one_in_service() {
    use drydock_types::{
        AbsPath, Step, UnitName,
        step::{BackupK3s, CheckK3s, K3sRole, MoveK3sLeader, PlaceK3sImages},
    };
    let unit = || UnitName::parse("k3s.service").unwrap();
    let path = |path: &str| AbsPath::parse(path).unwrap();
    let within = Millis::secs(60);
    let look =
        Step::CheckK3s(CheckK3s { unit: unit(), path: path("/usr/local/bin/k3s"), role: K3sRole::Server });
    let external_datastore_backed_up_by = None;
    let backup =
        Step::BackupK3s(BackupK3s { unit: unit(), max_age: within, within, external_datastore_backed_up_by });
    let lead = Step::MoveK3sLeader(MoveK3sLeader { unit: unit(), within });
    let images =
        Step::PlaceK3sImages(PlaceK3sImages { path: path("/var/lib/rancher/k3s/agent/images/a.tar") });
    let with = |kind, steps: &[&Step], verify: &[&Step]| {
        let list = |steps: &[&Step]| steps.iter().map(|step| (*step).clone()).collect();
        let section = Section { steps: list(steps), verify: list(verify), ..crate::section::empty(kind) };
        may_be_begun(&section, &|_| false)
    };
    assert_eq!(with(SectionKind::Stage, &[&look], &[]), Ok(()));
    assert_eq!(with(SectionKind::Protect, &[&backup], &[]), Ok(()));
    assert_eq!(with(SectionKind::Apply, &[&look, &lead, &images], &[&look]), Ok(()));
    for step in [&lead, &images] {
        assert!(with(SectionKind::Stage, &[step], &[]).unwrap_err().contains("changes the node"));
    }
    assert!(with(SectionKind::Apply, &[&lead], &[&backup]).unwrap_err().contains("does more than look"));
}

#[test]
fn what_can_be_taken_back_once_stands_once() {
    let libvirt = drydock_types::Step::RestartLibvirt(drydock_types::libvirt::RestartLibvirt::default());
    let section = |steps| Section { steps, ..crate::section::empty(SectionKind::Apply) };
    assert_eq!(may_be_begun(&section(vec![libvirt.clone()]), &|_| false), Ok(()));
    let said = may_be_begun(&section(vec![libvirt.clone(), libvirt]), &|_| false).unwrap_err();
    assert!(said.contains("restartLibvirt stands twice"), "{said}");
}
