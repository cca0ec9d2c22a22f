//! A section from acceptance to outcome, and its recovery after a crash.
//!
//! One section at a time. Before anything: the fence, then what the journal knows of the effect, then what
//! [`admit`] can judge without looking. Then the section is journalled and *accepted*; all checks that can
//! run ahead run before the first change (a refusal is an outcome, so that the same id always brings the
//! same answer), and each step is checked again right before its turn. [`shift`] does the work.
//!
//! This module knows no stream: it is told by [`Executor::take`] and says through a [`Listener`].

mod admit;
mod at_host;
mod bounds;
mod held;
mod shift;
#[cfg(test)]
mod tests;
mod undoes;
mod workshop;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use drydock_types::{
    AbsPath, EffectId, Fence, Head, JournalId, NodeName, Outcome, Section, SectionKind, Sha256,
    document::encode, signed::Followed,
};
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout_at},
};

use self::shift::Shift;
pub use self::{
    admit::{MAX_SECTION_BYTES, MAX_STEPS, UnpacksItself, may_be_begun},
    at_host::AtHost,
    held::Held,
    workshop::{Progress, Workshop},
};
use crate::journal::{Heads, Journal, JournalError, Open, Record, Stored};

/// A section that is begun is carried on by so many starts of the agent; after that a person must look: what
/// kills the agent each time would go on doing so.
pub const MAX_RESUMED: u32 = 5;

/// A section as it came from a coordinator.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Which effect.
    pub effect: EffectId,
    /// Who sends it.
    pub fence: Fence,
    /// The section's exact bytes.
    pub section: Vec<u8>,
    /// When it was received.
    pub received: Instant,
    /// Not begun within this time of receipt: lapsed.
    pub lapse: Duration,
    /// Lives as long as the stream that brought it: when its sender is gone, what is not begun lapses.
    pub stream: watch::Receiver<()>,
}

/// What the executor says, as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The section is on the disk.
    Accepted(EffectId),
    /// It was not begun and never will be from this dispatch.
    Declined {
        /// Which effect.
        effect: EffectId,
        /// Why, for a person.
        why: String,
        /// Its time was over, rather than its form or sender refused.
        lapsed: bool,
    },
    /// How far a long step is. Few, and may be dropped.
    Progress {
        /// Which effect.
        effect: EffectId,
        /// Which step.
        step: &'static str,
        /// So far.
        done: u64,
        /// In all; 0 when not known.
        total: u64,
    },
    /// The outcome, on the disk.
    Ended(Outcome),
}

/// Whoever is told. Must not block: what cannot be passed on is asked for later.
pub trait Listener: Send + Sync {
    /// Something happened.
    fn hear(&self, event: Event);
}

/// What a Hello says of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The journal's id.
    pub journal: JournalId,
    /// Records on the disk since it was made.
    pub length: u64,
    /// The highest fence that was obeyed.
    pub seen: Option<Fence>,
}

