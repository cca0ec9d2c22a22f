//! One node of a run by itself: what it waits for there.

use alloc::{format, string::String, vec::Vec};

use super::{Live, hold, outage, waiting};
use crate::{
    Now,
    run::{NodeRun, Run},
    view::{NodeInRunView, Phase, RunStatus},
};

/// A node's part in a run.
#[must_use]
pub fn node(run: &Run, index: usize, live: &Live, now: Now) -> Option<NodeInRunView> {
    let node = run.nodes.get(index)?;
    let note = if node.note.is_empty() { turn(run, node).unwrap_or_default() } else { node.note.clone() };
    Some(NodeInRunView {
        run: run.number,
        name: run.plan.name.clone(),
        status: run.status,
        component: run.stage_of(node).component.clone(),
        phase: node.phase,
        since_unix_ms: node.since.wall_ms,
        note,
        outage: outage(run, node, now),
        waiting: waiting::of_node(run, index, live, now),
        hold: hold::hold(run, live).filter(|_| run.status == RunStatus::Held),
    })
}

/// Whom its turn comes behind, where it has not begun.
fn turn(run: &Run, node: &NodeRun) -> Option<String> {
    if !matches!(node.phase, Phase::Pending | Phase::Staging | Phase::Staged) {
        return None;
    }
    let at_work = run.nodes.iter().filter(|other| other.phase.is_at_work());
    let names: Vec<String> =
        at_work.map(|other| format!("{} ({})", other.name, other.phase.word())).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("its turn comes behind {one}")),
        [first, ..] => Some(format!("its turn comes behind {first} and {} more at work", names.len() - 1)),
    }
}
