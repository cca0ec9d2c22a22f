//! Fetches packages ahead, after seeing what installing them would change.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, packages::Packages};

use super::{Action, Cx, Found, Note, Problem};

/// The fetch of some packages.
#[derive(Debug)]
pub struct Stage<'a>(pub &'a Packages);

#[async_trait]
impl Action for Stage<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Err(Problem::new("this build of the agent cannot stage packages yet"))
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Err(Problem::new("this build of the agent cannot stage packages yet"))
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
