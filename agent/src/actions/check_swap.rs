//! Everything that an exchange will demand, looked at before the node leaves service.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::SwapBinary};

use super::{Cx, Problem, look::Look, swap_binary};

/// The look at one binary and the artifact that is to take its place.
#[derive(Debug)]
pub struct Check<'a>(pub &'a SwapBinary);

#[async_trait]
impl Look for Check<'_> {
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        // All of it is in `apply`: the artifact may be fetched by a step in between.
        Ok(())
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        swap_binary::demand(self.0, cx).await?;
        Ok(Vec::new())
    }
}
