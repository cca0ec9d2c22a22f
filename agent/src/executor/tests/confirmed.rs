//! Commit-confirmed sections against a scripted reverter, which strikes when it is told or when it wants to.

use std::time::Duration;

use drydock_types::{
    Millis, Step,
    outcome::{Evidence, SectionResult},
    section::CommitConfirmed,
    step::UnitStep,
};

use super::bench::*;
use crate::{
    executor::*,
    journal::memory::Survives,
    revert::{Report, Standing},
};

fn confirmed_section() -> Section {
    let wanted = CommitConfirmed { within: Millis::secs(30), witness: vec!["10.0.0.1:22".into()] };
    let requires = vec!["canUndo".into(), "commitConfirmed".into()];
    Section { commit_confirmed: Some(wanted), can_undo: Vec::new(), requires, ..section() }
}

fn report(bench: &Bench) -> Report {
    bench.node.with(|world| {
        world.file = "old".into();
        world.running = "old".into();
    });
    Report {
        effect: section().effect,
        at_unix_ms: 1_795_249_353_000,
        after: Millis::secs(30),
        because: "the change was not confirmed within 30s".into(),
        restored: vec!["/usr/bin/etcd".into()],
        failed: Vec::new(),
    }
}

fn guard(bench: &Bench) -> Vec<String> {
    bench.node.with(|world| world.guard_log.clone())
}

#[test]
fn a_change_is_armed_before_its_first_step_and_confirmed_after_its_last_look() {
    run(async {
        let bench = Bench::new().await;
        let outcome = bench.done(&confirmed_section()).await;
        assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
        let log = bench.node.with(|world| world.log.clone());
        let at = |what: &str| log.iter().position(|line| line == what).unwrap();
        assert!(at("swapBinary.check") < at("may_arm") && at("may_arm") < at("arm"), "{log:?}");
        assert!(at("arm") < at("swapBinary.apply") && at("healthy.apply") < at("confirm"), "{log:?}");
        assert!(at("confirm") < at("put_away"), "{log:?}");
        assert!(outcome.evidence.iter().any(|seen| matches!(seen, Evidence::Confirmed { .. })));
    });
}

#[test]
fn where_it_cannot_be_armed_nothing_is_changed() {
    run(async {
        for (failing, refused) in [("may_arm", true), ("arm", false)] {
            let bench = Bench::new().await;
            bench.node.with(|world| world.failing.insert(failing.into()));
            let outcome = bench.done(&confirmed_section()).await;
            assert_eq!(matches!(outcome.result, SectionResult::Refused { .. }), refused, "{outcome:?}");
            assert_eq!(matches!(outcome.result, SectionResult::Failed { .. }), !refused, "{outcome:?}");
            assert!(bench.node.with(|world| world.applied.is_empty()), "{failing}");
        }
    });
}

/// The reverter would compare the new file with what that has unpacked, and call the change taken back.
#[test]
fn what_unpacks_itself_is_never_commit_confirmed_and_otherwise_begun() {
    run(async {
        let bench = Bench::new().await;
        let swaps = |section: Section| {
            section.steps.into_iter().find_map(|step| match step {
                Step::SwapBinary(swap) => Some(swap.path),
                _ => None,
            })
        };
        bench.node.with(|world| world.unpacks = swaps(section()));
        let (why, lapsed) = bench.declined(bench.dispatch(&confirmed_section())).await;
        assert!(
            !lapsed && why.contains("unpacks itself") && why.contains("leave `commitConfirmed` out"),
            "{why}"
        );
        assert!(bench.node.with(|world| world.log.is_empty()), "nothing was even looked at");
        let bench = Bench::new().await;
        bench.node.with(|world| world.unpacks = swaps(section()));
        assert_eq!(bench.done(&section()).await.result, SectionResult::Done {});
    });
}

#[test]
fn what_fails_is_taken_back_by_the_reverter_and_by_nobody_else() {
    run(async {
        for failing in ["healthy.apply", "restartUnit.apply", "confirm"] {
            let bench = Bench::new().await;
            let back = report(&bench);
            bench.node.with(|world| {
                world.failing.insert(failing.into());
                world.report = Some(back);
            });
            let outcome = bench.done(&confirmed_section()).await;
            let SectionResult::Undone { failure } = &outcome.result else { panic!("{outcome:?}") };
            assert!(failure.what.contains("by itself at 2026-11-21 08:22:33 UTC"), "{}", failure.what);
            assert!(bench.node.with(|world| world.undone.is_empty()), "the agent undid nothing itself");
            assert!(guard(&bench).contains(&"revert".to_owned()));
            assert!(outcome.evidence.iter().any(|seen| matches!(seen, Evidence::Reverted { .. })));
        }
    });
}

