//! Artifacts: files named by their digest, `<state>/artifacts/<sha256>`, and rows that say what they are.
//!
//! A file gets its name only when every byte is there and has the digest; what is on its way is `*.part`
//! and is swept at a start. Nothing is ever unpacked. The signature is kept and its trusted comment
//! compared; whose signature it is, is the *agents'* to judge, by their own keys.

pub(crate) mod disk;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use drydock_failpoint::durable;
use drydock_proto::limits::{CHUNK_BYTES, MAX_ARTIFACT_BYTES};
use drydock_types::{Sha256, section::ArtifactLabel};
use sha2::Digest as _;

pub use self::disk::DiskError;
pub use crate::store::registry::ArtifactRow;
use crate::store::{
    StoreError,
    registry::{Registry, RegistryError},
};

/// A signature file is never larger: two comments and two lines.
const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// Why an artifact was not taken or not given. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Larger than any may be.
    #[error("the artifact has {size} bytes; {MAX_ARTIFACT_BYTES} are the most, and it is not empty")]
    Size {
        /// As it was declared.
        size: u64,
    },
    /// The signature file.
    #[error(
        "the signature is not a minisign signature of an artifact: {0}; sign it with `drydock artifact sign`"
    )]
    Signature(String),
    /// The signature is of something else.
    #[error("the signature is of another file: it says {said}, the artifact has {has}")]
    OtherFile {
        /// Digest and size by the signature.
        said: String,
        /// Digest and size as declared.
        has: String,
    },
    /// More came than was declared.
    #[error("the artifact is longer than the {declared} bytes that were declared; it was not kept")]
    TooLong {
        /// What was declared.
        declared: u64,
    },
    /// Less came than was declared.
    #[error("the artifact ended after {came} of {declared} bytes; it was not kept: send it again")]
    Truncated {
        /// What came.
        came: u64,
        /// What was declared.
        declared: u64,
    },
    /// Other bytes came than were declared.
    #[error("the artifact's SHA-256 is {is}, not {declared}; it was not kept: send it again")]
    WrongDigest {
        /// Of what came.
        is: Sha256,
        /// What was declared.
        declared: Sha256,
    },
    /// Not here.
    #[error(
        "there is no artifact {0}: `drydock artifact list` shows those that are, `drydock artifact add` adds one"
    )]
    Unknown(Sha256),
    /// An offset behind the end.
    #[error("the artifact {sha256:?} has {size} bytes, there is nothing at offset {offset}")]
    Offset {
        /// Which.
        sha256: Sha256,
        /// Its size.
        size: u64,
        /// What was asked for.
        offset: u64,
    },
    /// The file is not what the index says.
    #[error("the file of artifact {sha256:?} has {found} bytes where {size} are due: add the artifact again")]
    Damaged {
        /// Which.
        sha256: Sha256,
        /// What is there.
        found: u64,
        /// What is due.
        size: u64,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index.
    #[error(transparent)]
    Index(#[from] RegistryError),
}

impl From<StoreError> for ArtifactError {
    fn from(error: StoreError) -> Self {
        Self::Index(error.into())
    }
}

/// What is said of an artifact before its bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactHeader {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The whole minisign signature file.
    pub signature: String,
    /// The operator who adds it.
    pub added_by: String,
}

impl ArtifactHeader {
    /// What the signature says that it is, once it says the same digest and size.
    fn label(&self) -> Result<ArtifactLabel, ArtifactError> {
        if self.size == 0 || self.size > MAX_ARTIFACT_BYTES {
            return Err(ArtifactError::Size { size: self.size });
        }
        let bad = |why: String| ArtifactError::Signature(why);
        if self.signature.len() > MAX_SIGNATURE_BYTES {
            return Err(bad(format!("it has {} bytes", self.signature.len())));
        }
        let signature =
            minisign_verify::Signature::decode(&self.signature).map_err(|why| bad(why.to_string()))?;
        let comment = signature.trusted_comment();
        let label = ArtifactLabel::from_comment(comment).map_err(|why| bad(why.to_string()))?;
        if (label.sha256, label.size) == (self.sha256, self.size) {
            return Ok(label);
        }
        let said = format!("{} of {} bytes", label.sha256, label.size);
        Err(ArtifactError::OtherFile { said, has: format!("{} of {} bytes", self.sha256, self.size) })
    }
}

/// The coordinator's artifacts. Cheap to clone; every method blocks.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
    registry: Registry,
}

