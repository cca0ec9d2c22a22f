//! A coordinator that holds a real CA and says what a test tells it to say; in front of it a real agent.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use drydock_coordinator::trust::{
    Accept, Ca, RevocationList, SealingKey, TokenRow, TokenStore, Trust, ca, enrol, node_peer, server, token,
};
use drydock_proto::{
    PROTOCOL,
    agent::{
        agent_service_server::{AgentService, AgentServiceServer},
        enroll_service_server::{EnrollService, EnrollServiceServer},
        from_agent::Message as Said,
        to_agent::Message as Order,
        *,
    },
    tls::{Address, Clock, TokenId},
};
use drydock_system_tests::{Behaviour, Fleet, node::Node, wait};
use drydock_types::{
    ArtifactRef, EffectId, Epoch, Fence, FleetId, Head, InstanceId, Millis, NodeName, Outcome, RunId,
    Section, SectionKind, Sha256, Step, document,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

pub(crate) const FLEET: FleetId = FleetId([0xf1; 16]);

/// What is sent when an artifact is asked for, whatever the digest.
#[derive(Debug, Clone, Default)]
pub(crate) enum Serves {
    /// There is none.
    #[default]
    Nothing,
    /// These bytes, from the offset that was asked for.
    Bytes(Arc<Vec<u8>>),
    /// Zeros for ever.
    Endless,
}

/// What the double says and what it heard.
#[derive(Debug, Default)]
struct Shared {
    welcome: Mutex<Welcome>,
    serves: Mutex<Serves>,
    sent_bytes: Mutex<u64>,
    heard: Mutex<Vec<Said>>,
    certificate: Mutex<Vec<u8>>,
    stream: Mutex<Option<mpsc::Sender<Result<ToAgent, Status>>>>,
    tokens: Mutex<BTreeMap<TokenId, TokenRow>>,
}

/// The double with its one agent.
pub(crate) struct Double {
    pub(crate) node: Node,
    pub(crate) files: Fleet,
    shared: Arc<Shared>,
}

pub(crate) fn fence(epoch: u64, instance: u8) -> Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([instance; 16]) }
}

impl Double {
    /// Enrols a real agent and starts it; it obeys epoch 5, instance 1.
    pub(crate) fn start() -> Self {
        Self::with(PROTOCOL)
    }

    /// The same, with another protocol in Welcome.
    pub(crate) fn with(protocol: u32) -> Self {
        let files = Fleet::offline();
        let ca = Arc::new(Ca::create(files.dir(), FLEET, &SealingKey::new([9; 32], "test"), now()).unwrap());
        let shared = Arc::new(Shared::default());
        let (told, address) = std::sync::mpsc::channel();
        {
            let (ca, shared) = (Arc::clone(&ca), Arc::clone(&shared));
            // A thread of its own: the test's waits block. It ends with the process.
            std::thread::spawn(move || serve(ca, shared, &told));
        }
        let address: Address = address.recv().unwrap();
        let name = NodeName::parse("n1").unwrap();
        let (token, row) = token::mint(&ca, &address, name, BTreeMap::new(), "test", 3600, now()).unwrap();
        shared.tokens.lock().unwrap().insert(row.id, row);
        let node = Node::new(files.dir(), "n1", &files.public_key);
        node.enrol(&token.to_text()).exits(0);
        let mut double = Self { node, files, shared };
        double.welcomes(fence(5, 1), protocol);
        double.node.start();
        double
    }

    /// Whom the next streams are welcomed by.
    pub(crate) fn welcomes(&self, fence: Fence, protocol: u32) {
        let fleet = FLEET.to_string();
        let welcome =
            Welcome { fence: Some(fence.into()), fleet, coordinator_version: "9.9.9".into(), protocol };
        *self.shared.welcome.lock().unwrap() = welcome;
    }

    pub(crate) fn serves(&self, what: Serves) {
        *self.shared.serves.lock().unwrap() = what;
        *self.shared.sent_bytes.lock().unwrap() = 0;
    }

    /// Bytes of artifacts that were taken from us.
    pub(crate) fn sent_bytes(&self) -> u64 {
        *self.shared.sent_bytes.lock().unwrap()
    }

    /// How many Hellos were heard.
    pub(crate) fn hellos(&self) -> usize {
        self.shared.heard.lock().unwrap().iter().filter(|said| matches!(said, Said::Hello(_))).count()
    }

    /// Breaks the stream.
    pub(crate) fn hang_up(&self) {
        self.shared.stream.lock().unwrap().take();
    }

