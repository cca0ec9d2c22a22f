//! The file system's sharp edges: exchanging a binary that runs, so that at any instant either the old or
//! the new one lies there whole, and nobody can slip another file in between.
//!
//! The order of an exchange: [`Place::open`] (parents) → [`Place::target`] (the file itself) →
//! [`Place::stage`] (the new one beside it, the old one kept as a hard link) → [`Place::exchange`]. What
//! lies there after a crash is told by its digest ([`Place::digest`]); [`Place::restore`] takes it back. The last two
//! exclude each other, over processes, and ask [`Stop`] right before they change the target.
//!
//! All of this blocks: call it within `spawn_blocking`.

mod attributes;
pub mod elf;
pub mod kept;
mod lock;
pub mod owner;
mod place;
mod put;
mod restore;
mod swap;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use drydock_types::Sha256;
use sha2::Digest as _;

pub use self::{
    lock::{Stop, StopOnDrop},
    place::{Place, Target},
    swap::{Staged, open_artifact},
};
use crate::actions::Problem;

/// Files are read and written in pieces of this many bytes: the agent stays small.
pub const PIECE: usize = 64 << 10;

/// Bytes that stay free on the target's file system beyond the copies.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Why a file was not exchanged. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused a call.
    #[error("{path}: {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It may not be done as things are.
    #[error("{what}")]
    Refused {
        /// What is wrong with what.
        what: String,
        /// What a person can do about it.
        next: String,
    },
}

impl FileError {
    fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), next: next.into() }
    }

    /// Maps the system's word, with what was being done to what.
    fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Io { doing, path: path.into(), source: error.into() }
    }

    /// Is there nothing of that name?
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The errors of both kinds of calls are one kind.
fn io_result<T>(done: nix::Result<T>) -> io::Result<T> {
    done.map_err(io::Error::from)
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let what = error.to_string();
        match error {
            FileError::Refused { next, .. } => Self::new(what).next(next),
            FileError::Io { .. } => Self::new(what),
        }
    }
}

/// The digest of an open file from its beginning to its end.
///
/// # Errors
/// When it cannot be read.
pub fn hash(file: &File) -> io::Result<Sha256> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut hash = sha2::Sha256::new();
    let mut piece = vec![0u8; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(Sha256(hash.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&piece[..read]);
    }
}

/// Bytes that are free for the agent on the file system of this path (root's own reserve is not counted).
///
/// # Errors
/// When the path cannot be looked at.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(bytes(stat.blocks_available(), stat.fragment_size()))
}

/// Blocks times their size; the types of both differ between architectures.
fn bytes(blocks: impl Into<u64>, size: impl Into<u64>) -> u64 {
    blocks.into().saturating_mul(size.into())
}

#[cfg(test)]
pub(crate) mod tests;
