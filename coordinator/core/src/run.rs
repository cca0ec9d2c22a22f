//! A run's state: what is written with every transition and read back after a crash.
//!
//! | module | what lives there |
//! |---|---|
//! | [`state`] | the run, whole and as documents |
//! | [`node`] | a node within it |
//! | [`look`] | looks and their answers |
//! | [`waits`] | what is waited for, and holds |
//! | [`operate`] | amendments and approvals |
//! | [`event`] | what happens to a run, and what is to be done about it |

mod event;
mod look;
mod node;
mod operate;
mod state;
mod waits;

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use drydock_types::{EffectId, FleetId, RunId, SectionKind, Step, Version, id::EffectKey};

pub use self::{
    event::{Determined, Effect, Event, Recorded},
    look::{CheckResult, Disrupted, Look, LookFor, SoakLook},
    node::{JournalRef, Lapses, LastChange, Left, NodeRun, OpenEffect, Outage},
    operate::{Amendment, Approval, Change},
    state::{Run, RunHead},
    waits::{Hold, RunWaiting, WaitFor, Waiting},
};
use crate::{
    Now,
    moves::Doing,
    plan::{Plan, PlanStage, PlanWave, UndoOf},
    recipe::RecipeSpec,
    view::{Phase, RunStatus},
};

/// The version of the reducer that writes these states and events.
pub const REDUCER_VERSION: u32 = 2;

impl Run {
    /// The node to which this section was handed, and of whose end nothing has been heard.
    #[must_use]
    pub fn with_open(&self, effect: EffectId) -> Option<&NodeRun> {
        self.nodes.iter().find(|node| node.has_open(effect))
    }

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
            failed_before: BTreeMap::new(),
            failed_before_said: BTreeMap::new(),
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

    /// Sections that were handed out and have not ended, and moves that are under way: `apply on ctl-2`.
    #[must_use]
    pub fn handed_out(&self) -> Vec<String> {
        let open = self.nodes.iter().filter_map(|node| Some((node, node.open.as_ref()?)));
        let sections = open.map(|(node, open)| alloc::format!("{} on {}", open.kind.as_str(), node.name));
        let moving = self.nodes.iter().filter_map(|node| Some((node, node.moving.as_ref()?)));
        let moves = moving.map(|(node, moving)| match moving.doing {
            Doing::Leave => alloc::format!("the drain of {}", node.name),
            Doing::GiveBack => alloc::format!("taking back what is marked for {}", node.name),
        });
        sections.chain(moves).collect()
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
            let accepted = self.outage_until_ms(node);
            let [deadline, accepted] = [node.deadline_ms, accepted].map(|at| at.filter(|_| ticking));
            [node.look_again_ms, deadline, accepted, retry, lost]
        };
        let waiting = self.waiting.as_ref().map(|waiting| waiting.again_ms);
        self.nodes.iter().filter(|node| !node.phase.is_ended()).flat_map(times).flatten().chain(waiting).min()
    }

    /// When what a way back for this node would need was last secured, on the fleet's clock: by any node of its stage, or
    /// by itself where each node has its own.
    #[must_use]
    pub fn protected_at(&self, node: &NodeRun) -> Option<u64> {
        let of_each = self.stage_of(node).recipe.spec.protect.iter().any(Step::secures_its_node);
        if of_each { node.protected_at_ms } else { self.protected_at_ms.get(&node.stage).copied() }
    }

    /// Nodes that this run has taken out of service, is about to, or has left in doubt.
    #[must_use]
    pub fn disrupts(&self) -> Vec<&NodeRun> {
        let away = |phase| {
            matches!(
                phase,
                Phase::Protecting
                    | Phase::Draining
                    | Phase::Rechecking
                    | Phase::Applying
                    | Phase::Returning
                    | Phase::Releasing
                    | Phase::Soaking
            )
        };
        let held = |node: &&NodeRun| node.phase == Phase::Held && node.began.is_some();
        let counts =
            |node: &&NodeRun| away(node.phase) || held(node) || node.marked || node.unsettled.is_some();
        self.nodes.iter().filter(counts).collect()
    }
}
