//! What all parts of a story have in common: the machines, the rules, chance, and the mail to whoever moves the
//! story on. One thread, so the lock is never waited for; it is held for no await.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drydock_agent::{
    executor::{self, Executor, Memory},
    journal::Stored,
};
use drydock_coordinator::driver::{HeldEffect, Input};
use drydock_core::inventory::Seen;
use drydock_proto::agent::ToAgent;
use drydock_types::{EffectId, Label, NodeName, Outcome, probe::Observation};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    cluster::Kube,
    coverage::Coverage,
    dice::Dice,
    faults::Kind,
    ground::{By, Ground},
    rules::Rules,
    story::Story,
};

/// One life of an agent's process on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    /// Index of the host.
    pub(crate) host: usize,
    /// Rises with each start.
    pub(crate) start: u32,
}

/// What an agent says on its stream.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    /// The first message.
    Hello { memory: Memory, held: Vec<HeldEffect> },
    /// A section is in its journal.
    Accepted(EffectId),
    /// It will not be begun.
    Declined { effect: EffectId, why: String, lapsed: bool },
    /// How far it is.
    Progress { effect: EffectId, step: &'static str, done: u64, total: u64 },
    /// How it ended.
    Ended(Box<Outcome>),
    /// The answer to a question about an effect.
    Answer { effect: EffectId, stored: Box<Stored> },
    /// The answer to a look.
    Observed { request: u64, result: Result<Observation, String> },
}

/// What happened in a task, for whoever moves the story on.
pub(crate) enum Mail {
    /// An agent has read its journal.
    AgentReady { life: Life, executor: Arc<Executor> },
    /// An agent stopped by itself.
    AgentStopped { life: Life, why: String },
    /// An agent was killed at a point that was chosen before.
    AgentDied(Life),
    /// Its executor said something.
    Heard { life: Life, event: executor::Event },
    /// It said something on this stream.
    Up { stream: u64, up: Up },
    /// A coordinator sends this down a stream.
    Down { stream: u64, order: Box<ToAgent> },
    /// A coordinator gave a stream up.
    GivenUp(u64),
    /// It obeys the coordinator of this stream: what its executor says goes there from now on.
    Attached { life: Life, stream: u64 },
    /// It ended this stream.
    Hung { stream: u64, why: String },
    /// A look of a coordinator's came back.
    Looked { coordinator: usize, start: u32, input: Box<Input> },
    /// A coordinator's move waits for something, or ended.
    Moved { coordinator: usize, start: u32, input: Box<Input> },
    /// The nodes of a plan were looked at before its start.
    Surveyed { coordinator: usize, start: u32, plan: usize, seen: BTreeMap<Label, BTreeMap<NodeName, Seen>> },
    /// Something happens on a host at this time by itself.
    Wake { host: usize, at_ms: u64 },
}

/// Everything behind the lock.
pub(crate) struct Inner {
    pub(crate) ground: Ground,
    pub(crate) rules: Rules,
    pub(crate) mail: VecDeque<Mail>,
    pub(crate) coverage: Coverage,
    pub(crate) story: Story,
    /// What happens on hosts.
    pub(crate) dice: Dice,
    /// What happens to messages.
    pub(crate) network: Dice,
    /// How many times in a thousand, while the faults last.
    pub(crate) rates: BTreeMap<Kind, u32>,
    pub(crate) calm_ms: u64,
    /// By host: the agent dies at the so-many-th point from now.
    pub(crate) dies_in: Vec<Option<u64>>,
    /// Agents that are dead and whose tasks have not been dropped yet.
    pub(crate) dead: BTreeSet<Life>,
    /// By host: looks are answered late until then; health says ill now and then until; health says ill until.
    pub(crate) stale_until: Vec<u64>,
    pub(crate) flaps_until: Vec<u64>,
    pub(crate) unclear_until: Vec<u64>,
    /// The etcd cluster has raised an alarm until then.
    pub(crate) alarm_until: u64,
    /// The cluster, where the story has one.
    pub(crate) kube: Option<Kube>,
    /// By host: can its agent reach the coordinator (for fetching)?
    pub(crate) reaches: Vec<bool>,
}

/// The lock.
#[derive(Clone)]
pub(crate) struct Shared {
    inner: Arc<Mutex<Inner>>,
    news: Arc<Notify>,
    began: Instant,
}

impl Shared {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(Mutex::new(inner)), news: Arc::default(), began: Instant::now() }
    }

    /// Milliseconds since the story began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When that is for the runtime.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, mail: Mail) {
        self.lock().mail.push_back(mail);
        self.news.notify_one();
    }

    /// Waits until something was posted.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// A point at which an agent may die, or wait a little.
    pub(crate) async fn point(&self, life: Life) {
        let (dies, ms) = {
            let mut inner = self.lock();
            let dies = inner.dies_here(life);
            let ms = if inner.dice.chance(700) { inner.dice.below(3) } else { 0 };
            (dies, ms)
        };
        if dies {
            return self.die(life).await;
        }
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
        if self.lock().dead.contains(&life) {
            pending::<()>().await;
        }
    }

    /// Nothing of this life goes on.
    pub(crate) async fn die(&self, life: Life) {
        let first = self.lock().dead.insert(life);
        if first {
            self.post(Mail::AgentDied(life));
        }
        pending::<()>().await;
    }
}

impl Inner {
    /// Does this kind of fault happen now? Counted when it does.
    pub(crate) fn happens(&mut self, kind: Kind, now_ms: u64) -> bool {
        let Some(rate) = self.rates.get(&kind).copied().filter(|_| now_ms < self.calm_ms) else {
            return false;
        };
        let of_network = matches!(
            kind,
            Kind::MessageLost | Kind::MessageDuplicated | Kind::MessageDelayed | Kind::MessageReordered
        );
        let dice = if of_network { &mut self.network } else { &mut self.dice };
        let happens = dice.chance(rate);
        if happens {
            self.coverage.fault(kind);
        }
        happens
    }

    /// Counts down to a death that was decided before.
    pub(crate) fn dies_here(&mut self, life: Life) -> bool {
        if self.dead.contains(&life) {
            return true;
        }
        match &mut self.dies_in[life.host] {
            Some(0) => {
                self.dies_in[life.host] = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// A host up to this moment, and what the rules say to it.
    pub(crate) fn settle(&mut self, host: usize, by: By, now_ms: u64) {
        self.ground.settle(host, now_ms, by);
        if self.ground.turns.is_empty() {
            return;
        }
        let turns = std::mem::take(&mut self.ground.turns);
        for turn in &turns {
            let name = self.ground.hosts[turn.host].name.clone();
            self.story.say(now_ms, || match turn.out {
                Some(By::Us(effect)) => {
                    (name.to_string(), format!("out of service, by effect {}", effect.short()))
                }
                Some(By::Others) => (name.to_string(), "out of service, by others".to_string()),
                None => (name.to_string(), "in service".to_string()),
            });
        }
        self.rules.turned(&self.ground, &turns, now_ms);
    }
}
