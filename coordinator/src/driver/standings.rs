//! What stands on record about nodes and the fleet, beyond any run: read at every gate, changed by operators and
//! by how runs end. By key: a name that is enrolled again inherits nothing.
//!
//! Every change is one commit with its line in the record, under run 0.

use std::collections::BTreeMap;

use drydock_core::{
    Now,
    hold_kind::HoldKind,
    moves::MoveEnd,
    plan::PlanStage,
    run::{CheckResult, Event, NodeRun, Run},
    standing::{
        FleetEvent, FleetRecorded, FleetState, Marked, Quarantined, Standing, Unsettled, checks, two_machines,
    },
    view::Phase,
};
use drydock_types::{ComponentName, NodeKey, NodeName, RunId, Verdict, Version, document};

use crate::store::{Commit, Loaded, NewEvent, StandingRow, StoreError};

/// The run under which the record has what belongs to no run.
pub const FLEET_RUN: u64 = 0;

/// Everything on record.
#[derive(Debug, Clone, Default)]
pub(super) struct Standings {
    nodes: BTreeMap<NodeKey, Standing>,
    pub(super) fleet: FleetState,
}

/// What a transition changes about it: committed with the transition, and believed after that.
#[derive(Debug, Default)]
pub(super) struct Changes {
    nodes: BTreeMap<NodeKey, Standing>,
    fleet: Option<FleetState>,
    events: Vec<FleetRecorded>,
}

impl Standings {
    pub(super) fn read(loaded: &Loaded) -> Result<Self, StoreError> {
        let unreadable = |place: String| {
            move |why: document::Unreadable| StoreError::Unreadable { place, what: why.to_string() }
        };
        let mut standings = Self::default();
        for row in &loaded.standings {
            let standing: Standing = document::decode_own("standing", &row.document)
                .map_err(unreadable(format!("the standing of node {}", row.node.short())))?;
            standings.nodes.insert(row.node, standing);
        }
        if let Some(state) = &loaded.fleet_state {
            standings.fleet = document::decode_own("state of the fleet", state)
                .map_err(unreadable("the fleet's state".to_string()))?;
        }
        Ok(standings)
    }

    /// What stands about a node, where something does.
    pub(super) fn of(&self, key: NodeKey) -> Option<&Standing> {
        self.nodes.get(&key).filter(|standing| !standing.is_plain())
    }

    pub(super) fn is_set_aside(&self, key: NodeKey) -> bool {
        self.of(key).is_some_and(|standing| standing.set_aside.is_some())
    }

    /// Why a node counts as out of service though its agent is there.
    pub(super) fn disrupts(&self, key: NodeKey) -> Option<String> {
        let standing = self.of(key)?;
        let left = |left: &Unsettled| format!("run {} left {} in doubt there", left.run, left.component);
        let twins = standing.twins.as_ref().map(|_| "two machines hold its identity".to_string());
        let mark = |mark: &Marked| format!("run {} left it marked as leaving service", mark.run);
        twins.or_else(|| standing.unsettled.first().map(left)).or_else(|| standing.marks.first().map(mark))
    }

    /// What keeps this node from being worked on, whatever an agent says of it.
    pub(super) fn judge(
        &self,
        name: &NodeName,
        key: NodeKey,
        component: &ComponentName,
        to: Option<&Version>,
    ) -> Vec<CheckResult> {
        let Some(standing) = self.of(key) else { return Vec::new() };
        let mut results = Vec::new();
        let mut refused = |check: &str, why| {
            results.push(CheckResult { check: check.to_string(), verdict: Verdict::Refused(why) });
        };
        if let Some(twins) = &standing.twins {
            let why = format!("{}; {}", two_machines(twins), standing.twins_way_on(twins));
            refused(checks::TWO_MACHINES, why);
        }
        if let Some(said) = &standing.set_aside {
            let why =
                format!("{} set {name} aside: {}; drydock node release {name} --aside", said.by, said.why);
            refused(checks::SET_ASIDE, why);
        }
        if let Some(bad) = to.and_then(|to| standing.quarantine_of(component, to)) {
            let Quarantined { version, run, why, .. } = bad;
            refused(
                checks::QUARANTINE,
                format!(
                    "{component} {version} is quarantined on {name} since run {run}: {why}; drydock node release {name} --quarantine {component}@{version}"
                ),
            );
        }
        results
    }

