//! What a lab leaves under `/run/drydock-lab/ID`, so that any process can find and remove it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::remove_tree;
use crate::cgroup::Cgroup;
use crate::net;
use crate::{Error, Result};

/// Where labs are registered.
pub(crate) const RUN_DIR: &str = "/run/drydock-lab";

/// The record of one lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Four letters or digits; part of every name that the kernel sees.
    pub(crate) id: String,
    /// Nodes in the lab.
    pub(crate) nodes: usize,
    /// Runs on after the process that made it.
    pub(crate) detached: bool,
    /// The base root of all nodes.
    pub(crate) root: PathBuf,
    /// Overlays and logs.
    pub(crate) work: PathBuf,
    /// This boot of the machine: nothing of a lab survives it but files.
    pub(crate) boot_id: String,
}

/// Who has the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A living process: hands off.
    Process,
    /// Nobody; it is meant to run on.
    Detached,
    /// A process that is gone without removing it, or a boot before this one.
    Dead,
}

impl Record {
    pub(crate) fn dir(&self) -> PathBuf {
        Path::new(RUN_DIR).join(&self.id)
    }

    fn lock_path(&self) -> PathBuf {
        self.dir().join("owner")
    }

    /// Registers a new lab under an id of its own. The lock in the returned file says that its
    /// owner lives, for as long as the file is open: the kernel lets go of it with the process.
    pub(crate) fn register(nodes: usize, detached: bool, root: &Path, works: &Path) -> Result<(Self, File)> {
        fs::create_dir_all(RUN_DIR).map_err(Error::io("create", RUN_DIR))?;
        let id = loop {
            let id = new_id();
            let dir = Path::new(RUN_DIR).join(&id);
            match fs::create_dir(&dir) {
                Ok(()) => break id,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::io("create", dir)(source)),
            }
        };
        let record =
            Self { work: works.join(&id), id, nodes, detached, root: root.to_owned(), boot_id: boot_id()? };
        let lock = File::create(record.lock_path()).map_err(Error::io("create", record.lock_path()))?;
        lock.lock().map_err(Error::io("lock", record.lock_path()))?;
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::Unfit(format!("cannot describe the lab: {error}")))?;
        let path = record.dir().join("lab.json");
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        Ok((record, lock))
    }

    /// All registered labs. A directory without a record yet is a lab in its first millisecond,
    /// and left alone.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let entries = match fs::read_dir(RUN_DIR) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::io("read", RUN_DIR)(source)),
        };
        let mut records = Vec::new();
        for entry in entries.flatten() {
            let Ok(text) = fs::read(entry.path().join("lab.json")) else {
                continue;
            };
            let record: Self = serde_json::from_slice(&text).map_err(|error| {
                Error::Unfit(format!(
                    "{}/lab.json is damaged ({error}); remove that directory by hand",
                    entry.path().display()
                ))
            })?;
            records.push(record);
        }
        records.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(records)
    }

    pub(crate) fn owner(&self) -> Result<Owner> {
        if self.boot_id != boot_id()? {
            return Ok(Owner::Dead);
        }
        let Ok(file) = File::open(self.lock_path()) else {
            return Ok(Owner::Dead);
        };
        match file.try_lock() {
            Ok(()) if self.detached => Ok(Owner::Detached),
            Ok(()) => Ok(Owner::Dead),
            Err(TryLockError::WouldBlock) => Ok(Owner::Process),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", self.lock_path())(source)),
        }
    }

    /// Ends and removes everything of this lab, however much of it there is.
    pub(crate) fn tear_down(&self) -> Result<()> {
        Cgroup::of_lab(&self.id)?.remove()?;
        net::remove(&self.id)?;
        remove_tree(&self.work)?;
        // Last: until here another process can still find the lab and finish the work.
        remove_tree(&self.dir())?;
        // Fails while there are other labs, as it should.
        let _ = fs::remove_dir(RUN_DIR);
        Ok(())
    }
}

/// Removes what dead owners left behind; returns the ids.
pub(crate) fn remove_stale() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for record in Record::all()? {
        if record.owner()? == Owner::Dead {
            record.tear_down()?;
            removed.push(record.id);
        }
    }
    Ok(removed)
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.trim().to_owned())
}

/// Four characters: an interface name has room for fifteen.
fn new_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {}", now.as_nanos(), std::process::id());
    Sha256::digest(seed).iter().take(4).map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
