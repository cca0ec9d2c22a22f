//! A node is back and watched, with those that were changed before it: what each look of a soak means.
//!
//! What the recipe asks of a node that is back, and its version, may fail for as long as a return may take: it has
//! to stay well for a whole soak after that. A check of the wave's `soakChecks` is there to stop the run: when
//! three looks in a row are not clear, and the last of them for such a check, the run holds at once. Meanwhile, from the first
//! look that is not clear, no further node leaves service.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::Millis;

use super::{
    advance::finish,
    control::phase_deadline,
    hold::{HoldBecause, hold},
    looked::{Looked, look_again, not_well},
    outage,
};
use crate::{
    Now,
    run::{CheckResult, Look, Run, SoakLook},
    view::{Phase, RunStatus},
};

/// So many looks in a row that are not clear for a soak check hold the run.
const REGRESSED_AFTER: u32 = 3;
/// How soon it is looked again after a soak check that was not clear, at the latest. What is measured from
/// outside changes slower than a gate.
const REGRESSED_AGAIN_MS: u64 = 5000;

/// Ten looks over a soak, one a second at the most and one in 30 s at the least.
pub(super) fn interval_ms(soak: Millis) -> u64 {
    (soak.0 / 10).clamp(1000, 30_000).min(soak.0.max(1))
}

/// It is back: from here on it is watched.
pub(super) fn begin(run: &mut Run, index: usize, now: Now) {
    let watched = run.wave_of(&run.nodes[index]).soak;
    run.nodes[index].enter(Phase::Soaking, now);
    run.nodes[index].outage = None;
    run.nodes[index].regressions = 0;
    run.nodes[index].deadline_ms = phase_deadline(run, index, now);
    run.nodes[index].look_again_ms = Some(now.clock_ms.saturating_add(interval_ms(watched)));
}

pub(super) fn soak(run: &mut Run, answer: &Looked<'_>, look: &Look, now: Now) {
    let index = answer.node;
    let soak = run.wave_of(&run.nodes[index]).soak;
    let (around, own): (Vec<_>, Vec<_>) =
        answer.results.iter().cloned().partition(|result| SoakLook::is_name(&result.check));
    let own = Looked { results: &own, ..*answer };
    let regressed = regressed(run, index, &around, look);
    let unwell = not_well(run, &run.nodes[index], &own).map(|unwell| (unwell, false));
    match &unwell {
        Some(_) => outage::begins(run, index, now),
        None => run.nodes[index].outage = None,
    }
    match unwell.or(regressed.map(|regressed| (regressed, true))) {
        Some(((what, because), stops)) => not_clear(run, index, (&what, &because), stops, now),
        None if run.nodes[index].unclear > 0 && run.status != RunStatus::Aborting => {
            // Well again: what counts is a whole soak without a break.
            let node = &mut run.nodes[index];
            let deadline = node.deadline_ms;
            node.enter(Phase::Soaking, now);
            node.deadline_ms = deadline;
            node.look_again_ms = Some(now.clock_ms.saturating_add(interval_ms(soak)));
        }
        None => {
            let node = &mut run.nodes[index];
            let over = now.clock_ms >= node.since.clock_ms.saturating_add(soak.0);
            node.unclear = 0;
            node.waiting = None;
            if over || run.status == RunStatus::Aborting {
                finish(run, index, now);
            } else {
                let end = node.since.clock_ms.saturating_add(soak.0);
                let next = now.clock_ms.saturating_add(interval_ms(soak));
                node.look_again_ms = Some(next.min(end).max(now.clock_ms.saturating_add(1)));
            }
        }
    }
}

fn not_clear(run: &mut Run, index: usize, (what, because): (&str, &str), stops: bool, now: Now) {
    let soak = run.wave_of(&run.nodes[index]).soak;
    let returned = run.stage_of(&run.nodes[index]).recipe.spec.deadlines.returned;
    let node = &mut run.nodes[index];
    if node.unclear == 0 {
        if node.regressions == 0 {
            // It has as long as a return may take, and then a whole soak.
            node.deadline_ms = Some(now.clock_ms.saturating_add(returned.0).saturating_add(soak.0));
        }
        node.regressions = node.regressions.saturating_add(1);
    }
    look_again(run, index, what, because, now);
    if !stops {
        return;
    }
    let node = &mut run.nodes[index];
    node.look_again_ms = Some(now.clock_ms.saturating_add(interval_ms(soak).min(REGRESSED_AGAIN_MS)));
    if node.unclear < REGRESSED_AFTER {
        return;
    }
    let name = node.name.clone();
    let because = HoldBecause {
        kind: crate::hold_kind::HoldKind::Unwell,
        reason: format!("{what} is no longer clear while {name} soaks"),
        happened: format!("{because} ({} looks in a row were not clear)", node.unclear),
        state_now: format!(
            "{name} was changed, came back, and is watched; no further node has left service since"
        ),
        resume_at: Phase::Soaking,
        next_attempt: false,
    };
    hold(run, index, because, now);
}

/// The first soak check that is not clear. Which nodes had to be looked at was settled when it was asked: one that
/// came to its soak or its end since then is looked at the next time.
fn regressed(run: &Run, index: usize, around: &[CheckResult], look: &Look) -> Option<(String, String)> {
    if let Some(unclear) = around.iter().find(|result| !result.verdict.is_clear()) {
        return Some((unclear.check.clone(), unclear.verdict.reason().unwrap_or_default().to_string()));
    }
    let mine = &run.nodes[index].name;
    let asked_of = |wanted: &&SoakLook| {
        let since = run.nodes.iter().find(|node| node.name == wanted.node).map(|node| node.since.clock_ms);
        &wanted.node == mine || since.is_some_and(|since| since < look.asked_ms)
    };
    let looks = run.soak_looks(index);
    let named = |name: &str| looks.iter().filter(asked_of).filter(|wanted| wanted.name() == name).count();
    let answered = |name: &str| around.iter().filter(|result| result.check == name).count();
    let missing =
        looks.iter().filter(asked_of).map(SoakLook::name).find(|name| answered(name) < named(name))?;
    Some((missing, "the look brought no answer to it".to_string()))
}
