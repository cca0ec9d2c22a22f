//! The single writer: takes an event, asks the pure reducer, commits, and only then lets anything happen.
//!
//! [`Driver`] itself does no I/O but the store's: inputs go in, outputs come out, so that a simulation can
//! drive it in virtual time. [`shell`] is the thread that feeds it and performs what comes out.
//!
//! After a start nothing is re-sent. Every open effect is asked about when its agent's stream opens; looks
//! are taken anew; silent nodes count as disrupted from the first moment.

mod amend;
pub mod clock;
mod departures;
mod fenced;
mod fleet;
#[cfg(test)]
mod hostile;
mod identity;
mod limiter;
mod operate;
mod people;
mod remembered;
mod rollback;
mod rows;
pub mod shell;
mod standings;
#[cfg(test)]
mod tests;
mod told;
mod unsigned;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use drydock_core::{
    Now,
    inventory::Seen,
    recipe::{Check, Detect},
    run::{CheckResult, Disrupted, Effect, Event, LookFor, NodeRun, Run, SoakLook},
    run_view::{self, Live},
    step::step,
    view::{Phase, RunStatus},
};
use drydock_types::{EffectId, Fence, FleetId, Head, NodeKey, NodeName, Outcome, SectionKind, document};

pub use self::{
    amend::{Asked, Place},
    fenced::{HeldEffect, JOURNAL_CHECK},
    fleet::{Agent, Fleet, FleetNode},
    identity::{Admission, Caller},
    operate::{ControlVerb, OperatorError},
    standings::FLEET_RUN,
};
use self::{
    rows::{Unwritten, is_durable},
    unsigned::Refused,
};
use crate::{
    heard::Signed,
    store::{
        Commit, ComponentRow, EffectRow, LetOutRow, NewEvent, RecordEnd, RunStore, SampleRow, StoreError,
    },
};

/// The fleet's clock is written at least so often while runs are at work.
const CLOCK_WRITTEN_MS: u64 = 5000;

/// What happened, as the driver is told.
#[derive(Debug)]
pub enum Input {
    /// A node's agent has said Hello.
    Connected {
        /// Which.
        node: NodeName,
        /// What it says of itself.
        agent: Box<Agent>,
    },
    /// A stream ended.
    Disconnected {
        /// Which node's.
        node: NodeName,
        /// Which stream.
        session: u64,
    },
    /// A section is in its agent's journal.
    Accepted {
        /// At whom.
        node: NodeName,
        /// Which.
        effect: EffectId,
    },
    /// An agent will not begin a section.
    Declined {
        /// Who.
        node: NodeName,
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
        /// It came too late, rather than being refused.
        lapsed: bool,
    },
    /// How far an agent is.
    Progress {
        /// Who.
        node: NodeName,
        /// In which section.
        effect: EffectId,
        /// At which step.
        step: String,
        /// Bytes done and in all.
        progress: Option<(u64, u64)>,
    },
    /// A section ended.
    Outcome {
        /// At whom.
        node: NodeName,
        /// How: bounded, for the run's state.
        outcome: Box<Outcome>,
        /// The same as its node signed it, for the record. Whoever tells it has judged the signature.
        signed: Box<Signed>,
    },
    /// An outcome came that is not signed by its node's key.
    OutcomeRefused {
        /// From whom.
        node: NodeName,
        /// On which stream.
        session: u64,
        /// Of which effect.
        effect: EffectId,
        /// Why it is not believed.
        why: String,
    },
    /// The answer to a question about an effect: its journal has never accepted it.
    NotKnown {
        /// Who.
        node: NodeName,
        /// Which.
        effect: EffectId,
    },
    /// A look that was asked for.
    Looked {
        /// Of which run.
        run: u64,
        /// Index of the node in the run.
        node: usize,
        /// Which round.
        round: u64,
        /// What each check says.
        results: Vec<CheckResult>,
        /// What runs there.
        seen: Seen,
    },
    /// A node was enrolled, labelled or removed.
    Registered {
        /// All of them.
        nodes: Vec<(NodeName, FleetNode)>,
    },
    /// What an agent's journal holds of sections that changed its node: told before its stream opens.
    Held {
        /// Which node.
        node: NodeName,
        /// What.
        effects: Vec<HeldEffect>,
    },
    /// An agent obeys another coordinator: nothing further is handed out, to nobody, and runs stay as they are.
    Fenced {
        /// Whom.
        by: Fence,
    },
    /// The coordinator is stopping: nothing further is handed out.
    Stopping,
    /// Time passed.
    Tick,
}

