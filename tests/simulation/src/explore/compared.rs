//! The small agent beside the real executor over the real journal: both go through every short sequence of what a
//! coordinator, a death and a service that does not start can do to them, and say the same.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use drydock_agent::{
    actions::{Found, Note, Problem},
    executor::{Dispatch, Event, Executor, Listener, NotObeyed, Progress, Workshop},
    journal::{
        Journal as RealJournal, Stored,
        memory::{MemoryDisk, Survives},
    },
};
use drydock_proto::limits::LAPSE;
use drydock_types::{
    EffectId, Epoch, Fence, InstanceId, JournalId, NodeName, Section, Sha256, Step, document,
    outcome::{Evidence, SectionResult},
    step::UndoGuard,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Lacks, Trouble, Wanted,
    agent::{AgentLacks, At, Said},
    begin::begin,
    choice::Choice,
    world::{Down, World},
};

/// Something that happens to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    Obey(u64),
    /// A section, by an epoch, to its end; the service comes up or not.
    Take {
        section: usize,
        epoch: u64,
        comes_up: bool,
    },
    /// The agent dies on the way, and is started again.
    DiesIn {
        section: usize,
        epoch: u64,
        at: Death,
    },
    /// It comes too late.
    Late {
        section: usize,
        epoch: u64,
    },
    Ask(usize),
    Forget(usize),
}

/// Where it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Accepted,
    Begun,
    Restarted,
}

const ALL: [Happens; 13] = [
    Happens::Obey(1),
    Happens::Obey(2),
    Happens::Take { section: 0, epoch: 1, comes_up: true },
    Happens::Take { section: 0, epoch: 2, comes_up: true },
    Happens::Take { section: 0, epoch: 2, comes_up: false },
    // The same effect, and other bytes.
    Happens::Take { section: 1, epoch: 1, comes_up: true },
    // Another effect.
    Happens::Take { section: 2, epoch: 1, comes_up: true },
    Happens::DiesIn { section: 0, epoch: 1, at: Death::Accepted },
    Happens::DiesIn { section: 0, epoch: 1, at: Death::Begun },
    Happens::DiesIn { section: 0, epoch: 2, at: Death::Restarted },
    Happens::Late { section: 0, epoch: 1 },
    Happens::Ask(0),
    Happens::Forget(0),
];

/// What is seen of an agent after something happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    said: Vec<Told>,
    /// How often it stopped its service, not counting what was taken back.
    stops: u32,
    new: bool,
    obeys: Option<Fence>,
    held: Vec<(EffectId, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Accepted,
    Refused,
    Lapsed,
    Done,
    Undone,
    Unknown,
    Other,
}

fn fence(epoch: u64) -> Fence {
    Fence { epoch: Epoch(epoch), instance: InstanceId([u8::try_from(epoch).unwrap(); 16]) }
}

fn world() -> World {
    let wanted = Wanted {
        name: String::new(),
        trouble: Trouble::default(),
        faults: 0,
        depth: 0,
        states: 0,
        lacks: Lacks::default(),
    };
    begin(&wanted, false).unwrap()
}

/// What the driver really hands out, the same with other bytes, and another one.
fn sections() -> Vec<Section> {
    let mut world = world();
    world.act(Choice::Answer { look: 0, as_of_then: false });
    let sent = world.links.iter().flat_map(|link| &link.down).find_map(|down| match down {
        Down::Dispatch { section, .. } => Some(document::decode::<Section>("section", section).unwrap()),
        _ => None,
    });
    let first = sent.unwrap();
    let other_bytes = Section { run_number: 9, ..first.clone() };
    let other = Section { effect: EffectId([9; 32]), ..first.clone() };
    vec![first, other_bytes, other]
}

// ---- the small one -------------------------------------------------------------------------------------------------

struct Small {
    world: World,
    stops: u32,
}

impl Small {
    fn goes_on_until_it_has_ended(&mut self, effect: EffectId, comes_up: bool, said: &mut Vec<Told>) {
        while self.world.agents[0].journal.open().is_some() {
            self.one_step(comes_up);
        }
        said.push(ended(self.world.agents[0].journal.at(effect).unwrap()));
    }

    fn one_step(&mut self, comes_up: bool) {
        match self.world.services[0].job {
            Some((_, true)) if !comes_up => self.world.act(Choice::MachineFails(0)),
            Some(_) => self.world.act(Choice::Machine(0)),
            None => {
                self.world.act(Choice::Work(0));
                self.stops += u32::from(self.world.services[0].job.is_some_and(|(_, new)| new));
            }
        }
    }

    fn take(&mut self, section: &Section, epoch: u64, late: bool) -> Said {
        let payload = Sha256::of(&document::encode(section));
        self.world.journal(0).take(section.effect, fence(epoch), payload, late, AgentLacks::default())
    }