impl Artifacts {
    /// Opens (or makes) the directory and sweeps what was on its way when the last coordinator ended.
    ///
    /// # Errors
    /// When the directory cannot be made or swept.
    pub fn open(dir: &Path, registry: Registry) -> Result<Self, DiskError> {
        disk::make_dir(dir)?;
        for entry in std::fs::read_dir(dir).map_err(disk::failed("listing", dir))? {
            let path = entry.map_err(disk::failed("listing", dir))?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                disk::remove(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), registry })
    }

    fn place(&self, sha256: Sha256) -> PathBuf {
        self.dir.join(sha256.to_string())
    }

    /// An artifact is announced: everything that can be judged before its bytes come is judged here.
    ///
    /// # Errors
    /// When it is too large, its signature is none or another file's, or there is no room.
    pub fn begin(&self, header: ArtifactHeader) -> Result<Incoming, ArtifactError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let label = header.label()?;
        disk::ensure_room(&self.dir, header.size)?;
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = Part(self.dir.join(format!("{}.{}-{nth}.part", header.sha256, std::process::id())));
        let file = disk::open_own(&part.0, true)?;
        let (place, registry) = (self.place(header.sha256), self.registry.clone());
        Ok(Incoming { part, file, place, registry, header, label, came: 0, hash: sha2::Sha256::new() })
    }

    /// Is exactly this here already, so that its bytes need not come again? Believed only after the file has
    /// been read: adding an artifact again is how a damaged one is mended, and a new signature is a reason to
    /// add it too.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn already(&self, header: &ArtifactHeader) -> Result<Option<ArtifactRow>, StoreError> {
        let row = self.registry.artifact(header.sha256)?;
        let row = row.filter(|row| (row.size, &row.signature) == (header.size, &header.signature));
        let whole =
            |row: &ArtifactRow| disk::digest(&self.place(row.sha256)).is_ok_and(|is| is == row.sha256);
        Ok(row.filter(whole))
    }

    /// An artifact's bytes from an offset on.
    ///
    /// # Errors
    /// When it is not here, its file is damaged, or there is nothing at the offset.
    pub fn open_at(&self, sha256: Sha256, offset: u64) -> Result<ArtifactReader, ArtifactError> {
        let row = self.registry.artifact(sha256)?.ok_or(ArtifactError::Unknown(sha256))?;
        let (place, size) = (self.place(sha256), row.size);
        if offset > size {
            return Err(ArtifactError::Offset { sha256, size, offset });
        }
        let mut file = File::open(&place).map_err(disk::failed("opening", &place))?;
        let found = file.metadata().map_err(disk::failed("reading", &place))?.len();
        if found != size {
            return Err(ArtifactError::Damaged { sha256, found, size });
        }
        file.seek(SeekFrom::Start(offset)).map_err(disk::failed("reading", &place))?;
        Ok(ArtifactReader { file, place, row, left: size - offset })
    }

    /// What is here, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self, most: u32) -> Result<Vec<ArtifactRow>, StoreError> {
        self.registry.artifacts(most)
    }
}

/// A file on its way: gone when it is dropped, unless it has got its name.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed: nothing there. Otherwise: swept at the next start if it cannot be removed now.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An artifact whose bytes are coming. Dropped before [`Incoming::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    part: Part,
    file: File,
    place: PathBuf,
    registry: Registry,
    header: ArtifactHeader,
    label: ArtifactLabel,
    came: u64,
    hash: sha2::Sha256,
}

impl Incoming {
    /// The next bytes.
    ///
    /// # Errors
    /// When they are more than was declared, or the disk says no.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        let declared = self.header.size;
        let left = declared - self.came;
        if chunk.len() as u64 > left {
            return Err(ArtifactError::TooLong { declared });
        }
        durable!("coordinator.artifact.write", self.file.write_all(chunk))
            .map_err(disk::write_failed(&self.part.0, left))?;
        self.hash.update(chunk);
        self.came += chunk.len() as u64;
        Ok(())
    }

    /// That was all: verifies, and makes it an artifact. Durable when this returns.
    ///
    /// # Errors
    /// When bytes are missing or others than declared, or the disk or the index says no.
    pub fn finish(self, now_unix_ms: u64) -> Result<ArtifactRow, ArtifactError> {
        let Self { part, file, place, registry, header, label, came, hash } = self;
        if came != header.size {
            return Err(ArtifactError::Truncated { came, declared: header.size });
        }
        let is = Sha256(hash.finalize().into());
        if is != header.sha256 {
            return Err(ArtifactError::WrongDigest { is, declared: header.sha256 });
        }
        let row = ArtifactRow {
            sha256: is,
            size: came,
            component: label.component,
            version: label.version,
            os: label.os,
            arch: label.arch,
            signature: header.signature,
            added_by: header.added_by,
            added_unix_ms: now_unix_ms,
        };
        // The file first: a row without a file would be a promise; a file without a row is only bytes.
        disk::put_in_place(&file, &part.0, &place)?;
        registry.insert_artifact(&row)?;
        Ok(row)
    }
}

/// An artifact's bytes, chunk by chunk.
#[derive(Debug)]
pub struct ArtifactReader {
    file: File,
    place: PathBuf,
    row: ArtifactRow,
    left: u64,
}

impl ArtifactReader {
    /// What it is.
    #[must_use]
    pub fn row(&self) -> &ArtifactRow {
        &self.row
    }

    /// The next bytes, [`CHUNK_BYTES`] at most; `None` at the end.
    ///
    /// # Errors
    /// When the disk cannot be read, or the file has become shorter.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, DiskError> {
        let length = CHUNK_BYTES.min(usize::try_from(self.left).unwrap_or(CHUNK_BYTES));
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; length];
        self.file.read_exact(&mut chunk).map_err(disk::failed("reading", &self.place))?;
        self.left -= length as u64;
        Ok(Some(chunk))
    }
}
