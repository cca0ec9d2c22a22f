//! The real workshop: the actions, on this host.

use std::sync::Arc;

use async_trait::async_trait;
use drydock_types::{Section, Step, outcome::Evidence, step::UndoGuard};

use super::workshop::{Progress, Workshop};
use crate::{
    actions::{self, Cx, Found, Note, Problem},
    host::Host,
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

    async fn undo(&self, section: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem> {
        actions::of(step).undo(&self.cx(section, &silent), note).await
    }

    async fn undo_guard(&self, section: &Section, guard: &UndoGuard) -> Result<(), String> {
        actions::undo_guards::holds(&self.0, section, guard).await
    }
}
