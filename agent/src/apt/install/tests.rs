//! Real dpkg and apt over a root of their own, with packages that are made here. Scripts of packages run outside of that
//! root (dpkg's `--force-script-chrootless`) and find it as `$DPKG_ROOT`.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use drydock_types::{Millis, PackageName, Sha256, Version};

use super::*;
use crate::{apt::staged::Kept, sys::exec};

pub(crate) const EFFECT: EffectId = EffectId([7; 32]);
/// What a maintainer's script does that goes by Debian's rules.
const ASKS: &str = "if [ -x \"$DPKG_ROOT/usr/sbin/policy-rc.d\" ]; then \
    \"$DPKG_ROOT/usr/sbin/policy-rc.d\" switch.service restart || test $? = 101; fi";
/// A database that knows nothing at all is none.
const BASE: &str = "Package: base\nStatus: install ok installed\nPriority: optional\nSection: x\nMaintainer: x <x@x>\n\
    Architecture: all\nVersion: 1\nDescription: x\n\n";

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) root: Root,
}

#[derive(Default)]
pub(crate) struct Deb<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) fields: &'a str,
    pub(crate) postinst: &'a str,
}

impl Bench {
    /// `None` where there is no dpkg with apt; that is a failure where everything must be tried.
    pub(crate) fn new() -> Option<Self> {
        if exec::find("apt-get").is_none() || exec::find("dpkg-deb").is_none() {
            assert!(std::env::var_os("CI").is_none(), "there is no apt with dpkg here");
            eprintln!("skipped: there is no apt with dpkg here");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("root");
        for folder in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "usr/sbin",
        ] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        fs::write(at.join("var/lib/dpkg/status"), BASE).unwrap();
        for list in ["list", "md5sums"] {
            fs::write(at.join(format!("var/lib/dpkg/info/base.{list}")), "").unwrap();
        }
        let bench = Self { root: Root::at(at), dir };
        fs::create_dir_all(Store::of(&bench.state()).pool()).unwrap();
        Some(bench)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Made and put into the pool.
    fn deb(&self, deb: &Deb<'_>) -> Kept {
        let from = tempfile::tempdir().unwrap();
        let (name, version) = (deb.name, deb.version);
        let write = |path: &str, text: &str| {
            let path = from.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&format!("usr/share/{name}/version"), version);
        write(&format!("etc/{name}.conf"), &format!("of {version}\n"));
        write("DEBIAN/conffiles", &format!("/etc/{name}.conf\n"));
        let mut control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x>\n");
        control.push_str(deb.fields);
        writeln!(control, "Description: x").unwrap();
        write("DEBIAN/control", &control);
        if !deb.postinst.is_empty() {
            write("DEBIAN/postinst", &format!("#!/bin/sh\nset -e\n{}\n", deb.postinst));
            let script = from.path().join("DEBIAN/postinst");
            fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(from.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let out = self.dir.path().join("new.deb");
        let made =
            Command::new("dpkg-deb").arg("--root-owner-group").arg("-b").arg(from.path()).arg(&out).output();
        assert!(made.unwrap().status.success());
        let bytes = fs::read(&out).unwrap();
        let kept = Kept { sha256: Sha256::of(&bytes), size: bytes.len() as u64 };
        fs::rename(&out, Store::of(&self.state()).path(&kept)).unwrap();
        kept
    }

    /// A package in two versions.
    pub(crate) fn change(&self, from: Option<&Deb<'_>>, to: Option<&Deb<'_>>) -> Change {
        let name = PackageName::parse(from.or(to).unwrap().name).unwrap();
        let version = |deb: Option<&Deb<'_>>| deb.map(|deb| Version::parse(deb.version).unwrap());
        Change {
            name,
            architecture: "all".into(),
            from: version(from),
            to: version(to),
            new: to.map(|deb| self.deb(deb)),
            old: from.map(|deb| self.deb(deb)),
            held: false,
            auto: false,
        }
    }

    pub(crate) fn job(way: Way, changes: Vec<Change>) -> Job {
        let (downgrade, beside) = (way == Way::Back, Default::default());
        Job { effect: EFFECT, way, changes, downgrade, repair: false, beside, within: Millis::secs(60) }
    }

    /// What is there before the change.
    pub(crate) async fn before(&self, changes: &[Change]) {
        let before: Vec<Change> = back(changes).into_iter().filter(|change| change.to.is_some()).collect();
        let done = self
            .run(&Self::job(
                Way::Forward,
                before.iter().map(|change| Change { from: None, ..change.clone() }).collect(),
            ))
            .await;
        assert_eq!(done.failed, None);
    }

    pub(crate) async fn run(&self, job: &Job) -> Done {
        let job = Job { beside: beside::look(&self.root, &job.changes).await.unwrap(), ..job.clone() };
        Jobs::of(&self.state()).hand_out(&job).unwrap();
        self.go_on(job.way).await
    }

    async fn go_on(&self, way: Way) -> Done {
        Installer::new(&self.root, &self.state()).run(EFFECT, way).await.unwrap()
    }

    async fn database(&self) -> Database {
        Database::look_in(&self.root).await.unwrap()
    }

    /// `a 2`, `b 1 half-way`.
    pub(crate) async fn is(&self) -> Vec<String> {
        let word = |known: &Known| {
            let version = known.version.as_ref()?;
            let half = if known.installed { "" } else { " half-way" };
            let held = if known.held { " held" } else { "" };
            Some(format!("{} {version}{half}{held}", known.name))
        };
        let database = self.database().await;
        database.packages.iter().filter(|known| known.name.as_str() != "base").filter_map(word).collect()
    }

    fn audit(&self) -> String {
        let dpkg = Command::new("dpkg")
            .arg(format!("--root={}", self.root.path("/").display()))
            .arg("--audit")
            .output();
        String::from_utf8(dpkg.unwrap().stdout).unwrap()
    }

    /// As dpkg's database stands when it is killed while it unpacks the package.
    fn break_off(&self, name: &str, state: &str) {
        let path = self.root.path("/var/lib/dpkg/status");
        let text = fs::read_to_string(&path).unwrap();
        let of = format!("Package: {name}\nStatus: install ok installed\n");
        assert!(text.contains(&of), "{text}");
        let broken = format!("Package: {name}\nStatus: install reinstreq {state}\n");
        fs::write(&path, text.replace(&of, &broken)).unwrap();
    }

    pub(crate) fn nothing_holds_services(&self) {
        let left: Vec<_> =
            fs::read_dir(self.root.path("/usr/sbin")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, Vec::<std::ffi::OsString>::new());
    }
}

pub(crate) fn deb<'a>(name: &'a str, version: &'a str) -> Deb<'a> {
    Deb { name, version, ..Deb::default() }
}

fn what(done: &Done) -> String {
    Problem::from(done.failed.clone().expect("it should have failed")).what
}

#[tokio::test]
async fn an_upgrade_keeps_services_still_and_changed_configuration_and_goes_back() {
    let Some(bench) = Bench::new() else { return };
    let changes =
        [bench.change(Some(&deb("switch", "1")), Some(&Deb { postinst: ASKS, ..deb("switch", "2") }))];
    bench.before(&changes).await;
    fs::write(bench.root.path("/etc/switch.conf"), "mine\n").unwrap();
    let done = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    assert_eq!(done.failed, None);
    assert_eq!(done.held_still, ["switch.service restart"]);
    assert_eq!(done.kept, ["/etc/switch.conf"]);
    assert_eq!(done.changed.len(), 1);
    assert_eq!(bench.is().await, ["switch 2"]);
    assert_eq!(fs::read_to_string(bench.root.path("/etc/switch.conf")).unwrap(), "mine\n");
    bench.nothing_holds_services();
    // Done once: the same job again is the same answer, and nothing takes place.
    let written = fs::metadata(bench.root.path("/var/lib/dpkg/status")).unwrap().modified().unwrap();
    assert_eq!(bench.go_on(Way::Forward).await, done);
    assert_eq!(fs::metadata(bench.root.path("/var/lib/dpkg/status")).unwrap().modified().unwrap(), written);
    // And handed out again it finds nothing to change.
    let again = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    assert_eq!((again.failed, again.held_still, again.kept), (None, vec![], vec![]));
    let done = bench.run(&Bench::job(Way::Back, back(&changes))).await;
    assert_eq!((done.failed, bench.is().await), (None, vec!["switch 1".to_owned()]));
    let done = bench.run(&Bench::job(Way::Back, back(&changes))).await;
    assert_eq!((done.failed, bench.is().await), (None, vec!["switch 1".to_owned()]));
    assert_eq!(bench.audit(), "");
}

#[tokio::test]
async fn holds_and_marks_are_as_they_were() {
    let Some(bench) = Bench::new() else { return };
    let mut changes = [bench.change(Some(&deb("switch", "1")), Some(&deb("switch", "2")))];
    bench.before(&changes).await;
    (changes[0].held, changes[0].auto) = (true, true);
    marks::put_back(&bench.root, &changes).await.unwrap();
    assert_eq!(bench.is().await, ["switch 1 held"]);
    for (way, version) in [(Way::Forward, "switch 2 held"), (Way::Back, "switch 1 held")] {
        let changes = if way == Way::Back { back(&changes) } else { changes.to_vec() };
        assert_eq!(bench.run(&Bench::job(way, changes.clone())).await.failed, None);
        assert_eq!(bench.is().await, [version]);
        let auto = marks::automatic(&bench.root).await.unwrap();
        assert!(marks::is_automatic(&auto, &changes[0]), "{auto:?}");
    }
    // A hold that nobody knew of when the set was staged is not broken.
    changes[0].held = false;
    let done = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    let log = Problem::from(done.failed.unwrap()).log;
    assert!(log.iter().any(|line| line.contains("Held packages were changed")), "{log:?}");
    assert_eq!(bench.is().await, ["switch 1 held"]);
}

#[tokio::test]
async fn a_postinst_that_fails_is_told_and_taken_back_to_a_whole_state() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.root.path("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 104\n").unwrap();
    let broken = Deb {
        postinst: "echo no room for it >&2; exit 1",
        fields: "Depends: lib (>= 2), extra\n",
        ..deb("switch", "2")
    };
    let changes = [
        bench.change(Some(&deb("switch", "1")), Some(&broken)),
        bench.change(Some(&deb("lib", "1")), Some(&deb("lib", "2"))),
        bench.change(None, Some(&Deb { fields: "Conflicts: old\nReplaces: old\n", ..deb("extra", "1") })),
        bench.change(Some(&deb("old", "1")), None),
    ];
    bench.before(&changes).await;
    let before = bench.is().await;
    let done = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    assert_eq!(what(&done), "dpkg has not come to its end with the packages: switch: half-configured");
    assert!(
        Problem::from(done.failed.clone().unwrap()).log.iter().any(|line| line.contains("no room for it")),
        "{done:?}"
    );
    assert_eq!(bench.is().await, ["extra 1", "lib 2", "switch 2 half-way"]);
    let done = bench.run(&Bench::job(Way::Back, back(&changes))).await;
    assert_eq!(done.failed, None);
    assert_eq!(bench.is().await, before);
    assert_eq!(bench.audit(), "");
    let policy = fs::read_to_string(bench.root.path("/usr/sbin/policy-rc.d")).unwrap();
    assert_eq!(policy, "#!/bin/sh\nexit 104\n");
}

#[tokio::test]
async fn what_was_not_staged_is_never_changed() {
    let Some(bench) = Bench::new() else { return };
    let changes = [
        bench.change(
            Some(&deb("switch", "1")),
            Some(&Deb { fields: "Conflicts: guest\n", ..deb("switch", "2") }),
        ),
        bench.change(Some(&deb("guest", "1")), None),
    ];
    bench.before(&changes).await;
    // Without the removal in the set.
    let done = bench.run(&Bench::job(Way::Forward, changes[..1].to_vec())).await;
    assert!(done.failed.is_some(), "{done:?}");
    assert_eq!(bench.is().await, ["guest 1", "switch 1"]);
    // The node is not at the version that the set was staged from.
    let mut other = changes.to_vec();
    other[0].from = Version::parse("0.9").ok();
    let done = bench.run(&Bench::job(Way::Forward, other)).await;
    assert!(what(&done).contains("change switch from 1"), "{done:?}");
    assert_eq!(bench.is().await, ["guest 1", "switch 1"]);
    bench.nothing_holds_services();
    assert_eq!(bench.run(&Bench::job(Way::Forward, changes.to_vec())).await.failed, None);
    assert_eq!(bench.is().await, ["switch 2"]);
}

#[tokio::test]
async fn what_was_half_configured_before_is_mended_only_where_that_is_asked_for() {
    let Some(bench) = Bench::new() else { return };
    let gate = bench.dir.path().join("may");
    let waits = format!("test -e {}", gate.display());
    let half = [bench.change(None, Some(&Deb { postinst: &waits, ..deb("other", "1") }))];
    let changes = [bench.change(Some(&deb("switch", "1")), Some(&deb("switch", "2")))];
    bench.before(&changes).await;
    assert!(bench.run(&Bench::job(Way::Forward, half.to_vec())).await.failed.is_some());
    let done = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    assert!(what(&done).contains("configure other"), "{done:?}");
    let repair = Job { repair: true, ..Bench::job(Way::Forward, changes.to_vec()) };
    let done = bench.run(&repair).await;
    assert!(what(&done).contains("other: half-configured"), "{done:?}");
    assert_eq!(bench.is().await, ["other 1 half-way", "switch 1"]);
    fs::write(gate, "").unwrap();
    assert_eq!(bench.run(&repair).await.failed, None);
    assert_eq!(bench.is().await, ["other 1", "switch 2"]);
}

#[tokio::test]
async fn a_lock_that_another_holds_is_named_and_nothing_is_changed() {
    let Some(bench) = Bench::new() else { return };
    let changes = [bench.change(Some(&deb("switch", "1")), Some(&deb("switch", "2")))];
    bench.before(&changes).await;
    let script = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()";
    let spawned = Command::new("python3")
        .args(["-c", script])
        .arg(bench.root.path("/var/lib/dpkg/lock-frontend"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else { return };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let done = bench.run(&Bench::job(Way::Forward, changes.to_vec())).await;
    assert!(
        what(&done).contains(&format!("(pid {}) holds /var/lib/dpkg/lock-frontend", child.id())),
        "{done:?}"
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(bench.is().await, ["switch 1"]);
    assert_eq!(bench.run(&Bench::job(Way::Forward, changes.to_vec())).await.failed, None);
}

/// dpkg and its script are killed in the middle, as by a power cut; the one who did the job is gone with them.
#[tokio::test]
async fn killed_in_the_middle_it_goes_on_or_back() {
    for way in [Way::Forward, Way::Back] {
        let Some(bench) = Bench::new() else { return };
        fs::write(bench.root.path("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 104\n").unwrap();
        let gate = bench.dir.path().join("may");
        let hangs = format!("test -e {} || sleep 600", gate.display());
        let changes = [
            bench.change(Some(&deb("lib", "1")), Some(&deb("lib", "2"))),
            bench.change(Some(&deb("switch", "1")), Some(&Deb { postinst: &hangs, ..deb("switch", "2") })),
        ];
        bench.before(&changes).await;
        let job = Bench::job(Way::Forward, changes.to_vec());
        Jobs::of(&bench.state()).hand_out(&job).unwrap();
        let installer = Installer::new(&bench.root, &bench.state());
        // Given up while the script hangs: dropped, apt and dpkg are killed, and nothing is put back.
        let hung = async {
            loop {
                if bench.is().await.iter().any(|it| it == "switch 2 half-way") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = installer.run(EFFECT, Way::Forward) => panic!("it ended: {done:?}"),
            () = hung => {}
        }
        assert!(bench.root.path("/usr/sbin/policy-rc.d.drydock").exists());
        fs::write(&gate, "").unwrap();
        let (done, end) = match way {
            Way::Forward => (bench.go_on(Way::Forward).await, ["lib 2", "switch 2"]),
            Way::Back => (bench.run(&Bench::job(Way::Back, back(&changes))).await, ["lib 1", "switch 1"]),
        };
        assert_eq!(done.failed, None);
        assert_eq!(bench.is().await, end);
        assert_eq!(bench.audit(), "");
        let policy = fs::read_to_string(bench.root.path("/usr/sbin/policy-rc.d")).unwrap();
        assert_eq!(policy, "#!/bin/sh\nexit 104\n", "{way}");
    }
}

/// What dpkg 1.21.22 leaves that is killed while it unpacks: at first of the old version, at last of the new one.
#[tokio::test]
async fn killed_while_it_was_unpacking_it_goes_on_or_back() {
    for (way, version, state) in [
        (Way::Forward, "1", "half-installed"),
        (Way::Forward, "2", "unpacked"),
        (Way::Back, "1", "half-installed"),
        (Way::Back, "2", "unpacked"),
    ] {
        let Some(bench) = Bench::new() else { return };
        let changes = [
            bench.change(Some(&deb("lib", "1")), Some(&deb("lib", "2"))),
            bench.change(Some(&deb("switch", "1")), Some(&deb("switch", "2"))),
            bench.change(None, Some(&deb("new", "2"))),
        ];
        bench.before(&changes).await;
        // As far as it came: some files are of the other version, and a package that was not there is begun.
        if version == "2" {
            assert_eq!(bench.run(&Bench::job(Way::Forward, changes.to_vec())).await.failed, None);
        }
        bench.break_off("switch", state);
        if version == "2" {
            bench.break_off("new", "half-installed");
        }
        let (done, end) = match way {
            Way::Forward => (
                bench.run(&Bench::job(Way::Forward, changes.to_vec())).await,
                ["lib 2", "new 2", "switch 2"].as_slice(),
            ),
            Way::Back => {
                (bench.run(&Bench::job(Way::Back, back(&changes))).await, ["lib 1", "switch 1"].as_slice())
            }
        };
        assert_eq!(done.failed, None, "{way} from {version} {state}");
        assert_eq!(bench.is().await, end, "{way} from {version} {state}");
        assert_eq!(bench.audit(), "");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_is_put_back_by_whoever_comes_next_and_not_under_one_at_work() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(settle(&bench.root, &bench.state()).unwrap(), "nothing was installed by this agent yet");
    let changes = [bench.change(Some(&deb("switch", "1")), Some(&deb("switch", "2")))];
    bench.before(&changes).await;
    let held = HeldStill::of(&bench.root);
    held.put(&bench.dir.path().join("log")).unwrap();
    let lock = Jobs::of(&bench.state()).try_lock().unwrap().unwrap();
    assert!(settle(&bench.root, &bench.state()).unwrap().contains("at work"));
    assert!(bench.root.path("/usr/sbin/policy-rc.d").exists());
    drop(lock);
    settle(&bench.root, &bench.state()).unwrap();
    bench.nothing_holds_services();
}
