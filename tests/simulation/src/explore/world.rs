//! The small world: three machines with an etcd member each, their agents, one or two coordinators, and what is under
//! way between them. Everything is a value that is cheap to copy: a branch shares what it has not changed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    rc::Rc,
};

use drydock_coordinator::driver::{Driver, HeldEffect, LookRequest};
use drydock_core::{Now, run::Run, view::RunStatus};
use drydock_types::{EffectId, Fence, NodeName, Outcome};

use super::{
    Lacks,
    agent::{Agent, At, Journal},
    canon::Canon,
    cluster::{Node, Order},
    rules::Truth,
    store::{Desk, DeskStore, Disk},
};

/// How many machines there are.
pub(super) const NODES: usize = 3;
/// The wall clock when the world begins: people see it, nobody decides by it.
const WALL_MS: u64 = 1_790_000_000_000;

/// A machine's service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Service {
    /// The new version is what runs, or last ran.
    pub(super) new: bool,
    pub(super) down: bool,
    /// The service manager is to start it: for which effect, and with the new version?
    pub(super) job: Option<(EffectId, bool)>,
    /// The last effect that restarted it, and whether it came up with what it was to run.
    pub(super) last: Option<(EffectId, bool)>,
    /// Somebody else has stopped it.
    pub(super) by_others: bool,
}

/// From an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Up {
    Hello { seen: Option<Fence>, journal: Rc<Journal> },
    Accepted(EffectId),
    Declined { effect: EffectId, why: String, lapsed: bool },
    Ended(Rc<Outcome>),
    Unknown(EffectId),
    StillOpen(EffectId),
}

/// From a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Down {
    Welcome(Fence),
    Dispatch { effect: EffectId, fence: Fence, section: Rc<Vec<u8>> },
    Ask(EffectId),
    Forget(Vec<EffectId>),
}

/// A stream. Each way keeps its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) node: usize,
    pub(super) coordinator: usize,
    /// Which start of it.
    pub(super) start: u8,
    pub(super) session: u64,
    pub(super) agent_open: bool,
    pub(super) seat_open: bool,
    /// Hello was heard.
    pub(super) seated: bool,
    /// Welcome was heard.
    pub(super) attached: bool,
    pub(super) up: VecDeque<Up>,
    pub(super) down: VecDeque<Down>,
    /// Questions: how many are open, and how many of them are older than the last dispatch.
    pub(super) asks: BTreeMap<EffectId, (u32, u32)>,
}

/// A look that a coordinator has asked for.
#[derive(Debug, Clone)]
pub(super) struct Looking {
    pub(super) coordinator: usize,
    pub(super) start: u8,
    pub(super) request: Rc<LookRequest>,
    /// How things were when it was asked for.
    pub(super) then: Rc<[Service; NODES]>,
    /// The same of their Nodes.
    pub(super) nodes_then: Rc<[Node; NODES]>,
    /// Another node's change was handed out since.
    pub(super) outdated: bool,
    /// Whose service somebody else has stopped since.
    pub(super) excused: u8,
}

/// One start of a coordinator.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) driver: Driver<DeskStore>,
    pub(super) start: u8,
    pub(super) began_ms: u64,
    /// What the fleet's clock showed when it began.
    pub(super) clock_ms: u64,
    /// Agents that obey somebody else, and which epoch.
    pub(super) reported: BTreeMap<NodeName, u64>,
}

/// What lies under a coordinator.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) disk: usize,
    pub(super) starts: u8,
    pub(super) running: Option<Rc<Running>>,
    /// It does not come back: its store was taken over.
    pub(super) retired: bool,
}

/// A moment of a story.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) desk: Desk,
    pub(super) lacks: Lacks,
    pub(super) now_ms: u64,
    pub(super) services: Rc<[Service; NODES]>,
    pub(super) agents: [Agent; NODES],
    pub(super) disks: Vec<Rc<Disk>>,
    /// A copy of the first disk from right after the run was accepted.
    pub(super) backup: Option<Rc<Disk>>,
    pub(super) places: Vec<Place>,
    pub(super) links: Vec<Rc<Link>>,
    pub(super) last_session: u64,
    pub(super) looks: Vec<Rc<Looking>>,
    /// Nodes leave a cluster before they are changed.
    pub(super) drains: bool,
    /// By machine: its Node, in a world with a cluster.
    pub(super) nodes: Rc<[Node; NODES]>,
    /// What is ordered there.
    pub(super) moves: Vec<Rc<Order>>,
    /// Journals can be lost.
    pub(super) lengths: bool,
    /// How much may still go wrong.
    pub(super) left: u8,
    pub(super) truth: Truth,
    /// What is said of it, where somebody listens.
    pub(super) story: Option<Vec<String>>,
}

