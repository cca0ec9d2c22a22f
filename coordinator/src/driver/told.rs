//! What a transition says in the coordinator's log: how a run stands, and where its nodes are.

use drydock_core::run::Run;

/// One line for each node that entered another phase, and one where the run itself stands otherwise. Called
/// when the transition is on disk.
pub(super) fn tell(was: &Run, is: &Run) {
    let run = is.number;
    for (before, node) in was.nodes.iter().zip(&is.nodes).filter(|(before, node)| before.phase != node.phase)
    {
        let (from, phase) = (before.phase.word(), node.phase.word());
        tracing::info!(run, node = %node.name, from, phase, "a node entered another phase");
    }
    if was.status != is.status {
        let why = is.hold.as_ref().map(|hold| hold.reason.as_str());
        tracing::info!(run, status = ?is.status, why, "a run stands otherwise");
    }
}
