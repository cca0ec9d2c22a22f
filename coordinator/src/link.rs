//! The agents' streams: who is there, sending to them, and questions that wait for an answer.
//!
//! One stream a node. What arrives is checked here and handed to the driver; what the driver decides is
//! sent from here. A stream that cannot take what is sent to it is closed rather than buffered for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use drydock_proto::{
    agent::{self, ToAgent, to_agent},
    limits,
};
use drydock_types::{
    EffectId, Fence, NodeKey, NodeName, document,
    probe::{Observation, Probe},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

/// What goes down a stream; an error ends it.
pub type Sent = Result<ToAgent, Status>;

/// All open streams.
#[derive(Debug, Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fence: Fence,
    next: AtomicU64,
    by_node: Mutex<BTreeMap<NodeName, Session>>,
}

#[derive(Debug)]
struct Session {
    id: u64,
    key: NodeKey,
    queue: mpsc::Sender<Sent>,
    asked: HashMap<u64, oneshot::Sender<Result<Observation, String>>>,
}

/// An open stream's place among the others; it is given up when this is dropped.
#[derive(Debug)]
pub struct Seat {
    sessions: Sessions,
    node: NodeName,
    /// Its number; rises with every stream.
    pub id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&self.node).is_some_and(|session| session.id == self.id) {
            // Questions that wait are answered by their senders being dropped.
            sessions.remove(&self.node);
        }
    }
}

impl Sessions {
    /// No stream yet.
    #[must_use]
    pub fn new(fence: Fence) -> Self {
        Self { shared: Arc::new(Shared { fence, next: AtomicU64::new(1), by_node: Mutex::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Session>> {
        self.shared.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom agents obey.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.shared.fence
    }

    /// Takes the node's place. A stream that it had before is told to go: a node has one.
    #[must_use]
    pub fn sit(&self, node: NodeName, key: NodeKey, queue: mpsc::Sender<Sent>) -> Seat {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let session = Session { id, key, queue, asked: HashMap::new() };
        if let Some(before) = self.lock().insert(node.clone(), session) {
            let away = agent::GoAway {
                why: "another stream of this node took over".to_string(),
                retry_after_ms: 1000,
            };
            let _ = before.queue.try_send(Ok(message(to_agent::Message::GoAway(away))));
        }
        Seat { sessions: self.clone(), node, id }
    }

    fn send(&self, node: &NodeName, only: Option<u64>, what: to_agent::Message) -> bool {
        let mut sessions = self.lock();
        let Some(session) = sessions.get(node).filter(|session| only.is_none_or(|id| id == session.id))
        else {
            return false;
        };
        let sent = session.queue.try_send(Ok(message(what))).is_ok();
        if !sent {
            tracing::warn!(%node, "its stream does not take what is sent to it: closed");
            sessions.remove(node);
        }
        sent
    }

    /// Sends a section, on that stream only.
    pub fn dispatch(&self, node: &NodeName, session: u64, effect: EffectId, section: Vec<u8>) -> bool {
        let lapse_ms = u32::try_from(limits::LAPSE.as_millis()).unwrap_or(u32::MAX);
        let fence = Some(self.shared.fence.into());
        let dispatch = agent::Dispatch { effect_id: effect.0.to_vec(), fence, section, lapse_ms };
        self.send(node, Some(session), to_agent::Message::Dispatch(dispatch))
    }

    /// Asks what became of an effect.
    pub fn ask(&self, node: &NodeName, effect: EffectId) -> bool {
        self.send(node, None, to_agent::Message::Ask(agent::Ask { effect_ids: vec![effect.0.to_vec()] }))
    }

    /// Says that the run is closed.
    pub fn forget(&self, node: &NodeName, effects: &[EffectId]) -> bool {
        let effect_ids = effects.iter().map(|effect| effect.0.to_vec()).collect();
        self.send(node, None, to_agent::Message::Forget(agent::Forget { effect_ids }))
    }

    /// A sign of life.
    pub fn alive(&self, node: &NodeName) -> bool {
        self.send(node, None, to_agent::Message::Alive(agent::Alive {}))
    }

    /// Tells every agent to come back later: the coordinator is stopping.
    pub fn send_away(&self, why: &str, retry_after: Duration) {
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        for session in std::mem::take(&mut *self.lock()).into_values() {
            let away = agent::GoAway { why: why.to_string(), retry_after_ms };
            let _ = session.queue.try_send(Ok(message(to_agent::Message::GoAway(away))));
        }
    }

    /// Ends the stream of a node whose identity is no longer good.
    pub fn drop_key(&self, key: NodeKey) {
        self.lock().retain(|_, session| {
            let keep = session.key != key;
            if !keep {
                let _ = session
                    .queue
                    .try_send(Err(Status::permission_denied("this node's identity was revoked")));
            }
            keep
        });
    }

    /// Looks through a node's agent.
    ///
    /// # Errors
    /// A text for people: no stream, no answer in time, or what the agent could not see.
    pub async fn observe(
        &self,
        node: &NodeName,
        probe: &Probe,
        deadline: Duration,
    ) -> Result<Observation, String> {
        let (request, answer) = self.ask_to_observe(node, probe, deadline)?;
        let waited = timeout(deadline + Duration::from_millis(500), answer).await;
        match waited {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(format!("the stream of {node}'s agent broke")),
            Err(_) => {
                if let Some(session) = self.lock().get_mut(node) {
                    session.asked.remove(&request);
                }
                Err(format!("{node}'s agent did not answer within {} ms", deadline.as_millis()))
            }
        }
    }

    fn ask_to_observe(
        &self,
        node: &NodeName,
        probe: &Probe,
        deadline: Duration,
    ) -> Result<(u64, oneshot::Receiver<Result<Observation, String>>), String> {
        let request = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let observe = agent::Observe { request, probe: document::encode(probe), deadline_ms };
        let mut sessions = self.lock();
        let session =
            sessions.get_mut(node).ok_or_else(|| format!("the stream of {node}'s agent is not open"))?;
        session.asked.insert(request, answer);
        let sent = session.queue.try_send(Ok(message(to_agent::Message::Observe(observe))));
        sent.map_err(|_| format!("the stream of {node}'s agent takes nothing"))?;
        Ok((request, wait))
    }

    /// An answer to [`Sessions::observe`].
    pub fn observed(&self, node: &NodeName, session: u64, result: agent::ObserveResult) {
        let mut sessions = self.lock();
        let Some(open) = sessions.get_mut(node).filter(|open| open.id == session) else { return };
        let Some(waiting) = open.asked.remove(&result.request) else { return };
        let answer = if result.error.is_empty() {
            document::decode("observation", &result.observation).map_err(|error| error.to_string())
        } else {
            Err(result.error)
        };
        let _ = waiting.send(answer);
    }
}

fn message(message: to_agent::Message) -> ToAgent {
    ToAgent { message: Some(message) }
}
