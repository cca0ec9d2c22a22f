//! Who leaves service next, and what keeps everybody in it.
//!
//! A node begins when the ones before it in its wave have, fewer than the wave's `concurrency` are at work, its
//! failure domain has a slot left by this run's own nodes, whoever was changed is well, the wave is approved, and
//! the window is open for as long as a node takes. All of that is judged again when its gate would open: the gate
//! knows of other runs and other people, this of the run alone.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{Label, Millis, NodeName};

use super::{
    advance::{ask, candidates, is_at_work},
    hold::{HoldBecause, hold_run},
};
use crate::{
    Now,
    hold_kind::HoldKind,
    plan_file::{ApprovalBy, Order, WindowSpec},
    run::{Effect, LookFor, NodeRun, Run, RunWaiting, WaitFor},
    view::Phase,
    window::{self, State},
};

/// While a window is waited for, the wall clock is read at least so often: it may have been set.
pub(super) const WALL_AGAIN_MS: u64 = 30_000;

/// How a wait for a slot begins; it is found again by it.
const SLOT: &str = "a free slot in";

/// Says what the run waits for where a node could begin but for that, and holds where it would wait in vain. Before
/// anything is staged: a run that holds hands nothing out.
pub(super) fn judge_wave(run: &mut Run, stage: usize, wave: usize, now: Now) {
    let waiting = run.waiting.take();
    forget_slots(run);
    if !has_room(run, stage, wave) || candidates(run, stage, wave).is_empty() {
        return;
    }
    if let Some(what) = awaited(run, stage, wave, waiting.as_ref(), now) {
        wait(run, (stage, wave), what, waiting, now);
    }
}

/// Who waited for a slot that is free by now waits for its turn alone.
fn forget_slots(run: &mut Run) {
    for index in 0..run.nodes.len() {
        let waits = run.nodes[index].waiting.as_ref().is_some_and(|waiting| waiting.what.starts_with(SLOT));
        if waits && full_domain(run, index).is_none() {
            run.nodes[index].waiting = None;
        }
    }
}

/// Fewer are at work than the wave allows, nobody of another wave is, and whoever was changed is well.
fn has_room(run: &Run, stage: usize, wave: usize) -> bool {
    let elsewhere = |node: &NodeRun| is_at_work(node.phase) && (node.stage, node.wave) != (stage, wave);
    let limit = run.plan.stages[stage].waves[wave].concurrency as usize;
    at_work(run) < limit && !run.nodes.iter().any(elsewhere) && unwell(run).is_none()
}

fn at_work(run: &Run) -> usize {
    run.nodes.iter().filter(|node| is_at_work(node.phase)).count()
}

/// Nodes leave service while there is room.
pub(super) fn take_next(run: &mut Run, stage: usize, wave: usize, now: Now, effects: &mut Vec<Effect>) {
    if run.waiting.is_some() || !has_room(run, stage, wave) {
        return;
    }
    let planned = &run.plan.stages[stage].waves[wave];
    let (limit, followers_first) = (planned.concurrency as usize, planned.order == Order::FollowersFirst);
    for index in candidates(run, stage, wave) {
        let working = at_work(run);
        let node = &run.nodes[index];
        let gives_way = (followers_first && node.deferred) || node.hosts_coordinator;
        let last_of_all = gives_way && node.unsettled.is_none() && working > 0;
        if working >= limit || node.phase != Phase::Staged || now.clock_ms < node.not_before_ms || last_of_all
        {
            return;
        }
        match full_domain(run, index) {
            Some((what, because)) => run.nodes[index].wait_for(&what, &because, now),
            None => begin(run, index, now, effects),
        }
    }
}

fn begin(run: &mut Run, index: usize, now: Now, effects: &mut Vec<Effect>) {
    let node = &mut run.nodes[index];
    let waiting = node.waiting.take().filter(|waiting| !waiting.what.starts_with(SLOT));
    node.enter(Phase::Gating, now);
    node.waiting = waiting;
    node.began.get_or_insert(now);
    ask(run, index, LookFor::Gate, now, effects);
}

/// Nobody leaves service through a gate that what holds for the whole run has shut meanwhile. A node between its
/// gate and its change has not left: it is as if it had not been asked.
pub(super) fn leave_barred_gates(run: &mut Run, now: Now) {
    for index in 0..run.nodes.len() {
        let at_gate = matches!(run.nodes[index].phase, Phase::Gating | Phase::Rechecking);
        if at_gate && is_barred(run, index, now) {
            run.nodes[index].enter(Phase::Staged, now);
        }
    }
}

