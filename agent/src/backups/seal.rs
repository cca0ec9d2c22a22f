//! From a stream to an encrypted file: checked and encrypted in one pass, in bounded memory.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    str::FromStr as _,
};

use drydock_failpoint::durable;
use drydock_types::{ComponentName, EffectId, RunId, Sha256};
use sha2::Digest as _;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{BackupError, Backups, Moment, Receipt, private, remove};
use crate::etcd::snapshot::Passing;

/// Pieces between the stream and the disk.
const QUEUE: usize = 2;

/// What is fed to a sealing.
#[derive(Debug)]
pub enum Piece {
    /// The next plain bytes of what is saved.
    Bytes(Vec<u8>),
    /// Plain bytes around it: an archive's heads, and what lies beside it there.
    Frame(Vec<u8>),
    /// That was all. A stream that ends without it was broken off, and nothing is kept.
    End,
}

/// What is saved, and so how it is seen to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A snapshot of etcd: by the digest that etcd put behind it.
    EtcdSnapshot,
    /// What its maker has seen to be whole.
    Checked,
}

/// A backup that is being sealed on a thread of its own.
#[derive(Debug)]
pub struct Sealing {
    pieces: mpsc::Sender<Piece>,
    end: JoinHandle<Result<Receipt, BackupError>>,
}

/// Whose backup it is.
#[derive(Debug, Clone)]
struct Owner {
    /// The section.
    effect: EffectId,
    /// The run.
    run: RunId,
    /// Of what.
    component: ComponentName,
    /// The store's revision before it was begun.
    revision: i64,
    /// What it holds.
    holds: Holds,
}

impl Backups {
    /// Begins a backup that is encrypted to `recipient` (`age1…`).
    ///
    /// # Errors
    /// When the recipient is none.
    pub fn seal(
        &self,
        effect: EffectId,
        run: RunId,
        component: &ComponentName,
        revision: i64,
        recipient: &str,
    ) -> Result<Sealing, BackupError> {
        self.seal_as(Holds::EtcdSnapshot, (effect, run, component), revision, recipient)
    }

    /// Begins a backup of something that a section (`effect`, `run`) takes of a component.
    ///
    /// # Errors
    /// As [`Backups::seal`].
    pub fn seal_as(
        &self,
        holds: Holds,
        (effect, run, component): (EffectId, RunId, &ComponentName),
        revision: i64,
        recipient: &str,
    ) -> Result<Sealing, BackupError> {
        let recipient = age::x25519::Recipient::from_str(recipient).map_err(|_| BackupError::Recipient)?;
        let owner = Owner { effect, run, component: component.clone(), revision, holds };
        let (pieces, incoming) = mpsc::channel(QUEUE);
        let backups = self.clone();
        let end = tokio::task::spawn_blocking(move || {
            let sealed = backups.seal_into_file(&owner, &recipient, incoming);
            if sealed.is_err() {
                remove(&backups.unfinished_file(owner.effect));
                remove(&backups.sealed_file(owner.effect));
            }
            sealed
        });
        Ok(Sealing { pieces, end })
    }

    fn seal_into_file(
        &self,
        owner: &Owner,
        recipient: &age::x25519::Recipient,
        mut incoming: mpsc::Receiver<Piece>,
    ) -> Result<Receipt, BackupError> {
        let path = self.unfinished_file(owner.effect);
        let store = |source| BackupError::Store { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(store)?;
        // An older backup of the same section: from now on neither it nor its receipt counts.
        remove(&self.receipt_file(owner.effect));
        remove(&self.sealed_file(owner.effect));
        let out = Counted { file: private(&path).map_err(store)?, hash: sha2::Sha256::new(), bytes: 0 };
        let recipients = std::iter::once(recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients);
        let encryptor = encryptor.map_err(|error| BackupError::Encrypt(error.to_string()))?;
        let mut sealed = encryptor.wrap_output(out).map_err(store)?;
        let mut plain = Plain::of(owner.holds);
        let taken = Moment::now().map_err(store)?;
        loop {
            match incoming.blocking_recv() {
                Some(piece @ (Piece::Bytes(_) | Piece::Frame(_))) => {
                    let bytes = plain.takes(piece);
                    durable!("agent.backup.write", sealed.write_all(&bytes)).map_err(store)?;
                }
                Some(Piece::End) => break,
                None => return Err(BackupError::BrokenOff),
            }
        }
        let (sha256, size) = plain.finish()?;
        let Counted { file, hash, bytes } = sealed.finish().map_err(store)?;
        let most = drydock_proto::limits::MAX_BACKUP_BYTES;
        if bytes > most {
            return Err(BackupError::TooLarge { most });
        }
        durable!("agent.backup.sync", file.sync_all()).map_err(store)?;
        let sealed = self.sealed_file(owner.effect);
        durable!("agent.backup.rename", fs::rename(&path, &sealed)).map_err(store)?;
        let Owner { effect, run, component, revision, .. } = owner.clone();
        let stored_sha256 = Sha256(hash.finalize().into());
        let receipt = Receipt {
            effect,
            run,
            component,
            sha256,
            size,
            revision,
            stored_sha256,
            stored_size: bytes,
            taken,
        };
        self.keep(&receipt)?;
        Ok(receipt)
    }
}

impl Sealing {
    /// `false`: no more is taken; [`Sealing::end`] says why.
    pub async fn put(&self, piece: Piece) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// The receipt, once everything is on the disk.
    ///
    /// # Errors
    /// What went wrong; then nothing is left on the disk.
    pub async fn end(self) -> Result<Receipt, BackupError> {
        drop(self.pieces);
        let lost =
            |error| BackupError::Store { path: PathBuf::from("backup"), source: io::Error::other(error) };
        self.end.await.map_err(lost)?
    }
}

/// The plain bytes as they pass: all of them hashed, and what is saved among them checked.
struct Plain {
    passing: Option<Passing>,
    hash: sha2::Sha256,
    size: u64,
}

impl Plain {
    fn of(holds: Holds) -> Self {
        let passing = (holds == Holds::EtcdSnapshot).then(Passing::default);
        Self { passing, hash: sha2::Sha256::new(), size: 0 }
    }

    fn takes(&mut self, piece: Piece) -> Vec<u8> {
        let bytes = match piece {
            Piece::Bytes(bytes) => {
                if let Some(passing) = &mut self.passing {
                    passing.update(&bytes);
                }
                bytes
            }
            Piece::Frame(bytes) => bytes,
            Piece::End => Vec::new(),
        };
        self.hash.update(&bytes);
        self.size += bytes.len() as u64;
        bytes
    }

    fn finish(self) -> Result<(Sha256, u64), BackupError> {
        if let Some(passing) = self.passing {
            passing.finish()?;
        }
        Ok((Sha256(self.hash.finalize().into()), self.size))
    }
}

/// Counts and hashes what is written.
struct Counted {
    file: File,
    hash: sha2::Sha256,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
