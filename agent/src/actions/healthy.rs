//! Sees that a service's health probe passes.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Healthy};
use tokio::time::{Instant, sleep};

use super::{Cx, Problem, look::Look, unit};
use crate::{
    probes::health,
    sys::{still, units::LOOK_AGAIN},
};

/// The look at one service.
#[derive(Debug)]
pub struct IsHealthy<'a>(pub &'a Healthy);

#[async_trait]
impl Look for IsHealthy<'_> {
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        health::allowed(cx.host, &self.0.probe)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        health::allowed(cx.host, &self.0.probe)?;
        unit::while_it_may_come(cx, self.wait(cx)).await
    }
}

impl IsHealthy<'_> {
    async fn wait(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.within.0);
        let source = health::source(&self.0.probe);
        loop {
            let view = health::look(cx.host, &self.0.probe).await?;
            if view.well {
                return Ok(vec![Evidence::Healthy { source }]);
            }
            if Instant::now() >= until {
                let what = format!("{source} is not well, still after {}: {}", self.0.within, view.detail);
                return Err(Problem::new(what));
            }
            still::waits(&format!("{source} is not well: {}", view.detail));
            sleep(LOOK_AGAIN * 2).await;
        }
    }
}
