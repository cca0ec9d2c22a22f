//! The executor against a scripted node, and its crashes.

mod bench;
mod confirmed;
mod crash;
mod held;
mod refusals;
mod undo;

use drydock_types::{Millis, Step, outcome::SectionResult};

use self::bench::{Bench, run, section, swap, unit};
use super::*;

#[test]
fn a_section_is_accepted_before_it_is_done_and_ends_with_what_was_seen() {
    run(async {
        let bench = Bench::new().await;
        let outcome = bench.done(&section()).await;
        assert_eq!(outcome.result, SectionResult::Done {});
        assert!(outcome.out_of_service.is_some());
        let steps: Vec<_> = outcome.steps.iter().map(|report| report.step.as_str()).collect();
        assert_eq!(steps, ["swapBinary", "restartUnit", "healthy"]);
        assert_eq!(outcome.evidence.len(), 3);
        assert_eq!(bench.heard.0.lock().unwrap()[0], Event::Accepted(section().effect));
        assert_eq!(bench.node.with(|world| world.running.clone()), "new");
    });
}

#[test]
fn all_checks_run_before_the_first_change() {
    run(async {
        for failing in ["swapBinary.check", "restartUnit.check", "healthy.check"] {
            let bench = Bench::new().await;
            bench.node.with(|world| world.failing.insert(failing.into()));
            let outcome = bench.done(&section()).await;
            assert!(matches!(outcome.result, SectionResult::Refused { .. }), "{outcome:?}");
            assert!(bench.node.with(|world| world.applied.is_empty()), "{failing}");
            assert_eq!(bench.done(&section()).await, outcome, "a refusal is the outcome");
        }
    });
}

#[test]
fn files_are_taken_back_before_units() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.failing.insert("healthy.apply".into()));
        let steps = vec![Step::StopUnit(unit()), swap(), Step::StartUnit(unit()), Step::RestartUnit(unit())];
        let outcome = bench.done(&Section { steps, ..section() }).await;
        assert!(matches!(outcome.result, SectionResult::Undone { .. }), "{outcome:?}");
        let undone = bench.node.with(|world| world.undone.clone());
        assert_eq!(undone, ["swapBinary", "restartUnit", "startUnit", "stopUnit"]);
        assert_eq!(bench.node.with(|world| world.running.clone()), "old");
        let undone: Vec<_> = outcome.steps.iter().filter(|step| step.undo).map(|step| &step.step).collect();
        assert_eq!(undone, ["swapBinary", "restartUnit", "startUnit", "stopUnit"]);
    });
}

#[test]
fn a_failure_is_undone_failed_or_left_alone_as_it_stands() {
    run(async {
        let failing = |key: &str| {
            let key = key.to_owned();
            async move {
                let bench = Bench::new().await;
                bench.node.with(|world| world.failing.insert(key));
                bench
            }
        };
        let bench = failing("swapBinary.note").await;
        assert!(matches!(bench.done(&section()).await.result, SectionResult::Failed { .. }));

        let bench = failing("swapBinary.apply").await;
        assert!(matches!(bench.done(&section()).await.result, SectionResult::Undone { .. }));
        assert_eq!(bench.node.with(|world| world.file.clone()), "old");

        let bench = failing("healthy.apply").await;
        bench.node.with(|world| world.guard = Some("the cluster is at 3.5".into()));
        let result = bench.done(&section()).await.result;
        assert!(
            matches!(&result, SectionResult::LeftAlone { because, .. } if because.contains("at 3.5")),
            "{result:?}"
        );
        assert!(bench.node.with(|world| world.undone.is_empty()));

        let bench = failing("healthy.apply").await;
        let result = bench.done(&Section { undo_on_failure: false, ..section() }).await.result;
        assert!(matches!(result, SectionResult::LeftAlone { .. }));

        let bench = failing("healthy.apply").await;
        bench.node.with(|world| world.failing.insert("swapBinary.undo".into()));
        let result = bench.done(&section()).await.result;
        assert!(matches!(result, SectionResult::LeftAlone { .. }));
        assert!(bench.node.with(|world| world.undone.is_empty()), "units are not touched over a wrong file");
    });
}

