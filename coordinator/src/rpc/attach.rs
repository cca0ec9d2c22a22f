//! One agent's stream: Hello, then whatever either side has to say, until it breaks.

use std::{sync::Arc, time::Duration};

use drydock_core::{run::JournalRef, standing::Machine};
use drydock_proto::{
    PROTOCOL,
    agent::{self, FromAgent, from_agent},
    edge, limits,
    tls::PublicKey,
};
use drydock_types::{EffectId, Fence, NodeName, document, probe::HostFacts};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::{App, anchors::Anchors};
use crate::{
    driver::{Admission, Agent, Caller, HeldEffect, Input, shell::DriverGone},
    fencing::Report,
    heard::{self, Speaker},
    link::{Seat, Sent},
    trust::NodePeer,
};

/// How long a new stream may take to say Hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How often each side says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long a stream may be silent before it is taken for dead.
const SILENCE: Duration = Duration::from_secs(45);

/// A start id is 16 random bytes.
const MAX_START_ID_BYTES: usize = 32;
/// How long somebody who looks like a second machine is waited for to go away.
const STILL_THERE: Duration = Duration::from_millis(500);

/// How long agents are told to stay away from a coordinator that is fenced.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

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
    address: String,
) -> Result<Seat, Status> {
    if !app.quotas.stream(peer.key) {
        return Err(Status::resource_exhausted("this node opens streams faster than it may"));
    }
    let first = timeout(HELLO_DEADLINE, stream.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("Hello did not come in time"))??;
    let Some(from_agent::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message of a stream is Hello"));
    };
    let (said, held) = obedience(&hello)?;
    let start = hello.start_id.clone();
    if start.len() > MAX_START_ID_BYTES {
        return Err(Status::invalid_argument("the start id of Hello is longer than one is"));
    }
    let anchors = Anchors::of(&hello)?;
    let agent = checked(peer, hello)?;
    registered(app, peer).await?;
    anchors.compare(app, peer).await?;
    let machine = Machine {
        machine_id: agent.facts.machine_id.clone(),
        hostname: agent.facts.hostname.clone(),
        address,
    };
    alone(app, peer, stream, Caller { start, machine }).await?;
    obeys_us(app, peer, said, &agent, &held).await?;
    let stopping = || Status::unavailable("the coordinator is stopping");
    let seat = app
        .sessions
        .sit(peer.name.clone(), peer.key, peer.certificate.clone(), queue)
        .ok_or_else(stopping)?;
    let welcome = agent::Welcome {
        fence: Some(app.sessions.fence().into()),
        fleet: app.ca.fleet().to_string(),
        coordinator_version: env!("CARGO_PKG_VERSION").to_string(),
        protocol: PROTOCOL,
    };
    if !app.sessions.welcome(&seat, welcome) {
        return Err(Status::unavailable("the stream takes nothing"));
    }
    if app.fencing.is_fenced() {
        // Heard of by another agent while this one was sitting down.
        return Err(Status::unavailable(app.fencing.notice()));
    }
    let effects = Input::Held { node: peer.name.clone(), effects: held };
    app.driver.tell_surely(effects).await.map_err(super::gone)?;
    let agent = Box::new(Agent { session: seat.id, ..agent });
    let connected = Input::Connected { node: peer.name.clone(), agent };
    app.driver.tell_surely(connected).await.map_err(super::gone)?;
    Ok(seat)
}

