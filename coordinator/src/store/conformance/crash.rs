//! A process that is killed while it commits: what it was told is written, is written.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

/// Where the child finds its store.
const STORE: &str = "DRYDOCK_TEST_CRASH_STORE";
const KILLS: u64 = 24;

/// The child: not a test by itself.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Ok(path) = std::env::var(STORE) else { return };
    let mut store = SqliteStore::open(path.as_ref()).unwrap();
    store.take_over(InstanceId([3; 16])).unwrap();
    let mut out = std::io::stdout().lock();
    for nth in 0u64.. {
        let text = format!("{{\"nth\":{nth},\"pad\":\"{}\"}}", "x".repeat(900));
        store.commit(&Commit { clock_ms: nth, events: vec![event(1, &text)], ..Commit::default() }).unwrap();
        if nth % 40 == 39 {
            store.checkpoint().unwrap();
        }
        writeln!(out, "acknowledged").unwrap();
        out.flush().unwrap();
    }
}

fn kill_after(path: &std::path::Path, lifetime: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::conformance::crash::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let count = std::thread::spawn(move || {
        let acknowledged = lines.map_while(Result::ok).filter(|line| line.ends_with("acknowledged"));
        acknowledged.count() as u64
    });
    #[expect(clippy::disallowed_methods, reason = "the child is to be killed at a moment of no event")]
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    count.join().unwrap()
}

#[test]
fn every_acknowledged_commit_is_there_after_a_kill_and_no_half_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drydock.db");
    drop(SqliteStore::create(&path).unwrap());
    let (mut events_before, mut useful) = (0, 0);
    for kill in 0..KILLS {
        let acknowledged = kill_after(&path, Duration::from_millis(40 + 13 * kill));
        let mut store = SqliteStore::open(&path).unwrap();
        let check = store.verify_chain().unwrap();
        let RecordCheck::Whole { events, .. } = check else { panic!("kill {kill}: {check:?}") };
        let new = events - events_before;
        assert!(new == acknowledged || new == acknowledged + 1, "kill {kill}: {new} of {acknowledged}");
        useful += u64::from(acknowledged > 0);
        // The next owner can write at once.
        store.take_over(InstanceId([4; 16])).unwrap();
        store.commit(&Commit { events: vec![event(1, "reopened")], ..Commit::default() }).unwrap();
        events_before = events + 1;
    }
    assert!(useful >= 15, "only {useful} of {KILLS} kills hit a child that had committed");
}
