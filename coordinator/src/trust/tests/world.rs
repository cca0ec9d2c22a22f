//! A coordinator's door with two services behind it, and clients of every sort.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use drydock_proto::{
    agent::{
        agent_service_client::AgentServiceClient,
        agent_service_server::{AgentService, AgentServiceServer},
        enroll_service_server::{EnrollService, EnrollServiceServer},
        *,
    },
    tls::{
        Address, Anchor, ClientCertificate, Clock, DialError, JoinToken, PrivateKey, TokenId, client_config,
        dial,
    },
};
use drydock_types::{FleetId, NodeName};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use crate::trust::{
    Accept, Ca, Issued, RevocationList, SealingKey, TokenRow, TokenStore, Trust, ca::NODE_TTL_S, enrol,
    node_peer, operator_peer, renew, renewing_peer, server, token,
};

pub(crate) const DAY_S: i64 = 24 * 60 * 60;
pub(crate) const FLEET: FleetId = FleetId([0xf1; 16]);

/// A store whose consumption is conditional, as the real one's must be.
#[derive(Debug, Default)]
pub(crate) struct Tokens(pub(crate) Mutex<BTreeMap<TokenId, TokenRow>>);

impl TokenStore for Tokens {
    type Error = Infallible;
    fn token(&self, id: TokenId) -> Result<Option<TokenRow>, Infallible> {
        Ok(self.0.lock().unwrap().get(&id).cloned())
    }
    fn consume_token(&self, id: TokenId, now_unix_s: i64) -> Result<bool, Infallible> {
        let mut rows = self.0.lock().unwrap();
        let open = |row: &&mut TokenRow| row.used_unix_s.is_none() && row.revoked_unix_s.is_none();
        let row = rows.get_mut(&id).filter(open);
        Ok(row.map(|row| row.used_unix_s = Some(now_unix_s)).is_some())
    }
}

pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) ca: Arc<Ca>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) tokens: Arc<Tokens>,
    /// The agents' service, where `StatBackup` wants a node.
    pub(crate) agents: Address,
    /// The same, where `StatBackup` wants an operator.
    pub(crate) operators: Address,
    /// Whom `StatBackup` saw.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Double {
    ca: Arc<Ca>,
    tokens: Arc<Tokens>,
    for_operators: bool,
    seen: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl EnrollService for Double {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let enrolled = enrol(&self.ca, &*self.tokens, request.get_ref(), NODE_TTL_S, now());
        enrolled.map(|enrolled| Response::new(enrolled.response)).map_err(|why| why.status())
    }
}

#[tonic::async_trait]
impl AgentService for Double {
    type AttachStream = BoxStream<ToAgent>;
    type FetchArtifactStream = BoxStream<ArtifactChunk>;
    async fn attach(&self, _: Request<Streaming<FromAgent>>) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn fetch_artifact(
        &self,
        _: Request<FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn stat_backup(
        &self,
        request: Request<StatBackupRequest>,
    ) -> Result<Response<StatBackupResponse>, Status> {
        let name = match self.for_operators {
            true => operator_peer(&request)?.name,
            false => node_peer(&request)?.name.to_string(),
        };
        self.seen.lock().unwrap().push(name);
        Ok(Response::new(StatBackupResponse::default()))
    }
    async fn upload_backup(
        &self,
        _: Request<Streaming<UploadBackupRequest>>,
    ) -> Result<Response<UploadBackupResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let peer = renewing_peer(&request)?;
        let renewed = renew(&self.ca, &peer, request.get_ref(), NODE_TTL_S, now());
        renewed.map(|(_, response)| Response::new(response)).map_err(|why| why.status())
    }
}