    /// The fleet is frozen: what a gate says.
    pub(super) fn frozen(&self) -> Option<CheckResult> {
        let said = self.fleet.frozen.as_ref()?;
        let why = format!("{} froze the fleet: {}", said.by, said.why);
        Some(CheckResult { check: checks::FREEZE.to_string(), verdict: Verdict::Waiting(why) })
    }

    /// After the commit.
    pub(super) fn take(&mut self, changes: Changes) {
        self.nodes.extend(changes.nodes);
        if let Some(fleet) = changes.fleet {
            self.fleet = fleet;
        }
    }

    /// What one event of a run changes: versions that failed, what it left in doubt, and what was seen well.
    pub(super) fn follow(&self, changes: &mut Changes, was: &Run, run: &Run, event: &Event, now: Now) {
        let closed = run.status.is_closed() && !was.status.is_closed();
        for (index, (before, node)) in was.nodes.iter().zip(&run.nodes).enumerate() {
            let stage = run.stage_of(node);
            if let Some((version, why)) = failed_here(run, index, before) {
                let bad = Quarantined {
                    component: stage.component.clone(),
                    version,
                    run: run.number,
                    why,
                    unix_ms: now.wall_ms,
                };
                changes.quarantine(self, node, bad);
            }
            if let Some(why) = node.unsettled.as_ref().filter(|_| closed) {
                let left = Unsettled {
                    component: stage.component.clone(),
                    run: run.number,
                    why: why.clone(),
                    unix_ms: now.wall_ms,
                };
                changes.unsettle(self, node, left);
            }
            if closed && node.marked {
                changes.mark(self, run, node, now);
            }
            let given_back = matches!(event, Event::Moved { end: MoveEnd::GivenBack { .. }, .. });
            if given_back && before.marked && !node.marked {
                changes.unmark(self, node, before.mark_of.unwrap_or(run.id));
            }
            let done = node.phase == Phase::Done && before.phase != Phase::Done;
            if done || is_seen_well(run, index, stage, event) {
                changes.settle(self, node, &stage.component, run.number);
            }
        }
    }
}

/// The version that has just failed on a node, and what happened.
fn failed_here(run: &Run, index: usize, before: &NodeRun) -> Option<(Version, String)> {
    let node = &run.nodes[index];
    let stage = run.stage_of(node);
    let happened = || node.failure.as_ref().map(|failure| format!("{}: {}", failure.step, failure.what));
    if run.plan.undoes.is_some() {
        // Taken back by command: what ran before that is what somebody did not want.
        let done = node.phase == Phase::Done && before.phase != Phase::Done;
        return done.then(|| (stage.to.clone(), format!("{} took it back", run.started_by)));
    }
    let entered = before.phase != node.phase;
    let holds = run.hold.iter().chain(&run.holds_behind);
    let left_alone =
        || holds.into_iter().any(|hold| hold.node == Some(index) && hold.kind == HoldKind::LeftAlone);
    // Taken back, whatever came of that: it may be well again, or held for not being so.
    let taken_back = node.undone && !before.undone;
    let failed = taken_back || (entered && node.phase == Phase::Held && left_alone());
    failed.then(|| (stage.to.clone(), happened().unwrap_or_else(|| "it was not well with it".to_string())))
}

/// Has a look at a gate, of agents and not of ourselves, just found everything clear?
fn is_seen_well(run: &Run, index: usize, stage: &PlanStage, event: &Event) -> bool {
    let Event::Looked { node, results, seen, .. } = event else { return false };
    let version = stage.recipe.spec.detect.version.is_none() || seen.answered().is_some();
    let by_agents =
        results.iter().any(|result| stage.recipe.spec.gate.iter().any(|check| check.name() == result.check));
    let clear = results.iter().all(|result| result.verdict.is_clear() || is_ours(&result.check));
    *node == index && run.nodes[index].unsettled.is_none() && version && by_agents && clear
}

/// Is this a check that the coordinator answers by itself? It says nothing of how a node is.
fn is_ours(check: &str) -> bool {
    [
        checks::FREEZE,
        checks::HOURLY_LIMIT,
        checks::SET_ASIDE,
        checks::QUARANTINE,
        checks::RETIRED,
        checks::TWO_MACHINES,
    ]
    .contains(&check)
}

impl Changes {
    /// A node's standing as this change leaves it.
    pub(super) fn node(&mut self, known: &Standings, key: NodeKey, name: &NodeName) -> &mut Standing {
        let standing = self
            .nodes
            .entry(key)
            .or_insert_with(|| known.nodes.get(&key).cloned().unwrap_or_else(|| Standing::new(name.clone())));
        standing.name.clone_from(name);
        standing
    }

