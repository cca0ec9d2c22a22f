//! Backups: encrypted files that nodes left here, `<state>/backups/<node>/<effect8>-<component>.age`.
//!
//! The coordinator cannot read them: they are encrypted to a recipient of the node's own policy. It counts,
//! compares and keeps. An upload goes on where it stopped, also after a restart; room is taken from the
//! node's quota when it is announced. Whose backup it is, the caller says from the certificate, so that a
//! node can reach only its own.

#[cfg(test)]
mod tests;

use std::{
    fs::{File, TryLockError},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_proto::limits::{BACKUP_QUOTA_BYTES, MAX_BACKUP_BYTES};
use drydock_types::{ComponentName, EffectId, NodeName, Sha256};

pub use crate::store::registry::BackupRow;
use crate::{
    artifacts::disk::{self, DiskError},
    store::{
        StoreError,
        registry::{Refusal, Registry, RegistryError, Reservation},
    },
};

/// Why a backup was not taken. What was here before is as it was, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Larger than any may be.
    #[error("the backup has {size} bytes; {MAX_BACKUP_BYTES} are the most, and it is not empty")]
    Size {
        /// As it was declared.
        size: u64,
    },
    /// Not where the last upload stopped.
    #[error("the backup is held up to byte {held}, and the upload begins at {offset}: go on at {held}")]
    Offset {
        /// What is here.
        held: u64,
        /// What was announced.
        offset: u64,
    },
    /// Another stream.
    #[error("another upload of this backup is under way: wait for it to end, then ask how much is held")]
    Busy,
    /// More came than was declared.
    #[error("the backup is longer than the {declared} bytes that were declared")]
    TooLong {
        /// What was declared.
        declared: u64,
    },
    /// Other bytes came than were declared.
    #[error(
        "the backup's SHA-256 is {is}, not {declared}; nothing of it was kept: send it from the beginning"
    )]
    WrongDigest {
        /// Of what came.
        is: Sha256,
        /// What was declared.
        declared: Sha256,
    },
    /// Another effect's backup has the name.
    #[error("{0} exists and is another backup: a person must look at it and move it away")]
    NameTaken(PathBuf),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Quota, or a whole backup of other bytes.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The index.
    #[error(transparent)]
    Index(#[from] StoreError),
}

impl From<RegistryError> for BackupError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Index(error),
            RegistryError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// What is said of a backup before its bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHeader {
    /// Of which section.
    pub effect: EffectId,
    /// Of which component.
    pub component: ComponentName,
    /// Digest of the encrypted file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// How much of a backup is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bytes, from the beginning.
    pub held: u64,
    /// Every byte, verified, durable.
    pub complete: bool,
}

/// What begins when a node wants to send a backup.
#[derive(Debug)]
pub enum Begun {
    /// It is here already.
    Complete(Held),
    /// Its bytes, please.
    Upload(Upload),
}

/// The nodes' backups. Cheap to clone; every method blocks.
#[derive(Debug, Clone)]
pub struct Backups {
    dir: PathBuf,
    registry: Registry,
    quota_bytes: u64,
}

