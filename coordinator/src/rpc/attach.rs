//! One agent's stream: Hello, then whatever either side has to say, until it breaks.

use std::{sync::Arc, time::Duration};

use drydock_core::run::JournalRef;
use drydock_proto::{
    PROTOCOL,
    agent::{self, FromAgent, from_agent, to_agent},
    edge, limits,
};
use drydock_types::{Fence, Outcome, document};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::App;
use crate::{
    driver::{Agent, Input},
    link::{Seat, Sent},
    trust::NodePeer,
};

/// How long a new stream may take to say Hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How often each side says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long a stream may be silent before it is taken for dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Messages that an agent may send in one second, on average; a burst of so many is fine.
const MESSAGES_PER_SECOND: u32 = 500;

/// Reads Hello and takes the node's seat.
///
/// # Errors
/// When Hello is late, not what it must be, of another protocol, or of an agent that obeys somebody else.
pub(super) async fn begin(
    app: &Arc<App>,
    peer: &NodePeer,
    stream: &mut Streaming<FromAgent>,
    queue: mpsc::Sender<Sent>,
) -> Result<Seat, Status> {
    let first = timeout(HELLO_DEADLINE, stream.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("Hello did not come in time"))??;
    let Some(from_agent::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message of a stream is Hello"));
    };
    let agent = checked(app, peer, hello)?;
    let seat = app.sessions.sit(peer.name.clone(), peer.key, queue.clone());
    let welcome = agent::Welcome {
        fence: Some(app.sessions.fence().into()),
        fleet: app.ca.fleet().to_string(),
        coordinator_version: env!("CARGO_PKG_VERSION").to_string(),
        protocol: PROTOCOL,
    };
    let welcome = agent::ToAgent { message: Some(to_agent::Message::Welcome(welcome)) };
    queue.try_send(Ok(welcome)).map_err(|_| Status::unavailable("the stream takes nothing"))?;
    let agent = Box::new(Agent { session: seat.id, ..agent });
    app.driver.tell(Input::Connected { node: peer.name.clone(), agent }).map_err(super::gone)?;
    Ok(seat)
}

fn checked(app: &App, peer: &NodePeer, hello: agent::Hello) -> Result<Agent, Status> {
    if hello.protocol != PROTOCOL {
        return Err(Status::failed_precondition(format!(
            "agent {} speaks protocol {}, coordinator {} speaks {PROTOCOL}: bring the older one up to the other",
            hello.agent_version,
            hello.protocol,
            env!("CARGO_PKG_VERSION"),
        )));
    }
    if hello.steps.len() > limits::MAX_HELLO_ENTRIES || hello.requirements.len() > limits::MAX_HELLO_ENTRIES {
        return Err(Status::invalid_argument("Hello lists more than is allowed"));
    }
    let bad = |error: edge::BadField| Status::invalid_argument(error.to_string());
    if let Some(seen) = &hello.seen {
        let seen = Fence::try_from(seen).map_err(bad)?;
        let ours = app.sessions.fence();
        if !ours.is_obeyed_after(Some(&seen)) {
            let why = format!(
                "{} obeys epoch {} of another coordinator, and this one has epoch {}: an older copy of the store is running here, or a second coordinator elsewhere",
                peer.name, seen.epoch.0, ours.epoch.0
            );
            tracing::error!(target: "drydock::refused", node = %peer.name, %why, "an agent obeys somebody else");
            return Err(Status::failed_precondition(why));
        }
    }
    let facts = document::decode("host facts", &hello.host_facts);
    Ok(Agent {
        session: 0,
        key: peer.key,
        version: hello.agent_version,
        journal: JournalRef {
            id: edge::journal_id(&hello.journal_id).map_err(bad)?,
            length: hello.journal_length,
        },
        steps: hello.steps.into_iter().collect(),
        requirements: hello.requirements.into_iter().collect(),
        facts: facts.map_err(|error| Status::invalid_argument(error.to_string()))?,
    })
}

