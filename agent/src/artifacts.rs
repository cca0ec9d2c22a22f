//! Fetched and verified artifacts, named by their content.
//!
//! `<dir>/<sha256>` is whole and was verified before it got that name; `<sha256>.part` is on its way and can be
//! resumed. What turns out to be wrong (digest, signature, length) leaves nothing behind.

mod part;
pub mod trust;

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use drydock_proto::agent::FetchArtifactRequest;
use drydock_types::{ArtifactRef, Sha256};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::Code;

use self::{part::Ended, trust::Signed};
use crate::{actions::Problem, remote::Remote};

/// Bounds of a store.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that stay free on the file system whatever is fetched.
    pub reserve_bytes: u64,
    /// The largest artifact, in bytes.
    pub max_bytes: u64,
    /// A stream that brings nothing for so long is broken.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reserve_bytes: 64 << 20,
            max_bytes: drydock_proto::limits::MAX_ARTIFACT_BYTES,
            idle: Duration::from_secs(30),
        }
    }
}

/// The store. One fetch at a time.
#[derive(Debug)]
pub struct ArtifactStore {
    dir: PathBuf,
    limits: Limits,
    at_work: Mutex<()>,
}

/// A whole and verified artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes that had to be fetched this time; 0 when it was there.
    pub fetched: u64,
}

/// Why an artifact was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Larger than any artifact may be, or empty.
    #[error("an artifact of {size} bytes is refused: it must have 1 to {most}")]
    Size {
        /// As declared.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// Too little space.
    #[error("{}: {missing} bytes too few are free: {need} are needed, the reserve included, {free} are free", dir.display())]
    NoSpace {
        /// The store.
        dir: PathBuf,
        /// Bytes still to come, and the reserve.
        need: u64,
        /// Bytes free.
        free: u64,
        /// The difference.
        missing: u64,
    },
    /// The stream went on past the declared end.
    #[error(
        "the coordinator sent more than the {size} bytes that were declared of artifact {sha256}: cut off, removed"
    )]
    TooLong {
        /// Which.
        sha256: Sha256,
        /// As declared.
        size: u64,
    },
    /// The coordinator has no more, though more was declared.
    #[error("artifact {sha256} ends after {held} of the {size} bytes that were declared: truncated, removed")]
    Truncated {
        /// Which.
        sha256: Sha256,
        /// As declared.
        size: u64,
        /// What there was.
        held: u64,
    },
    /// Other bytes.
    #[error("the bytes that were sent have the digest {got}, not {want}: removed")]
    Digest {
        /// As declared.
        want: Sha256,
        /// As computed.
        got: Sha256,
        /// Part of them lay here from an earlier attempt and may be what is wrong.
        resumed: bool,
    },
    /// The right bytes, but not signed.
    #[error("the signature of artifact {sha256} is not by these bytes' signer: {why}; removed")]
    Signature {
        /// Which.
        sha256: Sha256,
        /// minisign's words.
        why: String,
    },
    /// The coordinator refused.
    #[error("the coordinator refuses artifact {sha256}: {code:?}: {message}")]
    Refused {
        /// Which.
        sha256: Sha256,
        /// gRPC's code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The stream broke; what came is kept.
    #[error("the stream of artifact {sha256} broke: {why}")]
    Broken {
        /// Which.
        sha256: Sha256,
        /// In which way.
        why: String,
    },
    /// The deadline.
    #[error("artifact {sha256} was not fetched within {within:?}; {fetched} bytes came and are kept")]
    Late {
        /// Which.
        sha256: Sha256,
        /// The deadline.
        within: Duration,
        /// Bytes of this attempt.
        fetched: u64,
    },
    /// The file system.
    #[error("{}: {source}", path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

impl FetchError {
    /// May another attempt go better?
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Digest { resumed: true, .. })
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let next = match &error {
            FetchError::NoSpace { .. } => "free space there, or prune old artifacts",
            FetchError::Store { .. } => "see that the agent's state directory can be written",
            FetchError::Broken { .. } | FetchError::Late { .. } => {
                "see the network to the coordinator; the next attempt goes on where this one ended"
            }
            FetchError::Refused { .. } => "see `drydock artifact list`",
            FetchError::Size { .. }
            | FetchError::TooLong { .. }
            | FetchError::Truncated { .. }
            | FetchError::Digest { .. }
            | FetchError::Signature { .. } => {
                "sign and add the artifact again; if nobody changed it, look for who did"
            }
        };
        Self::new(error.to_string()).next(next)
    }
}

