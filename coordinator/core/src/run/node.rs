//! A node within a run.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{
    EffectId, JournalId, NodeKey, NodeName, RunId, SectionKind, Version,
    outcome::{Evidence, Failure, StepReport},
};
use serde::{Deserialize, Serialize};

use super::{Look, Waiting};
use crate::{
    Now,
    inventory::{Role, Seen},
    moves::{Force, Moving},
    observe::Observed,
    step::can_be_out,
    view::Phase,
};

/// A node within a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRun {
    /// Index of its stage in the plan.
    pub stage: usize,
    /// Index of its wave in the stage.
    pub wave: usize,
    /// Its name.
    pub name: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Now,
    /// Rises only by an operator's decision.
    pub attempt: u32,
    /// Its artifact and dry checks are done in this attempt.
    pub staged: bool,
    /// It led when it was last judged, so others go first.
    pub deferred: bool,
    /// It led at its gate and let the others go first; once between two nodes that are done, so that
    /// leadership that keeps moving does not keep the run for ever.
    pub gave_way: bool,
    /// It was taken back in this attempt and only has to return.
    pub undone: bool,
    /// The last section of this run that changed it, while that was not taken back: what a rollback goes by.
    pub last_change: Option<LastChange>,
    /// In a run that takes another one back: it was left half-way; see [`crate::plan::UndoOf`].
    pub half_way: bool,
    /// Its agent's journal when its stream was last opened. Another one, or a shorter one, has lost memory.
    pub journal: Option<JournalRef>,
    /// The section that was handed out and has not ended.
    pub open: Option<OpenEffect>,
    /// The look that was asked for and has not been answered.
    pub look: Option<Look>,
    /// When the next look is due, on the fleet's clock.
    pub look_again_ms: Option<u64>,
    /// How often it was no longer well in this soak. Only the first time moves the deadline: a node that comes
    /// and goes is held, not watched for ever.
    pub regressions: u32,
    /// Looks in a row that were not clear.
    pub unclear: u32,
    /// When the phase must have ended, on the fleet's clock.
    pub deadline_ms: Option<u64>,
    /// Not before this, on the fleet's clock: after a section lapsed.
    pub not_before_ms: u64,
    /// Sections in a row that were never begun.
    pub lapses: Option<Lapses>,
    /// Its moves that are under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// How often its moves were ordered: what is said of an earlier order is old.
    #[serde(default)]
    pub moves: u32,
    /// Something of this run's may stand on other people's objects for it.
    #[serde(default)]
    pub marked: bool,
    /// Whose mark it is, where this run takes another one back that left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_of: Option<RunId>,
    /// A person had the run go on at this node while it was marked, and it has not left since: what somebody else has
    /// undone meanwhile is done again.
    #[serde(default)]
    pub again: bool,
    /// It has left service by its moves, and goes to its change as soon as its gates say so again.
    #[serde(default)]
    pub drained: bool,
    /// When it must have left service, on the fleet's clock, however often it has to be emptied anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_by_ms: Option<u64>,
    /// What may be deleted there that cannot be evicted, until it has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
    /// The plan's word on that was tried since it left its gate: it has one time more, and no third.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub forced_by_plan: bool,
    /// The coordinator itself was seen to run there when its gate was last looked at: the others of its wave go first.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub hosts_coordinator: bool,
    /// Where it goes when its marks are taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Phase>,
    /// Protect sections that were done here in this attempt. A later one is another effect: under the same
    /// id the agent would only tell of the old one again.
    pub protections: u32,
    /// When the last of them was sent, on the fleet's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_at_ms: Option<u64>,
    /// What is not clear.
    pub waiting: Option<Waiting>,
    /// What ran when it was last looked at.
    pub seen: Option<Seen>,
    /// What ran before anything was done.
    pub from: Option<Version>,
    /// When its gate was first looked at.
    pub began: Option<Now>,
    /// When it was done, rolled back, held or skipped.
    pub ended: Option<Now>,
    /// Its service is out, as far as anybody here can tell, and the plan accepts that for a while.
    pub outage: Option<Outage>,
    /// How long its service was out, by its agent.
    pub out_of_service_ms: Option<u64>,
    /// What was measured from outside while it was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observed>,
    /// Since when that is measured, on the fleet's clock, where its recipe wants it: when its change was last handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_from_ms: Option<u64>,
    /// A person has been told of it, where it was too long, and had the run go on.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub gap_accepted: bool,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// What its agent did.
    pub steps: Vec<StepReport>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// What is in doubt about what this run did to it. It counts as out of service until it is done, or rolled
    /// back and well; beyond the run too.
    pub unsettled: Option<String>,
    /// Why it is left out, or a remark.
    pub note: String,
    /// Every effect that it was ever sent in this run: to be forgotten when the run is closed.
    pub effects: Vec<EffectId>,
}

