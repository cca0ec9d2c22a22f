//! An earlier section's change is taken back by command.

use drydock_types::{
    Millis, SectionKind, Sha256, Step, Version,
    outcome::{Evidence, SectionResult},
};

use super::bench::*;
use crate::{
    executor::*,
    journal::{
        JournalDisk as _,
        memory::{Fault, Survives},
    },
};

/// The undo of an apply section, as a coordinator sends it.
fn undo_of(applied: &Section, number: u8) -> Section {
    Section {
        effect: EffectId([number; 32]),
        kind: SectionKind::Undo,
        run_number: 2,
        from: None,
        to: applied.from.clone().unwrap(),
        allow_downgrade: true,
        steps: vec![],
        verify: vec![],
        undoes: Some(applied.effect),
        ..applied.clone()
    }
}

fn another(number: u8) -> Section {
    Section { effect: EffectId([number; 32]), run_number: u64::from(number), ..section() }
}

fn versions(node: &Node) -> (String, String) {
    node.with(|world| (world.file.clone(), world.running.clone()))
}

fn old() -> (String, String) {
    ("old".into(), "old".into())
}

fn new() -> (String, String) {
    ("new".into(), "new".into())
}

#[test]
fn a_change_that_is_done_is_taken_back_in_reverse_from_its_notes_and_seen_to_be_back() {
    run(async {
        let bench = Bench::new().await;
        let steps = vec![Step::StopUnit(unit()), swap(), Step::StartUnit(unit()), Step::RestartUnit(unit())];
        let applied = Section { steps, ..section() };
        assert_eq!(bench.done(&applied).await.result, SectionResult::Done {});
        assert_eq!(versions(&bench.node), new());
        let outcome = bench.done(&undo_of(&applied, 9)).await;
        assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
        assert_eq!(versions(&bench.node), old());
        let undone = bench.node.with(|world| world.undone.clone());
        assert_eq!(undone, ["swapBinary", "restartUnit", "startUnit", "stopUnit"], "files before units");
        let steps: Vec<_> = outcome.steps.iter().map(|step| (step.step.as_str(), step.undo)).collect();
        let back = ["swapBinary", "restartUnit", "startUnit", "stopUnit"].map(|step| (step, true));
        assert_eq!(steps, [&back[..], &[("healthy", false)]].concat(), "and then it is looked at");
        assert!(outcome.out_of_service.is_some());
        assert_eq!(bench.done(&undo_of(&applied, 9)).await, outcome, "the same effect, the same outcome");
        assert_eq!(bench.node.with(|world| world.undone.len()), 4);
    });
}

#[test]
fn taking_back_twice_does_no_harm() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        for number in [9, 10] {
            let outcome = bench.done(&undo_of(&section(), number)).await;
            assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
            assert_eq!(versions(&bench.node), old());
        }
    });
}

#[test]
fn a_change_that_was_left_alone_can_be_taken_back_later() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.failing.insert("healthy.apply".into()));
        let applied = Section { undo_on_failure: false, ..section() };
        assert!(matches!(bench.done(&applied).await.result, SectionResult::LeftAlone { .. }));
        bench.node.with(|world| world.failing.clear());
        assert_eq!(bench.done(&undo_of(&applied, 9)).await.result, SectionResult::Done {});
        assert_eq!(versions(&bench.node), old());
    });
}

#[test]
fn past_a_point_of_no_return_nothing_is_touched_and_the_reason_is_told() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.node.with(|world| world.guard = Some("the cluster is at 3.5".into()));
        let outcome = bench.done(&undo_of(&section(), 9)).await;
        assert!(
            matches!(&outcome.result, SectionResult::LeftAlone { because, .. } if because.contains("at 3.5")),
            "{outcome:?}"
        );
        assert!(bench.node.with(|world| world.undone.is_empty()));
        assert_eq!(outcome.out_of_service, None);
        // The guard is judged when undo is wanted: once it holds, another attempt goes through.
        bench.node.with(|world| world.guard = None);
        assert_eq!(bench.done(&undo_of(&section(), 10)).await.result, SectionResult::Done {});
    });
}