impl Input {
    /// Could a run change by it? Who is there and who is registered is news also to a coordinator that is fenced.
    const fn moves_runs(&self) -> bool {
        !matches!(
            self,
            Self::Disconnected { .. }
                | Self::Registered { .. }
                | Self::Held { .. }
                | Self::Fenced { .. }
                | Self::Stopping
        )
    }
}

/// What is to be done, after it is on disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a section.
    Dispatch {
        /// To whom.
        node: NodeName,
        /// On which stream; a later one must not get it.
        session: u64,
        /// Its id.
        effect: EffectId,
        /// Its exact bytes.
        section: Vec<u8>,
    },
    /// Ask what became of an effect.
    Ask {
        /// Whom.
        node: NodeName,
        /// About which.
        effect: EffectId,
    },
    /// Look.
    Look(Box<LookRequest>),
    /// Records that an agent may forget.
    Forget {
        /// Who.
        node: NodeName,
        /// Which.
        effects: Vec<EffectId>,
    },
}

/// A look that the driver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookRequest {
    /// Of which run.
    pub run: u64,
    /// Index of the node in the run.
    pub index: usize,
    /// Which round.
    pub round: u64,
    /// The node.
    pub node: NodeName,
    /// The node is about to leave service, rather than coming back.
    pub before: bool,
    /// What runs there.
    pub detect: Detect,
    /// What must hold.
    pub checks: Vec<Check>,
    /// What must hold as well while it soaks, and where; the result of each has the name that
    /// [`SoakLook::name`] gives it.
    pub soak: Vec<SoakLook>,
    /// How long it has been soaking, in milliseconds.
    pub soaking_ms: u64,
    /// All nodes of the stage, and how to see what runs there: where a cluster's other members are.
    pub peers: Vec<(NodeName, Detect)>,
    /// The version to reach.
    pub to: drydock_types::Version,
    /// Outages that the plan accepts by name.
    pub outages: Vec<String>,
    /// No minor may be left out.
    pub one_minor_at_a_time: bool,
}

/// The single writer.
#[derive(Debug)]
pub struct Driver<S> {
    store: S,
    fleet_id: FleetId,
    fence: Fence,
    fleet: Fleet,
    runs: BTreeMap<u64, Run>,
    unwritten: BTreeMap<u64, Unwritten>,
    last_run: u64,
    live: BTreeMap<u64, Live>,
    stopping: bool,
    /// The fleet's clock as it was last written.
    written_ms: u64,
    /// A commit failed: what is on disk is ahead of or behind what is here, and nothing is done any more.
    failed: bool,
    /// Rises with everything that a watcher could see.
    changes: u64,
    /// Who left service since something was looked at.
    departures: departures::Departures,
    /// What stands on record about nodes and the fleet.
    standings: standings::Standings,
    /// In front of everything that takes a node out of service.
    limiter: limiter::Limiter,
    /// What agents still hold of runs that are over.
    remembered: remembered::Remembered,
    /// Which machines hold which identity.
    machines: identity::Machines,
    /// What decides. A test puts a broken one in its place.
    reducer: fn(Run, &Event, Now) -> (Run, Vec<Effect>),
    /// Whom agents obey, when it is not this coordinator.
    fenced: Option<Fence>,
    /// What agents' journals hold that was never decided here.
    strange: BTreeMap<NodeName, Vec<HeldEffect>>,
    /// Outcomes that were not believed.
    refused: BTreeMap<EffectId, Refused>,
    /// Open sections that their agents said they hold.
    in_journal: BTreeSet<EffectId>,
    /// The end of the record as the last commit left it.
    end: RecordEnd,
}

