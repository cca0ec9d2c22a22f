//! Stands in front of every section that takes a node out of service, apart from whoever planned it.
//!
//! The planner has budgets and gates of its own. This counts by itself: from the table of streams, from what was
//! handed out and has not been heard of, from what stands on record. A planner that is wrong gets its section back
//! as lapsed ([ADR 0016](../../../docs/adr/0016-a-limiter-apart-from-the-planner.md)).

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    Now,
    run::{CheckResult, NodeRun, Run},
    standing::checks,
    view::Phase,
};
use drydock_types::{EffectId, Millis, NodeKey, SectionKind, Verdict};

use super::{Fleet, standings::Standings};
use crate::store::{Commit, LET_OUT_KEPT_MS, LetOutRow, Loaded};

/// Which departure it is: a node, in a run's stage, in an attempt. A protect section and the change after it are
/// one, and so is a section that lapsed and goes out again.
type Departure = (NodeKey, u64, u32, u32);

/// The limiter.
#[derive(Debug, Clone, Default)]
pub(super) struct Limiter {
    /// How many nodes may leave service within an hour of the fleet's clock.
    pub(super) most_per_hour: Option<u32>,
    let_out: BTreeMap<Departure, u64>,
    /// Sections that were handed out, and of which nothing was heard.
    away: BTreeSet<EffectId>,
}

/// A section that wants out.
pub(super) struct Wants<'a> {
    pub(super) run: &'a Run,
    pub(super) node: &'a NodeRun,
    pub(super) kind: SectionKind,
    /// What is let out with it in the same transition.
    pub(super) commit: &'a Commit,
}

/// Everything that is counted.
pub(super) struct Around<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) standings: &'a Standings,
    pub(super) runs: &'a BTreeMap<u64, Run>,
}

impl Limiter {
    pub(super) fn read(loaded: &Loaded) -> Self {
        let departure = |row: &LetOutRow| ((row.node, row.run, row.stage, row.attempt), row.clock_ms);
        Self {
            most_per_hour: None,
            let_out: loaded.let_out.iter().map(departure).collect(),
            away: loaded.effects.iter().map(|row| row.effect).collect(),
        }
    }

    /// May this section take its node out of service? `Err` says why not.
    pub(super) fn judge(
        &self,
        wants: &Wants<'_>,
        around: &Around<'_>,
        now: Now,
    ) -> Result<Option<LetOutRow>, String> {
        if wants.kind == SectionKind::Stage {
            return Ok(None);
        }
        let name = &wants.node.name;
        let out = self.out(wants, around);
        if around.standings.is_set_aside(wants.node.key) {
            return Err(format!(
                "{name} is set aside: nothing is done to it (drydock node release {name} --aside)"
            ));
        }
        // Whoever counts as out of service and serves all the same leaves it now.
        let down = wants.node.seen.as_ref().is_some_and(|seen| seen.down);
        let is_out = down && out.contains_key(&wants.node.key);
        let fleet_wide = || self.keeps_in_service(wants.run, wants.node, around.standings, now);
        if let Some(result) = fleet_wide().filter(|_| !is_out) {
            return Err(result.verdict.reason().unwrap_or_default().to_string());
        }
        let beside = beside(&out, wants, around.fleet);
        let budget = wants.run.plan.budget.per_failure_domain;
        // A node that is down already is taken back in the slot that it occupies: nobody more is out for it.
        let in_its_slot = is_out && wants.kind == SectionKind::Undo;
        if beside.len() >= budget as usize && !in_its_slot {
            return Err(format!(
                "the limiter counts {} out of service, and {budget} is the most",
                beside.join(", ")
            ));
        }
        let (node, run, stage, attempt) = departure(wants.run, wants.node);
        Ok(Some(LetOutRow { node, run, stage, attempt, clock_ms: now.clock_ms }))
    }

    /// What keeps everybody in service: a freeze, or so many having left within the hour. `None` for a departure
    /// that has been counted already.
    pub(super) fn keeps_in_service(
        &self,
        run: &Run,
        node: &NodeRun,
        standings: &Standings,
        now: Now,
    ) -> Option<CheckResult> {
        standings.frozen().or_else(|| self.hour_is_full(Some(departure(run, node)), now))
    }

    /// Is the hour's number used up for a departure that is not among those counted?
    pub(super) fn hour_is_full(&self, wanted: Option<Departure>, now: Now) -> Option<CheckResult> {
        let most = self.most_per_hour?;
        let lately = |(_, at): &(&Departure, &u64)| at.saturating_add(LET_OUT_KEPT_MS) > now.clock_ms;
        let within: Vec<(&Departure, &u64)> = self.let_out.iter().filter(lately).collect();
        if within.len() < most as usize
            || wanted.is_some_and(|wanted| within.iter().any(|(known, _)| **known == wanted))
        {
            return None;
        }
        // The oldest that has to be an hour ago before there is room again.
        let mut times: Vec<u64> = within.iter().map(|(_, at)| **at).collect();
        times.sort_unstable();
        let frees = times.get(times.len() - most as usize).copied().unwrap_or(now.clock_ms);
        let left_ms = frees.saturating_add(LET_OUT_KEPT_MS).saturating_sub(now.clock_ms);
        let why = format!(
            "{} left service within the last hour, and {most} is the most that the coordinator lets out (--most-disrupted-per-hour); there is room again in {}",
            if within.len() == 1 { "1 node".to_string() } else { format!("{} nodes", within.len()) },
            Millis(left_ms.div_ceil(60_000) * 60_000)
        );
        Some(CheckResult { check: checks::HOURLY_LIMIT.to_string(), verdict: Verdict::Waiting(why) })
    }

