//! K3s servers for tests: a data directory with real certificates and a token, an API behind TLS that asks for the
//! administrator's certificate, and a member of etcd that says what it is told to say.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use drydock_types::{AbsPath, Sha256, UnitName};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

use super::K3s;
use crate::{
    actions::{
        Action, Cx, Problem,
        k3s_ready::Ready,
        swap_binary::tests::{Bench, bench_with},
    },
    etcd::pb::{self, cluster_server, kv_server, maintenance_server},
    host::Host,
    policy::EtcdAccess,
    probes,
    remote::{RemoteSender, remote},
    sys::units::{Others, Verb},
};

/// What the API answers, by path.
type Answers = Arc<Mutex<BTreeMap<&'static str, (u16, String)>>>;

/// A node whose `x.service` is `k3s server` with a data directory of its own.
pub(crate) struct Node {
    pub(crate) bench: Bench,
    pub(crate) answers: Answers,
    pub(crate) sender: RemoteSender,
    pub(crate) key: age::x25519::Identity,
    _data: tempfile::TempDir,
}

pub(crate) fn unit() -> UnitName {
    Bench::unit()
}

impl Node {
    /// With the API standing, and SQLite as its datastore: nothing is there that K3s would take for another one.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With further arguments, each in quotes and with a comma before it.
    pub(crate) async fn with(more: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let data = tempfile::tempdir().unwrap();
        let tls = data.path().join("server/tls");
        fs::create_dir_all(&tls).unwrap();
        let config = certificates(&tls);
        let ca = fs::read(tls.join("server-ca.crt")).unwrap();
        let token = format!("K10{}::server:hunter2\n", Sha256::of(&ca));
        fs::write(data.path().join("server/token"), token).unwrap();
        fs::create_dir_all(data.path().join("server/db")).unwrap();
        fs::write(data.path().join("config.yaml"), "").unwrap();
        let key = age::x25519::Identity::generate();
        let shown = data.path().display();
        let args = format!(
            "[\"server\", \"--config\", \"{shown}/config.yaml\", \"--data-dir\", \"{shown}\", \
             \"--https-listen-port={port}\"{more}]"
        );
        let bench = bench_with(&args, &format!("backup_recipient = \"{}\"", key.to_public()));
        let (sender, remote) = remote();
        let bench = Bench { host: Host { remote, ..bench.host }, ..bench };
        let answers: Answers = Arc::default();
        tokio::spawn(serve(listener, config, answers.clone()));
        Self { bench, answers, sender, key, _data: data }
    }

    pub(crate) fn cx(&self) -> Cx<'_> {
        self.bench.cx()
    }

    pub(crate) async fn data(&self) -> std::path::PathBuf {
        K3s::look(&self.bench.host, &unit()).await.unwrap().data_dir
    }

    pub(crate) fn answer(&self, path: &'static str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path, (status, body.to_owned()));
    }

    /// From now on its policy reaches etcd there.
    pub(crate) fn reaches(mut self, endpoint: String) -> Self {
        let mut policy = (*self.bench.host.policy).clone();
        policy.etcd = Some(EtcdAccess { endpoint, ..EtcdAccess::default() });
        self.bench.host.policy = policy.into();
        self
    }

    /// Its unit runs, with this file open in its main process as K3s has its database.
    pub(crate) async fn starts_with(&self, open: &Path) {
        let script = format!("#!/bin/sh\nexec sleep 600 3<'{}'\n", open.display());
        fs::write(self.bench.path.as_str(), script).unwrap();
        let units = &self.bench.host.units;
        units.run("x.service", Verb::Start, Others::Respect, Duration::from_secs(20)).await.unwrap();
        let pid = units.load(&unit()).await.unwrap().main_pid;
        // The shell opens it a moment after it is started; before that its script may have that number.
        let wanted = fs::canonicalize(open).unwrap();
        while fs::read_link(format!("/proc/{pid}/fd/3")).ok().as_ref() != Some(&wanted) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn has_etcd(&self, name: &str) {
        let etcd = self.data().await.join("server/db/etcd");
        fs::create_dir_all(etcd.join("member/wal")).unwrap();
        fs::write(etcd.join("name"), name).unwrap();
    }
}

