//! `run rollback`: a new run that takes another one back, node by node, from what their agents' journals recorded.
//!
//! Never cascading: what a later run has changed since on a node is not taken along. It is refused here, with that
//! run's number, seen again when the rollback's turn comes, and refused by the agent itself.

use std::collections::BTreeMap;

use drydock_core::{
    Now,
    plan::{
        Plan,
        undo::{self, UndoError},
    },
    run::{Determined, Event, NodeRun, Run},
    view::{Phase, RollbackView},
};
use drydock_types::{ComponentName, EffectId, NodeKey, NodeName, RunId};

use super::{Driver, Output, operate::OperatorError, rows};
use crate::store::{RunStore, StoreError};

/// Why a run is not taken back though there is something to take back.
#[derive(Debug, thiserror::Error)]
pub enum NotTakenBack {
    /// Nothing there, or no such node.
    #[error(transparent)]
    Nothing(#[from] UndoError),
    /// Another run has changed it since.
    #[error(
        "run {later} has changed {component} on {node} since run {run} did, and a rollback never takes a later change with it: take run {later} back first (drydock run rollback {later}), or name other nodes of run {run} (--node)"
    )]
    ChangedSince {
        /// The run that was to be taken back.
        run: u64,
        /// The later one.
        later: u64,
        /// On which node.
        node: NodeName,
        /// Which component.
        component: ComponentName,
    },
    /// The notes are gone.
    #[error(
        "the agent of {node} has been told to forget what run {run} changed there, so that nothing tells any more how it is taken back: go back by a plan to the old version (allowDowngrade: true), or name other nodes of run {run} (--node)"
    )]
    Forgotten {
        /// The run.
        run: u64,
        /// On which node.
        node: NodeName,
    },
    /// Another open run wants the same component there.
    #[error(
        "run {other} is open and works on {component} on {node} or waits to: end it first (drydock run abort {other}){remark}"
    )]
    Wanted {
        /// The other run.
        other: u64,
        /// On which node.
        node: NodeName,
        /// Which component.
        component: ComponentName,
        /// `; it takes run 41 back already`
        remark: String,
    },
    /// The name is another machine's by now.
    #[error(
        "{node} was enrolled anew or removed since run {run}: what run {run} changed was another machine; name the other nodes of run {run} (--node)"
    )]
    AnotherMachine {
        /// The run.
        run: u64,
        /// The name.
        node: NodeName,
    },
}

/// A change that a plan takes back.
struct Undone<'a> {
    node: &'a NodeName,
    key: NodeKey,
    component: &'a ComponentName,
    effect: EffectId,
}

fn undone(plan: &Plan) -> Vec<Undone<'_>> {
    let mut list = Vec::new();
    for stage in &plan.stages {
        for node in stage.waves.iter().flat_map(|wave| &wave.nodes) {
            let of = |undo: &drydock_core::plan::UndoOf| Undone {
                node: &node.name,
                key: node.key,
                component: &stage.component,
                effect: undo.effect,
            };
            list.extend(node.undo.as_ref().map(of));
        }
    }
    list
}

impl<S: RunStore> Driver<S> {
    /// Takes a run back, or one node of it: durable when this returns. One that is open is aborted first, and the
    /// new run waits until it is over. `id` is fresh, as for a start.
    ///
    /// # Errors
    /// See [`NotTakenBack`]; then nothing has happened, and an open run goes on.
    pub fn rollback(
        &mut self,
        number: u64,
        only: Option<&NodeName>,
        by: &str,
        id: RunId,
        now: Now,
    ) -> Result<(RollbackView, Vec<Output>), OperatorError> {
        if self.stopping {
            return Err(OperatorError::Stopping);
        }
        let number = self.resolve(number)?;
        let run = self.as_it_stands(number)?;
        let open = !run.status.is_closed();
        let plan = undo::undo_plan(&run, only).map_err(NotTakenBack::from)?;
        self.may_take_back(&plan, number, open)?;
        let left_out = undo::left_out(&run, only);
        let mut outputs = Vec::new();
        let plan = if open {
            outputs.extend(self.transition(number, Event::Aborted { by: by.to_string() }, now)?);
            undo::undo_plan(&self.as_it_stands(number)?, only).map_err(NotTakenBack::from)?
        } else {
            plan
        };
        let (back, queued_behind, more) = self.start_run(plan, by, false, id, now)?;
        outputs.extend(more);
        let nodes = undo::in_order(&self.any_run(back)?);
        Ok((
            RollbackView { number: back, undoes: number, aborted: open, queued_behind, nodes, left_out },
            outputs,
        ))
    }

