//! The etcd calls against real members on loopback ports.
//!
//! The binary: `DRYDOCK_TEST_ETCD`, or `/usr/bin/etcd` (Debian: apt-get install etcd-server). Without one these
//! tests say that they were left out; under `CI=true` that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::{
    io::Read as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use drydock_agent::{
    actions::snapshot_etcd::take,
    backups::{Backups, upload},
    etcd::{
        EtcdAccess, EtcdTls,
        health::{is_well, wait_until_well},
        known::Known,
        lead::hand_over,
        member::Member,
        risen::not_risen,
        snapshot::{NotWhole, Passing},
        survey::{WITHIN, survey},
    },
    k3s::{etcd::opens, token::Token},
    remote::remote,
};
use drydock_types::{Section, SectionKind, Sha256, Version};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[path = "common/coordinator.rs"]
mod coordinator;
#[path = "common/section.rs"]
mod section;

const SOON: Duration = Duration::from_secs(20);

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("DRYDOCK_TEST_ETCD").map(PathBuf::from);
    let found = named.or_else(|| Some(PathBuf::from("/usr/bin/etcd"))).filter(|path| path.exists());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI the tests against real etcd must run");
        eprintln!("LEFT OUT: no etcd binary; set DRYDOCK_TEST_ETCD or apt-get install etcd-server");
    }
    found
}

