//! Sees that K3s is here as its installer sets it up, and that a restart of its unit leaves pods alone. Only looks,
//! and everything of it can be refused ahead.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::CheckK3s};

use super::{Action, Cx, Found, Note, Problem};
use crate::k3s::K3s;

/// The look at one unit.
#[derive(Debug)]
pub struct Check<'a>(pub &'a CheckK3s);

#[async_trait]
impl Action for Check<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let k3s = K3s::look(cx.host, &self.0.unit).await?;
        k3s.check(self.0)
    }

    /// Looked at again: between the two somebody may have written the unit anew.
    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        self.check(cx).await.map(|()| Vec::new())
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
