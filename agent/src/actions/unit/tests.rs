use super::*;
use crate::{
    actions::{
        running_executable::Running,
        swap_binary::{
            Swap,
            tests::{Bench, bench_with},
        },
    },
    sys::process,
};
use drydock_types::{Sha256, step::RunningExecutable};

fn step() -> UnitStep {
    UnitStep { unit: Bench::unit(), within: Millis::secs(5) }
}

fn runs(bench: &Bench) -> RunningExecutable {
    RunningExecutable {
        unit: Bench::unit(),
        path: bench.path.clone(),
        stable_for: Millis::secs(1),
        within: Millis::secs(5),
    }
}

async fn info(bench: &Bench) -> UnitInfo {
    bench.host.units.load(&Bench::unit()).await.unwrap()
}

async fn in_memory(bench: &Bench) -> Sha256 {
    process::exe(info(bench).await.main_pid).unwrap().sha256
}

fn bench() -> Bench {
    bench_with("[\"600\"]", "")
}

#[tokio::test]
async fn a_restart_is_done_when_another_invocation_runs() {
    let bench = bench();
    let (step, cx) = (step(), bench.cx());
    bench.run(&Start(&step)).await.unwrap();
    let note = Restart(&step).note(&cx).await.unwrap();
    assert_eq!(Restart(&step).probe(&cx, &note).await, Found::NotBegun);
    let first = info(&bench).await;
    let evidence = Restart(&step).apply(&cx, &note).await.unwrap();
    assert!(
        matches!(&evidence[0], Evidence::Running(it) if it.invocation != first.invocation_id && it.pid != 0)
    );
    assert_eq!(Restart(&step).probe(&cx, &note).await, Found::Done);
}

#[tokio::test]
async fn a_failed_upgrade_is_taken_back_files_first_and_the_old_binary_runs_again() {
    let bench = bench();
    let (step, swap_step, cx, old) = (step(), bench.step(), bench.cx(), bench.digest());
    bench.run(&Start(&step)).await.unwrap();
    let (swap_note, _) = bench.run(&Swap(&swap_step)).await.unwrap();
    let (note, _) = bench.run(&Restart(&step)).await.unwrap();
    bench.run(&Running(&runs(&bench))).await.unwrap();
    assert_ne!(in_memory(&bench).await, old);
    // Files first, units in a second pass; each twice.
    Swap(&swap_step).undo(&cx, &swap_note).await.unwrap();
    Restart(&step).undo(&cx, &note).await.unwrap();
    assert_eq!(in_memory(&bench).await, old);
    Swap(&swap_step).undo(&cx, &swap_note).await.unwrap();
    Restart(&step).undo(&cx, &note).await.unwrap();
    assert_eq!((in_memory(&bench).await, bench.digest()), (old, old));
}

#[tokio::test]
async fn a_unit_that_was_never_touched_is_left_alone_by_undo() {
    let bench = bench();
    let step = step();
    bench.run(&Start(&step)).await.unwrap();
    let note = Restart(&step).note(&bench.cx()).await.unwrap();
    let before = info(&bench).await;
    Restart(&step).undo(&bench.cx(), &note).await.unwrap();
    assert_eq!(info(&bench).await, before);
}

#[tokio::test]
async fn a_unit_that_was_stopped_before_is_stopped_by_undo() {
    let bench = bench();
    let (step, cx) = (step(), bench.cx());
    for action in [&Start(&step) as &dyn Action, &Restart(&step)] {
        let (note, _) = bench.run(action).await.unwrap();
        assert!(info(&bench).await.is_running());
        action.undo(&cx, &note).await.unwrap();
        action.undo(&cx, &note).await.unwrap();
        assert!(info(&bench).await.is_stopped());
    }
}

