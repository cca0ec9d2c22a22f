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
