//! Sees that ovn-controller is connected and has caught up.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};

use super::{Action, Cx, Found, Note, Problem};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Action for Ready<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Err(Problem::new("this build of the agent cannot look at ovn-controller yet"))
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Err(Problem::new("this build of the agent cannot look at ovn-controller yet"))
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