#[test]
fn a_step_that_fails_its_check_before_anything_was_changed_disarms() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.failing.insert("swapBinary.note".into()));
        let outcome = bench.done(&confirmed_section()).await;
        assert!(matches!(outcome.result, SectionResult::Failed { .. }), "{outcome:?}");
        assert!(guard(&bench).contains(&"disarm".to_owned()));
    });
}

#[test]
fn what_could_not_be_put_back_is_said_and_left_to_a_person() {
    run(async {
        let bench = Bench::new().await;
        let back = Report { failed: vec!["/usr/bin/etcd: gone".into()], ..report(&bench) };
        bench.node.with(|world| {
            world.failing.insert("healthy.apply".into());
            world.report = Some(back);
        });
        let outcome = bench.done(&confirmed_section()).await;
        assert!(
            matches!(&outcome.result, SectionResult::LeftAlone { because, .. } if because.contains("gone")),
            "{outcome:?}"
        );
    });
}

/// The agent dies in a step; meanwhile the node becomes what `then` says; the next start carries it on.
async fn dies_in(at: &str, then: impl FnOnce(&Bench)) -> (Bench, Outcome) {
    let bench = Bench::new().await;
    bench.node.with(|world| world.hanging.insert(at.into()));
    let take = bench.executor.take(bench.dispatch(&confirmed_section()));
    tokio::select! {
        _ = take => panic!("it does not hang in {at}"),
        () = bench.node.1.notified() => {}
    }
    bench.node.with(|world| world.hanging.clear());
    then(&bench);
    bench.disk.crash(Survives::Nothing);
    let bench = Bench::on(bench.disk, bench.node).await;
    let outcome = bench.executor.recover().await.unwrap().expect("it was open");
    (bench, outcome)
}

#[test]
fn an_agent_that_was_away_while_the_revert_struck_reports_it() {
    run(async {
        for at in ["swapBinary.apply", "restartUnit.apply", "healthy.apply", "confirm"] {
            let (bench, outcome) = dies_in(at, |bench| {
                let back = report(bench);
                bench.node.with(|world| world.standing = Some(Standing::Reverted(back)));
            })
            .await;
            let SectionResult::Undone { failure } = &outcome.result else { panic!("{at}: {outcome:?}") };
            assert!(failure.what.contains("by itself") && failure.what.contains("30s"), "{}", failure.what);
            assert_eq!(bench.done(&confirmed_section()).await, outcome, "and the same ever after");
        }
    });
}

#[test]
fn what_a_change_that_has_ended_left_is_put_away_by_the_agents_next_start_and_nothing_of_an_open_one() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.hanging.insert("put_away".into()));
        assert!(dies(&bench, bench.executor.take(bench.dispatch(&confirmed_section()))).await);
        bench.node.with(|world| world.hanging.clear());
        bench.disk.crash(Survives::Nothing);
        let left = |bench: &Bench| bench.node.with(|world| world.left_over);
        assert_eq!(left(&bench), Some(confirmed_section().effect));
        let bench = Bench::on(bench.disk, bench.node).await;
        assert_eq!(bench.executor.recover().await.unwrap(), None);
        assert_eq!(left(&bench), None);

        // One that died between the confirmation and the outcome still needs what is there.
        let (bench, outcome) = dies_in("confirm", |bench| {
            bench.node.with(|world| {
                world.standing = Some(Standing::Confirmed);
                world.left_over = Some(confirmed_section().effect);
            });
        })
        .await;
        assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
        let log = guard(&bench);
        let at = |what: &str| log.iter().rposition(|line| line == what).unwrap();
        assert_eq!(log.iter().filter(|line| *line == "put_away").count(), 1, "{log:?}");
        assert!(at("confirm") < at("put_away"), "{log:?}");
    });
}

