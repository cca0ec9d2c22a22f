//! Staging with real apt, on a root and an archive of its own: a signed archive is made with dpkg-deb and gpg in a
//! temporary folder and served from this process. The machine's own packages are neither read nor changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use drydock_agent::{
    actions::Problem,
    apt::{
        judge::Order,
        stage::{self, Stager},
        staged::{Staged, Store},
    },
    sys::exec::{self, Program},
};
use drydock_types::{
    PackageName, Sha256, Version,
    outcome::Evidence,
    packages::{OldVersions, PackageAt, Packages, ReleasePin},
};
use tokio::time::Instant;

const STATUS: &str = "Package: tool\nStatus: install ok installed\nMaintainer: x <x@x>\nArchitecture: all\nVersion: 1.0-1\n\
    Source: toolsrc\nDescription: x\n\nPackage: enemy\nStatus: install ok installed\nMaintainer: x <x@x>\n\
    Architecture: all\nVersion: 1.0\nDescription: x\n\nPackage: heldp\nStatus: hold ok installed\nMaintainer: x <x@x>\n\
    Architecture: all\nVersion: 1.0\nDescription: x\n\n";

/// What the archive does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It takes a connection and says nothing.
    Hangs,
    /// It sends other bytes for packages, as many.
    Lies,
}

struct Served {
    folder: PathBuf,
    mood: Mutex<Mood>,
    packages: AtomicUsize,
}

struct Bench {
    dir: tempfile::TempDir,
    served: Arc<Served>,
    port: u16,
    /// What stands in its index: name, version, more fields.
    debs: Vec<(String, PathBuf)>,
}

