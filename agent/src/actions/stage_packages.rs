//! Fetches packages ahead, after seeing what installing them would change.
//!
//! Nothing of the node is changed by it: the lists, the cache and the fetched files are the agent's own. A rehearsal reads
//! the archives as they are then, so what it says holds for that moment; `release:` holds it.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{PackageName, outcome::Evidence, packages::Packages};
use tokio::time::Instant;

use super::{Action, Cx, Found, Note, Problem};
use crate::apt::{
    judge::Order,
    stage::{self, Stager},
};

/// The fetch of some packages.
#[derive(Debug)]
pub struct Stage<'a>(pub &'a Packages);

#[async_trait]
impl Action for Stage<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let may = may_change(cx);
        let stager = Stager::here(&cx.host.state_dir)?;
        let Err(problem) = stager.foresee(self.order(cx, &may), self.until(cx)).await else { return Ok(()) };
        // Beside somebody who changes packages this may be only how it is for a moment. The recipe's gate waits for them, and
        // names them.
        match stage::somebody_at_work().await? {
            Some(_) => Ok(()),
            None => Err(problem),
        }
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let may = may_change(cx);
        let stager = Stager::here(&cx.host.state_dir)?;
        let until = self.until(cx);
        let set = match stager.stage(self.order(cx, &may), until, cx.progress).await {
            Err(problem) if stage::somebody_at_work().await?.is_some() => {
                stage::until_nobody_is_at_work(&problem, until).await?;
                stager.stage(self.order(cx, &may), until, cx.progress).await?
            }
            staged => staged?,
        };
        Ok(vec![stage::evidence(&set)])
    }

    /// The set is written last, so that one that is there is whole.
    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        let may = may_change(cx);
        let Ok(stager) = Stager::here(&cx.host.state_dir) else { return Found::NotBegun };
        match stager.staged(self.order(cx, &may)).await {
            Ok(Some(set)) => Found::Seen(vec![stage::evidence(&set)]),
            // What was fetched is in the pool, and is not fetched again.
            Ok(None) | Err(_) => Found::NotBegun,
        }
    }

    /// Staged files harm nobody and serve the next attempt; later stages prune them.
    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

impl Stage<'_> {
    fn order<'b>(
        &'b self,
        cx: &'b Cx<'_>,
        may_change: &'b (dyn Fn(&PackageName) -> Result<(), Problem> + Send + Sync),
    ) -> Order<'b> {
        let allow_downgrade = cx.section.allow_downgrade;
        Order { asked: self.0, to: &cx.section.to, allow_downgrade, may_change }
    }

    fn until(&self, cx: &Cx<'_>) -> Instant {
        Instant::now() + Duration::from_millis(self.0.within.0.min(cx.section.deadline.0))
    }
}

fn may_change<'a>(cx: &'a Cx<'_>) -> impl Fn(&PackageName) -> Result<(), Problem> + Send + Sync + 'a {
    |name| cx.host.policy.may_change_package(name)
}
