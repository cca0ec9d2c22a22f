//! Coordinators: start, inputs, outputs, death; and what the rules say to each.

use std::time::Duration;

use drydock_agent::executor::Memory;
use drydock_coordinator::{
    driver::{Agent, HeldEffect, Input, Output},
    heard::{self, Signed},
    store::{RunStore as _, StoreError, memory::MemoryStore, record::RecordCheck},
};
use drydock_core::run::JournalRef;
use drydock_proto::{PROTOCOL, agent, tls::peer::Shown};
use drydock_types::{
    InstanceId, NodeName, Outcome, Sha256, Signature, Step, document, section::KNOWN_REQUIREMENTS,
};
use tokio::sync::mpsc;

use super::{What, World, open_runs};
use crate::{
    coverage::Item,
    eyes,
    faults::Kind,
    rules::{decided::Evidence, marks::Hand, said::Around},
    shared::Mail,
    word,
};

/// How long agents are told to stay away from a coordinator that is fenced.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// So often a driver may be told of the same millisecond: each time it decides what is due.
const MOST_TICKS: u32 = 10_000;
/// Messages that wait for one stream.
const STREAM_QUEUE: usize = drydock_proto::limits::STREAM_QUEUE;

/// An outcome as the driver is told it.
pub(super) fn outcome_input(node: NodeName, outcome: Outcome) -> Option<Input> {
    let bytes = document::encode(&outcome);
    // The signature itself is not simulated: what is signed is what is said.
    let signed = Signature::of(&[1])
        .map(|signature| Signed::new(Sha256::of(node.as_str().as_bytes()), bytes, Vec::new(), signature))?;
    Some(Input::Outcome { node, outcome: Box::new(heard::outcome(outcome)), signed: Box::new(signed) })
}

impl World {
    pub(super) fn start_coordinator(&mut self, index: usize) {
        if self.coordinators[index].running.is_some() || self.retired == Some(index) {
            return;
        }
        let nodes = self.nodes();
        let outputs = match self.coordinators[index].start(index, nodes, &self.shared) {
            Ok(outputs) => outputs,
            Err(error) => {
                // The disk failed in the first commit: somebody starts it again.
                self.say(|| self.who(index), || format!("does not start: {error}"));
                self.coordinators[index].running = None;
                return self.soon(3000, What::CoordinatorStarts(index));
            }
        };
        let epoch = self.coordinators[index].running.as_ref().map_or(0, |it| it.driver.fence().epoch.0);
        self.say(|| self.who(index), || format!("starts, epoch {epoch}"));
        (0..self.agents.len()).for_each(|host| self.reachable(host));
        self.after(index, outputs, None);
    }

    fn who(&self, index: usize) -> String {
        if self.coordinators.len() > 1 {
            format!("coordinator {}", index + 1)
        } else {
            "coordinator".to_string()
        }
    }

