//! Backups of this node: verified while they are taken, encrypted on the node, copied to the coordinator.
//!
//! The plain bytes never touch the disk, but for the copy of an SQLite database while it is sealed (ADR 0023): they pass
//! through the check and the encryption in memory, and what lies in `<state>/backups` is `<effect>.age` until the
//! coordinator has all of it, then only `<effect>.json`, which says what was sent. The coordinator cannot read them: they
//! are encrypted to the recipient of this node's policy.

mod seal;
mod upload;

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_failpoint::durable;
use drydock_types::{ComponentName, EffectId, RunId, Sha256};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tonic::Code;

pub use self::{
    seal::{Holds, Piece, Sealing},
    upload::{complete, upload},
};
use crate::{actions::Problem, etcd::snapshot::NotWhole, journal::Open};

/// What is known of a backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The section that took it.
    pub effect: EffectId,
    /// The run.
    pub run: RunId,
    /// Of what.
    pub component: ComponentName,
    /// Digest of the plain file.
    pub sha256: Sha256,
    /// Size of the plain file in bytes.
    pub size: u64,
    /// The store's revision when it was begun; the backup has at least that.
    pub revision: i64,
    /// Digest of the encrypted file.
    pub stored_sha256: Sha256,
    /// Size of the encrypted file in bytes.
    pub stored_size: u64,
    /// When it was taken.
    pub taken: Moment,
}

/// A point in time on this machine that no clock change moves: which boot, and milliseconds into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Moment {
    boot: String,
    ms: u64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn now() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
        Ok(Self { boot, ms: u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX) })
    }

    /// How long ago it was; `None` when the machine has booted since.
    #[must_use]
    pub fn age_at(&self, now: &Self) -> Option<Duration> {
        (self.boot == now.boot).then(|| now.ms.checked_sub(self.ms).map(Duration::from_millis)).flatten()
    }
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The policy's recipient.
    #[error("backup_recipient of the agent's policy is not a public age key (age1…)")]
    Recipient,
    /// The encryption.
    #[error("encrypting the backup: {0}")]
    Encrypt(String),
    /// What came is not whole.
    #[error("{0}; nothing of it is kept")]
    NotWhole(#[from] NotWhole),
    /// The source broke off.
    #[error("the backup broke off; nothing of it is kept")]
    BrokenOff,
    /// Larger than the coordinator takes.
    #[error("the backup is larger than {most} bytes, the most that one may have")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The coordinator refused.
    #[error("the coordinator does not take the backup: {code:?}: {message}")]
    Refused {
        /// gRPC's code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The connection broke.
    #[error("sending the backup broke: {0}")]
    Broken(String),
    /// The deadline.
    #[error("the backup was not at the coordinator within {within:?}; last: {last}")]
    Late {
        /// The deadline.
        within: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The file system.
    #[error("{}: {source}", path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let next = match &error {
            BackupError::Recipient => "age-keygen makes a pair; its public half belongs into the policy",
            BackupError::Encrypt(_) | BackupError::NotWhole(_) | BackupError::BrokenOff => {
                "let the run try again; if it fails again, look at the member's log, disk and network"
            }
            BackupError::TooLarge { .. } => {
                "compact and defragment the datastore, or take the backup by hand"
            }
            BackupError::Refused { .. } => "see the coordinator's log, its disk and this node's quota there",
            BackupError::Broken(_) | BackupError::Late { .. } => {
                "see the network to the coordinator; what it already holds is not sent again"
            }
            BackupError::Store { .. } => "see that the agent's state directory can be written and has space",
        };
        Self::new(error.to_string()).next(next)
    }
}

/// The directory of backups on their way.
#[derive(Debug, Clone)]
pub struct Backups {
    dir: PathBuf,
}