impl Backups {
    /// Opens (or makes) the directory. Uploads that were cut short stay, to go on.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path, registry: Registry) -> Result<Self, DiskError> {
        disk::make_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), registry, quota_bytes: BACKUP_QUOTA_BYTES })
    }

    /// Another quota than [`BACKUP_QUOTA_BYTES`] for every node.
    #[must_use]
    pub fn with_quota(self, quota_bytes: u64) -> Self {
        Self { quota_bytes, ..self }
    }

    /// A whole backup's file. Node and component names hold no slash and do not begin with a dot.
    fn place(&self, row: &BackupRow) -> PathBuf {
        self.dir.join(row.node.as_str()).join(file_name(row))
    }

    /// The file while it is on its way: of the whole effect id, so that no two meet.
    fn part(&self, row: &BackupRow) -> PathBuf {
        self.dir.join(row.node.as_str()).join(format!("{}.part", row.effect))
    }

    fn held(&self, row: &BackupRow) -> Result<Held, DiskError> {
        if row.complete {
            return Ok(Held { held: row.size, complete: true });
        }
        let part = self.part(row);
        match std::fs::symlink_metadata(&part) {
            Ok(about) => Ok(Held { held: about.len().min(row.size), complete: false }),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Held { held: 0, complete: false }),
            Err(why) => Err(disk::failed("reading", &part)(why)),
        }
    }

    /// How much of exactly this backup of this node is here.
    ///
    /// # Errors
    /// When the disk or the index cannot be read.
    pub fn stat(
        &self,
        node: &NodeName,
        effect: EffectId,
        sha256: Sha256,
        size: u64,
    ) -> Result<Held, BackupError> {
        match self.registry.backup(node, effect)? {
            Some(row) if (row.sha256, row.size) == (sha256, size) => Ok(self.held(&row)?),
            _ => Ok(Held { held: 0, complete: false }),
        }
    }

    /// A node announces a backup, or that it goes on with one at `offset`.
    ///
    /// # Errors
    /// When it is too large, over the node's quota or the disk's room, not at the held offset, or another
    /// upload of it is under way.
    pub fn begin(
        &self,
        node: &NodeName,
        header: &BackupHeader,
        offset: u64,
        now_unix_ms: u64,
    ) -> Result<Begun, BackupError> {
        if header.size == 0 || header.size > MAX_BACKUP_BYTES {
            return Err(BackupError::Size { size: header.size });
        }
        let row = BackupRow {
            node: node.clone(),
            effect: header.effect,
            component: header.component.clone(),
            sha256: header.sha256,
            size: header.size,
            complete: false,
            at_unix_ms: now_unix_ms,
        };
        let part = self.part(&row);
        disk::make_dir(part.parent().unwrap_or(&self.dir))?;
        let file = lock(disk::open_own(&part, false)?, &part)?;
        match self.registry.reserve_backup(&row, self.quota_bytes) {
            Ok(Reservation::Begun) => {}
            Ok(Reservation::New | Reservation::Replaced) => {
                durable!("coordinator.backup.begin-anew", file.set_len(0))
                    .map_err(disk::failed("emptying", &part))?;
            }
            Ok(Reservation::Complete) => {
                disk::remove(&part)?;
                return Ok(Begun::Complete(Held { held: row.size, complete: true }));
            }
            Err(error) => {
                remove_if_empty(&file, &part)?;
                return Err(error.into());
            }
        }
        let place = self.place(&row);
        let upload = Upload { file, part, place, registry: self.registry.clone(), row, held: 0 };
        Ok(Begun::Upload(upload.seek(offset)?))
    }

    /// A node's backups, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self, node: &NodeName) -> Result<Vec<BackupRow>, StoreError> {
        self.registry.backups(node)
    }

    /// Where a whole backup is, for an operator who wants to fetch it.
    #[must_use]
    pub fn path_of(&self, row: &BackupRow) -> Option<PathBuf> {
        row.complete.then(|| self.place(row))
    }

    /// Removes a backup, whole or not; its room is the node's again. An operator's decision.
    ///
    /// # Errors
    /// When an upload of it is under way, or the disk or the index says no.
    pub fn remove(&self, node: &NodeName, effect: EffectId) -> Result<bool, BackupError> {
        let Some(row) = self.registry.backup(node, effect)? else { return Ok(false) };
        let part = self.part(&row);
        let _locked = match File::open(&part) {
            Ok(file) => Some(lock(file, &part)?),
            Err(_) => None,
        };
        // The row last: a removal that is cut short can be asked for again.
        if row.complete {
            disk::remove(&self.place(&row))?;
        }
        disk::remove(&part)?;
        self.registry.remove_backup(node, effect)?;
        Ok(true)
    }
}

