//! Does nothing. For measuring what a section costs.

use async_trait::async_trait;
use drydock_types::outcome::Evidence;

use super::{Action, Cx, Found, Note, Problem};

/// Nothing at all.
#[derive(Debug)]
pub struct DoNothing;

#[async_trait]
impl Action for DoNothing {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::Done
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
