//! One agent: the real executor over the real journal, on a simulated disk and machine. What stands in for
//! `agent/src/link/session.rs` is [`listen`]: the same order of things, without a socket.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drydock_agent::{
    executor::{self, Dispatch, Executor, Listener, NotObeyed},
    journal::{Journal, memory::MemoryDisk},
};
use drydock_coordinator::driver::HeldEffect;
use drydock_proto::{
    agent::{ToAgent, to_agent::Message as Order},
    edge,
    limits::{LAPSE, MAX_HELLO_ENTRIES},
};
use drydock_types::{Fence, JournalId, NodeName, document::decode, probe::Probe};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::{
    disk::SimDisk,
    eyes,
    shared::{Life, Mail, Shared, Up},
    workshop::SimWorkshop,
};

/// The tasks of one life: all of them end with it, at whatever await they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Tasks {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(work).abort_handle());
    }

    pub(crate) fn kill(&self) {
        for task in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// An agent's end of a stream.
pub(crate) struct Session {
    pub(crate) stream: u64,
    pub(crate) orders: mpsc::UnboundedSender<ToAgent>,
    pub(crate) attached: bool,
    /// Dropped with the stream: what was not begun lapses.
    pub(crate) _alive: watch::Sender<()>,
    pub(crate) task: AbortHandle,
}

/// A process.
pub(crate) struct Process {
    pub(crate) life: Life,
    pub(crate) tasks: Tasks,
    pub(crate) executor: Option<Arc<Executor>>,
    pub(crate) session: Option<Session>,
    /// Dials in vain so far.
    pub(crate) tries: u32,
}

/// A host's agent, running or not.
pub(crate) struct Agent {
    pub(crate) node: NodeName,
    pub(crate) disk: MemoryDisk,
    pub(crate) starts: u32,
    pub(crate) process: Option<Process>,
    /// Copies of the disk, oldest first.
    pub(crate) copies: Vec<Vec<u8>>,
}

impl Agent {
    /// Bytes in the journal.
    pub(crate) fn disk_length(&self) -> u64 {
        use drydock_agent::journal::JournalDisk as _;
        self.disk.length()
    }
}

/// What the executor says goes to whoever moves the story on.
struct Mouth {
    life: Life,
    shared: Shared,
}

impl Listener for Mouth {
    fn hear(&self, event: executor::Event) {
        if !self.shared.lock().dead.contains(&self.life) {
            self.shared.post(Mail::Heard { life: self.life, event });
        }
    }
}

/// Reads the journal, carries on what is open.
pub(crate) fn start(agent: &mut Agent, host: usize, shared: &Shared) {
    agent.starts += 1;
    let life = Life { host, start: agent.starts };
    let (tasks, node) = (Tasks::default(), agent.node.clone());
    let disk = SimDisk::new(agent.disk.clone(), life, shared.clone());
    let id = JournalId(shared.lock().dice.id());
    let (shared, mine) = (shared.clone(), tasks.clone());
    tasks.spawn(async move {
        let journal = match Journal::open(Box::new(disk), || id).await {
            Ok(journal) => journal,
            Err(error) => return shared.post(Mail::AgentStopped { life, why: error.to_string() }),
        };
        let workshop = Arc::new(SimWorkshop { life, shared: shared.clone() });
        let mouth = Arc::new(Mouth { life, shared: shared.clone() });
        let executor = Arc::new(Executor::new(node, journal, workshop, mouth));
        let carried_on = Arc::clone(&executor);
        let told = shared.clone();
        mine.spawn(async move {
            if let Err(error) = carried_on.recover().await {
                told.post(Mail::AgentStopped { life, why: error.to_string() });
            }
        });
        shared.post(Mail::AgentReady { life, executor });
    });
    agent.process = Some(Process { life, tasks, executor: None, session: None, tries: 0 });
}

/// What a session task works with.
#[derive(Clone)]
struct Ear {
    life: Life,
    stream: u64,
    executor: Arc<Executor>,
    tasks: Tasks,
    shared: Shared,
    alive: watch::Receiver<()>,
}

/// Opens a stream's end: says Hello, then obeys.
pub(crate) fn open(process: &mut Process, stream: u64, shared: &Shared) -> bool {
    let Some(executor) = process.executor.clone() else { return false };
    let (orders, inbox) = mpsc::unbounded_channel();
    let (alive, listens) = watch::channel(());
    let ear = Ear {
        life: process.life,
        stream,
        executor,
        tasks: process.tasks.clone(),
        shared: shared.clone(),
        alive: listens,
    };
    let task = tokio::spawn(listen(ear, inbox)).abort_handle();
    process.session = Some(Session { stream, orders, attached: false, _alive: alive, task });
    true
}

async fn listen(ear: Ear, mut orders: mpsc::UnboundedReceiver<ToAgent>) {
    let memory = ear.executor.memory().await;
    let held = match ear.executor.held(MAX_HELLO_ENTRIES).await {
        Ok(held) => held,
        Err(error) => {
            let why = ear.stop(&error);
            return ear.shared.post(Mail::Hung { stream: ear.stream, why });
        }
    };
    let held = held.into_iter().map(|it| HeldEffect { effect: it.effect, ended: it.ended, what: it.what });
    ear.say(Up::Hello { memory, held: held.collect() });
    while let Some(ToAgent { message: Some(order), .. }) = orders.recv().await {
        if let Err(why) = ear.obey(order).await {
            return ear.shared.post(Mail::Hung { stream: ear.stream, why });
        }
    }
}

impl Ear {
    fn say(&self, up: Up) {
        self.shared.post(Mail::Up { stream: self.stream, up });
    }

    fn stop(&self, why: &impl ToString) -> String {
        self.shared.post(Mail::AgentStopped { life: self.life, why: why.to_string() });
        "the agent stops".to_string()
    }

    async fn obey(&self, order: Order) -> Result<(), String> {
        match order {
            Order::Welcome(welcome) => {
                let fence = welcome.fence.as_ref().ok_or("Welcome holds no fence")?;
                let fence = Fence::try_from(fence).map_err(|error| error.to_string())?;
                match self.executor.obey(fence).await {
                    Ok(()) => {}
                    Err(NotObeyed::Journal(error)) if error.stops_the_agent() => {
                        return Err(self.stop(&error));
                    }
                    Err(refusal) => return Err(refusal.to_string()),
                }
                self.shared.post(Mail::Attached { life: self.life, stream: self.stream });
                Ok(())
            }
            Order::Dispatch(raw) => {
                let received = Instant::now();
                let effect = edge::effect_id(&raw.effect_id).map_err(|error| error.to_string())?;
                let fence = raw.fence.as_ref().ok_or("a Dispatch holds no fence")?;
                let fence = Fence::try_from(fence).map_err(|error| error.to_string())?;
                let now_ms = self.shared.now_ms();
                self.shared.lock().rules.received_ms.insert((effect, self.life.host), now_ms);
                let lapse = Duration::from_millis(raw.lapse_ms.into()).min(LAPSE);
                let stream = self.alive.clone();
                let dispatch = Dispatch { effect, fence, section: raw.section, received, lapse, stream };
                let ear = self.clone();
                self.tasks.spawn(async move {
                    if let Err(error) = ear.executor.take(dispatch).await {
                        ear.stop(&error);
                    }
                });
                Ok(())
            }
            Order::Ask(ask) => {
                for id in &ask.effect_ids {
                    let effect = edge::effect_id(id).map_err(|error| error.to_string())?;
                    let stored = self.executor.stored(effect).await.map_err(|error| self.stop(&error))?;
                    self.say(Up::Answer { effect, stored: Box::new(stored) });
                }
                Ok(())
            }
            Order::Forget(forget) => {
                let ids = forget.effect_ids.iter().map(|id| edge::effect_id(id));
                let effects = ids.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
                self.executor.forget(&effects).await.map_err(|error| self.stop(&error))
            }
            Order::Observe(raw) => {
                let probe = decode::<Probe>("probe", &raw.probe).map_err(|error| error.to_string())?;
                let within = Duration::from_millis(raw.deadline_ms.into());
                let ear = self.clone();
                self.tasks.spawn(async move {
                    let result = match timeout(within, eyes::look(&ear.shared, ear.life, &probe)).await {
                        Ok(result) => result,
                        Err(_) => Err(format!("nothing was seen within {within:?}")),
                    };
                    if ear.alive.has_changed().is_ok() {
                        ear.say(Up::Observed { request: raw.request, result });
                    }
                });
                Ok(())
            }
            Order::GoAway(away) => Err(format!("the coordinator says: {}", away.why)),
            Order::Alive(_) => Ok(()),
            #[allow(unreachable_patterns, reason = "orders that the simulated services do not know")]
            _ => Ok(()),
        }
    }
}
