//! Installs staged packages while no service is touched by them.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, packages::Packages};

use super::{Action, Cx, Found, Note, Problem};

/// The installation.
#[derive(Debug)]
pub struct Install<'a>(pub &'a Packages);

#[async_trait]
impl Action for Install<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Err(Problem::new("this build of the agent cannot install packages yet"))
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Err(Problem::new("this build of the agent cannot install packages yet"))
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
