//! The link against a coordinator of this process, over loopback without TLS.

use std::{net::SocketAddr, sync::Mutex as Lock};

use drydock_proto::{
    PROTOCOL,
    agent::{
        self, FromAgent, ToAgent,
        agent_service_server::{AgentService, AgentServiceServer},
        from_agent::Message,
        to_agent::Message as Order,
    },
    tls::{PrivateKey, PublicKey},
};
use drydock_types::{
    EffectId, Epoch, Fence, FleetId, Head, InstanceId, JournalId, NodeName, Outcome, Section, Sha256, Step,
    document::{decode, encode},
    outcome::{Evidence, SectionResult},
    signed::{HeadStatement, message},
    step::UndoGuard,
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Streaming, transport::Endpoint};

use super::*;
use crate::{
    actions::{Found, Note},
    executor::{Progress, Workshop},
    journal::{Journal, memory::MemoryDisk},
    remote::{Remote, remote},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// One stream as the coordinator has it.
struct Stream {
    from: Streaming<FromAgent>,
    to: mpsc::Sender<Result<ToAgent, Status>>,
}

impl Stream {
    async fn say(&self, order: Order) {
        self.to.send(Ok(ToAgent { message: Some(order), head: None })).await.unwrap();
    }

    /// The same, with the record's end beside it.
    async fn say_at(&self, head: Head, order: Order) {
        self.to.send(Ok(ToAgent { message: Some(order), head: Some(head.into()) })).await.unwrap();
    }

    /// The next message but Alive.
    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.from.message()).await.expect("the agent says something");
            match message.unwrap().expect("the stream is open").message.unwrap() {
                Message::Alive(_) => {}
                other => return other,
            }
        }
    }

    async fn hello(&mut self) -> agent::Hello {
        match self.next().await {
            Message::Hello(hello) => hello,
            other => panic!("not Hello: {other:?}"),
        }
    }

    async fn welcome(&mut self, epoch: u64) -> agent::Hello {
        let hello = self.hello().await;
        self.say(welcome(epoch, PROTOCOL)).await;
        hello
    }

    /// The agent ends the stream.
    async fn ends(&mut self) {
        let ended = async { while let Ok(Some(_)) = self.from.message().await {} };
        timeout(PATIENCE, ended).await.expect("the agent ends the stream");
    }
}

fn fence(epoch: u64) -> agent::Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([4; 16]) }.into()
}

fn welcome(epoch: u64, protocol: u32) -> Order {
    let (fence, coordinator_version) = (Some(fence(epoch)), "9.9.9".into());
    Order::Welcome(agent::Welcome { fence, fleet: String::new(), coordinator_version, protocol })
}

struct Service(mpsc::Sender<Stream>);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl AgentService for Service {
    type AttachStream = ReceiverStream<Result<ToAgent, Status>>;
    type FetchArtifactStream = ReceiverStream<Result<agent::ArtifactChunk, Status>>;

    async fn attach(&self, request: Request<Streaming<FromAgent>>) -> Answer<Self::AttachStream> {
        let (to, orders) = mpsc::channel(64);
        self.0.send(Stream { from: request.into_inner(), to }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(orders)))
    }

    async fn fetch_artifact(
        &self,
        _: Request<agent::FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        Err(Status::unimplemented("not here"))
    }

    async fn stat_backup(&self, _: Request<agent::StatBackupRequest>) -> Answer<agent::StatBackupResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn upload_backup(
        &self,
        _: Request<Streaming<agent::UploadBackupRequest>>,
    ) -> Answer<agent::UploadBackupResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew(&self, _: Request<agent::RenewRequest>) -> Answer<agent::RenewResponse> {
        Err(Status::unimplemented("not here"))
    }
}

struct Plain(SocketAddr);

#[async_trait]
impl Dialer for Plain {
    async fn dial(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.0)).unwrap();
        endpoint.connect().await.map_err(|error| error.to_string())
    }

    async fn renew_if_due(&self, _: &Channel) -> Result<bool, String> {
        Ok(false)
    }

    fn explain(&self, _: &Status) -> Option<String> {
        None
    }
}

