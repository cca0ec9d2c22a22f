//! One stream, from Hello to its end.

use std::{sync::Arc, time::Duration};

use drydock_proto::{
    PROTOCOL,
    agent::{
        self, FromAgent, ToAgent, agent_service_client::AgentServiceClient, from_agent::Message,
        to_agent::Message as Order,
    },
    edge,
    limits::{LAPSE, MAX_EFFECTS_PER_MESSAGE, MAX_HELLO_ENTRIES, MAX_MESSAGE_BYTES, MAX_NEXT, STREAM_QUEUE},
};
use drydock_types::{
    EffectId, Fence, Head, Step,
    document::{decode, encode},
    probe::{Observation, Probe, RecordView},
    section::KNOWN_REQUIREMENTS,
    signed::{HeadStatement, Purpose},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    End, Link,
    outbox::{Line, bytes, signed},
};
use crate::{
    actions::Problem,
    executor::Dispatch,
    executor::NotObeyed,
    journal::{Heads, JournalError, Stored},
};

/// Looks at once.
const LOOKS: usize = 8;
/// Dispatches at once: one at work, the others waiting for their turn or their lapse.
const DISPATCHES: usize = 8;
/// The longest look.
const LONGEST_LOOK: Duration = Duration::from_secs(120);

/// What lives as long as one stream.
pub(super) struct Session<'a> {
    link: &'a Link,
    channel: Channel,
    fatal: mpsc::Sender<JournalError>,
    line: Line,
    outgoing: Option<mpsc::Receiver<FromAgent>>,
    /// Dropped with the stream: what was not begun lapses.
    stream: watch::Sender<()>,
    looks: JoinSet<()>,
    dispatches: Arc<Semaphore>,
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a Link, channel: Channel, fatal: mpsc::Sender<JournalError>) -> Self {
        let (queue, outgoing) = mpsc::channel(STREAM_QUEUE);
        Self {
            link,
            channel,
            fatal,
            line: Line::new(queue),
            outgoing: Some(outgoing),
            stream: watch::channel(()).0,
            looks: JoinSet::new(),
            dispatches: Arc::new(Semaphore::new(DISPATCHES)),
        }
    }

    pub(super) async fn run(mut self) -> End {
        match self.talk().await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, End> {
        let exchange = self.link.pace.exchange;
        let late = |what: &str| End::Broken(format!("the coordinator did not {what} within {exchange:?}"));
        self.line.send(Message::Hello(self.hello().await));
        let mut orders = match timeout(exchange, self.open()).await {
            Ok(opened) => opened.map_err(|status| self.ended(&status))?,
            Err(_) => return Err(late("take the stream")),
        };
        match timeout(exchange, orders.message()).await {
            Ok(first) => self.welcome(first).await?,
            Err(_) => return Err(late("answer Hello")),
        }
        self.link.outbox.attach(Some(self.line.clone()));
        self.link.remote.publish(Some(self.channel.clone()));
        self.link.remote.hear();
        self.listen(&mut orders).await
    }

    async fn open(&mut self) -> Result<Streaming<ToAgent>, Status> {
        let outgoing = self.outgoing.take().ok_or_else(|| Status::internal("a stream is opened once"))?;
        let mut client = AgentServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(client.attach(ReceiverStream::new(outgoing)).await?.into_inner())
    }

    async fn hello(&self) -> agent::Hello {
        let (memory, facts) = (self.link.executor.memory().await, self.link.eyes.facts());
        let heads = self.link.executor.heads().await;
        let held = self.link.executor.held(MAX_HELLO_ENTRIES).await.unwrap_or_else(|error| {
            // Whoever asks about one of them meets the same error, and the agent stops there.
            tracing::error!(%error, "what the journal holds could not be read");
            Vec::new()
        });
        agent::Hello {
            protocol: PROTOCOL,
            agent_version: crate::VERSION.into(),
            boot_id: facts.boot_id.clone(),
            machine_id: facts.machine_id.clone(),
            journal_id: memory.journal.0.to_vec(),
            journal_length: memory.length,
            steps: Step::ALL.map(String::from).to_vec(),
            requirements: KNOWN_REQUIREMENTS.map(String::from).to_vec(),
            host_facts: encode(&facts),
            seen: memory.seen.map(agent::Fence::from),
            head: heads.head.map(agent::Head::from),
            conflict: heads.conflicts.last().map(|conflict| (*conflict).into()),
            heard_ms: self.link.heard.ago_ms(),
            held: held.into_iter().map(said_of).collect(),
            start_id: self.link.start_id.clone(),
        }
    }

    /// Protocol first, then whether this coordinator is to be obeyed, and only then what its record is.
    async fn welcome(&self, first: Result<Option<ToAgent>, Status>) -> Result<(), End> {
        let first = first.map_err(|status| self.ended(&status))?.unwrap_or_default();
        let head = first.head;
        let welcome = match first.message {
            Some(Order::Welcome(welcome)) => welcome,
            Some(Order::GoAway(away)) => return Err(away_end(away)),
            Some(_) | None => {
                return Err(End::Broken("the coordinator's first message is no Welcome".into()));
            }
        };
        if welcome.protocol != PROTOCOL {
            let (ours, theirs) = (crate::VERSION, shown(&welcome.coordinator_version));
            let older = if welcome.protocol < PROTOCOL { "coordinator" } else { "agent" };
            return Err(End::Mismatch(format!(
                "this agent ({ours}) speaks protocol {PROTOCOL}, the coordinator ({theirs}) protocol {}; \
                 upgrade the {older}",
                welcome.protocol
            )));
        }
        let fence = welcome.fence.as_ref().ok_or_else(|| End::Broken("Welcome holds no fence".into()))?;
        let fence = Fence::try_from(fence).map_err(|error| End::Broken(error.to_string()))?;
        match self.link.executor.obey(fence).await {
            Ok(()) => {}
            Err(NotObeyed::Journal(error)) if error.stops_the_agent() => return Err(End::Fatal(error)),
            Err(refusal) => return Err(End::Broken(refusal.to_string())),
        }
        self.link.heard.now();
        self.hear_head(head).await?;
        let (version, epoch) = (shown(&welcome.coordinator_version), fence.epoch.0);
        self.link.say(format!("connected to coordinator {version}, epoch {epoch}"), false);
        Ok(())
    }

    /// Until the stream ends.
    async fn listen(&mut self, orders: &mut Streaming<ToAgent>) -> Result<std::convert::Infallible, End> {
        let pace = self.link.pace;
        let mut alive = interval_at(Instant::now() + pace.alive, pace.alive);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal = interval_at(Instant::now() + pace.renewal, pace.renewal);
        let mut silent_at = Instant::now() + pace.silence;
        loop {
            tokio::select! {
                order = orders.message() => {
                    silent_at = Instant::now() + pace.silence;
                    // The end of a stream is no word of the coordinator.
                    let order = order.map_err(|status| self.ended(&status))?.unwrap_or_default();
                    if order.message.is_some() {
                        self.link.heard.now();
                        self.link.remote.hear();
                    }
                    self.hear_head(order.head).await?;
                    match order.message {
                        Some(order) => self.obey(order).await?,
                        None => return Err(End::Broken("the coordinator closed the stream".into())),
                    }
                }
                _ = alive.tick() => self.line.send(Message::Alive(agent::Alive {})),
                _ = renewal.tick() => {
                    // The connection goes on with the old certificate until it is dialled anew.
                    self.link.renew(&self.channel).await;
                }
                () = self.line.overflowed() => {
                    return Err(End::Broken("the coordinator does not read what it is sent".into()));
                }
                () = sleep_until(silent_at) => {
                    return Err(End::Broken(format!("the coordinator said nothing for {:?}", pace.silence)));
                }
                Some(_) = self.looks.join_next(), if !self.looks.is_empty() => {}
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Dispatch(dispatch) => self.dispatch(dispatch),
            Order::Ask(ask) => self.answer(&ask.effect_ids).await,
            Order::Observe(observe) => {
                self.observe(observe);
                Ok(())
            }
            Order::Forget(forget) => {
                let effects = effects(&forget.effect_ids)?;
                self.link.executor.forget(&effects).await.map_err(End::Fatal)
            }
            Order::GoAway(away) => Err(away_end(away)),
            Order::Alive(agent::Alive {}) => self.link.executor.keep_heads().await.map_err(End::Fatal),
            Order::Welcome(_) => Err(End::Broken("the coordinator said Welcome twice".into())),
        }
    }

    /// What the record's end was when an order was sent. It is kept whatever else the order is: nothing is done
    /// or left undone because of it.
    async fn hear_head(&self, head: Option<agent::Head>) -> Result<(), End> {
        let Some(head) = head else { return Ok(()) };
        let head = Head::try_from(&head).map_err(|error| End::Broken(error.to_string()))?;
        self.link.executor.hear_head(head).await;
        Ok(())
    }

    /// Hands a section to the executor; the stream may break meanwhile.
    fn dispatch(&self, raw: agent::Dispatch) -> Result<(), End> {
        let received = Instant::now();
        let bad = |error: edge::BadField| End::Broken(format!("a Dispatch is malformed: {error}"));
        let effect = edge::effect_id(&raw.effect_id).map_err(bad)?;
        let fence = raw.fence.as_ref().ok_or_else(|| End::Broken("a Dispatch holds no fence".into()))?;
        let fence = Fence::try_from(fence).map_err(bad)?;
        let Ok(permit) = Arc::clone(&self.dispatches).try_acquire_owned() else {
            let why = format!("{DISPATCHES} sections of this stream are waiting already");
            let declined = agent::Declined { effect_id: raw.effect_id, why, lapsed: false };
            self.line.send(Message::Declined(declined));
            return Ok(());
        };
        let lapse = Duration::from_millis(raw.lapse_ms.into()).min(LAPSE);
        let stream = self.stream.subscribe();
        let dispatch = Dispatch { effect, fence, section: raw.section, received, lapse, stream };
        let (executor, fatal) = (Arc::clone(&self.link.executor), self.fatal.clone());
        tokio::spawn(async move {
            if let Err(error) = executor.take(dispatch).await {
                // Full: an earlier failure already stops the agent.
                let _ = fatal.try_send(error);
            }
            drop(permit);
        });
        Ok(())
    }

    async fn answer(&self, ids: &[Vec<u8>]) -> Result<(), End> {
        let all = async {
            for effect in effects(ids)? {
                let (state, ended) = match self.link.executor.stored(effect).await.map_err(End::Fatal)? {
                    Stored::Unknown => (agent::answer::State::Unknown, Default::default()),
                    Stored::Open { .. } => (agent::answer::State::Accepted, Default::default()),
                    Stored::Ended { outcome, .. } => {
                        (agent::answer::State::Ended, signed(&*self.link.signer, &outcome))
                    }
                };
                let (effect_id, (outcome, signature)) = (bytes(effect), ended);
                let answer = agent::Answer { effect_id, state: state.into(), outcome, signature };
                self.line.send_in_turn(Message::Answer(answer)).await;
            }
            Ok(())
        };
        let late = |_| End::Broken("the coordinator asks and does not read the answers".into());
        timeout(self.link.pace.exchange, all).await.map_err(late)?
    }

    /// Looks, beside everything else; a look that outlives the stream is given up.
    fn observe(&mut self, raw: agent::Observe) {
        let (line, request) = (self.line.clone(), raw.request);
        let say = move |result: Result<Vec<u8>, Problem>| {
            let (observation, error, next) = match result {
                Ok(observation) => (observation, String::new(), Vec::new()),
                Err(Problem { what, mut next, .. }) => {
                    next.truncate(MAX_NEXT);
                    (Vec::new(), what, next)
                }
            };
            line.send(Message::Observed(agent::ObserveResult { request, observation, error, next }));
        };
        if self.looks.len() >= LOOKS {
            let why = format!("this agent already looks at {LOOKS} things; ask again later");
            return say(Err(Problem::new(why)));
        }
        let probe = match decode::<Probe>("probe", &raw.probe) {
            Ok(probe) => probe,
            Err(error) => return say(Err(Problem::new(error.to_string()))),
        };
        let within = Duration::from_millis(raw.deadline_ms.into()).min(LONGEST_LOOK);
        if let Probe::Record { nonce } = probe {
            let (executor, signer) = (Arc::clone(&self.link.executor), Arc::clone(&self.link.signer));
            self.looks.spawn(async move {
                let Heads { head, earlier, conflicts } = executor.heads().await;
                let statement = HeadStatement { nonce, head, earlier, conflicts };
                let statement = encode(&statement);
                let signature = signer.sign(Purpose::Heads, &nonce.0, &statement);
                let statement = String::from_utf8_lossy(&statement).into_owned();
                say(match signature {
                    Some(signature) => Ok(encode(&Observation::Record(RecordView { statement, signature }))),
                    None => Err(Problem::new("what this agent keeps of the record could not be signed")),
                });
            });
            return;
        }
        let eyes = Arc::clone(&self.link.eyes);
        self.looks.spawn(async move {
            say(match timeout(within, eyes.look(&probe)).await {
                Ok(Ok(seen)) => Ok(encode(&seen)),
                Ok(Err(problem)) => Err(problem),
                Err(_) => Err(Problem::new(format!("nothing was seen within {within:?}"))),
            });
        });
    }

    /// What a stream's last word means.
    fn ended(&self, status: &Status) -> End {
        let why = self.link.dialer.explain(status).unwrap_or_else(|| shown(status.message()));
        match status.code() {
            Code::FailedPrecondition | Code::Unimplemented => End::Mismatch(format!(
                "the coordinator refuses this agent ({}, protocol {PROTOCOL}): {why}",
                crate::VERSION
            )),
            Code::PermissionDenied | Code::Unauthenticated => {
                End::Mismatch(format!("the coordinator refuses this node: {why}"))
            }
            _ => End::Broken(why),
        }
    }
}

fn said_of(held: crate::executor::Held) -> agent::Held {
    agent::Held { effect_id: bytes(held.effect), ended: held.ended, what: held.what }
}

fn away_end(away: agent::GoAway) -> End {
    End::Away {
        why: format!("the coordinator says: {}", shown(&away.why)),
        after: Duration::from_millis(away.retry_after_ms.into()),
    }
}

fn effects(ids: &[Vec<u8>]) -> Result<Vec<EffectId>, End> {
    if ids.len() > MAX_EFFECTS_PER_MESSAGE {
        return Err(End::Broken(format!("a message names {} effects; the limit is less", ids.len())));
    }
    let read = ids.iter().map(|id| edge::effect_id(id)).collect::<Result<_, _>>();
    read.map_err(|error| End::Broken(error.to_string()))
}

/// A peer's text as it may stand in a log: short, and one line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