impl<S: RunStore> Driver<S> {
    /// Reads the store and takes its runs up again.
    ///
    /// # Errors
    /// When the store cannot be read or holds a run of another reducer.
    pub fn open(store: S, fence: Fence, now: Now) -> Result<(Self, Vec<Output>), StoreError> {
        let loaded = store.load()?;
        let end = store.record_end()?;
        let (standings, limiter) = (standings::Standings::read(&loaded)?, limiter::Limiter::read(&loaded));
        let mut runs = BTreeMap::new();
        let remembered = remembered::Remembered::read(&loaded);
        for row in loaded.runs {
            runs.insert(row.number, rows::read(&row)?);
        }
        let mut driver = Self {
            store,
            fleet_id: loaded.fleet,
            fence,
            fleet: Fleet::default(),
            last_run: loaded.last_run,
            unwritten: rows::all_written(&runs),
            runs,
            live: BTreeMap::new(),
            stopping: false,
            written_ms: loaded.clock_ms,
            failed: false,
            changes: 0,
            departures: departures::Departures::default(),
            standings,
            limiter,
            remembered,
            machines: identity::Machines::default(),
            reducer: step,
            fenced: None,
            strange: BTreeMap::new(),
            refused: BTreeMap::new(),
            in_journal: BTreeSet::new(),
            end,
        };
        let numbers: Vec<u64> = driver.runs.keys().copied().collect();
        let mut outputs = Vec::new();
        for number in numbers {
            outputs.extend(driver.transition(number, Event::Restarted {}, now)?);
        }
        // The run before may have been closed in the last moment of the last coordinator.
        outputs.extend(driver.begin_queued(now)?);
        Ok((driver, outputs))
    }

    /// Did the store refuse a transition? Then the coordinator must stop.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// The only way to the store: after a failure there is no second one.
    fn write(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if self.failed {
            let what = "an earlier transition was not taken; this coordinator is stopping".to_string();
            return Err(StoreError::Refused { what });
        }
        self.store.commit(commit).inspect_err(|_| self.failed = true)?;
        self.written_ms = commit.clock_ms;
        self.end = self.store.record_end().inspect_err(|_| self.failed = true)?;
        Ok(())
    }

