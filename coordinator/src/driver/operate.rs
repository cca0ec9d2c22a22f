//! What operators ask of the driver: start, pause, resume, abort, and to be shown.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    Now,
    inventory::{Inventory, InventoryNode},
    plan::Plan,
    run::{Event, Recorded, Run},
    run_view::{self, Live},
    standing::Standing,
    view::{ControlView, EventLineView, RunLineView, RunStatus, RunView},
};
use drydock_types::{ComponentName, NodeName, RunId, Sha256, document};

use super::{Driver, Output, rows};
use crate::store::{RunStore, StoreError};

/// How many lines of the record a view carries.
const LOG_LINES: u32 = 200;
/// How many closed runs a list goes back.
const LISTED_RUNS: u32 = 100;
/// From how many earlier nodes an estimate is made.
const SAMPLES: u32 = 50;

/// Why an operator's request was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such run.
    #[error("there is no run {0}; `drydock run list` shows them")]
    NoSuchRun(u64),
    /// There is no run at all.
    #[error("there is no run yet; `drydock run start PLAN` makes one")]
    NoRun,
    /// The run is over.
    #[error(
        "run {0} is over: it cannot be paused, resumed or aborted; what came of it: drydock run report {0}"
    )]
    Closed(u64),
    /// It would have to wait, and the operator said not to.
    #[error(
        "run {0} works on some of the same nodes or waits to; without --no-wait this one would wait behind it (drydock why {0})"
    )]
    WouldQueue(u64),
    /// What was planned is not the fleet any more.
    #[error("{0} was enrolled anew or removed since the plan was made: start it again, and it is made anew")]
    NodeChanged(NodeName),
    /// There is no such node.
    #[error("no node {0} is enrolled; `drydock node list` shows those that are")]
    NoSuchNode(NodeName),
    /// It may not be, or changes nothing; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// It is not taken back.
    #[error(transparent)]
    NotTakenBack(#[from] super::rollback::NotTakenBack),
    /// The coordinator is on its way out.
    #[error("the coordinator is stopping and takes nothing new; try again when it is back")]
    Stopping,
    /// The store says no; the coordinator stops.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStanding {
    /// Which.
    pub name: NodeName,
    /// Its agent, while its stream is open.
    pub agent: Option<super::Agent>,
    /// Since when the stream is open, or is not.
    pub since: Now,
    /// The open run that holds it.
    pub run: Option<u64>,
    /// What stands on record about it.
    pub standing: Option<Standing>,
}

/// What an operator can do to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlVerb {
    /// Nothing further is handed out.
    Pause,
    /// Go on.
    Resume,
    /// End it.
    Abort,
}

impl<S: RunStore> Driver<S> {
    /// Accepts a run: durable when this returns. `id` is fresh randomness with the time in front (a ULID's bits).
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub fn start_run(
        &mut self,
        plan: Plan,
        by: &str,
        no_wait: bool,
        id: RunId,
        now: Now,
    ) -> Result<(u64, Option<u64>, Vec<Output>), OperatorError> {
        if self.stopping {
            return Err(OperatorError::Stopping);
        }
        let planned = plan.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
        let mut to_do = planned.filter(|node| node.skip.is_none());
        if let Some(changed) = to_do.find(|node| self.fleet.key(&node.name) != Some(node.key)) {
            return Err(OperatorError::NodeChanged(changed.name.clone()));
        }
        let behind = self.blocking_run(&plan, u64::MAX);
        if let (Some(other), true) = (behind, no_wait) {
            return Err(OperatorError::WouldQueue(other));
        }
        let number = self.last_run + 1;
        let mut run = Run::new(number, id, self.fleet_id, plan, by.to_string(), now);
        run.queued_behind = behind;
        for (index, stage) in run.plan.stages.iter().enumerate() {
            if let Some((median, _)) = self.median(stage.recipe_digest, &stage.component)? {
                run.planned_ms.insert(index, median);
            }
        }
        for (name, _, agent, _) in self.fleet.each() {
            for node in run.nodes.iter_mut().filter(|node| &node.name == name) {
                node.journal = agent.map(|agent| agent.journal);
            }
        }
        self.runs.insert(number, run);
        // One commit: accepted and begun, or nothing of it.
        let outputs = self.transition(number, Event::Started {}, now).inspect_err(|_| {
            self.runs.remove(&number);
        })?;
        self.last_run = number;
        Ok((number, behind, outputs))
    }

