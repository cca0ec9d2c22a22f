//! The way to the coordinator: asked how much it holds, sent the rest, until it says that it has all.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use drydock_failpoint::effect;
use drydock_proto::agent::{BackupHeader, StatBackupRequest, UploadBackupRequest};
use drydock_proto::limits::CHUNK_BYTES;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{BackupError, Backups, Receipt};
use crate::remote::Remote;

const QUEUE: usize = 2;
/// Nothing was taken for so long: the connection is dead.
const IDLE: Duration = Duration::from_secs(30);
/// After the last byte the coordinator syncs its disk and reads the digest.
const LAST_WORD: Duration = Duration::from_secs(120);

/// Does the coordinator have all of this backup?
///
/// # Errors
/// When it cannot be asked `within` the time.
pub async fn complete(remote: &Remote, receipt: &Receipt, within: Duration) -> Result<bool, BackupError> {
    timeout(within, held(remote, receipt, within))
        .await
        .map_err(|_| BackupError::Late { within, last: "no answer".into() })?
        .map(|(_, complete)| complete)
}

/// Sends the encrypted file until the coordinator has all of it; resumed after every break. Then the local file is
/// removed. `progress`: bytes there, bytes in all.
///
/// # Errors
/// When the coordinator refuses, or the time is over. The local file stays for another attempt.
pub async fn upload(
    backups: &Backups,
    remote: &Remote,
    receipt: &Receipt,
    within: Duration,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), BackupError> {
    let last = Mutex::new("nothing was tried".to_owned());
    let attempt = || async {
        let ended = send_rest(backups, remote, receipt, within, progress).await;
        if let (Err(error), Ok(mut last)) = (&ended, last.lock()) {
            *last = error.to_string();
        }
        ended
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times();
    let work = attempt.retry(pauses).when(|error| matches!(error, BackupError::Broken(_)));
    match timeout(within, work).await {
        Ok(ended) => ended?,
        Err(_) => {
            let last = last.lock().map(|last| last.clone()).unwrap_or_default();
            return Err(BackupError::Late { within, last });
        }
    }
    backups.drop_sealed(receipt.effect);
    Ok(())
}

async fn held(remote: &Remote, receipt: &Receipt, within: Duration) -> Result<(u64, bool), BackupError> {
    let request = StatBackupRequest {
        effect_id: receipt.effect.0.to_vec(),
        sha256: receipt.stored_sha256.0.to_vec(),
        size: receipt.stored_size,
    };
    let mut client = remote.client(within).await.map_err(|error| BackupError::Broken(error.to_string()))?;
    let answer = timeout(IDLE, client.stat_backup(request)).await;
    let answer = answer.map_err(|_| BackupError::Broken(format!("no answer within {IDLE:?}")))?;
    let answer = answer.map_err(|status| refusal(&status))?.into_inner();
    if answer.held > receipt.stored_size {
        let message = format!("it says that it holds {} of {} bytes", answer.held, receipt.stored_size);
        return Err(BackupError::Refused { code: Code::DataLoss, message });
    }
    Ok((answer.held, answer.complete))
}

async fn send_rest(
    backups: &Backups,
    remote: &Remote,
    receipt: &Receipt,
    within: Duration,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), BackupError> {
    let (offset, complete) = held(remote, receipt, within).await?;
    progress(offset, receipt.stored_size);
    if complete {
        return Ok(());
    }
    let header = BackupHeader {
        effect_id: receipt.effect.0.to_vec(),
        sha256: receipt.stored_sha256.0.to_vec(),
        size: receipt.stored_size,
        offset,
        component: receipt.component.to_string(),
    };
    let (outgoing, messages) = mpsc::channel(QUEUE);
    let (at, mut moved) = watch::channel(offset);
    let path = backups.sealed_file(receipt.effect);
    let (file, size) = (path.clone(), receipt.stored_size);
    let reader = tokio::task::spawn_blocking(move || feed(&file, header, size, &outgoing, &at));
    let mut client = remote.client(within).await.map_err(|error| BackupError::Broken(error.to_string()))?;
    let mut call = std::pin::pin!(client.upload_backup(ReceiverStream::new(messages)));
    let mut sending = true;
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer,
            moved = timeout(IDLE, moved.changed()), if sending => match moved {
                Ok(Ok(())) => {}
                Ok(Err(_)) => sending = false,
                Err(_) => return Err(BackupError::Broken(format!("nothing was taken for {IDLE:?}"))),
            },
            () = tokio::time::sleep(LAST_WORD), if !sending => {
                return Err(BackupError::Broken(format!("no last word within {LAST_WORD:?}")));
            }
        }
        progress(*moved.borrow(), size);
    };
    // A file that could not be read ends the stream early; that error is the one that says so.
    if let Ok(Err(source)) = reader.await {
        return Err(BackupError::Store { path, source });
    }
    let answer = answer.map_err(|status| refusal(&status))?.into_inner();
    progress(answer.held.min(size), size);
    if answer.complete {
        return Ok(());
    }
    Err(BackupError::Broken(format!("the coordinator holds {} of {size} bytes", answer.held)))
}

/// Reads the file into messages. Ends early, and in order, when nobody takes them any more.
fn feed(
    path: &PathBuf,
    header: BackupHeader,
    size: u64,
    outgoing: &mpsc::Sender<UploadBackupRequest>,
    at: &watch::Sender<u64>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut sent = file.seek(SeekFrom::Start(header.offset))?;
    let mut header = Some(header);
    while sent < size || header.is_some() {
        let want = usize::try_from(size - sent).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut data = vec![0; want];
        file.read_exact(&mut data)?;
        sent += want as u64;
        let piece = UploadBackupRequest { header: header.take(), data };
        if effect!("agent.backup.send", outgoing.blocking_send(piece)).is_err() {
            return Ok(());
        }
        at.send_replace(sent);
    }
    Ok(())
}

fn refusal(status: &tonic::Status) -> BackupError {
    let message: String = status.message().chars().take(300).collect();
    match status.code() {
        code @ (Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::DataLoss
        | Code::NotFound
        | Code::Unimplemented) => BackupError::Refused { code, message },
        code => BackupError::Broken(format!("{code:?}: {message}")),
    }
}