/// The certificates of a server, as K3s names them, and what its API is served with.
fn certificates(tls: &Path) -> ServerConfig {
    let ca = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), Issuer::new(params, key))
    };
    let leaf = |names: Vec<String>, usage, issuer: &Issuer<'_, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&key, issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let (server_ca, server_issuer) = ca("k3s-server-ca");
    let (client_ca, client_issuer) = ca("k3s-client-ca");
    fs::write(tls.join("server-ca.crt"), &server_ca).unwrap();
    let (cert, key) = leaf(Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &client_issuer);
    fs::write(tls.join("client-admin.crt"), cert).unwrap();
    fs::write(tls.join("client-admin.key"), key).unwrap();
    let (cert, key) = leaf(vec!["127.0.0.1".into()], ExtendedKeyUsagePurpose::ServerAuth, &server_issuer);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(client_ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap()
}

async fn serve(listener: TcpListener, config: ServerConfig, answers: Answers) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answers) = (acceptor.clone(), answers.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default();
            let known = answers.lock().unwrap().get(path).cloned();
            let (status, body) = known.unwrap_or((404, "{}".into()));
            let answer = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

/// A member of etcd: its name, and what it sends as its snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) snapshot: Vec<u8>,
    /// How many bytes of it are sent; all where nothing is said.
    pub(crate) cut_at: Option<usize>,
    /// Names of keys in its store, in their order.
    pub(crate) keys: Vec<String>,
    /// Those that it has for the first questions, one after another: while a token is rotated.
    pub(crate) at_first: Arc<Mutex<VecDeque<Vec<String>>>>,
}

/// Under which key K3s has its bootstrap data where this is the password of the server's token.
pub(crate) fn bootstrap_key(password: &str) -> String {
    format!("/bootstrap/{}", &Sha256::of(password.as_bytes()).to_string()[..12])
}

/// A store's file and its digest behind it, as etcd sends it.
pub(crate) fn snapshot() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..512 * 700_u32).map(|i| (i % 251) as u8).collect();
    bytes.extend_from_slice(&Sha256::of(&bytes).0);
    bytes
}

impl Member {
    pub(crate) fn named(name: &str) -> Self {
        let keys = [bootstrap_key("hunter2"), "/registry/pods/default/a".into()].to_vec();
        Self { name: name.into(), snapshot: snapshot(), cut_at: None, keys, at_first: Arc::default() }
    }