impl Backups {
    /// In the agent's state directory; made (0700) when it is first needed.
    #[must_use]
    pub fn in_state(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("backups") }
    }

    /// Makes it, where it is not yet there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> io::Result<&Path> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        Ok(&self.dir)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The receipt of the backup that this section took, if it took one.
    #[must_use]
    pub fn receipt(&self, effect: EffectId) -> Option<Receipt> {
        let bytes = fs::read(self.receipt_file(effect)).ok()?;
        let receipt: Receipt = serde_json::from_slice(&bytes).ok()?;
        (receipt.effect == effect).then_some(receipt)
    }

    /// The newest backup of this run that is no older than `max_age`.
    #[must_use]
    pub fn recent(&self, run: RunId, component: &ComponentName, max_age: Duration) -> Option<Receipt> {
        let now = Moment::now().ok()?;
        let fresh = |receipt: &Receipt| receipt.taken.age_at(&now).is_some_and(|age| age <= max_age);
        let mine = |receipt: &Receipt| receipt.run == run && receipt.component == *component;
        let mut found: Vec<_> = self.receipts().into_iter().filter(|r| mine(r) && fresh(r)).collect();
        found.sort_by_key(|receipt| receipt.taken.ms);
        found.pop()
    }

    fn receipts(&self) -> Vec<Receipt> {
        let names = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let effect = |name: std::ffi::OsString| EffectId::parse(name.to_str()?.strip_suffix(".json")?).ok();
        names.filter_map(effect).filter_map(|effect| self.receipt(effect)).collect()
    }

    /// Writes a receipt, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self, receipt: &Receipt) -> Result<(), BackupError> {
        let path = self.receipt_file(receipt.effect);
        let new = path.with_extension("json.new");
        let store = |source| BackupError::Store { path: path.clone(), source };
        let bytes = serde_json::to_vec(receipt).map_err(|error| store(error.into()))?;
        let mut file = private(&new).map_err(store)?;
        durable!("agent.backup.receipt-write", file.write_all(&bytes)).map_err(store)?;
        durable!("agent.backup.receipt-sync", file.sync_all()).map_err(store)?;
        durable!("agent.backup.receipt-rename", fs::rename(&new, &path)).map_err(store)?;
        let dir = fs::File::open(&self.dir).map_err(store)?;
        durable!("agent.backup.sync-dir", dir.sync_all()).map_err(store)
    }

    /// Is the encrypted file of this receipt still here, whole in length?
    #[must_use]
    pub fn holds(&self, receipt: &Receipt) -> bool {
        fs::symlink_metadata(self.sealed_file(receipt.effect))
            .is_ok_and(|meta| meta.is_file() && meta.len() == receipt.stored_size)
    }

    /// Removes the encrypted file of a section; the receipt stays.
    pub fn drop_sealed(&self, effect: EffectId) {
        remove(&self.sealed_file(effect));
        remove(&self.unfinished_file(effect));
    }

    /// [`Backups::sweep`] when the agent starts: everything but the open section's. A directory that cannot be
    /// read now is met again, and said, when the next backup is taken.
    pub fn sweep_at_start(&self, open: Option<&Open>) {
        if let Err(error) = self.sweep(open.map(|open| (open.effect, open.section.run))) {
            tracing::warn!(path = %self.dir.display(), %error, "old backups could not be swept");
        }
    }

    /// Removes what a crash left of sections other than `but`, and the receipts of other runs. To be called when
    /// the agent starts (`but`: the open effect of the journal, if there is one) and before a backup is taken.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sweep(&self, but: Option<(EffectId, RunId)>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let (stem, kind) = name.split_once('.').unwrap_or((&name, ""));
            let effect = EffectId::parse(stem).ok();
            let own = effect.is_some() && effect == but.map(|(effect, _)| effect);
            let of_run = || {
                let run = effect.and_then(|effect| self.receipt(effect)).map(|receipt| receipt.run);
                run.is_some() && run == but.map(|(_, run)| run)
            };
            let stays = match kind {
                "age" => own,
                "json" => own || of_run(),
                _ => false,
            };
            if !stays {
                remove(&self.dir.join(&*name));
            }
        }
        Ok(())
    }

    fn sealed_file(&self, effect: EffectId) -> PathBuf {
        self.dir.join(format!("{effect}.age"))
    }

    fn unfinished_file(&self, effect: EffectId) -> PathBuf {
        self.dir.join(format!("{effect}.age.part"))
    }

    fn receipt_file(&self, effect: EffectId) -> PathBuf {
        self.dir.join(format!("{effect}.json"))
    }
}

/// A new file that only the agent reads.
fn private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
