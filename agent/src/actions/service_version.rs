//! Sees that the service itself answers the section's target version.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::ServiceVersion};
use tokio::time::{Instant, sleep};

use super::{Action, Cx, Found, Note, Problem, unit};
use crate::{probes::version, sys::units::LOOK_AGAIN};

/// The look at one service.
#[derive(Debug)]
pub struct AnswersVersion<'a>(pub &'a ServiceVersion);

#[async_trait]
impl Action for AnswersVersion<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        version::allowed(cx.host, &self.0.source)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        version::allowed(cx.host, &self.0.source)?;
        unit::while_it_may_come(cx, self.wait(cx)).await
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

impl AnswersVersion<'_> {
    async fn wait(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.within.0);
        let to = &cx.section.to;
        loop {
            let mut problem = match version::look(cx.host, &self.0.source).await {
                // Equal in the order of versions: `3.5` is `3.5.0`.
                Ok(view) if view.version.compare(to).is_some_and(core::cmp::Ordering::is_eq) => {
                    return Ok(vec![Evidence::Version { version: view.version, source: view.source }]);
                }
                Ok(view) => {
                    Problem::new(format!("{} answers version {}, not {to}", view.source, view.version))
                }
                Err(problem) => problem,
            };
            if Instant::now() >= until {
                problem.what = format!("{}, still after {}", problem.what, self.0.within);
                return Err(problem);
            }
            sleep(LOOK_AGAIN * 4).await;
        }
    }
}
