//! A run's state: what is written with every transition and read back after a crash.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use drydock_types::{
    EffectId, FleetId, JournalId, Millis, NodeKey, NodeName, Outcome, RunId, Section, SectionKind, Sha256,
    Verdict, Version,
    id::EffectKey,
    outcome::{Evidence, Failure, StepReport},
    signed::Proof,
};
use serde::{Deserialize, Serialize};

use crate::{
    Now,
    hold_kind::HoldKind,
    inventory::{Role, Seen},
    plan::{Plan, PlanStage, PlanWave, UndoOf},
    plan_file::ApprovalBy,
    recipe::{Check, RecipeSpec},
    view::{Phase, RunStatus},
};

/// The version of the reducer that writes these states and events.
pub const REDUCER_VERSION: u32 = 1;

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// [`REDUCER_VERSION`] of the build that made it.
    pub reducer: u32,
    /// What people call it.
    pub number: u64,
    /// For ever.
    pub id: RunId,
    /// The fleet that it belongs to.
    pub fleet: FleetId,
    /// What is executed. Changes by an amendment only, and is shared by all copies of the state.
    pub plan: Arc<Plan>,
    /// The plan's digest when the run was accepted: effect ids hold it, whatever is amended later.
    pub accepted_digest: Sha256,
    /// What operators changed since, oldest first.
    pub amendments: Vec<Amendment>,
    /// Waves that somebody approved.
    pub approvals: Vec<Approval>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started: Now,
    /// How it stands.
    pub status: RunStatus,
    /// Behind which run it waits, while it does.
    pub queued_behind: Option<u64>,
    /// Who paused or aborted it last.
    pub stopped_by: Option<String>,
    /// When.
    pub stopped: Option<Now>,
    /// When it ended.
    pub ended: Option<Now>,
    /// In the plan's order: stage, wave, node.
    pub nodes: Vec<NodeRun>,
    /// Why it holds, while it does.
    pub hold: Option<Hold>,
    /// Further holds, in the order in which they came. `run resume` decides one at a time: none is lost
    /// because another came first.
    pub holds_behind: Vec<Hold>,
    /// Rises with every look, so that an answer to an older question is known as such.
    pub round: u64,
    /// By stage: how long a node was foreseen to take when the run was started, where there was something to
    /// judge by.
    pub planned_ms: BTreeMap<usize, u64>,
    /// By stage: when a protect section was last done, on the fleet's clock.
    pub protected_at_ms: BTreeMap<usize, u64>,
    /// What it waits for before a further node leaves service, while that is no node's own business.
    pub waiting: Option<RunWaiting>,
}

/// What a run waits for before a further node of a wave leaves service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunWaiting {
    /// Index of the stage.
    pub stage: usize,
    /// Index of the wave.
    pub wave: usize,
    /// For what.
    pub what: WaitFor,
    /// Since when.
    pub since: Now,
    /// When it is judged again, on the fleet's clock.
    pub again_ms: u64,
}

/// See [`RunWaiting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum WaitFor {
    /// Somebody's word.
    Approval {
        /// Whose word counts.
        by: ApprovalBy,
        /// Until when, on the fleet's clock; then the run holds.
        deadline_ms: u64,
    },
    /// The plan's window. The one wait without a deadline: it ends when the window opens.
    Window {
        /// When it opens, in Unix time; `None` where nobody can tell.
        opens_ms: Option<u64>,
        /// Why a node cannot begin now.
        because: String,
    },
}

/// An operator's change to a live run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amendment {
    /// Who.
    pub by: String,
    /// When.
    pub at: Now,
    /// What was changed, in one line.
    pub what: String,
    /// The plan's digest before.
    pub from: Sha256,
    /// And after.
    pub to: Sha256,
}

/// What can be amended. Anything else takes another plan, and another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// How long the nodes of a wave that has not ended are watched.
    Soak {
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
        /// The new length.
        soak: Millis,
    },
    /// How many nodes of a wave at once.
    Concurrency {
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
        /// The new number; at least 1.
        concurrency: u32,
    },
    /// The window no longer binds this run.
    NoWindow {},
}

/// A wave that somebody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Index of the stage.
    pub stage: usize,
    /// Index of the wave.
    pub wave: usize,
    /// Who.
    pub by: String,
    /// When.
    pub at: Now,
    /// The plan's digest that was approved: an amendment after it asks anew.
    pub digest: Sha256,
}

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
    /// Protect sections that were done here in this attempt. A later one is another effect: under the same
    /// id the agent would only tell of the old one again.
    pub protections: u32,
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
    /// How long its service was out, by its agent.
    pub out_of_service_ms: Option<u64>,
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