#[test]
fn a_policy_that_says_no_refuses_it_untouched() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.node.with(|world| world.policy = Some("etcd 3.4.23 is below this node's floor".into()));
        let outcome = bench.done(&undo_of(&section(), 9)).await;
        assert!(
            matches!(&outcome.result, SectionResult::Refused { failure } if failure.what.contains("floor")),
            "{outcome:?}"
        );
        assert!(bench.node.with(|world| world.undone.is_empty()));
    });
}

#[test]
fn a_step_that_cannot_be_taken_back_and_a_node_that_is_not_well_after_it_are_left_and_told() {
    run(async {
        for (fails, word) in [("swapBinary.undo", "could not be taken back"), ("healthy.apply", "not well")] {
            let bench = Bench::new().await;
            bench.done(&section()).await;
            bench.node.with(|world| world.failing.insert(fails.into()));
            let outcome = bench.done(&undo_of(&section(), 9)).await;
            let told =
                matches!(&outcome.result, SectionResult::LeftAlone { because, .. } if because.contains(word));
            assert!(told, "{outcome:?}");
            // Whatever was in the way is put right, and it is tried again.
            bench.node.with(|world| world.failing.clear());
            assert_eq!(bench.done(&undo_of(&section(), 10)).await.result, SectionResult::Done {});
            assert_eq!(versions(&bench.node), old());
        }
    });
}

#[test]
fn an_undo_of_what_the_journal_does_not_hold_as_the_last_change_is_declined_untouched() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        let wrong_to = Section { to: Version::parse("3.4.99").unwrap(), ..undo_of(&section(), 9) };
        let other = drydock_types::ComponentName::parse("k3s").unwrap();
        let cases = [
            (undo_of(&another(77), 9), "never begun here"),
            (Section { component: other, ..undo_of(&section(), 9) }, "none of k3s"),
            (wrong_to, "ran 3.4.23 here"),
            (Section { undoes: None, ..undo_of(&section(), 9) }, "names one change"),
            (Section { steps: vec![swap()], ..undo_of(&section(), 9) }, "no steps of its own"),
            (Section { undoes: Some(EffectId([5; 32])), ..another(8) }, "undoes nothing"),
        ];
        for (section, word) in cases {
            let (why, lapsed) = bench.declined(bench.dispatch(&section)).await;
            assert!(why.contains(word) && !lapsed, "{why}");
        }
        // A later change of the same component: an undo never takes it along.
        bench.done(&another(7)).await;
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&section(), 9))).await;
        assert!(why.contains("run 7 changed etcd") && why.contains("take run 7 back first"), "{why}");
        assert!(bench.node.with(|world| world.undone.is_empty()));
        assert_eq!(bench.done(&undo_of(&another(7), 10)).await.result, SectionResult::Done {});
    });
}

#[test]
fn what_took_itself_back_or_changed_nothing_leaves_the_change_before_it_the_last_one() {
    run(async {
        for fails in ["healthy.apply", "swapBinary.check"] {
            let bench = Bench::new().await;
            bench.done(&section()).await;
            bench.node.with(|world| world.failing.insert(fails.into()));
            let outcome = bench.done(&another(7)).await;
            assert!(!matches!(outcome.result, SectionResult::Done {}));
            bench.node.with(|world| world.failing.clear());
            let (why, _) = bench.declined(bench.dispatch(&undo_of(&another(7), 9))).await;
            assert!(why.contains("nothing of it is left"), "{why}");
            let outcome = bench.done(&undo_of(&section(), 10)).await;
            assert_eq!(outcome.result, SectionResult::Done {});
            assert_eq!(versions(&bench.node), old());
        }
    });
}

