//! A scripted node whose every step can fail, stand still or be interrupted; it outlives crashes of the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Mutex as Lock,
};

use async_trait::async_trait;
use drydock_types::{
    AbsPath, Epoch, InstanceId, Millis, SectionKind, Step, UnitName, Version,
    document::encode,
    outcome::Evidence,
    step::{HealthProbe, Healthy, SwapBinary, UndoGuard, UnitStep},
};
use tokio::sync::Notify;

use crate::executor::*;
use crate::{
    actions::{Found, Note, Problem},
    journal::memory::{Fault, MemoryDisk, Survives},
    revert::{Report, Standing},
    section,
    sys::still,
};

/// The node: what is on its disk and what runs. Outlives crashes of the agent.
#[derive(Default)]
pub(super) struct World {
    pub(super) file: String,
    pub(super) running: String,
    pub(super) starts: u32,
    /// How often each step took place and was taken back.
    pub(super) applied: BTreeMap<&'static str, u32>,
    pub(super) undone: Vec<&'static str>,
    /// Step and phase (`healthy.apply`) that fail.
    pub(super) failing: BTreeSet<String>,
    /// Phases that never end.
    pub(super) hanging: BTreeSet<String>,
    pub(super) guard: Option<String>,
    /// A program that unpacks itself.
    pub(super) unpacks: Option<AbsPath>,
    /// Why this node's policy does not let anything be taken back.
    pub(super) policy: Option<String>,
    pub(super) blind: bool,
    /// Points passed; at this one the agent dies.
    pub(super) points: u64,
    pub(super) dies_at: Option<u64>,
    pub(super) log: Vec<String>,
    /// What was asked of the reverter.
    pub(super) guard_log: Vec<String>,
    /// How the revert stands when an agent starts.
    pub(super) standing: Option<Standing>,
    /// What the reverter reports when it is told to strike.
    pub(super) report: Option<Report>,
    /// Whose revert is over and was not put away.
    pub(super) left_over: Option<EffectId>,
    /// How long a step back takes, at the least.
    pub(super) undo_takes: Duration,
    /// How long it is armed for.
    pub(super) arms_for: Option<Duration>,
}

/// The second is told when a point is reached where nothing goes on any more.
#[derive(Clone, Default)]
pub(super) struct Node(pub(super) Arc<Lock<World>>, pub(super) Arc<Notify>);

impl Node {
    pub(super) fn new() -> Self {
        let node = Self::default();
        node.with(|world| (world.file, world.running) = ("old".into(), "old".into()));
        node
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// A point where the agent may die.
    async fn point(&self) {
        let dies = self.with(|world| {
            world.points += 1;
            world.dies_at == Some(world.points)
        });
        if dies {
            self.stick().await;
        }
    }

    async fn stick(&self) {
        self.1.notify_one();
        std::future::pending().await
    }

    async fn phase(&self, step: &Step, phase: &str) -> Result<(), Problem> {
        self.named(format!("{}.{phase}", step.name())).await
    }

    async fn guarding(&self, what: &str) -> Result<(), Problem> {
        self.with(|world| world.guard_log.push(what.into()));
        self.named(what.into()).await
    }

    async fn named(&self, key: String) -> Result<(), Problem> {
        self.point().await;
        let (fails, hangs) = self.with(|world| {
            world.log.push(key.clone());
            (world.failing.contains(&key), world.hanging.contains(&key))
        });
        if hangs {
            still::waits(&format!("{key} hangs by script"));
            self.stick().await;
        }
        if fails { Err(Problem::new(format!("{key} fails by script"))) } else { Ok(()) }
    }
}

#[async_trait]
impl Workshop for Node {
    async fn check(&self, _: &Section, step: &Step) -> Result<(), Problem> {
        self.phase(step, "check").await
    }

    async fn note(&self, _: &Section, step: &Step) -> Result<Note, Problem> {
        self.phase(step, "note").await?;
        Note::of(&self.with(|world| (world.file.clone(), world.starts)))
    }

