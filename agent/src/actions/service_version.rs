//! Sees that the service itself answers the section's target version.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::ServiceVersion};

use super::{
    Cx, Problem,
    look::{Look, until_well},
    unit,
};
use crate::{probes::version, sys::units::LOOK_AGAIN};

/// The look at one service.
#[derive(Debug)]
pub struct AnswersVersion<'a>(pub &'a ServiceVersion);

#[async_trait]
impl Look for AnswersVersion<'_> {
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        version::allowed(cx.host, &self.0.source)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        version::allowed(cx.host, &self.0.source)?;
        unit::while_it_may_come(cx, until_well(self.0.within, LOOK_AGAIN * 4, || self.look(cx))).await
    }
}

impl AnswersVersion<'_> {
    async fn look(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let to = &cx.section.to;
        let view = version::look(cx.host, &self.0.source).await?;
        // Equal in the order of versions: `3.5` is `3.5.0`.
        if view.version.compare(to).is_some_and(core::cmp::Ordering::is_eq) {
            return Ok(vec![Evidence::Version { version: view.version, source: view.source }]);
        }
        Err(Problem::new(format!("{} answers version {}, not {to}", view.source, view.version)))
    }
}
