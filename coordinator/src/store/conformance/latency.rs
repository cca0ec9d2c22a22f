//! How long a commit takes and how often it syncs. A measurement, run by hand:
//! `strace -f -c -e trace=fsync,fdatasync <test binary> --ignored --exact
//! store::conformance::latency::commits_measured --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement, not a test"]
fn commits_measured() {
    let commits = std::env::var("COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000u32);
    let dir = std::env::var("STORE_DIR").unwrap_or_else(|_| ".".to_owned());
    let dir = tempfile::tempdir_in(dir).unwrap();
    let mut store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
    store.take_over(InstanceId([1; 16])).unwrap();
    let state = "s".repeat(4000).into_bytes();
    let mut took: Vec<_> = (0..commits)
        .map(|nth| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&nth.to_be_bytes());
            let opened = EffectRow { effect: EffectId(id), ..effect(1, &"e".repeat(1000)) };
            let commit = Commit {
                clock_ms: u64::from(nth),
                runs: vec![RunRow { state: state.clone(), ..run(1) }],
                events: vec![event(1, &"v".repeat(300))],
                close: vec![opened.effect],
                open: vec![opened],
                ..Commit::default()
            };
            let begun = Instant::now();
            store.commit(&commit).unwrap();
            let took = begun.elapsed();
            if nth % 500 == 499 {
                store.checkpoint().unwrap();
            }
            took
        })
        .collect();
    took.sort();
    let at = |permille: usize| took[(took.len() - 1) * permille / 1000];
    eprintln!("{commits} commits: p50 {:?} p99 {:?} max {:?}", at(500), at(990), at(1000));
}
