//! The file work of a fetch, on a thread of its own: 64 KiB at a time, hashed as it is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_types::Sha256;
use minisign_verify::StreamVerifier;
use sha2::Digest as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{FetchError, trust::Signed};

const BUFFER_BYTES: usize = 64 << 10;
/// Chunks between the stream and the disk.
const QUEUE: usize = 2;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it is here, verified, under its final name.
    Whole,
    /// So many bytes are in the part.
    Short(u64),
}

/// Where the chunks of one stream go.
#[derive(Debug)]
pub(super) struct Sink {
    chunks: Option<mpsc::Sender<Vec<u8>>>,
    offset: Option<oneshot::Receiver<u64>>,
    end: JoinHandle<Result<Ended, FetchError>>,
    path: PathBuf,
}

impl Sink {
    /// Opens the part, or makes it, and reads what is in it.
    pub(super) fn open(part: PathBuf, whole: PathBuf, sha256: Sha256, size: u64, signed: Signed) -> Self {
        let (chunks, incoming) = mpsc::channel(QUEUE);
        let (told, offset) = oneshot::channel();
        let path = part.clone();
        let work = move || receive(&Place { part, whole, sha256, size }, &signed, told, incoming);
        let end = tokio::task::spawn_blocking(work);
        Self { chunks: Some(chunks), offset: Some(offset), end, path }
    }

    /// How much is in the part; `None` when it could not be opened: [`Sink::end`] says why.
    pub(super) async fn offset(&mut self) -> Option<u64> {
        self.offset.take()?.await.ok()
    }

    /// `false`: no more is taken; [`Sink::end`] says why.
    pub(super) async fn put(&mut self, chunk: Vec<u8>) -> bool {
        match &self.chunks {
            Some(chunks) => chunks.send(chunk).await.is_ok(),
            None => false,
        }
    }

    /// Nothing more comes from this stream.
    pub(super) async fn end(mut self) -> Result<Ended, FetchError> {
        self.chunks = None;
        let lost = |error| FetchError::Store { path: self.path, source: io::Error::other(error) };
        self.end.await.map_err(lost)?
    }
}

struct Place {
    part: PathBuf,
    whole: PathBuf,
    sha256: Sha256,
    size: u64,
}

/// Digest and signature of what has passed.
struct Seen<'a> {
    bytes: u64,
    hash: sha2::Sha256,
    signature: StreamVerifier<'a>,
}

impl<'a> Seen<'a> {
    fn nothing(signed: &'a Signed, sha256: Sha256) -> Result<Self, FetchError> {
        let signature = signed.verifier().map_err(|why| FetchError::Signature { sha256, why })?;
        Ok(Self { bytes: 0, hash: sha2::Sha256::new(), signature })
    }

    fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        self.signature.update(bytes);
    }

    /// Reads a file to its end.
    fn read(&mut self, file: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.update(&buffer[..n]),
            }
        }
    }

    fn judge(mut self, want: Sha256, resumed: bool) -> Result<(), FetchError> {
        let got = Sha256(self.hash.finalize().into());
        if got != want {
            return Err(FetchError::Digest { want, got, resumed });
        }
        let wrong =
            |error: minisign_verify::Error| FetchError::Signature { sha256: want, why: error.to_string() };
        self.signature.finalize().map_err(wrong)
    }
}

fn receive(
    place: &Place,
    signed: &Signed,
    told: oneshot::Sender<u64>,
    incoming: mpsc::Receiver<Vec<u8>>,
) -> Result<Ended, FetchError> {
    let ended = receive_into(place, signed, told, incoming);
    // A full disk or an unreadable one keeps the part: it is not known to be wrong.
    if ended.as_ref().is_err_and(|error| !matches!(error, FetchError::Store { .. })) {
        remove(&place.part);
    }
    ended
}

fn receive_into(
    place: &Place,
    signed: &Signed,
    told: oneshot::Sender<u64>,
    mut incoming: mpsc::Receiver<Vec<u8>>,
) -> Result<Ended, FetchError> {
    let Place { part, whole, sha256, size } = place;
    let store = |source| FetchError::Store { path: part.clone(), source };
    let mut file = open_part(part, *size).map_err(store)?;
    let mut seen = Seen::nothing(signed, *sha256)?;
    seen.read(&mut file).map_err(store)?;
    let offset = seen.bytes;
    // Nobody waits for it any more: the fetch was given up.
    if told.send(offset).is_err() {
        return Ok(Ended::Short(offset));
    }
    while let Some(chunk) = incoming.blocking_recv() {
        if chunk.len() as u64 > size - seen.bytes {
            return Err(FetchError::TooLong { sha256: *sha256, size: *size });
        }
        durable!("agent.artifact.write", file.write_all(&chunk)).map_err(store)?;
        seen.update(&chunk);
    }
    durable!("agent.artifact.sync", file.sync_all()).map_err(store)?;
    if seen.bytes < *size {
        return Ok(Ended::Short(seen.bytes));
    }
    seen.judge(*sha256, offset > 0)?;
    durable!("agent.artifact.rename", fs::rename(part, whole)).map_err(store)?;
    sync_parent(whole).map_err(store)?;
    Ok(Ended::Whole)
}

/// A part that is longer than its artifact is none of it.
fn open_part(path: &Path, size: u64) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    if file.metadata()?.len() > size {
        durable!("agent.artifact.empty", file.set_len(0))?;
    }
    file.rewind()?;
    Ok(file)
}

/// Reads a whole artifact again; a wrong one is removed.
pub(super) fn prove(path: &Path, sha256: Sha256, size: u64, signed: &Signed) -> Result<(), FetchError> {
    let store = |source| FetchError::Store { path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path).map_err(store)?;
    let mut seen = Seen::nothing(signed, sha256)?;
    let judged = if file.metadata().map_err(store)?.len() == size {
        seen.read(&mut file).map_err(store)?;
        seen.judge(sha256, false)
    } else {
        Err(FetchError::Truncated { sha256, size, held: file.metadata().map_err(store)?.len() })
    };
    // Signed by nobody for *this* section is no fault of the bytes; other bytes are.
    if matches!(judged, Err(FetchError::Digest { .. } | FetchError::Truncated { .. })) {
        remove(path);
    }
    judged
}

/// Removes what may not be there.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not be removed");
        }
        _ => {}
    }
}

/// Makes a rename last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => {
            let dir = File::open(dir)?;
            durable!("agent.artifact.sync-dir", dir.sync_all())
        }
        None => Ok(()),
    }
}
