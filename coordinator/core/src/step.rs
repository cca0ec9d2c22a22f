//! The reducer: state and event in, state and effects out. Total: every event in every state.
//!
//! | module | what it decides |
//! |---|---|
//! | [`advance`] | who is staged ahead, who leaves service next, when the run is over |
//! | [`looked`] | what a look means for the node that it was taken at |
//! | [`ended`] | what a section's end means |
//! | [`control`] | pause, resume, abort, restart, deadlines |
//! | [`hold`] | how a run stops on purpose |

mod advance;
mod control;
mod ended;
mod hold;
mod looked;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::{
    Now,
    run::{Effect, Event, Run},
};

/// Safety fields of a section that an agent must know, else it refuses.
pub const REQUIRES: [&str; 2] = ["canUndo", "undoOnFailure"];

/// How often a gate that is not clear is looked at again, by how often it was not: 0.5 s to 5 s.
const LOOK_AGAIN_MS: [u64; 4] = [500, 1000, 2000, 5000];

/// A look that is not answered for so long is taken anew, and an answer that took longer is not believed.
/// Every probe ends within seven seconds, one after another or not; the rest is a coordinator that is slow.
pub(crate) const LOOK_LOST_MS: u64 = 30_000;

/// After a section lapsed its node waits so long before it is taken up again, longer the more often it was.
const AFTER_LAPSE_MS: [u64; 4] = [1000, 2000, 5000, 15_000];

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
        Event::Tick {} => {}
        Event::Restarted {} => control::restarted(&mut run, now),
        Event::Looked { node, round, results, seen, disrupted } => {
            let look = looked::Looked { node: *node, round: *round, results, seen, disrupted };
            looked::looked(&mut run, &look, now, &mut effects);
        }
        Event::Ended { outcome } => ended::ended(&mut run, outcome, now),
        Event::Lapsed { effect, why } => ended::lapsed(&mut run, *effect, why, now),
        Event::Declined { effect, why } => ended::declined(&mut run, *effect, why, now),
        Event::AgentConnected { node, key, journal } => {
            let connected = ended::Connected { node, key: *key, journal: *journal };
            ended::connected(&mut run, &connected, now, &mut effects);
        }
        Event::Paused { by } => control::paused(&mut run, by),
        Event::Resumed { by } => control::resumed(&mut run, by, now, &mut effects),
        Event::Aborted { by } => control::aborted(&mut run, by),
    }
    control::deadlines(&mut run, now);
    advance::advance(&mut run, now, &mut effects);
    (run, effects)
}