impl ArtifactStore {
    /// In this directory, which is made (0700) when it is first needed.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { dir: dir.into(), limits, at_work: Mutex::new(()) }
    }

    /// The file of an artifact that is here, with the right size. Its digest and signature were verified before
    /// it got its name; who is about to run it reads [`ArtifactStore::prove`] instead.
    #[must_use]
    pub fn verified(&self, artifact: &ArtifactRef) -> Option<PathBuf> {
        let path = self.path(artifact.sha256);
        let right = fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() == artifact.size);
        right.then_some(path)
    }

    /// Size and space: what can be refused before the first byte.
    ///
    /// # Errors
    /// [`FetchError::Size`], [`FetchError::NoSpace`] with how much is missing.
    pub fn fits(&self, artifact: &ArtifactRef) -> Result<(), FetchError> {
        let Limits { max_bytes: most, reserve_bytes, .. } = self.limits;
        if artifact.size == 0 || artifact.size > most {
            return Err(FetchError::Size { size: artifact.size, most });
        }
        if self.verified(artifact).is_some() {
            return Ok(());
        }
        let held = fs::symlink_metadata(self.part(artifact.sha256)).map_or(0, |meta| meta.len());
        let need = artifact.size.saturating_sub(held).saturating_add(reserve_bytes);
        // What lies here for others is removed before anything is fetched.
        let free = free_bytes(&self.dir).map_err(|source| self.store(&self.dir, source))?;
        let free = free.saturating_add(self.others_bytes(artifact.sha256));
        if free < need {
            return Err(FetchError::NoSpace { dir: self.dir.clone(), need, free, missing: need - free });
        }
        Ok(())
    }

    /// Reads an artifact that is here once more: digest and signature. One that is wrong is removed.
    ///
    /// # Errors
    /// When it is not here, or not what it was.
    pub async fn prove(&self, artifact: &ArtifactRef, signed: &Signed) -> Result<PathBuf, FetchError> {
        let path = self.path(artifact.sha256);
        let (at, sha256, size, signed) = (path.clone(), artifact.sha256, artifact.size, signed.clone());
        blocking(&path, move || part::prove(&at, sha256, size, &signed)).await?;
        Ok(path)
    }

    /// Brings an artifact here: what is here is proven again; what is missing is fetched, resumed after each
    /// break until `within` is over, never past its declared size. `progress`: bytes here, bytes in all.
    ///
    /// # Errors
    /// [`FetchError`]; unless the network broke, nothing is left behind.
    pub async fn fetch(
        &self,
        remote: &Remote,
        artifact: &ArtifactRef,
        signed: &Signed,
        within: Duration,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Fetched, FetchError> {
        let sha256 = artifact.sha256;
        let fetched = AtomicU64::new(0);
        let work = async {
            let _alone = self.at_work.lock().await;
            if self.verified(artifact).is_some() {
                match self.prove(artifact, signed).await {
                    // Went bad on the disk and was removed: it is fetched again.
                    Err(FetchError::Digest { .. } | FetchError::Truncated { .. }) => {}
                    proven => return proven,
                }
            }
            self.fits(artifact)?;
            let attempt = || self.attempt(remote, artifact, signed, &fetched, progress, within);
            let pauses = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(5))
                .with_jitter()
                .without_max_times();
            attempt.retry(pauses).when(FetchError::may_pass).await
        };
        let begun = Instant::now();
        let ended = timeout(within, work).await;
        let fetched = fetched.load(Ordering::Relaxed);
        tracing::debug!(%sha256, fetched, took = ?begun.elapsed(), "artifact");
        let path = ended.map_err(|_| FetchError::Late { sha256, within, fetched })??;
        Ok(Fetched { path, fetched })
    }

    /// One stream, from where the last one ended.
    async fn attempt(
        &self,
        remote: &Remote,
        artifact: &ArtifactRef,
        signed: &Signed,
        fetched: &AtomicU64,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        within: Duration,
    ) -> Result<PathBuf, FetchError> {
        let ArtifactRef { sha256, size, .. } = *artifact;
        let broken = |why: String| FetchError::Broken { sha256, why };
        let mut sink = part::Sink::open(self.part(sha256), self.path(sha256), sha256, size, signed.clone());
        let Some(offset) = sink.offset().await else { return sink.end().await.map(|_| self.path(sha256)) };
        let mut here = offset;
        progress(here, size);
        let mut complaint = None;
        if offset < size {
            let request = FetchArtifactRequest { sha256: sha256.0.to_vec(), offset };
            let mut client = remote.client(within).await.map_err(|error| broken(error.to_string()))?;
            let opened = timeout(self.limits.idle, client.fetch_artifact(request)).await;
            let opened = opened.map_err(|_| broken("no answer".into()))?;
            let mut stream = opened.map_err(|status| refusal(sha256, &status))?.into_inner();
            loop {
                match timeout(self.limits.idle, stream.message()).await {
                    Err(_) => complaint = Some(broken(format!("nothing came for {:?}", self.limits.idle))),
                    Ok(Err(status)) => complaint = Some(refusal(sha256, &status)),
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some(chunk))) => {
                        here += chunk.data.len() as u64;
                        fetched.fetch_add(chunk.data.len() as u64, Ordering::Relaxed);
                        progress(here.min(size), size);
                        if sink.put(chunk.data).await {
                            continue;
                        }
                    }
                }
                break;
            }
        }
        match (sink.end().await?, complaint) {
            (Ended::Whole, _) => Ok(self.path(sha256)),
            (Ended::Short(_), Some(complaint)) => Err(complaint),
            // Ended in order, and short: with nothing new there is no more to come.
            (Ended::Short(held), None) if held == offset => {
                part::remove(&self.part(sha256));
                Err(FetchError::Truncated { sha256, size, held })
            }
            (Ended::Short(held), None) => Err(broken(format!("it ended after {held} of {size} bytes"))),
        }
    }

    /// Removes everything but these, whole or on its way.
    ///
    /// # Errors
    /// When the directory cannot be read or a file not removed.
    pub fn prune(&self, keep: &BTreeSet<Sha256>) -> std::io::Result<Vec<Sha256>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut gone = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What does not bear a digest's name is not ours to remove.
            let Some(sha256) = named(&entry.file_name()) else { continue };
            if !keep.contains(&sha256) {
                fs::remove_file(entry.path())?;
                gone.push(sha256);
            }
        }
        Ok(gone)
    }

    /// Bytes that [`ArtifactStore::prune`] would free if it kept this one alone.
    fn others_bytes(&self, kept: Sha256) -> u64 {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let others = entries.filter(|entry| named(&entry.file_name()).is_some_and(|other| other != kept));
        others.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }

    fn path(&self, sha256: Sha256) -> PathBuf {
        self.dir.join(sha256.to_string())
    }

    fn part(&self, sha256: Sha256) -> PathBuf {
        self.dir.join(format!("{sha256}.part"))
    }

    fn store(&self, path: &Path, source: std::io::Error) -> FetchError {
        FetchError::Store { path: path.to_owned(), source }
    }
}

/// The artifact that a file of the store is, or is on its way to be.
fn named(file: &std::ffi::OsStr) -> Option<Sha256> {
    let name = file.to_str()?;
    Sha256::parse(name.strip_suffix(".part").unwrap_or(name)).ok()
}

fn refusal(sha256: Sha256, status: &tonic::Status) -> FetchError {
    let message: String = status.message().chars().take(300).collect();
    match status.code() {
        code @ (Code::NotFound
        | Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented) => FetchError::Refused { sha256, code, message },
        code => FetchError::Broken { sha256, why: format!("{code:?}: {message}") },
    }
}

/// Bytes that this process may still write below `path`, or below its nearest ancestor that exists.
///
/// # Errors
/// When the file system does not say.
pub(crate) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(there)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let lost = |error| FetchError::Store { path: path.to_owned(), source: std::io::Error::other(error) };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

#[cfg(test)]
pub(crate) mod tests;
