//! What operators decide about nodes and the fleet outside of any run: set aside, release, retire, freeze, thaw.
//! And what of it a gate is told.

use drydock_core::{
    Now,
    inventory::Seen,
    run::{CheckResult, Run},
    standing::{Decision, FleetEvent, Release, Released, Standing, checks},
    view::{FleetView, Phase, StandingView},
};
use drydock_types::{ComponentName, NodeKey, NodeName, Verdict, Version};

use super::{Driver, OperatorError, Output, observing, standings::Changes};
use crate::store::{Commit, RunStore, StoreError};

impl<S: RunStore> Driver<S> {
    /// No more nodes than so many leave service within an hour of the fleet's clock; `None`: no such limit.
    pub const fn limit_departures(&mut self, most_per_hour: Option<u32>) {
        self.limiter.most_per_hour = most_per_hour;
    }

    /// Takes a node out of every count, and keeps runs from it.
    ///
    /// # Errors
    /// When there is no such node, it is set aside already, or the store says no.
    pub fn set_aside(
        &mut self,
        name: &NodeName,
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<(StandingView, Vec<Output>), OperatorError> {
        let key = self.registered(name)?;
        if let Some(said) = self.standings.of(key).and_then(|standing| standing.set_aside.as_ref()) {
            let what = format!("{name} is set aside already, by {}: {}", said.by, said.why);
            return Err(OperatorError::Refused(what));
        }
        let mut changes = Changes::default();
        let decision = Decision { by: by.to_string(), why: why.to_string(), unix_ms: now.wall_ms };
        changes.node(&self.standings, key, name).set_aside = Some(decision);
        let what = format!("{name} was set aside by {by}: {why}");
        let event = FleetEvent::NodeSetAside { why: why.to_string() };
        changes.tell(event, Some(by), Some((name, key)), what.clone());
        self.record(changes, now)?;
        let stops = self.stop_drains(Some(key), &what, now)?;
        Ok((self.standing_view(name, key, what), stops))
    }

    /// Ends what stands on record about a node, as far as it is named.
    ///
    /// # Errors
    /// When there is no such node, what is named is not on record, it is not said which of several things is meant,
    /// or the store says no.
    pub fn release(
        &mut self,
        name: &NodeName,
        release: &Release,
        by: &str,
        now: Now,
    ) -> Result<StandingView, OperatorError> {
        let key = self.registered(name)?;
        let plain = Standing::new(name.clone());
        let standing = self.standings.of(key).unwrap_or(&plain);
        let Released { after, from, machine, of_machines } =
            release.of(standing).map_err(OperatorError::Refused)?;
        let mut changes = Changes::default();
        *changes.node(&self.standings, key, name) = Standing { name: name.clone(), ..after };
        let only =
            machine.as_ref().map(|id| format!("; only machine {id} is this node now")).unwrap_or_default();
        let what = format!("{name} was released by {by} from: {}{only}", from.join("; "));
        let event = FleetEvent::NodeReleased { from, machine };
        changes.tell(event, Some(by), Some((name, key)), what.clone());
        self.record(changes, now)?;
        if of_machines {
            self.machines.forget(key);
        }
        Ok(self.standing_view(name, key, what))
    }

    /// Notes that a node leaves the fleet for good: before its identity is revoked, so that the record has it
    /// whatever comes after.
    ///
    /// # Errors
    /// When there is no such node, or the store says no.
    pub fn retire(
        &mut self,
        name: &NodeName,
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<StandingView, OperatorError> {
        let key = self.registered(name)?;
        let mut changes = Changes::default();
        let what = format!("{name} was retired by {by}: {why}");
        let event = FleetEvent::NodeRetired { why: why.to_string() };
        changes.tell(event, Some(by), Some((name, key)), what.clone());
        self.record(changes, now)?;
        Ok(self.standing_view(name, key, what))
    }

    /// From now on nobody leaves service; what is at work is brought to its end.
    ///
    /// # Errors
    /// When it is frozen already, or the store says no.
    pub fn freeze(
        &mut self,
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<(FleetView, Vec<Output>), OperatorError> {
        if let Some(said) = &self.standings.fleet.frozen {
            let what =
                format!("the fleet is frozen already, by {}: {}; drydock thaw ends it", said.by, said.why);
            return Err(OperatorError::Refused(what));
        }
        let mut changes = Changes::default();
        let decision = Decision { by: by.to_string(), why: why.to_string(), unix_ms: now.wall_ms };
        changes.fleet(&self.standings).frozen = Some(decision);
        let event = FleetEvent::Frozen { why: why.to_string() };
        let what = format!("{by} froze the fleet: {why}");
        changes.tell(event, Some(by), None, what.clone());
        self.record(changes, now)?;
        let stops = self.stop_drains(None, &what, now)?;
        Ok((self.fleet_view(now), stops))
    }

    /// Nodes may leave service again.
    ///
    /// # Errors
    /// When it is not frozen, or the store says no.
    pub fn thaw(&mut self, by: &str, now: Now) -> Result<FleetView, OperatorError> {
        if self.standings.fleet.frozen.is_none() {
            return Err(OperatorError::Refused("the fleet is not frozen".to_string()));
        }
        let mut changes = Changes::default();
        changes.fleet(&self.standings).frozen = None;
        changes.tell(FleetEvent::Thawed {}, Some(by), None, format!("{by} thawed the fleet"));
        self.record(changes, now)?;
        Ok(self.fleet_view(now))
    }

    /// A line of the record about something that the services keep: clusters, and which Node a machine is.
    ///
    /// # Errors
    /// When there is no such node, or the store says no.
    pub fn note(
        &mut self,
        event: FleetEvent,
        node: Option<&NodeName>,
        by: &str,
        text: String,
        now: Now,
    ) -> Result<(), OperatorError> {
        let node = match node {
            Some(name) => Some((name, self.registered(name)?)),
            None => None,
        };
        let mut changes = Changes::default();
        changes.tell(event, Some(by), node, text);
        Ok(self.record(changes, now)?)
    }

    /// The fleet as a whole.
    #[must_use]
    pub fn fleet_view(&self, now: Now) -> FleetView {
        let out = |run: &Run| {
            let number = run.number;
            run.handed_out().into_iter().map(move |out| format!("{out} (run {number})")).collect::<Vec<_>>()
        };
        FleetView {
            frozen: self.standings.fleet.frozen.clone(),
            most_disrupted_per_hour: self.limiter.most_per_hour,
            left_within_hour: self.limiter.left_within_hour(now),
            handed_out: self.runs.values().flat_map(out).collect(),
        }
    }

    /// What stands on record about a node, where something does.
    #[must_use]
    pub fn standing(&self, key: NodeKey) -> Option<&Standing> {
        self.standings.of(key)
    }

    /// The run that has marked a node on other people's objects, and has not taken it back: open, or over.
    #[must_use]
    pub fn marked_by(&self, key: NodeKey) -> Option<u64> {
        let has = |run: &&Run| run.nodes.iter().any(|node| node.key == key && node.marked);
        let open = self.runs.values().find(has).map(|run| run.number);
        open.or_else(|| self.standing(key)?.marks.first().map(|mark| mark.run))
    }

    /// Commits changes that belong to no run, and believes them.
    pub(super) fn record(&mut self, changes: Changes, now: Now) -> Result<(), StoreError> {
        let mut commit = Commit { clock_ms: now.clock_ms, ..Commit::default() };
        changes.write(&mut commit, now);
        self.write(&commit)?;
        self.standings.take(changes);
        self.changes += 1;
        Ok(())
    }

    fn registered(&self, name: &NodeName) -> Result<NodeKey, OperatorError> {
        self.fleet.key(name).ok_or_else(|| OperatorError::NoSuchNode(name.clone()))
    }

    fn standing_view(&self, name: &NodeName, key: NodeKey, what: String) -> StandingView {
        let has = |run: &&Run| run.nodes.iter().any(|node| node.key == key && !node.phase.is_ended());
        StandingView {
            node: name.clone(),
            key,
            what,
            standing: self.standings.of(key).cloned().unwrap_or_else(|| Standing::new(name.clone())),
            runs: self.runs.values().filter(has).map(|run| run.number).collect(),
        }
    }

    /// What this coordinator itself knows that keeps a run's node from leaving service. A node that is out
    /// already is not kept there by what holds for the fleet.
    pub(super) fn own_checks(&self, run: &Run, index: usize, seen: &Seen, now: Now) -> Vec<CheckResult> {
        let Some(node) = run.nodes.get(index) else { return Vec::new() };
        if !matches!(node.phase, Phase::Gating | Phase::Rechecking) {
            return Vec::new();
        }
        let stage = run.stage_of(node);
        // Whoever counts as out of service and serves all the same would leave it now.
        let in_doubt =
            node.half_way || node.unsettled.is_some() || self.standings.disrupts(node.key).is_some();
        let is_out = in_doubt && seen.down;
        let mut results = Vec::new();
        if !is_out {
            results.extend(self.limiter.keeps_in_service(run, node, &self.standings, now));
        }
        results.extend(self.retired(&node.name, node.key));
        results.extend(observing::askers_are_there(&self.fleet, run, node));
        // A way back is not barred by what failed: it is the way away from it.
        let to = Some(&stage.to).filter(|_| run.plan.undoes.is_none());
        results.extend(self.standings.judge(&node.name, node.key, &stage.component, to));
        results
    }

    /// The same for a node that no run has yet: what a rehearsal is told.
    pub(super) fn own_checks_ahead(
        &self,
        name: &NodeName,
        key: NodeKey,
        component: &ComponentName,
        to: &Version,
        now: Now,
    ) -> Vec<CheckResult> {
        let mut results: Vec<CheckResult> = self.standings.frozen().into_iter().collect();
        results.extend(self.limiter.hour_is_full(None, now));
        results.extend(self.retired(name, key));
        results.extend(self.standings.judge(name, key, component, Some(to)));
        results
    }

    fn retired(&self, name: &NodeName, key: NodeKey) -> Option<CheckResult> {
        if !self.fleet.is_known() {
            // Right after a start nobody is registered yet: that is no word about anybody.
            return None;
        }
        let why = match self.fleet.key(name) {
            Some(now) if now == key => return None,
            Some(_) => format!("another machine was enrolled as {name} since the plan was made"),
            None => format!("{name} was retired since the plan was made"),
        };
        Some(CheckResult { check: checks::RETIRED.to_string(), verdict: Verdict::Refused(why) })
    }
}