/// A key that signs for one fleet.
struct Key(PrivateKey);

const FLEET: FleetId = FleetId([8; 16]);

impl Signer for Key {
    fn sign(&self, purpose: Purpose, about: &[u8; 32], document: &[u8]) -> Option<Signature> {
        self.0.sign(&message(purpose, FLEET, self.0.node_key(), about, document)).ok()
    }
}

impl Key {
    /// Judges as whoever holds the certificate does.
    fn judges(&self, purpose: Purpose, about: &[u8; 32], document: &[u8], signature: &[u8]) -> bool {
        let pair = PrivateKey::from_pem(&self.0.to_pem()).unwrap().into_signer();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let public = PublicKey::of(certificate.der()).unwrap();
        let Some(signature) = Signature::of(signature) else { return false };
        public.verify(&message(purpose, FLEET, public.node_key(), about, document), &signature).is_ok()
    }
}

struct Blinking;

#[async_trait]
impl Eyes for Blinking {
    fn facts(&self) -> HostFacts {
        HostFacts { boot_id: "boot".into(), ..HostFacts::default() }
    }

    async fn look(&self, probe: &Probe) -> Result<Observation, Problem> {
        match probe {
            Probe::Host {} => Ok(Observation::Host(self.facts())),
            Probe::Etcd {} => std::future::pending().await,
            _ => Err(Problem::new("nothing to be seen").next("look yourself")),
        }
    }
}

/// Its steps wait until the gate opens.
#[derive(Default)]
struct Gated {
    gate: Notify,
    begun: Notify,
    done: Lock<u32>,
}

#[async_trait]
impl Workshop for Arc<Gated> {
    fn unpacks_itself(&self, _: &drydock_types::AbsPath) -> bool {
        false
    }

    async fn check(&self, _: &Section, _: &Step) -> Result<(), Problem> {
        Ok(())
    }
    async fn note(&self, _: &Section, _: &Step) -> Result<Note, Problem> {
        Ok(Note::none())
    }
    async fn apply(
        &self,
        _: &Section,
        _: &Step,
        _: &Note,
        _: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem> {
        self.begun.notify_one();
        self.gate.notified().await;
        *self.done.lock().unwrap() += 1;
        Ok(vec![])
    }
    async fn probe(&self, _: &Section, _: &Step, _: &Note) -> Found {
        Found::NotBegun
    }
    async fn undo_note(&self, _: &Section, _: &Step) -> Result<Note, Problem> {
        Ok(Note::none())
    }
    async fn undo(&self, _: &Section, _: &Step, _: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(vec![])
    }
    async fn undo_probe(&self, _: &Section, _: &Step, _: &Note, _: &Note) -> Found {
        Found::NotBegun
    }
    async fn may_take_back(&self, _: &Section) -> Result<(), Problem> {
        Ok(())
    }
    async fn undo_guard(&self, _: &Section, _: &UndoGuard) -> Result<(), String> {
        Ok(())
    }
}

struct Bench {
    streams: mpsc::Receiver<Stream>,
    workshop: Arc<Gated>,
    status: watch::Receiver<String>,
    remote: Remote,
    disk: MemoryDisk,
    public: Arc<Key>,
    link: tokio::task::JoinHandle<JournalError>,
}

impl Bench {
    async fn new() -> Self {
        Self::at(Pace::default()).await
    }