#[test]
fn past_its_deadline_a_step_fails_and_undo_has_a_deadline_of_its_own() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.hanging.insert("restartUnit.apply".into()));
        let section = Section { deadline: Millis(50), ..section() };
        let outcome = bench.done(&section).await;
        assert!(
            matches!(&outcome.result, SectionResult::Undone { failure } if failure.what.contains("deadline"))
        );
        assert!(outcome.took >= Millis(50));

        let bench = Bench::new().await;
        bench.node.with(|world| {
            world.hanging.insert("restartUnit.apply".into());
            world.hanging.insert("restartUnit.undo".into());
        });
        let outcome = bench.done(&section).await;
        assert!(matches!(outcome.result, SectionResult::LeftAlone { .. }));
        assert!(outcome.took >= Millis(100));
    });
}

/// A section at work that stands still until its deadline.
fn stuck(bench: &Bench, section: &Section) -> tokio::task::JoinHandle<Result<(), JournalError>> {
    bench.node.with(|world| world.hanging.insert("restartUnit.apply".into()));
    let (executor, dispatch) = (bench.executor.clone(), bench.dispatch(section));
    tokio::spawn(async move { executor.take(dispatch).await })
}

#[test]
fn a_section_that_waits_behind_another_lapses_after_its_time() {
    run(async {
        let bench = Bench::new().await;
        let slow = Section { deadline: Millis(400), ..section() };
        let first = stuck(&bench, &slow);
        bench.node.1.notified().await;
        let (began, lapse) = (Instant::now(), Duration::from_millis(50));
        let second = Section { effect: EffectId([6; 32]), ..section() };
        let (why, lapsed) = bench.declined(Dispatch { lapse, ..bench.dispatch(&second) }).await;
        assert!(lapsed && why.contains("another section"), "{why}");
        assert!(began.elapsed() >= lapse);
        // The same one again, while it is at work, is accepted as it is.
        bench.executor.take(bench.dispatch(&slow)).await.unwrap();
        assert_eq!(bench.heard.last(), Event::Accepted(slow.effect));
        first.await.unwrap().unwrap();
    });
}

#[test]
fn a_section_whose_turn_comes_too_late_is_not_begun() {
    run(async {
        let bench = Bench::new().await;
        let (_, lapsed) =
            bench.declined(Dispatch { lapse: Duration::ZERO, ..bench.dispatch(&section()) }).await;
        assert!(lapsed);
        assert_eq!(bench.executor.stored(section().effect).await.unwrap(), Stored::Unknown);
    });
}

#[test]
fn a_section_that_waits_lapses_with_its_stream_and_one_at_work_goes_on() {
    run(async {
        let mut bench = Bench::new().await;
        let first = stuck(&bench, &Section { deadline: Millis(400), ..section() });
        bench.node.1.notified().await;
        let (executor, second) = (bench.executor.clone(), Section { effect: EffectId([6; 32]), ..section() });
        let second = bench.dispatch(&second);
        let second = tokio::spawn(async move { executor.take(second).await });
        tokio::task::yield_now().await;
        bench.stream = watch::channel(()).0;
        second.await.unwrap().unwrap();
        let heard = bench.heard.last();
        assert!(
            matches!(&heard, Event::Declined { lapsed: true, why, .. } if why.contains("stream")),
            "{heard:?}"
        );
        first.await.unwrap().unwrap();
        assert!(matches!(bench.heard.last(), Event::Ended(_)), "the running one went on");
    });
}

#[test]
fn a_stopping_agent_begins_nothing() {
    run(async {
        let bench = Bench::new().await;
        bench.executor.close();
        assert!(bench.declined(bench.dispatch(&section())).await.1);
        bench.executor.idle().await;
    });
}