    fn happens(&mut self, what: Happens, sections: &[Section]) -> Seen {
        let mut said = Vec::new();
        match what {
            Happens::Obey(epoch) => {
                if !self.world.journal(0).obey(fence(epoch), AgentLacks::default()) {
                    said.push(Told::Refused);
                }
            }
            Happens::Take { section, epoch, comes_up } => {
                let answer = self.take(&sections[section], epoch, false);
                said.push(told(&answer));
                if answer == Said::Accepted {
                    self.goes_on_until_it_has_ended(sections[section].effect, comes_up, &mut said);
                }
            }
            Happens::DiesIn { section, epoch, at } => {
                let answer = self.take(&sections[section], epoch, false);
                said.push(told(&answer));
                if answer == Said::Accepted {
                    for _ in 0..match at {
                        Death::Accepted => 0,
                        Death::Begun => 1,
                        Death::Restarted => 3,
                    } {
                        self.one_step(true);
                    }
                    self.goes_on_until_it_has_ended(sections[section].effect, true, &mut said);
                }
            }
            Happens::Late { section, epoch } => said.push(told(&self.take(&sections[section], epoch, true))),
            Happens::Ask(section) => {
                said.push(told(&self.world.agents[0].journal.stored(sections[section].effect)));
            }
            Happens::Forget(section) => self.world.journal(0).forget(&[sections[section].effect]),
        }
        let journal = &self.world.agents[0].journal;
        let (obeys, mut held) = (journal.seen, journal.held());
        held.sort_unstable();
        Seen { said, stops: self.stops, new: self.world.services[0].new, obeys, held }
    }
}

fn ended(at: At) -> Told {
    match at {
        At::Done => Told::Done,
        At::Undone => Told::Undone,
        _ => Told::Other,
    }
}

fn told(said: &Said) -> Told {
    match said {
        Said::Accepted => Told::Accepted,
        Said::Declined { lapsed: true, .. } => Told::Lapsed,
        Said::Declined { .. } => Told::Refused,
        Said::Ended(at) => ended(*at),
        Said::Unknown => Told::Unknown,
    }
}

// ---- the real one --------------------------------------------------------------------------------------------------

/// A machine that does what it is told, and stands still where the agent is to die.
#[derive(Debug, Default)]
struct Machine {
    stops: u32,
    new: bool,
    /// The restart of the section at work has taken place.
    restarted: bool,
    comes_up: bool,
    dies: Option<Death>,
}

#[derive(Clone, Default)]
struct Hands(Arc<Mutex<Machine>>);

impl Hands {
    fn with<T>(&self, what: impl FnOnce(&mut Machine) -> T) -> T {
        what(&mut self.0.lock().unwrap())
    }

