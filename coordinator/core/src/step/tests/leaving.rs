//! Rules 1 and 4, and what stands before a wave: who may leave service beside whom, judged after every step.

use alloc::{collections::BTreeMap, vec::Vec};

use drydock_types::{Label, SectionKind};

use super::rules::{Taken, is_at_work};
use crate::{
    moves::Doing,
    plan_file::ApprovalBy,
    run::{Effect, Event, NodeRun, Run},
    view::{Phase, RunStatus},
    window::{self, State},
};

/// Remembers the most that a wave was ever allowed at once: an amendment calls nobody back.
#[derive(Default)]
pub(super) struct Leaving {
    most: BTreeMap<(usize, usize), usize>,
}

impl Leaving {
    /// At most the wave's concurrency, never across waves or stages, never above the budget of a domain.
    pub(super) fn check(&mut self, taken: &Taken<'_>) {
        let run = taken.after;
        for run in [taken.before, run] {
            for (stage, planned) in run.plan.stages.iter().enumerate() {
                for (wave, planned) in planned.waves.iter().enumerate() {
                    let most = self.most.entry((stage, wave)).or_default();
                    *most = (*most).max(planned.concurrency as usize);
                }
            }
        }
        let changing =
            |node: &NodeRun| node.open.as_ref().is_some_and(|open| open.kind != SectionKind::Stage);
        let out: Vec<&NodeRun> =
            run.nodes.iter().filter(|node| is_at_work(node.phase) || changing(node)).collect();
        if let Some(first) = out.first() {
            let place = (first.stage, first.wave);
            let names: Vec<_> = out.iter().map(|node| (&node.name, node.phase)).collect();
            assert!(
                out.iter().all(|node| (node.stage, node.wave) == place),
                "at work in two waves: {names:?}"
            );
            assert!(out.len() <= self.most[&place], "too many at work: {names:?}");
        }
        if run.status == RunStatus::Running {
            let stopped = run.nodes.iter().find(|node| matches!(node.phase, Phase::Held | Phase::RolledBack));
            assert!(stopped.is_none(), "it runs on past {:?}", stopped.map(|node| (&node.name, node.phase)));
        }
        for (index, (was, is)) in taken.before.nodes.iter().zip(&run.nodes).enumerate() {
            if is.phase == Phase::Gating && !is_at_work(was.phase) {
                may_begin(taken, index);
            }
        }
        for effect in taken.effects {
            if let Effect::Move(order) = effect
                && order.doing == Some(Doing::Leave)
            {
                may_leave(taken, order.node);
            }
            if let Effect::Dispatch { section } = effect
                && section.kind != SectionKind::Stage
            {
                let index = run.nodes.iter().position(|node| node.name.as_str() == section.node.as_str());
                may_leave(taken, index.expect("a section of a node of the run"));
            }
        }
    }
}

fn may_begin(taken: &Taken<'_>, index: usize) {
    let run = taken.after;
    let node = &run.nodes[index];
    let at_work: Vec<usize> =
        (0..run.nodes.len()).filter(|other| is_at_work(run.nodes[*other].phase)).collect();
    let limit = run.wave_of(node).concurrency as usize;
    assert!(
        at_work.len() <= limit,
        "{} begins as one of {}, and the wave allows {limit}",
        node.name,
        at_work.len()
    );
    let budget = run.plan.budget.per_failure_domain as usize;
    let most = fullest(run, &at_work);
    assert!(most <= budget, "{} makes it {most} in one domain, and the budget is {budget}", node.name);
    let earlier = run.nodes[..index].iter().find(|other| {
        (other.stage, other.wave) < (node.stage, node.wave)
            && !matches!(other.phase, Phase::Done | Phase::Skipped)
    });
    assert!(earlier.is_none(), "{} begins before {:?}", node.name, earlier.map(|node| &node.name));
    may_leave(taken, index);
}

fn may_leave(taken: &Taken<'_>, index: usize) {
    let run = taken.after;
    let node = &run.nodes[index];
    let unwell = run
        .nodes
        .iter()
        .find(|other| matches!(other.phase, Phase::Returning | Phase::Soaking) && other.unclear > 0);
    assert!(unwell.is_none(), "{} leaves while {:?} is not well", node.name, unwell.map(|other| &other.name));
    let gone = |beside: &NodeRun| {
        use Phase::{Applying, Draining, Protecting, Rechecking, Releasing, Returning, Soaking};
        let phases = matches!(
            beside.phase,
            Protecting | Draining | Rechecking | Applying | Returning | Releasing | Soaking
        );
        phases || beside.marked
    };
    let with_it = (0..run.nodes.len()).filter(|other| *other == index || gone(&run.nodes[*other]));
    let with_it: Vec<usize> = with_it.filter(|other| share(run, index, *other)).collect();
    // What was left half-way and is down is taken back in the slot that it occupies.
    let down = node.half_way && matches!(taken.event, Event::Looked { seen, .. }  if seen.down);
    let (most, slots) = (fullest(run, &with_it), run.plan.budget.per_failure_domain as usize);
    assert!(down || most <= slots, "{} makes it {most} in one domain, and the budget is {slots}", node.name);
    if let Some(wanted) = run.wave_of(node).approval {
        let stands = run.approvals.iter().any(|approval| {
            (approval.stage, approval.wave, approval.digest) == (node.stage, node.wave, run.plan.digest)
                && (wanted.by == ApprovalBy::Anybody || approval.by != run.started_by)
        });
        assert!(stands, "{} leaves without an approval of what is done", node.name);
    }
    if let Some(spec) = &run.plan.window {
        let state = window::state(spec, taken.now.wall_ms);
        assert!(matches!(state, Ok(State::Open { .. })), "{} leaves, and the window is {state:?}", node.name);
    }
}

fn domain(run: &Run, index: usize) -> Option<Label> {
    let node = &run.nodes[index];
    run.plan.stages[node.stage].node(&node.name).and_then(|planned| planned.domain.clone())
}

/// One failure domain, as the plan saw it; one that is not known may be any.
fn share(run: &Run, a: usize, b: usize) -> bool {
    match (domain(run, a), domain(run, b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// How many of these are in the domain that has the most of them; whose domain is not known is in each.
fn fullest(run: &Run, nodes: &[usize]) -> usize {
    let domains: Vec<Option<Label>> = nodes.iter().map(|index| domain(run, *index)).collect();
    let unknown = domains.iter().filter(|domain| domain.is_none()).count();
    let known = domains.iter().flatten();
    let most = known.map(|of| domains.iter().filter(|domain| domain.as_ref() == Some(of)).count()).max();
    unknown + most.unwrap_or(0)
}
