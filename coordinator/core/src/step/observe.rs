//! What was measured from outside while a node was changed, and whether the plan accepts it.

use alloc::{format, string::String, vec::Vec};

use drydock_types::{Millis, NodeName};

use super::hold::{HoldBecause, hold};
use crate::{
    Now,
    hold_kind::HoldKind,
    observe::{Observed, Observer},
    run::Run,
    view::Phase,
};

/// From now on it is measured anew.
pub(super) fn begins(run: &mut Run, index: usize) {
    let node = &mut run.nodes[index];
    node.observed = Vec::new();
    node.gap_accepted = false;
}

/// What was measured up to the look that is being taken.
pub(super) fn measured(run: &mut Run, index: usize, round: u64, seen: &[Observed]) {
    let Some(node) = run.nodes.get_mut(index) else { return };
    if node.phase == Phase::Returning && node.look.as_ref().is_some_and(|look| look.round == round) {
        // A figure that there was is not taken back by one that there is not.
        let absent = |of: &Observed| {
            let known = |had: &&Observed| had.observer == of.observer && had.whole.is_ok();
            node.observed.iter().find(known).filter(|_| of.whole.is_err()).cloned()
        };
        node.observed = seen.iter().map(|of| absent(of).unwrap_or_else(|| of.clone())).collect();
    }
}

/// Holds where a node that is well again had nobody answer for longer than its recipe allows, or nobody could ask: whether
/// the bound was kept is not known then. A figure that went with a coordinator's memory holds nothing: nobody will ever know
/// it, and the node is well.
pub(super) fn too_long(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let observers = &run.stage_of(node).recipe.spec.observe;
    let Some((of, reason)) = node.observed.iter().find_map(|seen| exceeds(observers, seen, &node.name))
    else {
        return false;
    };
    if node.gap_accepted {
        return false;
    }
    let name = &node.name;
    let because = HoldBecause {
        kind: HoldKind::GapTooLong,
        reason,
        happened: of.line(),
        state_now: format!("{name} is changed and well; nobody else leaves service"),
        resume_at: Phase::Returning,
        next_attempt: false,
    };
    run.nodes[index].gap_accepted = true;
    hold(run, index, because, now);
    true
}

/// What was not kept to, in words.
fn exceeds<'a>(
    observers: &[Observer],
    seen: &'a Observed,
    node: &NodeName,
) -> Option<(&'a Observed, String)> {
    let allowed = observers.iter().filter(|of| of.name() == seen.observer).map(Observer::max_gap).min()?;
    let what = &seen.what;
    let reason = match &seen.whole {
        Ok(gap) if gap.longest_ms <= allowed.0 => return None,
        Ok(gap) => {
            let was = Millis(gap.longest_ms);
            format!(
                "{what} did not answer for {was} while {node} was changed, and the recipe allows {allowed}"
            )
        }
        Err(_) if seen.lost => return None,
        Err(why) => format!(
            "for how long {what} did not answer while {node} was changed could not be measured ({why}), and the recipe allows {allowed}"
        ),
    };
    Some((seen, reason))
}