    /// Departures that are counted, and sections that are away. When they were is told only to an hour's limit.
    pub(super) fn write_state(&self, out: &mut impl std::fmt::Write) -> std::fmt::Result {
        let Self { most_per_hour, let_out, away } = self;
        match most_per_hour {
            Some(_) => write!(out, "{most_per_hour:?} {let_out:?} {away:?}"),
            None => write!(out, "{:?} {away:?}", let_out.keys()),
        }
    }

    /// How many left service within the last hour.
    pub(super) fn left_within_hour(&self, now: Now) -> u64 {
        self.let_out.values().filter(|at| at.saturating_add(LET_OUT_KEPT_MS) > now.clock_ms).count() as u64
    }

    /// Who is out of service, by this count, and why.
    fn out(&self, wants: &Wants<'_>, around: &Around<'_>) -> BTreeMap<NodeKey, String> {
        let mut out = BTreeMap::new();
        for (name, node, agent, _) in around.fleet.each() {
            if agent.is_none() {
                out.insert(node.key, format!("{name} (silent)"));
            }
            if let Some(why) = around.standings.disrupts(node.key) {
                out.insert(node.key, format!("{name} ({why})"));
            }
        }
        let others = around.runs.values().filter(|run| run.number != wants.run.number);
        for run in others.chain([wants.run]) {
            let away = run.nodes.iter().filter(|node| self.is_away(node, wants.commit));
            out.extend(away.map(|node| (node.key, format!("{} (run {})", node.name, run.number))));
        }
        let registered = |key: NodeKey| around.fleet.each().any(|(_, node, _, _)| node.key == key);
        out.retain(|key, _| registered(*key) && !around.standings.is_set_aside(*key));
        out
    }

    /// Was a section that takes it out handed to the node and not ended, or has it not come back whole since?
    fn is_away(&self, node: &NodeRun, commit: &Commit) -> bool {
        let let_out = |effect: &EffectId| {
            self.away.contains(effect) || commit.open.iter().any(|row| row.effect == *effect)
        };
        let stages = |effect: &EffectId| {
            node.has_open(*effect) && node.open.as_ref().is_some_and(|open| open.kind == SectionKind::Stage)
        };
        node.effects.iter().any(|effect| let_out(effect) && !stages(effect))
            || matches!(node.phase, Phase::Returning | Phase::Soaking)
            || node.marked
            || node.unsettled.is_some()
    }

    /// After the commit: what was let out.
    pub(super) fn note(&mut self, commit: &Commit) {
        self.away.extend(commit.open.iter().map(|row| row.effect));
        if commit.let_out.is_empty() {
            return;
        }
        self.let_out.retain(|_, at| at.saturating_add(LET_OUT_KEPT_MS) > commit.clock_ms);
        let departure = |row: &LetOutRow| ((row.node, row.run, row.stage, row.attempt), row.clock_ms);
        self.let_out.extend(commit.let_out.iter().map(departure));
    }

    /// It was heard of: how it ended, or that it was never begun.
    pub(super) fn heard(&mut self, effect: EffectId) {
        self.away.remove(&effect);
    }

    /// The run is over: what nobody will speak of any more is no longer waited for. What it left in doubt stands on
    /// record.
    pub(super) fn closed(&mut self, run: &Run) {
        for effect in run.nodes.iter().flat_map(|node| &node.effects) {
            self.away.remove(effect);
        }
    }
}

fn departure(run: &Run, node: &NodeRun) -> Departure {
    (node.key, run.number, u32::try_from(node.stage).unwrap_or(u32::MAX), node.attempt)
}

/// Others that are out of service in the node's failure domain; one whose domain is not known may be in it.
fn beside(out: &BTreeMap<NodeKey, String>, wants: &Wants<'_>, fleet: &Fleet) -> Vec<String> {
    let label = wants.run.plan.budget.domain_label.as_ref();
    let domain = |key: NodeKey| {
        let node = fleet.each().find(|(_, node, _, _)| node.key == key).map(|(_, node, _, _)| node)?;
        node.labels.get(label?).cloned()
    };
    let mine = domain(wants.node.key);
    let shares = |key: NodeKey| {
        let theirs = domain(key);
        theirs == mine || mine.is_none() || theirs.is_none()
    };
    let others = out.iter().filter(|(key, _)| **key != wants.node.key && shares(**key));
    others.map(|(_, who)| who.clone()).collect()
}