    /// The last open run before `number` that wants one of the plan's nodes.
    fn blocking_run(&self, plan: &Plan, number: u64) -> Option<u64> {
        let planned = plan.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
        let nodes: BTreeSet<&NodeName> = planned.map(|node| &node.name).collect();
        let wanted = |name: &NodeName| nodes.contains(name);
        let overlaps = |run: &&Run| run.number < number && run.nodes.iter().any(|node| wanted(&node.name));
        self.runs.values().filter(overlaps).map(|run| run.number).max()
    }

    /// A run was closed: those behind it move up.
    pub(super) fn begin_queued(&mut self, now: Now) -> Result<Vec<Output>, StoreError> {
        let queued = |run: &&Run| run.queued_behind.is_some() || run.status == RunStatus::Queued;
        let numbers: Vec<u64> = self.runs.values().filter(queued).map(|run| run.number).collect();
        let mut outputs = Vec::new();
        for number in numbers {
            let Some(run) = self.runs.get(&number) else { continue };
            let behind = self.blocking_run(&run.plan, number);
            match behind {
                None => {
                    if let Some(determined) = self.determine(run)? {
                        outputs.extend(self.transition(number, determined, now)?);
                    }
                    outputs.extend(self.transition(number, Event::Unqueued {}, now)?);
                }
                Some(_) => {
                    if let Some(run) = self.runs.get_mut(&number) {
                        run.queued_behind = behind;
                    }
                }
            }
        }
        Ok(outputs)
    }

