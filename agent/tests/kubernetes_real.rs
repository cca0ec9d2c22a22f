//! What the agent believes of K3s, before a real API server and a real member of etcd behind TLS, in a program that
//! unpacks itself as K3s does. Its ports are K3s's own, so it runs in a network of its own, for which root is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use drydock_agent::{
    backups::Backups,
    etcd::{EtcdAccess, EtcdTls, snapshot::Passing},
    k3s::{
        K3s,
        etcd::{SNAPSHOT, Saving, opens, own, save},
        token::Token,
    },
    policy::BinaryRule,
    sys::{
        units::{Started, UnitInfo},
        unpacked,
    },
};
use drydock_test_cluster::{
    binaries::{self, Release},
    cache::Cache,
    here,
};
use drydock_types::{AbsPath, SectionKind, probe::K3sDatastore};
use nix::sched::{CloneFlags, unshare};

#[path = "common/section.rs"]
mod section;

const SOON: Duration = Duration::from_secs(120);

/// A server by itself, ended with this value.
struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(release: &Release) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("k3s");
        fs::copy(binaries::server(&Cache::open().unwrap(), release).unwrap(), &program).unwrap();
        fs::write(dir.path().join("config.yaml"), "").unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(&program)
            .args(words(dir.path()))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", dir.path())
            .env("K3S_TOKEN", "hunter2")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, dir }
    }

    /// As systemd would tell of it.
    fn k3s(&self) -> K3s {
        let program = self.dir.path().join("k3s").display().to_string();
        let exec = core::iter::once(program).chain(words(self.dir.path())).collect();
        let started = Started { exec, ..Started::default() };
        K3s::of(&UnitInfo { id: "k3s.service".into(), started, ..UnitInfo::default() }).unwrap()
    }

    async fn ready(&self) {
        let end = Instant::now() + SOON;
        while let Err(problem) = self.k3s().api().unwrap().ready().await {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "{problem}\n{}", log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn words(dir: &Path) -> Vec<String> {
    let dir = dir.display();
    [
        "server".into(),
        "--cluster-init".into(),
        format!("--data-dir={dir}/data-dir"),
        format!("--config={dir}/config.yaml"),
        format!("--write-kubeconfig={dir}/k3s.yaml"),
        "--node-ip=127.0.0.1".into(),
        "--node-name=n1".into(),
    ]
    .into()
}

#[test]
#[ignore = "tests/run kubernetes"]
fn a_server_says_its_version_which_file_it_was_unpacked_by_and_gives_its_snapshot_and_token() {
    if !here() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI this runs as root");
        return eprintln!("LEFT OUT: a network of its own, for K3s's own ports, needs root");
    }
    // Of this thread alone, and of what it starts.
    let in_a_network_of_its_own = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scene());
    };
    std::thread::spawn(in_a_network_of_its_own).join().unwrap();
}

async fn scene() {
    let release = Release::usual();
    let server = Server::start(&release);
    server.ready().await;
    let k3s = server.k3s();

    let version = k3s.api().unwrap().version().await.unwrap();
    assert_eq!(format!("v{version}"), release.as_str());

    let program = AbsPath::parse(server.dir.path().join("k3s").to_str().unwrap()).unwrap();
    let data = AbsPath::parse(k3s.data_dir.join("data").to_str().unwrap()).unwrap();
    let rule = BinaryRule { unpacks_under: vec![data], ..BinaryRule::default() };
    let binaries = BTreeMap::from([(program.clone(), rule)]);
    let pid = server.process.id();
    let found = unpacked::program_of(pid, &binaries).expect("it was unpacked by the installed file");
    assert_eq!(found.program, program);
    assert!(unpacked::runs(pid, program.as_str(), &binaries));
    assert!(!unpacked::runs(pid, program.as_str(), &BTreeMap::new()), "it is not the installed file itself");

    let K3sDatastore::EmbeddedEtcd { member } = k3s.datastore().unwrap() else {
        panic!("it has a member of etcd")
    };
    let tls = k3s.data_dir.join("server/tls/etcd");
    let client = Some((tls.join("client.crt"), tls.join("client.key")));
    let access = EtcdAccess {
        endpoint: "https://127.0.0.1:2379".into(),
        tls: Some(EtcdTls { ca_file: tls.join("server-ca.crt"), client }),
        ..EtcdAccess::default()
    };
    let reached = own(&access, &member).await.unwrap();
    assert!(own(&access, "n9-0badcafe").await.unwrap_err().what.contains("another cluster's"));

    let token = Token::of(&k3s.data_dir).unwrap();
    // Its bootstrap data are saved a moment after its API is ready.
    let end = Instant::now() + SOON;
    while let Err(problem) = opens(&reached, &token).await {
        assert!(problem.what.contains("no bootstrap data") && Instant::now() < end, "{problem}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let another = with_another_password(&k3s.data_dir);
    let problem = opens(&reached, &another).await.unwrap_err();
    assert!(problem.what.contains("not the token of this datastore"), "{problem}");
    let (key, section) = (age::x25519::Identity::generate(), section::empty(SectionKind::Protect));
    let backups = Backups::in_state(server.dir.path());
    let saving = Saving { access: &access, backups: &backups, section: &section, progress: &|_, _| {} };
    let receipt = save(&saving, &member, &token, &key.to_public().to_string(), SOON).await.unwrap();
    assert!(receipt.revision > 0);
    let held = opened(&backups.dir().join(format!("{}.age", section.effect)), &key);
    assert_eq!(held["token"], fs::read(k3s.data_dir.join("server/token")).unwrap());
    let mut passing = Passing::default();
    passing.update(&held[SNAPSHOT]);
    passing.finish().unwrap();
}

/// A token of the same cluster that its servers were not started with.
fn with_another_password(data_dir: &Path) -> Token {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("server/tls")).unwrap();
    let ca = "server/tls/server-ca.crt";
    fs::copy(data_dir.join(ca), dir.path().join(ca)).unwrap();
    let own = fs::read_to_string(data_dir.join("server/token")).unwrap();
    let another = own.replace("hunter2", "another");
    assert_ne!(own, another);
    fs::write(dir.path().join("server/token"), another).unwrap();
    Token::of(dir.path()).unwrap()
}

/// What stands in a sealed archive.
fn opened(path: &Path, key: &age::x25519::Identity) -> BTreeMap<String, Vec<u8>> {
    let sealed = fs::read(path).unwrap();
    let decryptor = age::Decryptor::new(&sealed[..]).unwrap();
    let plain = decryptor.decrypt(std::iter::once(key as &dyn age::Identity)).unwrap();
    let mut archive = tar::Archive::new(plain);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    entries.collect()
}
