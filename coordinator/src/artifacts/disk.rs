//! What both kinds of kept files ask of the disk: room, files that are ours alone, and to be there after a
//! crash.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_types::Sha256;
use nix::{fcntl::OFlag, sys::statvfs::statvfs};
use sha2::Digest as _;

/// What stays free whatever is uploaded: the database lives on the same disk and must be able to commit.
pub(crate) const RESERVE_BYTES: u64 = 256 << 20;

/// The disk does not.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No room.
    #[error(
        "no room in {dir}: {missing_bytes} bytes are missing (of {wanted_bytes}; 256 MiB stay free for the \
         database). Free some space there and try again"
    )]
    Full {
        /// Where.
        dir: PathBuf,
        /// What was wanted.
        wanted_bytes: u64,
        /// What is missing.
        missing_bytes: u64,
    },
    /// The system says no.
    #[error("{doing} {path}: {why}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// An error of the system, with what was tried and on what.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |why| DiskError::Io { doing, path, why }
}

/// An error of writing: a full disk says how much is missing.
pub(crate) fn write_failed(path: &Path, left_bytes: u64) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |why| match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full {
            dir: path.parent().unwrap_or(&path).to_owned(),
            wanted_bytes: left_bytes,
            missing_bytes: left_bytes.saturating_sub(available(&path).unwrap_or(0)),
        },
        _ => DiskError::Io { doing: "writing", path, why },
    }
}

/// Makes a directory (0700) with all above it, if there is none.
pub(crate) fn make_dir(dir: &Path) -> Result<(), DiskError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("making", dir))
}

fn available(path: &Path) -> Option<u64> {
    let dir = if path.is_dir() { path } else { path.parent()? };
    statvfs(dir).ok().map(|space| space.blocks_available().saturating_mul(space.fragment_size()))
}

/// Is there room for so many bytes, and the reserve besides?
pub(crate) fn ensure_room(dir: &Path, wanted_bytes: u64) -> Result<(), DiskError> {
    ensure(dir, wanted_bytes, available(dir).unwrap_or(u64::MAX))
}

fn ensure(dir: &Path, wanted_bytes: u64, free_bytes: u64) -> Result<(), DiskError> {
    let missing_bytes = wanted_bytes.saturating_add(RESERVE_BYTES).saturating_sub(free_bytes);
    if missing_bytes == 0 {
        return Ok(());
    }
    Err(DiskError::Full { dir: dir.to_owned(), wanted_bytes, missing_bytes })
}

/// A file of ours to read and write (0600); a link in its place is not followed.
pub(crate) fn open_own(path: &Path, new: bool) -> Result<File, DiskError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    if new {
        options.create_new(true)
    } else {
        options.create(true).truncate(false)
    };
    options.open(path).map_err(failed("opening", path))
}

/// Gives a finished file its name, durably.
pub(crate) fn put_in_place(file: &File, part: &Path, place: &Path) -> Result<(), DiskError> {
    durable!("coordinator.file.sync", file.sync_all()).map_err(failed("syncing", part))?;
    durable!("coordinator.file.rename", std::fs::rename(part, place))
        .map_err(failed("renaming to", place))?;
    let dir = place.parent().unwrap_or(Path::new("."));
    let opened = File::open(dir).map_err(failed("opening", dir))?;
    durable!("coordinator.file.sync-dir", opened.sync_all()).map_err(failed("syncing", dir))
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(why)),
        _ => Ok(()),
    }
}

/// The digest of a file as it is on the disk.
pub(crate) fn digest(path: &Path) -> Result<Sha256, DiskError> {
    let mut file = File::open(path).map_err(failed("opening", path))?;
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed("reading", path))? {
            0 => return Ok(Sha256(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_says_how_much_is_missing_and_where() {
        let dir = Path::new("/var/lib/drydock/artifacts");
        assert!(ensure(dir, 10, RESERVE_BYTES + 10).is_ok());
        let error = ensure(dir, 10, RESERVE_BYTES + 3).unwrap_err().to_string();
        assert!(
            error.contains("7 bytes are missing") && error.contains("/var/lib/drydock/artifacts"),
            "{error}"
        );
        assert!(ensure(dir, u64::MAX, u64::MAX - 1).is_err());
    }
}
