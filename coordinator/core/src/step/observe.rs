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
pub(super) fn begins(run: &mut Run, index: usize, now: Now) {
    let measures = !run.stage_of(&run.nodes[index]).recipe.spec.observe.is_empty();
    let node = &mut run.nodes[index];
    node.observed = Vec::new();
    node.observed_from_ms = measures.then_some(now.clock_ms);
    node.gap_accepted = false;
}

/// What was measured up to the look that is being taken.
pub(super) fn measured(run: &mut Run, index: usize, round: u64, seen: &[Observed]) {
    let Some(node) = run.nodes.get_mut(index) else { return };
    if node.phase == Phase::Returning && node.look.as_ref().is_some_and(|look| look.round == round) {
        // A figure that there was is not taken back by one that there is not. Each stands where its observer does.
        let had = core::mem::take(&mut node.observed);
        let known = |(at, of): (usize, &Observed)| {
            let had = had.get(at).filter(|had| had.observer == of.observer && had.whole.is_ok());
            had.filter(|_| of.whole.is_err()).unwrap_or(of).clone()
        };
        node.observed = seen.iter().enumerate().map(known).collect();
    }
}

/// Holds where a node that is well again had nobody answer for longer than its recipe allows, or nobody could ask: whether
/// the bound was kept is not known then. A figure that went with a coordinator's memory holds nothing: nobody will ever know
/// it, and the node is well.
pub(super) fn too_long(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let observers = &run.stage_of(node).recipe.spec.observe;
    // In the order of the observers.
    let mut seen = observers.iter().zip(&node.observed);
    let Some((of, reason)) = seen.find_map(|(of, seen)| exceeds(of, seen, &node.name)) else {
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
fn exceeds<'a>(of: &Observer, seen: &'a Observed, node: &NodeName) -> Option<(&'a Observed, String)> {
    let (allowed, what) = (of.max_gap(), &seen.what);
    let reason = match (&seen.whole, seen.interrupted) {
        (Ok(gap), _) if gap.longest_ms > allowed.0 => {
            let (was, one) =
                (Millis(gap.longest_ms), if seen.each && seen.parts.len() > 1 { "one of " } else { "" });
            format!(
                "{one}{what} did not answer for {was} while {node} was changed, and the recipe allows {allowed}"
            )
        }
        // Where even the worst that can have been is within the bound, it was kept.
        (Ok(gap), Some(unseen)) if unseen.at_worst_ms(gap.longest_ms) > allowed.0 => {
            let unseen = Millis(unseen.unseen_ms);
            format!(
                "for how long {what} did not answer while {node} was changed is not known: it was measured with an interruption of {unseen}, and the recipe allows {allowed}"
            )
        }
        (Ok(_), _) => return None,
        (Err(_), _) if seen.lost => return None,
        (Err(why), _) => format!(
            "for how long {what} did not answer while {node} was changed could not be measured ({why}), and the recipe allows {allowed}"
        ),
    };
    Some((seen, reason))
}
