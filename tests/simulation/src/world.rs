//! Whoever moves a story on: one thing at a time, in the order of time, and the rules after each.
//!
//! | module | what it moves |
//! |---|---|
//! | [`network`] | streams: what travels, how long, and what is lost |
//! | [`agents`] | agents' processes: start, dial, death |
//! | [`coordinators`] | coordinators: start, inputs, outputs, death |
//! | [`cluster`] | the Kubernetes cluster: others' hands in it, and what moves come to |
//! | [`compare`] | what a run has become, beside what it was |
//! | [`operators`], [`powers`] | people: start, pause, resume, abort; freeze, amend, roll back, set aside |
//! | [`trouble`] | faults |

mod agents;
mod cluster;
mod compare;
mod coordinators;
mod network;
mod operators;
mod powers;
mod trouble;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use drydock_coordinator::{
    driver::{FleetNode, Input},
    store::memory::MemoryStore,
};
use drydock_core::run::Run;
use drydock_types::{FleetId, Label, NodeName, Sha256, Version};
use tokio::time::sleep_until;

use self::{network::Stream, operators::Desk};
use crate::{
    Options,
    agent::Agent,
    cluster::Kube,
    coordinator::Coordinator,
    coverage::{Coverage, Item},
    dice::Dice,
    faults::Fault,
    ground::{By, Ground, Host, Process, Release},
    plans,
    rules::{Rules, Violation},
    scenario::{ETCD_VERSIONS, Quality, Role, SERVICE_VERSIONS, Scenario},
    shared::{Inner, Life, Mail, Shared, Up},
    story::Story,
    word,
};

/// A run that is not over so long after the last fault will never be.
const PATIENCE_MS: u64 = 48 * 3600 * 1000;
/// No story has more steps.
const MOST_STEPS: u64 = 1_500_000;

/// Something that is due at a time.
pub(crate) enum What {
    /// A message arrives at the coordinator.
    Up { stream: u64, up: Box<Up> },
    /// A message arrives at the agent.
    Down { stream: u64, order: Box<drydock_proto::agent::ToAgent> },
    /// The coordinator's end of a stream finds that it is over.
    SeatEnds(u64),
    /// The agent's end finds that it is over.
    SessionEnds(u64),
    /// Nothing was heard for so long: whoever waits gives up if that is still so.
    Silence { stream: u64, up: bool },
    /// Welcome should have come by now.
    AttachLate(u64),
    /// An agent dials.
    Dial(Life),
    /// An agent's process is started.
    AgentStarts(usize),
    /// A machine has power again.
    PowerBack(usize),
    /// A coordinator is started.
    CoordinatorStarts(usize),
    /// Something happens on a host by itself.
    Host(usize),
    /// A fault.
    Fault(Fault),
    /// A partition heals; which of them it was is counted.
    Heals { host: usize, up: bool, down: bool },
    /// Somebody gives back what they took.
    OthersEnd(usize),
    /// The disk of an agent has room again.
    RoomAgain(usize),
    /// The second coordinator goes away, or the first.
    SplitEnds { survivor: usize },
    /// An operator starts a plan.
    Plan(usize),
    /// The fleet is thawed.
    Thaw,
    /// A node that was set aside is released.
    Release(usize),
    /// A look that came back has stood in the queue.
    Looked { coordinator: usize, start: u32, input: Box<Input> },
    /// Somebody takes back what they did to the cluster.
    ClusterMends(Fault),
    /// A kubelet reports its machine's start.
    KubeletReports(usize),
    /// Operators look at the runs.
    Desk,
    /// Copies of disks are made.
    Copies,
}

struct Due {
    at_ms: u64,
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.number) == (other.at_ms, other.number)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

/// A story under way.
pub(crate) struct World {
    shared: Shared,
    scenario: Scenario,
    agents: Vec<Agent>,
    coordinators: Vec<Coordinator>,
    /// The one that operators talk to.
    first: usize,
    /// Stopped for good.
    retired: Option<usize>,
    /// Where each agent's address leads.
    route: Vec<usize>,
    streams: BTreeMap<u64, Stream>,
    last_stream: u64,
    /// By host: how many partitions keep what it says, and what it is told.
    blocked: Vec<(u32, u32)>,
    queue: BinaryHeap<Reverse<Due>>,
    last_due: u64,
    desk: Desk,
    steps: u64,
    /// When a driver was last told of the time, and how often of that very millisecond.
    ticks: (u64, u32),
    /// The story keeps copies of disks, for it contains a restore.
    keeps_copies: bool,
    over: bool,
}

