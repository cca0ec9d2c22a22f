//! The reducer: state and event in, state and effects out. Total: every event in every state.
//!
//! | module | what it decides |
//! |---|---|
//! | [`advance`] | what is looked at, who is staged ahead, when the run is over |
//! | [`begin`] | who leaves service next, and what keeps everybody in it |
//! | [`looked`] | what a look means for the node that it was taken at |
//! | [`soak`] | what a look means for a node that is watched |
//! | [`ended`] | what a section's end means |
//! | [`moves`] | how a node leaves service by moves of the coordinator's, and is given back |
//! | [`amend`] | approvals, nodes left out, deadlines, amendments |
//! | [`control`] | pause, resume, abort, restart, deadlines |
//! | [`hold`] | how a run stops on purpose |
//! | [`observe`] | what was measured from outside while a node was changed, and whether the plan accepts it |
//! | [`same_bytes`] | whether every node of a stage has fetched the same packages |
//! | [`outage`] | how long an outage that the plan accepts may last |

mod advance;
mod amend;
mod begin;
mod control;
mod ended;
mod hold;
mod looked;
mod moves;
mod observe;
mod outage;
mod same_bytes;
mod soak;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use drydock_types::{Section, SectionKind};

pub(crate) use self::outage::can_be_out;
use crate::{
    Now,
    run::{Effect, Event, Run},
};

/// Safety fields of a section that an agent must know, else it refuses.
pub const REQUIRES: [&str; 2] = ["canUndo", "undoOnFailure"];

/// Required as well where a change can cut its node off.
pub const REQUIRES_CONFIRMED: &str = "commitConfirmed";

/// How often a gate that is not clear is looked at again, by how often it was not: 0.5 s to 5 s.
const LOOK_AGAIN_MS: [u64; 4] = [500, 1000, 2000, 5000];

/// A look that is not answered for so long is taken anew, and an answer that took longer is not believed.
/// Every probe ends within seven seconds, one after another or not; the rest is a coordinator that is slow.
pub(crate) const LOOK_LOST_MS: u64 = 30_000;

/// What keeps the whole fleet in service is asked about again after so long.
const STOOD_BACK_MS: u64 = 5000;

/// After a section lapsed its node waits so long before it is taken up again, longer the more often it was.
const AFTER_LAPSE_MS: [u64; 4] = [1000, 2000, 5000, 15_000];

/// The section that a node of a run would be sent now: for a rehearsal, which sends it to nobody.
#[must_use]
pub fn would_send(run: &Run, index: usize, kind: SectionKind) -> Section {
    advance::section(run, index, kind)
}

/// Takes one event. The state must be on disk before any of the effects is performed.
///
/// An event that means nothing in this state (an answer to an older question, an outcome that is known)
/// changes nothing and asks for nothing.
#[must_use]
pub fn step(mut run: Run, event: &Event, now: Now) -> (Run, Vec<Effect>) {
    let mut effects = Vec::new();
    if run.status.is_closed() {
        return (run, effects);
    }
    if matches!(event, Event::Looked { .. }) {
        // What has waited too long is not begun by the answer that came too late.
        control::deadlines(&mut run, now);
    }
    match event {
        Event::Started {} => control::started(&mut run),
        Event::Unqueued {} => control::unqueued(&mut run, now),
        Event::Determined { changes } => control::determined(&mut run, changes, now),
        Event::Tick {} => {}
        Event::Restarted {} | Event::Restored { .. } => control::restarted(&mut run, now),
        Event::Looked { node, round, results, seen, disrupted } => {
            let look = looked::Looked { node: *node, round: *round, results, seen, disrupted };
            looked::looked(&mut run, &look, now, &mut effects);
        }
        Event::Ended { outcome } => ended::ended(&mut run, outcome, now),
        Event::OutcomeRefused { effect, why } => ended::refused(&mut run, *effect, why, now),
        Event::Accepted { effect } => ended::accepted(&mut run, *effect),
        Event::NotKnown { effect } => ended::not_known(&mut run, *effect, now),
        Event::Lapsed { effect, why } => ended::lapsed(&mut run, *effect, why, now),
        Event::Declined { effect, why } => ended::declined(&mut run, *effect, why, now),
        Event::AgentConnected { node, key, journal } => {
            let connected = ended::Connected { node, key: *key, journal: *journal };
            ended::connected(&mut run, &connected, now, &mut effects);
        }
        Event::MoveWaits { effect, what, because } => {
            moves::waits(&mut run, *effect, what, because, now);
        }
        Event::Moved { effect, end } => moves::moved(&mut run, *effect, end, now),
        Event::FailedBefore { cluster, keys, said } if !run.failed_before.contains_key(cluster) => {
            run.failed_before.insert(cluster.clone(), keys.clone());
            run.failed_before_said.insert(cluster.clone(), said.clone());
        }
        Event::FailedBefore { .. } => {}
        Event::Measured { node, round, seen } => observe::measured(&mut run, *node, *round, seen),
        Event::Paused { by } => control::paused(&mut run, by, now),
        Event::Resumed { by } => control::resumed(&mut run, by, now, &mut effects),
        Event::Aborted { by } => control::aborted(&mut run, by, now),
        Event::Approved { by, stage, wave } => amend::approved(&mut run, by, *stage, *wave, now),
        Event::Amended { by, change } => amend::amended(&mut run, by, change, now),
        Event::NodeSkipped { by, node } => amend::skipped(&mut run, by, *node, now),
        Event::Extended { node, more, .. } => amend::extended(&mut run, *node, *more),
    }
    control::deadlines(&mut run, now);
    advance::advance(&mut run, now, &mut effects);
    (run, effects)
}