/// A section that changed a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastChange {
    /// Which.
    pub effect: EffectId,
    /// How it left the node.
    pub left: Left,
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

/// What became of a change that a run takes back, seen when its turn came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Determined {
    /// It is there.
    There {
        /// See [`crate::plan::UndoOf`].
        half_way: bool,
    },
    /// There is nothing to take back, or it cannot be.
    Gone {
        /// Why.
        why: String,
    },
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
}

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookFor {
    /// May the node leave service?
    Gate,
    /// The same, right before the change.
    Recheck,
    /// Is it back?
    Returned,
    /// Is it still well?
    Soak,
}

/// A look that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Look {
    /// Which round.
    pub round: u64,
    /// For what.
    pub purpose: LookFor,
    /// When it was asked for, on the fleet's clock. An answer that takes too long is not believed.
    pub asked_ms: u64,
}

/// A check of a soak, and where it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoakLook {
    /// On which node.
    pub node: NodeName,
    /// What.
    pub check: Check,
}

impl SoakLook {
    /// Is a result called so one of a soak check? No check's own name has a space.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        name.contains(' ')
    }

    /// How its result is called: `unit on ctl-2`, and `prometheus in the soak` for what is about all nodes.
    #[must_use]
    pub fn name(&self) -> String {
        match self.check.is_of_one_node() {
            true => alloc::format!("{} on {}", self.check.name(), self.node),
            false => alloc::format!("{} in the soak", self.check.name()),
        }
    }
}

/// What a node waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Waiting {
    /// The check or section.
    pub what: String,
    /// The blocker by its name.
    pub because: String,
    /// Since when.
    pub since: Now,
    /// When it was last looked at.
    pub seen: Now,
}

/// Why a run stopped on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Which kind of hold it is.
    pub kind: HoldKind,
    /// Index of the node, where there is one.
    pub node: Option<usize>,
    /// From which phase.
    pub from: Phase,
    /// One sentence.
    pub reason: String,
    /// In the agent's or the check's words.
    pub happened: String,
    /// How things stand at the node.
    pub state_now: String,
    /// Since when.
    pub since: Now,
    /// Where `run resume` takes the node up again.
    pub resume_at: Phase,
    /// `run resume` is the decision that raises the attempt.
    pub next_attempt: bool,
}

/// One check's verdict in a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckResult {
    /// The check's name.
    pub check: String,
    /// What it says.
    pub verdict: Verdict,
}

/// A node that is out of service for whatever cause, in the failure domain of the node at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disrupted {
    /// Which.
    pub node: NodeName,
    /// Why: `its agent is silent`, `run 12 is at work there`.
    pub why: String,
}

/// What happened. The record is a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The run was accepted.
    Started {},
    /// The run before it is closed.
    Unqueued {},
    /// The turn of a run that takes another one back has come, and that one is over: what became of its changes.
    /// Comes before [`Event::Unqueued`].
    Determined {
        /// By index of the node.
        changes: BTreeMap<usize, Determined>,
    },
    /// Time passed.
    Tick {},
    /// A coordinator has taken the run over; what was being looked at is looked at again.
    Restarted {},
    /// A person put this coordinator in the place of another one that agents obeyed: its store may be older
    /// than what was done. Else as [`Event::Restarted`].
    Restored {
        /// Who.
        by: String,
        /// The epoch that this coordinator had.
        from: u64,
        /// The epoch that it has now: above every one that an agent reported.
        to: u64,
        /// Which agents obeyed somebody else, and the epoch that each reported.
        reported: BTreeMap<NodeName, u64>,
    },
    /// A node's agent has opened its stream.
    AgentConnected {
        /// Which.
        node: NodeName,
        /// Its identity: of another key it is not the node that the plan means.
        key: NodeKey,
        /// Its journal.
        journal: JournalRef,
    },
    /// An answer to [`Effect::Look`].
    Looked {
        /// Index of the node.
        node: usize,
        /// Which round.
        round: u64,
        /// What each check says.
        results: Vec<CheckResult>,
        /// What runs there.
        seen: Seen,
        /// Who else is out of service in this node's failure domain.
        disrupted: Vec<Disrupted>,
    },
    /// A section ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// An outcome came that is not signed by its node's key. It changes nothing; its effect stays open.
    OutcomeRefused {
        /// Of which effect.
        effect: EffectId,
        /// Why it is not believed.
        why: String,
    },
    /// A section was never begun and never will be from that dispatch. For a section that changes nothing
    /// in service this is harmless; for one that does, its node goes back to its gate.
    Lapsed {
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
    },
    /// An agent had said that a section is in its journal, and its journal does not know of it any more: it is an
    /// older copy. Nothing tells how far the section came.
    Forgot {
        /// Which.
        effect: EffectId,
    },
    /// The agent will not do it: fence, policy of the link, unreadable section.
    Declined {
        /// Which.
        effect: EffectId,
        /// Why.
        why: String,
    },
    /// An operator paused the run.
    Paused {
        /// Who.
        by: String,
    },
    /// An operator lets it go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// An operator ends it.
    Aborted {
        /// Who.
        by: String,
    },
    /// An operator lets a wave begin.
    Approved {
        /// Who.
        by: String,
        /// Index of the stage.
        stage: usize,
        /// Index of the wave.
        wave: usize,
    },
    /// An operator changes what the plan allows to be changed.
    Amended {
        /// Who.
        by: String,
        /// What.
        change: Change,
    },
    /// An operator leaves a node out that nothing was changed on.
    NodeSkipped {
        /// Who.
        by: String,
        /// Index of the node.
        node: usize,
    },
    /// An operator gives a node longer.
    Extended {
        /// Who.
        by: String,
        /// Index of the node.
        node: usize,
        /// How much longer than its present deadline.
        more: Millis,
    },
}