    /// The fleet's state as this change leaves it.
    pub(super) fn fleet(&mut self, known: &Standings) -> &mut FleetState {
        self.fleet.get_or_insert_with(|| known.fleet.clone())
    }

    /// A line of the record.
    pub(super) fn tell(
        &mut self,
        fleet: FleetEvent,
        by: Option<&str>,
        node: Option<(&NodeName, NodeKey)>,
        text: String,
    ) {
        let (name, key) = (node.map(|(name, _)| name.clone()), node.map(|(_, key)| key));
        let by = by.map(ToString::to_string);
        self.events.push(FleetRecorded { fleet, by, node: name, key, text });
    }

    /// A version is not put on the node again unless a person releases it.
    pub(super) fn quarantine(&mut self, known: &Standings, node: &NodeRun, bad: Quarantined) {
        let standing = self.node(known, node.key, &node.name);
        if standing.quarantine_of(&bad.component, &bad.version).is_some() {
            return;
        }
        let Quarantined { component, version, run, why, .. } = bad.clone();
        standing.quarantined.push(bad);
        let text = format!("{component} {version} is quarantined on {}: {why}", node.name);
        let event = FleetEvent::Quarantined { component, version, run };
        self.tell(event, None, Some((&node.name, node.key)), text);
    }

    fn unsettle(&mut self, known: &Standings, node: &NodeRun, left: Unsettled) {
        let standing = self.node(known, node.key, &node.name);
        standing.unsettled.retain(|before| before.component != left.component);
        let Unsettled { component, run, why, .. } = left.clone();
        standing.unsettled.push(left);
        let text = format!("run {run} ended and left {component} in doubt on {}: {why}", node.name);
        self.tell(FleetEvent::Unsettled { component, run }, None, Some((&node.name, node.key)), text);
    }

    /// What stands out there of a run that is over. Said of another run's mark already, it is not said again.
    fn mark(&mut self, known: &Standings, run: &Run, node: &NodeRun, now: Now) {
        let run_id = node.mark_of.unwrap_or(run.id);
        let standing = self.node(known, node.key, &node.name);
        if standing.marks.iter().any(|mark| mark.run_id == run_id) {
            return;
        }
        standing.marks.push(Marked { run_id, run: run.number, unix_ms: now.wall_ms });
        let text = format!("run {} ended and left {} marked as leaving service", run.number, node.name);
        let event = FleetEvent::MarkLeft { run: run.number };
        self.tell(event, None, Some((&node.name, node.key)), text);
    }

    fn unmark(&mut self, known: &Standings, node: &NodeRun, run_id: RunId) {
        let standing = self.nodes.get(&node.key).or_else(|| known.of(node.key));
        let left = standing.and_then(|standing| standing.marks.iter().find(|mark| mark.run_id == run_id));
        let Some(run) = left.map(|mark| mark.run) else { return };
        self.node(known, node.key, &node.name).marks.retain(|mark| mark.run_id != run_id);
        let text = format!("what run {run} had marked for {} was taken back", node.name);
        let event = FleetEvent::MarkTakenBack { run };
        self.tell(event, None, Some((&node.name, node.key)), text);
    }

    fn settle(&mut self, known: &Standings, node: &NodeRun, component: &ComponentName, run: u64) {
        let standing = self.nodes.get(&node.key).or_else(|| known.of(node.key));
        if !standing
            .is_some_and(|standing| standing.unsettled.iter().any(|left| &left.component == component))
        {
            return;
        }
        self.node(known, node.key, &node.name).unsettled.retain(|left| &left.component != component);
        let text = format!("{component} on {} was seen well by run {run}", node.name);
        let event = FleetEvent::Settled { component: component.clone(), run };
        self.tell(event, None, Some((&node.name, node.key)), text);
    }

    /// Nothing to write?
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.nodes.is_empty() && self.fleet.is_none()
    }

    /// Puts them into a commit.
    pub(super) fn write(&self, commit: &mut Commit, now: Now) {
        let row = |(node, standing): (&NodeKey, &Standing)| StandingRow {
            node: *node,
            document: document::encode(standing),
        };
        commit.standings.extend(self.nodes.iter().map(row));
        commit.fleet_state = self.fleet.as_ref().map(document::encode);
        let event = |event: &FleetRecorded| NewEvent {
            run: FLEET_RUN,
            wall_ms: now.wall_ms,
            event: document::encode(event),
        };
        commit.events.extend(self.events.iter().map(event));
    }
}