/// `None` where there is no apt, and this is no CI.
async fn bench() -> Option<Bench> {
    for program in ["apt-get", "dpkg-deb", "gpg", "dpkg-query"] {
        if exec::find(program).is_none() {
            assert!(std::env::var_os("CI").is_none(), "{program} is not here, and CI must try this");
            eprintln!("skipped: {program} is not here");
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for folder in [
        "root/etc/apt/apt.conf.d",
        "root/etc/apt/preferences.d",
        "root/etc/apt/sources.list.d",
        "root/etc/apt/trusted.gpg.d",
        "root/var/lib/dpkg/info",
        "root/var/lib/dpkg/updates",
        "root/var/lib/apt/lists/partial",
        "root/var/cache/apt/archives/partial",
        "repo/pool",
        "state",
        "gnupg",
        "build",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    run("/bin/chmod", &["700", &at("gnupg").display().to_string()]).await;
    fs::write(at("root/var/lib/dpkg/status"), STATUS).unwrap();
    gpg(dir.path(), &["--passphrase", "", "--quick-gen-key", "test", "rsa2048", "sign", "0"]).await;
    gpg(dir.path(), &["-o", &at("root/etc/apt/key.gpg").display().to_string(), "--export"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served =
        Arc::new(Served { folder: at("repo"), mood: Mutex::new(Mood::Well), packages: AtomicUsize::new(0) });
    let serving = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = Arc::clone(&serving);
            std::thread::spawn(move || serve(&served, stream));
        }
    });
    let mut bench = Bench { dir, served, port, debs: Vec::new() };
    bench.sources("");
    for (name, version, more) in [
        ("tool", "1.0-1", "Source: toolsrc\n"),
        ("tool", "2.0-1", "Source: toolsrc\n"),
        ("tool", "3.0-1", "Source: toolsrc\nDepends: newdep\n"),
        ("tool", "4.0-1", "Source: toolsrc\nConflicts: enemy\n"),
        ("newdep", "1.5", "Recommends: newrec\n"),
        ("newrec", "1.5", ""),
        ("heldp", "1.0", ""),
        ("heldp", "2.0", ""),
    ] {
        bench.build(name, version, more).await;
    }
    bench.publish(Duration::from_secs(7 * 86_400)).await;
    Some(bench)
}

async fn run(program: &str, args: &[&str]) -> String {
    let output = Program::new(program)
        .args(args.iter().copied())
        .deadline(Duration::from_secs(60))
        .run()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn gpg(dir: &Path, args: &[&str]) -> String {
    let home = dir.join("gnupg").display().to_string();
    let path = exec::find("gpg").unwrap().display().to_string();
    run(&path, &[&["--homedir", &home, "--batch", "--yes", "--quiet"], args].concat()).await
}

/// One request a connection.
fn serve(served: &Served, mut stream: TcpStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
        header.clear();
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let mood = *served.mood.lock().unwrap();
    if mood == Mood::Hangs {
        // Until the other side gives up.
        let _ = reader.read_line(&mut line);
        return;
    }
    let package = path.ends_with(".deb");
    served.packages.fetch_add(usize::from(package), Ordering::SeqCst);
    let answer = match fs::read(served.folder.join(&path)) {
        Ok(mut body) => {
            if package && mood == Mood::Lies {
                body.reverse();
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        Err(_) => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&answer);
}

impl Bench {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn sources(&self, option: &str) {
        let key = self.at("root/etc/apt/key.gpg");
        let line = format!("deb [{option}signed-by={}] http://127.0.0.1:{}/ ./\n", key.display(), self.port);
        fs::write(self.at("root/etc/apt/sources.list"), line).unwrap();
    }

    async fn build(&mut self, name: &str, version: &str, more: &str) {
        let tree = self.at(&format!("build/{name}-{version}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n{more}"
        );
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        let file = self.at(&format!("repo/pool/{name}_{version}_all.deb"));
        run(
            "/usr/bin/dpkg-deb",
            &["--root-owner-group", "-b", tree.to_str().unwrap(), file.to_str().unwrap()],
        )
        .await;
        self.debs.push((control, file));
    }

    /// Index and Release, signed, good for so long (or, of zero, expired).
    async fn publish(&self, good_for: Duration) {
        let mut index = String::new();
        for (control, file) in &self.debs {
            let bytes = fs::read(file).unwrap();
            let path = file.strip_prefix(self.at("repo")).unwrap().display().to_string();
            let (size, digest) = (bytes.len(), Sha256::of(&bytes));
            index.push_str(&format!("{control}Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n"));
        }
        fs::write(self.at("repo/Packages"), &index).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let until = if good_for.is_zero() { now - 86_400 } else { now + good_for.as_secs() };
        let date = async |at: u64| run("/bin/date", &["-u", "-R", "-d", &format!("@{at}")]).await;
        let (begun, until) = (date(now - 2 * 86_400).await, date(until).await);
        let release = format!(
            "Label: Te st) [amd64]) [\nSuite: stable\nCodename: rolling\nDate: {begun}Valid-Until: {until}\
             Architectures: all amd64\nSHA256:\n {} {} Packages\n",
            Sha256::of(index.as_bytes()),
            index.len()
        );
        fs::write(self.at("repo/Release"), release).unwrap();
        let (signed, plain) = (self.at("repo/InRelease"), self.at("repo/Release"));
        let args = ["-o", signed.to_str().unwrap(), "--clearsign", plain.to_str().unwrap()];
        gpg(self.dir.path(), &args).await;
        fs::remove_file(plain).unwrap();
    }

    fn mood(&self, mood: Mood) {
        *self.served.mood.lock().unwrap() = mood;
    }

    async fn stage(&self, asked: &Packages, to: &str) -> Result<Staged, Problem> {
        self.stage_with(asked, to, false, Duration::from_secs(60)).await
    }

    async fn stage_with(
        &self,
        asked: &Packages,
        to: &str,
        allow_downgrade: bool,
        within: Duration,
    ) -> Result<Staged, Problem> {
        let stager = Stager::under(&self.at("root"), "", &self.at("state"))?;
        let to = Version::parse(to).unwrap();
        let order = Order { asked, to: &to, allow_downgrade, may_change: &|_| Ok(()) };
        stager.stage(order, Instant::now() + within, &|_, _| {}).await
    }

    async fn refused(&self, asked: &Packages, to: &str) -> String {
        let problem = self.stage(asked, to).await.unwrap_err();
        assert!(!problem.next.is_empty(), "{problem}: no way on");
        format!("{} → {}", problem.what, problem.next.join("; "))
    }

    fn is_installed_now(&self, name: &str, from: &str, to: &str) {
        let path = self.at("root/var/lib/dpkg/status");
        let text = fs::read_to_string(&path).unwrap();
        let head = text.find(&format!("Package: {name}\n")).unwrap();
        let changed = text[head..].replacen(&format!("Version: {from}"), &format!("Version: {to}"), 1);
        assert_ne!(changed, text[head..]);
        fs::write(path, format!("{}{changed}", &text[..head])).unwrap();
    }
}

fn source() -> Packages {
    Packages { source: PackageName::parse("toolsrc").ok(), ..Packages::default() }
}

fn package(name: &str) -> Packages {
    let packages = vec![PackageAt { name: PackageName::parse(name).unwrap(), version: None }];
    Packages { packages, ..Packages::default() }
}

#[tokio::test]
async fn both_versions_are_kept_fetched_once_and_the_way_back_needs_no_archive() {
    let Some(mut bench) = bench().await else { return };
    let first = bench.stage(&source(), "2.0-1").await.unwrap();
    let [change] = first.changes.as_slice() else { panic!("{first:?}") };
    assert_eq!((change.name.as_str(), change.architecture.as_str()), ("tool", "all"));
    let store = Store::of(&bench.at("state"));
    for (kept, version) in [(&change.new, "2.0-1"), (&change.old, "1.0-1")] {
        let there = fs::read(store.path(kept.as_ref().unwrap())).unwrap();
        assert_eq!(there, fs::read(bench.at(&format!("repo/pool/tool_{version}_all.deb"))).unwrap());
    }
    assert_eq!(first.releases.len(), 1);
    assert_eq!(first.releases[0].suite, "rolling");
    assert_eq!(first.releases[0].sha256, Sha256::of(&fs::read(bench.at("repo/InRelease")).unwrap()));
    let Evidence::PackagesStaged { packages, .. } = stage::evidence(&first) else { panic!("no evidence") };
    assert_eq!(packages[0].sha256, change.new.as_ref().unwrap().sha256);
    assert_eq!(bench.served.packages.load(Ordering::SeqCst), 2);
    assert_eq!(bench.stage(&source(), "2.0-1").await.unwrap(), first);
    assert_eq!(bench.served.packages.load(Ordering::SeqCst), 2, "nothing is fetched twice");
    assert_eq!(store.read(&source(), &first.to).await.unwrap(), Some(first));
    let lists = fs::read_dir(bench.at("root/var/lib/apt/lists")).unwrap().count();
    assert_eq!(lists, 1, "the node's own lists are as they were");

    // The archive has the old version no more, as is usual when a fix is published.
    bench.debs.retain(|(control, _)| !control.contains("Version: 1.0-1"));
    bench.publish(Duration::from_secs(86_400)).await;
    bench.is_installed_now("tool", "1.0-1", "2.0-1");
    assert!(bench.refused(&source(), "1.0-1").await.contains("would go down from 2.0-1 to 1.0-1"));
    let back = bench.stage_with(&source(), "1.0-1", true, Duration::from_secs(60)).await.unwrap();
    let [change] = back.changes.as_slice() else { panic!("{back:?}") };
    assert_eq!(
        (change.from.as_ref().unwrap().as_str(), change.to.as_ref().unwrap().as_str()),
        ("2.0-1", "1.0-1")
    );
    assert_eq!(bench.served.packages.load(Ordering::SeqCst), 2);
    // A file that is not what was fetched is not taken for it.
    fs::write(store.path(change.new.as_ref().unwrap()), "other").unwrap();
    let problem = store.read(&source(), &back.to).await.unwrap_err();
    assert!(problem.what.contains("is not there as it was fetched"), "{problem}");
}

#[tokio::test]
async fn what_apt_would_do_beyond_the_word_of_the_plan_is_refused() {
    let Some(bench) = bench().await else { return };
    let added = bench.refused(&source(), "3.0-1").await;
    assert!(added.contains("newdep 1.5 would be added") && added.contains("along: [newdep]"), "{added}");
    let removed = bench.refused(&source(), "4.0-1").await;
    assert!(
        removed.contains("enemy 1.0 would be removed") && removed.contains("remove: [enemy]"),
        "{removed}"
    );
    let nowhere = bench.refused(&source(), "9.0-1").await;
    assert!(
        nowhere.contains("toolsrc 9.0-1") && nowhere.contains("offered: 1.0-1, 2.0-1, 3.0-1, 4.0-1"),
        "{nowhere}"
    );
    let held = bench.refused(&package("heldp"), "2.0").await;
    assert!(held.contains("heldp 1.0 is on hold"), "{held}");
    assert_eq!(bench.served.packages.load(Ordering::SeqCst), 0, "nothing is fetched of what is refused");

    let along = vec![PackageName::parse("newdep").unwrap()];
    let set = bench.stage(&Packages { along, ..source() }, "3.0-1").await.unwrap();
    let names: Vec<_> = set.changes.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["newdep", "tool"], "what is only recommended is not added");
    let set = bench.stage(&Packages { held: true, ..package("heldp") }, "2.0").await.unwrap();
    assert!(set.changes[0].held);
    // What is removed must be had again too.
    let remove = vec![PackageName::parse("enemy").unwrap()];
    let asked = Packages { remove, ..source() };
    assert!(bench.refused(&asked, "4.0-1").await.contains("enemy 1.0, which is installed, is in no archive"));
    let asked = Packages { old_versions: OldVersions::IfThere, ..asked };
    let set = bench.stage(&asked, "4.0-1").await.unwrap();
    assert_eq!(
        (set.changes[0].name.as_str(), &set.changes[0].to, &set.changes[0].old),
        ("enemy", &None, &None)
    );
}

#[tokio::test]
async fn an_archive_that_cannot_be_trusted_is_named_and_nothing_is_fetched() {
    let Some(bench) = bench().await else { return };
    let address = format!("http://127.0.0.1:{}", bench.port);
    bench.publish(Duration::ZERO).await;
    let why = bench.refused(&source(), "2.0-1").await;
    assert!(why.contains(&address) && why.contains("expired"), "{why}");

    bench.publish(Duration::from_secs(86_400)).await;
    let path = bench.at("repo/InRelease");
    let right = fs::read_to_string(&path).unwrap();
    fs::write(&path, right.replace("Suite: stable", "Suite: stablx")).unwrap();
    let why = bench.refused(&source(), "2.0-1").await;
    assert!(why.contains(&address) && why.contains("not signed") && why.contains("BADSIG"), "{why}");
    bench.sources("trusted=yes ");
    let why = bench.refused(&source(), "2.0-1").await;
    assert!(why.contains("is not signed") && why.contains("trusted=yes"), "{why}");
    bench.sources("");
    fs::remove_file(&path).unwrap();
    let why = bench.refused(&source(), "2.0-1").await;
    assert!(why.contains(&address), "{why}");

    fs::write(&path, right).unwrap();
    let pin = |sha256| vec![ReleasePin { suite: "stable".into(), sha256 }];
    let is = Sha256::of(&fs::read(&path).unwrap());
    let why = bench.refused(&Packages { release: pin(Sha256::of(b"other")), ..source() }, "2.0-1").await;
    assert!(
        why.contains("the archive has changed: release stable is") && why.contains(&is.to_string()),
        "{why}"
    );
    assert_eq!(bench.served.packages.load(Ordering::SeqCst), 0);
    assert!(bench.stage(&Packages { release: pin(is), ..source() }, "2.0-1").await.is_ok());
}

#[tokio::test]
async fn other_bytes_than_the_index_names_are_not_kept() {
    let Some(bench) = bench().await else { return };
    bench.mood(Mood::Lies);
    let problem = bench.stage(&source(), "2.0-1").await.unwrap_err();
    assert!(
        problem.what.contains("/pool/tool_2.0-1_all.deb") && problem.what.contains("Hash Sum mismatch"),
        "{problem}"
    );
    let store = Store::of(&bench.at("state"));
    assert!(!store.pool().exists() || fs::read_dir(store.pool()).unwrap().next().is_none());
    assert_eq!(store.read(&source(), &Version::parse("2.0-1").unwrap()).await.unwrap(), None);
    bench.mood(Mood::Well);
    assert!(bench.stage(&source(), "2.0-1").await.is_ok());
}

#[tokio::test]
async fn an_archive_that_hangs_is_named_at_the_deadline() {
    let Some(bench) = bench().await else { return };
    bench.mood(Mood::Hangs);
    let asked = source();
    let problem = bench.stage_with(&asked, "2.0-1", false, Duration::from_secs(3)).await.unwrap_err();
    assert!(problem.what.contains("was killed"), "{problem}");
    let next = problem.next.join("; ");
    assert!(next.contains(&format!("http://127.0.0.1:{}/", bench.port)), "{next}");
}