/// A coordinator that is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum NotObeyed {
    /// It is older than one that was obeyed, or of the same age and another.
    #[error("coordinator epoch {} instance {} is not obeyed: this agent already obeyed epoch {} instance {}; \
             is an older coordinator, or one restored from a backup, still running?",
            .given.epoch.0, .given.instance, .seen.epoch.0, .seen.instance)]
    Fence {
        /// Whose order was refused.
        given: Fence,
        /// Who was obeyed before.
        seen: Fence,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Takes sections, one at a time. Shared by reference; all methods may be called at once.
pub struct Executor {
    node: NodeName,
    journal: Mutex<Journal>,
    workshop: Arc<dyn Workshop>,
    listener: Arc<dyn Listener>,
    turn: Semaphore,
    closing: AtomicBool,
}

/// What a dispatch is, before anything is done.
enum Judged {
    Known(Stored),
    Refused(String),
    New(Box<Section>),
}

impl Executor {
    /// `node` is this node's name, from its certificate.
    #[must_use]
    pub fn new(
        node: NodeName,
        journal: Journal,
        workshop: Arc<dyn Workshop>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let (turn, closing) = (Semaphore::new(1), AtomicBool::new(false));
        Self { node, journal: Mutex::new(journal), workshop, listener, turn, closing }
    }

    /// What Hello says.
    pub async fn memory(&self) -> Memory {
        let journal = self.journal.lock().await;
        Memory { journal: journal.id(), length: journal.length(), seen: journal.seen().copied() }
    }

    /// From now on this coordinator is obeyed, and none before it; on the disk when it returns.
    ///
    /// # Errors
    /// When it is not to be obeyed, or the journal fails.
    pub async fn obey(&self, fence: Fence) -> Result<(), NotObeyed> {
        let mut journal = self.journal.lock().await;
        match journal.seen().copied() {
            Some(seen) if seen == fence => Ok(()),
            Some(seen) if !fence.is_obeyed_after(Some(&seen)) => Err(NotObeyed::Fence { given: fence, seen }),
            _ => Ok(journal.append(&[Record::FenceSeen { fence }], true).await?),
        }
    }

    /// What is kept of the coordinator's record.
    pub async fn heads(&self) -> Heads {
        self.journal.lock().await.heads().clone()
    }

    /// A head of the record was told. It goes to the disk with the next write.
    pub async fn hear_head(&self, told: Head) -> Followed {
        let mut journal = self.journal.lock().await;
        let (kept, before) = (journal.heads().head, journal.heads().conflicts.len());
        let followed = journal.hear_head(told);
        if let (Some(kept), true) = (kept, journal.heads().conflicts.len() > before) {
            tracing::error!(
                %kept, %told,
                "the coordinator's record goes back or is another one: the head that was told is not followed, and both are kept. On an operator's machine: drydock audit verify"
            );
        }
        followed
    }

    /// Writes a head that no other write has taken along, without an fsync.
    ///
    /// # Errors
    /// When the journal fails: the agent stops.
    pub async fn keep_heads(&self) -> Result<(), JournalError> {
        self.journal.lock().await.keep_heads().await
    }

    /// What the journal knows of an effect.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn stored(&self, effect: EffectId) -> Result<Stored, JournalError> {
        self.journal.lock().await.stored(effect)
    }

    /// The runs of these effects are closed.
    ///
    /// # Errors
    /// When the journal fails: the agent stops.
    pub async fn forget(&self, effects: &[EffectId]) -> Result<(), JournalError> {
        self.journal.lock().await.forget(effects).await
    }

    /// From now on nothing is begun.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Waits until no section is at work.
    pub async fn idle(&self) {
        // The semaphore is never closed; an error would also mean that nothing is at work.
        let _ = self.turn.acquire().await;
    }

    /// Carries on what the journal holds open, to its outcome. To be called once, after the start.
    ///
    /// # Errors
    /// When the journal fails: the agent stops.
    pub async fn recover(&self) -> Result<Option<Outcome>, JournalError> {
        let _turn = self.turn.acquire().await;
        self.put_away_left_over().await?;
        let open = {
            let mut journal = self.journal.lock().await;
            let Some(effect) = journal.open_section().map(|open| open.effect) else { return Ok(None) };
            journal.append(&[Record::Resumed { effect }], true).await?;
            let open = journal.open_section().cloned();
            let needed = match &open {
                Some(open) => undoes::needed(&journal, &open.section, encode(&open.section).len())?,
                None => 0,
            };
            // It is begun and must be ended; room that cannot be had now may be there when it is written.
            match journal.reserve(needed).await {
                Err(error) if !error.stops_the_agent() => tracing::warn!("{error}"),
                other => other?,
            }
            open
        };
        match open {
            Some(open) => self.work(open).await.map(Some),
            None => Ok(None),
        }
    }

    /// An agent that died behind an outcome has left its revert's timer and files.
    async fn put_away_left_over(&self) -> Result<(), JournalError> {
        let Some(effect) = self.workshop.left_over().await else { return Ok(()) };
        if matches!(self.stored(effect).await?, Stored::Ended { .. }) {
            self.workshop.put_away(effect).await;
        }
        Ok(())
    }

    /// Takes a section from dispatch to outcome; returns when it has ended or was declined. Everything is
    /// said to the listener. Must not be dropped once the section is accepted: spawn it.
    ///
    /// # Errors
    /// When the journal fails: the agent stops.
    pub async fn take(&self, dispatch: Dispatch) -> Result<(), JournalError> {
        let judged = self.judge(&*self.journal.lock().await, &dispatch)?;
        if !matches!(judged, Judged::New(_)) {
            self.answer(dispatch.effect, judged);
            return Ok(());
        }
        let _turn = match self.wait_for_turn(&dispatch).await {
            Ok(turn) => turn,
            Err(why) => return self.lapse(dispatch.effect, why).await,
        };
        match self.begin(&dispatch).await? {
            Some(open) => {
                self.listener.hear(Event::Accepted(dispatch.effect));
                self.work(open).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Fence, then memory, then form. Asked at receipt and again when its turn has come.
    fn judge(&self, journal: &Journal, dispatch: &Dispatch) -> Result<Judged, JournalError> {
        if let Some(seen) = journal.seen().filter(|seen| !dispatch.fence.is_obeyed_after(Some(seen))) {
            let refusal = NotObeyed::Fence { given: dispatch.fence, seen: *seen };
            return Ok(Judged::Refused(refusal.to_string()));
        }
        let payload = Sha256::of(&dispatch.section);
        match journal.stored(dispatch.effect)? {
            Stored::Unknown => {}
            Stored::Open { payload: held } | Stored::Ended { payload: held, .. } if held != payload => {
                let (id, held, payload) = (dispatch.effect.short(), held.short(), payload.short());
                return Ok(Judged::Refused(format!(
                    "effect {id} is known here with another section (digest {held}, not {payload}); \
                     an effect's section never changes"
                )));
            }
            known => return Ok(Judged::Known(known)),
        }
        let unpacks = |path: &AbsPath| self.workshop.unpacks_itself(path);
        let section = match admit::admit(&self.node, dispatch.effect, &dispatch.section, &unpacks) {
            Ok(section) => section,
            Err(why) => return Ok(Judged::Refused(why)),
        };
        if section.kind == SectionKind::Undo
            && journal.open_section().is_none()
            && let Err(why) = undoes::judge(journal, &section)?
        {
            return Ok(Judged::Refused(why));
        }
        Ok(Judged::New(Box::new(section)))
    }

    /// Until the lapse, the end of the stream, or its turn.
    async fn wait_for_turn(&self, dispatch: &Dispatch) -> Result<SemaphorePermit<'_>, String> {
        let mut stream = dispatch.stream.clone();
        let turn = tokio::select! {
            biased;
            () = gone(&mut stream) => return Err("the stream that brought it broke".into()),
            turn = timeout_at(dispatch.received + dispatch.lapse, self.turn.acquire()) => turn,
        };
        match turn {
            Ok(Ok(turn)) if !self.closing.load(Ordering::Relaxed) => Ok(turn),
            Ok(_) => Err("the agent is stopping".into()),
            Err(_) => Err(format!("another section was at work for all of {:?}", dispatch.lapse)),
        }
    }

    /// Judges again, takes room, journals. `None` when it was answered otherwise.
    async fn begin(&self, dispatch: &Dispatch) -> Result<Option<Open>, JournalError> {
        let mut journal = self.journal.lock().await;
        let section = match self.judge(&journal, dispatch)? {
            Judged::New(section) => section,
            other => {
                self.answer(dispatch.effect, other);
                return Ok(None);
            }
        };
        let decline = |why: String, lapsed| {
            self.listener.hear(Event::Declined { effect: dispatch.effect, why, lapsed });
            Ok(None)
        };
        if let Some(open) = journal.open_section() {
            return decline(format!("section {} of this node is still open", open.effect.short()), false);
        }
        let needed = undoes::needed(&journal, &section, dispatch.section.len())?;
        match journal.reserve(needed).await {
            Err(error) if !error.stops_the_agent() => return decline(error.to_string(), false),
            other => other?,
        }
        // The last instant before it is begun: whoever paused the run relies on this (rule 7).
        if dispatch.stream.has_changed().is_err() {
            return decline("the stream that brought it broke".into(), true);
        }
        if Instant::now() >= dispatch.received + dispatch.lapse {
            return decline(format!("it was not begun within {:?}", dispatch.lapse), true);
        }
        let records = accepted(journal.seen(), dispatch);
        match journal.append(&records, true).await {
            Err(error) if !error.stops_the_agent() => decline(error.to_string(), false),
            Err(error) => Err(error),
            Ok(()) => Ok(journal.open_section().cloned()),
        }
    }

    async fn work(&self, open: Open) -> Result<Outcome, JournalError> {
        let confirmed = open.section.commit_confirmed.is_some().then_some(open.effect);
        let shift = Shift::new(&self.journal, &*self.workshop, &*self.listener, open);
        let outcome = shift.run().await?;
        self.listener.hear(Event::Ended(outcome.clone()));
        if let Some(effect) = confirmed {
            self.workshop.put_away(effect).await;
        }
        self.journal.lock().await.tidy().await?;
        Ok(outcome)
    }

    /// Not begun in time. If another dispatch of the same effect was, that is the answer.
    async fn lapse(&self, effect: EffectId, why: String) -> Result<(), JournalError> {
        match self.stored(effect).await? {
            Stored::Unknown => self.listener.hear(Event::Declined { effect, why, lapsed: true }),
            known => self.answer(effect, Judged::Known(known)),
        }
        Ok(())
    }

    fn answer(&self, effect: EffectId, judged: Judged) {
        let event = match judged {
            Judged::Known(Stored::Ended { outcome, .. }) => Event::Ended(*outcome),
            Judged::Known(_) => Event::Accepted(effect),
            Judged::Refused(why) => Event::Declined { effect, why, lapsed: false },
            Judged::New(_) => return,
        };
        self.listener.hear(event);
    }
}

/// The fence, when it is a higher one, and the section: in one fsync.
fn accepted(seen: Option<&Fence>, dispatch: &Dispatch) -> Vec<Record> {
    let mut records = Vec::with_capacity(2);
    if seen != Some(&dispatch.fence) {
        records.push(Record::FenceSeen { fence: dispatch.fence });
    }
    // Strictly read JSON is UTF-8; nothing is replaced here.
    let section = String::from_utf8_lossy(&dispatch.section).into_owned();
    let payload = Sha256::of(&dispatch.section);
    records.push(Record::Accepted { effect: dispatch.effect, payload, section });
    records
}

async fn gone(stream: &mut watch::Receiver<()>) {
    while stream.changed().await.is_ok() {}
}
