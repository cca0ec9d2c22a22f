//! Who left service since something was looked at: what was seen before is no evidence for the next one.
//!
//! Counted in turns, not in time: every change that is handed out, of whatever run, is one. Two nodes of one
//! cluster can stand at their gates together; when one of them leaves, the other's look tells of a cluster that is
//! no longer so.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    moves::Doing,
    recipe::Check,
    run::{CheckResult, NodeRun, Run},
    view::Phase,
};
use drydock_types::{NodeName, SectionKind, Verdict};

use super::Output;

/// The name of the result.
const EVIDENCE: &str = "evidence";

/// Changes that were handed out, and looks that were asked for between them. In memory: after a restart every look
/// is taken anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Departures {
    turn: u64,
    last: BTreeMap<NodeName, u64>,
    /// By run and index of the node: the round, and the turn in which it was asked for.
    asked: BTreeMap<(u64, usize), (u64, u64)>,
}

impl Departures {
    /// Notes what a transition lets out, in its order.
    pub(super) fn note(&mut self, run: &Run, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Dispatch { node, effect, .. } if run.with_open(*effect).is_some_and(changes) => {
                    self.turn += 1;
                    self.last.insert(node.clone(), self.turn);
                }
                Output::Move(request) if request.order.doing == Some(Doing::Leave) => {
                    self.turn += 1;
                    self.last.insert(request.order.name.clone(), self.turn);
                }
                Output::Look(request) => {
                    self.asked.insert((request.run, request.index), (request.round, self.turn));
                }
                _ => {}
            }
        }
        if run.status.is_closed() {
            self.asked.retain(|(number, _), _| *number != run.number);
        }
    }

    /// What speaks against a look that was taken at a node's gate.
    pub(super) fn judge(
        &self,
        run: &Run,
        index: usize,
        round: u64,
        runs: &BTreeMap<u64, Run>,
    ) -> Option<CheckResult> {
        let node = run.nodes.get(index)?;
        if !matches!(node.phase, Phase::Gating | Phase::Rechecking) {
            return None;
        }
        let why = self
            .left_since(run.number, index, round, &node.name)
            .or_else(|| peer_in_motion(run, node, runs))?;
        Some(CheckResult { check: EVIDENCE.to_string(), verdict: Verdict::Unknown(why) })
    }

    /// For each look that is still awaited: since it was asked for, who has left service. What decides about it,
    /// and nothing of how it came about.
    pub(super) fn since_asked(&self) -> impl Iterator<Item = (u64, usize, u64, BTreeSet<&NodeName>)> {
        self.asked.iter().map(|((run, index), (round, asked))| {
            let left = self.last.iter().filter(|(_, turn)| *turn > asked);
            (*run, *index, *round, left.map(|(node, _)| node).collect())
        })
    }

    fn left_since(&self, run: u64, index: usize, round: u64, me: &NodeName) -> Option<String> {
        // A look that nobody noted was not asked for, and the reducer does not believe it.
        let (_, asked) = self.asked.get(&(run, index)).filter(|(of, _)| *of == round)?;
        let others = self.last.iter().filter(|(node, turn)| *node != me && *turn > asked);
        let (node, _) = others.max_by_key(|(_, turn)| **turn)?;
        Some(format!("{node} left service after this was looked at"))
    }
}

/// Is its service being changed at this moment, or may it be?
fn changes(node: &NodeRun) -> bool {
    node.open.as_ref().is_some_and(|open| matches!(open.kind, SectionKind::Apply | SectionKind::Undo))
}

/// A node of the same cluster whose change is handed out and has not ended: however fresh a look is, it may have
/// seen it a moment before it went down.
fn peer_in_motion(run: &Run, node: &NodeRun, runs: &BTreeMap<u64, Run>) -> Option<String> {
    let stage = run.stage_of(node);
    if !stage.recipe.spec.gate.iter().any(|check| matches!(check, Check::EtcdQuorum(_))) {
        return None;
    }
    let in_motion =
        |other: &&NodeRun| other.name != node.name && changes(other) && stage.node(&other.name).is_some();
    let all = runs.values().filter(|other| other.number != run.number).chain([run]);
    let (number, other) = all
        .flat_map(|run| run.nodes.iter().map(|node| (run.number, node)))
        .find(|(_, other)| in_motion(other))?;
    Some(format!("run {number} is changing {}: what its cluster says of it now will not last", other.name))
}
