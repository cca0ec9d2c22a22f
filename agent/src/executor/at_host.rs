//! The real workshop: the actions, on this host.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use drydock_types::{AbsPath, EffectId, Section, Step, outcome::Evidence, step::UndoGuard};

use super::workshop::{Progress, Workshop};
use crate::{
    actions::{self, Cx, Found, Note, Problem},
    host::Host,
    revert::{self, Report, Standing},
};

/// Does steps by the actions of this host.
#[derive(Debug, Clone)]
pub struct AtHost(
    /// The host.
    pub Arc<Host>,
);

impl AtHost {
    fn cx<'a>(&'a self, section: &'a Section, progress: Progress<'a>) -> Cx<'a> {
        Cx { host: &self.0, section, progress }
    }
}

const fn silent(_done: u64, _total: u64) {}

#[async_trait]
impl Workshop for AtHost {
    async fn check(&self, section: &Section, step: &Step) -> Result<(), Problem> {
        actions::of(step).check(&self.cx(section, &silent)).await
    }

    async fn note(&self, section: &Section, step: &Step) -> Result<Note, Problem> {
        actions::of(step).note(&self.cx(section, &silent)).await
    }

    async fn apply(
        &self,
        section: &Section,
        step: &Step,
        note: &Note,
        progress: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem> {
        actions::of(step).apply(&self.cx(section, progress), note).await
    }

    async fn probe(&self, section: &Section, step: &Step, note: &Note) -> Found {
        actions::of(step).probe(&self.cx(section, &silent), note).await
    }

    async fn undo_note(&self, section: &Section, step: &Step) -> Result<Note, Problem> {
        actions::of(step).undo_note(&self.cx(section, &silent)).await
    }

    async fn undo(&self, section: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem> {
        actions::of(step).undo(&self.cx(section, &silent), note).await
    }

    async fn undo_probe(&self, section: &Section, step: &Step, note: &Note, before: &Note) -> Found {
        actions::of(step).undo_probe(&self.cx(section, &silent), note, before).await
    }

    fn unpacks_itself(&self, path: &AbsPath) -> bool {
        self.0.policy.unpacks_itself(path)
    }

    async fn may_take_back(&self, section: &Section) -> Result<(), Problem> {
        let policy = &self.0.policy;
        for step in &section.steps {
            match step {
                Step::SwapBinary(swap) => drop(policy.may_swap(&swap.path, &section.component)?),
                Step::StopUnit(unit) | Step::StartUnit(unit) | Step::RestartUnit(unit) => {
                    policy.may_touch(&unit.unit)?;
                }
                _ => {}
            }
        }
        // The floor is the node's own, and no command lifts it.
        section.from.as_ref().map_or(Ok(()), |from| policy.may_install(&section.component, from))
    }

    async fn undo_guard(&self, section: &Section, guard: &UndoGuard) -> Result<(), String> {
        actions::undo_guards::holds(&self.0, section, guard).await
    }

    async fn standing(&self, section: &Section) -> Result<Standing, Problem> {
        revert::standing(&self.0, section).await
    }

    async fn may_arm(&self, section: &Section) -> Result<(), Problem> {
        revert::arm::may_arm(&self.0, section).await
    }

    async fn arm(&self, section: &Section) -> Result<Duration, Problem> {
        revert::arm::arm(&self.0, section).await
    }

    async fn disarm(&self, section: &Section) -> Result<(), Problem> {
        revert::disarm(&self.0, section).await
    }

    async fn confirm(&self, section: &Section) -> Result<Vec<Evidence>, Problem> {
        revert::confirm::confirm(&self.0, section).await
    }

    async fn revert(&self, section: &Section, why: &str) -> Result<Report, Problem> {
        revert::now(&self.0, section, why).await
    }

    async fn put_away(&self, effect: EffectId) {
        revert::put_away(&self.0, effect).await;
    }

    async fn left_over(&self) -> Option<EffectId> {
        revert::over(&self.0)
    }
}