/// An event as it stands in the record: with what it meant when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recorded {
    /// Itself.
    pub event: Event,
    /// At which node.
    pub node: Option<NodeName>,
    /// One line for people.
    pub text: String,
    /// For an outcome: who signed it, and by which digest its exact bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What is to be done outside, after the state is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand a section to a node's agent. Durable before it is sent; asked about after a restart.
    Dispatch {
        /// The section; its effect id names it.
        section: Box<Section>,
    },
    /// Ask a node's agent what became of a section; nothing is sent again before it has answered.
    Ask {
        /// Whom.
        node: NodeName,
        /// About which.
        effect: EffectId,
    },
    /// Look, and answer with [`Event::Looked`].
    Look {
        /// Index of the node.
        node: usize,
        /// Which round.
        round: u64,
        /// What is looked at, beside what runs there.
        checks: Vec<Check>,
    },
    /// The run is closed: agents may forget these effects.
    Forget {
        /// Which, at whom.
        effects: Vec<(NodeName, Vec<EffectId>)>,
    },
}

impl Run {
    /// A new run, nothing done yet.
    #[must_use]
    pub fn new(number: u64, id: RunId, fleet: FleetId, plan: Plan, started_by: String, now: Now) -> Self {
        let mut nodes = Vec::new();
        for (stage, planned) in plan.stages.iter().enumerate() {
            for (wave, planned) in planned.waves.iter().enumerate() {
                nodes.extend(planned.nodes.iter().map(|node| NodeRun::new(stage, wave, node, now)));
            }
        }
        Self {
            reducer: REDUCER_VERSION,
            number,
            id,
            fleet,
            accepted_digest: plan.digest,
            amendments: Vec::new(),
            approvals: Vec::new(),
            plan: Arc::new(plan),
            started_by,
            started: now,
            status: RunStatus::Queued,
            queued_behind: None,
            stopped_by: None,
            stopped: None,
            ended: None,
            nodes,
            hold: None,
            holds_behind: Vec::new(),
            round: 0,
            planned_ms: BTreeMap::new(),
            protected_at_ms: BTreeMap::new(),
            waiting: None,
        }
    }

    /// The stage of a node.
    #[must_use]
    pub fn stage_of(&self, node: &NodeRun) -> &PlanStage {
        &self.plan.stages[node.stage]
    }

    /// A node's recipe, its placeholders filled in.
    #[must_use]
    pub fn recipe_of(&self, node: &NodeRun) -> RecipeSpec {
        let stage = self.stage_of(node);
        stage.node(&node.name).map_or_else(|| stage.recipe.spec.clone(), |planned| stage.recipe_for(planned))
    }

    /// The wave of a node.
    #[must_use]
    pub fn wave_of(&self, node: &NodeRun) -> &PlanWave {
        &self.plan.stages[node.stage].waves[node.wave]
    }

    /// What is looked at while a node soaks: the wave's checks, on it and on every node of the stage that this
    /// run changed before it. What is about all nodes together is looked at once.
    #[must_use]
    pub fn soak_looks(&self, index: usize) -> Vec<SoakLook> {
        let Some(soaking) = self.nodes.get(index) else { return Vec::new() };
        let (stage, checks) = (self.stage_of(soaking), &self.wave_of(soaking).soak_checks);
        let changed = |(other, node): &(usize, &NodeRun)| {
            *other == index
                || (node.stage == soaking.stage && matches!(node.phase, Phase::Done | Phase::Soaking))
        };
        let mut looks = Vec::new();
        for check in checks {
            for (other, node) in self.nodes.iter().enumerate().filter(changed) {
                if other == index || check.is_of_one_node() {
                    let filled = stage.node(&node.name).map(|planned| planned.fill(check));
                    looks.push(SoakLook {
                        node: node.name.clone(),
                        check: filled.unwrap_or_else(|| check.clone()),
                    });
                }
            }
        }
        looks
    }

