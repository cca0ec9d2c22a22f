//! Coordinators: the real driver, and what `rpc/attach.rs`, `link.rs` and `serve.rs` do around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use drydock_coordinator::{
    driver::{Agent as Known, ControlVerb, Driver, FleetNode, Input, LookRequest, Output},
    heard::Signed,
    store::{RunStore as _, StoreError},
};
use drydock_core::{
    inventory::Seen,
    recipe::Check,
    run::{CheckResult, JournalRef, Run},
};
use drydock_types::{
    EffectId, Fence, InstanceId, NodeKey, NodeName, Outcome, Section, Sha256, Signature, Verdict, Version,
    document, probe::HostFacts, section::KNOWN_REQUIREMENTS,
};

use super::{
    agent::{Journal, is_known},
    cluster::{Node, verdict},
    rules::Evidence,
    store::DeskStore,
    world::{Down, Looking, NODES, Running, Service, Up, World, held, name, node_of},
};

/// What runs, and what is to run.
pub(super) const VERSIONS: [&str; 2] = ["3.5.8", "3.5.9"];

pub(super) fn key(node: usize) -> NodeKey {
    Sha256::of(name(node).as_bytes())
}

pub(super) fn exe(version: &str) -> Sha256 {
    Sha256::of(format!("etcd {version}").as_bytes())
}

fn nodes() -> Vec<(NodeName, FleetNode)> {
    let node = |node| {
        Some((NodeName::parse(name(node)).ok()?, FleetNode { key: key(node), labels: BTreeMap::new() }))
    };
    (0..NODES).filter_map(node).collect()
}

/// An outcome as the edge hands it on, its signature judged.
fn ended(node: NodeName, of: usize, outcome: Outcome) -> Option<Input> {
    let bytes = document::encode(&outcome);
    let signature = Signature::of(&[1])?;
    let signed = Signed::new(key(of), bytes, Vec::new(), signature);
    Some(Input::Outcome { node, outcome: Box::new(outcome), signed: Box::new(signed) })
}

impl World {
    // ---- life ------------------------------------------------------------------------------------------------

    pub(super) fn start_coordinator(&mut self, place: usize) {
        self.places[place].starts += 1;
        let start = self.places[place].starts;
        let disk = self.places[place].disk;
        let mut store = DeskStore::new(self.desk.clone(), self.lacks.owner);
        self.desk.lay(&self.disks[disk]);
        let clock_ms = self.disks[disk].clock_ms;
        let opened = (|| {
            let fence = store.take_over(InstanceId([start; 16]))?;
            let mut running = Running {
                driver: Driver::open(store, fence, drydock_core::Now { clock_ms, wall_ms: 0 })?.0,
                start,
                began_ms: self.now_ms,
                clock_ms,
                reported: BTreeMap::new(),
            };
            let now = self.now_of(&running);
            running.driver.handle(Input::Registered { nodes: nodes() }, now)?;
            Ok::<_, StoreError>(running)
        })();
        self.laid_down(disk);
        match opened {
            Ok(running) => {
                let (who, epoch) = (self.who(place), running.driver.fence().epoch.0);
                self.say(|| format!("{who}: starts, epoch {epoch}"));
                self.places[place].running = Some(Rc::new(running));
            }
            Err(error) => self.broken(0, || format!("a coordinator does not start: {error}")),
        }
    }

    /// What was written stays.
    fn laid_down(&mut self, disk: usize) {
        if let Some(after) = self.desk.take() {
            self.disks[disk] = after;
        }
    }

    pub(super) fn coordinator_dies(&mut self, place: usize, losing: bool) {
        let lost = if losing { ", and what it had sent is lost" } else { "" };
        let who = self.who(place);
        self.say(|| format!("{who}: is killed{lost}"));
        self.is_gone(place, losing);
    }

    fn is_gone(&mut self, place: usize, losing: bool) {
        self.places[place].running = None;
        self.stop(|order| order.place == place);
        for link in (0..self.links.len())
            .rev()
            .filter(|link| self.links[*link].coordinator == place)
            .collect::<Vec<_>>()
        {
            let it = Rc::make_mut(&mut self.links[link]);
            it.seat_open = false;
            it.up.clear();
            if losing {
                it.down.clear();
            }
            self.forget_link(link);
        }
    }

    // ---- what comes in ---------------------------------------------------------------------------------------

