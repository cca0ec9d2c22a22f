//! What was measured from outside while a node was changed, and whether the plan accepts it.

use alloc::{format, vec::Vec};

use super::hold::{HoldBecause, hold};
use crate::{
    Now,
    hold_kind::HoldKind,
    observe::{Gap, Observed, Observer},
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

/// Holds where a node that is well again had nobody answer for longer than its recipe allows. What was not measured, for the
/// coordinator was started anew meanwhile, holds nothing: the figure is absent, and the node is well.
pub(super) fn too_long(run: &mut Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let observers = &run.stage_of(node).recipe.spec.observe;
    let Some((of, gap, longest)) = node.observed.iter().find_map(|seen| exceeds(observers, seen)) else {
        return false;
    };
    if node.gap_accepted {
        return false;
    }
    let (name, was) = (&node.name, drydock_types::Millis(gap.longest_ms));
    let because = HoldBecause {
        kind: HoldKind::GapTooLong,
        reason: format!(
            "{} did not answer for {was} while {name} was changed, and the recipe allows {longest}",
            of.what
        ),
        happened: of.line(),
        state_now: format!("{name} is changed and well; nobody else leaves service"),
        resume_at: Phase::Returning,
        next_attempt: false,
    };
    run.nodes[index].gap_accepted = true;
    hold(run, index, because, now);
    true
}

fn exceeds<'a>(
    observers: &[Observer],
    seen: &'a Observed,
) -> Option<(&'a Observed, Gap, drydock_types::Millis)> {
    let gap = seen.whole.as_ref().ok()?;
    let allowed = observers.iter().filter(|of| of.name() == seen.observer).map(Observer::max_gap).min()?;
    (gap.longest_ms > allowed.0).then_some((seen, *gap, allowed))
}
