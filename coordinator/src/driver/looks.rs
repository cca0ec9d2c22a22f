//! Looks: what is asked, and what the driver adds to the answer.

use std::collections::BTreeSet;

use drydock_core::{
    Now,
    inventory::Seen,
    recipe::Check,
    run::{CheckResult, Disrupted, Event, LookFor, NodeRun, Run},
    view::Phase,
};
use drydock_types::{NodeKey, NodeName};

use super::{Driver, LookRequest, Output};
use crate::store::{RunStore, StoreError};

impl<S: RunStore> Driver<S> {
    pub(super) fn looked(
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
        // Nobody has asked its agent: whether it is there, the driver knows itself.
        let asks_no_agent = |node: &NodeRun| {
            let detect = state.recipe_of(node).detect;
            detect.version.is_none() && detect.unit.is_none()
        };
        if results.is_empty() && state.nodes.get(node).is_some_and(asks_no_agent) {
            results.extend(self.fleet.own_connection(state, node));
        }
        results.extend(self.departures.judge(state, node, round, &self.runs));
        results.extend(self.own_checks(state, node, &seen, now));
        self.transition(run, looked_at(node, round, results, seen), now)
    }

    /// Who is out of service beside a run's node, by the fleet, the runs, and what stands on record.
    pub(super) fn disrupted_beside(&self, run: &Run, index: usize) -> Vec<Disrupted> {
        self.fleet.disrupted_beside(run, index, &self.runs, &self.standings)
    }
}

/// An answer to a look. Who is out of service beside the node is counted when the answer is judged, not here.
pub(super) const fn looked_at(node: usize, round: u64, results: Vec<CheckResult>, seen: Seen) -> Event {
    Event::Looked { node, round, results, seen, disrupted: Vec::new() }
}

fn identity(node: &NodeRun) -> (NodeName, NodeKey) {
    (node.name.clone(), node.key)
}

/// What failed before is noted at the first gate of a run in which this stage or a later one has a check that will ask for it:
/// by the first gate of such a stage an earlier one may have changed the cluster.
fn notes_failures(run: &Run, node: &NodeRun) -> bool {
    let mut checks = run.plan.stages.iter().skip(node.stage).flat_map(|stage| {
        let spec = &stage.recipe.spec;
        let soaks = stage.waves.iter().flat_map(|wave| &wave.soak_checks);
        spec.gate.iter().chain(&spec.returned).chain(soaks)
    });
    checks.any(|check| matches!(check, Check::KubernetesCluster(_)))
}

/// What failed before is what failed before anything was done to a cluster: of which cluster each of these is a Node, the
/// look finds out.
fn changed(run: &Run) -> BTreeSet<NodeKey> {
    let touched = run.nodes.iter().filter(|node| node.marked || run.change_was_sent(node));
    touched.map(|node| node.key).collect()
}

/// Is there anything to ask an agent, or does the driver know the answer itself?
pub(crate) fn look_request(run: &Run, index: usize, round: u64, checks: Vec<Check>) -> Option<LookRequest> {
    let node = run.nodes.get(index)?;
    let stage = run.stage_of(node);
    let detect = run.recipe_of(node).detect;
    let soaks = node.look.as_ref().is_some_and(|look| look.purpose == LookFor::Soak);
    let soak = if soaks { run.soak_looks(index) } else { Vec::new() };
    let before = matches!(node.phase, Phase::Gating | Phase::Rechecking);
    // A rehearsal asks of nodes that have not begun.
    let leaves = before || node.phase == Phase::Pending;
    let moves = if leaves && run.leaves_by_moves(node) { run.recipe_of(node).drain } else { Vec::new() };
    let notes_failures = before && notes_failures(run, node);
    let asks_nothing = checks.is_empty() && soak.is_empty() && moves.is_empty() && !notes_failures;
    if asks_nothing && detect.version.is_none() && detect.unit.is_none() {
        return None;
    }
    let peers = stage.waves.iter().flat_map(|wave| &wave.nodes);
    let peers = peers.map(|peer| (peer.name.clone(), stage.detect_for(peer))).collect();
    // What was taken back by its agent should be what ran before.
    let taken_back = node.undone && !before;
    let wanted = if taken_back { node.from.as_ref() } else { run.wanted(node) };
    Some(LookRequest {
        run: run.number,
        index,
        round,
        node: node.name.clone(),
        before,
        detect,
        checks,
        soaking_ms: node.look.as_ref().map_or(0, |look| look.asked_ms.saturating_sub(node.since.clock_ms)),
        moves,
        drained: node.drained,
        again: node.again,
        force: node.force.clone(),
        run_id: node.mark_of.unwrap_or(run.id),
        fleet: run.fleet,
        key: node.key,
        rehearses: node.phase == Phase::Pending,
        soak,
        peers,
        to: wanted.unwrap_or(&stage.to).clone(),
        outages: stage.outage.keys().cloned().collect(),
        one_minor_at_a_time: stage.recipe.spec.versions.one_minor_at_a_time,
        observe: match node.phase {
            Phase::Returning => run.recipe_of(node).observe,
            _ => Vec::new(),
        },
        began_unix_ms: run.started.wall_ms,
        failed_before: run.failed_before.clone(),
        notes_failures,
        changed: changed(run),
        keys: run.nodes.iter().filter(|other| other.stage == node.stage).map(identity).collect(),
    })
}