/// What a story came to.
#[derive(Debug)]
pub struct Ended {
    /// The rule that did not hold.
    pub violation: Option<Violation>,
    /// What took place.
    pub coverage: Coverage,
    /// Line by line, where that was wanted.
    pub story: String,
    /// Tells two stories apart.
    pub mark: (u64, u64),
    /// How long it was, in its own time.
    pub story_ms: u64,
    /// How many things happened.
    pub steps: u64,
    /// Nodes that were called done.
    pub nodes_done: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let scenario = Scenario::draw(seed, options);
        let ground = ground(&scenario);
        // What the last story of this thread has left.
        drop(word::take());
        let hosts = ground.hosts.len();
        let inner = Inner {
            rules: Rules::new(hosts),
            kube: scenario.cluster.as_ref().map(|spec| Kube::new(spec, &ground.hosts, seed)),
            mail: std::collections::VecDeque::new(),
            coverage: Coverage::default(),
            story: Story::new(options.trace),
            dice: Dice::new(seed, "hosts"),
            network: Dice::new(seed, "network"),
            rates: scenario.rates.iter().copied().collect(),
            calm_ms: scenario.calm_ms,
            dies_in: vec![None; hosts],
            dead: std::collections::BTreeSet::new(),
            stale_until: vec![0; hosts],
            flaps_until: vec![0; hosts],
            unclear_until: vec![0; hosts],
            alarm_until: 0,
            reaches: vec![true; hosts],
            ground,
        };
        let agent = |host: &Host| Agent {
            node: host.name.clone(),
            disk: drydock_agent::journal::memory::MemoryDisk::new(),
            starts: 0,
            process: None,
            copies: Vec::new(),
        };
        let agents = inner.ground.hosts.iter().map(agent).collect();
        let mut dice = Dice::new(seed, "operators");
        let store = MemoryStore::new(FleetId(dice.id()));
        let keeps_copies = scenario.faults.iter().any(|(_, fault)| fault.kind.wants_copies());
        Self {
            shared: Shared::new(inner),
            desk: Desk::new(dice, scenario.plans.len()),
            scenario,
            agents,
            coordinators: vec![Coordinator::new(store)],
            first: 0,
            retired: None,
            route: vec![0; hosts],
            streams: BTreeMap::new(),
            last_stream: 0,
            blocked: vec![(0, 0); hosts],
            queue: BinaryHeap::new(),
            last_due: 0,
            steps: 0,
            ticks: (0, 0),
            keeps_copies,
            over: false,
        }
    }

    /// The whole story.
    pub(crate) async fn run(mut self) -> Ended {
        self.begin();
        while !self.over {
            self.steps += 1;
            if self.steps > MOST_STEPS {
                let steps = self.steps;
                self.broken(0, || format!("the story has not ended after {steps} steps"));
            }
            let mail = self.shared.lock().mail.pop_front();
            if let Some(mail) = mail {
                self.take(mail);
            } else if let Some(what) = self.next_due() {
                self.happen(what);
            } else if !self.tick() {
                self.wait().await;
            }
            if self.shared.lock().rules.violation.is_some() {
                break;
            }
        }
        self.end()
    }

    fn begin(&mut self) {
        self.due(0, What::CoordinatorStarts(0));
        for host in 0..self.agents.len() {
            let at_ms = self.shared.lock().network.between(0, 40);
            self.due(at_ms, What::AgentStarts(host));
        }
        for (index, plan) in self.scenario.plans.clone().iter().enumerate() {
            self.due(plan.at_ms, What::Plan(index));
        }
        for (at_ms, fault) in self.scenario.faults.clone() {
            self.due(at_ms, What::Fault(fault));
        }
        if self.keeps_copies {
            self.due(700, What::Copies);
        }
        self.due(5000, What::Desk);
    }

    /// Puts something into the order of time.
    fn due(&mut self, at_ms: u64, what: What) {
        self.last_due += 1;
        self.queue.push(Reverse(Due { at_ms, number: self.last_due, what }));
    }

    fn soon(&mut self, in_ms: u64, what: What) {
        let at_ms = self.now_ms() + in_ms;
        self.due(at_ms, what);
    }

    fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    fn next_due(&mut self) -> Option<What> {
        let now_ms = self.now_ms();
        let due = self.queue.peek().is_some_and(|Reverse(due)| due.at_ms <= now_ms);
        if due { self.queue.pop().map(|Reverse(due)| due.what) } else { None }
    }

    /// Until something is posted or due.
    async fn wait(&mut self) {
        let queued = self.queue.peek().map(|Reverse(due)| due.at_ms);
        let ticks = self.coordinators.iter().filter_map(Coordinator::tick_ms);
        let Some(at_ms) = queued.into_iter().chain(ticks).min() else {
            return self.shared.news().await;
        };
        tokio::select! {
            biased;
            () = self.shared.news() => {}
            () = sleep_until(self.shared.at(at_ms)) => {}
        }
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::AgentReady { life, executor } => self.agent_ready(life, executor),
            Mail::AgentStopped { life, why } => self.agent_stopped(life, &why),
            Mail::AgentDied(life) => self.agent_died(life),
            Mail::Heard { life, event } => self.heard(life, event),
            Mail::Up { stream, up } => self.send_up(stream, up),
            Mail::Down { stream, order } => self.send_down(stream, *order),
            Mail::GivenUp(stream) => self.seat_ends(stream),
            Mail::Attached { life, stream } => self.attached(life, stream),
            Mail::Hung { stream, why } => self.hung(stream, &why),
            Mail::Looked { coordinator, start, input } => self.look_came_back(coordinator, start, input),
            Mail::Moved { coordinator, start, input } => self.moved(coordinator, start, *input),
            Mail::Surveyed { coordinator, start, plan, seen } => {
                self.surveyed(coordinator, start, plan, &seen)
            }
            Mail::Wake { host, at_ms } => self.due(at_ms, What::Host(host)),
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Up { stream, up } => self.arrives_up(stream, *up),
            What::Down { stream, order } => self.arrives_down(stream, *order),
            What::SeatEnds(stream) => self.seat_ends(stream),
            What::SessionEnds(stream) => self.session_ends(stream, "the coordinator closed the stream"),
            What::Silence { stream, up } => self.silence(stream, up),
            What::AttachLate(stream) => self.attach_late(stream),
            What::Dial(life) => self.dial(life),
            What::AgentStarts(host) => self.start_agent(host),
            What::PowerBack(host) => self.power_back(host),
            What::CoordinatorStarts(index) => self.start_coordinator(index),
            What::Host(host) => self.host_turns(host),
            What::Fault(fault) => self.fault(fault),
            What::Heals { host, up, down } => self.heals(host, up, down),
            What::OthersEnd(host) => self.others_end(host),
            What::RoomAgain(host) => self.agents[host].disk.set_capacity(None),
            What::SplitEnds { survivor } => self.split_ends(survivor),
            What::Plan(index) => self.start_plan(index),
            What::Thaw => self.thaw(),
            What::Release(host) => self.release(host),
            What::Looked { coordinator, start, input } => self.looked(coordinator, start, *input),
            What::ClusterMends(fault) => self.cluster_mends(fault),
            What::KubeletReports(host) => self.kubelet_reports(host),
            What::Desk => self.desk_looks(),
            What::Copies => self.copies(),
        }
    }

    fn host_turns(&mut self, host: usize) {
        let now_ms = self.now_ms();
        let wakes = {
            let mut inner = self.shared.lock();
            let by = inner.ground.hosts[host].touched_by.map_or(By::Others, By::Us);
            inner.settle(host, by, now_ms);
            if inner.ground.hosts[host].role == Role::Etcd {
                inner.ground.settle_cluster(now_ms);
            }
            inner.ground.wakes_ms(host)
        };
        if let Some(at_ms) = wakes.filter(|at_ms| *at_ms > now_ms) {
            self.due(at_ms, What::Host(host));
        }
    }

    fn say(&self, who: impl FnOnce() -> String, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms();
        self.shared.lock().story.say(now_ms, || (who(), what()));
    }

    fn broken(&self, rule: u8, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms();
        self.shared.lock().rules.broken(rule, now_ms, what);
    }

    fn note(&self, item: Item) {
        self.shared.lock().coverage.note(item);
    }

    fn host_name(&self, host: usize) -> String {
        self.agents[host].node.to_string()
    }

    fn nodes(&self) -> Vec<(NodeName, FleetNode)> {
        let inner = self.shared.lock();
        let zone = Label::parse("zone").ok();
        let node = |host: &Host| {
            let value = host.zone.as_deref().and_then(|zone| Label::parse(zone).ok());
            let labels = zone.clone().zip(value).into_iter().collect();
            (host.name.clone(), FleetNode { key: host.key, labels })
        };
        inner.ground.hosts.iter().map(node).collect()
    }

    /// Every run is over: the story is.
    fn end(mut self) -> Ended {
        let story_ms = self.now_ms();
        self.verify_records();
        for agent in &mut self.agents {
            if let Some(process) = agent.process.take() {
                process.tasks.kill();
            }
        }
        for coordinator in &mut self.coordinators {
            if let Some(running) = coordinator.running.take() {
                running.kill();
            }
        }
        let mut inner = self.shared.lock();
        let violation = inner.rules.violation.take();
        let coverage = std::mem::take(&mut inner.coverage);
        let story = std::mem::take(&mut inner.story);
        let mark = story.mark();
        Ended {
            violation,
            coverage,
            mark,
            story: story.into_text(),
            story_ms,
            steps: self.steps,
            nodes_done: self.desk.nodes_done,
        }
    }
}

