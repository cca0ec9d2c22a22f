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
mod heard;
#[cfg(test)]
mod hostile;
mod identity;
mod limiter;
mod looks;
mod message;
mod observing;
mod operate;
mod people;
mod remembered;
mod rollback;
mod rows;
pub mod shell;
mod standings;
mod state;
#[cfg(test)]
mod tests;
mod told;
mod transition;
mod unsigned;
mod why;

use std::collections::BTreeMap;

use drydock_core::{
    Now,
    run::{Effect, Event, Run},
    run_view::Live,
    step::step,
    view::RunStatus,
};
use drydock_types::{EffectId, Fence, FleetId, Head, NodeName};

pub(crate) use self::looks::look_request;
pub use self::{
    amend::{Asked, Place},
    fenced::{HeldEffect, JOURNAL_CHECK},
    fleet::{Agent, Fleet, FleetNode},
    identity::{Admission, Caller},
    message::{FailedBefore, Input, LookRequest, MoveRequest, ObserveRequest, Output},
    operate::{ControlVerb, OperatorError},
    standings::FLEET_RUN,
};
use self::{rows::Unwritten, unsigned::Refused};
use crate::store::{Commit, RecordEnd, RunStore, StoreError};

/// The fleet's clock is written at least so often while runs are at work.
const CLOCK_WRITTEN_MS: u64 = 5000;

/// The single writer.
#[derive(Debug, Clone)]
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
            end,
        };
        let numbers: Vec<u64> = driver.runs.keys().copied().collect();
        let mut outputs = Vec::new();
        for number in numbers {
            outputs.extend(driver.transition(number, Event::Restarted {}, now)?);
            let run = driver.runs.get(&number);
            outputs.extend(run.into_iter().flat_map(|run| observing::goes_on(run, now)));
        }
        // The run before may have been closed in the last moment of the last coordinator.
        outputs.extend(driver.begin_queued(now)?);
        Ok((driver, outputs))
    }

    /// Puts another one in the place of what decides: a simulation that listens to every decision before anything
    /// else has judged it.
    #[doc(hidden)]
    pub const fn decide_with(&mut self, reducer: fn(Run, &Event, Now) -> (Run, Vec<Effect>)) {
        self.reducer = reducer;
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
                Ok(self.stop_moves())
            }
            Input::Connected { node, agent } => self.connected(node, *agent, now),
            Input::Disconnected { node, session } => {
                self.fleet.disconnected(&node, session, now);
                self.changes += 1;
                Ok(Vec::new())
            }
            Input::Accepted { node, effect } => self.about(&node, effect, Event::Accepted { effect }, now),
            Input::Progress { node, effect, step, progress } => {
                self.progress(&node, effect, step, progress, now)
            }
            Input::Declined { node, effect, why, lapsed: true } => {
                self.about(&node, effect, Event::Lapsed { effect, why }, now)
            }
            Input::Declined { node, effect, why, lapsed: false } => {
                self.about(&node, effect, Event::Declined { effect, why }, now)
            }
            Input::NotKnown { node, effect } => {
                self.is_forgotten(&node, effect, now)?;
                self.about(&node, effect, Event::NotKnown { effect }, now)
            }
            Input::Outcome { node, outcome, signed } => self.outcome(&node, *outcome, *signed, now),
            Input::OutcomeRefused { node, session, effect, why } => {
                self.outcome_refused(node, session, effect, &why, now)
            }
            Input::Looked { run, node, round, results, seen } => {
                self.looked(run, node, round, results, seen, now)
            }
            Input::FailedBefore { run, found } => {
                let FailedBefore { cluster, keys, said } = found;
                self.transition(run, Event::FailedBefore { cluster, keys, said }, now)
            }
            Input::Measured { run, node, round, seen } => {
                self.transition(run, Event::Measured { node, round, seen }, now)
            }
            Input::MoveWaits { run, effect, what, because } => {
                self.transition(run, Event::MoveWaits { effect, what, because }, now)
            }
            Input::Moved { run, effect, end } => self.transition(run, Event::Moved { effect, end }, now),
            Input::Registered { nodes } => {
                self.remember_only(&nodes, now)?;
                self.fleet.registered(nodes, now);
                self.changes += 1;
                Ok(Vec::new())
            }
            Input::Stopping => {
                self.stopping = true;
                Ok(self.stop_moves())
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
            // Deadlines and ages go on from here after a crash, and so does what was worth no commit of its own.
            let quiet = self.runs.iter().filter_map(|(number, run)| {
                let unwritten = self.unwritten.get(number).filter(|unwritten| !unwritten.is_nothing())?;
                Some(rows::row(run, unwritten))
            });
            let commit = Commit { clock_ms: now.clock_ms, runs: quiet.collect(), ..Commit::default() };
            self.write(&commit)?;
            self.unwritten.values_mut().for_each(|unwritten| *unwritten = Unwritten::nothing());
        }
        Ok(outputs)
    }
}