#[test]
fn what_nothing_could_tell_the_end_of_is_not_taken_back_and_neither_is_what_came_before() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.node.with(|world| {
            world.blind = true;
            world.hanging.insert("swapBinary.apply".into());
        });
        assert!(dies(&bench, bench.executor.take(bench.dispatch(&another(7)))).await);
        bench.disk.crash(Survives::Nothing);
        let bench = Bench::on(bench.disk, bench.node).await;
        let outcome = bench.executor.recover().await.unwrap().unwrap();
        assert!(matches!(outcome.result, SectionResult::Undecidable { .. }));
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&another(7), 9))).await;
        assert!(why.contains("nothing told"), "{why}");
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&section(), 9))).await;
        assert!(why.contains("run 7 changed etcd"), "{why}");
    });
}

#[test]
fn notes_last_over_restarts_and_compaction_and_go_when_they_are_forgotten() {
    run(async {
        let mut bench = Bench::new().await;
        bench.done(&section()).await;
        // Much else happens, so that the file is compacted more than once.
        for number in 20..220 {
            let looked = Section { kind: SectionKind::Stage, steps: vec![], ..another(number) };
            bench.done(&looked).await;
            bench.executor.forget(&[looked.effect]).await.unwrap();
            if number % 50 == 0 {
                bench.disk.crash(Survives::Everything);
                bench = Bench::on(bench.disk, bench.node).await;
            }
        }
        assert!(bench.disk.length() < 200 << 10, "it was compacted: {}", bench.disk.length());
        assert_eq!(bench.done(&undo_of(&section(), 9)).await.result, SectionResult::Done {});
        assert_eq!(versions(&bench.node), old());
        bench.executor.forget(&[section().effect]).await.unwrap();
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&section(), 10))).await;
        assert!(why.contains("not in this node's journal"), "{why}");
    });
}

#[test]
fn of_many_components_the_last_changes_are_kept_up_to_the_bound() {
    run(async {
        let bench = Bench::new().await;
        let of = |number: u8| Section {
            component: drydock_types::ComponentName::parse(&format!("part-{number}")).unwrap(),
            ..another(number)
        };
        let many = u8::try_from(crate::journal::MAX_CHANGES).unwrap();
        for number in 1..=many + 1 {
            bench.done(&of(number)).await;
        }
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&of(1), 250))).await;
        assert!(why.contains("notes are gone"), "{why}");
        assert_eq!(bench.done(&undo_of(&of(2), 251)).await.result, SectionResult::Done {});
    });
}

#[test]
fn a_full_disk_declines_the_undo_with_nothing_half_done_and_never_cuts_one_off() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.disk.set_capacity(Some(bench.disk.length()));
        let (why, _) = bench.declined(bench.dispatch(&undo_of(&section(), 9))).await;
        assert!(why.contains("free some space"), "{why}");
        assert_eq!(versions(&bench.node), new());
        bench.disk.set_capacity(None);
        assert_eq!(bench.done(&undo_of(&section(), 10)).await.result, SectionResult::Done {});
    });
}

#[test]
fn what_is_being_taken_back_is_kept_though_it_is_forgotten_meanwhile() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.node.with(|world| world.hanging.insert("restartUnit.undo".into()));
        assert!(dies(&bench, bench.executor.take(bench.dispatch(&undo_of(&section(), 9)))).await);
        bench.disk.crash(Survives::Nothing);
        bench.node.with(|world| world.hanging.clear());
        let bench = Bench::on(bench.disk, bench.node).await;
        bench.executor.forget(&[section().effect]).await.unwrap();
        let outcome = bench.executor.recover().await.unwrap().unwrap();
        assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
        assert_eq!(versions(&bench.node), old());
        assert_eq!(bench.executor.stored(section().effect).await.unwrap(), Stored::Unknown);
        // And a file that is compacted afterwards is read again.
        for number in 20..200 {
            let looked = Section { kind: SectionKind::Stage, steps: vec![], ..another(number) };
            bench.done(&looked).await;
            bench.executor.forget(&[looked.effect]).await.unwrap();
        }
        bench.disk.crash(Survives::Everything);
        let bench = Bench::on(bench.disk, bench.node).await;
        assert!(matches!(bench.executor.stored(EffectId([9; 32])).await.unwrap(), Stored::Ended { .. }));
    });
}

