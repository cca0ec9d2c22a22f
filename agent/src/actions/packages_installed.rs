//! Sees that packages are installed at their versions, whole.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, packages::Packages};

use super::{Action, Cx, Found, Note, Problem};
use crate::apt::{database::Database, wanted};

/// The look.
#[derive(Debug)]
pub struct Installed<'a>(pub &'a Packages);

#[async_trait]
impl Action for Installed<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        // That dpkg can be asked at all; the versions are those of afterwards.
        Database::look().await.map(drop)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let source = wanted::installed(&Database::look().await?, self.0, &cx.section.to)?;
        Ok(vec![Evidence::Healthy { source }])
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}