#[test]
fn an_agent_that_comes_back_in_time_carries_it_on_and_confirms() {
    run(async {
        for at in ["swapBinary.apply", "restartUnit.apply", "healthy.apply", "confirm"] {
            let (bench, outcome) = dies_in(at, |bench| {
                let left = Duration::from_secs(20);
                bench.node.with(|world| world.standing = Some(Standing::Armed(left)));
            })
            .await;
            assert_eq!(outcome.result, SectionResult::Done {}, "{at}: {outcome:?}");
            assert_eq!(guard(&bench).iter().filter(|what| *what == "arm").count(), 1, "{at}");
            let applied = bench.node.with(|world| world.applied.clone());
            assert_eq!((applied["swapBinary"], applied["restartUnit"]), (1, 1), "{at}");
        }
    });
}

#[test]
fn an_agent_that_died_before_it_had_armed_arms_and_goes_on() {
    run(async {
        let (bench, outcome) = dies_in("arm", |_| {}).await;
        assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
        assert_eq!(bench.node.with(|world| world.applied["swapBinary"]), 1);
    });
}

#[test]
fn a_half_done_change_whose_revert_is_gone_goes_back_by_the_agents_own_hand() {
    run(async {
        for at in ["swapBinary.apply", "restartUnit.apply", "confirm"] {
            let (bench, outcome) = dies_in(at, |bench| {
                bench.node.with(|world| world.standing = Some(Standing::None));
            })
            .await;
            let SectionResult::Undone { failure } = &outcome.result else { panic!("{at}: {outcome:?}") };
            assert!(failure.what.contains("is gone"), "{}", failure.what);
            let (file, running) = bench.node.with(|world| (world.file.clone(), world.running.clone()));
            assert_eq!((file.as_str(), running.as_str()), ("old", "old"), "{at}");
        }
    });
}

#[test]
fn once_it_is_armed_no_step_goes_on_until_after_the_revert_has_struck() {
    run(async {
        let bench = Bench::new().await;
        let back = report(&bench);
        bench.node.with(|world| {
            world.arms_for = Some(Duration::from_millis(50));
            world.hanging.insert("healthy.apply".into());
            world.report = Some(back);
        });
        let began = Instant::now();
        let outcome = bench.done(&confirmed_section()).await;
        let SectionResult::Undone { failure } = &outcome.result else { panic!("{outcome:?}") };
        assert!(failure.what.contains("; it waited: healthy.apply hangs by script;"), "{}", failure.what);
        assert!(began.elapsed() < Duration::from_secs(20), "its own deadline is a minute");
    });
}

/// The built-in recipe `openvswitch`.
#[test]
fn packages_and_a_switch_are_taken_back_from_outside() {
    run(async {
        let packages = drydock_types::packages::Packages::default;
        let steps = vec![Step::InstallPackages(packages()), Step::ReloadOpenvswitch(Default::default())];
        let verify = vec![Step::PackagesInstalled(packages())];
        let section = Section { steps, verify, ..confirmed_section() };
        assert_eq!(may_be_begun(&section, &|_| false), Ok(()));
        let ovn = Section { steps: vec![Step::RestartOvnController(Default::default())], ..section };
        assert!(may_be_begun(&ovn, &|_| false).unwrap_err().contains("restartOvnController"));
    });
}

#[test]
fn what_cannot_be_taken_back_from_outside_is_not_begun() {
    run(async {
        let unit =
            UnitStep { unit: drydock_types::UnitName::parse("x.service").unwrap(), within: Millis::secs(1) };
        let good = confirmed_section;
        let other = |change: fn(&mut CommitConfirmed)| {
            let mut section = good();
            section.commit_confirmed.as_mut().map(change);
            section
        };
        let reboot = Step::Reboot(drydock_types::step::Reboot { within: Millis::secs(1) });
        for (bad, word) in [
            (other(|wanted| wanted.witness.clear()), "witness"),
            (other(|wanted| wanted.within = Millis::secs(1)), "within"),
            (other(|wanted| wanted.within = Millis::secs(61)), "deadline"),
            (Section { undo_on_failure: false, ..good() }, "onFailure"),
            (Section { can_undo: section().can_undo, ..good() }, "canUndo"),
            (Section { steps: vec![reboot], ..good() }, "reboot"),
            (Section { steps: vec![Step::RestartAgent(unit.clone())], ..section() }, "commitConfirmed"),
            (
                Section { steps: vec![Step::ReloadOpenvswitch(Default::default())], ..section() },
                "commitConfirmed",
            ),
        ] {
            let bench = Bench::new().await;
            let (why, lapsed) = bench.declined(bench.dispatch(&bad)).await;
            assert!(why.contains(word) && !lapsed, "{word}: {why}");
        }
    });
}