    async fn apply(
        &self,
        _: &Section,
        step: &Step,
        _: &Note,
        progress: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem> {
        progress(1, 2);
        self.point().await;
        self.with(|world| {
            *world.applied.entry(step.name()).or_default() += 1;
            match step {
                Step::SwapBinary(_) => world.file = "new".into(),
                Step::RestartUnit(_) => {
                    world.running = world.file.clone();
                    world.starts += 1;
                }
                _ => {}
            }
        });
        self.phase(step, "apply").await?;
        Ok(vec![Evidence::Healthy { source: step.name().into() }])
    }

    async fn probe(&self, _: &Section, step: &Step, note: &Note) -> Found {
        if self.with(|world| world.blind) {
            return Found::Undecidable("the node does not say".into());
        }
        let (file, starts): (String, u32) = note.read().unwrap();
        let took_place = self.with(|world| match step {
            Step::SwapBinary(_) => world.file != file,
            Step::RestartUnit(_) => world.starts != starts,
            _ => true,
        });
        if took_place { Found::Done } else { Found::NotBegun }
    }

    async fn undo_note(&self, _: &Section, step: &Step) -> Result<Note, Problem> {
        self.phase(step, "undo_note").await?;
        Note::of(&self.with(|world| world.starts))
    }

    async fn undo(&self, _: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem> {
        self.phase(step, "undo").await?;
        tokio::time::sleep(self.with(|world| world.undo_takes)).await;
        let (file, _): (String, u32) = note.read().unwrap();
        self.with(|world| {
            world.undone.push(step.name());
            match step {
                Step::SwapBinary(_) => world.file = file,
                Step::RestartUnit(_) => {
                    world.running = world.file.clone();
                    world.starts += 1;
                }
                _ => {}
            }
        });
        self.point().await;
        Ok(vec![Evidence::Healthy { source: format!("{} back", step.name()) }])
    }

    async fn undo_probe(&self, _: &Section, step: &Step, _: &Note, before: &Note) -> Found {
        let Ok(starts) = before.read::<u32>() else { return Found::NotBegun };
        let back = vec![Evidence::Healthy { source: format!("{} back", step.name()) }];
        match self.with(|world| matches!(step, Step::RestartUnit(_)) && world.starts != starts) {
            true => Found::Seen(back),
            false => Found::NotBegun,
        }
    }

    fn unpacks_itself(&self, path: &AbsPath) -> bool {
        self.with(|world| world.unpacks.as_ref() == Some(path))
    }

    async fn may_take_back(&self, _: &Section) -> Result<(), Problem> {
        self.with(|world| world.policy.clone()).map_or(Ok(()), |why| Err(Problem::new(why)))
    }

    async fn standing(&self, _: &Section) -> Result<Standing, Problem> {
        Ok(self.with(|world| world.standing.clone()).unwrap_or(Standing::None))
    }

    async fn may_arm(&self, _: &Section) -> Result<(), Problem> {
        self.guarding("may_arm").await
    }

    async fn arm(&self, _: &Section) -> Result<Duration, Problem> {
        self.guarding("arm").await?;
        Ok(self.with(|world| world.arms_for).unwrap_or(Duration::from_secs(30)))
    }

    async fn disarm(&self, _: &Section) -> Result<(), Problem> {
        self.guarding("disarm").await
    }

    async fn confirm(&self, section: &Section) -> Result<Vec<Evidence>, Problem> {
        self.guarding("confirm").await?;
        self.with(|world| world.left_over = Some(section.effect));
        Ok(vec![Evidence::Confirmed { by: "the script".into(), after: Millis::secs(1) }])
    }

    async fn revert(&self, _: &Section, _: &str) -> Result<Report, Problem> {
        self.guarding("revert").await?;
        self.with(|world| world.report.clone()).ok_or_else(|| Problem::new("no report by script"))
    }

    async fn put_away(&self, effect: EffectId) {
        let _ = self.guarding("put_away").await;
        self.with(|world| world.left_over.take_if(|left| *left == effect));
    }

    async fn left_over(&self) -> Option<EffectId> {
        self.with(|world| world.left_over)
    }

    async fn undo_guard(&self, _: &Section, _: &UndoGuard) -> Result<(), String> {
        self.with(|world| world.guard.clone()).map_or(Ok(()), Err)
    }
}

#[derive(Clone, Default)]
pub(super) struct Heard(pub(super) Arc<Lock<Vec<Event>>>);

impl Listener for Heard {
    fn hear(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    pub(super) fn last(&self) -> Event {
        self.0.lock().unwrap().last().cloned().expect("something was said")
    }
}

pub(super) struct Bench {
    pub(super) disk: MemoryDisk,
    pub(super) node: Node,
    pub(super) heard: Heard,
    pub(super) executor: Arc<Executor>,
    pub(super) stream: watch::Sender<()>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::on(MemoryDisk::new(), Node::new()).await
    }

    pub(super) async fn on(disk: MemoryDisk, node: Node) -> Self {
        let journal = Journal::open(Box::new(disk.clone()), || JournalId([1; 16])).await.unwrap();
        let heard = Heard::default();
        let name = NodeName::parse("n1").unwrap();
        let executor = Executor::new(name, journal, Arc::new(node.clone()), Arc::new(heard.clone()));
        Self { disk, node, heard, executor: Arc::new(executor), stream: watch::channel(()).0 }
    }

    pub(super) fn dispatch(&self, section: &Section) -> Dispatch {
        Dispatch {
            effect: section.effect,
            fence: fence(1, 1),
            section: encode(section),
            received: Instant::now(),
            lapse: Duration::from_secs(5),
            stream: self.stream.subscribe(),
        }
    }

    pub(super) async fn done(&self, section: &Section) -> Outcome {
        self.executor.take(self.dispatch(section)).await.unwrap();
        match self.heard.last() {
            Event::Ended(outcome) => outcome,
            other => panic!("not an outcome: {other:?}"),
        }
    }

    pub(super) async fn declined(&self, dispatch: Dispatch) -> (String, bool) {
        self.executor.take(dispatch).await.unwrap();
        match self.heard.last() {
            Event::Declined { why, lapsed, .. } => (why, lapsed),
            other => panic!("not declined: {other:?}"),
        }
    }
}

/// Where an agent dies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    /// At the node's nth point from now, from 1.
    AtPoint(u64),
    /// At the nth write of its journal from now, from 0.
    AtWrite(u64, Fault),
}

impl Bench {
    /// From now on.
    pub(super) fn arm(&self, death: Death) {
        match death {
            Death::AtPoint(point) => self.node.with(|world| world.dies_at = Some(world.points + point)),
            Death::AtWrite(write, fault) => self.disk.fail(self.disk.operations() + write, fault),
        }
    }
}

/// Works until it ends (`false`) or nothing goes on any more (`true`).
pub(super) async fn dies<T: std::fmt::Debug>(bench: &Bench, work: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = work => false,
        () = bench.node.1.notified() => true,
        () = bench.disk.died() => true,
    }
}

/// The agent dies once while it is at work on a section, is started again and brings it to its outcome. `None`: it
/// was never there where it was to die.
pub(super) async fn carried_on(
    bench: Bench,
    section: &Section,
    death: Death,
    left: Survives,
) -> Option<(Bench, Outcome)> {
    bench.arm(death);
    if !dies(&bench, bench.executor.take(bench.dispatch(section))).await {
        return None;
    }
    let before = bench.executor.memory().await.length;
    bench.disk.crash(left);
    bench.node.with(|world| world.dies_at = None);
    let bench = Bench::on(bench.disk, bench.node).await;
    assert!(bench.executor.memory().await.length >= before, "the length never falls");
    let outcome = match bench.executor.recover().await.unwrap() {
        Some(outcome) => outcome,
        None => bench.done(section).await,
    };
    assert_eq!(bench.done(section).await, outcome, "and the same outcome ever after");
    Some((bench, outcome))
}

pub(super) fn fence(epoch: u64, instance: u8) -> Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([instance; 16]) }
}

pub(super) fn swap() -> Step {
    Step::SwapBinary(SwapBinary { path: AbsPath::parse("/usr/bin/etcd").unwrap() })
}

pub(super) fn unit() -> UnitStep {
    UnitStep { unit: UnitName::parse("etcd.service").unwrap(), within: Millis::secs(1) }
}

pub(super) fn section() -> Section {
    let probe = HealthProbe::Tcp { address: "127.0.0.1:1".into() };
    Section {
        effect: EffectId([5; 32]),
        from: Some(Version::parse("3.4.23").unwrap()),
        steps: vec![swap(), Step::RestartUnit(unit())],
        verify: vec![Step::Healthy(Healthy { probe, within: Millis::secs(1) })],
        can_undo: vec![UndoGuard::EtcdClusterNotRisen {}],
        requires: vec!["canUndo".into()],
        ..section::empty(SectionKind::Apply)
    }
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}
