//! One coordinator a store: a lock on a file beside the database, held as long as the process lives.
//!
//! SQLite's own locks come and go with transactions; this one does not. The kernel lets go of it when its
//! holder dies, however it dies, so that no stale lock is ever left.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;

use crate::store::StoreError;

/// How long a lock that somebody has is asked for again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Held until dropped.
#[derive(Debug)]
pub(super) struct ProcessLock {
    _file: File,
}

/// `drydock.db.lock`.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl ProcessLock {
    /// Takes the lock, or says who has it after [`PATIENCE`]. The file stays when the lock goes: removing it would
    /// let two hold locks on two files of one name.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = lock_path(database);
        let failed = |doing: &str, why: &dyn std::fmt::Display| StoreError::Database {
            path: path.display().to_string(),
            what: format!("{doing}: {why}"),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(|why| failed("opening the lock file", &why))?;
        match with_patience(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (path, holder) = (database.display().to_string(), holder(&mut file));
                return Err(StoreError::InUse { path, holder });
            }
            Err(TryLockError::Error(why)) => return Err(failed("locking", &why)),
        }
        // Who it is helps the next one's message and nothing else: on a full disk the lock holds as well.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// A lock goes a moment after its owner: a coordinator that is just ending, a child between fork and exec.
#[expect(clippy::disallowed_methods, reason = "the kernel tells nobody when a lock is given back")]
fn with_patience(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is_and_may_take_over_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("drydock.db");
        let first = ProcessLock::take(&database).unwrap();
        let error = ProcessLock::take(&database).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("Stop that one"), "{error}");
        drop(first);
        ProcessLock::take(&database).unwrap();
    }
}
