//! The restart of libvirt's daemon beside real guests: to be run as root on a throw-away hypervisor under systemd with some
//! guests running, with `DRYDOCK_TEST_LIBVIRT=1`. Anywhere else it says that it was left out: it restarts the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::{path::Path, sync::Arc};

use drydock_agent::{
    actions::{Action, Cx, Found, libvirt_ready::Ready, restart_libvirt::Restart},
    artifacts::{ArtifactStore, Limits},
    host::Host,
    libvirt,
    policy::Policy,
    remote::remote,
    sys::units::Units,
};
use drydock_types::{
    Millis, SectionKind,
    libvirt::{LibvirtView, Quiescence, RestartLibvirt},
    outcome::Evidence,
    step::Within,
};

#[path = "common/section.rs"]
mod section;

fn host(dir: &Path) -> Host {
    let policy = Arc::new(Policy::parse("profiles = [\"libvirt\"]", Path::new("test")).unwrap());
    let units = Units::of(&policy).unwrap();
    let artifacts = ArtifactStore::new(dir.join("artifacts"), Limits::default());
    Host { policy, units, artifacts, remote: remote().1, state_dir: dir.into(), ending: Default::default() }
}

fn processes(view: &LibvirtView) -> Vec<(String, u32, u64)> {
    let guests = view.guests.as_ref().unwrap().iter();
    let mut all: Vec<_> = guests
        .filter_map(|guest| guest.process.as_ref().map(|it| (guest.uuid.clone(), it.pid, it.started_ticks)))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn guests_are_the_same_processes_after_a_restart_twice_and_taken_back_twice() {
    if std::env::var_os("DRYDOCK_TEST_LIBVIRT").is_none() {
        eprintln!("left out: set DRYDOCK_TEST_LIBVIRT=1 on a throw-away hypervisor");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (host, section) = (host(dir.path()), section::empty(SectionKind::Apply));
    let cx = Cx { host: &host, section: &section, progress: &|_, _| () };
    let wait = std::env::var("DRYDOCK_TEST_WAIT").ok().and_then(|it| it.parse().ok()).unwrap_or(10);
    let config = RestartLibvirt {
        quiescence: Quiescence::RestartSafe,
        wait: Millis::secs(wait),
        within: Millis::secs(30),
        ..RestartLibvirt::default()
    };
    let restart = Restart(&config);
    let first = libvirt::look(&host).await.unwrap();
    eprintln!("{:#?}", first.view);
    restart.check(&cx).await.unwrap();
    let note = restart.note(&cx).await.unwrap();
    assert_eq!(restart.probe(&cx, &note).await, Found::NotBegun);
    // Never restarted: nothing to take back.
    assert_eq!(restart.undo(&cx, &note).await.unwrap(), []);
    let mut invocations = vec![first.unit.invocation_id];
    for again in 0..4 {
        let last = restart.undo_note(&cx).await.unwrap();
        let begun = std::time::Instant::now();
        let done = if again < 2 { restart.apply(&cx, &note).await } else { restart.undo(&cx, &note).await };
        let evidence = done.unwrap();
        eprintln!("{again}: {:?} {evidence:?}", begun.elapsed());
        assert!(evidence.iter().any(|it| matches!(it, Evidence::GuestsKept { .. })));
        let seen = libvirt::look(&host).await.unwrap();
        assert_eq!(processes(&seen.view), processes(&first.view));
        assert!(!invocations.contains(&seen.unit.invocation_id), "not restarted");
        invocations.push(seen.unit.invocation_id);
        assert!(matches!(restart.probe(&cx, &note).await, Found::Seen(_)));
        assert!(matches!(restart.undo_probe(&cx, &note, &last).await, Found::Seen(_)));
    }
    let ready = Within { within: Millis::secs(10) };
    eprintln!("{:?}", Ready(&ready).apply(&cx, &note).await.unwrap());
}

/// What is in the way of a start, by a file of this name; it goes away after so many starts.
const IN_THE_WAY: &str = "/run/systemd/system/libvirtd.service.d/drydock-test.conf";

struct InTheWay(tempfile::TempDir);

impl InTheWay {
    fn of(starts: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("start");
        let count = dir.path().join("count");
        let text =
            format!("#!/bin/sh\necho start >>{0}\ntest \"$(wc -l <{0})\" -gt {starts}\n", count.display());
        std::fs::write(&script, text).unwrap();
        std::fs::create_dir_all(Path::new(IN_THE_WAY).parent().unwrap()).unwrap();
        std::fs::write(IN_THE_WAY, format!("[Service]\nExecStartPre=/bin/sh {}\n", script.display()))
            .unwrap();
        systemctl(&["daemon-reload"]);
        Self(dir)
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.0.path().join("count")).unwrap().lines().count()
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(IN_THE_WAY);
        systemctl(&["daemon-reload"]);
        systemctl(&["reset-failed", "libvirtd.service"]);
        systemctl(&["start", "libvirtd.service"]);
    }
}

fn systemctl(args: &[&str]) {
    let done = std::process::Command::new("systemctl").args(args).status().unwrap();
    assert!(done.success() || args[0] == "reset-failed", "systemctl {args:?}");
}

/// systemd starts a daemon anew that fails to start, and gives it up after five times.
#[tokio::test]
async fn a_daemon_that_fails_to_start_some_times_is_waited_for_and_started_once_more() {
    if std::env::var_os("DRYDOCK_TEST_LIBVIRT").is_none() {
        eprintln!("left out: set DRYDOCK_TEST_LIBVIRT=1 on a throw-away hypervisor");
        return;
    }
    for (fail, starts) in [(1, 2), (5, 6), (99, 10)] {
        let dir = tempfile::tempdir().unwrap();
        let (host, section) = (host(dir.path()), section::empty(SectionKind::Apply));
        let cx = Cx { host: &host, section: &section, progress: &|_, _| () };
        let config = RestartLibvirt {
            quiescence: Quiescence::RestartSafe,
            wait: Millis::secs(30),
            within: Millis::secs(30),
            ..RestartLibvirt::default()
        };
        let first = libvirt::look(&host).await.unwrap();
        let in_the_way = InTheWay::of(fail);
        let restart = Restart(&config);
        let note = restart.note(&cx).await.unwrap();
        let done = restart.apply(&cx, &note).await;
        eprintln!("{fail}: {} starts, {done:?}", in_the_way.starts());
        if fail < 99 {
            done.unwrap();
            assert_eq!(in_the_way.starts(), starts, "of {fail} that fail");
            assert_eq!(processes(&libvirt::look(&host).await.unwrap().view), processes(&first.view));
        } else {
            let problem = done.unwrap_err();
            assert!(problem.what.contains("; started once more: "), "{problem}");
            assert!(in_the_way.starts() < starts, "it goes on for ever");
        }
    }
}