/// May nobody of this node's wave leave service now? What a node takes was judged at its gate; right before its
/// change it is enough that the window is open still.
pub(super) fn is_barred(run: &Run, index: usize, now: Now) -> bool {
    is_shut(run, index, now) || unwell(run).is_some()
}

/// Is the window shut for it, or its wave not approved?
pub(super) fn is_shut(run: &Run, index: usize, now: Now) -> bool {
    let node = &run.nodes[index];
    let shut = match (&run.plan.window, node.phase) {
        (None, _) => false,
        (Some(spec), Phase::Draining | Phase::Rechecking) => {
            !matches!(window::state(spec, now.wall_ms), Ok(State::Open { .. }))
        }
        (Some(spec), _) => shut_for(run, spec, node.stage, node.wave, now).is_some(),
    };
    shut || !run.is_approved(node.stage, node.wave)
}

/// A node that was changed and is not well: until it is, or a person has decided, nobody follows it.
pub(super) fn unwell(run: &Run) -> Option<&NodeRun> {
    run.nodes.iter().find(|node| matches!(node.phase, Phase::Returning | Phase::Soaking) && node.unclear > 0)
}

/// Is every slot of this node's failure domain taken by nodes of this run? Then it need not stand at its gate.
fn full_domain(run: &Run, index: usize) -> Option<(String, String)> {
    let beside =
        |other: &usize| *other != index && is_at_work(run.nodes[*other].phase) && shares(run, index, *other);
    let names: Vec<&str> =
        (0..run.nodes.len()).filter(beside).map(|other| run.nodes[other].name.as_str()).collect();
    let budget = run.plan.budget.per_failure_domain;
    if names.len() < budget as usize {
        return None;
    }
    let place = match (&run.plan.budget.domain_label, run.domain_of(index)) {
        (Some(label), Some(domain)) => format!("{label} {domain}"),
        (Some(label), None) => format!("whatever {label} it is in"),
        (None, _) => "the fleet".to_string(),
    };
    let because = format!("{} at work there, and the budget is {budget}", is_are(&names));
    Some((format!("{SLOT} {place}"), because))
}

/// Other nodes that this run has out of service in the node's failure domain, whatever anybody else counts.
pub(super) fn out_beside(run: &Run, index: usize) -> Vec<&NodeName> {
    let place = |name: &NodeName| run.nodes.iter().position(|node| &node.name == name);
    let out = run.disrupts().into_iter().filter_map(|node| Some((place(&node.name)?, &node.name)));
    out.filter(|(other, _)| *other != index && shares(run, index, *other)).map(|(_, name)| name).collect()
}

/// Are two nodes in one failure domain? A domain that is not known may be any.
fn shares(run: &Run, index: usize, other: usize) -> bool {
    let (mine, theirs) = (run.domain_of(index), run.domain_of(other));
    mine == theirs || mine.is_none() || theirs.is_none()
}

fn is_are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

/// What the whole run must wait for before another node of this wave begins: an approval first, for it takes a
/// person, then the window.
fn awaited(run: &Run, stage: usize, wave: usize, before: Option<&RunWaiting>, now: Now) -> Option<WaitFor> {
    if let Some(wanted) = run.plan.stages[stage].waves[wave].approval
        && !run.is_approved(stage, wave)
    {
        // It is waited for as long as the plan says, from when it was first missed.
        let deadline_ms =
            match before {
                Some(RunWaiting {
                    what: WaitFor::Approval { deadline_ms, .. }, stage: of, wave: at, ..
                }) if (*of, *at) == (stage, wave) => *deadline_ms,
                _ => now.clock_ms.saturating_add(wanted.within.0),
            };
        return Some(WaitFor::Approval { by: wanted.by, deadline_ms });
    }
    let spec = run.plan.window.as_ref()?;
    shut_for(run, spec, stage, wave, now)
}