    /// Pauses, resumes or aborts: durable when this returns.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub fn control(
        &mut self,
        number: u64,
        verb: ControlVerb,
        by: &str,
        now: Now,
    ) -> Result<(ControlView, Vec<Output>), OperatorError> {
        let number = self.resolve(number)?;
        if !self.runs.contains_key(&number) {
            return Err(OperatorError::Closed(number));
        }
        if verb == ControlVerb::Resume {
            self.adopt_strange(number, now)?;
        }
        let by = by.to_string();
        let event = match verb {
            ControlVerb::Pause => Event::Paused { by },
            ControlVerb::Resume => Event::Resumed { by },
            ControlVerb::Abort => Event::Aborted { by },
        };
        let handed_out = self.runs.get(&number).map(Run::handed_out).unwrap_or_default();
        let outputs = self.transition(number, event, now)?;
        let status = self.runs.get(&number).map_or(RunStatus::Aborted, |run| run.status);
        Ok((ControlView { number, status, handed_out }, outputs))
    }

    /// 0 means the newest.
    pub(super) fn resolve(&self, number: u64) -> Result<u64, OperatorError> {
        match number {
            0 if self.last_run == 0 => Err(OperatorError::NoRun),
            0 => Ok(self.last_run),
            number if number > self.last_run => Err(OperatorError::NoSuchRun(number)),
            number => Ok(number),
        }
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn show(&self, number: u64, now: Now) -> Result<RunView, OperatorError> {
        let number = self.resolve(number)?;
        let stored;
        let run = match self.runs.get(&number) {
            Some(run) => run,
            None => {
                stored = self.closed_run(number)?;
                &stored
            }
        };
        let live = self.live_of(run, now)?;
        let log = self.log(run)?;
        Ok(run_view::view(run, &live, log, now))
    }

    /// What is true of a run at this moment and not written down.
    pub(super) fn live_of(&self, run: &Run, now: Now) -> Result<Live, StoreError> {
        let mut live = self.live.get(&run.number).cloned().unwrap_or_default();
        live.silent = self.fleet.silent();
        live.undone_by = self.store.undone_by(run.number)?;
        live.frozen = self.fleet_view(now).frozen;
        live.standings = self.standings_by_name();
        if let Some(stage) = run.plan.stages.first() {
            live.earlier = self.median(stage.recipe_digest, &stage.component)?;
        }
        Ok(live)
    }

    pub(super) fn closed_run(&self, number: u64) -> Result<Run, OperatorError> {
        let row = self.store.run(number)?.ok_or(OperatorError::NoSuchRun(number))?;
        Ok(rows::read(&row)?)
    }

    fn log(&self, run: &Run) -> Result<Vec<EventLineView>, OperatorError> {
        let rows = self.store.events(run.number, LOG_LINES)?;
        let line = |row: crate::store::EventRow| {
            let (node, text) = match document::decode_own::<Recorded>("event", &row.event) {
                Ok(recorded) => (recorded.node, recorded.text),
                Err(error) => (None, format!("an event that this build cannot read: {error}")),
            };
            EventLineView { seq: row.seq, unix_ms: row.wall_ms, node, text }
        };
        Ok(rows.into_iter().map(line).collect())
    }

    /// Digests of the policies that connected agents obey, where they said them.
    #[must_use]
    pub fn policies(&self) -> BTreeMap<NodeName, Sha256> {
        self.fleet.policies()
    }

    /// The newest runs, and every older one that is open; newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(&self) -> Result<Vec<RunLineView>, OperatorError> {
        let rows = self.store.runs(LISTED_RUNS)?;
        let mut lines = Vec::new();
        for row in &rows {
            let line = match self.runs.get(&row.number) {
                Some(run) => run_view::line(run),
                None => run_view::line(&self.closed_run(row.number)?),
            };
            lines.push(line);
        }
        let oldest = rows.last().map_or(0, |row| row.number);
        lines.extend(self.runs.range(..oldest).rev().map(|(_, run)| run_view::line(run)));
        Ok(lines)
    }

    /// Who started a run that [`Self::list`] has, or approved a wave of it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn starters_and_approvers(&self) -> Result<BTreeSet<String>, OperatorError> {
        let mut found = BTreeSet::new();
        let mut add = |run: &Run| {
            found.insert(run.started_by.clone());
            found.extend(run.approvals.iter().map(|approval| approval.by.clone()));
        };
        for row in self.store.runs(LISTED_RUNS)? {
            if !self.runs.contains_key(&row.number) {
                add(&rows::read(&row)?);
            }
        }
        self.runs.values().for_each(add);
        Ok(found)
    }

    /// Median and number of earlier nodes' times.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn median(
        &self,
        recipe: Sha256,
        component: &ComponentName,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let mut samples = self.store.samples(recipe, component, SAMPLES)?;
        samples.sort_unstable();
        let count = samples.len() as u64;
        Ok(samples.get(samples.len() / 2).map(|median| (*median, count)))
    }

    /// How long earlier nodes took, over all these recipes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn durations(&self, recipes: &[(Sha256, ComponentName)]) -> Result<Vec<u64>, StoreError> {
        let each = recipes.iter().map(|(recipe, component)| self.store.samples(*recipe, component, SAMPLES));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The fleet as it stands, without what runs on the nodes.
    #[must_use]
    pub fn inventory(&self, now: Now) -> Inventory {
        let node = |agent: Option<&super::Agent>, node: &super::FleetNode, since: Now| InventoryNode {
            set_aside: self
                .standing(node.key)
                .and_then(|standing| standing.set_aside.as_ref())
                .map(|said| format!("set aside by {}: {}", said.by, said.why)),
            quarantined: self
                .standing(node.key)
                .map(|standing| standing.quarantined.clone())
                .unwrap_or_default(),
            key: node.key,
            labels: node.labels.clone(),
            silent_for_ms: agent.is_none().then(|| now.clock_ms.saturating_sub(since.clock_ms)),
            arch: agent.map(|agent| agent.facts.arch.clone()).unwrap_or_default(),
            steps: agent.map(|agent| agent.steps.clone()).unwrap_or_default(),
            requirements: agent.map(|agent| agent.requirements.clone()).unwrap_or_default(),
            free_bytes: agent.map(|agent| agent.facts.state_free_bytes).unwrap_or_default(),
            seen: BTreeMap::new(),
        };
        let nodes =
            self.fleet.each().map(|(name, entry, agent, since)| (name.clone(), node(agent, entry, since)));
        let busy = self
            .runs
            .values()
            .map(|run| (run.number, run.nodes.iter().map(|node| node.name.clone()).collect()));
        Inventory {
            nodes: nodes.collect(),
            busy: busy.collect(),
            durations: BTreeMap::new(),
            wall_ms: now.wall_ms,
            bound: None,
        }
    }

    /// Every node as it stands, for `node list`.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStanding> {
        let holds = |run: &&Run, name: &NodeName| run.nodes.iter().any(|node| node.name == *name);
        let standing =
            |(name, node, agent, since): (&NodeName, &super::FleetNode, Option<&super::Agent>, Now)| {
                let run = self.runs.values().find(|run| holds(run, name)).map(|run| run.number);
                let standing = self.standing(node.key).cloned();
                NodeStanding { name: name.clone(), agent: agent.cloned(), since, run, standing }
            };
        self.fleet.each().map(standing).collect()
    }

    /// Every run that is not over, as it stands.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    fn standings_by_name(&self) -> BTreeMap<NodeName, Standing> {
        let stands = self.fleet.each().map(|(name, node, _, _)| (name, self.standing(node.key)));
        stands.filter_map(|(name, standing)| Some((name.clone(), standing?.clone()))).collect()
    }

    /// How many runs are not over.
    #[must_use]
    pub fn open_runs(&self) -> usize {
        self.runs.len()
    }

    /// The store, for reading what the driver does not hold.
    pub const fn store(&self) -> &S {
        &self.store
    }
}