    pub(super) fn arrives_up(&mut self, link: usize) {
        let Some(up) = Rc::make_mut(&mut self.links[link]).up.pop_front() else { return };
        let (place, node) = (self.links[link].coordinator, self.links[link].node);
        let Ok(name) = NodeName::parse(name(node)) else { return };
        let input = match up {
            Up::Hello { seen, journal } => return self.hello(link, seen, &journal),
            Up::Accepted(effect) => Some(Input::Accepted { node: name, effect }),
            Up::Declined { effect, why, lapsed } => Some(Input::Declined { node: name, effect, why, lapsed }),
            Up::Ended(outcome) => {
                self.answered(link, outcome.effect);
                ended(name, node, Outcome::clone(&outcome))
            }
            Up::StillOpen(effect) => {
                self.answered(link, effect);
                Some(Input::Accepted { node: name, effect })
            }
            Up::Unknown(effect) => {
                self.answered(link, effect).then_some(Input::NotKnown { node: name, effect })
            }
        };
        if let Some(input) = input {
            self.tell(place, input, None);
        }
    }

    /// As `link::Sessions::answered`.
    fn answered(&mut self, link: usize, effect: EffectId) -> bool {
        let asks = &mut Rc::make_mut(&mut self.links[link]).asks;
        let Some((open, stale)) = asks.get_mut(&effect) else { return false };
        *open = open.saturating_sub(1);
        let of_now = *stale == 0;
        *stale = stale.saturating_sub(1);
        if *open == 0 {
            asks.remove(&effect);
        }
        of_now
    }

    /// As `rpc/attach.rs` has it.
    fn hello(&mut self, link: usize, seen: Option<Fence>, journal: &Journal) {
        let (place, node, session) =
            (self.links[link].coordinator, self.links[link].node, self.links[link].session);
        let Some(running) = self.places[place].running.clone() else { return };
        let Ok(node_name) = NodeName::parse(name(node)) else { return };
        let (who, ours) = (self.who(place), running.driver.fence());
        let lacks = self.lacks.agent.fence;
        if let Some(seen) = seen.filter(|seen| !lacks && !ours.is_obeyed_after(Some(seen))) {
            self.say(|| format!("{who}: is fenced: {node_name} obeys epoch {}", seen.epoch.0));
            if let Some(running) = &mut self.places[place].running {
                Rc::make_mut(running).reported.insert(node_name, seen.epoch.0);
            }
            self.tell(place, Input::Fenced { by: seen }, None);
            return self.turns_all_away(place);
        }
        if running.driver.fenced_by().is_some() {
            return self.closes_seat(link);
        }
        // The node's earlier stream has lost its seat.
        let before = (0..self.links.len()).filter(|other| {
            let it = &self.links[*other];
            *other != link && (it.coordinator, it.start, it.node) == (place, running.start, node)
        });
        for before in before.collect::<Vec<_>>() {
            Rc::make_mut(&mut self.links[before]).seat_open = false;
            Rc::make_mut(&mut self.links[before]).up.clear();
        }
        let it = Rc::make_mut(&mut self.links[link]);
        it.seated = true;
        it.down.push_back(Down::Welcome(ours));
        self.say(|| format!("{who}: {node_name} is connected"));
        let agent = Known {
            session,
            key: key(node),
            version: String::new(),
            journal: JournalRef { id: journal.id, length: journal.length },
            steps: BTreeSet::new(),
            requirements: BTreeSet::new(),
            facts: HostFacts::default(),
        };
        self.tell(place, Input::Held { node: node_name.clone(), effects: held(journal) }, None);
        self.tell(place, Input::Connected { node: node_name, agent: Box::new(agent) }, None);
        self.links.retain(|link| link.agent_open || link.seat_open);
    }

    /// All its streams end, and nobody sits down again.
    fn turns_all_away(&mut self, place: usize) {
        let sessions: Vec<u64> =
            self.links.iter().filter(|link| link.coordinator == place).map(|link| link.session).collect();
        for session in sessions {
            if let Some(link) = self.links.iter().position(|link| link.session == session) {
                Rc::make_mut(&mut self.links[link]).up.clear();
                self.closes_seat(link);
            }
        }
    }

    fn closes_seat(&mut self, link: usize) {
        if self.links[link].seat_open {
            self.seat_ends(link);
        }
    }

    pub(super) fn seat_ends(&mut self, link: usize) {
        let it = Rc::make_mut(&mut self.links[link]);
        it.seat_open = false;
        let (place, node, session, seated) = (it.coordinator, it.node, it.session, it.seated);
        self.forget_link(link);
        if let Ok(node) = NodeName::parse(name(node))
            && seated
        {
            let who = self.who(place);
            self.say(|| format!("{who}: the stream of {node} is over"));
            self.tell(place, Input::Disconnected { node, session }, None);
        }
    }

    pub(super) fn time(&mut self) {
        let Some(at_ms) = self.next_wake_ms() else { return };
        self.now_ms = self.now_ms.max(at_ms);
        for place in 0..self.places.len() {
            if self.wake_of(place).is_some_and(|at| at <= self.now_ms) {
                let who = self.who(place);
                self.say(|| format!("{who}: time has come"));
                self.tell(place, Input::Tick, None);
            }
        }
    }