    /// The end of the record as the last commit left it: what agents keep a copy of.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { fleet: self.fleet_id, epoch: self.fence.epoch, seq: self.end.seq, hash: self.end.hash }
    }

    /// Whom agents obey.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Rises with everything that a watcher could see.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// When [`Input::Tick`] is next due, on the fleet's clock.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        if self.fenced.is_some() {
            // Nothing is due: runs stay as they are.
            return None;
        }
        self.runs.values().filter_map(Run::next_wake_ms).chain(self.ask_again_ms()).min()
    }

    /// Takes one input.
    ///
    /// # Errors
    /// When the store does not take the transition: nothing of it happened, and the coordinator must stop.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<Vec<Output>, StoreError> {
        if self.fenced.is_some() && input.moves_runs() {
            return Ok(Vec::new());
        }
        match input {
            Input::Held { node, effects } => self.journal_holds(node, effects).map(|()| Vec::new()),
            Input::Fenced { by } => {
                self.fence_off(by);
                Ok(Vec::new())
            }
            Input::Connected { node, agent } => self.connected(node, *agent, now),
            Input::Disconnected { node, session } => {
                self.fleet.disconnected(&node, session, now);
                self.changes += 1;
                Ok(Vec::new())
            }
            Input::Accepted { node, effect } => {
                self.is_in_journal(&node, effect);
                Ok(Vec::new())
            }
            Input::Progress { node, effect, step, progress } => {
                self.is_in_journal(&node, effect);
                self.progress(&node, effect, step, progress);
                Ok(Vec::new())
            }
            Input::Declined { node, effect, why, lapsed: true } => {
                self.about(&node, effect, Event::Lapsed { effect, why }, now)
            }
            Input::Declined { node, effect, why, lapsed: false } => {
                self.about(&node, effect, Event::Declined { effect, why }, now)
            }
            Input::NotKnown { node, effect } => {
                self.is_forgotten(&node, effect, now)?;
                let event = if self.in_journal.contains(&effect) {
                    Event::Forgot { effect }
                } else {
                    Event::Lapsed { effect, why: "its agent never accepted it".to_string() }
                };
                self.about(&node, effect, event, now)
            }
            Input::Outcome { node, outcome, signed } => self.outcome(&node, *outcome, *signed, now),
            Input::OutcomeRefused { node, session, effect, why } => {
                self.outcome_refused(node, session, effect, &why, now)
            }
            Input::Looked { run, node, round, results, seen } => {
                self.looked(run, node, round, results, seen, now)
            }
            Input::Registered { nodes } => {
                self.remember_only(&nodes, now)?;
                self.fleet.registered(nodes, now);
                self.changes += 1;
                Ok(Vec::new())
            }
            Input::Stopping => {
                self.stopping = true;
                Ok(Vec::new())
            }
            Input::Tick => self.tick(now),
        }
    }

    fn connected(&mut self, node: NodeName, agent: Agent, now: Now) -> Result<Vec<Output>, StoreError> {
        let (key, journal) = (agent.key, agent.journal);
        if !self.fleet.connected(&node, agent, now) {
            // Heard of behind a later stream of the same node, or of a machine that is not the registered
            // one: its journal is no news, and a length that fell would look like lost memory.
            return Ok(Vec::new());
        }
        self.changes += 1;
        let concerned = |run: &Run| run.nodes.iter().any(|other| other.name == node);
        let numbers: Vec<u64> =
            self.runs.values().filter(|run| concerned(run)).map(|run| run.number).collect();
        let mut outputs = Vec::new();
        for number in numbers {
            let event = Event::AgentConnected { node: node.clone(), key, journal };
            outputs.extend(self.transition(number, event, now)?);
        }
        // What it was told while it was away, or has not answered since.
        outputs.extend(self.remembered.tell(&node, key));
        Ok(outputs)
    }

    /// An event about an effect: only the node that it was handed to may speak of it, and not another machine
    /// that has its name by now.
    fn about(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        event: Event,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        self.about_signed(node, effect, event, None, now)
    }

    fn about_signed(
        &mut self,
        node: &NodeName,
        effect: EffectId,
        event: Event,
        signed: Option<Signed>,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some((number, _)) = self.holder(node, effect) else {
            tracing::debug!(%node, effect = %effect.short(), "an answer about an effect that is not open here");
            return Ok(Vec::new());
        };
        if let Some(live) = self.live.get_mut(&number) {
            live.at_step.remove(node);
        }
        if !matches!(event, Event::OutcomeRefused { .. }) {
            self.limiter.heard(effect);
            self.in_journal.remove(&effect);
        }
        self.transition_signed(number, event, signed, now)
    }

    /// Its agent says that it holds this section: a journal that denies it later is an older one. Kept in memory
    /// only: a coordinator that restarts before the agent's next Hello, while the journal is put back to an older
    /// copy that is no shorter than the last one it knew of, does not notice.
    fn is_in_journal(&mut self, node: &NodeName, effect: EffectId) {
        if self.holder(node, effect).is_some() {
            self.in_journal.insert(effect);
        }
    }

    /// The run that has this effect open at this node, and the node's identity: the one of the plan, which is
    /// registered under its name.
    fn holder(&self, node: &NodeName, effect: EffectId) -> Option<(u64, NodeKey)> {
        let key = self.fleet.key(node)?;
        let holds = |run: &&Run| {
            run.nodes.iter().any(|other| {
                &other.name == node
                    && other.key == key
                    && other.open.as_ref().is_some_and(|open| open.effect == effect)
            })
        };
        self.runs.values().find(holds).map(|run| (run.number, key))
    }

    /// The key that signed must be the one that the section was handed to: a stream that was opened under
    /// another key of the same name says nothing here.
    fn outcome(
        &mut self,
        node: &NodeName,
        outcome: Outcome,
        signed: Signed,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let effect = outcome.effect;
        self.strange_ended(node, effect);
        if self.holder(node, effect).is_some_and(|(_, key)| key != signed.proof.node) {
            tracing::warn!(target: "drydock::refused", %node, effect = %effect.short(), "an outcome was signed by another key than the node's");
            return Ok(Vec::new());
        }
        self.about_signed(node, effect, Event::Ended { outcome }, Some(signed), now)
    }

    fn progress(&mut self, node: &NodeName, effect: EffectId, step: String, progress: Option<(u64, u64)>) {
        let open = |run: &&Run| {
            run.nodes.iter().any(|other| {
                &other.name == node && other.open.as_ref().is_some_and(|open| open.effect == effect)
            })
        };
        if let Some(number) = self.runs.values().find(open).map(|run| run.number) {
            self.live.entry(number).or_default().at_step.insert(node.clone(), (step, progress));
            self.changes += 1;
        }
    }

    fn looked(
        &mut self,
        run: u64,
        node: usize,
        round: u64,
        mut results: Vec<CheckResult>,
        mut seen: Seen,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some(state) = self.runs.get(&run) else { return Ok(Vec::new()) };
        self.doubt(state, node, &mut results, &mut seen);
        results.extend(self.departures.judge(state, node, round, &self.runs));
        results.extend(self.own_checks(state, node, now));
        let disrupted = self.disrupted_beside(state, node);
        self.transition(run, Event::Looked { node, round, results, seen, disrupted }, now)
    }

    fn tick(&mut self, now: Now) -> Result<Vec<Output>, StoreError> {
        let due = |run: &&Run| run.next_wake_ms().is_some_and(|at| at <= now.clock_ms);
        let numbers: Vec<u64> = self.runs.values().filter(due).map(|run| run.number).collect();
        let mut outputs = Vec::new();
        for number in numbers {
            outputs.extend(self.transition(number, Event::Tick {}, now)?);
        }
        outputs.extend(self.ask_again(now));
        let at_work = self.runs.values().any(|run| run.status != RunStatus::Queued);
        if at_work && now.clock_ms >= self.written_ms.saturating_add(CLOCK_WRITTEN_MS) {
            // Deadlines and ages go on from here after a crash.
            self.write(&Commit { clock_ms: now.clock_ms, ..Commit::default() })?;
        }
        Ok(outputs)
    }

    /// One event, and those that follow from it at once, in one commit. Outputs come after the commit.
    fn transition(&mut self, number: u64, event: Event, now: Now) -> Result<Vec<Output>, StoreError> {
        self.transition_signed(number, event, None, now)
    }

    /// The same, with what a node signed of the event.
    fn transition_signed(
        &mut self,
        number: u64,
        event: Event,
        mut signed: Option<Signed>,
        now: Now,
    ) -> Result<Vec<Output>, StoreError> {
        let Some(before) = self.runs.get(&number).cloned() else { return Ok(Vec::new()) };
        let mut was = Cow::Borrowed(&before);
        let mut run = before.clone();
        let mut commit = Commit { clock_ms: now.clock_ms, ..Commit::default() };
        let mut outputs = Vec::new();
        let mut standing = standings::Changes::default();
        // What a stream or a person ends is not waited for by the limiter either.
        let settles = matches!(event, Event::AgentConnected { .. } | Event::Aborted { .. });
        let mut pending = VecDeque::from([event]);
        while let Some(mut event) = pending.pop_front() {
            if let Event::Looked { node, disrupted, .. } = &mut event {
                // Counted when it is judged: within this very transition somebody may have left.
                *disrupted = self.disrupted_beside(&run, *node);
            }
            let (next, effects) = (self.reducer)(run, &event, now);
            run = next;
            if is_worth_a_line(&was, &run, &event) {
                let mut recorded = run_view::record(&was, &run, &event);
                if let Some(signed) = signed.take() {
                    recorded.proof = Some(signed.proof);
                    commit.documents.extend([signed.outcome, signed.certificate]);
                }
                let event = document::encode(&recorded);
                commit.events.push(NewEvent { run: number, wall_ms: now.wall_ms, event });
            }
            self.standings.follow(&mut standing, &was, &run, &event, now);
            for effect in effects {
                self.take_effect(&run, effect, now, &mut commit, &mut outputs, &mut pending);
            }
            if !pending.is_empty() {
                was = Cow::Owned(run.clone());
            }
        }
        self.note_ends(&before, &run, now, &mut commit);
        let unwritten = self.unwritten.entry(number).or_insert(Unwritten::Everything);
        unwritten.note(&before, &run);
        let changed = is_durable(&before, &run) || !standing.is_empty();
        if changed || !commit.events.is_empty() || !commit.open.is_empty() {
            commit.runs.push(rows::row(&run, unwritten));
            standing.write(&mut commit, now);
            self.write(&commit)?;
            self.unwritten.insert(number, Unwritten::nothing());
        }
        self.standings.take(standing);
        self.remembered.take(&commit);
        self.limiter.note(&commit);
        if settles {
            commit.close.iter().for_each(|effect| self.limiter.heard(*effect));
        }
        self.departures.note(&run, &outputs);
        told::tell(&before, &run);
        self.changes += 1;
        let closed = run.status.is_closed();
        if closed {
            self.limiter.closed(&run);
            outputs.extend(self.tell_to_forget(&run));
        }
        self.runs.insert(number, run);
        if closed {
            self.runs.remove(&number);
            self.unwritten.remove(&number);
            self.live.remove(&number);
            outputs.extend(self.begin_queued(now)?);
        }
        Ok(outputs)
    }

    /// The agents of a run that is over: what they may forget.
    fn tell_to_forget(&mut self, run: &Run) -> Vec<Output> {
        let nodes: BTreeMap<&NodeName, NodeKey> =
            run.nodes.iter().map(|node| (&node.name, node.key)).collect();
        let there = nodes.into_iter().filter(|(name, key)| self.fleet.session_of(name, *key).is_some());
        let there: Vec<_> = there.collect();
        there.into_iter().flat_map(|(name, key)| self.remembered.tell(name, key)).collect()
    }

    /// An agent knows nothing of an effect that it was told to forget.
    fn is_forgotten(&mut self, node: &NodeName, effect: EffectId, now: Now) -> Result<(), StoreError> {
        let Some(key) = self.fleet.key(node) else { return Ok(()) };
        let forgotten = self.remembered.not_known(key, effect);
        self.forget(forgotten, now)
    }

    /// What journals of machines hold that are registered no longer is of no concern.
    fn remember_only(&mut self, nodes: &[(NodeName, FleetNode)], now: Now) -> Result<(), StoreError> {
        let registered = nodes.iter().map(|(_, node)| node.key).collect();
        self.forget(self.remembered.of_others(&registered), now)
    }

    fn forget(&mut self, forgotten: Vec<EffectId>, now: Now) -> Result<(), StoreError> {
        if forgotten.is_empty() || self.fenced.is_some() {
            return Ok(());
        }
        let commit = Commit { clock_ms: now.clock_ms, forgotten, ..Commit::default() };
        self.write(&commit)?;
        self.remembered.take(&commit);
        Ok(())
    }

    fn take_effect(
        &self,
        run: &Run,
        effect: Effect,
        now: Now,
        commit: &mut Commit,
        outputs: &mut Vec<Output>,
        pending: &mut VecDeque<Event>,
    ) {
        match effect {
            Effect::Dispatch { section } => {
                let effect = section.effect;
                let session = key_of(run, effect).and_then(|key| self.fleet.session_of(&section.node, key));
                let session = session.filter(|_| !self.stopping && self.fenced.is_none());
                let Some(session) = session else {
                    let why = if self.stopping {
                        "the coordinator is stopping"
                    } else if self.fenced.is_some() {
                        "agents obey another coordinator"
                    } else {
                        "its agent's stream is not open"
                    };
                    pending.push_back(Event::Lapsed { effect, why: why.to_string() });
                    return;
                };
                match self.let_out(run, effect, section.kind, now, commit) {
                    Ok(row) => commit.let_out.extend(row),
                    Err(why) => return pending.push_back(Event::Lapsed { effect, why }),
                }
                let (node, section) = (section.node.clone(), document::encode(&section));
                commit.open.push(EffectRow {
                    effect,
                    run: run.number,
                    node: node.clone(),
                    section: section.clone(),
                });
                outputs.push(Output::Dispatch { node, session, effect, section });
            }
            Effect::Ask { node, effect } => {
                // Another machine of that name cannot know; the stream of the right one brings the question up.
                if key_of(run, effect).is_some_and(|key| self.fleet.session_of(&node, key).is_some()) {
                    outputs.push(Output::Ask { node, effect });
                }
            }
            Effect::Look { node: index, round, checks } => match look_request(run, index, round, checks) {
                Some(request) => outputs.push(Output::Look(Box::new(request))),
                None => {
                    let disrupted = self.disrupted_beside(run, index);
                    let mut seen = Seen { version: None, exe_sha256: None, role: None };
                    let mut results = self.fleet.own_connection(run, index);
                    results.extend(self.own_checks(run, index, now));
                    self.doubt(run, index, &mut results, &mut seen);
                    pending.push_back(Event::Looked { node: index, round, results, seen, disrupted });
                }
            },
            // What may go, and what a rollback would want, is told when it is on disk, and until it is heard.
            Effect::Forget { effects: _ } => self.remembered.close(run, commit),
        }
    }

    /// Who is out of service beside a run's node, by the fleet, the runs, and what stands on record.
    fn disrupted_beside(&self, run: &Run, index: usize) -> Vec<Disrupted> {
        self.fleet.disrupted_beside(run, index, &self.runs, &self.standings)
    }

    /// The limiter's word on a section.
    fn let_out(
        &self,
        run: &Run,
        effect: EffectId,
        kind: SectionKind,
        now: Now,
        commit: &Commit,
    ) -> Result<Option<LetOutRow>, String> {
        let has = |node: &&NodeRun| node.open.as_ref().is_some_and(|open| open.effect == effect);
        let Some(node) = run.nodes.iter().find(has) else {
            return Err("nobody has it open".to_string());
        };
        let wants = limiter::Wants { run, node, kind, commit };
        let around = limiter::Around { fleet: &self.fleet, standings: &self.standings, runs: &self.runs };
        let judged = self.limiter.judge(&wants, &around, now);
        if let Err(why) = &judged {
            tracing::warn!(run = run.number, node = %node.name, %why, "the limiter let a section not out");
        }
        judged
    }

    /// Closes effects that ended, keeps what was seen, and how long finished nodes took.
    fn note_ends(&self, before: &Run, run: &Run, now: Now, commit: &mut Commit) {
        for (was, is) in before.nodes.iter().zip(&run.nodes) {
            let ended = was.open.as_ref().filter(|open| is.open.as_ref() != Some(*open));
            commit.close.extend(ended.map(|open| open.effect));
            let stage = run.stage_of(is);
            if is.seen != was.seen
                && let Some(version) = is.seen.as_ref().and_then(|seen| seen.version.clone())
            {
                let (node, component) = (is.name.clone(), stage.component.clone());
                commit.components.push(ComponentRow { node, component, version, seen_ms: now.wall_ms });
            }
            if is.phase == Phase::Done && was.phase != Phase::Done {
                let began = is.began.map_or(now.clock_ms, |at| at.clock_ms);
                commit.samples.push(SampleRow {
                    recipe: stage.recipe_digest,
                    component: stage.component.clone(),
                    took_ms: now.clock_ms.saturating_sub(began),
                });
            }
        }
        // An effect that was opened and lapsed within this very transition was never anybody's.
        let still_open = |row: &EffectRow| {
            run.nodes.iter().any(|node| node.open.as_ref().is_some_and(|open| open.effect == row.effect))
        };
        commit.open.retain(still_open);
    }
}