    async fn dies_at(&self, at: Death) {
        if self.with(|machine| machine.dies == Some(at)) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Workshop for Hands {
    fn unpacks_itself(&self, _: &drydock_types::AbsPath) -> bool {
        false
    }

    async fn check(&self, _: &Section, _: &Step) -> Result<(), Problem> {
        self.dies_at(Death::Accepted).await;
        Ok(())
    }

    async fn note(&self, _: &Section, _: &Step) -> Result<Note, Problem> {
        Ok(Note::none())
    }

    async fn apply(
        &self,
        _: &Section,
        step: &Step,
        _: &Note,
        _: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem> {
        if !matches!(step, Step::RestartUnit(_)) {
            return Ok(Vec::new());
        }
        self.dies_at(Death::Begun).await;
        let up = self.with(|machine| {
            machine.stops += 1;
            (machine.new, machine.restarted) = (true, true);
            machine.comes_up
        });
        self.dies_at(Death::Restarted).await;
        if up { Ok(Vec::new()) } else { Err(Problem::new("the unit is failed")) }
    }

    async fn probe(&self, _: &Section, step: &Step, _: &Note) -> Found {
        let restarted = self.with(|machine| machine.restarted);
        if restarted || !matches!(step, Step::RestartUnit(_)) { Found::Done } else { Found::NotBegun }
    }

    async fn undo_note(&self, _: &Section, _: &Step) -> Result<Note, Problem> {
        Ok(Note::none())
    }

    async fn undo(&self, _: &Section, step: &Step, _: &Note) -> Result<Vec<Evidence>, Problem> {
        if matches!(step, Step::RestartUnit(_)) {
            self.with(|machine| machine.new = false);
        }
        Ok(Vec::new())
    }

    async fn undo_probe(&self, _: &Section, _: &Step, _: &Note, _: &Note) -> Found {
        Found::NotBegun
    }

    async fn may_take_back(&self, _: &Section) -> Result<(), Problem> {
        Ok(())
    }

    async fn undo_guard(&self, _: &Section, _: &UndoGuard) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Event>>>);

impl Listener for Ears {
    fn hear(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Real {
    disk: MemoryDisk,
    hands: Hands,
    ears: Ears,
    executor: Executor,
    _stream: watch::Sender<()>,
    stream: watch::Receiver<()>,
}

impl Real {
    async fn start(disk: MemoryDisk, hands: Hands, ears: Ears) -> Self {
        let journal = RealJournal::open(Box::new(disk.clone()), || JournalId([1; 16])).await.unwrap();
        let node = NodeName::parse("etcd-1").unwrap();
        let executor = Executor::new(node, journal, Arc::new(hands.clone()), Arc::new(ears.clone()));
        let (sender, stream) = watch::channel(());
        Self { disk, hands, ears, executor, _stream: sender, stream }
    }

    fn dispatch(&self, section: &Section, epoch: u64, late: bool) -> Dispatch {
        let lapse = if late { std::time::Duration::ZERO } else { LAPSE };
        Dispatch {
            effect: section.effect,
            fence: fence(epoch),
            section: document::encode(section),
            received: Instant::now(),
            lapse,
            stream: self.stream.clone(),
        }
    }

    /// What happens to it, and what it said; an agent that dies is another one afterwards.
    async fn happens(mut self, what: Happens, sections: &[Section]) -> (Self, Seen) {
        self.ears.0.lock().unwrap().clear();
        let mut said = Vec::new();
        match what {
            Happens::Obey(epoch) => match self.executor.obey(fence(epoch)).await {
                Ok(()) => {}
                Err(NotObeyed::Fence { .. }) => said.push(Told::Refused),
                Err(NotObeyed::Journal(error)) => panic!("{error}"),
            },
            Happens::Take { section, epoch, comes_up } => {
                self.hands.with(|machine| (machine.comes_up, machine.restarted) = (comes_up, false));
                let dispatch = self.dispatch(&sections[section], epoch, false);
                self.executor.take(dispatch).await.unwrap();
            }
            Happens::DiesIn { section, epoch, at } => {
                self.hands.with(|machine| {
                    (machine.comes_up, machine.restarted, machine.dies) = (true, false, Some(at));
                });
                let dispatch = self.dispatch(&sections[section], epoch, false);
                // It stands still where it dies; the time does not matter, for nothing else is going on.
                let died =
                    tokio::time::timeout(std::time::Duration::from_secs(5), self.executor.take(dispatch));
                let died = died.await.is_err();
                self.hands.with(|machine| machine.dies = None);
                if died {
                    let Self { disk, hands, ears, .. } = self;
                    disk.crash(Survives::Nothing);
                    self = Self::start(disk, hands, ears).await;
                    self.executor.recover().await.unwrap();
                }
            }
            Happens::Late { section, epoch } => {
                let dispatch = self.dispatch(&sections[section], epoch, true);
                self.executor.take(dispatch).await.unwrap();
            }
            Happens::Ask(section) => {
                said.push(match self.executor.stored(sections[section].effect).await.unwrap() {
                    Stored::Unknown => Told::Unknown,
                    Stored::Open { .. } => Told::Accepted,
                    Stored::Ended { outcome, .. } => result(&outcome.result),
                });
            }
            Happens::Forget(section) => {
                self.executor.forget(&[sections[section].effect]).await.unwrap();
            }
        }
        said.extend(self.ears.0.lock().unwrap().iter().filter_map(|event| match event {
            Event::Accepted(_) => Some(Told::Accepted),
            Event::Declined { lapsed: true, .. } => Some(Told::Lapsed),
            Event::Declined { .. } => Some(Told::Refused),
            Event::Ended(outcome) => Some(result(&outcome.result)),
            Event::Progress { .. } => None,
        }));
        let mut held: Vec<_> =
            self.executor.held(100).await.unwrap().iter().map(|held| (held.effect, held.ended)).collect();
        held.sort_unstable();
        let (stops, new) = self.hands.with(|machine| (machine.stops, machine.new));
        let obeys = self.executor.memory().await.seen;
        (self, Seen { said, stops, new, obeys, held })
    }
}

fn result(result: &SectionResult) -> Told {
    match result {
        SectionResult::Done {} => Told::Done,
        SectionResult::Undone { .. } => Told::Undone,
        _ => Told::Other,
    }
}

// ---- side by side --------------------------------------------------------------------------------------------------

#[test]
fn the_small_agent_says_and_does_what_the_real_executor_does() {
    let sections = sections();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for number in 0..ALL.len().pow(3) {
            let count = ALL.len();
            let way = [number / (count * count), number / count % count, number % count].map(|at| ALL[at]);
            let mut small = Small { world: world(), stops: 0 };
            // What the world was welcomed with is not of this story.
            *small.world.journal(0) = super::agent::Journal::new(1);
            let mut real = Real::start(MemoryDisk::new(), Hands::default(), Ears::default()).await;
            for (step, what) in way.into_iter().enumerate() {
                let small = small.happens(what, &sections);
                let seen;
                (real, seen) = real.happens(what, &sections).await;
                assert_eq!(small, seen, "after step {} of {way:?}: the small one and the real one", step + 1);
            }
        }
    });
}
