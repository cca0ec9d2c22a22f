//! Everything that an exchange will demand, looked at before the node leaves service.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::SwapBinary};

use super::{Action, Cx, Found, Note, Problem, swap_binary};

/// The look at one binary and the artifact that is to take its place.
#[derive(Debug)]
pub struct Check<'a>(pub &'a SwapBinary);

#[async_trait]
impl Action for Check<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        // All of it is in `apply`: the artifact may be fetched by a step in between.
        Ok(())
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        swap_binary::demand(self.0, cx).await?;
        Ok(Vec::new())
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
