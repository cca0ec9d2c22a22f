use drydock_types::Millis;

use super::*;
use crate::actions::{
    swap_binary::{
        Swap,
        tests::{Bench, bench_with},
    },
    unit::{Restart, Start},
};
use drydock_types::step::UnitStep;

fn start() -> UnitStep {
    UnitStep { unit: Bench::unit(), within: Millis::secs(5) }
}

fn look(bench: &Bench, within_ms: u64) -> RunningExecutable {
    RunningExecutable {
        unit: Bench::unit(),
        path: bench.path.clone(),
        stable_for: Millis::secs(1),
        within: Millis(within_ms),
    }
}

#[tokio::test]
async fn a_process_that_runs_the_old_file_does_not_pass() {
    let bench = bench_with("[\"600\"]", "");
    bench.run(&Start(&start())).await.unwrap();
    bench.run(&Swap(&bench.step())).await.unwrap();
    let problem = bench.run(&Running(&look(&bench, 200))).await.unwrap_err();
    assert!(
        problem.what.contains("runs another file than") && problem.what.contains("still after 200ms"),
        "{problem}"
    );
    bench.run(&Restart(&start())).await.unwrap();
    let (_, evidence) = bench.run(&Running(&look(&bench, 5000))).await.unwrap();
    let due = bench.section.artifact.as_ref().unwrap().sha256;
    assert!(matches!(&evidence[0], Evidence::Running(it) if it.exe_sha256 == due));
}

#[tokio::test]
async fn a_process_that_runs_the_file_but_not_the_artifact_does_not_pass() {
    let bench = bench_with("[\"600\"]", "");
    bench.run(&Start(&start())).await.unwrap();
    let problem = bench.run(&Running(&look(&bench, 1500))).await.unwrap_err();
    assert!(problem.what.contains("not the artifact"), "{problem}");
}

#[tokio::test]
async fn a_process_must_live_a_while_before_it_passes() {
    let mut bench = bench_with("[\"600\"]", "");
    bench.section.artifact = None;
    bench.run(&Start(&start())).await.unwrap();
    let problem = bench.run(&Running(&look(&bench, 200))).await.unwrap_err();
    assert!(problem.what.contains("does not live for 1s"), "{problem}");
    let begun = Instant::now();
    bench.run(&Running(&look(&bench, 5000))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the age counts, not the looking");
}

#[tokio::test]
async fn a_crash_loop_never_passes() {
    let mut bench = bench_with("[\"0.2\"]", "");
    bench.section.artifact = None;
    let (unit, step) = (start(), look(&bench, 2000));
    let crashes = async {
        loop {
            // What systemd's Restart=always does.
            let _ = bench.run(&Start(&unit)).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = crashes => {}
        ended = async { sleep(Duration::from_millis(100)).await; bench.run(&Running(&step)).await } => {
            assert!(ended.is_err(), "{ended:?}");
        }
    }
}
