//! The plan that takes a run back: the same nodes, last out first, one at a time, each from its own journal.
//!
//! A rollback is a run like any other: the same gates, budget, soak and holds. What it does not have: a window (who
//! rolls back at three in the morning means it), approvals, anything to stage or to protect, and a way of its own
//! to fail further: an undo that fails is held.

mod confirmed;

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{EffectId, NodeName, RunId, SectionKind};

pub use self::confirmed::Confirmed;
use super::{Plan, PlanNode, PlanStage, PlanWave, UndoOf, digest};
use crate::{
    plan_file::{Allow, OnFailure, Order},
    run::{Determined, Left, NodeRun, Run},
    view::{Phase, RollbackNodeView, SkippedView},
};

/// Why a run cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    /// Nothing of it is left anywhere.
    #[error("run {run} changed nothing that is still there: there is nothing to take back{more}")]
    Nothing {
        /// The run.
        run: u64,
        /// What became of nodes that it did begin with.
        more: String,
    },
    /// The run is a rollback itself.
    #[error(
        "run {run} is itself the rollback of run {of}; to go forwards again start a plan: drydock run start PLAN"
    )]
    Rollback {
        /// The run.
        run: u64,
        /// What it takes back.
        of: u64,
    },
    /// No such node in the run.
    #[error("run {run} has no node {node}; its nodes: drydock run show {run}")]
    NoSuchNode {
        /// The run.
        run: u64,
        /// The name.
        node: NodeName,
    },
    /// It is commit-confirmed.
    #[error("{0}")]
    Confirmed(Box<Confirmed>),
}

/// How a node of a run stands towards being taken back.
enum Standing {
    /// Its change can be taken back, or may turn out to be one that can.
    Candidate { effect: EffectId, half_way: bool },
    /// Why not.
    Not(String),
}

fn standing(node: &NodeRun) -> Standing {
    if let Some(open) = node.open.as_ref().filter(|open| open.kind == SectionKind::Apply) {
        // Its agent ends or undoes it by itself; what came of it is seen when the rollback's turn comes.
        return Standing::Candidate { effect: open.effect, half_way: false };
    }
    match (node.last_change, node.phase) {
        (Some(change), _) if change.left == Left::Unknown => Standing::Not(format!(
            "nothing tells how its change ended, so nothing tells how it is taken back: look at {}",
            node.name
        )),
        _ if node.undone => Standing::Not("it is back on what it ran before".to_string()),
        (Some(change), phase) => {
            // Of one that nobody waited for its agent knows more; until it is asked the gates are kept.
            let half_way = change.left != Left::Unheard && phase != Phase::Done;
            Standing::Candidate { effect: change.effect, half_way }
        }
        (None, _) => Standing::Not("nothing was changed on it".to_string()),
    }
}

/// Compiles the plan that takes `run` back, or one node of it.
///
/// # Errors
/// When there is nothing to take back; see [`UndoError`].
pub fn undo_plan(run: &Run, only: Option<&NodeName>) -> Result<Plan, UndoError> {
    if let Some(of) = run.plan.undoes {
        return Err(UndoError::Rollback { run: run.number, of });
    }
    if let Some(node) = only.filter(|only| run.nodes.iter().all(|node| node.name != **only)) {
        return Err(UndoError::NoSuchNode { run: run.number, node: node.clone() });
    }
    if let Some(confirmed) = confirmed::way_back(run, only) {
        return Err(UndoError::Confirmed(Box::new(confirmed)));
    }
    let stages = run.plan.stages.iter().enumerate().rev();
    let stages: Vec<PlanStage> =
        stages.filter_map(|(index, stage)| undo_stage(run, index, stage, only)).collect();
    if stages.is_empty() {
        let left = left_out(run, only);
        let more: Vec<_> = left.iter().map(|left| format!("; {}: {}", left.node, left.why)).collect();
        return Err(UndoError::Nothing { run: run.number, more: more.concat() });
    }
    let mut plan = Plan {
        window: None,
        allow: vec![Allow::Extend, Allow::Skip, Allow::Soak],
        undoes: Some(run.number),
        stages,
        ..(*run.plan).clone()
    };
    plan.digest = digest(&plan);
    Ok(plan)
}

