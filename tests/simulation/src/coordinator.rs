//! One coordinator: the real driver over the store in memory, the real sessions and the real checks. What stands
//! in for `coordinator/src/serve.rs` and `rpc/attach.rs` is here, without a socket.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use async_trait::async_trait;
use drydock_coordinator::{
    checks,
    driver::{Driver, FleetNode, Input, LookRequest, MoveRequest, Output},
    link::{Seat, Sessions},
    moves::{Carrier, Errand, Movers, NotMoved, kubernetes_drain::KubernetesDrain},
    store::{RunStore as _, StoreError, memory::MemoryStore},
};
use drydock_core::{
    Now,
    moves::Move,
    view::{Phase, RunStatus},
};
use drydock_types::{InstanceId, NodeName, Verdict};

use crate::{
    agent::Tasks,
    cluster::api::Way,
    rules::decided::Evidence,
    shared::{Mail, Shared},
    store::WitnessStore,
    word,
};

/// No plan of this story has a drain.
#[derive(Debug)]
struct NoCluster;

#[async_trait]
impl Carrier for NoCluster {
    async fn look(&self, asked: &LookRequest, of: &Move) -> Verdict {
        unreachable!("{} is asked about {of:?}", asked.node)
    }

    async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
        unreachable!("{:?}", errand.order)
    }

    async fn give_back(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
        unreachable!("{:?}", errand.order)
    }
}

/// What was last seen of a run.
#[derive(Debug, Clone)]
pub struct Known {
    pub(crate) status: RunStatus,
    pub(crate) phases: Vec<Phase>,
    pub(crate) holds: usize,
}

/// One start of a coordinator.
pub(crate) struct Running {
    pub(crate) driver: Driver<WitnessStore>,
    pub(crate) sessions: Sessions,
    /// By stream.
    pub(crate) places: BTreeMap<u64, Seat>,
    pub(crate) looks: Tasks,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) movers: Movers,
    /// Told to whatever it has under way outside of this story's own tasks.
    pub(crate) dead: Arc<AtomicBool>,
    pub(crate) start: u32,
    pub(crate) began_ms: u64,
    /// What the fleet's clock showed when it began.
    pub(crate) clock_ms: u64,
    /// Looks that were asked for: run, index, round.
    pub(crate) asked: BTreeMap<(u64, usize, u64), Evidence>,
    pub(crate) known: BTreeMap<u64, Known>,
    pub(crate) ticked_ms: u64,
    pub(crate) changes: u64,
    /// Killed when so many more outputs were performed.
    pub(crate) dies_after: Option<u64>,
    /// Agents that obey somebody else, and which epoch.
    pub(crate) reported: BTreeMap<NodeName, u64>,
    /// Nothing that was seen before this is believed.
    pub(crate) began_evidence_ms: u64,
}

/// A coordinator's directory, and whoever runs on it.
pub(crate) struct Coordinator {
    pub(crate) store: MemoryStore,
    pub(crate) fails: Arc<AtomicU8>,
    pub(crate) starts: u32,
    pub(crate) running: Option<Running>,
    /// Added to the story's time for the wall clock, in milliseconds.
    pub(crate) wall_ms: u64,
    /// Copies of the store, oldest first.
    pub(crate) copies: Vec<MemoryStore>,
}

impl Coordinator {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self {
            store,
            fails: Arc::default(),
            starts: 0,
            running: None,
            wall_ms: 1_790_000_000_000,
            copies: Vec::new(),
        }
    }

    /// Takes the store over and reads it.
    pub(crate) fn start(
        &mut self,
        index: usize,
        nodes: Vec<(NodeName, FleetNode)>,
        shared: &Shared,
    ) -> Result<Vec<Output>, StoreError> {
        self.starts += 1;
        let mut store = WitnessStore::new(self.store.reopen(), shared.clone(), Arc::clone(&self.fails));
        let instance = InstanceId(shared.lock().dice.id());
        let fence = store.take_over(instance)?;
        let clock_ms = store.load()?.clock_ms;
        let began_ms = shared.now_ms();
        let now = Now { clock_ms, wall_ms: self.wall_ms + began_ms };
        let (mut driver, mut outputs) = Driver::open(store, fence, now)?;
        driver.decide_with(word::step);
        let (sessions, dead) = (Sessions::new(fence), Arc::new(AtomicBool::new(false)));
        let carrier: Arc<dyn Carrier> = if shared.lock().kube.is_some() {
            let way = Way { shared: shared.clone(), coordinator: index, dead: Arc::clone(&dead) };
            Arc::new(KubernetesDrain::new(Arc::new(way), sessions.clone()))
        } else {
            Arc::new(NoCluster)
        };
        let mut running = Running {
            driver,
            sessions,
            movers: Movers::new(Arc::clone(&carrier)),
            carrier,
            dead,
            places: BTreeMap::new(),
            looks: Tasks::default(),
            start: self.starts,
            began_ms,
            clock_ms,
            asked: BTreeMap::new(),
            known: BTreeMap::new(),
            ticked_ms: began_ms,
            changes: 0,
            dies_after: None,
            reported: BTreeMap::new(),
            began_evidence_ms: began_ms,
        };
        outputs.extend(running.driver.handle(Input::Registered { nodes }, now)?);
        self.running = Some(running);
        Ok(outputs)
    }

    pub(crate) fn now(&self, now_ms: u64) -> Now {
        let clock_ms = self.running.as_ref().map_or(0, |it| it.clock_ms + (now_ms - it.began_ms));
        Now { clock_ms, wall_ms: self.wall_ms + now_ms }
    }

    /// When the driver wants to be told that time passed: as its own thread has it.
    pub(crate) fn tick_ms(&self) -> Option<u64> {
        let running = self.running.as_ref()?;
        let open = running.driver.open_runs() > 0;
        let wake =
            running.driver.next_wake_ms().map(|at| running.began_ms + at.saturating_sub(running.clock_ms));
        let sleep = open.then_some(running.ticked_ms + 5000);
        wake.into_iter().chain(sleep).min()
    }
}

impl Running {
    /// Looks through the agents, in a task of its own.
    pub(crate) fn look(&mut self, coordinator: usize, request: LookRequest, shared: &Shared) {
        let (sessions, shared, start) = (self.sessions.clone(), shared.clone(), self.start);
        let carrier = Arc::clone(&self.carrier);
        self.asked.insert(
            (request.run, request.index, request.round),
            Evidence {
                node: request.node.to_string(),
                asked_ms: shared.now_ms(),
                results: Vec::new(),
                started_ms: self.began_evidence_ms,
            },
        );
        self.looks.spawn(async move {
            let (results, seen) = checks::look(&sessions, &*carrier, &request).await;
            let (run, node, round) = (request.run, request.index, request.round);
            let input = Box::new(Input::Looked { run, node, round, results, seen });
            shared.post(Mail::Looked { coordinator, start, input });
        });
    }

    /// Moves through the cluster, in tasks of their own; what is to stop is stopped at once.
    pub(crate) fn carry(&self, coordinator: usize, request: MoveRequest, shared: &Shared) {
        let (shared, start) = (shared.clone(), self.start);
        self.movers.expect(&request);
        self.movers.perform(request, move |input| {
            shared.post(Mail::Moved { coordinator, start, input: Box::new(input) });
            std::future::ready(())
        });
    }

    /// SIGKILL: nothing of it goes on but what has left it.
    pub(crate) fn kill(&self) {
        self.looks.kill();
        self.dead.store(true, Ordering::Relaxed);
    }
}