    /// Sends a section under this fence, and waits for the agent's last word on it.
    pub(crate) fn dispatch(&self, fence: Fence, effect: EffectId, section: &[u8]) -> Answered {
        let from = self.shared.heard.lock().unwrap().len();
        self.send(Order::Dispatch(Dispatch {
            effect_id: effect.0.to_vec(),
            fence: Some(fence.into()),
            section: section.to_vec(),
            lapse_ms: 5000,
        }));
        wait::until("the agent's answer to a dispatch", wait::RUN, || {
            let heard = self.shared.heard.lock().unwrap();
            heard[from..].iter().find_map(|said| match said {
                Said::Declined(declined) if declined.effect_id == effect.0 => {
                    Some(Answered::Declined(declined.why.clone()))
                }
                Said::Outcome(report) if report.effect_id == effect.0 => {
                    Some(Answered::Ended(Box::new(document::decode("outcome", &report.outcome).unwrap())))
                }
                _ => None,
            })
        })
    }

    /// Looks at the node by the agent; the exact bytes of a probe.
    pub(crate) fn observe(&self, request: u64, probe: &[u8]) -> ObserveResult {
        self.send(Order::Observe(Observe { request, probe: probe.to_vec(), deadline_ms: 5000 }));
        wait::until("the agent's answer to a look", wait::RUN, || {
            let heard = self.shared.heard.lock().unwrap();
            heard.iter().find_map(|said| match said {
                Said::Observed(result) if result.request == request => Some(result.clone()),
                _ => None,
            })
        })
    }

    fn send(&self, order: Order) {
        let stream = wait::until("a stream", wait::SOON, || self.shared.stream.lock().unwrap().clone());
        stream.blocking_send(Ok(ToAgent { message: Some(order), head: None })).unwrap();
    }

    /// A sign of life, with this as the record's end.
    pub(crate) fn tells(&self, head: Head) {
        let stream = wait::until("a stream", wait::SOON, || self.shared.stream.lock().unwrap().clone());
        let alive = ToAgent { message: Some(Order::Alive(Alive {})), head: Some(head.into()) };
        stream.blocking_send(Ok(alive)).unwrap();
    }

    /// The agent's certificate, as its last connection showed it.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.shared.certificate.lock().unwrap().clone()
    }

    pub(crate) fn last_hello(&self) -> Hello {
        let heard = self.shared.heard.lock().unwrap();
        let hello = heard.iter().rev().find_map(|said| match said {
            Said::Hello(hello) => Some(hello.clone()),
            _ => None,
        });
        hello.unwrap()
    }

    /// Every outcome that was reported.
    pub(crate) fn outcomes(&self) -> Vec<OutcomeReport> {
        let heard = self.shared.heard.lock().unwrap();
        let outcomes = heard.iter().filter_map(|said| match said {
            Said::Outcome(report) => Some(report.clone()),
            _ => None,
        });
        outcomes.collect()
    }

    /// A signed version of the service, as a section names it.
    pub(crate) fn artifact(&self, version: &str, behaviour: Behaviour) -> (Vec<u8>, ArtifactRef) {
        let file = self.files.release(version, behaviour);
        self.signed(&file)
    }

    /// A file beside which a signature lies.
    pub(crate) fn signed(&self, file: &std::path::Path) -> (Vec<u8>, ArtifactRef) {
        let bytes = std::fs::read(file).unwrap();
        let signature = std::fs::read_to_string(format!("{}.minisig", file.display())).unwrap();
        let artifact = ArtifactRef { sha256: Sha256::of(&bytes), size: bytes.len() as u64, signature };
        (bytes, artifact)
    }

    /// A section for the agent, of the usual component.
    pub(crate) fn section(
        &self,
        number: u8,
        kind: SectionKind,
        to: &str,
        artifact: Option<ArtifactRef>,
        steps: Vec<Step>,
    ) -> Section {
        Section {
            effect: EffectId([number; 32]),
            run: RunId([1; 16]),
            run_number: 1,
            stage: "demo".into(),
            node: NodeName::parse("n1").unwrap(),
            kind,
            component: "demo".parse().unwrap(),
            from: Some("1.0.0".parse().unwrap()),
            to: to.parse().unwrap(),
            allow_downgrade: false,
            artifact,
            steps,
            verify: Vec::new(),
            can_undo: Vec::new(),
            undoes: None,
            commit_confirmed: None,
            undo_on_failure: true,
            deadline: Millis::secs(30),
            requires: Vec::new(),
        }
    }

    /// Nothing of the node was touched.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        assert_eq!(self.node.starts(), ["1.0.0"]);
        assert_eq!(self.node.version().as_deref(), Some("1.0.0"));
        assert_eq!(self.node.beside(), Vec::<String>::new());
    }
}

