use alloc::{string::ToString, vec};

use super::*;

fn guest(state: &str) -> Guest {
    Guest {
        uuid: "1d166337-2583-4a5b-b4b1-42fe6c9e3eee".into(),
        name: "g1".into(),
        process: Some(GuestProcess {
            pid: 102,
            started_ticks: 7,
            qemu: Ok("7.2.22".into()),
            replaced: false,
        }),
        state: Some(state.into()),
        job: Ok(None),
        monitor: Ok(()),
    }
}

fn view(guests: Vec<Guest>) -> LibvirtView {
    LibvirtView {
        kind: LibvirtKind::Monolithic,
        version: Ok("9.0.0".into()),
        kill_mode: "process".into(),
        guests_in_its_cgroup: true,
        run_free_bytes: LEAST_FREE_BYTES,
        lib_free_bytes: LEAST_FREE_BYTES,
        guests: Ok(guests),
        pools: Ok(vec![]),
        networks: Ok(vec![]),
    }
}

fn safe(guest: Guest) -> Verdict {
    view(vec![guest]).quiescent(Quiescence::RestartSafe)
}

fn waits(verdict: &Verdict, word: &str) -> bool {
    matches!(verdict, Verdict::Waiting(why) if why.contains(word) && why.contains("g1"))
}

#[test]
fn guests_that_run_or_were_paused_by_their_owner_are_let_be() {
    for state in ["running", "running (booted)", "running (migrated)", "paused (user)", "paused (I/O error)"]
    {
        assert_eq!(safe(guest(state)), Verdict::Clear, "{state}");
    }
    assert_eq!(view(vec![]).quiescent(Quiescence::Drained), Verdict::Clear);
}

#[test]
fn a_migration_in_either_direction_is_waited_for_by_name() {
    let outgoing = Guest { job: Ok(Some("Outgoing migration".into())), ..guest("running (booted)") };
    assert!(waits(&safe(outgoing), "Outgoing migration"));
    // As libvirt 9.0.0 answers on the destination.
    let why = "Operation not supported: migration statistics are available only on the source host";
    let incoming = Guest { job: Err(why.into()), ..guest("paused (migrating)") };
    assert!(waits(&safe(incoming), "paused (migrating)"));
}

#[test]
fn a_guest_in_any_other_state_is_waited_for() {
    for state in [
        "paused",
        "paused (starting up)",
        "paused (saving)",
        "in shutdown",
        "shut off",
        "crashed",
        "idle",
        "",
    ] {
        assert!(waits(&safe(guest(state)), "g1"), "{state}");
    }
    let silent = Guest { monitor: Err("occupied: 3.0s".into()), ..guest("running") };
    assert!(waits(&safe(silent), "occupied"));
    assert!(waits(&safe(Guest { process: None, ..guest("running") }), "no QEMU process"));
    assert!(waits(&safe(Guest { state: None, ..guest("") }), "does not know"));
}

#[test]
fn what_was_not_seen_is_unknown_and_outweighs_what_is_waited_for() {
    let unseen = Guest { job: Err("timed out".into()), ..guest("running") };
    let busy = Guest { job: Ok(Some("Backup".into())), ..guest("running") };
    let verdict = view(vec![busy, unseen, guest("running")]).quiescent(Quiescence::RestartSafe);
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    for (view, wanted) in [
        (LibvirtView { guests: Err("virsh hangs".to_string()), ..view(vec![]) }, Quiescence::Drained),
        (LibvirtView { version: Err("no".into()), ..view(vec![]) }, Quiescence::Drained),
        (LibvirtView { pools: Err("no".into()), ..view(vec![]) }, Quiescence::RestartSafe),
        (LibvirtView { networks: Err("no".into()), ..view(vec![]) }, Quiescence::RestartSafe),
    ] {
        assert!(matches!(view.quiescent(wanted), Verdict::Unknown(_)));
    }
}

#[test]
fn drained_is_no_guest_and_no_qemu_whoever_started_it() {
    assert!(waits(&view(vec![guest("running")]).quiescent(Quiescence::Drained), "g1"));
    let by_hand = Guest { uuid: String::new(), state: None, ..guest("") };
    let view = view(vec![by_hand]);
    assert!(
        matches!(view.quiescent(Quiescence::Drained), Verdict::Waiting(why) if why.contains("process 102"))
    );
    assert_eq!(view.quiescent(Quiescence::RestartSafe), Verdict::Clear);
}

#[test]
fn what_does_not_pass_by_itself_is_refused() {
    let kills = LibvirtView { kill_mode: "control-group".into(), ..view(vec![guest("running")]) };
    assert!(
        matches!(kills.quiescent(Quiescence::RestartSafe), Verdict::Refused(why) if why.contains("KillMode"))
    );
    for wanted in [Quiescence::Drained, Quiescence::RestartSafe] {
        let full = LibvirtView { run_free_bytes: 0, ..view(vec![]) };
        assert!(matches!(full.quiescent(wanted), Verdict::Refused(why) if why.contains("/run has 0 KiB")));
        let full = LibvirtView { lib_free_bytes: LEAST_FREE_BYTES - 1, ..view(vec![]) };
        assert!(matches!(full.quiescent(wanted), Verdict::Refused(why) if why.contains("/var/lib/libvirt")));
    }
}