/// A stage of which something is taken back. Its other nodes stand in it too, left out: a cluster's gate asks them
/// all.
fn undo_stage(run: &Run, index: usize, stage: &PlanStage, only: Option<&NodeName>) -> Option<PlanStage> {
    let waves = stage.waves.iter().enumerate().rev();
    let waves: Vec<PlanWave> =
        waves.map(|(wave, planned)| undo_wave(run, (index, wave), planned, only)).collect();
    let takes_back = |wave: &PlanWave| wave.nodes.iter().any(|node| node.undo.is_some());
    waves.iter().any(takes_back).then(|| PlanStage {
        on_failure: OnFailure::Hold,
        allow_downgrade: true,
        waves,
        ..stage.clone()
    })
}

fn undo_wave(run: &Run, place: (usize, usize), wave: &PlanWave, only: Option<&NodeName>) -> PlanWave {
    let here = run.nodes.iter().enumerate().filter(|(_, node)| (node.stage, node.wave) == place);
    let mut here: Vec<(usize, &NodeRun)> = here.collect();
    // Whoever left service last goes back first; of two that left together, the one that was planned last.
    here.sort_by_key(|(index, node)| core::cmp::Reverse((node.began.map(|at| at.clock_ms), *index)));
    let planned = |name: &NodeName| wave.nodes.iter().find(|node| node.name == *name);
    let undo = |(_, node): (usize, &NodeRun)| {
        let planned = PlanNode { undo: None, seen: None, skip: None, ..planned(&node.name)?.clone() };
        let asked = only.is_none_or(|only| node.name == *only);
        Some(match standing(node) {
            Standing::Candidate { effect, half_way } if asked => {
                let (to, mark) = (node.from.clone(), mark_of(run, node));
                PlanNode { undo: Some(UndoOf { effect, to, half_way, mark }), ..planned }
            }
            Standing::Candidate { .. } => PlanNode { skip: Some("not asked for".to_string()), ..planned },
            Standing::Not(why) => PlanNode { skip: Some(why), ..planned },
        })
    };
    let nodes: Vec<PlanNode> = here.into_iter().filter_map(undo).collect();
    PlanWave { order: Order::Listed, concurrency: 1, approval: None, nodes, ..wave.clone() }
}

/// Does the run, or this node of it, have nothing that only a plan takes back, so that an undo by command is not
/// refused for it?
pub(crate) fn goes_by_command(run: &Run, only: Option<&NodeName>) -> bool {
    confirmed::way_back(run, only).is_none()
}

/// Nodes of the run that are not taken back although it did begin with them, and why.
#[must_use]
pub fn left_out(run: &Run, only: Option<&NodeName>) -> Vec<SkippedView> {
    let asked = run.nodes.iter().filter(|node| only.map_or(node.began.is_some(), |only| node.name == *only));
    let skipped = asked.filter_map(|node| match standing(node) {
        Standing::Not(why) => {
            Some(SkippedView { node: node.name.clone(), stage: run.stage_of(node).name.clone(), why })
        }
        Standing::Candidate { .. } => None,
    });
    skipped.collect()
}

/// What a rollback will do, node by node, in order.
#[must_use]
pub fn in_order(run: &Run) -> Vec<RollbackNodeView> {
    let node = |node: &NodeRun| RollbackNodeView {
        node: node.name.clone(),
        component: run.stage_of(node).component.clone(),
        from: run.stage_of(node).to.clone(),
        to: run.wanted(node).cloned(),
        note: match (node.half_way, &node.phase) {
            (_, Phase::Skipped) => node.note.clone(),
            (true, _) => "left half-way; taken back without the gate if it is down".to_string(),
            (false, _) => String::new(),
        },
    };
    run.nodes.iter().filter(|node| run.undo_of(node).is_some()).map(node).collect()
}

/// Whose mark stands on other people's objects for a node of a run.
fn mark_of(run: &Run, node: &NodeRun) -> Option<RunId> {
    node.marked.then(|| node.mark_of.unwrap_or(run.id))
}

/// What became of the changes that `undo` takes back, now that `run` is over; the driver adds what other runs did.
#[must_use]
pub fn determine(run: &Run, undo: &Run) -> BTreeMap<usize, Determined> {
    let one = |node: &NodeRun| {
        let taken = undo.undo_of(node)?;
        let same = |other: &&NodeRun| {
            other.name == node.name
                && other.key == node.key
                && run.stage_of(other).name == undo.stage_of(node).name
        };
        let was = run.nodes.iter().find(same)?;
        Some(match standing(was) {
            Standing::Candidate { effect, half_way } if effect == taken.effect => {
                Determined::There { half_way, mark: mark_of(run, was) }
            }
            Standing::Candidate { .. } => {
                Determined::Gone { why: format!("run {} tried it again since", run.number) }
            }
            Standing::Not(why) => Determined::Gone { why },
        })
    };
    undo.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, one(node)?))).collect()
}