/// What the binary says that it is.
fn version(binary: &Path) -> Version {
    let out = Command::new(binary).arg("--version").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    Version::parse(text.lines().next().unwrap().rsplit(' ').next().unwrap()).unwrap()
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// Own processes only; they end with it.
struct Cluster {
    members: Vec<Child>,
    clients: Vec<u16>,
    dir: tempfile::TempDir,
    scheme: &'static str,
}

impl Cluster {
    fn start(binary: &Path, size: usize, args: &[&str], advertise: impl Fn(&[u16], usize) -> u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scheme = if args.contains(&"--cert-file") { "https" } else { "http" };
        let ports: [u16; 6] = free_ports();
        let (clients, peers) = ports.split_at(3);
        let cluster: Vec<_> = (0..size).map(|i| format!("m{i}=http://127.0.0.1:{}", peers[i])).collect();
        let start = |i: usize| {
            let url = |port: u16| format!("{scheme}://127.0.0.1:{port}");
            let peer = format!("http://127.0.0.1:{}", peers[i]);
            Command::new(binary)
                .args(["--name", &format!("m{i}"), "--initial-cluster", &cluster.join(",")])
                .args(["--data-dir", dir.path().join(format!("m{i}")).to_str().unwrap()])
                .args(["--listen-client-urls", &url(clients[i])])
                .args(["--advertise-client-urls", &url(advertise(clients, i))])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--log-level", "error"])
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let members = (0..size).map(start).collect();
        Self { members, clients: clients.to_vec(), dir, scheme }
    }

    fn honest(binary: &Path, size: usize) -> Self {
        Self::start(binary, size, &[], |clients, i| clients[i])
    }

    fn access(&self, i: usize) -> EtcdAccess {
        let endpoint = format!("{}://127.0.0.1:{}", self.scheme, self.clients[i]);
        EtcdAccess { endpoint, ..EtcdAccess::default() }
    }

    fn known(&self, i: usize) -> Known {
        let state = self.dir.path().join(format!("state{i}"));
        std::fs::create_dir_all(&state).unwrap();
        Known::in_state(&state)
    }

    async fn all_well(&self, version: &Version) {
        for i in 0..self.members.len() {
            wait_until_well(&self.access(i), version, SOON).await.unwrap();
        }
        // The cluster's version is decided a moment after the members are well.
        let end = Instant::now() + SOON;
        while survey(&self.access(0), &self.known(0)).await.view.cluster_version.is_err() {
            assert!(Instant::now() < end, "the cluster version was not decided");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn signal(&self, i: usize, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.members[i].id()).unwrap()), signal).unwrap();
    }

    fn stop(&mut self, i: usize) {
        self.members[i].kill().unwrap();
        self.members[i].wait().unwrap();
    }

    async fn leader(&self) -> usize {
        for i in 0..self.members.len() {
            let member = Member::dial(&self.access(i), &self.access(i).endpoint, SOON).await.unwrap();
            if member.status(SOON).await.unwrap().0.leads() {
                return i;
            }
        }
        panic!("nobody leads");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn section() -> Section {
    section::empty(SectionKind::Protect)
}

#[tokio::test]
async fn three_members_are_seen_lead_in_turn_and_are_seen_when_one_and_two_are_down() {
    let Some(etcd) = binary() else { return };
    let version = version(&etcd);
    let mut cluster = Cluster::honest(&etcd, 3);
    cluster.all_well(&version).await;
    let begun = Instant::now();
    let seen = survey(&cluster.access(0), &cluster.known(0)).await.view;
    eprintln!("a look at three members took {:?}", begun.elapsed());
    assert_eq!(seen.members.len(), 3);
    assert_eq!((seen.linearizable.clone(), seen.alarms.clone()), (Ok(()), Ok(vec![])));
    assert_eq!(seen.cluster_version.as_ref().unwrap().minor(), version.minor());
    let leaders: std::collections::BTreeSet<_> =
        seen.members.iter().map(|member| member.status.as_ref().unwrap().leader.clone()).collect();
    assert_eq!(leaders.len(), 1, "{seen:?}");

    let other = Version::parse("9.9.9").unwrap();
    assert!(is_well(&cluster.access(0), &other, SOON).await.unwrap_err().contains("not 9.9.9"));

    let leader = cluster.leader().await;
    let begun = Instant::now();
    let moved = hand_over(&cluster.access(leader), &cluster.known(leader), SOON).await.unwrap().unwrap();
    eprintln!("leadership moved {} → {} in {:?}", moved.from, moved.to, begun.elapsed());
    assert_ne!(cluster.leader().await, leader);
    let again = hand_over(&cluster.access(leader), &cluster.known(leader), SOON).await.unwrap();
    assert_eq!(again, None, "who does not lead has nothing to hand over");
    let leader = cluster.leader().await;
    let nowhere = Known::in_state(&cluster.dir.path().join("missing"));
    let moved = hand_over(&cluster.access(leader), &nowhere, SOON).await.unwrap();
    assert!(moved.is_some(), "a list that cannot be remembered is used all the same");

    let (access, known) = (cluster.access(0), cluster.known(0));
    assert_eq!(not_risen(&access, &known, Some(&version)).await, Ok(()));
    let older = Version::parse("3.3.0").unwrap();
    assert!(not_risen(&access, &known, Some(&older)).await.unwrap_err().contains("has risen to"));
    assert!(not_risen(&access, &known, None).await.is_err());

    cluster.stop(0);
    let begun = Instant::now();
    let seen = survey(&access, &known).await.view;
    eprintln!("with the local member down a look took {:?}, alarms {:?}", begun.elapsed(), seen.alarms);
    assert!(seen.local.is_err() && seen.linearizable.is_err());
    assert_eq!(seen.members.iter().filter(|member| member.status.is_ok()).count(), 2, "{seen:?}");
    assert!(seen.cluster_version.is_ok());
    assert_eq!(not_risen(&access, &known, Some(&version)).await, Ok(()), "the others still say it");

    // A member that hangs rather than refuses, and no quorum any more.
    cluster.signal(1, Signal::SIGSTOP);
    let begun = Instant::now();
    let seen = survey(&cluster.access(2), &cluster.known(2)).await.view;
    eprintln!("with one member down and one hanging a look took {:?}", begun.elapsed());
    assert!(begun.elapsed() <= WITHIN + Duration::from_millis(300));
    assert!(seen.linearizable.is_err(), "{seen:?}");
    let begun = Instant::now();
    let seen = survey(&cluster.access(1), &known).await.view;
    eprintln!("through a local member that hangs a look took {:?}", begun.elapsed());
    assert!(begun.elapsed() <= WITHIN + Duration::from_millis(300));
    assert!(seen.local.is_err(), "{seen:?}");
    cluster.stop(2);
    let why = not_risen(&access, &known, Some(&version)).await.unwrap_err();
    assert!(why.contains("unknown"), "nobody answers: it does not hold: {why}");
}

#[tokio::test]
async fn the_leader_is_not_moved_to_a_member_that_hangs() {
    let Some(etcd) = binary() else { return };
    let cluster = Cluster::honest(&etcd, 3);
    cluster.all_well(&version(&etcd)).await;
    let leader = cluster.leader().await;
    let hanging = (leader + 1) % 3;
    cluster.signal(hanging, Signal::SIGSTOP);
    let moved = hand_over(&cluster.access(leader), &cluster.known(leader), SOON).await;
    cluster.signal(hanging, Signal::SIGCONT);
    let moved = moved.unwrap().unwrap();
    let third = (leader + 2) % 3;
    let third = Member::dial(&cluster.access(third), &cluster.access(third).endpoint, SOON).await.unwrap();
    assert_eq!(third.status(SOON).await.unwrap().0.member, moved.to);
}

#[tokio::test]
async fn members_that_advertise_one_address_are_not_taken_for_each_other() {
    let Some(etcd) = binary() else { return };
    let cluster = Cluster::start(&etcd, 3, &[], |clients, _| clients[0]);
    let own = cluster.access(0);
    let end = Instant::now() + SOON;
    let seen = loop {
        let seen = survey(&own, &cluster.known(0)).await.view;
        if seen.linearizable.is_ok() && seen.members.iter().all(|member| !member.name.is_empty()) {
            break seen;
        }
        assert!(Instant::now() < end, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(seen.members.iter().filter(|member| member.status.is_ok()).count(), 1, "{seen:?}");
    let told = |why: &String| why.contains("leads elsewhere") || why.contains("no client URL");
    assert!(seen.members.iter().filter_map(|member| member.status.as_ref().err()).all(told), "{seen:?}");
}

#[tokio::test]
async fn a_single_member_keeps_leadership_and_its_snapshot_is_verified_encrypted_and_sent() {
    let Some(etcd) = binary() else { return };
    let version = version(&etcd);
    let cluster = Cluster::honest(&etcd, 1);
    cluster.all_well(&version).await;
    let access = cluster.access(0);
    assert_eq!(hand_over(&access, &cluster.known(0), SOON).await, Ok(None));

    let key = age::x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    let backups = Backups::in_state(cluster.dir.path());
    let begun = Instant::now();
    let receipt = take(&access, &backups, &section(), &recipient, SOON, &|_, _| {}).await.unwrap();
    eprintln!(
        "a snapshot of {} bytes, revision {}, took {:?}",
        receipt.size,
        receipt.revision,
        begun.elapsed()
    );
    assert!(receipt.revision >= 1);
    let (channel, double) = coordinator::serve(vec![], coordinator::Manner::Honest).await;
    let (sender, remote) = remote();
    sender.publish(Some(channel));
    upload(&backups, &remote, &receipt, SOON, &|_, _| {}).await.unwrap();

    let stored = double.held.lock().unwrap().backup.clone();
    assert_eq!(Sha256::of(&stored), receipt.stored_sha256);
    let mut plain = Vec::new();
    let opened = age::Decryptor::new(&stored[..]).unwrap();
    let mut opened = opened.decrypt(std::iter::once(&key as &dyn age::Identity)).unwrap();
    opened.read_to_end(&mut plain).unwrap();
    assert_eq!((Sha256::of(&plain), plain.len() as u64), (receipt.sha256, receipt.size));

    let look = |bytes: &[u8]| {
        let mut passing = Passing::default();
        bytes.chunks(4096).for_each(|piece| passing.update(piece));
        passing.finish()
    };
    assert!(look(&plain).is_ok());
    let middle = plain.len() / 2;
    plain[middle] ^= 1;
    assert_eq!(look(&plain), Err(NotWhole::Digest), "one flipped bit in etcd's own file");
    assert!(std::fs::read_dir(backups.dir()).unwrap().count() == 1, "only the receipt stays");
}

/// Puts a key by etcd's own HTTP, which is no part of what the agent calls.
async fn put(cluster: &Cluster, key: &str, value: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let base64 = |text: &str| BASE64.encode(text);
    let body = format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", base64(key), base64(value));
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", cluster.clients[0])).await.unwrap();
    let request = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn k3s_s_bootstrap_data_are_found_in_a_members_own_store_by_their_keys() {
    let Some(etcd) = binary() else { return };
    let cluster = Cluster::honest(&etcd, 1);
    cluster.all_well(&version(&etcd)).await;
    let member = Member::dial(&cluster.access(0), &cluster.access(0).endpoint, SOON).await.unwrap();
    // As a data directory of K3s's has it: the CA, and a token that is this CA's.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("server/tls")).unwrap();
    std::fs::write(dir.path().join("server/tls/server-ca.crt"), "a CA").unwrap();
    let text = format!("K10{}::server:hunter2\n", Sha256::of(b"a CA"));
    std::fs::write(dir.path().join("server/token"), text).unwrap();
    let token = Token::of(dir.path()).unwrap();

    let problem = opens(&member, &token).await.unwrap_err();
    assert!(problem.what.contains("no bootstrap data"), "{problem}");
    // Neighbours of the prefix are not what is meant.
    for key in ["/bootstrap", "/bootstrap0", "/bootstraps/f52fbd32b2b3", "/registry/bootstrap/f52fbd32b2b3"] {
        put(&cluster, key, "x").await;
    }
    let problem = opens(&member, &token).await.unwrap_err();
    assert!(problem.what.contains("no bootstrap data"), "{problem}");
    put(&cluster, "/bootstrap/000000000000", "salt:another's").await;
    let problem = opens(&member, &token).await.unwrap_err();
    assert!(problem.what.contains("not the token of this datastore"), "{problem}");
    put(&cluster, "/bootstrap/f52fbd32b2b3", "salt:ours").await;
    opens(&member, &token).await.unwrap();
    let found = member.keys("/bootstrap/", 2, SOON).await.unwrap();
    assert_eq!(found, ["/bootstrap/000000000000", "/bootstrap/f52fbd32b2b3"]);
    let error = member.keys("/bootstrap/", 1, SOON).await.unwrap_err().to_string();
    assert!(error.contains("more than 1 keys"), "{error}");
}

/// A CA, and a certificate of it for 127.0.0.1 that serves as server's and as client's. Not etcd's `--auto-tls`:
/// its key is P-521, which ring does not verify.
fn make_certificates(dir: &Path) -> bool {
    let run = |args: &str| {
        let made =
            Command::new("openssl").args(args.split(' ')).current_dir(dir).stderr(Stdio::null()).status();
        made.is_ok_and(|status| status.success())
    };
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        .unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    ["ca", "other"]
        .iter()
        .all(|ca| run(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}")))
        && run(&format!("req {key} -keyout etcd.key -out etcd.csr -subj /CN=etcd"))
        && run(
            "x509 -req -in etcd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out etcd.pem",
        )
}

#[tokio::test]
async fn a_member_with_tls_is_believed_by_the_policys_ca_and_asks_for_a_certificate() {
    let Some(etcd) = binary() else { return };
    let dir = tempfile::tempdir().unwrap();
    if !make_certificates(dir.path()) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI there must be an openssl");
        eprintln!("LEFT OUT: no openssl to make certificates with");
        return;
    }
    let version = version(&etcd);
    let file = |name: &str| dir.path().join(name);
    let [ca, cert, key] =
        ["ca.pem", "etcd.pem", "etcd.key"].map(|name| file(name).to_str().unwrap().to_owned());
    let args = ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let cluster = Cluster::start(&etcd, 1, &args, |clients, i| clients[i]);
    let with = |ca: &str, client: bool| EtcdAccess {
        tls: Some(EtcdTls {
            ca_file: file(ca),
            client: client.then(|| (file("etcd.pem"), file("etcd.key"))),
        }),
        ..cluster.access(0)
    };
    let access = with("ca.pem", true);
    wait_until_well(&access, &version, SOON).await.unwrap();
    let view = survey(&access, &cluster.known(0)).await.view;
    assert!(view.local.is_ok() && view.linearizable.is_ok(), "{view:?}");
    assert!(
        view.cluster_version.is_ok() || view.cluster_version == Err("the cluster has not decided it".into())
    );
    assert!(hand_over(&access, &cluster.known(0), SOON).await.is_ok());
    let within = Duration::from_secs(5);
    let error = is_well(&with("other.pem", true), &version, within).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    assert!(is_well(&with("ca.pem", false), &version, within).await.is_err(), "etcd asks for a certificate");
    let plain = EtcdAccess { endpoint: access.endpoint.replace("https", "http"), ..EtcdAccess::default() };
    assert!(is_well(&plain, &version, within).await.is_err());
}