/// The agent's last word on a dispatch.
#[derive(Debug, PartialEq)]
pub(crate) enum Answered {
    Declined(String),
    Ended(Box<Outcome>),
}

impl Answered {
    /// Why it was declined.
    #[track_caller]
    pub(crate) fn declined(self) -> String {
        match self {
            Self::Declined(why) => why,
            Self::Ended(outcome) => panic!("it was done: {outcome:#?}"),
        }
    }

    /// How it ended.
    #[track_caller]
    pub(crate) fn ended(self) -> Outcome {
        match self {
            Self::Ended(outcome) => *outcome,
            Self::Declined(why) => panic!("declined: {why}"),
        }
    }
}

fn now() -> i64 {
    Clock::default().now_unix_s()
}

fn serve(ca: Arc<Ca>, shared: Arc<Shared>, told: &std::sync::mpsc::Sender<Address>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let trust = Trust::new(FLEET, RevocationList::default(), Arc::new(Clock::default()));
        let accept = Accept::new(&ca, vec!["127.0.0.1".into()], trust).unwrap();
        told.send(address).unwrap();
        let service = Service { ca, shared };
        let router = server()
            .add_service(EnrollServiceServer::new(service.clone()))
            .add_service(AgentServiceServer::new(service));
        drop(router.serve_with_incoming(accept.incoming(listener)).await);
    });
}

#[derive(Clone)]
struct Service {
    ca: Arc<Ca>,
    shared: Arc<Shared>,
}

impl TokenStore for Shared {
    type Error = Infallible;
    fn token(&self, id: TokenId) -> Result<Option<TokenRow>, Infallible> {
        Ok(self.tokens.lock().unwrap().get(&id).cloned())
    }
    fn consume_token(&self, id: TokenId, _: i64) -> Result<bool, Infallible> {
        Ok(self.tokens.lock().unwrap().remove(&id).is_some())
    }
}

#[tonic::async_trait]
impl EnrollService for Service {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let enrolled = enrol(&self.ca, &*self.shared, request.get_ref(), ca::NODE_TTL_S, now());
        enrolled.map(|enrolled| Response::new(enrolled.response)).map_err(|why| why.status())
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type AttachStream = BoxStream<ToAgent>;
    type FetchArtifactStream = BoxStream<ArtifactChunk>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = node_peer(&request)?;
        *self.shared.certificate.lock().unwrap() = peer.certificate.0.to_vec();
        let mut heard = request.into_inner();
        let (orders, queue) = mpsc::channel(64);
        let shared = Arc::clone(&self.shared);
        *shared.stream.lock().unwrap() = Some(orders.clone());
        let orders = orders.downgrade();
        tokio::spawn(async move {
            while let Ok(Some(FromAgent { message: Some(said) })) = heard.message().await {
                let hello = matches!(said, Said::Hello(_));
                shared.heard.lock().unwrap().push(said);
                if let (true, Some(orders)) = (hello, orders.upgrade()) {
                    let welcome = shared.welcome.lock().unwrap().clone();
                    drop(
                        orders.send(Ok(ToAgent { message: Some(Order::Welcome(welcome)), head: None })).await,
                    );
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn fetch_artifact(
        &self,
        request: Request<FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let mut at = usize::try_from(request.get_ref().offset).unwrap_or(usize::MAX);
        let serves = self.shared.serves.lock().unwrap().clone();
        let (chunks, queue) = mpsc::channel(4);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            loop {
                let data = match &serves {
                    Serves::Nothing => {
                        return drop(chunks.send(Err(Status::not_found("no such artifact"))).await);
                    }
                    Serves::Bytes(bytes) => {
                        bytes.get(at..bytes.len().min(at + (64 << 10))).unwrap_or_default().to_vec()
                    }
                    Serves::Endless => vec![0; 64 << 10],
                };
                if data.is_empty() {
                    return;
                }
                at += data.len();
                *shared.sent_bytes.lock().unwrap() += data.len() as u64;
                if chunks.send(Ok(ArtifactChunk { data })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn stat_backup(
        &self,
        _: Request<StatBackupRequest>,
    ) -> Result<Response<StatBackupResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn upload_backup(
        &self,
        _: Request<Streaming<UploadBackupRequest>>,
    ) -> Result<Response<UploadBackupResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
