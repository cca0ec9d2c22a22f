//! The file behind the journal, narrow enough that a test can lose what was not fsynced.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use drydock_failpoint::durable;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate},
    sys::statvfs::fstatvfs,
};

/// What a journal needs of a disk. Nothing is retried behind it: an error is an error.
///
/// A future that is dropped may have taken place or not; the caller must not go on after that.
#[async_trait]
pub trait JournalDisk: Send + Sync + std::fmt::Debug {
    /// Bytes that the file holds; 0 when there is none yet.
    fn length(&self) -> u64;

    /// Bytes from an offset on; fewer at the end of the file.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Writes behind the end. When `durable`, everything written so far is on the disk before it returns.
    ///
    /// # Errors
    /// `StorageFull` when there is no room: part of the bytes may have been written.
    async fn append(&mut self, bytes: Vec<u8>, durable: bool) -> io::Result<()>;

    /// Takes room for so many bytes behind the end, so that writing them cannot find the disk full.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    async fn reserve(&mut self, bytes: u64) -> io::Result<()>;

    /// Cuts the file, durably.
    ///
    /// # Errors
    /// When the disk cannot be written.
    async fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Puts a whole new file in the place of the present one, at once and durably.
    ///
    /// # Errors
    /// `StorageFull` when there is no room: the present file is untouched.
    async fn replace(&mut self, contents: Vec<u8>) -> io::Result<()>;
}

/// A file `journal` in a directory of its own. Blocking calls run on the runtime's blocking pool, so that a
/// starving disk does not silence the stream.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    file: Option<Arc<File>>,
    length: u64,
    /// The blocks up to here are the file's own already.
    reserved_to: u64,
}

/// Taken beyond what is asked for, so that most sections find their room taken.
const AHEAD_BYTES: u64 = 256 << 10;

impl FileDisk {
    /// Opens the file, if there is one; makes the directory (0700) if there is none.
    ///
    /// # Errors
    /// When the directory cannot be made or the file cannot be opened.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(dir.join("journal"));
        let file = match opened {
            Ok(file) => Some(Arc::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
        Ok(Self { dir: dir.to_owned(), file, length, reserved_to: 0 })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        self.file.clone().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no journal file yet"))
    }
}

#[async_trait]
impl JournalDisk for FileDisk {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        self.file()?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    async fn append(&mut self, bytes: Vec<u8>, durable: bool) -> io::Result<()> {
        let (file, offset) = (self.file()?, self.length);
        let length = offset + bytes.len() as u64;
        blocking(move || {
            durable!("agent.journal.write", file.write_all_at(&bytes, offset))?;
            if durable { durable!("agent.journal.sync", file.sync_data()) } else { Ok(()) }
        })
        .await?;
        self.length = length;
        Ok(())
    }

    async fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let (file, offset) = (self.file()?, self.length);
        if offset.saturating_add(bytes) <= self.reserved_to {
            return Ok(());
        }
        self.reserved_to = blocking(move || {
            let most = bytes.saturating_add(AHEAD_BYTES);
            match reserve(&file, offset, most) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => reserve(&file, offset, bytes),
                taken => taken,
            }
        })
        .await?;
        Ok(())
    }

    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        let file = self.file()?;
        // What was taken behind the end is given back with it.
        self.reserved_to = 0;
        blocking(move || {
            durable!("agent.journal.cut", file.set_len(length))?;
            durable!("agent.journal.cut-sync", file.sync_all())
        })
        .await?;
        self.length = length;
        Ok(())
    }

    async fn replace(&mut self, contents: Vec<u8>) -> io::Result<()> {
        let (dir, length) = (self.dir.clone(), contents.len() as u64);
        let file = blocking(move || write_beside_and_rename(&dir, &contents)).await?;
        self.file = Some(Arc::new(file));
        (self.length, self.reserved_to) = (length, 0);
        Ok(())
    }
}

/// The offset up to which there is room for certain, until the file is cut.
fn reserve(file: &File, offset: u64, bytes: u64) -> io::Result<u64> {
    let signed = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::StorageFull));
    let (from, length) = (signed(offset)?, signed(bytes)?);
    let taken = durable!(
        "agent.journal.reserve",
        |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, length)
    );
    match taken {
        Ok(()) => Ok(offset.saturating_add(bytes)),
        // A file system without fallocate: the free space at this moment is the best that can be had.
        Err(Errno::EOPNOTSUPP) => {
            let space = fstatvfs(file)?;
            let free = space.blocks_available().saturating_mul(space.fragment_size());
            if free > bytes.saturating_mul(2) { Ok(0) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        Err(errno) => Err(errno.into()),
    }
}

fn write_beside_and_rename(dir: &Path, contents: &[u8]) -> io::Result<File> {
    let (new, place) = (dir.join("journal.new"), dir.join("journal"));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
    let written = durable!("agent.journal.new-write", file.write_all_at(contents, 0));
    let written = written.and_then(|()| durable!("agent.journal.new-sync", file.sync_all()));
    if let Err(error) = written {
        // Best effort: a rest of it is removed before the next attempt.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    durable!("agent.journal.new-rename", std::fs::rename(&new, &place))?;
    let dir = File::open(dir)?;
    durable!("agent.journal.new-sync-dir", dir.sync_all())?;
    Ok(file)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