/// Of one step, at the least: to be told from what the rest takes.
const UNDO_TAKES: Millis = Millis(10);

/// Done once; then its undo dies, and is carried on.
async fn undo_dies_and_is_carried_on(death: Death, left: Survives) -> bool {
    let bench = Bench::new().await;
    bench.done(&section()).await;
    bench.node.with(|world| world.undo_takes = Duration::from_millis(UNDO_TAKES.0));
    let undo = undo_of(&section(), 9);
    let Some((bench, outcome)) = carried_on(bench, &undo, death, left).await else { return false };
    assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
    assert_eq!(versions(&bench.node), old());
    assert_eq!(bench.node.with(|world| world.applied["swapBinary"]), 1, "nothing goes forwards again");
    let restarts =
        bench.node.with(|world| world.undone.iter().filter(|step| **step == "restartUnit").count());
    assert_eq!(restarts, 1, "restarted back once: {outcome:?}");
    let took = |told: &&drydock_types::outcome::StepReport| told.undo && told.step == "restartUnit";
    let took: u64 = outcome.steps.iter().filter(took).map(|told| told.took.0).sum();
    let out = outcome.out_of_service.expect("it was out of service, whoever saw that");
    let least = UNDO_TAKES.0;
    // Where the agent died before it could say so, nobody knows how long that took.
    assert!(took < least || out.0 >= least, "{outcome:?}");
    // Whichever life of the agent saw it, what was seen of it stands in the outcome.
    for step in ["swapBinary", "restartUnit"] {
        assert!(outcome.steps.iter().any(|told| told.undo && told.step == step), "{outcome:?}");
        let back = Evidence::Healthy { source: format!("{step} back") };
        assert!(outcome.evidence.contains(&back), "{outcome:?}");
    }
    true
}

#[test]
fn an_agent_that_dies_anywhere_while_it_takes_back_ends_with_everything_back_and_restarts_once() {
    for left in [Survives::Nothing, Survives::Prefix(30), Survives::AllBut(40), Survives::Everything] {
        let died = |death| run(undo_dies_and_is_carried_on(death, left));
        assert!((1..).take_while(|point| died(Death::AtPoint(*point))).count() >= 6);
        for fault in Fault::DEATHS {
            assert!((0..).take_while(|write| died(Death::AtWrite(*write, fault))).count() >= 4);
        }
    }
}

#[test]
fn a_look_before_an_undo_that_fails_or_hangs_does_not_keep_the_node_half_way() {
    for hangs in [false, true] {
        run(async {
            let bench = Bench::new().await;
            let applied = Section { deadline: Millis::secs(4), ..section() };
            bench.done(&applied).await;
            bench.node.with(|world| {
                let script = if hangs { &mut world.hanging } else { &mut world.failing };
                script.insert("swapBinary.undo_note".into());
            });
            let outcome = bench.done(&undo_of(&applied, 9)).await;
            assert_eq!(outcome.result, SectionResult::Done {}, "{outcome:?}");
            assert_eq!(versions(&bench.node), old());
        });
    }
}

#[test]
fn an_undo_whose_payload_changes_is_another_one_and_refused() {
    run(async {
        let bench = Bench::new().await;
        bench.done(&section()).await;
        bench.done(&undo_of(&section(), 9)).await;
        let other = Section { run_number: 3, ..undo_of(&section(), 9) };
        assert_ne!(Sha256::of(&encode(&other)), Sha256::of(&encode(&undo_of(&section(), 9))));
        assert!(bench.declined(bench.dispatch(&other)).await.0.contains("another section"));
    });
}
