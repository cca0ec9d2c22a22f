//! One agent's stream: Hello, then whatever either side has to say, until it breaks.

use std::{sync::Arc, time::Duration};

use drydock_core::run::JournalRef;
use drydock_proto::{
    PROTOCOL,
    agent::{self, FromAgent, from_agent, to_agent},
    edge, limits,
};
use drydock_types::{Fence, Outcome, document, probe::HostFacts};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::App;
use crate::{
    driver::{Agent, Input, shell::DriverGone},
    heard,
    link::{Seat, Sent},
    trust::NodePeer,
};

/// How long a new stream may take to say Hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How often each side says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long a stream may be silent before it is taken for dead.
const SILENCE: Duration = Duration::from_secs(45);

const GONE: &str = "it gave its place up to another, or took nothing that it was sent";

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
    if !app.quotas.stream(peer.key) {
        return Err(Status::resource_exhausted("this node opens streams faster than it may"));
    }
    let first = timeout(HELLO_DEADLINE, stream.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("Hello did not come in time"))??;
    let Some(from_agent::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message of a stream is Hello"));
    };
    let agent = checked(app, peer, hello)?;
    registered(app, peer).await?;
    let stopping = || Status::unavailable("the coordinator is stopping");
    let seat = app.sessions.sit(peer.name.clone(), peer.key, queue.clone()).ok_or_else(stopping)?;
    let welcome = agent::Welcome {
        fence: Some(app.sessions.fence().into()),
        fleet: app.ca.fleet().to_string(),
        coordinator_version: env!("CARGO_PKG_VERSION").to_string(),
        protocol: PROTOCOL,
    };
    let welcome = agent::ToAgent { message: Some(to_agent::Message::Welcome(welcome)) };
    queue.try_send(Ok(welcome)).map_err(|_| Status::unavailable("the stream takes nothing"))?;
    let agent = Box::new(Agent { session: seat.id, ..agent });
    let connected = Input::Connected { node: peer.name.clone(), agent };
    app.driver.tell_surely(connected).await.map_err(super::gone)?;
    Ok(seat)
}

/// A certificate of our own authority over a name does not make its holder the machine that is registered
/// under it: the seat, and with it the stream of the real one, is not given away.
async fn registered(app: &Arc<App>, peer: &NodePeer) -> Result<(), Status> {
    let key = peer.key;
    let row = app.blocking(move |app| app.registry.node_by_key(key)).await?;
    if row.is_some_and(|row| row.name == peer.name) {
        return Ok(());
    }
    tracing::warn!(target: "drydock::refused", node = %peer.name, key = %key.short(), "a stream of a machine that is not registered was refused");
    Err(Status::permission_denied(format!(
        "this machine's key is not the one registered for {name}; enrol it with a new token: drydock token create {name}",
        name = peer.name
    )))
}

