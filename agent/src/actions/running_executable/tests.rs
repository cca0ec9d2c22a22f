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

/// A node like the bench's whose `x.service` runs what `carried` was unpacked into, beside an installed program that
/// carries the archive of that name.
fn unpacked(bench: Bench, carried: &str) -> (Bench, drydock_types::AbsPath) {
    use std::{fs, path::Path, sync::Arc};

    use crate::{host::Host, policy::Policy, sys::units::Units};

    let data = bench.host.state_dir.join("data");
    let bin = data.join(carried).join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy("/bin/sleep", bin.join("k3s")).unwrap();
    let program = bench.host.state_dir.join("k3s");
    fs::write(&program, format!("…build/data/{carried}.tar.zst…")).unwrap();
    let (program, bin, data) = (program.display(), bin.display(), data.display());
    let policy = format!(
        "units = [\"x.service\"]\n[binaries.\"{program}\"]\nunpacks_under = [\"{data}\"]\n\
         [supervisor]\nas_root_beside_systemd = true\n[supervisor.services.\"x.service\"]\n\
         path = \"{bin}/k3s\"\nargs = [\"600\"]\nautostart = false\n"
    );
    let policy = Arc::new(Policy::parse(&policy, Path::new("agent.toml")).unwrap());
    let program = drydock_types::AbsPath::parse(&program.to_string()).unwrap();
    let units = Units::of(&policy).unwrap();
    let host = Host { policy, units, ..bench.host };
    let mut bench = Bench { host, path: program.clone(), ..bench };
    bench.section.artifact = None;
    (bench, program)
}

#[tokio::test]
async fn a_program_that_unpacks_itself_is_running_only_as_what_its_own_file_unpacks() {
    let (bench, program) = unpacked(bench_with("[\"600\"]", ""), &"1".repeat(64));
    bench.run(&Start(&start())).await.unwrap();
    let (_, evidence) = bench.run(&Running(&look(&bench, 5000))).await.unwrap();
    let [Evidence::Running(running)] = &evidence[..] else { panic!("{evidence:?}") };
    assert_eq!(running.exe_sha256, Sha256::of(&std::fs::read(program.as_str()).unwrap()));
    assert!(running.unpacked.as_ref().unwrap().ends_with("/bin/k3s"), "{running:?}");
    // Another release is installed, and the old process goes on.
    std::fs::write(program.as_str(), format!("build/data/{}.tar.zst", "2".repeat(64))).unwrap();
    let problem = bench.run(&Running(&look(&bench, 200))).await.unwrap_err();
    assert!(problem.what.contains("runs another file than"), "{problem}");
}
