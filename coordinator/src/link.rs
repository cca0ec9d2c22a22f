//! The agents' streams: who is there, sending to them, and questions that wait for an answer.
//!
//! One stream a node. What arrives is checked here and handed to the driver; what the driver decides is
//! sent from here. A stream that cannot take what is sent to it is closed rather than buffered for.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use drydock_failpoint::effect;
use drydock_proto::{
    agent::{self, ToAgent, to_agent},
    limits,
    tls::peer::Shown,
};
use drydock_types::{
    EffectId, Fence, Head, NodeKey, NodeName, document,
    probe::{Observation, Probe},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

use crate::heard;

/// An observation is never larger: a large etcd cluster as one member sees it has some 10 KiB.
const MAX_OBSERVATION_BYTES: usize = 960 << 10;

/// What goes down a stream; an error ends it.
pub type Sent = Result<ToAgent, Status>;

/// All open streams.
#[derive(Debug, Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Changes when this coordinator takes over from another one, while nobody sits.
    fence: Mutex<Fence>,
    next: AtomicU64,
    /// The coordinator is stopping: nobody sits down any more.
    closed: AtomicBool,
    /// Where the record ends: told with what is sent anyway.
    head: Mutex<Option<Head>>,
    by_node: Mutex<BTreeMap<NodeName, Session>>,
}

#[derive(Debug)]
struct Session {
    id: u64,
    key: NodeKey,
    certificate: Shown,
    queue: mpsc::Sender<Sent>,
    asked: HashMap<u64, oneshot::Sender<Answer>>,
    /// By effect: questions that are not answered, and how many of them were asked before it was handed out.
    questions: HashMap<EffectId, Questions>,
    /// Dropped with the session: whoever reads the stream stops.
    _present: oneshot::Sender<Infallible>,
}

#[derive(Debug, Default)]
struct Questions {
    open: u32,
    stale: u32,
}