fn file_name(row: &BackupRow) -> String {
    format!("{}-{}.age", row.effect.short(), row.component)
}

fn lock(file: File, part: &Path) -> Result<File, BackupError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BackupError::Busy),
        Err(TryLockError::Error(why)) => return Err(disk::failed("locking", part)(why).into()),
    }
    // Whoever had the lock may have ended and taken the file's name away between our opening and locking.
    let ours = file.metadata().map_err(disk::failed("reading", part))?;
    match std::fs::symlink_metadata(part) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(file),
        _ => Err(BackupError::Busy),
    }
}

/// A refused announcement leaves no file; a part that was begun under an earlier one stays.
fn remove_if_empty(file: &File, part: &Path) -> Result<(), DiskError> {
    match file.metadata() {
        Ok(about) if about.len() == 0 => disk::remove(part),
        _ => Ok(()),
    }
}

/// A backup whose bytes are coming; nobody else can write to it meanwhile. Dropped, it can be gone on with.
#[derive(Debug)]
pub struct Upload {
    file: File,
    part: PathBuf,
    place: PathBuf,
    registry: Registry,
    row: BackupRow,
    held: u64,
}

impl Upload {
    fn seek(mut self, offset: u64) -> Result<Self, BackupError> {
        let length = self.file.metadata().map_err(disk::failed("reading", &self.part))?.len();
        if length > self.row.size {
            // Not of our writing. The digest would say so at the end of a long upload; rather begin anew.
            durable!("coordinator.backup.empty", self.file.set_len(0))
                .map_err(disk::failed("emptying", &self.part))?;
        }
        self.held = if length > self.row.size { 0 } else { length };
        if offset != self.held {
            return Err(BackupError::Offset { held: self.held, offset });
        }
        disk::ensure_room(self.part.parent().unwrap_or(&self.part), self.row.size - self.held)?;
        self.file.seek(SeekFrom::Start(self.held)).map_err(disk::failed("seeking in", &self.part))?;
        Ok(self)
    }

    /// The next bytes.
    ///
    /// # Errors
    /// When they are more than was declared, or the disk says no; what came before stays.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), BackupError> {
        let (declared, left) = (self.row.size, self.row.size - self.held);
        if chunk.len() as u64 > left {
            return Err(BackupError::TooLong { declared });
        }
        durable!("coordinator.backup.write", self.file.write_all(chunk))
            .map_err(disk::write_failed(&self.part, left))?;
        self.held += chunk.len() as u64;
        Ok(())
    }

    /// The stream has ended: what is here is made durable, and when it is all, verified and put in place.
    ///
    /// # Errors
    /// When all of it is here and is not what was declared (then nothing of it is kept), or the disk or
    /// the index says no.
    pub fn finish(self, now_unix_ms: u64) -> Result<Held, BackupError> {
        let Self { file, part, place, registry, row, held } = self;
        if held < row.size {
            durable!("coordinator.backup.sync-part", file.sync_all())
                .map_err(disk::failed("syncing", &part))?;
            return Ok(Held { held, complete: false });
        }
        // All of it from the disk, not only what this stream brought: parts may be from before a crash.
        let is = disk::digest(&part)?;
        if is != row.sha256 {
            disk::remove(&part)?;
            return Err(BackupError::WrongDigest { is, declared: row.sha256 });
        }
        // The name shows eight digits of the effect; a file of this very effect is what a crash right before
        // the index was told has left, and gives way.
        let takes = |other: &BackupRow| {
            other.complete && other.effect != row.effect && file_name(other) == file_name(&row)
        };
        if registry.backups(&row.node)?.iter().any(takes) {
            return Err(BackupError::NameTaken(place));
        }
        disk::put_in_place(&file, &part, &place)?;
        registry.complete_backup(&row, now_unix_ms)?;
        Ok(Held { held, complete: true })
    }
}
