//! Outages that the plan accepts by name and length: since when, and until when the run goes on with it (rule 6).
//!
//! Nobody here sees the service itself. It counts as out from the moment at which its change was handed out, and again
//! from the first look of a soak that is not clear, until a look finds its node well or nothing was changed.

use alloc::{format, string::ToString};

use drydock_types::Millis;

use super::hold::{HoldBecause, hold};
use crate::{
    Now,
    hold_kind::HoldKind,
    plan::PlanStage,
    run::{NodeRun, Outage, Run},
    view::{Phase, RunStatus},
};

impl PlanStage {
    /// The outage that the stage accepts: the shortest, where it names several.
    #[must_use]
    pub fn accepted_outage(&self) -> Option<(&str, Millis)> {
        let shortest = self.outage.iter().min_by_key(|(_, length)| **length);
        shortest.map(|(name, length)| (name.as_str(), *length))
    }
}

/// From now on the node's service may be out.
pub(super) fn begins(run: &mut Run, index: usize, now: Now) {
    let Some((what, accepted)) = run.stage_of(&run.nodes[index]).accepted_outage() else { return };
    let outage =
        Outage { what: what.to_string(), since: now, until_ms: now.clock_ms.saturating_add(accepted.0) };
    run.nodes[index].outage.get_or_insert(outage);
}

impl Run {
    /// Until when the run goes on with a node's outage, on the fleet's clock; `None` where nobody asks about it.
    ///
    /// While a run is aborted nobody follows a node whose section has ended, and it is looked at until its return is
    /// due. Held before that it would be left in doubt though the next look might find it well.
    #[must_use]
    pub(crate) fn outage_until_ms(&self, node: &NodeRun) -> Option<u64> {
        let only_returns = self.status == RunStatus::Aborting && node.open.is_none();
        node.outage.as_ref().filter(|_| !only_returns).map(|outage| outage.until_ms)
    }
}

/// A person has decided about this node: if it is out still, it may be so for as long as the plan accepts, once more.
/// What is out elsewhere was not asked about, and keeps the time that it had.
pub(super) fn accepted_anew(run: &mut Run, index: usize, now: Now) {
    let accepted = run.stage_of(&run.nodes[index]).accepted_outage().map(|(_, accepted)| accepted);
    if let (Some(outage), Some(accepted)) = (&mut run.nodes[index].outage, accepted) {
        outage.until_ms = now.clock_ms.saturating_add(accepted.0);
    }
}

/// Holds at the first node whose service has been out for longer than the plan accepts.
pub(super) fn too_long(run: &mut Run, now: Now) -> bool {
    let late = |node: &NodeRun| run.outage_until_ms(node).is_some_and(|until| now.clock_ms >= until);
    let found = run.nodes.iter().enumerate().find_map(|(index, node)| {
        Some((index, node.outage.clone().filter(|_| !node.phase.is_ended() && late(node))?))
    });
    let Some((index, outage)) = found else { return false };
    let node = &run.nodes[index];
    let (name, phase, what) = (&node.name, node.phase, &outage.what);
    let accepted = run.stage_of(node).outage.get(what).copied().unwrap_or_default();
    let lasted = Millis(now.clock_ms.saturating_sub(outage.since.clock_ms) / 1000 * 1000);
    let waits = node.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.what, waiting.because));
    let (happened, state_now) = match &node.open {
        Some(open) => (
            format!(
                "its {} section was handed out {lasted} ago and has not ended{}",
                open.kind.as_str(),
                waits.map(|waits| format!(" ({waits})")).unwrap_or_default()
            ),
            format!(
                "the agent of {name} goes on by itself: it ends its section, or takes it back when it fails; then {name} is looked at"
            ),
        ),
        None => (
            waits.unwrap_or_else(|| "its section ended, and no look has found it well since".to_string()),
            format!("{name} was changed and has not been seen well; no section is at work on it"),
        ),
    };
    let because = HoldBecause {
        kind: HoldKind::OutageTooLong,
        reason: format!("{what} on {name} has been out for {lasted}, and the plan accepts {accepted}"),
        happened,
        state_now,
        resume_at: phase,
        next_attempt: false,
    };
    hold(run, index, because, now);
    true
}

/// Can a node that is held so still have its service out?
pub(super) const fn may_go_on(kind: HoldKind) -> bool {
    matches!(
        kind,
        HoldKind::OutageTooLong
            | HoldKind::NotReported
            | HoldKind::NotBack
            | HoldKind::Unwell
            | HoldKind::LeftAlone
            | HoldKind::NotTakenBack
            | HoldKind::Undecidable
    )
}

/// Can a service be out in this phase?
pub(crate) const fn can_be_out(phase: Phase) -> bool {
    matches!(phase, Phase::Applying | Phase::Returning | Phase::Soaking | Phase::Held)
}