    // ---- looks -----------------------------------------------------------------------------------------------

    pub(super) fn answer(&mut self, look: usize, as_of_then: bool) {
        let look = self.looks.remove(look);
        let services = if as_of_then { Rc::clone(&look.then) } else { Rc::clone(&self.services) };
        let nodes = if as_of_then { Rc::clone(&look.nodes_then) } else { Rc::clone(&self.nodes) };
        let request = &look.request;
        let Some(node) = node_of(&request.node) else { return };
        let there = self.seat(look.coordinator, look.start, node).is_some();
        let (mut results, seen) = self.seen(request, node, there, &services);
        let kube = if self.lacks.left { Node::drained() } else { nodes[node] };
        results.extend(verdict(request, kube));
        let clear = results.iter().all(|result| result.verdict.is_clear());
        let who = self.who(look.coordinator);
        let then = if as_of_then { " as it was" } else { "" };
        let told = results.iter().find_map(|result| result.verdict.reason()).map(ToString::to_string);
        self.say(|| {
            format!(
                "{who}: has looked at {}{then}: {}",
                request.node,
                told.unwrap_or_else(|| "clear".to_string())
            )
        });
        let evidence = Evidence {
            node,
            // The truth of it, whatever a check says.
            clear: clear && is_clear(request, node, &services) && there,
            outdated: look.outdated,
            excused: look.excused,
            saw: services[node].clone(),
            left: request.moves.is_empty() || nodes[node].is_drained(),
        };
        let LookRequest { run, index, round, .. } = **request;
        let input = Input::Looked { run, node: index, round, results, seen };
        self.tell(look.coordinator, input, Some(&evidence));
    }

    /// What the checks of a look say of these services.
    fn seen(
        &self,
        request: &LookRequest,
        node: usize,
        there: bool,
        services: &[Service; NODES],
    ) -> (Vec<CheckResult>, Seen) {
        let verdict = |_: &Check| {
            if self.lacks.checks {
                return Verdict::Clear;
            }
            if !there {
                return Verdict::Unknown(format!("the stream of {}'s agent is not open", name(node)));
            }
            match is_clear(request, node, services) {
                true => Verdict::Clear,
                false => Verdict::Waiting("a member of the cluster is not well".to_string()),
            }
        };
        let result = |check: &Check| CheckResult { check: check.name().to_string(), verdict: verdict(check) };
        let service = &services[node];
        let version = VERSIONS[usize::from(service.new)];
        let runs = there && !service.down;
        let answer = match Version::parse(version) {
            Ok(version) if runs => Ok(version),
            _ => Err("nobody answers".to_string()),
        };
        let seen =
            Seen { version: Some(answer), exe_sha256: runs.then(|| exe(version)), role: None, down: false };
        (request.checks.iter().map(result).collect(), seen)
    }

    // ---- people ----------------------------------------------------------------------------------------------

    pub(super) fn pause(&mut self, place: usize) {
        if self.control(place, ControlVerb::Pause, "pauses the run") {
            self.truth.paused(self.places[place].disk, true);
        }
    }

    pub(super) fn resume(&mut self, place: usize) {
        // What follows at once is let out again.
        let disk = self.places[place].disk;
        self.truth.paused(disk, false);
        self.truth.decided();
        self.control(place, ControlVerb::Resume, "lets the run go on");
    }

    pub(super) fn abort(&mut self, place: usize) {
        self.control(place, ControlVerb::Abort, "ends the run");
    }