/// The identity of the node that has this effect open.
fn key_of(run: &Run, effect: EffectId) -> Option<drydock_types::NodeKey> {
    let has =
        |node: &&drydock_core::run::NodeRun| node.open.as_ref().is_some_and(|open| open.effect == effect);
    run.nodes.iter().find(has).map(|node| node.key)
}

/// Is there anything to ask an agent, or does the driver know the answer itself?
pub(crate) fn look_request(run: &Run, index: usize, round: u64, checks: Vec<Check>) -> Option<LookRequest> {
    let node = run.nodes.get(index)?;
    let stage = run.stage_of(node);
    let detect = run.recipe_of(node).detect;
    let soaks = node.look.as_ref().is_some_and(|look| look.purpose == LookFor::Soak);
    let soak = if soaks { run.soak_looks(index) } else { Vec::new() };
    if checks.is_empty() && soak.is_empty() && detect.version.is_none() && detect.unit.is_none() {
        return None;
    }
    let peers = stage.waves.iter().flat_map(|wave| &wave.nodes);
    let peers = peers.map(|peer| (peer.name.clone(), stage.detect_for(peer))).collect();
    Some(LookRequest {
        run: run.number,
        index,
        round,
        node: node.name.clone(),
        before: matches!(node.phase, Phase::Gating | Phase::Rechecking),
        detect,
        checks,
        soaking_ms: node.look.as_ref().map_or(0, |look| look.asked_ms.saturating_sub(node.since.clock_ms)),
        soak,
        peers,
        to: run.wanted(node).unwrap_or(&stage.to).clone(),
        outages: stage.outage.keys().cloned().collect(),
        one_minor_at_a_time: stage.recipe.spec.versions.one_minor_at_a_time,
    })
}

/// Time that passes and looks that find the same again are not events.
fn is_worth_a_line(was: &Run, is: &Run, event: &Event) -> bool {
    match event {
        Event::Started {} | Event::Restored { .. } => true,
        Event::Tick {} => is_durable(was, is),
        Event::Looked { node, .. } => {
            let told = |run: &Run| {
                run.nodes.get(*node).map(|node| {
                    let waiting =
                        node.waiting.as_ref().map(|waiting| (waiting.what.clone(), waiting.because.clone()));
                    (node.phase, waiting)
                })
            };
            told(was) != told(is)
        }
        Event::AgentConnected { node, .. } => {
            // Not the coming and going of nodes that nothing was handed to: a record must not grow by it.
            let told = |was: &NodeRun, is: &NodeRun| {
                (&was.name == node && was.open.is_some()) || was.phase != is.phase
            };
            was.nodes.iter().zip(&is.nodes).any(|(was, is)| told(was, is))
        }
        _ => was != is,
    }
}