/// Every open run of a coordinator.
fn open_runs(coordinator: &Coordinator) -> Vec<&Run> {
    coordinator.running.as_ref().map_or_else(Vec::new, |running| running.driver.runs().collect())
}

fn ground(scenario: &Scenario) -> Ground {
    let mut ground = Ground::default();
    let mut release = |role: Role, version: &'static str, quality: Quality| {
        let digest = plans::digest(role, version, quality);
        let said = if quality == Quality::SaysAnother { "0.0.1" } else { version };
        if let (Ok(version), Ok(answers)) = (Version::parse(version), Version::parse(said)) {
            ground.releases.insert(digest, Release { version, answers, quality });
        }
    };
    for (role, versions) in [(Role::Service, SERVICE_VERSIONS), (Role::Etcd, ETCD_VERSIONS)] {
        for version in versions {
            release(role, version, Quality::Good);
            release(role, version, Quality::Rebuilt);
        }
    }
    for stage in scenario.plans.iter().flat_map(|plan| &plan.stages) {
        release(stage.role, stage.to, stage.quality);
    }
    for (index, spec) in scenario.hosts.iter().enumerate() {
        let Ok(name) = NodeName::parse(&spec.name) else { continue };
        let first = if spec.role == Role::Etcd { ETCD_VERSIONS[0] } else { SERVICE_VERSIONS[0] };
        let (version, quality) = spec.runs.unwrap_or((first, Quality::Good));
        let file = plans::digest(spec.role, version, quality);
        ground.hosts.push(Host {
            key: Sha256::of(spec.name.as_bytes()),
            name,
            role: spec.role,
            zone: spec.zone.clone(),
            file,
            process: (spec.role != Role::Bare).then_some(Process { exe: file, invocation: 1, since_ms: 0 }),
            job: None,
            next_invocation: 2,
            fetched: std::collections::BTreeSet::new(),
            powered: true,
            out: None,
            in_since_ms: 0,
            others_ms: None,
            touched_by: None,
        });
        if spec.role == Role::Etcd && ground.cluster.leader.is_none() {
            ground.cluster.leader = Some(index);
            (ground.cluster.term, ground.cluster.minor) = (4, (3, 4));
        }
    }
    ground
}