/// Is the window shut, or shuts before a node that begins now is foreseen to be done?
fn shut_for(run: &Run, spec: &WindowSpec, stage: usize, wave: usize, now: Now) -> Option<WaitFor> {
    let takes_ms = run.foreseen_ms(stage, wave);
    let until_ms = match window::state(spec, now.wall_ms) {
        Err(because) => return Some(WaitFor::Window { opens_ms: None, because }),
        Ok(State::Shut { opens_ms }) => {
            let because = format!("it opens {} ({})", window::moment(spec, opens_ms), spec.time_zone);
            return Some(WaitFor::Window { opens_ms: Some(opens_ms), because });
        }
        Ok(State::Open { until_ms }) => until_ms,
    };
    if until_ms.saturating_sub(now.wall_ms) >= takes_ms {
        return None;
    }
    let opens_ms = match window::state(spec, until_ms) {
        Ok(State::Shut { opens_ms }) => Some(opens_ms),
        Ok(State::Open { .. }) | Err(_) => None,
    };
    let takes = Millis(takes_ms.div_ceil(1000) * 1000);
    let shuts = format!("{} ({})", window::moment(spec, until_ms), spec.time_zone);
    let because = format!("it shuts {shuts}, and a node takes about {takes}");
    Some(WaitFor::Window { opens_ms, because })
}

/// Waits, visibly; or holds, where waiting would not help.
fn wait(run: &mut Run, (stage, wave): (usize, usize), what: WaitFor, before: Option<RunWaiting>, now: Now) {
    if let Some(because) = in_vain(run, (stage, wave), &what, now) {
        return hold_run(run, because, now);
    }
    let same = |before: &RunWaiting| {
        (before.stage, before.wave) == (stage, wave)
            && core::mem::discriminant(&before.what) == core::mem::discriminant(&what)
    };
    let since = before.filter(same).map_or(now, |before| before.since);
    let again_ms = match &what {
        WaitFor::Approval { deadline_ms, .. } => *deadline_ms,
        WaitFor::Window { opens_ms, .. } => {
            let left = opens_ms.map_or(WALL_AGAIN_MS, |opens| opens.saturating_sub(now.wall_ms));
            now.clock_ms.saturating_add(left.clamp(1, WALL_AGAIN_MS))
        }
    };
    run.waiting = Some(RunWaiting { stage, wave, what, since, again_ms });
}

/// An approval that nobody gave in time, and a window that is never open for as long as a node takes.
fn in_vain(run: &Run, (stage, wave): (usize, usize), what: &WaitFor, now: Now) -> Option<HoldBecause> {
    let (number, planned) = (run.number, &run.plan.stages[stage]);
    let place = format!("{}/{}", planned.name, planned.waves[wave].name);
    let (kind, reason, happened) = match what {
        WaitFor::Approval { by, deadline_ms } if now.clock_ms >= *deadline_ms => {
            let within = planned.waves[wave].approval.map(|approval| approval.within).unwrap_or_default();
            let who = match by {
                ApprovalBy::Anybody => "an operator".to_string(),
                ApprovalBy::SomebodyElse => format!("an operator other than {}", run.started_by),
            };
            (
                HoldKind::NotApproved,
                format!("nobody approved wave {place} within {within}"),
                format!(
                    "{who} approves it (drydock run approve {number} --wave {place}); resuming without that waits anew"
                ),
            )
        }
        WaitFor::Window { .. } => {
            let spec = run.plan.window.as_ref()?;
            let takes_ms = run.foreseen_ms(stage, wave);
            let longest_ms = window::longest_ms(spec).filter(|longest| *longest < takes_ms)?;
            let millis = |ms: u64| Millis(ms / 1000 * 1000);
            (
                HoldKind::WindowTooShort,
                format!("the window is too short for a node of wave {place}"),
                format!(
                    "{} is open for {}, and a node is foreseen to take {}",
                    window::in_words(spec),
                    millis(longest_ms),
                    millis(takes_ms)
                ),
            )
        }
        WaitFor::Approval { .. } => return None,
    };
    let state_now = "no further node of it leaves service; what is at work is brought to its end".to_string();
    Some(HoldBecause { kind, reason, happened, state_now, resume_at: Phase::Staged, next_attempt: false })
}

impl Run {
    /// The failure domain of a node, as the plan saw it.
    #[must_use]
    pub fn domain_of(&self, index: usize) -> Option<&Label> {
        let node = self.nodes.get(index)?;
        self.stage_of(node).node(&node.name)?.domain.as_ref()
    }

    /// How long a node of this wave is foreseen to take.
    #[must_use]
    pub fn foreseen_ms(&self, stage: usize, wave: usize) -> u64 {
        let planned = &self.plan.stages[stage];
        planned.foreseen_ms(&planned.waves[wave], self.planned_ms.get(&stage).copied())
    }
}