/// One identity is one machine: of two that hold it neither is listened to.
async fn alone(
    app: &Arc<App>,
    peer: &NodePeer,
    stream: &mut Streaming<FromAgent>,
    caller: Caller,
) -> Result<(), Status> {
    let mut is_there = false;
    loop {
        let (node, key, caller) = (peer.name.clone(), peer.key, caller.clone());
        let admitted = app
            .driver
            .with(move |driver, now| (driver.admit(&node, key, &caller, is_there, now), Vec::new()));
        match admitted.await.map_err(super::gone)?.map_err(|error| super::store_failed(&error))? {
            Admission::Welcome => return Ok(()),
            Admission::Refused(why) => {
                app.sessions.drop_because(peer.key, &why);
                tracing::warn!(target: "drydock::refused", node = %peer.name, %why, "a stream was refused");
                return Err(Status::aborted(why));
            }
            // An agent says nothing between Hello and its answer; one that has ended has closed its end.
            Admission::Suspect => match timeout(STILL_THERE, stream.message()).await {
                Err(_) => is_there = true,
                Ok(_) => return Err(Status::unavailable("the stream ended before it was answered")),
            },
        }
    }
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

/// What Hello says of whom the agent obeys, and what its journal holds.
fn obedience(hello: &agent::Hello) -> Result<(Said, Vec<HeldEffect>), Status> {
    let bad = |error: edge::BadField| Status::invalid_argument(error.to_string());
    if hello.held.len() > limits::MAX_HELLO_ENTRIES {
        return Err(Status::invalid_argument("Hello lists more than is allowed"));
    }
    let seen = hello.seen.as_ref().map(Fence::try_from).transpose().map_err(bad)?;
    let held = hello.held.iter().map(|held| {
        let effect = edge::effect_id(&held.effect_id).map_err(bad)?;
        Ok(HeldEffect { effect, ended: held.ended, what: heard::word(&held.what) })
    });
    let heard_ago = hello.heard_ms.map(Duration::from_millis);
    Ok((Said { seen, heard_ago }, held.collect::<Result<_, Status>>()?))
}

/// Whom an agent obeys, in its own words.
struct Said {
    seen: Option<Fence>,
    heard_ago: Option<Duration>,
}

/// Each start of a coordinator raises the epoch by one. An agent that says one far beyond would, by its word
/// alone, leave no epoch to take over with.
const fn is_believable(ours: u64, said: u64) -> bool {
    said.saturating_sub(ours) <= 1_000_000
}

/// An agent that obeys somebody else is not served, and from then on nobody is: two coordinators must not both
/// work. Asked again soon, so that what it says stays fresh; a person decides on it.
async fn obeys_us(
    app: &Arc<App>,
    peer: &NodePeer,
    said: Said,
    agent: &Agent,
    held: &[HeldEffect],
) -> Result<(), Status> {
    let ours = app.sessions.fence();
    if let Some(seen) = said.seen.filter(|seen| !ours.is_obeyed_after(Some(seen))) {
        if !is_believable(ours.epoch.0, seen.epoch.0) {
            tracing::error!(target: "drydock::refused", node = %peer.name, epoch = seen.epoch.0, "an agent says an epoch that no coordinator has reached: refused");
            return Err(Status::permission_denied(format!(
                "{} says that it obeyed epoch {}, which no coordinator of this fleet can have reached: see who is on that machine",
                peer.name, seen.epoch.0
            )));
        }
        let report = Report {
            key: peer.key,
            obeys: seen,
            heard_ago: said.heard_ago,
            journal: agent.journal,
            held: held.to_vec(),
        };
        let news = app.fencing.heard(&peer.name, report);
        app.driver.tell_surely(Input::Fenced { by: seen }).await.map_err(super::gone)?;
        let why = app.fencing.notice();
        if news {
            tracing::error!(target: "drydock::refused", node = %peer.name, epoch = seen.epoch.0, instance = %seen.instance, %why, "an agent obeys another coordinator");
            app.sessions.clear(&why, COME_BACK_AFTER);
        }
    }
    match app.fencing.is_fenced() {
        true => Err(Status::unavailable(app.fencing.notice())),
        false => Ok(()),
    }
}

fn checked(peer: &NodePeer, hello: agent::Hello) -> Result<Agent, Status> {
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
    let why = match PublicKey::of(&peer.certificate.0) {
        Ok(key) => pump(&app, &peer, &key, &mut seat, &mut stream).await,
        Err(why) => format!("nothing that it says could be believed: {why}"),
    };
    let why = heard::text(&why);
    tracing::info!(node = %peer.name, %why, "an agent's stream ended");
    let session = seat.id;
    drop(seat);
    // Never lost, however much waits: a node that is not there would count as in service (rule 1).
    let _ = app.driver.tell_surely(Input::Disconnected { node: peer.name.clone(), session }).await;
}

async fn pump(
    app: &App,
    peer: &NodePeer,
    key: &PublicKey,
    seat: &mut Seat,
    stream: &mut Streaming<FromAgent>,
) -> String {
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
                    match take(app, peer, key, seat, message) {
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
    if matches!(input, Input::Progress { .. }) {
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
    key: &PublicKey,
    seat: &Seat,
    message: from_agent::Message,
) -> Result<Option<Input>, String> {
    let bad = |error: edge::BadField| error.to_string();
    let node = peer.name.clone();
    let ended = |effect, outcome: &[u8], signature: &[u8]| {
        let certificate = &peer.certificate.0;
        let speaker = Speaker { fleet: app.ca.fleet(), key, certificate };
        ended(speaker, &peer.name, seat.id, effect, outcome, signature)
    };
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
            ended(effect, &report.outcome, &report.signature)?
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
                agent::answer::State::Ended => ended(effect, &answer.outcome, &answer.signature)?,
                agent::answer::State::Unspecified => return Err("it answered without a state".to_string()),
            }
        }
    };
    Ok(Some(input))
}

/// The signature first, over the exact bytes; bounded is what is left for the run's state.
fn ended(
    speaker: Speaker<'_>,
    node: &NodeName,
    session: u64,
    effect: EffectId,
    bytes: &[u8],
    signature: &[u8],
) -> Result<Input, String> {
    let node = node.clone();
    Ok(match heard::signed_outcome(speaker, effect, bytes, signature)? {
        Ok((outcome, signed)) => {
            let outcome = Box::new(heard::outcome(outcome));
            Input::Outcome { node, outcome, signed: Box::new(signed) }
        }
        Err(why) => Input::OutcomeRefused { node, session, effect, why: why.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::is_believable;

    #[test]
    fn an_epoch_that_leaves_none_above_it_is_not_believed() {
        assert!(is_believable(3, 4) && is_believable(3, 3) && is_believable(3, 900_000));
        assert!(!is_believable(3, u64::MAX) && !is_believable(3, 2_000_000));
    }
}
