//! Sees that packages are installed at their versions, whole.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, packages::Packages};

use super::{Cx, Problem, look::Look};
use crate::apt::{database::Database, wanted};

/// The look.
#[derive(Debug)]
pub struct Installed<'a>(pub &'a Packages);

#[async_trait]
impl Look for Installed<'_> {
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        // That dpkg can be asked at all; the versions are those of afterwards.
        Database::look().await.map(drop)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let source = wanted::installed(&Database::look().await?, self.0, &cx.section.to)?;
        Ok(vec![Evidence::Healthy { source }])
    }
}
