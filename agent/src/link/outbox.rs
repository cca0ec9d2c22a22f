//! What goes to the coordinator, through whatever stream there is. Never blocks, never grows.

use std::sync::{Arc, Mutex, PoisonError};

use drydock_proto::agent::{self, FromAgent, from_agent::Message};
use drydock_types::{EffectId, Outcome, document::encode, signed::Purpose};
use tokio::sync::{Notify, mpsc};

use super::Signer;
use crate::executor::{Event, Listener};

/// The executor's listener: passes events to the present stream, and drops them when there is none. What was
/// dropped is asked for by the coordinator after the next Hello.
pub struct Outbox {
    line: Mutex<Option<Line>>,
    signer: Arc<dyn Signer>,
}

/// One stream's queue.
#[derive(Debug, Clone)]
pub(super) struct Line {
    queue: mpsc::Sender<FromAgent>,
    overflow: Arc<Notify>,
}

impl Line {
    pub(super) fn new(queue: mpsc::Sender<FromAgent>) -> Self {
        Self { queue, overflow: Arc::new(Notify::new()) }
    }

    /// Queues, or declares the stream too slow: it is closed rather than buffered for.
    pub(super) fn send(&self, message: Message) {
        let unimportant = matches!(message, Message::Progress(_));
        if unimportant && self.queue.capacity() < self.queue.max_capacity() / 2 {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.queue.try_send(FromAgent { message: Some(message) })
        {
            self.overflow.notify_one();
        }
    }

    /// Queues when there is room again.
    pub(super) async fn send_in_turn(&self, message: Message) {
        // Closed: the stream is gone, and its reader finds out by itself.
        let _ = self.queue.send(FromAgent { message: Some(message) }).await;
    }

    /// Waits until the queue was once full.
    pub(super) async fn overflowed(&self) {
        self.overflow.notified().await;
    }
}

impl Outbox {
    /// No stream yet; outcomes will be signed by this.
    #[must_use]
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self { line: Mutex::default(), signer }
    }

    /// From now on events go here; `None` when the stream is gone.
    pub(super) fn attach(&self, line: Option<Line>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

impl Listener for Outbox {
    fn hear(&self, event: Event) {
        log(&event);
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) => line.send(message(&*self.signer, event)),
            None => tracing::debug!("no stream to tell the coordinator; it will ask"),
        }
    }
}

/// The node's own record of what was asked of it, for whoever reads its journal and not the coordinator's.
fn log(event: &Event) {
    match event {
        Event::Accepted(effect) => tracing::info!(effect = %effect.short(), "a section was accepted"),
        Event::Declined { effect, why, lapsed } => {
            tracing::warn!(effect = %effect.short(), lapsed, why, "a section was declined");
        }
        Event::Ended(outcome) => {
            tracing::info!(effect = %outcome.effect.short(), result = outcome.result.word(), "a section ended");
        }
        Event::Progress { .. } => {}
    }
}

pub(super) fn bytes(effect: EffectId) -> Vec<u8> {
    effect.0.to_vec()
}

/// An outcome as it goes out: its exact bytes, and the signature over them. Made anew each time that it is told,
/// from what the journal holds; empty where none can be made, and then it is refused and asked for again.
pub(super) fn signed(signer: &dyn Signer, outcome: &Outcome) -> (Vec<u8>, Vec<u8>) {
    let bytes = encode(outcome);
    let signature = signer.sign(Purpose::Outcome, &outcome.effect.0, &bytes);
    (bytes, signature.map(|signature| signature.as_bytes().to_vec()).unwrap_or_default())
}

fn message(signer: &dyn Signer, event: Event) -> Message {
    match event {
        Event::Accepted(effect) => Message::Accepted(agent::Accepted { effect_id: bytes(effect) }),
        Event::Declined { effect, why, lapsed } => {
            Message::Declined(agent::Declined { effect_id: bytes(effect), why, lapsed })
        }
        Event::Progress { effect, step, done, total } => {
            Message::Progress(agent::Progress { effect_id: bytes(effect), step: step.into(), done, total })
        }
        Event::Ended(outcome) => {
            let effect_id = bytes(outcome.effect);
            let (outcome, signature) = signed(signer, &outcome);
            Message::Outcome(agent::OutcomeReport { effect_id, outcome, signature })
        }
    }
}
