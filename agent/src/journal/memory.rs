//! A disk that can lose what was not fsynced, be full, break, and stand still: for tests and the simulation.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use nix::errno::Errno;
use tokio::sync::Notify;

use super::disk::JournalDisk;

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `ENOSPC`; half of the bytes are written.
    Full,
    /// `EIO`: the bytes are written and not on the disk.
    Io,
    /// The machine dies before the operation: it never returns.
    DeathBefore,
    /// The machine dies when the bytes are written and not yet on the disk.
    DeathWithin,
    /// The machine dies when everything is on the disk.
    DeathBehind,
}

impl Fault {
    /// The machine dies.
    pub const DEATHS: [Self; 3] = [Self::DeathBefore, Self::DeathWithin, Self::DeathBehind];
}

/// What is left of the bytes behind the last fsync when the machine dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// None of them.
    Nothing,
    /// So many of the first ones.
    Prefix(usize),
    /// All but the first ones, which read as zeros: pages come to the disk in any order.
    AllBut(usize),
    /// All of them: the agent died, not the machine.
    Everything,
}

/// A disk in memory. Clones are the same disk: one is kept by whoever crashes it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>, Arc<Notify>);

#[derive(Debug, Default)]
struct Inner {
    seen: Vec<u8>,
    on_disk: Vec<u8>,
    capacity: Option<u64>,
    reserved_to: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
}

impl MemoryDisk {
    /// An empty one without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the file may not grow beyond so many bytes, except where room was reserved.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Operations (append, reserve, truncate, replace) so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// Lets the operation of this number (from 0 on) go wrong.
    pub fn fail(&self, operation: u64, fault: Fault) {
        self.inner().faults.insert(operation, fault);
    }

    /// Waits until a planned death has come: whoever used the disk waits for ever.
    pub async fn died(&self) {
        self.1.notified().await;
    }

    async fn die(&self) {
        self.1.notify_one();
        std::future::pending().await
    }

    /// The machine dies and comes back: what was not on the disk is lost, faults are over.
    pub fn crash(&self, survives: Survives) {
        let mut inner = self.inner();
        let safe = inner.on_disk.len().min(inner.seen.len());
        let extends = inner.seen[..safe] == inner.on_disk[..safe];
        let mut kept = inner.on_disk.clone();
        if extends && safe == inner.on_disk.len() {
            let rest = &inner.seen[safe..];
            match survives {
                Survives::Nothing => {}
                Survives::Prefix(count) => kept.extend_from_slice(&rest[..count.min(rest.len())]),
                Survives::AllBut(count) => {
                    let lost = count.min(rest.len());
                    kept.resize(safe + lost, 0);
                    kept.extend_from_slice(&rest[lost..]);
                }
                Survives::Everything => kept.extend_from_slice(rest),
            }
        }
        inner.faults.clear();
        inner.seen.clone_from(&kept);
        inner.on_disk = kept;
    }

    /// Changes the file behind the journal's back.
    pub fn edit(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let mut bytes = inner.seen.clone();
        change(&mut bytes);
        inner.on_disk.clone_from(&bytes);
        inner.seen = bytes;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation: with what is planned for it.
    async fn operate(
        &self,
        durable: bool,
        change: impl FnOnce(&mut Inner) -> io::Result<()>,
    ) -> io::Result<()> {
        let fault = {
            let mut inner = self.inner();
            let number = inner.operations;
            inner.operations += 1;
            inner.faults.remove(&number)
        };
        if fault == Some(Fault::DeathBefore) {
            self.die().await;
        }
        if fault == Some(Fault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change(&mut self.inner())?;
        if fault == Some(Fault::Io) {
            return Err(Errno::EIO.into());
        }
        if fault == Some(Fault::DeathWithin) {
            self.die().await;
        }
        if durable {
            let mut inner = self.inner();
            inner.on_disk = inner.seen.clone();
        }
        if fault == Some(Fault::DeathBehind) {
            self.die().await;
        }
        Ok(())
    }
}

impl Inner {
    fn room_for(&self, end: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if end > capacity.max(self.reserved_to) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl JournalDisk for MemoryDisk {
    fn length(&self) -> u64 {
        self.inner().seen.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let inner = self.inner();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(inner.seen.len());
        let to = from.saturating_add(length).min(inner.seen.len());
        Ok(inner.seen[from..to].to_vec())
    }

    async fn append(&mut self, bytes: Vec<u8>, durable: bool) -> io::Result<()> {
        self.operate(durable, |inner| {
            let end = (inner.seen.len() + bytes.len()) as u64;
            if let Err(full) = inner.room_for(end) {
                inner.seen.extend_from_slice(&bytes[..bytes.len() / 2]);
                return Err(full);
            }
            inner.seen.extend_from_slice(&bytes);
            Ok(())
        })
        .await
    }

    async fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.operate(false, |inner| {
            let end = inner.seen.len() as u64 + bytes;
            inner.room_for(end)?;
            inner.reserved_to = inner.reserved_to.max(end);
            Ok(())
        })
        .await
    }

    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.operate(true, |inner| {
            inner.seen.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            Ok(())
        })
        .await
    }

    async fn replace(&mut self, contents: Vec<u8>) -> io::Result<()> {
        self.operate(true, |inner| {
            inner.room_for(contents.len() as u64)?;
            inner.seen = contents;
            Ok(())
        })
        .await
    }
}