    async fn at(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, streams) = mpsc::channel(4);
        let server = tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(Service(to)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let (disk, workshop) = (MemoryDisk::new(), Arc::new(Gated::default()));
        let journal = Journal::open(Box::new(disk.clone()), || JournalId([1; 16])).await.unwrap();
        let signer = Arc::new(Key(PrivateKey::generate().unwrap()));
        let (outbox, node) = (Arc::new(Outbox::new(signer.clone())), NodeName::parse("n1").unwrap());
        let at_work = Arc::new(workshop.clone());
        let executor = Arc::new(Executor::new(node, journal, at_work, outbox.clone()));
        let (sender, remote) = remote();
        let (said, status) = watch::channel(String::new());
        let pace = Pace { first: Duration::from_millis(5), mismatch: Duration::from_millis(50), ..pace };
        let (dialer, eyes) = (Arc::new(Plain(address)), Arc::new(Blinking));
        let public = signer.clone();
        let link = Link {
            dialer,
            executor,
            eyes,
            outbox,
            signer,
            remote: sender,
            pace,
            status: said,
            heard: Heard::default(),
            start_id: vec![7; 16],
        };
        let link = tokio::spawn(link.run());
        Self { streams, workshop, status, remote, disk, public, link }
    }

    async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("the agent dials").unwrap()
    }

    async fn status_says(&mut self, word: &str) {
        let says = self.status.wait_for(|status| status.contains(word));
        timeout(PATIENCE, says).await.unwrap_or_else(|_| panic!("no status with {word:?}")).unwrap();
    }
}

fn dispatch(number: u8, lapse_ms: u32) -> Order {
    let effect = EffectId([number; 32]);
    let json = format!(
        r#"{{"effect":"{effect}","run":"{}","runNumber":1,"stage":"etcd","node":"n1","kind":"apply",
        "component":"etcd","from":null,"to":"3.5.16","allowDowngrade":false,"artifact":null,
        "steps":[{{"nothing":{{}}}}],"verify":[],"canUndo":[],"undoOnFailure":true,"deadline":"10s","requires":[]}}"#,
        "00".repeat(16)
    );
    let section: Section = decode("section", json.as_bytes()).unwrap();
    let section = encode(&section);
    Order::Dispatch(agent::Dispatch { effect_id: vec![number; 32], fence: Some(fence(1)), section, lapse_ms })
}

fn ask(number: u8) -> Order {
    Order::Ask(agent::Ask { effect_ids: vec![vec![number; 32]] })
}

async fn answer(stream: &mut Stream) -> (agent::answer::State, Option<Outcome>) {
    match stream.next().await {
        Message::Answer(answer) => {
            let outcome = (!answer.outcome.is_empty()).then(|| decode("outcome", &answer.outcome).unwrap());
            (answer.state(), outcome)
        }
        other => panic!("not an Answer: {other:?}"),
    }
}

#[tokio::test]
async fn hello_says_what_the_journal_holds_and_a_section_is_accepted_and_ended() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    let hello = stream.welcome(1).await;
    assert_eq!((hello.protocol, hello.journal_id, hello.seen), (PROTOCOL, vec![1; 16], None));
    assert_eq!(hello.steps, Step::ALL);
    bench.workshop.gate.notify_one();
    stream.say(dispatch(5, 5000)).await;
    assert!(matches!(stream.next().await, Message::Accepted(accepted) if accepted.effect_id == [5; 32]));
    let Message::Outcome(report) = stream.next().await else { panic!("no outcome") };
    let outcome: Outcome = decode("outcome", &report.outcome).unwrap();
    assert_eq!(outcome.result, SectionResult::Done {});
    let judges = |bytes: &[u8], effect: u8| {
        bench.public.judges(Purpose::Outcome, &[effect; 32], bytes, &report.signature)
    };
    assert!(judges(&report.outcome, 5), "the outcome is signed as it was sent");
    assert!(!judges(&report.outcome, 6) && !judges(b"{}", 5), "for this effect, over these bytes");
    // Asked again it is told again, signed again, over the same bytes.
    stream.say(ask(5)).await;
    let Message::Answer(answer) = stream.next().await else { panic!("no answer") };
    assert_eq!(answer.outcome, report.outcome);
    assert!(bench.public.judges(Purpose::Outcome, &[5; 32], &answer.outcome, &answer.signature));
    assert!(bench.remote.client(PATIENCE).await.is_ok(), "actions have the connection");
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_the_section_at_work_and_the_next_one_asks() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    stream.say(dispatch(5, 5000)).await;
    assert!(matches!(stream.next().await, Message::Accepted(_)));
    timeout(PATIENCE, bench.workshop.begun.notified()).await.unwrap();
    drop(stream);

    let mut stream = bench.stream().await;
    let hello = stream.welcome(1).await;
    assert_eq!(hello.journal_length, 2, "the fence and the acceptance");
    assert_eq!(hello.seen, Some(fence(1)));
    stream.say(ask(5)).await;
    assert_eq!(answer(&mut stream).await, (agent::answer::State::Accepted, None));
    stream.say(ask(6)).await;
    assert_eq!(answer(&mut stream).await, (agent::answer::State::Unknown, None));
    bench.workshop.gate.notify_one();
    assert!(matches!(stream.next().await, Message::Outcome(_)), "the present stream is told");
    stream.say(ask(5)).await;
    let (state, outcome) = answer(&mut stream).await;
    assert_eq!((state, outcome.unwrap().result), (agent::answer::State::Ended, SectionResult::Done {}));
    stream.say(Order::Forget(agent::Forget { effect_ids: vec![vec![5; 32]] })).await;
    stream.say(ask(5)).await;
    assert_eq!(answer(&mut stream).await.0, agent::answer::State::Unknown);
    assert_eq!(*bench.workshop.done.lock().unwrap(), 1);
}

