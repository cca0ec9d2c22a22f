//! Restarts ovn-controller, and sees that it has caught up.

use async_trait::async_trait;
use drydock_types::{openvswitch::RestartOvnController, outcome::Evidence};

use super::{Action, Cx, Found, Note, Problem};

/// The restart.
#[derive(Debug)]
pub struct Restart<'a>(pub &'a RestartOvnController);

#[async_trait]
impl Action for Restart<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        Err(Problem::new("this build of the agent cannot restart ovn-controller yet"))
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Err(Problem::new("this build of the agent cannot restart ovn-controller yet"))
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