pub(super) fn name(node: usize) -> &'static str {
    ["etcd-1", "etcd-2", "etcd-3"].get(node).copied().unwrap_or("etcd-?")
}

pub(super) fn node_of(name: &NodeName) -> Option<usize> {
    (0..NODES).find(|node| self::name(*node) == name.as_str())
}

impl World {
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>4}.{:03} s  {}", now_ms / 1000, now_ms % 1000, what()));
        }
    }

    /// How coordinators are called: with one there is no need to number them.
    pub(super) fn who(&self, place: usize) -> String {
        if self.places.len() == 1 { "coordinator".to_string() } else { format!("coordinator {}", place + 1) }
    }

    pub(super) fn now_of(&self, running: &Running) -> Now {
        let clock_ms = running.clock_ms + (self.now_ms - running.began_ms);
        Now { clock_ms, wall_ms: WALL_MS + self.now_ms }
    }

    pub(super) fn service(&mut self, node: usize) -> &mut Service {
        &mut Rc::make_mut(&mut self.services)[node]
    }

    pub(super) fn journal(&mut self, node: usize) -> &mut Journal {
        Rc::make_mut(&mut self.agents[node].journal)
    }

    /// The stream that an agent speaks on.
    pub(super) fn speaks_on(&self, node: usize) -> Option<usize> {
        self.links.iter().position(|link| link.node == node && link.agent_open)
    }

    /// Does this start of a coordinator have the node's seat taken?
    pub(super) fn seat(&self, place: usize, start: u8, node: usize) -> Option<usize> {
        self.links.iter().position(|link| {
            (link.coordinator, link.start, link.node) == (place, start, node) && link.seated && link.seat_open
        })
    }

    /// Both ends are closed: nobody knows of it any more.
    pub(super) fn forget_link(&mut self, link: usize) {
        if !self.links[link].agent_open && !self.links[link].seat_open {
            self.links.remove(link);
        }
    }

    /// When a coordinator wants to be told that time passed.
    pub(super) fn wake_of(&self, place: usize) -> Option<u64> {
        let running = self.places[place].running.as_ref()?;
        let at = running.driver.next_wake_ms()?;
        Some((running.began_ms + at.saturating_sub(running.clock_ms)).max(self.now_ms))
    }

    pub(super) fn next_wake_ms(&self) -> Option<u64> {
        (0..self.places.len()).filter_map(|place| self.wake_of(place)).min()
    }

    /// Nothing moves any more, or only to and fro before a coordinator that is fenced: every run is over, or has
    /// stopped and says why, and no agent and no machine is half-way with anything.
    pub(super) fn is_settled(&self) -> bool {
        let still = |place: &Place| match &place.running {
            None => self.stays_away(place),
            Some(running) => {
                running.driver.fenced_by().is_some()
                    || running
                        .driver
                        .runs()
                        .all(|run| has_stopped(run) && run.nodes.iter().all(|node| node.look.is_none()))
            }
        };
        let resting = |agent: &Agent| agent.alive && agent.journal.open().is_none();
        self.moves.is_empty()
            && self.places.iter().all(still)
            && self.agents.iter().all(resting)
            && self.services.iter().all(|service| service.job.is_none())
    }

    /// A coordinator that is not started again: somebody else has its store.
    pub(super) fn stays_away(&self, place: &Place) -> bool {
        let taken = |other: &&Place| other.disk == place.disk && other.running.is_some();
        place.retired || self.places.iter().any(|other| taken(&other))
    }

    /// Nobody has anything left to do, ever.
    pub(super) fn is_over(&self) -> bool {
        self.is_settled()
            && self.places.iter().all(|place| match &place.running {
                None => self.stays_away(place),
                Some(running) => running.driver.open_runs() == 0,
            })
    }

    /// The state as a number; states from which the same follows have the same.
    pub(super) fn digest(&self, buffer: &mut String) -> u128 {
        let sessions: Vec<u64> = self.links.iter().map(|link| link.session).collect();
        let mut out = Canon::new(std::mem::take(buffer), &sessions, self.lengths);
        // Writing into a text does not fail.
        let _ = self.write(&mut out);
        let (number, text) = out.end();
        *buffer = text;
        number
    }

    fn write(&self, out: &mut Canon<'_>) -> std::fmt::Result {
        write!(out, "{:?} {:?} {:?} {}", self.services, self.agents, self.truth, self.left)?;
        write!(out, "{:?} {:?}", self.nodes, self.moves)?;
        for link in &self.links {
            write!(out, "{link:?}")?;
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let mut owners = self.places.iter().filter(|place| place.disk == number);
            let running = owners.find_map(|place| place.running.as_ref());
            let now_ms = running.map_or(disk.clock_ms, |running| self.now_of(running).clock_ms);
            let out = out.at(now_ms, 0);
            write!(out, "{:?} {:?} {}", disk.owner, disk.runs, disk.rest)?;
        }
        write!(out, "{}", self.backup.is_some())?;
        for (number, place) in self.places.iter().enumerate() {
            write!(out, "{} {} {}", place.disk, place.starts, place.retired)?;
            let Some(running) = &place.running else { continue };
            let round = running.driver.runs().map(|run| run.round).max().unwrap_or_default();
            let out = out.at(self.now_of(running).clock_ms, round);
            write!(out, "{:?}", running.reported)?;
            running.driver.write_state(out)?;
            for look in self.looks.iter().filter(|look| look.coordinator == number) {
                let LookRequest { index, round, before, .. } = &*look.request;
                let round_now = round_of(running, &look.request);
                let Looking { start, then, nodes_then, outdated, excused, .. } = &**look;
                let same = Rc::ptr_eq(then, &self.services) || **then == *self.services;
                write!(out, "{start} {index} {before} {} {outdated} {excused}", round_now == Some(*round))?;
                if !same {
                    write!(out, "{then:?}")?;
                }
                if *nodes_then != self.nodes {
                    write!(out, "{nodes_then:?}")?;
                }
            }
        }
        Ok(())
    }

    /// Looks of a coordinator that is no more.
    pub(super) fn forget_looks(&mut self) {
        let places = &self.places;
        self.looks.retain(|look| {
            let running = places[look.coordinator].running.as_ref();
            running.is_some_and(|running| running.start == look.start)
        });
    }

    /// Effects that are at work or handed out, at whoever's word.
    pub(super) fn under_way(&self) -> BTreeSet<EffectId> {
        let sent = self.links.iter().flat_map(|link| &link.down).filter_map(|down| match down {
            Down::Dispatch { effect, .. } => Some(*effect),
            _ => None,
        });
        let open = self.agents.iter().filter_map(|agent| agent.journal.open()).map(|(effect, _)| effect);
        sent.chain(open).collect()
    }
}

/// It waits for a person: whoever is held while it is aborted is waited for until somebody aborts it once more.
pub(super) const fn has_stopped(run: &Run) -> bool {
    match run.status {
        RunStatus::Held | RunStatus::Paused => true,
        RunStatus::Aborting => run.hold.is_some(),
        _ => false,
    }
}

/// The look that is awaited at this request's node.
fn round_of(running: &Running, request: &LookRequest) -> Option<u64> {
    let run = running.driver.runs().find(|run| run.number == request.run)?;
    run.nodes.get(request.index)?.look.as_ref().map(|look| look.round)
}

/// What Hello says of a journal.
pub(super) fn held(journal: &Journal) -> Vec<HeldEffect> {
    let held = journal.held().into_iter();
    held.map(|(effect, ended)| HeldEffect { effect, ended, what: "etcd to 3.5.9".to_string() }).collect()
}

/// How far an agent is, in words.
pub(super) const fn word(at: At) -> &'static str {
    match at {
        At::Accepted => "accepted",
        At::Begun => "begun",
        At::TakenBack => "being taken back",
        At::Done => "done",
        At::Undone => "taken back",
    }
}
