//! Puts the fetched artifact, an archive of container images, where K3s imports it from. Whole or not at all: K3s
//! never sees half of one. What lay there under the same name is displaced and kept, as a binary is.
//!
//! Sources: docs/installation/airgap.md of k3s-io/docs ("Place the tar in the …/agent/images/ directory on each node.
//! Delete the old tar file."), `pkg/agent/containerd/watcher.go` of k3s-io/k3s (which names it takes; a file that is
//! exchanged while K3s runs is imported at once, from 1.32 on; before that at the next start).

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use drydock_types::{AbsPath, ArtifactRef, EffectId, Sha256, outcome::Evidence, step::PlaceK3sImages};
use serde::{Deserialize, Serialize};

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    artifacts::trust,
    policy::BinaryRule,
    sys::{
        blocking,
        files::{self, FileError, open_artifact},
    },
};

/// The names that K3s imports.
const KINDS: [&str; 8] = [".tar", ".tar.zst", ".tar.gz", ".tar.bz2", ".tar.lz4", ".tgz", ".tzst", ".tbz"];

/// The placing of one archive.
#[derive(Debug)]
pub struct Place<'a>(pub &'a PlaceK3sImages);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    path: AbsPath,
    /// What lay there; nothing, where it was the first.
    old_sha256: Option<Sha256>,
    new_sha256: Sha256,
}

impl Place<'_> {
    fn rule(&self, cx: &Cx<'_>) -> Result<BinaryRule, Problem> {
        let path = &self.0.path;
        if !KINDS.iter().any(|kind| path.as_str().ends_with(kind)) {
            return Err(Problem::new(format!("{path} has no name that K3s imports"))
                .next(format!("let it end with one of: {}", KINDS.join(", "))));
        }
        cx.host.policy.may_swap(path, &cx.section.component).cloned()
    }

    async fn artifact<'c>(&self, cx: &'c Cx<'_>) -> Result<(&'c ArtifactRef, PathBuf), Problem> {
        let (artifact, signed) = trust::judge(&cx.host.policy, cx.section)?;
        let stage = "stage it first: the recipe needs fetchArtifact under `stage:`";
        let short = artifact.sha256.short();
        cx.host.artifacts.prove(artifact, &signed).await.map_err(|error| {
            Problem::new(format!("the artifact {short} is not ready: {error}")).next(stage)
        })?;
        let stored = cx.host.artifacts.verified(artifact);
        let stored = stored.ok_or_else(|| {
            Problem::new(format!("the artifact {short} is not in the agent's store")).next(stage)
        })?;
        Ok((artifact, stored))
    }
}

/// What of the check can be seen while the artifact is not here. Changes nothing.
pub(crate) fn foresee(config: &PlaceK3sImages, cx: &Cx<'_>) -> Result<(), Problem> {
    Place(config).rule(cx)?;
    trust::judge(&cx.host.policy, cx.section).map(drop)
}

/// What lies there now; nothing, where not even the directory is.
fn digest(path: &AbsPath, effect: EffectId) -> Result<Option<Sha256>, FileError> {
    match files::Place::open(path, effect) {
        Ok(place) => place.digest(),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn place(before: &Before, effect: EffectId, rule: &BinaryRule, source: &Path) -> Result<(), FileError> {
    let place = match files::Place::open(&before.path, effect) {
        Err(error) if error.is_missing() => {
            directory(&before.path, effect)?;
            files::Place::open(&before.path, effect)?
        }
        place => place?,
    };
    let found = place.digest()?;
    if found == Some(before.new_sha256) {
        return Ok(());
    }
    if found != before.old_sha256 {
        return Err(FileError::Refused {
            what: format!("{} was changed by somebody else since it was looked at", before.path),
            next: "find out who writes there, then try again".into(),
        });
    }
    let artifact = open_artifact(source)?;
    if found.is_none() {
        return place.put(&artifact, before.new_sha256);
    }
    let target = place.file(rule)?;
    let staged = place.stage(&target, &artifact, before.new_sha256)?;
    place.exchange(&target, &staged)
}

/// K3s's own installer does not make `agent/images`; its parent is K3s's.
fn directory(path: &AbsPath, effect: EffectId) -> Result<(), FileError> {
    let parent = path.as_str().rsplit_once('/').map_or("/", |(parent, _)| parent);
    let parent = AbsPath::parse(parent).map_err(|error| FileError::Refused {
        what: error.to_string(),
        next: "name a file below K3s's data directory".into(),
    })?;
    files::Place::open(&parent, effect)?.make_dir()
}

fn back(before: &Before, effect: EffectId) -> Result<bool, FileError> {
    let place = match files::Place::open(&before.path, effect) {
        Err(error) if error.is_missing() && before.old_sha256.is_none() => return Ok(false),
        place => place?,
    };
    match before.old_sha256 {
        Some(old) if old == before.new_sha256 => Ok(false),
        Some(old) => place.restore(old, before.new_sha256),
        None => place.withdraw(before.new_sha256),
    }
}

#[async_trait]
impl Action for Place<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        self.rule(cx)?;
        self.artifact(cx).await.map(drop)
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let (artifact, _) = trust::judge(&cx.host.policy, cx.section)?;
        let (path, effect, new_sha256) = (self.0.path.clone(), cx.section.effect, artifact.sha256);
        let old_sha256 = blocking({
            let path = path.clone();
            move || digest(&path, effect)
        })
        .await?;
        Note::of(&Before { path, old_sha256, new_sha256 })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (before, rule): (Before, _) = (note.read()?, self.rule(cx)?);
        let (artifact, source) = self.artifact(cx).await?;
        if artifact.sha256 != before.new_sha256 || before.path != self.0.path {
            return Err(Problem::new("the journal's note is of another archive than this step's"));
        }
        let (work, effect) = (before.clone(), cx.section.effect);
        blocking(move || place(&work, effect, &rule, &source)).await?;
        let Before { path, old_sha256, new_sha256 } = before;
        Ok(vec![Evidence::Placed {
            path,
            sha256: new_sha256,
            replaced: old_sha256.filter(|old| *old != new_sha256),
        }])
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        let before: Before = match note.read() {
            Ok(before) => before,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        let (path, effect) = (before.path.clone(), cx.section.effect);
        match blocking(move || digest(&path, effect)).await {
            Ok(found) if found == Some(before.new_sha256) => Found::Done,
            Ok(found) if found == before.old_sha256 => Found::NotBegun,
            Ok(_) => {
                Found::Undecidable(format!("{} is neither the old archive nor the new one", before.path))
            }
            Err(problem) => Found::Undecidable(problem.what),
        }
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (before, effect): (Before, _) = (note.read()?, cx.section.effect);
        let work = before.clone();
        blocking(move || back(&work, effect)).await?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