    fn any_run(&self, number: u64) -> Result<Run, OperatorError> {
        match self.runs.get(&number) {
            Some(run) => Ok(run.clone()),
            None => self.closed_run(number),
        }
    }

    /// A run with what earlier rollbacks of it have come to: what they took back is no part of another one, and what
    /// they left in doubt is half-way.
    fn as_it_stands(&self, number: u64) -> Result<Run, OperatorError> {
        let run = self.any_run(number)?;
        Ok(self.with_rollbacks(run)?)
    }

    fn with_rollbacks(&self, mut run: Run) -> Result<Run, StoreError> {
        for back in self.store.undone_by(run.number)? {
            let back = match self.runs.get(&back) {
                Some(open) => open.clone(),
                None => match self.store.run(back)? {
                    Some(row) => rows::read(&row)?,
                    None => continue,
                },
            };
            for taken in back.nodes.iter().filter(|node| back.undo_of(node).is_some()) {
                let stage = &back.stage_of(taken).name;
                let same = |node: &NodeRun| {
                    node.name == taken.name && node.key == taken.key && run.stage_of(node).name == *stage
                };
                let Some(index) = run.nodes.iter().position(same) else { continue };
                if taken.phase == Phase::Done {
                    run.nodes[index].undone = true;
                } else if taken.half_way && taken.unsettled.is_some() {
                    run.nodes[index].phase = Phase::Held;
                }
            }
        }
        Ok(run)
    }

    fn may_take_back(&self, plan: &Plan, number: u64, open: bool) -> Result<(), NotTakenBack> {
        for Undone { node, key, component, effect } in undone(plan) {
            if self.fleet.key(node) != Some(key) {
                return Err(NotTakenBack::AnotherMachine { run: number, node: node.clone() });
            }
            if let Some((other, remark)) = self.wanted_by(node, component, number) {
                let (node, component) = (node.clone(), component.clone());
                return Err(NotTakenBack::Wanted { other, node, component, remark });
            }
            // What an open run leaves is noted when it closes; until then nobody else can have changed its nodes.
            if !open {
                self.is_last_change(key, component, effect).map_err(|later| match later {
                    Some(later) => {
                        let (node, component) = (node.clone(), component.clone());
                        NotTakenBack::ChangedSince { run: number, later, node, component }
                    }
                    None => NotTakenBack::Forgotten { run: number, node: node.clone() },
                })?;
            }
        }
        Ok(())
    }

    /// Another open run that has this component of this node in its plan.
    fn wanted_by(&self, node: &NodeName, component: &ComponentName, number: u64) -> Option<(u64, String)> {
        let wants = |run: &&Run| {
            let same = |other: &drydock_core::run::NodeRun| {
                other.name == *node && run.stage_of(other).component == *component
            };
            run.number != number && run.nodes.iter().any(same)
        };
        let other = self.runs.values().find(wants)?;
        let remark = match other.plan.undoes {
            Some(undoes) if undoes == number => {
                format!("; it takes run {number} back already (drydock why {})", other.number)
            }
            _ => String::new(),
        };
        Some((other.number, remark))
    }

    /// Is this effect the last change of the component on the node, and are its notes kept? `Err`: the run that has
    /// changed it since, where there is one.
    fn is_last_change(
        &self,
        key: NodeKey,
        component: &ComponentName,
        effect: EffectId,
    ) -> Result<(), Option<u64>> {
        match self.remembered.change(key, component) {
            Some(last) if last.effect == effect => Ok(()),
            Some(later) => Err(Some(later.run)),
            None => Err(None),
        }
    }

    /// The turn of a run that takes another one back has come: what became of that one's changes.
    pub(super) fn determine(&self, undo: &Run) -> Result<Option<Event>, StoreError> {
        let Some(number) = undo.plan.undoes else { return Ok(None) };
        let Some(row) = self.store.run(number)? else { return Ok(None) };
        let mut changes: BTreeMap<usize, Determined> =
            undo::determine(&self.with_rollbacks(rows::read(&row)?)?, undo);
        for (index, node) in undo.nodes.iter().enumerate() {
            let Some(change) = changes.get_mut(&index) else { continue };
            let (Some(taken), Determined::There { .. }) = (undo.undo_of(node), &*change) else { continue };
            let component = &undo.stage_of(node).component;
            match self.is_last_change(node.key, component, taken.effect) {
                Ok(()) => {}
                Err(Some(later)) => {
                    *change =
                        Determined::Gone { why: format!("run {later} has changed {component} there since") };
                }
                Err(None) => {
                    let why = format!("its agent does not hold what run {number} changed any more");
                    *change = Determined::Gone { why };
                }
            }
        }
        Ok(Some(Event::Determined { changes }))
    }
}
