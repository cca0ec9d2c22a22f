//! Fetches the section's artifact into the agent's store: resumed, cut at its declared size, digest and signature
//! verified against *this node's* keys.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use async_trait::async_trait;
use drydock_types::{Section, outcome::Evidence};

use super::{Action, Cx, Found, Note, Problem};
use crate::{artifacts::trust, host::Host};

/// Fetches it.
#[derive(Debug)]
pub struct Fetch;

/// The section's artifact, here and proven again for *this* section: label, floor, key, digest, signature. What is
/// about to be put in a binary's place comes from here, so that no section can use what was fetched for another.
///
/// # Errors
/// When it is not here, or is not what this section may use.
pub async fn proven(host: &Host, section: &Section) -> Result<PathBuf, Problem> {
    let (artifact, signed) = trust::judge(&host.policy, section)?;
    if host.artifacts.verified(artifact).is_none() {
        let what = format!("artifact {} is not on this node", artifact.sha256.short());
        return Err(
            Problem::new(what).next("the stage section fetches it: let the run stage this node again")
        );
    }
    Ok(host.artifacts.prove(artifact, &signed).await?)
}

#[async_trait]
impl Action for Fetch {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let (artifact, _) = trust::judge(&cx.host.policy, cx.section)?;
        Ok(cx.host.artifacts.fits(artifact)?)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (artifact, signed) = trust::judge(&cx.host.policy, cx.section)?;
        let within = Duration::from_millis(cx.section.deadline.0);
        let store = &cx.host.artifacts;
        // One section at a time, and each proves its own artifact: what others left only fills the disk.
        match store.prune(&BTreeSet::from([artifact.sha256])) {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(artifacts = gone.len(), "removed what earlier sections had fetched"),
            Err(error) => tracing::warn!(%error, "artifacts of earlier sections could not be removed"),
        }
        let fetched = store.fetch(&cx.host.remote, artifact, &signed, within, cx.progress).await?.fetched;
        Ok(vec![Evidence::Artifact { sha256: artifact.sha256, size: artifact.size, fetched }])
    }

    /// What came before a crash is resumed.
    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        match proven(cx.host, cx.section).await {
            Ok(_) => Found::Done,
            Err(_) => Found::NotBegun,
        }
    }

    /// A verified artifact harms nobody and serves the next attempt; the next one that is fetched prunes it.
    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use drydock_types::Sha256;

    use super::*;
    use crate::actions::swap_binary::tests::bench_with;

    #[tokio::test]
    async fn what_earlier_sections_fetched_goes_before_anything_is_fetched() {
        let bench = bench_with("[]", "");
        let store = bench.host.state_dir.join("store");
        let own = bench.section.artifact.clone().unwrap().sha256;
        for old in [format!("{}", Sha256::of(b"old")), format!("{}.part", Sha256::of(b"broken off"))] {
            fs::write(store.join(old), b"old").unwrap();
        }
        let cx = bench.cx();
        let seen = Fetch.apply(&cx, &Note::none()).await.unwrap();
        assert!(matches!(seen.as_slice(), [Evidence::Artifact { fetched: 0, .. }]), "{seen:?}");
        let left: Vec<String> = fs::read_dir(&store)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, [own.to_string()]);
    }
}