    /// SIGKILL: what was committed is there; nothing else is.
    pub(super) fn kill_coordinator(&mut self, index: usize, why: &str) {
        let Some(running) = self.coordinators[index].running.take() else { return };
        self.say(|| self.who(index), || why.to_string());
        running.kill();
        drop(running);
        (0..self.agents.len()).for_each(|host| self.reachable(host));
        let numbers: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.coordinator == index)
            .map(|(it, _)| *it)
            .collect();
        for number in numbers {
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            stream.seat_open = false;
            if self.blocked[stream.life.host].1 == 0 {
                self.soon(3, What::SessionEnds(number));
            }
        }
    }

    /// A stream's first message: as `rpc/attach.rs` has it.
    pub(super) fn hello(&mut self, number: u64, memory: &Memory, held: Vec<HeldEffect>) {
        let Some(stream) = self.streams.get(&number) else { return };
        let (host, index) = (stream.life.host, stream.coordinator);
        let node = self.agents[host].node.clone();
        let key = self.shared.lock().ground.hosts[host].key;
        let Some(running) = &mut self.coordinators[index].running else { return };
        let fence = running.sessions.fence();
        if let Some(seen) = memory.seen.filter(|seen| !fence.is_obeyed_after(Some(seen))) {
            self.say(|| self.who(index), || format!("is fenced: {node} obeys epoch {}", seen.epoch.0));
            running_reports(&mut self.coordinators[index], &node, seen.epoch.0);
            self.tell(index, Input::Fenced { by: seen });
            if let Some(running) = &self.coordinators[index].running {
                running.sessions.clear("an agent obeys another coordinator", COME_BACK_AFTER);
            }
            return self.seat_ends(number);
        }
        if running.driver.fenced_by().is_some() {
            return self.seat_ends(number);
        }
        let (queue, mut sent) = mpsc::channel(STREAM_QUEUE);
        let certificate = Shown(std::sync::Arc::from(&b""[..]));
        let Some(seat) = running.sessions.sit(node.clone(), key, certificate, queue) else {
            return self.seat_ends(number);
        };
        let welcome = agent::Welcome {
            fence: Some(fence.into()),
            fleet: String::new(),
            coordinator_version: "simulated".to_string(),
            protocol: PROTOCOL,
        };
        running.sessions.anchor(running.driver.head());
        if !running.sessions.welcome(&seat, welcome) {
            return self.seat_ends(number);
        }
        let session = seat.id;
        let shared = self.shared.clone();
        running.looks.spawn(async move {
            while let Some(Ok(order)) = sent.recv().await {
                shared.post(Mail::Down { stream: number, order: Box::new(order) });
            }
            shared.post(Mail::GivenUp(number));
        });
        self.seated(number, index, seat);
        let agent = Box::new(Agent {
            session,
            key,
            version: "simulated".to_string(),
            journal: JournalRef { id: memory.journal, length: memory.length },
            steps: Step::ALL.iter().map(ToString::to_string).collect(),
            requirements: KNOWN_REQUIREMENTS.iter().map(ToString::to_string).collect(),
            facts: eyes::facts(&self.shared.lock(), host),
        });
        self.say(|| self.who(index), || format!("{node} is connected (stream {number})"));
        self.tell(index, Input::Held { node: node.clone(), effects: held });
        self.tell(index, Input::Connected { node, agent });
    }

    /// `drydock takeover`: on what the agents report.
    pub(super) fn take_over(&mut self, index: usize) {
        let now_ms = self.now_ms();
        let now = self.coordinators[index].now(now_ms);
        let instance = InstanceId(self.shared.lock().dice.id());
        let Some(running) = &mut self.coordinators[index].running else { return };
        let reported = running.reported.clone();
        match running.driver.take_over_above(instance, &reported, "carla", now) {
            Ok((fence, outputs)) => {
                running.sessions.set_fence(fence);
                // Evidence from before it does not count any more.
                running.began_evidence_ms = now_ms;
                self.say(|| "operator".to_string(), || format!("takes over: epoch {}", fence.epoch.0));
                self.note(Item::Verb("takeover"));
                self.after(index, outputs, None);
            }
            Err(error) => self.store_failed(index, &error),
        }
    }

    /// Hands the driver an input, and does what follows.
    pub(super) fn tell(&mut self, index: usize, input: Input) {
        let now_ms = self.now_ms();
        let now = self.coordinators[index].now(now_ms);
        let Some(running) = &mut self.coordinators[index].running else { return };
        let evidence = match &input {
            Input::Looked { run, node, round, results, .. } => {
                let asked = running.asked.remove(&(*run, *node, *round));
                asked.map(|asked| Evidence { results: results.clone(), ..asked })
            }
            _ => None,
        };
        if let Some(evidence) = &evidence {
            let mut inner = self.shared.lock();
            for result in &evidence.results {
                inner.coverage.note(Item::Verdict(verdict(&result.verdict)));
            }
        }
        if matches!(input, Input::Tick) {
            running.ticked_ms = now_ms;
        }
        drop(word::take());
        let handled = running.driver.handle(input, now);
        self.hear_words(index, evidence.as_ref());
        match handled {
            Ok(outputs) => self.after(index, outputs, evidence.as_ref()),
            Err(error) => self.store_failed(index, &error),
        }
    }

    /// What the reducer decided, before anything else has judged it.
    fn hear_words(&self, index: usize, evidence: Option<&Evidence>) {
        let words = word::take();
        let Some(running) = self.coordinators[index].running.as_ref().filter(|_| !words.is_empty()) else {
            return;
        };
        let mut silent = vec![true; self.agents.len()];
        for stream in running.places.keys().filter_map(|number| self.streams.get(number)) {
            silent[stream.life.host] = false;
        }
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        let around = Around { ground: &inner.ground, silent: &silent, evidence };
        for word in &words {
            inner.rules.said(word, &around, now_ms);
        }
    }

    /// The store did not take it: this coordinator ends, and is started again.
    pub(super) fn store_failed(&mut self, index: usize, error: &StoreError) {
        self.kill_coordinator(index, &format!("stops: {error}"));
        let in_ms = self.shared.lock().dice.between(500, 8000);
        self.soon(in_ms, What::CoordinatorStarts(index));
    }

    /// What is told, then what goes out.
    pub(super) fn after(&mut self, index: usize, outputs: Vec<Output>, evidence: Option<&Evidence>) {
        self.compare(index, evidence);
        for output in outputs {
            let Some(running) = &mut self.coordinators[index].running else { return };
            if let Some(left) = &mut running.dies_after {
                if *left == 0 {
                    self.shared.lock().coverage.fault(Kind::CoordinatorKilledAfterCommit);
                    let in_ms = self.shared.lock().dice.between(200, 20_000);
                    self.soon(in_ms, What::CoordinatorStarts(index));
                    return self.kill_coordinator(index, "killed behind a commit");
                }
                *left -= 1;
            }
            self.perform(index, output, evidence);
        }
    }

    fn perform(&mut self, index: usize, output: Output, evidence: Option<&Evidence>) {
        let now_ms = self.now_ms();
        let shared = self.shared.clone();
        let Some(running) = &mut self.coordinators[index].running else { return };
        match output {
            Output::Dispatch { node, session, effect, section } => {
                let mut inner = shared.lock();
                inner.see_cluster(Hand::Others, now_ms);
                let inner_of = &mut *inner;
                inner_of.rules.handed_out(&inner_of.ground, index, effect, evidence, now_ms);
                let kind = inner.rules.intents.get(&effect).map_or("?", |intent| intent.kind.as_str());
                inner.story.say(now_ms, || {
                    ("coordinator".to_string(), format!("hands {kind} {} to {node}", effect.short()))
                });
                drop(inner);
                running.sessions.dispatch(&node, session, effect, section);
            }
            Output::Ask { node, effect } => {
                shared.lock().story.say(now_ms, || {
                    ("coordinator".to_string(), format!("asks {node} about {}", effect.short()))
                });
                running.sessions.ask(&node, effect);
            }
            Output::Forget { node, effects } => {
                running.sessions.forget(&node, &effects);
            }
            Output::Look(request) => running.look(index, *request, &shared),
            Output::Observe(request) => {
                unreachable!("no plan has anything measured from outside: {request:?}")
            }
            Output::Move(request) => {
                self.say_order(&request);
                let Some(running) = &self.coordinators[index].running else { return };
                running.carry(index, *request, &shared);
            }
        }
    }

    /// A look's answer is handed to the driver; behind others, now and then.
    pub(super) fn look_came_back(&mut self, coordinator: usize, start: u32, input: Box<Input>) {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        if !inner.happens(Kind::LookLate, now_ms) {
            drop(inner);
            return self.looked(coordinator, start, *input);
        }
        let in_ms = inner.dice.between(1000, 120_000);
        drop(inner);
        self.soon(in_ms, What::Looked { coordinator, start, input });
    }

    pub(super) fn looked(&mut self, index: usize, start: u32, input: Input) {
        if self.coordinators[index].running.as_ref().is_some_and(|running| running.start == start) {
            self.tell(index, input);
        }
    }

    /// Lets a driver know that time passed, where one is due.
    pub(super) fn tick(&mut self) -> bool {
        let now_ms = self.now_ms();
        let due = |index: &usize| self.coordinators[*index].tick_ms().is_some_and(|at| at <= now_ms);
        let Some(index) = (0..self.coordinators.len()).find(due) else { return false };
        if self.ticks.0 == now_ms {
            self.ticks.1 += 1;
        } else {
            self.ticks = (now_ms, 1);
        }
        if self.ticks.1 > MOST_TICKS {
            self.broken(9, || "a coordinator is due again and again, and decides nothing".to_string());
        }
        self.tell(index, Input::Tick);
        true
    }

    /// The record of every store that is left is whole.
    pub(super) fn verify_records(&self) {
        for coordinator in &self.coordinators {
            match coordinator.store.verify_chain() {
                Ok(RecordCheck::Whole { .. }) => {}
                other => self.broken(0, || format!("the record is not whole: {other:?}")),
            }
        }
    }

    /// Copies of every disk, for a restore that may come.
    pub(super) fn copies(&mut self) {
        for coordinator in &mut self.coordinators {
            coordinator.copies.push(coordinator.store.copy());
            if coordinator.copies.len() > 3 {
                coordinator.copies.remove(0);
            }
        }
        for agent in &mut self.agents {
            let mut copy = Vec::new();
            agent.disk.edit(|content| copy.clone_from(content));
            agent.copies.push(copy);
            if agent.copies.len() > 3 {
                agent.copies.remove(0);
            }
        }
        let in_ms = self.shared.lock().dice.between(2000, 15_000);
        self.soon(in_ms, What::Copies);
    }

    /// The store as it was some time ago.
    pub(super) fn restore_store(&mut self, index: usize, chance: u64) {
        let copies = &self.coordinators[index].copies;
        let Some(copy) = usize::try_from(chance).ok().and_then(|at| copies.get(at % copies.len().max(1)))
        else {
            return;
        };
        let restored: MemoryStore = copy.copy();
        self.coordinators[index].store = restored;
        let mut inner = self.shared.lock();
        inner.rules.restored();
    }

    pub(super) fn has_open_runs(&self) -> bool {
        self.coordinators.iter().any(|coordinator| !open_runs(coordinator).is_empty())
    }
}

fn running_reports(coordinator: &mut crate::coordinator::Coordinator, node: &NodeName, epoch: u64) {
    if let Some(running) = &mut coordinator.running {
        running.reported.insert(node.clone(), epoch);
    }
}

const fn verdict(verdict: &drydock_types::Verdict) -> &'static str {
    use drydock_types::Verdict::{Clear, Refused, Unknown, Waiting};
    match verdict {
        Clear => "clear",
        Waiting(_) => "waiting",
        Refused(_) => "refused",
        Unknown(_) => "unknown",
    }
}