    /// `true`: it was acknowledged.
    fn control(&mut self, place: usize, verb: ControlVerb, words: &str) -> bool {
        let who = self.who(place);
        self.say(|| format!("operator: {words} at {who}"));
        let mut said = false;
        self.with(place, None, |driver, now| match driver.control(0, verb, "anna", now) {
            Ok((_, outputs)) => {
                said = true;
                Ok(outputs)
            }
            Err(drydock_coordinator::driver::OperatorError::Store(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        });
        said && self.places[place].running.is_some()
    }

    pub(super) fn take_over(&mut self, place: usize) {
        let who = self.who(place);
        self.say(|| format!("operator: {who} takes over, on what agents report"));
        self.places[place].starts += 1;
        let instance = InstanceId([self.places[place].starts; 16]);
        let Some(reported) = self.places[place].running.as_ref().map(|running| running.reported.clone())
        else {
            return;
        };
        self.with(place, None, |driver, now| {
            driver.take_over_above(instance, &reported, "anna", now).map(|(_, outputs)| outputs)
        });
        if let Some(running) = &mut self.places[place].running {
            Rc::make_mut(running).reported.clear();
        }
    }

    // ---- the driver ------------------------------------------------------------------------------------------

    pub(super) fn tell(&mut self, place: usize, input: Input, evidence: Option<&Evidence>) {
        self.with(place, evidence, |driver, now| driver.handle(input, now));
    }

    /// Has a driver do something on its disk, and does what follows.
    pub(super) fn with(
        &mut self,
        place: usize,
        evidence: Option<&Evidence>,
        what: impl FnOnce(&mut Driver<DeskStore>, drydock_core::Now) -> Result<Vec<Output>, StoreError>,
    ) {
        let Some(running) = self.places[place].running.clone() else { return };
        let now = self.now_of(&running);
        let disk = self.places[place].disk;
        let before: Vec<Run> = running.driver.runs().cloned().collect();
        self.desk.lay(&self.disks[disk]);
        drop(running);
        let Some(running) = &mut self.places[place].running else { return };
        let done = what(&mut Rc::make_mut(running).driver, now);
        self.laid_down(disk);
        match done {
            Ok(outputs) => {
                self.says(place, &before, evidence);
                outputs.into_iter().for_each(|output| self.perform(place, output, evidence));
            }
            Err(StoreError::TakenOver { found, .. }) => {
                let who = self.who(place);
                self.say(|| format!("{who}: ends: epoch {found} has its store"));
                self.is_gone(place, false);
                self.places[place].retired = true;
            }
            Err(error) => self.broken(0, || format!("a store that works refused a transition: {error}")),
        }
    }

    fn perform(&mut self, place: usize, output: Output, evidence: Option<&Evidence>) {
        let Some((start, fence)) =
            self.places[place].running.as_ref().map(|running| (running.start, running.driver.fence()))
        else {
            return;
        };
        match output {
            Output::Dispatch { node, session, effect, section } => {
                let Some(number) = node_of(&node) else { return };
                let who = self.who(place);
                self.say(|| format!("{who}: hands the change {} to {node}", effect.short()));
                self.handed_out(place, (effect, number), &section, evidence);
                let kind = document::decode::<Section>("section", &section).map(|section| section.kind);
                if !kind.is_ok_and(is_known) {
                    return self.broken(0, || "a section that this world does not know".to_string());
                }
                let Some(link) = self.links.iter().position(|link| link.session == session && link.seat_open)
                else {
                    return;
                };
                let it = Rc::make_mut(&mut self.links[link]);
                if let Some((open, stale)) = it.asks.get_mut(&effect) {
                    *stale = *open;
                }
                if it.agent_open {
                    it.down.push_back(Down::Dispatch { effect, fence, section: Rc::new(section) });
                }
            }
            Output::Ask { node, effect } => {
                let Some(link) = node_of(&node).and_then(|node| self.seat(place, start, node)) else {
                    return;
                };
                let it = Rc::make_mut(&mut self.links[link]);
                it.asks.entry(effect).or_default().0 += 1;
                if it.agent_open {
                    it.down.push_back(Down::Ask(effect));
                }
            }
            Output::Forget { node, effects } => {
                let Some(link) = node_of(&node).and_then(|node| self.seat(place, start, node)) else {
                    return;
                };
                let it = Rc::make_mut(&mut self.links[link]);
                if it.agent_open {
                    it.down.push_back(Down::Forget(effects));
                }
            }
            Output::Observe(request) => {
                unreachable!("no plan has anything measured from outside: {request:?}")
            }
            Output::Move(request) => self.ordered(place, &request),
            Output::Look(request) => {
                self.looks.push(Rc::new(Looking {
                    coordinator: place,
                    start,
                    request: Rc::new(*request),
                    then: Rc::clone(&self.services),
                    nodes_then: Rc::clone(&self.nodes),
                    outdated: false,
                    excused: 0,
                }));
            }
        }
    }
}

/// As `etcdQuorum` has it: without the node that is to leave the healthy rest is a majority; with one that is back
/// there are all it needs.
fn is_clear(request: &LookRequest, node: usize, services: &[Service; NODES]) -> bool {
    let up = |of: &usize| !services[*of].down;
    let others = (0..NODES).filter(|of| *of != node && up(of)).count();
    match request.before {
        true => others > NODES / 2,
        false => up(&node) && others + 1 > NODES / 2,
    }
}

/// What agents can do: the planner is told.
pub(super) fn abilities() -> (BTreeSet<String>, BTreeSet<String>) {
    let steps = drydock_types::Step::ALL.iter().map(ToString::to_string).collect();
    (steps, KNOWN_REQUIREMENTS.iter().map(ToString::to_string).collect())
}
