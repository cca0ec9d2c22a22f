//! Puts the fetched artifact in the place of a binary. The running process goes on with the old one.
//!
//! Checked again in `apply`, file by file, what `check` has seen: between the two anything may happen.

use async_trait::async_trait;
use drydock_types::{AbsPath, ArtifactRef, Sha256, outcome::Evidence, step::SwapBinary};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    artifacts::trust,
    policy::BinaryRule,
    revert::place::{Place as Reverts, State},
    sys::{
        blocking,
        files::{self, FileError, Place, Stop, elf, open_artifact, owner},
    },
};

/// The exchange of one binary.
#[derive(Debug)]
pub struct Swap<'a>(pub &'a SwapBinary);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    path: AbsPath,
    old_sha256: Sha256,
    old_inode: u64,
    new_sha256: Sha256,
    kept: AbsPath,
}

/// What a look at the target and the artifact brought.
struct Seen {
    old_sha256: Sha256,
    old_inode: u64,
    kept: AbsPath,
}

/// Everything that an exchange will demand, without changing anything.
pub(super) async fn demand(config: &SwapBinary, cx: &Cx<'_>) -> Result<(), Problem> {
    let rule = cx.host.policy.may_swap(&config.path, &cx.section.component)?.clone();
    let (artifact, signed) = trust::judge(&cx.host.policy, cx.section)?;
    // Proven anew, signature and all: what lies in the store may be another component's.
    cx.host.artifacts.prove(artifact, &signed).await.map_err(|error| {
        Problem::new(format!("the artifact {} is not ready: {error}", artifact.sha256.short()))
            .next("stage it first: the recipe needs fetchArtifact under `stage:`")
    })?;
    let source = stored(cx, artifact)?;
    is_nobodys(config, &rule).await?;
    let new_bytes = artifact.size;
    look(config, cx, rule, move |place, target| {
        elf::check(&open_artifact(&source)?, &source, std::env::consts::ARCH)?;
        place.room(new_bytes, target.size())
    })
    .await
    .map(drop)
}

/// What of [`demand`] can be seen while the artifact is not here: everything that is in the way, not only the
/// first of it. Changes nothing, not even in the agent's own store.
pub(crate) async fn foresee(config: &SwapBinary, cx: &Cx<'_>) -> Vec<Problem> {
    let rule = match cx.host.policy.may_swap(&config.path, &cx.section.component) {
        Ok(rule) => rule.clone(),
        Err(problem) => return vec![problem],
    };
    let mut problems: Vec<Problem> = is_nobodys(config, &rule).await.err().into_iter().collect();
    let new_bytes = cx.section.artifact.as_ref().map_or(0, |artifact| artifact.size);
    let looked = look(config, cx, rule, move |place, target| place.room(new_bytes, target.size())).await;
    problems.extend(looked.err());
    problems
}

/// No package owns the file, or the policy permits that one does.
async fn is_nobodys(config: &SwapBinary, rule: &BinaryRule) -> Result<(), Problem> {
    if rule.allow_package_owned {
        return Ok(());
    }
    let Some(package) = owner::package_of(&config.path).await? else { return Ok(()) };
    Err(Problem::new(format!("{} belongs to a package ({package}), which would put its own back", config.path))
        .next(format!(
            "upgrade the package instead, or install outside of it; if that is meant: allow_package_owned = true under \
             [binaries.\"{}\"] in this node's policy",
            config.path
        )))
}

/// Opens place and target, as strictly as an exchange does, and looks at more.
async fn look(
    config: &SwapBinary,
    cx: &Cx<'_>,
    rule: BinaryRule,
    more: impl FnOnce(&Place, &files::Target) -> Result<(), FileError> + Send + 'static,
) -> Result<Seen, Problem> {
    let (path, effect) = (config.path.clone(), cx.section.effect);
    blocking(move || {
        let place = Place::open(&path, effect)?;
        let target = place.target(&rule)?;
        more(&place, &target)?;
        Ok::<_, FileError>(Seen {
            old_sha256: target.sha256(path.as_str().as_ref())?,
            old_inode: target.id().ino,
            kept: place.kept()?,
        })
    })
    .await
}

fn stored(cx: &Cx<'_>, artifact: &ArtifactRef) -> Result<PathBuf, Problem> {
    cx.host.artifacts.verified(artifact).ok_or_else(|| {
        Problem::new(format!("the artifact {} is not in the agent's store", artifact.sha256.short()))
            .next("stage it first: the recipe needs fetchArtifact under `stage:`")
    })
}

/// File work that changes something: dropping this gives it up, up to the moment in which the file changes.
async fn stoppable<T: Send + 'static>(
    stop: Stop,
    work: impl FnOnce(Stop) -> Result<T, FileError> + Send + 'static,
) -> Result<T, Problem> {
    let _dropped = stop.on_drop();
    blocking(move || work(stop)).await
}

