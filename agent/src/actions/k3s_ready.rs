//! Sees that the API of this node's K3s server is ready, by all of its own checks.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::K3sReady};
use tokio::time::{Instant, sleep};

use super::{Action, Cx, Found, Note, Problem, unit};
use crate::{k3s::K3s, sys::units::LOOK_AGAIN};

/// The look at one server.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a K3sReady);

#[async_trait]
impl Action for Ready<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        K3s::look(cx.host, &self.0.unit).await?.api().map(drop)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        unit::while_it_may_come(cx, self.wait(cx)).await
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

impl Ready<'_> {
    async fn wait(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.within.0);
        loop {
            let mut problem = match self.look(cx).await {
                Ok(source) => return Ok(vec![Evidence::Healthy { source }]),
                Err(problem) => problem,
            };
            if Instant::now() >= until {
                problem.what = format!("{}, still after {}", problem.what, self.0.within);
                let (unit, api) = (&self.0.unit, "k3s kubectl get --raw '/readyz?verbose'");
                return Err(problem.next(format!("{api}; journalctl -u {unit} -e")));
            }
            sleep(LOOK_AGAIN * 2).await;
        }
    }

    async fn look(&self, cx: &Cx<'_>) -> Result<String, Problem> {
        let api = K3s::look(cx.host, &self.0.unit).await?.api()?;
        api.ready().await?;
        Ok(format!("{api}/readyz"))
    }
}