fn checked(app: &App, peer: &NodePeer, hello: agent::Hello) -> Result<Agent, Status> {
    if hello.protocol != PROTOCOL {
        return Err(Status::failed_precondition(format!(
            "agent {} speaks protocol {}, coordinator {} speaks {PROTOCOL}: bring the older one up to the other",
            heard::word(&hello.agent_version),
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
    let facts: Result<HostFacts, _> = document::decode("host facts", &hello.host_facts);
    Ok(Agent {
        session: 0,
        key: peer.key,
        version: heard::word(&hello.agent_version),
        journal: JournalRef {
            id: edge::journal_id(&hello.journal_id).map_err(bad)?,
            length: hello.journal_length,
        },
        steps: hello.steps.iter().map(|step| heard::word(step)).collect(),
        requirements: hello.requirements.iter().map(|requirement| heard::word(requirement)).collect(),
        facts: facts
            .map(|facts| heard::facts(&facts))
            .map_err(|error| Status::invalid_argument(heard::text(&error.to_string())))?,
    })
}

/// Reads the stream until it ends, and says so to the driver.
pub(super) async fn read(app: Arc<App>, peer: NodePeer, seat: Seat, mut stream: Streaming<FromAgent>) {
    let mut seat = seat;
    let why = heard::text(&pump(&app, &peer, &mut seat, &mut stream).await);
    tracing::info!(node = %peer.name, %why, "an agent's stream ended");
    let session = seat.id;
    drop(seat);
    // Never lost, however much waits: a node that is not there would count as in service (rule 1).
    let _ = app.driver.tell_surely(Input::Disconnected { node: peer.name.clone(), session }).await;
}

async fn pump(app: &App, peer: &NodePeer, seat: &mut Seat, stream: &mut Streaming<FromAgent>) -> String {
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            // What it still says is of the past, and nothing reaches it: its next stream begins with Hello.
            _ = &mut seat.gone => return GONE.to_string(),
            _ = alive.tick() => {
                if last.elapsed() > SILENCE {
                    return format!("it was silent for {} s", SILENCE.as_secs());
                }
                app.sessions.alive(&peer.name, seat.id);
            }
            message = stream.message() => match message {
                Ok(Some(FromAgent { message: Some(message) })) => {
                    last = tokio::time::Instant::now();
                    if !app.quotas.message(peer.key, message.encoded_len()) {
                        return "it sends more than an agent may".to_string();
                    }
                    match take(app, peer, seat, message) {
                        Ok(None) => {}
                        Ok(Some(input)) => if let Err(why) = tell(app, seat, input).await {
                            return why;
                        },
                        Err(why) => return why,
                    }
                }
                Ok(Some(FromAgent { message: None })) => return "it sent a message that this build does not know".to_string(),
                Ok(None) => return "its agent closed it".to_string(),
                Err(status) => return status.message().to_string(),
            },
        }
    }
}

/// Hands an input on. A driver that has no room keeps the agent from being read: what it sends waits at its
/// end, and nothing of it is lost.
async fn tell(app: &App, seat: &mut Seat, input: Input) -> Result<(), String> {
    if matches!(input, Input::Accepted { .. } | Input::Progress { .. }) {
        // Only shown, and nothing depends on it: not worth a wait.
        return match app.driver.tell(input) {
            Err(gone @ DriverGone::Stopped) => Err(gone.to_string()),
            Ok(()) | Err(DriverGone::Busy) => Ok(()),
        };
    }
    tokio::select! {
        biased;
        _ = &mut seat.gone => Err(GONE.to_string()),
        told = app.driver.tell_surely(input) => told.map_err(|error| error.to_string()),
    }
}

/// A message, checked: what the driver is to be told of it. An error ends the stream.
fn take(
    app: &App,
    peer: &NodePeer,
    seat: &Seat,
    message: from_agent::Message,
) -> Result<Option<Input>, String> {
    let bad = |error: edge::BadField| error.to_string();
    let node = peer.name.clone();
    let input = match message {
        from_agent::Message::Hello(_) => return Err("it said Hello twice".to_string()),
        from_agent::Message::Alive(_) => return Ok(None),
        from_agent::Message::Observed(result) => {
            app.sessions.observed(&node, seat.id, result);
            return Ok(None);
        }
        from_agent::Message::Accepted(accepted) => {
            Input::Accepted { node, effect: edge::effect_id(&accepted.effect_id).map_err(bad)? }
        }
        from_agent::Message::Declined(declined) => Input::Declined {
            node,
            effect: edge::effect_id(&declined.effect_id).map_err(bad)?,
            why: heard::text(&declined.why),
            lapsed: declined.lapsed,
        },
        from_agent::Message::Progress(progress) => Input::Progress {
            node,
            effect: edge::effect_id(&progress.effect_id).map_err(bad)?,
            step: heard::word(&progress.step),
            progress: (progress.total > 0).then_some((progress.done, progress.total)),
        },
        from_agent::Message::Outcome(report) => {
            let effect = edge::effect_id(&report.effect_id).map_err(bad)?;
            Input::Outcome { node, outcome: outcome(effect, &report.outcome)? }
        }
        from_agent::Message::Answer(answer) => {
            let effect = edge::effect_id(&answer.effect_id).map_err(bad)?;
            let of_now = app.sessions.answered(&node, seat.id, effect);
            match answer.state() {
                agent::answer::State::Unknown if !of_now => {
                    tracing::debug!(%node, effect = %effect.short(), "an answer from before it was handed out");
                    return Ok(None);
                }
                agent::answer::State::Unknown => Input::NotKnown { node, effect },
                agent::answer::State::Accepted => Input::Accepted { node, effect },
                agent::answer::State::Ended => {
                    Input::Outcome { node, outcome: outcome(effect, &answer.outcome)? }
                }
                agent::answer::State::Unspecified => return Err("it answered without a state".to_string()),
            }
        }
    };
    Ok(Some(input))
}

fn outcome(effect: drydock_types::EffectId, bytes: &[u8]) -> Result<Box<Outcome>, String> {
    let outcome: Outcome = document::decode("outcome", bytes).map_err(|error| error.to_string())?;
    if outcome.effect != effect {
        return Err("it reported one effect's outcome under another's id".to_string());
    }
    Ok(Box::new(heard::outcome(outcome)))
}