/// Reads the stream until it ends, and says so to the driver.
pub(super) async fn read(app: Arc<App>, peer: NodePeer, seat: Seat, mut stream: Streaming<FromAgent>) {
    let why = pump(&app, &peer, &seat, &mut stream).await;
    tracing::info!(node = %peer.name, %why, "an agent's stream ended");
    let _ = app.driver.tell(Input::Disconnected { node: peer.name.clone(), session: seat.id });
}

async fn pump(app: &App, peer: &NodePeer, seat: &Seat, stream: &mut Streaming<FromAgent>) -> String {
    let mut quota = Quota::new();
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::select! {
            message = stream.message() => match message {
                Ok(Some(FromAgent { message: Some(message) })) => {
                    heard = tokio::time::Instant::now();
                    if !quota.take() {
                        return format!("it sent more than {MESSAGES_PER_SECOND} messages a second");
                    }
                    if let Err(why) = take(app, peer, seat, message) {
                        return why;
                    }
                }
                Ok(Some(FromAgent { message: None })) => return "it sent a message that this build does not know".to_string(),
                Ok(None) => return "its agent closed it".to_string(),
                Err(status) => return status.message().to_string(),
            },
            _ = alive.tick() => {
                if heard.elapsed() > SILENCE {
                    return format!("it was silent for {} s", SILENCE.as_secs());
                }
                app.sessions.alive(&peer.name);
            }
        }
    }
}

/// A message, checked and handed on. An error ends the stream.
fn take(app: &App, peer: &NodePeer, seat: &Seat, message: from_agent::Message) -> Result<(), String> {
    let bad = |error: edge::BadField| error.to_string();
    let node = peer.name.clone();
    let input = match message {
        from_agent::Message::Hello(_) => return Err("it said Hello twice".to_string()),
        from_agent::Message::Alive(_) => return Ok(()),
        from_agent::Message::Observed(result) => {
            app.sessions.observed(&node, seat.id, result);
            return Ok(());
        }
        from_agent::Message::Accepted(accepted) => {
            Input::Accepted { node, effect: edge::effect_id(&accepted.effect_id).map_err(bad)? }
        }
        from_agent::Message::Declined(declined) => Input::Declined {
            node,
            effect: edge::effect_id(&declined.effect_id).map_err(bad)?,
            why: cut(declined.why),
            lapsed: declined.lapsed,
        },
        from_agent::Message::Progress(progress) => Input::Progress {
            node,
            effect: edge::effect_id(&progress.effect_id).map_err(bad)?,
            step: cut(progress.step),
            progress: (progress.total > 0).then_some((progress.done, progress.total)),
        },
        from_agent::Message::Outcome(report) => {
            let effect = edge::effect_id(&report.effect_id).map_err(bad)?;
            Input::Outcome { node, outcome: outcome(effect, &report.outcome)? }
        }
        from_agent::Message::Answer(answer) => {
            let effect = edge::effect_id(&answer.effect_id).map_err(bad)?;
            match answer.state() {
                agent::answer::State::Unknown => Input::NotKnown { node, effect },
                agent::answer::State::Accepted => Input::Accepted { node, effect },
                agent::answer::State::Ended => {
                    Input::Outcome { node, outcome: outcome(effect, &answer.outcome)? }
                }
                agent::answer::State::Unspecified => return Err("it answered without a state".to_string()),
            }
        }
    };
    app.driver.tell(input).map_err(|error| error.to_string())
}

fn outcome(effect: drydock_types::EffectId, bytes: &[u8]) -> Result<Box<Outcome>, String> {
    let outcome: Outcome = document::decode("outcome", bytes).map_err(|error| error.to_string())?;
    if outcome.effect != effect {
        return Err("it reported one effect's outcome under another's id".to_string());
    }
    Ok(Box::new(outcome))
}

/// A peer's text, no longer than anybody reads.
fn cut(text: String) -> String {
    text.chars().take(2000).collect()
}

/// So many messages a second on average, so many at once.
struct Quota {
    left: f64,
    at: tokio::time::Instant,
}

impl Quota {
    fn new() -> Self {
        Self { left: f64::from(MESSAGES_PER_SECOND), at: tokio::time::Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let most = f64::from(MESSAGES_PER_SECOND);
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * most).min(most);
        self.at = now;
        self.left -= 1.0;
        self.left >= 0.0
    }
}
