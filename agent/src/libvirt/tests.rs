//! Fixtures are what virsh 9.0.0 (Debian 12) said to these very commands.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{parse::Parts, *};

const U1: &str = "1d166337-2583-4a5b-b4b1-42fe6c9e3eee";
const U2: &str = "17de4261-832e-4bb1-b6e7-59f4c3e68ceb";

fn marks(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One guest's part of an answer, read.
fn known(out: &str, errors: &str) -> Result<Known, String> {
    let marks = marks(&["s", "j", "c", "end"]);
    let parts = Parts::cut(out, errors, &marks)?;
    Ok(Known {
        state: parse::state(parts.line(0)),
        job: parse::job(parts.at(1)),
        monitor: parse::monitor(parts.line(2)),
    })
}

const QUIET: &str = "error: s\n\nerror: j\n\nerror: c\n\nerror: end\n\n";

#[test]
fn a_guest_that_rests_has_no_job() {
    let out = "s\n\nrunning (booted)\n\nj\n\nJob type:         None        \n\nc\n\nok\n\nend\n";
    let idle = known(out, QUIET).unwrap();
    assert_eq!(idle, Known { state: Some(Ok("running (booted)".into())), job: Ok(None), monitor: Ok(()) });
}

#[test]
fn a_migration_is_seen_on_both_sides() {
    let out = "s\n\nrunning (booted)\n\nj\n\nJob type:         Unbounded   \nOperation:        Outgoing migration\n\
               Time elapsed:     3091         ms\nData processed:   496.365 KiB\n\nc\n\nok\n\nend\n";
    assert_eq!(known(out, QUIET).unwrap().job, Ok(Some("Outgoing migration".into())));
    let out = "s\n\npaused (migrating)\n\nj\n\n\nc\n\nok\n\nend\n";
    let errors = "error: s\n\nerror: j\n\nerror: Operation not supported: migration statistics are available only \
                  on the source host\n\nerror: c\n\nerror: end\n";
    let incoming = known(out, errors).unwrap();
    assert_eq!(incoming.state, Some(Ok("paused (migrating)".into())));
    assert!(incoming.job.unwrap_err().contains("only on the source host"));
}

#[test]
fn a_guest_that_ended_in_between_is_none_and_the_next_one_is_read_all_the_same() {
    let errors = "error: s\n\nerror: failed to get domain '0'\n\nerror: j\n\nerror: failed to get domain '0'\n\n\
                  error: c\n\nerror: failed to get domain '0'\n\nerror: end\n";
    let gone = known("s\n\n\nj\n\n\nc\n\n\nend\n", errors).unwrap();
    assert_eq!(gone.state, None);
    assert!(gone.job.is_err() && gone.monitor.is_err());
}

#[test]
fn an_answer_that_is_cut_or_garbage_is_an_error() {
    assert!(known("s\n\nrunning (booted)\n\nj\n\n", QUIET).unwrap_err().contains("ends before c"));
    let refused = "error: failed to connect to the hypervisor\nerror: Failed to connect socket to \
                   '/var/run/libvirt/libvirt-sock': No such file or directory\n";
    assert!(known("", refused).unwrap_err().contains("No such file"), "{:?}", known("", refused));
    assert!(known("hello\n", QUIET).is_err());
    let garbage = known("s\n\nwalking\n\nj\n\nJob\n\nc\n\nmaybe \x1b[2J\n\nend\n", QUIET).unwrap();
    assert!(garbage.state.unwrap().is_err() && garbage.job.is_err());
    assert_eq!(garbage.monitor, Err("maybe \\u{1b}[2J".into()));
    let two = known("s\n\nrunning\nrunning\n\nj\n\n\nc\n\nok\n\nend\n", QUIET).unwrap();
    assert!(two.state.unwrap().is_err() && two.job.is_err());
}

#[test]
fn names_hold_what_their_owners_like() {
    let (one, two) = (format!("{U1} g1"), format!("{U2} g \"q;$x'"));
    let listed = parse::active(&[&one, &two]).unwrap();
    assert_eq!(listed, [(U1.into(), "g1".into()), (U2.into(), "g \"q;$x'".into())]);
    let long = format!("{U1} {}", "\u{202e}é".repeat(200));
    let name = parse::active(&[&long]).unwrap().remove(0).1;
    assert!(name.chars().count() == 64 && !name.contains('\u{202e}'), "{name}");
    // A name with a newline in it would begin a line that begins with no UUID.
    for bad in ["second line", U1, "", "1d166337-2583-4a5b-b4b1-42fe6c9e3eeX g1", "-- ; g1"] {
        assert!(parse::active(&[&one, bad]).is_err(), "{bad}");
    }
}

#[test]
fn the_daemons_version_is_its_own() {
    let said = [
        "Compiled against library: libvirt 9.0.0",
        "Using library: libvirt 9.0.0",
        "Using API: QEMU 9.0.0",
        "Running hypervisor: QEMU 7.2.22",
        "Running against daemon: 9.0.0",
    ];
    assert_eq!(parse::version(&said).as_deref(), Ok("9.0.0"));
    assert!(parse::version(&said[..4]).is_err());
    assert!(parse::version(&["Running against daemon: "]).is_err());
}

#[test]
fn a_host_without_a_driver_has_none_of_its_things_and_any_other_error_is_one() {
    let not =
        "this function is not supported by the connection driver: virConnectNumOfStoragePools".to_owned();
    assert_eq!(parse::named(Err(not.clone()), Err(not)), Ok(vec![]));
    assert!(parse::named(Err("timed out".into()), Ok(&[])).is_err());
    assert!(parse::named(Ok(&["a"]), Err("timed out".into())).is_err());
    assert_eq!(parse::named(Ok(&["a", "b"]), Ok(&["b"])), Ok(vec![("a".into(), false), ("b".into(), true)]));
}

#[test]
fn the_daemons_own_cgroup_is_told_from_a_machines() {
    assert!(in_cgroup_of("9:name=systemd:/\n0::/system.slice/libvirtd.service\n", "libvirtd.service"));
    let machine = "0::/machine.slice/machine-qemu\\x2d1\\x2dg1.scope/libvirt/emulator\n";
    assert!(!in_cgroup_of(machine, "libvirtd.service"));
}

#[test]
fn the_socket_tells_which_daemon_it_is() {
    let run = tempfile::tempdir().unwrap();
    assert!(kind_in(run.path()).unwrap_err().what.contains("does not run here"));
    fs::create_dir(run.path().join("libvirt")).unwrap();
    fs::write(run.path().join("libvirt/libvirt-sock"), "").unwrap();
    assert_eq!(kind_in(run.path()).unwrap(), LibvirtKind::Monolithic);
    fs::write(run.path().join("libvirt/virtqemud-sock"), "").unwrap();
    assert_eq!(kind_in(run.path()).unwrap(), LibvirtKind::Modular);
}

/// A `virsh` that runs this script (its commands are `$3`), and an empty process table.
fn fake(script: &str) -> (tempfile::TempDir, Places) {
    let dir = tempfile::tempdir().unwrap();
    let [virsh, proc] = ["virsh", "proc"].map(|name| dir.path().join(name));
    fs::create_dir(&proc).unwrap();
    fs::write(&virsh, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&virsh, fs::Permissions::from_mode(0o755)).unwrap();
    let places = Places { virsh, proc, run: dir.path().into(), lib: dir.path().into() };
    (dir, places)
}

/// Answers like virsh, for `$GUESTS` guests.
const LIKE_VIRSH: &str = r#"
[ "$1 $2" = "-c qemu:///system" ] || exit 9
printf '%s' "$3" | awk -v RS=';' -v n=$GUESTS '
/^echo --err / { printf "error: %s\n\n", $3 >"/dev/stderr"; next }
/^echo / { printf "%s\n\n", $2; next }
/^version/ { print "Running against daemon: 9.0.0\n"; next }
/^list/ { for (i = 0; i < n; i++) printf "%08x-0000-4000-8000-000000000000 guest-%d\n", i, i; print ""; next }
/^domstate/ { print "running (booted)\n"; next }
/^domjobinfo/ { print "Job type:         None        \n"; next }
/^domcontrol/ { print "ok\n"; next }
{ print "" }'
"#;

async fn seen(places: &Places, within: Duration) -> (Overview, Result<Vec<Guest>, String>) {
    let (overview, found) = guests(places, Instant::now() + within).await;
    (overview, found.map(|found| found.into_iter().map(|(guest, _)| guest).collect()))
}

#[tokio::test]
async fn five_thousand_guests_are_seen_each_with_its_own_answer() {
    let (_dir, places) = fake(&LIKE_VIRSH.replace("$GUESTS", "5000"));
    let (overview, found) = once(&places, Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(overview.version.as_deref(), Ok("9.0.0"));
    let found = found.unwrap();
    assert_eq!(found.len(), 5000);
    assert!(
        found
            .iter()
            .all(|(guest, _)| guest.state.as_deref() == Some("running (booted)") && guest.job == Ok(None))
    );
    assert_eq!(found[4999].0.name, "guest-4999");
}

#[tokio::test]
async fn a_virsh_that_hangs_fails_or_talks_nonsense_is_never_no_guests() {
    for (script, word) in [
        ("sleep 60", "had not ended"),
        ("exit 1", "ends before"),
        ("echo 'error: failed to connect to the hypervisor' >&2; exit 1", "failed to connect"),
        ("head -c 100000 /dev/urandom", "virsh"),
        ("true", "ends before"),
    ] {
        let (_dir, places) = fake(script);
        let (overview, found) = seen(&places, Duration::from_millis(700)).await;
        assert!(found.as_ref().is_err_and(|why| why.contains(word)), "{script}: {found:?}");
        assert!(overview.version.is_err() && overview.pools.is_err() && overview.networks.is_err());
    }
}

/// Answers like virsh, but lists the guests of the file `names` beside it, as they are.
fn listing(names: &[u8]) -> (tempfile::TempDir, Places) {
    let list = r#"/^list/ { fflush(); system("cat " names); print ""; next }"#;
    let lines: Vec<&str> =
        LIKE_VIRSH.lines().map(|line| if line.starts_with("/^list/") { list } else { line }).collect();
    let (dir, places) = fake("");
    let path = dir.path().join("names");
    fs::write(&path, names).unwrap();
    let script = lines.join("\n").replace("-v n=$GUESTS", &format!("-v names={}", path.display()));
    fs::write(&places.virsh, format!("#!/bin/sh\n{script}\n")).unwrap();
    (dir, places)
}

#[tokio::test]
async fn guests_are_known_by_their_uuid_whatever_bytes_their_names_are() {
    let long = "q\"'`$(reboot);|&<>".repeat(15);
    let names =
        [long.as_bytes()[..255].to_vec(), b"\xff\xfe\x1b[2J".to_vec(), b" -c test:///default ".to_vec()];
    let mut said = Vec::new();
    for (at, name) in names.iter().enumerate() {
        said.extend(format!("0000000{at}-0000-4000-8000-000000000000 ").into_bytes());
        said.extend(name);
        said.push(b'\n');
    }
    let (_dir, places) = listing(&said);
    let found = seen(&places, Duration::from_secs(30)).await.1.unwrap();
    let shown: Vec<_> = found.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(shown, [&long[..64], "\u{fffd}\u{fffd}\\u{1b}[2J", " -c test:///default"]);
    assert!(found.iter().all(|guest| guest.state.as_deref() == Some("running (booted)")), "{found:?}");
}

#[tokio::test]
async fn a_name_with_a_newline_in_it_is_no_other_guest_and_no_silence() {
    let (_dir, places) = listing(format!("{U1} one\nhalf of its name\n").as_bytes());
    let why = seen(&places, Duration::from_secs(30)).await.1.unwrap_err();
    assert!(why.contains("no UUID in what virsh lists: half of its name"), "{why}");
}

#[tokio::test]
async fn no_domains_xml_is_ever_asked_for_and_ten_megabytes_of_it_are_no_answer() {
    let (dir, places) = fake("");
    let asked = dir.path().join("asked");
    let script = format!(r#"printf '%s\n' "$3" >>{}{}"#, asked.display(), LIKE_VIRSH.replace("$GUESTS", "3"));
    fs::write(&places.virsh, format!("#!/bin/sh\n{script}\n")).unwrap();
    assert_eq!(seen(&places, Duration::from_secs(30)).await.1.unwrap().len(), 3);
    let asked = fs::read_to_string(asked).unwrap();
    assert!(asked.contains("domjobinfo") && !asked.contains("xml"), "{asked}");
    // A bomb of entities is bytes like any others; what is beyond an answer's most is read and thrown away.
    let bomb = r#"<!DOCTYPE d [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><domain>&b;</domain>"#;
    let (_dir, places) = fake(&format!("yes '{bomb}' | head -c 10485760"));
    let (overview, found) = seen(&places, Duration::from_secs(30)).await;
    assert!(
        found.as_ref().is_err_and(|why| why.len() < 1000 && why.contains("virsh said before")),
        "{found:?}"
    );
    assert!(overview.version.is_err());
}

#[tokio::test]
async fn a_process_table_that_cannot_be_read_is_never_no_guests() {
    let (_dir, mut places) = fake(&LIKE_VIRSH.replace("$GUESTS", "0"));
    assert_eq!(seen(&places, Duration::from_secs(30)).await.1, Ok(vec![]));
    places.proc = "/nonexistent".into();
    assert!(seen(&places, Duration::from_secs(30)).await.1.unwrap_err().contains("process table"));
}

/// A process of a made-up table, whose program is this very test.
fn process(proc: &Path, pid: u32, exe: &Path, args: &[&str]) {
    let dir = proc.join(pid.to_string());
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(exe, dir.join("exe")).unwrap();
    let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
    fs::write(dir.join("stat"), format!("{pid} (qemu) x) {fields}")).unwrap();
    fs::write(dir.join("cmdline"), args.join("\0")).unwrap();
    fs::write(dir.join("cgroup"), "0::/system.slice/libvirtd.service\n").unwrap();
}

#[tokio::test]
async fn a_guest_is_what_either_side_has() {
    let (dir, places) = fake(&LIKE_VIRSH.replace("$GUESTS", "2"));
    let exe = dir.path().join("qemu-system-x86_64");
    fs::write(&exe, "QEMU emulator version 7.2.22 (Debian)\n").unwrap();
    let first = "00000000-0000-4000-8000-000000000000";
    process(&places.proc, 10, &exe, &["qemu", "-name", "guest=guest-0,debug-threads=on", "-uuid", first]);
    process(&places.proc, 11, &exe, &["qemu", "-name", "guest=lost", "-uuid", U1]);
    process(&places.proc, 12, &exe, &["qemu", "-m", "64"]);
    process(&places.proc, 13, &exe, &["qemu", "-S", "-machine", "none,accel=kvm:tcg"]);
    process(&places.proc, 14, Path::new("/bin/sh"), &["sh", "-uuid", U2]);
    let found = seen(&places, Duration::from_secs(30)).await.1.unwrap();
    let short: Vec<_> = found
        .iter()
        .map(|it| (it.name.as_str(), it.process.as_ref().map(|it| it.pid), it.state.is_some()))
        .collect();
    let expected = [
        ("guest-0", Some(10), true),
        ("guest-1", None, true),
        ("lost", Some(11), false),
        ("process 12", Some(12), false),
    ];
    assert_eq!(short, expected);
    let process_of = found[0].process.as_ref().unwrap();
    assert_eq!((process_of.started_ticks, process_of.replaced), (4711, false));
    assert_eq!(process_of.qemu.as_deref(), Ok("7.2.22 (Debian)"));
    process(&places.proc, 15, &exe, &["qemu", "-uuid", first]);
    assert!(seen(&places, Duration::from_secs(30)).await.1.unwrap_err().contains("both run guest"));
}