#[tokio::test]
async fn what_waits_behind_another_section_lapses_and_is_never_begun() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    stream.say(dispatch(5, 5000)).await;
    assert!(matches!(stream.next().await, Message::Accepted(_)));
    stream.say(dispatch(6, 30)).await;
    assert!(matches!(stream.next().await, Message::Declined(declined) if declined.lapsed));
    stream.say(ask(6)).await;
    assert_eq!(answer(&mut stream).await.0, agent::answer::State::Unknown);
}

#[tokio::test]
async fn more_sections_than_may_wait_are_declined_at_once() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    for number in 1..=9 {
        stream.say(dispatch(number, 5000)).await;
    }
    let both = [stream.next().await, stream.next().await];
    assert!(both.iter().any(|said| matches!(said, Message::Accepted(_))), "{both:?}");
    let declined =
        |said: &Message| matches!(said, Message::Declined(it) if it.effect_id == [9; 32] && !it.lapsed);
    assert!(both.iter().any(declined), "{both:?}");
}

#[tokio::test]
async fn looks_are_bounded_in_number_and_time_and_refuse_what_they_do_not_know() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    let look = |request, probe: &str, deadline_ms| {
        Order::Observe(agent::Observe { request, probe: probe.as_bytes().to_vec(), deadline_ms })
    };
    let observed = |message| match message {
        Message::Observed(result) => result,
        other => panic!("not a look's result: {other:?}"),
    };
    stream.say(look(1, r#"{"host":{}}"#, 1000)).await;
    let seen = observed(stream.next().await);
    let view: Observation = decode("observation", &seen.observation).unwrap();
    assert!(seen.request == 1 && matches!(view, Observation::Host(_)));
    stream.say(look(2, r#"{"host":{"shell":"id"}}"#, 1000)).await;
    assert!(observed(stream.next().await).error.contains("shell"));
    stream.say(look(3, r#"{"etcd":{}}"#, 20)).await;
    assert!(observed(stream.next().await).error.contains("20ms"));
    stream.say(look(4, r#"{"packages":{}}"#, 1000)).await;
    let seen = observed(stream.next().await);
    assert_eq!((seen.error.as_str(), seen.next), ("nothing to be seen", vec!["look yourself".to_owned()]));
    for request in 0..9 {
        stream.say(look(request, r#"{"etcd":{}}"#, 60_000)).await;
    }
    let refused = observed(stream.next().await);
    assert!(refused.request == 8 && refused.error.contains('8'), "{refused:?}");
}

fn head(seq: u64, hash: u8) -> Head {
    Head { fleet: FLEET, epoch: Epoch(1), seq, hash: Sha256([hash; 32]) }
}

impl Bench {
    /// What the agent says that it keeps of the record, its signature judged.
    async fn kept(&self, stream: &mut Stream) -> HeadStatement {
        let nonce = Sha256([9; 32]);
        let probe = encode(&Probe::Record { nonce });
        stream.say(Order::Observe(agent::Observe { request: 1, probe, deadline_ms: 5000 })).await;
        let Message::Observed(result) = stream.next().await else { panic!("no observation") };
        let seen: Observation = decode("observation", &result.observation).unwrap();
        let Observation::Record(view) = seen else { panic!("{seen:?}") };
        let (statement, signature) = (view.statement.as_bytes(), view.signature.as_bytes());
        assert!(self.public.judges(Purpose::Heads, &nonce.0, statement, signature));
        assert!(!self.public.judges(Purpose::Heads, &[0; 32], statement, signature), "for this nonce only");
        assert!(!self.public.judges(Purpose::Outcome, &nonce.0, statement, signature), "and no outcome");
        let said: HeadStatement = decode("statement", statement).unwrap();
        assert_eq!(said.nonce, nonce);
        said
    }
}

#[tokio::test]
async fn the_latest_head_is_kept_and_one_that_goes_back_or_forks_is_refused_and_both_are_told() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    assert_eq!(stream.welcome(1).await.head, None);
    assert_eq!(bench.kept(&mut stream).await.head, None);
    bench.workshop.gate.notify_one();
    stream.say_at(head(4, 4), dispatch(5, 5000)).await;
    assert!(matches!(stream.next().await, Message::Accepted(_)));
    assert!(matches!(stream.next().await, Message::Outcome(_)));
    stream.say_at(head(7, 7), Order::Alive(agent::Alive {})).await;
    assert_eq!(bench.kept(&mut stream).await.head, Some(head(7, 7)));

    // Back, another one of the same number, and back once more: the first tells where it began.
    stream.say_at(head(6, 6), Order::Alive(agent::Alive {})).await;
    stream.say_at(head(7, 8), Order::Alive(agent::Alive {})).await;
    let said = bench.kept(&mut stream).await;
    assert_eq!(said.head, Some(head(7, 7)), "what was kept is kept");
    assert_eq!(said.conflicts.len(), 1);
    assert_eq!((said.conflicts[0].kept, said.conflicts[0].told), (head(7, 7), head(6, 6)));
    assert!(said.conflicts[0].text().contains("goes back"), "{}", said.conflicts[0].text());
    stream.say_at(head(9, 9), Order::Alive(agent::Alive {})).await;
    stream.say_at(head(9, 1), Order::Alive(agent::Alive {})).await;
    let said = bench.kept(&mut stream).await;
    assert_eq!((said.head, said.conflicts.len()), (Some(head(9, 9)), 2));
    assert!(said.conflicts[1].text().contains("another record"), "{}", said.conflicts[1].text());

    // It goes on working, and the next Hello says it unasked.
    bench.workshop.gate.notify_one();
    stream.say(dispatch(6, 5000)).await;
    assert!(matches!(stream.next().await, Message::Accepted(_)));
    assert!(matches!(stream.next().await, Message::Outcome(_)));
    drop(stream);
    let hello = bench.stream().await.welcome(1).await;
    assert_eq!(hello.head, Some(head(9, 9).into()));
    assert_eq!(hello.conflict.and_then(|conflict| conflict.told), Some(head(9, 1).into()));
}

#[tokio::test]
async fn an_older_coordinator_is_not_obeyed_and_both_are_named() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(7).await;
    bench.status_says("epoch 7").await;
    drop(stream);
    let mut stream = bench.stream().await;
    stream.welcome(6).await;
    stream.ends().await;
    bench.status_says("epoch 6").await;
    assert!(bench.status.borrow().contains("epoch 7"), "{:?}", bench.status);
    bench.stream().await.welcome(8).await;
    bench.status_says("connected").await;
}

#[tokio::test]
async fn another_protocol_is_refused_naming_both_and_tried_again() {
    let mut bench = Bench::new().await;
    for (protocol, who) in [(PROTOCOL + 1, "upgrade the agent"), (0, "upgrade the coordinator")] {
        let mut stream = bench.stream().await;
        stream.hello().await;
        stream.say(welcome(1, protocol)).await;
        stream.ends().await;
        bench.status_says(who).await;
        let said = bench.status.borrow().clone();
        assert!(said.contains(&format!("protocol {PROTOCOL}")) && said.contains("9.9.9"), "{said}");
    }
    let stream = bench.stream().await;
    stream.to.send(Err(Status::failed_precondition("agents of protocol 1 are too old"))).await.unwrap();
    bench.status_says("too old").await;
    bench.stream().await.welcome(1).await;
    bench.status_says("connected").await;
}

#[tokio::test]
async fn told_to_go_away_the_agent_comes_back_after_the_time_it_was_given() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    let began = Instant::now();
    stream.say(Order::GoAway(agent::GoAway { why: "stopping".into(), retry_after_ms: 120 })).await;
    stream.ends().await;
    bench.stream().await;
    assert!(began.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_malformed_message_ends_the_stream_and_begins_nothing() {
    let mut bench = Bench::new().await;
    let Order::Dispatch(good) = dispatch(5, 5000) else { panic!() };
    let short = agent::Dispatch { effect_id: vec![5; 31], ..good.clone() };
    let unfenced = agent::Dispatch { fence: None, ..good };
    let many = agent::Forget { effect_ids: vec![vec![5; 32]; 1025] };
    for order in
        [Order::Dispatch(short), Order::Dispatch(unfenced), Order::Forget(many), welcome(1, PROTOCOL)]
    {
        let mut stream = bench.stream().await;
        stream.welcome(1).await;
        stream.say(order).await;
        stream.ends().await;
    }
    assert_eq!(*bench.workshop.done.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_coordinator_that_says_nothing_is_given_up_and_one_that_lives_is_kept() {
    let pace =
        Pace { alive: Duration::from_millis(20), silence: Duration::from_millis(150), ..Pace::default() };
    let mut bench = Bench::at(pace).await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) {
        // What the agent says itself paces this loop: its Alive comes every 20 ms.
        let said = timeout(PATIENCE, stream.from.message()).await.unwrap().unwrap();
        assert!(matches!(said.unwrap().message, Some(Message::Alive(_))));
        stream.say(Order::Alive(agent::Alive {})).await;
    }
    stream.ends().await;
    bench.status_says("said nothing").await;
}

#[tokio::test]
async fn a_journal_that_fails_ends_the_link() {
    let mut bench = Bench::new().await;
    let mut stream = bench.stream().await;
    stream.welcome(1).await;
    bench.status_says("connected").await;
    bench.disk.fail(bench.disk.operations(), crate::journal::memory::Fault::Io);
    stream.say(dispatch(5, 5000)).await;
    let error = timeout(PATIENCE, bench.link).await.unwrap().unwrap();
    assert!(error.stops_the_agent(), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up_and_memory_stays_bounded() {
    let (queue, mut outgoing) = mpsc::channel(4);
    let line = outbox::Line::new(queue);
    let accepted = || Message::Accepted(agent::Accepted { effect_id: vec![0; 32] });
    for _ in 0..3 {
        line.send(accepted());
    }
    line.send(Message::Progress(agent::Progress::default()));
    line.send(accepted());
    line.send(accepted());
    timeout(PATIENCE, line.overflowed()).await.expect("the fifth found no room");
    let mut kept = 0;
    while let Ok(message) = outgoing.try_recv() {
        assert!(matches!(message.message, Some(Message::Accepted(_))), "progress gave way");
        kept += 1;
    }
    assert_eq!(kept, 4);
}

#[test]
fn waits_grow_to_their_limit_and_differ_between_agents() {
    assert_ne!(random(), random());
    for _ in 0..100 {
        let wait = jittered(Duration::from_secs(4));
        assert!(wait >= Duration::from_secs(4) && wait <= Duration::from_secs(5));
    }
}