    /// Its client URL.
    pub(crate) async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(kv_server::KvServer::new(self.clone()))
            .add_service(maintenance_server::MaintenanceServer::new(self.clone()))
            .add_service(cluster_server::ClusterServer::new(self));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{at}")
    }

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { cluster_id: 0xc0, member_id: 1, revision: 4711, raft_term: 2 })
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Member {
    async fn member_list(
        &self,
        _: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let member = pb::Member { id: 1, name: self.name.clone(), ..Default::default() };
        Ok(Response::new(pb::MemberListResponse { header: Self::header(), members: vec![member] }))
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Member {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let asked = request.into_inner();
        if !asked.keys_only {
            return Err(Status::permission_denied("the values are nobody's business"));
        }
        let within = |key: &&String| {
            let key = key.as_bytes();
            if asked.range_end.is_empty() {
                key == asked.key
            } else {
                key >= &asked.key[..] && key < &asked.range_end[..]
            }
        };
        let at_first = self.at_first.lock().unwrap().pop_front();
        let all: Vec<_> = at_first.as_ref().unwrap_or(&self.keys).iter().filter(within).collect();
        let limit = usize::try_from(asked.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let kvs = all.iter().take(limit).map(|key| pb::KeyValue { key: key.as_bytes().to_vec() });
        Ok(Response::new(pb::RangeResponse {
            header: Self::header(),
            kvs: kvs.collect(),
            more: all.len() > limit,
            count: i64::try_from(all.len()).unwrap(),
        }))
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Member {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn alarm(&self, _: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        Err(Status::unimplemented("not in this double"))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(pb::StatusResponse {
            header: Self::header(),
            version: "3.6.4".into(),
            db_size: 1 << 20,
            leader: 1,
            ..Default::default()
        }))
    }

    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        // The file in pieces, each with what remains of it, and then the digest.
        let (file, digest) = self.snapshot.split_at(self.snapshot.len() - 32);
        let mut sent = 0;
        let mut pieces: Vec<_> = file
            .chunks(32 << 10)
            .map(|piece| {
                sent += piece.len();
                let remaining_bytes = (file.len() - sent) as u64;
                Ok(pb::SnapshotResponse { header: None, remaining_bytes, blob: piece.to_vec() })
            })
            .collect();
        pieces.push(Ok(pb::SnapshotResponse { header: None, remaining_bytes: 0, blob: digest.to_vec() }));
        pieces.truncate(self.cut_at.unwrap_or(usize::MAX));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn move_leader(
        &self,
        _: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(Status::unimplemented("not in this double"))
    }
}

fn ready(within_ms: u64) -> drydock_types::step::K3sReady {
    drydock_types::step::K3sReady { unit: unit(), within: drydock_types::Millis(within_ms) }
}

#[tokio::test]
async fn the_api_is_asked_for_its_version_as_its_administrator() {
    let node = Node::new().await;
    node.answer("/version", 200, "{\"major\":\"1\",\"gitVersion\":\"v1.33.4+k3s1\"}");
    let source = drydock_types::step::VersionSource::K3s { unit: unit() };
    let seen = probes::version::look(&node.bench.host, &source).await.unwrap();
    assert_eq!(seen.version.to_string(), "1.33.4+k3s1");
    assert!(
        seen.source.starts_with("https://127.0.0.1:") && seen.source.ends_with("/version"),
        "{}",
        seen.source
    );
    node.answer("/version", 401, "{}");
    let problem = probes::version::look(&node.bench.host, &source).await.unwrap_err();
    assert!(problem.what.contains("401"), "{problem}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_believed() {
    let node = Node::new().await;
    node.answer("/version", 200, "{\"gitVersion\":\"v1.33.4+k3s1\"}");
    let tls = node.data().await.join("server/tls");
    let other =
        CertificateParams::new(Vec::new()).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
    fs::write(tls.join("server-ca.crt"), other.pem()).unwrap();
    let source = drydock_types::step::VersionSource::K3s { unit: unit() };
    let problem = probes::version::look(&node.bench.host, &source).await.unwrap_err();
    assert!(problem.what.contains("certificate"), "{problem}");
}

#[tokio::test]
async fn a_server_is_waited_for_until_it_is_ready_and_what_fails_is_named() {
    let node = Node::new().await;
    node.answer("/readyz?verbose", 500, "[+]ping ok\n[-]etcd failed: reason withheld\n");
    let problem: Problem =
        Ready(&ready(1)).apply(&node.cx(), &crate::actions::Note::none()).await.unwrap_err();
    assert!(problem.what.contains("etcd failing") && problem.what.contains("still after 1ms"), "{problem}");
    assert!(problem.next.iter().any(|next| next.contains("readyz")), "{problem:?}");
    let answers = node.answers.clone();
    let later = async {
        tokio::task::yield_now().await;
        answers.lock().unwrap().insert("/readyz?verbose", (200, "ok".into()));
    };
    let (config, cx, note) = (ready(20_000), node.cx(), crate::actions::Note::none());
    let step = Ready(&config);
    let (seen, ()) = tokio::join!(step.apply(&cx, &note), later);
    assert_eq!(seen.unwrap().len(), 1);
}

#[tokio::test]
async fn what_k3s_is_here_is_told_by_its_unit_and_a_unit_that_is_not_k3s_is_refused() {
    let node = Node::new().await;
    let view = probes::k3s::look(&node.bench.host, &unit()).await.unwrap();
    assert_eq!(view.datastore, Some(drydock_types::probe::K3sDatastore::Sqlite {}));
    let plain = bench_with("[\"600\"]", "");
    let problem = probes::k3s::look(&plain.host, &unit()).await.unwrap_err();
    assert!(problem.what.contains("does not start K3s"), "{problem}");
    let missing = UnitName::parse("y.service").unwrap();
    let problem = probes::k3s::look(&plain.host, &missing).await.unwrap_err();
    assert!(problem.what.contains("does not run as y.service"), "{problem}");
    let unlisted = UnitName::parse("k3s.service").unwrap();
    let problem = probes::k3s::look(&plain.host, &unlisted).await.unwrap_err();
    assert!(problem.next.iter().any(|next| next.contains("units = [\"k3s.service\"]")), "{problem:?}");
}

#[tokio::test]
async fn a_unit_whose_restart_kills_pods_is_refused_before_anything_is_done() {
    let node = Node::new().await;
    let path = node.bench.path.clone();
    let role = drydock_types::step::K3sRole::Server;
    let config = drydock_types::step::CheckK3s { unit: unit(), path, role };
    // The supervisor of these tests ends the whole group, as systemd does where nothing else is said.
    let problem = crate::actions::check_k3s::Check(&config).check(&node.cx()).await.unwrap_err();
    assert!(problem.what.contains("KillMode=control-group"), "{problem}");
    let other = drydock_types::step::CheckK3s { path: AbsPath::parse("/opt/k3s").unwrap(), ..config };
    let problem = crate::actions::check_k3s::Check(&other).check(&node.cx()).await.unwrap_err();
    assert!(problem.what.contains("/opt/k3s"), "{problem}");
}