/// An open stream's place among the others; it is given up when this is dropped.
#[derive(Debug)]
pub struct Seat {
    sessions: Sessions,
    node: NodeName,
    /// Its number; rises with every stream.
    pub id: u64,
    /// Resolves when the place is another's or nobody's: what this stream still says is of the past, and
    /// nothing can be sent down it.
    pub gone: oneshot::Receiver<Infallible>,
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
        let (next, closed) = (AtomicU64::new(1), AtomicBool::new(false));
        Self {
            shared: Arc::new(Shared {
                fence: Mutex::new(fence),
                next,
                closed,
                head: Mutex::default(),
                by_node: Mutex::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Session>> {
        self.shared.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom agents obey.
    #[must_use]
    pub fn fence(&self) -> Fence {
        *self.shared.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is the fence; nobody must be sitting.
    pub fn set_fence(&self, fence: Fence) {
        *self.shared.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    /// Takes the node's place. A stream that it had before is told to go: a node has one. `None` once
    /// everybody was sent away.
    #[must_use]
    pub fn sit(
        &self,
        node: NodeName,
        key: NodeKey,
        certificate: Shown,
        queue: mpsc::Sender<Sent>,
    ) -> Option<Seat> {
        let (present, gone) = oneshot::channel();
        let (asked, questions) = (HashMap::new(), HashMap::new());
        let mut sessions = self.lock();
        // Asked under the lock that `send_away` holds: nobody comes in behind it.
        if self.shared.closed.load(Ordering::Relaxed) {
            return None;
        }
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let session = Session { id, key, certificate, queue, asked, questions, _present: present };
        if let Some(before) = sessions.insert(node.clone(), session) {
            let away = agent::GoAway {
                why: "another stream of this node took over".to_string(),
                retry_after_ms: 1000,
            };
            let _ = before.queue.try_send(Ok(message(to_agent::Message::GoAway(away))));
        }
        drop(sessions);
        Some(Seat { sessions: self.clone(), node, id, gone })
    }

    fn send(&self, node: &NodeName, only: Option<u64>, what: to_agent::Message) -> bool {
        let mut sessions = self.lock();
        let Some(session) = sessions.get(node).filter(|session| only.is_none_or(|id| id == session.id))
        else {
            return false;
        };
        // Read under the lock that orders what is sent: on one stream heads only rise.
        let head = self.head_beside(&what);
        let sent = session.queue.try_send(Ok(ToAgent { message: Some(what), head })).is_ok();
        if !sent {
            tracing::warn!(%node, "its stream does not take what is sent to it: closed");
            sessions.remove(node);
        }
        sent
    }

    /// Where the record ends from now on.
    pub fn anchor(&self, head: Head) {
        *self.shared.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    fn head_beside(&self, what: &to_agent::Message) -> Option<agent::Head> {
        use to_agent::Message::{Alive, Dispatch, Forget, Welcome};
        let carries = matches!(what, Welcome(_) | Dispatch(_) | Forget(_) | Alive(_));
        let head = *self.shared.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.filter(|_| carries).map(agent::Head::from)
    }

    /// The first message of a stream.
    pub fn welcome(&self, seat: &Seat, welcome: agent::Welcome) -> bool {
        self.send(&seat.node, Some(seat.id), to_agent::Message::Welcome(welcome))
    }

    /// Who is there, by key and certificate.
    #[must_use]
    pub fn present(&self) -> Vec<(NodeName, NodeKey, Shown)> {
        let sessions = self.lock();
        let each = sessions.iter();
        each.map(|(node, session)| (node.clone(), session.key, session.certificate.clone())).collect()
    }

    /// Sends a section, on that stream only.
    pub fn dispatch(&self, node: &NodeName, session: u64, effect: EffectId, section: Vec<u8>) -> bool {
        let lapse_ms = u32::try_from(limits::LAPSE.as_millis()).unwrap_or(u32::MAX);
        let fence = Some(self.fence().into());
        let dispatch = agent::Dispatch { effect_id: effect.0.to_vec(), fence, section, lapse_ms };
        if let Some(session) = self.lock().get_mut(node)
            && let Some(questions) = session.questions.get_mut(&effect)
        {
            questions.stale = questions.open;
        }
        let message = to_agent::Message::Dispatch(dispatch);
        effect!("coordinator.dispatch.send", self.send(node, Some(session), message))
    }

    /// Asks what became of an effect.
    pub fn ask(&self, node: &NodeName, effect: EffectId) -> bool {
        if let Some(session) = self.lock().get_mut(node) {
            session.questions.entry(effect).or_default().open += 1;
        }
        self.send(node, None, to_agent::Message::Ask(agent::Ask { effect_ids: vec![effect.0.to_vec()] }))
    }

    /// An answer to [`Sessions::ask`]: does it tell of the effect as it is now? A stream keeps its order, so
    /// what was asked before the section was handed out (again) is answered from before it, and "unknown"
    /// then means nothing.
    #[must_use]
    pub fn answered(&self, node: &NodeName, session: u64, effect: EffectId) -> bool {
        let mut sessions = self.lock();
        let Some(open) = sessions.get_mut(node).filter(|open| open.id == session) else { return false };
        let Some(questions) = open.questions.get_mut(&effect) else { return false };
        questions.open = questions.open.saturating_sub(1);
        let stale = questions.stale > 0;
        questions.stale = questions.stale.saturating_sub(1);
        if questions.open == 0 {
            open.questions.remove(&effect);
        }
        !stale
    }

    /// Says that the run is closed.
    pub fn forget(&self, node: &NodeName, effects: &[EffectId]) -> bool {
        let effect_ids = effects.iter().map(|effect| effect.0.to_vec()).collect();
        self.send(node, None, to_agent::Message::Forget(agent::Forget { effect_ids }))
    }

    /// A sign of life, on that stream only.
    pub fn alive(&self, node: &NodeName, session: u64) -> bool {
        self.send(node, Some(session), to_agent::Message::Alive(agent::Alive {}))
    }

    /// Tells every agent to come back later: the coordinator is stopping, and nobody sits down any more.
    pub fn send_away(&self, why: &str, retry_after: Duration) {
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        let mut sessions = self.lock();
        self.shared.closed.store(true, Ordering::Relaxed);
        Self::away(&mut sessions, why, retry_after_ms);
    }

    /// Ends every stream; who comes again may sit down.
    pub fn clear(&self, why: &str, retry_after: Duration) {
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        Self::away(&mut self.lock(), why, retry_after_ms);
    }

    fn away(sessions: &mut BTreeMap<NodeName, Session>, why: &str, retry_after_ms: u32) {
        for session in std::mem::take(sessions).into_values() {
            let away = agent::GoAway { why: why.to_string(), retry_after_ms };
            let _ = session.queue.try_send(Ok(message(to_agent::Message::GoAway(away))));
        }
    }

    /// Ends the stream of a node whose identity is no longer good.
    pub fn drop_key(&self, key: NodeKey) {
        self.end(key, &Status::permission_denied("this node's identity was revoked"));
    }

    /// Ends the stream of a node for another reason, which its agent reads.
    pub fn drop_because(&self, key: NodeKey, why: &str) {
        // Not as a refusal of the agent as such: it comes again soon, for a person may decide any moment.
        self.end(key, &Status::aborted(why));
    }

    fn end(&self, key: NodeKey, status: &Status) {
        self.lock().retain(|_, session| {
            let keep = session.key != key;
            if !keep {
                let _ = session.queue.try_send(Err(status.clone()));
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
        // However this ends, also by nobody waiting for it any longer, the question is not kept.
        let _withdrawn = Withdraw { sessions: self, node, request };
        let waited = timeout(deadline + Duration::from_millis(500), answer).await;
        match waited {
            Ok(Ok(Ok(bytes))) => {
                document::decode("observation", &bytes).map_err(|error| heard::text(&error.to_string()))
            }
            Ok(Ok(Err(why))) => Err(why),
            Ok(Err(_)) => Err(format!("the stream of {node}'s agent broke")),
            Err(_) => Err(format!("{node}'s agent did not answer within {} ms", deadline.as_millis())),
        }
    }

    fn ask_to_observe(
        &self,
        node: &NodeName,
        probe: &Probe,
        deadline: Duration,
    ) -> Result<(u64, oneshot::Receiver<Answer>), String> {
        let request = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let observe = agent::Observe { request, probe: document::encode(probe), deadline_ms };
        let mut sessions = self.lock();
        let session =
            sessions.get_mut(node).ok_or_else(|| format!("the stream of {node}'s agent is not open"))?;
        let sent = session.queue.try_send(Ok(message(to_agent::Message::Observe(observe))));
        sent.map_err(|_| format!("the stream of {node}'s agent takes nothing"))?;
        session.asked.insert(request, answer);
        Ok((request, wait))
    }

    /// An answer to [`Sessions::observe`].
    pub fn observed(&self, node: &NodeName, session: u64, result: agent::ObserveResult) {
        let mut sessions = self.lock();
        let Some(open) = sessions.get_mut(node).filter(|open| open.id == session) else { return };
        let Some(waiting) = open.asked.remove(&result.request) else { return };
        drop(sessions);
        // Who asked also reads it: not under the lock that every stream and the driver wait for.
        let answer = match result.observation.len() {
            _ if !result.error.is_empty() => Err(with_next(&result)),
            bytes if bytes > MAX_OBSERVATION_BYTES => Err(format!(
                "{node}'s agent answered with {bytes} bytes; {MAX_OBSERVATION_BYTES} are the most"
            )),
            _ => Ok(result.observation),
        };
        let _ = waiting.send(answer);
    }
}

/// Why nothing was seen, with what a person does about it.
fn with_next(result: &agent::ObserveResult) -> String {
    let next: Vec<&str> = result.next.iter().take(limits::MAX_NEXT).map(String::as_str).collect();
    let error = heard::text(&result.error);
    if next.is_empty() { error } else { heard::text(&format!("{error} (next: {})", next.join("; "))) }
}

/// An observation's bytes, or why there is none.
type Answer = Result<Vec<u8>, String>;

/// A question that nobody waits for any longer.
struct Withdraw<'a> {
    sessions: &'a Sessions,
    node: &'a NodeName,
    request: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().get_mut(self.node) {
            session.asked.remove(&self.request);
        }
    }
}

fn message(message: to_agent::Message) -> ToAgent {
    ToAgent { message: Some(message), head: None }
}

#[cfg(test)]
mod tests {
    use drydock_types::{Epoch, InstanceId, Sha256};

    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(Fence { epoch: Epoch(1), instance: InstanceId([1; 16]) })
    }

    fn node() -> NodeName {
        NodeName::parse("ctl-1").unwrap()
    }

    fn shown() -> Shown {
        Shown(Arc::from(&b"certificate"[..]))
    }

    fn sit(sessions: &Sessions, room: usize) -> (Seat, mpsc::Receiver<Sent>) {
        let (queue, sent) = mpsc::channel(room);
        (sessions.sit(node(), Sha256::of(b"key"), shown(), queue).unwrap(), sent)
    }

    #[tokio::test]
    async fn a_stream_whose_place_another_took_is_over_at_once() {
        let sessions = sessions();
        let (mut old, _sent) = sit(&sessions, 8);
        assert!(old.gone.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        let (mut new, _also) = sit(&sessions, 8);
        assert!((&mut old.gone).await.is_err());
        drop(old);
        assert!(new.gone.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_is_over_for_its_reader_too() {
        let sessions = sessions();
        let (mut seat, _sent) = sit(&sessions, 1);
        assert!(sessions.alive(&node(), seat.id));
        assert!(!sessions.alive(&node(), seat.id), "the queue is full");
        assert!((&mut seat.gone).await.is_err());
    }

    #[test]
    fn nobody_sits_down_behind_everybody_being_sent_away() {
        let sessions = sessions();
        sessions.send_away("stopping", Duration::from_secs(1));
        assert!(sessions.sit(node(), Sha256::of(b"key"), shown(), mpsc::channel(1).0).is_none());
    }

    #[test]
    fn an_answer_to_a_question_from_before_the_section_was_handed_out_says_nothing_of_it() {
        let sessions = sessions();
        let (seat, _sent) = sit(&sessions, 8);
        let effect = EffectId([3; 32]);
        assert!(!sessions.answered(&node(), seat.id, effect), "nobody asked");
        sessions.ask(&node(), effect);
        assert!(sessions.answered(&node(), seat.id, effect));
        sessions.ask(&node(), effect);
        sessions.dispatch(&node(), seat.id, effect, Vec::new());
        sessions.ask(&node(), effect);
        assert!(!sessions.answered(&node(), seat.id, effect), "asked before it was handed out");
        assert!(sessions.answered(&node(), seat.id, effect), "asked after");
    }

    #[tokio::test]
    async fn a_look_that_is_given_up_or_answered_at_length_is_not_kept() {
        let sessions = sessions();
        let (seat, _sent) = sit(&sessions, 8);
        let look = |within| {
            let sessions = sessions.clone();
            async move { sessions.observe(&node(), &Probe::Host {}, Duration::from_millis(within)).await }
        };
        let given_up = timeout(Duration::from_millis(20), look(60_000)).await;
        assert!(given_up.is_err());
        assert!(sessions.lock()[&node()].asked.is_empty());
        let long = tokio::spawn(look(60_000));
        let request = loop {
            if let Some(request) = sessions.lock()[&node()].asked.keys().next().copied() {
                break request;
            }
            tokio::task::yield_now().await;
        };
        let observation = vec![b' '; MAX_OBSERVATION_BYTES + 1];
        sessions.observed(
            &node(),
            seat.id,
            agent::ObserveResult { request, observation, ..agent::ObserveResult::default() },
        );
        assert!(long.await.unwrap().unwrap_err().contains("are the most"));
    }

    #[test]
    fn why_nothing_was_seen_is_told_with_what_to_do_and_is_bounded() {
        let said = |error: &str, next: &[&str]| {
            let next = next.iter().map(|&next| next.to_owned()).collect();
            with_next(&agent::ObserveResult { error: error.into(), next, ..agent::ObserveResult::default() })
        };
        assert_eq!(said("no", &[]), "no");
        assert_eq!(said("no", &["ls", "a\nb"]), "no (next: ls; a b)");
        let many = "x".repeat(300);
        assert!(said("no", &[many.as_str(); 9]).len() <= 500);
    }
}