    /// The effect id of a node's section in its present attempt.
    #[must_use]
    pub fn effect_id(&self, node: &NodeRun, kind: SectionKind) -> EffectId {
        self.effect_id_in(node, kind, node.attempt)
    }

    fn effect_id_in(&self, node: &NodeRun, kind: SectionKind, attempt: u32) -> EffectId {
        let again = match (kind, node.protections) {
            (SectionKind::Protect, done @ 1..) => Some(alloc::format!("{}-{}", kind.as_str(), done + 1)),
            _ => None,
        };
        EffectId::derive(&EffectKey {
            fleet: self.fleet,
            run: self.id,
            plan: self.accepted_digest,
            node: node.key,
            stage: self.stage_of(node).name.as_str(),
            what: again.as_deref().unwrap_or(kind.as_str()),
            undo: kind == SectionKind::Undo,
            attempt,
        })
    }

    /// What is taken back at a node, in a run that takes another one back.
    #[must_use]
    pub fn undo_of(&self, node: &NodeRun) -> Option<&UndoOf> {
        self.plan.undoes?;
        self.stage_of(node).node(&node.name)?.undo.as_ref()
    }

    /// The section that changes this run's nodes: its recipe's, or the undo of another run's.
    #[must_use]
    pub fn change_kind(&self) -> SectionKind {
        if self.plan.undoes.is_some() { SectionKind::Undo } else { SectionKind::Apply }
    }

    /// The version that a node is to run. `None` in a run that takes another one back, where it was not known
    /// what ran before.
    #[must_use]
    pub fn wanted(&self, node: &NodeRun) -> Option<&Version> {
        match self.undo_of(node) {
            Some(undo) => undo.to.as_ref(),
            None => Some(&self.stage_of(node).to),
        }
    }

    /// Has this run ever handed the node its change, in this attempt or an earlier one? Then what runs there
    /// may be our doing, half done or whole.
    #[must_use]
    pub fn change_was_sent(&self, node: &NodeRun) -> bool {
        (1..=node.attempt)
            .any(|attempt| node.effects.contains(&self.effect_id_in(node, self.change_kind(), attempt)))
    }

    /// Sections that were handed out and have not ended: `apply on ctl-2`.
    #[must_use]
    pub fn handed_out(&self) -> Vec<String> {
        let open = self.nodes.iter().filter_map(|node| Some((node, node.open.as_ref()?)));
        open.map(|(node, open)| alloc::format!("{} on {}", open.kind.as_str(), node.name)).collect()
    }

    /// When [`Event::Tick`] is next due, on the fleet's clock.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        if self.status.is_closed() || self.status == RunStatus::Queued {
            return None;
        }
        // While held no deadline runs: a person has been asked.
        let ticking = self.status != RunStatus::Held;
        let times = |node: &NodeRun| {
            let retry = (node.not_before_ms > 0).then_some(node.not_before_ms);
            let lost = node.look.as_ref().map(|look| look.asked_ms.saturating_add(crate::step::LOOK_LOST_MS));
            [node.look_again_ms, node.deadline_ms.filter(|_| ticking), retry, lost]
        };
        let waiting = self.waiting.as_ref().map(|waiting| waiting.again_ms);
        self.nodes.iter().filter(|node| !node.phase.is_ended()).flat_map(times).flatten().chain(waiting).min()
    }

    /// Nodes that this run has taken out of service, is about to, or has left in doubt.
    #[must_use]
    pub fn disrupts(&self) -> Vec<&NodeRun> {
        let away = |phase| {
            matches!(
                phase,
                Phase::Protecting | Phase::Rechecking | Phase::Applying | Phase::Returning | Phase::Soaking
            )
        };
        let held = |node: &&NodeRun| node.phase == Phase::Held && node.began.is_some();
        let counts = |node: &&NodeRun| away(node.phase) || held(node) || node.unsettled.is_some();
        self.nodes.iter().filter(counts).collect()
    }
}

impl NodeRun {
    fn new(stage: usize, wave: usize, node: &crate::plan::PlanNode, now: Now) -> Self {
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
            protections: 0,
            waiting: None,
            from: node.seen.as_ref().and_then(Seen::answered).cloned(),
            seen: node.seen.clone(),
            began: None,
            ended: None,
            out_of_service_ms: None,
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
        if phase.is_ended() {
            self.ended = Some(now);
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