#[tokio::test]
async fn a_stop_is_seen_probed_and_taken_back() {
    let bench = bench();
    let (step, cx) = (step(), bench.cx());
    bench.run(&Start(&step)).await.unwrap();
    let note = Stop(&step).note(&cx).await.unwrap();
    assert_eq!(Stop(&step).probe(&cx, &note).await, Found::NotBegun);
    Stop(&step).apply(&cx, &note).await.unwrap();
    assert!(info(&bench).await.is_stopped());
    assert_eq!(Stop(&step).probe(&cx, &note).await, Found::Done);
    let evidence = Stop(&step).undo(&cx, &note).await.unwrap();
    assert!(info(&bench).await.is_running() && evidence.len() == 1);
    Stop(&step).undo(&cx, &note).await.unwrap();
}

#[tokio::test]
async fn a_service_that_dies_at_once_fails_with_its_own_last_words() {
    let bench = bench_with("[\"no number\"]", "");
    let step = step();
    // The shell of the matter may still be dying when the job is over: either step sees it.
    let problem = match bench.run(&Start(&step)).await {
        Err(problem) => problem,
        Ok(_) => bench.run(&Running(&runs(&bench))).await.unwrap_err(),
    };
    assert!(problem.what.starts_with("x.service exited 1 in "), "{problem}");
    assert!(problem.log.iter().any(|line| line.contains("invalid time interval")), "{problem:?}");
    assert!(problem.next[0].contains("journalctl -u x.service"));
}

#[tokio::test]
async fn a_unit_that_the_policy_does_not_list_or_the_node_lacks_is_refused() {
    let bench = bench();
    let other = |unit| UnitStep { unit: UnitName::parse(unit).unwrap(), within: Millis::secs(1) };
    let (sshd, missing) = (other("sshd.service"), other("y.service"));
    let note = Note::of(&Before { invocation: String::new(), active: true }).unwrap();
    for action in [&Start(&sshd) as &dyn Action, &Stop(&sshd), &Restart(&sshd)] {
        for refused in [
            action.check(&bench.cx()).await.unwrap_err(),
            action.apply(&bench.cx(), &note).await.unwrap_err(),
        ] {
            assert!(refused.what.contains("sshd.service is not among the units"), "{refused}");
        }
    }
    assert!(Restart(&sshd).undo(&bench.cx(), &note).await.is_err());
    assert!(Start(&missing).check(&bench.cx()).await.unwrap_err().what.contains("no unit y.service"));
}

#[tokio::test]
async fn whether_a_restart_was_taken_back_is_seen_by_the_invocation_from_right_before_that() {
    let bench = bench();
    let (step, cx) = (step(), bench.cx());
    bench.run(&Start(&step)).await.unwrap();
    let (note, _) = bench.run(&Restart(&step)).await.unwrap();
    let restart = Restart(&step);
    let before = restart.undo_note(&cx).await.unwrap();
    assert_eq!(restart.undo_probe(&cx, &note, &before).await, Found::NotBegun);
    let seen = restart.undo(&cx, &note).await.unwrap();
    assert_eq!(restart.undo_probe(&cx, &note, &before).await, Found::Seen(seen));
    // Where nothing could be noted nothing tells, and it is taken back again.
    assert_eq!(restart.undo_probe(&cx, &note, &Note::none()).await, Found::NotBegun);
    // Nor is what is down by now back, whoever stopped it.
    let (_, _) = bench.run(&Stop(&step)).await.unwrap();
    assert_eq!(restart.undo_probe(&cx, &note, &before).await, Found::NotBegun);
}

#[tokio::test]
async fn a_unit_that_was_stopped_before_is_not_back_because_it_runs() {
    let bench = bench();
    let (step, cx) = (step(), bench.cx());
    for action in [&Start(&step) as &dyn Action, &Restart(&step)] {
        let (note, _) = bench.run(action).await.unwrap();
        let before = action.undo_note(&cx).await.unwrap();
        bench.run(&Restart(&step)).await.unwrap();
        assert_eq!(action.undo_probe(&cx, &note, &before).await, Found::NotBegun, "another invocation runs");
        action.undo(&cx, &note).await.unwrap();
        assert!(info(&bench).await.is_stopped());
    }
}