impl NodeRun {
    /// Was this section handed to it, and has nothing been heard of its end?
    #[must_use]
    pub fn has_open(&self, effect: EffectId) -> bool {
        self.open.as_ref().is_some_and(|open| open.effect == effect)
    }
}

/// A section that changed a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastChange {
    /// Which.
    pub effect: EffectId,
    /// How it left the node.
    pub left: Left,
}

/// An outage that the plan accepts for a while, and that may be going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outage {
    /// Its name in the plan: `etcd`.
    pub what: String,
    /// Since when at the earliest.
    pub since: Now,
    /// Until when the plan accepts it, on the fleet's clock; then the run holds.
    pub until_ms: u64,
}

/// How a change left its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Left {
    /// Done and verified by its agent.
    Whole,
    /// It failed and was not taken back.
    HalfWay,
    /// Nothing tells. What its agent cannot tell it cannot take back.
    Unknown,
    /// The run was ended without waiting for it. Its agent knows.
    Unheard,
}

/// An agent's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JournalRef {
    /// Made with the journal.
    pub id: JournalId,
    /// Records ever written; never falls.
    pub length: u64,
}

/// Sections that lapsed one after another at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lapses {
    /// When the first of them did.
    pub since: Now,
    /// How many.
    pub count: u32,
}

/// A section that was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenEffect {
    /// Its id.
    pub effect: EffectId,
    /// Which section.
    pub kind: SectionKind,
    /// When it was handed out, on the fleet's clock.
    pub sent_ms: u64,
    /// Its agent said that its journal holds it: one that does not know of it later is an older copy.
    pub accepted: bool,
}

impl NodeRun {
    pub(super) fn new(stage: usize, wave: usize, node: &crate::plan::PlanNode, now: Now) -> Self {
        Self {
            stage,
            wave,
            name: node.name.clone(),
            key: node.key,
            phase: if node.skip.is_some() { Phase::Skipped } else { Phase::Pending },
            since: now,
            attempt: 1,
            staged: false,
            deferred: node.seen.as_ref().and_then(|seen| seen.role) == Some(Role::Leader),
            gave_way: false,
            undone: false,
            last_change: None,
            half_way: node.undo.as_ref().is_some_and(|undo| undo.half_way),
            journal: None,
            open: None,
            look: None,
            look_again_ms: None,
            regressions: 0,
            unclear: 0,
            deadline_ms: None,
            not_before_ms: 0,
            lapses: None,
            moving: None,
            moves: 0,
            marked: node.undo.as_ref().is_some_and(|undo| undo.mark.is_some()),
            mark_of: node.undo.as_ref().and_then(|undo| undo.mark),
            again: false,
            drained: false,
            drain_by_ms: None,
            force: None,
            forced_by_plan: false,
            hosts_coordinator: false,
            then: None,
            protections: 0,
            protected_at_ms: None,
            waiting: None,
            from: node.seen.as_ref().and_then(Seen::answered).cloned(),
            seen: node.seen.clone(),
            began: None,
            ended: None,
            outage: None,
            out_of_service_ms: None,
            observed: Vec::new(),
            observed_from_ms: None,
            gap_accepted: false,
            evidence: Vec::new(),
            steps: Vec::new(),
            failure: None,
            unsettled: None,
            note: node.skip.clone().unwrap_or_default(),
            effects: Vec::new(),
        }
    }

    /// Enters a phase: what belonged to the one before is gone.
    pub(crate) fn enter(&mut self, phase: Phase, now: Now) {
        self.phase = phase;
        self.since = now;
        self.look = None;
        self.look_again_ms = None;
        self.deadline_ms = None;
        self.not_before_ms = 0;
        self.unclear = 0;
        self.waiting = None;
        if !can_be_out(phase) {
            self.outage = None;
        }
        if phase.is_ended() {
            self.ended = Some(now);
        }
        if matches!(phase, Phase::Pending | Phase::Staged) {
            // Whoever stands in service again, or is asked about, leaves it anew.
            self.drained = false;
            // The plan's word is for when the time is over, and that is judged anew.
            self.force.take_if(|force| matches!(force, Force::Plan {}));
            self.forced_by_plan = false;
            if !self.marked {
                self.drain_by_ms = None;
            }
        }
    }

    /// Says what is waited for; the time since when is kept while it is the same thing.
    pub(crate) fn wait_for(&mut self, what: &str, because: &str, now: Now) {
        let since =
            self.waiting.as_ref().filter(|waiting| waiting.what == what).map_or(now, |waiting| waiting.since);
        self.waiting =
            Some(Waiting { what: what.to_string(), because: because.to_string(), since, seen: now });
    }
}