/// What ends an exchange beside its own deadline: the reverter, which claims the change before it takes the
/// directory's lock.
fn unless_taken_back(cx: &Cx<'_>) -> Stop {
    if cx.section.commit_confirmed.is_none() {
        return Stop::default();
    }
    let (place, effect) = (Reverts::of(&cx.host.state_dir), cx.section.effect);
    Stop::once(move || match place.state() {
        Ok(State::Reverting(plan)) if plan.effect == effect => Some("it is being taken back".into()),
        Ok(State::Reverted(report)) if report.effect == effect => Some("it was taken back".into()),
        Ok(_) => None,
        Err(problem) => Some(format!("whether it is being taken back cannot be seen: {problem}")),
    })
}

#[async_trait]
impl Action for Swap<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        demand(self.0, cx).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let rule = cx.host.policy.may_swap(&self.0.path, &cx.section.component)?.clone();
        let (artifact, _) = trust::judge(&cx.host.policy, cx.section)?;
        let seen = look(self.0, cx, rule, |_, _| Ok(())).await?;
        Note::of(&Before {
            path: self.0.path.clone(),
            old_sha256: seen.old_sha256,
            old_inode: seen.old_inode,
            new_sha256: artifact.sha256,
            kept: seen.kept,
        })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        let rule = cx.host.policy.may_swap(&self.0.path, &cx.section.component)?.clone();
        let (artifact, _) = trust::judge(&cx.host.policy, cx.section)?;
        if artifact.sha256 != before.new_sha256 || before.path != self.0.path {
            return Err(Problem::new("the journal's note is of another exchange than this step's"));
        }
        let source = stored(cx, artifact)?;
        let (effect, work) = (cx.section.effect, before.clone());
        let stop = unless_taken_back(cx);
        stoppable(stop, move |stop| exchange(&work, effect, &rule, &source, stop)).await?;
        Ok(vec![swapped(&before)])
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        let before: Before = match note.read() {
            Ok(before) => before,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        let (path, effect) = (before.path.clone(), cx.section.effect);
        let there = blocking(move || {
            let place = Place::open(&path, effect)?;
            let there = place.digest()?;
            // What a crash between the exchange and its end left: the displaced file's spare name.
            if there == Some(before.new_sha256) && before.old_sha256 != before.new_sha256 {
                place.tidy()?;
            }
            Ok::<_, FileError>(there)
        });
        match there.await {
            Ok(Some(found)) if found == before.new_sha256 => Found::Done,
            Ok(Some(found)) if found == before.old_sha256 => Found::NotBegun,
            Ok(Some(found)) => Found::Undecidable(format!(
                "{} has digest {}, which is neither the old file's ({}) nor the new one's ({})",
                before.path,
                found.short(),
                before.old_sha256.short(),
                before.new_sha256.short()
            )),
            Ok(None) => Found::Undecidable(format!(
                "{} is gone; the old file is kept as {}",
                before.path, before.kept
            )),
            Err(problem) => Found::Undecidable(problem.what),
        }
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        if before.old_sha256 == before.new_sha256 {
            return Ok(Vec::new());
        }
        let (work, effect) = (before.clone(), cx.section.effect);
        let restored = stoppable(Stop::default(), move |stop| {
            Place::open(&work.path, effect)?.until(stop).restore(work.old_sha256, work.new_sha256)
        })
        .await?;
        // What was displaced is not kept beside the binary; its bytes are in the store.
        let store = cx.section.artifact.as_ref().and_then(|artifact| cx.host.artifacts.verified(artifact));
        let kept = store.and_then(|path| AbsPath::parse(&path.display().to_string()).ok());
        Ok(match kept {
            Some(kept) if restored => vec![Evidence::Swapped {
                path: before.path,
                old_sha256: before.new_sha256,
                new_sha256: before.old_sha256,
                kept,
            }],
            _ => Vec::new(),
        })
    }
}

fn swapped(before: &Before) -> Evidence {
    Evidence::Swapped {
        path: before.path.clone(),
        old_sha256: before.old_sha256,
        new_sha256: before.new_sha256,
        kept: before.kept.clone(),
    }
}

/// The whole exchange, on the files that the note names and no others.
fn exchange(
    before: &Before,
    effect: drydock_types::EffectId,
    rule: &BinaryRule,
    source: &std::path::Path,
    stop: Stop,
) -> Result<(), FileError> {
    let place = Place::open(&before.path, effect)?.until(stop);
    let target = place.target(rule)?;
    let found = target.sha256(before.path.as_str().as_ref())?;
    if found == before.new_sha256 {
        return Ok(());
    }
    if found != before.old_sha256 || target.id().ino != before.old_inode {
        return Err(FileError::Refused {
            what: format!("{} was changed by somebody else since it was looked at", before.path),
            next: "find out who writes there, then try again".into(),
        });
    }
    let artifact = open_artifact(source)?;
    elf::check(&artifact, source, std::env::consts::ARCH)?;
    let staged = place.stage(&target, &artifact, before.new_sha256)?;
    place.exchange(&target, &staged)
}

#[cfg(test)]
pub(crate) mod tests;