pub(crate) fn now() -> i64 {
    Clock::default().now_unix_s()
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(crate) fn new_ca(dir: &std::path::Path, fleet: FleetId) -> Ca {
    Ca::create(dir, fleet, &SealingKey::new([9; 32], "test"), now() - 100 * DAY_S).unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Arc::new(new_ca(dir.path(), FLEET));
        let trust = Trust::new(FLEET, RevocationList::default(), Arc::new(Clock::default()));
        let tokens = Arc::new(Tokens::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let accept =
            Accept::new(&ca, vec!["localhost".into(), "127.0.0.1".into()], Arc::clone(&trust)).unwrap();
        let mut places = Vec::new();
        for for_operators in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            places.push(Address::parse(&listener.local_addr().unwrap().to_string()).unwrap());
            let (ca, tokens, seen) = (Arc::clone(&ca), Arc::clone(&tokens), Arc::clone(&seen));
            let double = Double { ca, tokens, for_operators, seen };
            let router = server()
                .add_service(EnrollServiceServer::new(double.clone()))
                .add_service(AgentServiceServer::new(double));
            tokio::spawn(router.serve_with_incoming(accept.incoming(listener)));
        }
        let (operators, agents) = (places.pop().unwrap(), places.pop().unwrap());
        Self { _dir: dir, ca, trust, tokens, agents, operators, seen }
    }

    pub(crate) fn token(&self, name: &str, ttl_s: i64, made_unix_s: i64) -> JoinToken {
        let minted =
            token::mint(&self.ca, &self.agents, node(name), BTreeMap::new(), "alice", ttl_s, made_unix_s);
        let (token, row) = minted.unwrap();
        self.tokens.0.lock().unwrap().insert(row.id, row);
        token
    }

    /// How the door answers a call by the holder of this certificate.
    pub(crate) async fn call(&self, to: &Address, shown: Option<&Shown>) -> Result<(), Outcome> {
        let mut client = AgentServiceClient::new(connect(&self.ca, to, shown).await?);
        let called = client.stat_backup(StatBackupRequest::default()).await;
        called.map(|_| ()).map_err(|status| Outcome::of(to, status))
    }

    pub(crate) async fn renew(&self, shown: &Shown, csr_der: Vec<u8>) -> Result<RenewResponse, Outcome> {
        let mut client = AgentServiceClient::new(connect(&self.ca, &self.agents, Some(shown)).await?);
        let called = client.renew(RenewRequest { csr_der }).await;
        called.map(Response::into_inner).map_err(|status| Outcome::of(&self.agents, status))
    }
}

pub(crate) async fn connect(
    ca: &Ca,
    to: &Address,
    shown: Option<&Shown>,
) -> Result<tonic::transport::Channel, Outcome> {
    let shown =
        shown.map(|shown| ClientCertificate::new(shown.issued.certificate.clone(), &shown.key).unwrap());
    let anchor = Anchor::Ca(ca.certificate().clone());
    let config = client_config(anchor, FLEET, shown, Arc::new(Clock::default())).unwrap();
    dial(to, config).await.map_err(Outcome::Connection)
}

/// Refused by the connection, or by an answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connection(DialError),
    Answer(Status),
}

impl Outcome {
    fn of(to: &Address, status: Status) -> Self {
        match std::error::Error::source(&status) {
            Some(_) => Self::Connection(DialError::of(to, &status)),
            None => Self::Answer(status),
        }
    }
    pub(crate) fn code(&self) -> Option<tonic::Code> {
        match self {
            Self::Connection(_) => None,
            Self::Answer(status) => Some(status.code()),
        }
    }
    pub(crate) fn is_refused_by_tls(&self) -> bool {
        use drydock_proto::tls::DialFault;
        matches!(self, Self::Connection(DialError { fault: DialFault::RefusedUs(_), .. }))
    }
}

/// A certificate and its key.
pub(crate) struct Shown {
    pub(crate) issued: Issued,
    pub(crate) key: PrivateKey,
}

pub(crate) fn node_of(ca: &Ca, name: &str, ttl_s: i64, made_unix_s: i64) -> Shown {
    let key = PrivateKey::generate().unwrap();
    let issued = ca.issue_node(&key.request().unwrap(), &node(name), ttl_s, made_unix_s).unwrap();
    Shown { issued, key }
}

pub(crate) fn operator_of(ca: &Ca, name: &str) -> Shown {
    let (issued, key) = ca.issue_operator(name, DAY_S, now()).unwrap();
    Shown { issued, key }
}
