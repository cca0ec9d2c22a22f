//! Streams that end in a file: an operator's artifact, a node's backup. Written beside the services, chunk
//! by chunk, no faster than the disk takes them.

use std::{sync::Arc, time::Duration};

use drydock_proto::{
    agent::{UploadBackupRequest, UploadBackupResponse},
    edge,
    operator::AddArtifactRequest,
};
use drydock_types::ComponentName;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::{App, views::invalid};
use crate::{
    artifacts::{ArtifactError, ArtifactHeader},
    backups::{BackupError, BackupHeader, Begun},
    driver::clock::wall_ms,
    quota::Transfer,
    store::registry::ArtifactRow,
    trust::NodePeer,
};

/// How long an upload may stand still.
const STALL: Duration = Duration::from_secs(60);
/// Chunks that wait for the disk.
const WAITING: usize = 4;

/// The next message of an upload.
async fn next<M>(stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
    let waited = timeout(STALL, stream.message()).await;
    waited.map_err(|_| Status::deadline_exceeded(format!("nothing came for {} s", STALL.as_secs())))?
}

/// Hands the rest of a stream to whoever writes it. A full disk ends the reading too.
async fn pump<M>(
    mut stream: Streaming<M>,
    chunks: mpsc::Sender<Vec<u8>>,
    data: fn(M) -> Vec<u8>,
) -> Result<(), Status> {
    while let Some(message) = next(&mut stream).await? {
        if chunks.send(data(message)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// An operator adds an artifact.
pub(super) async fn artifact(
    app: &Arc<App>,
    by: String,
    mut stream: Streaming<AddArtifactRequest>,
) -> Result<ArtifactRow, Status> {
    let first = next(&mut stream).await?.ok_or_else(|| Status::invalid_argument("the upload is empty"))?;
    let header = first.header.ok_or_else(|| Status::invalid_argument("an upload begins with its header"))?;
    let sha256 = edge::sha256(&header.sha256).map_err(invalid)?;
    let header = ArtifactHeader { sha256, size: header.size, signature: header.signature, added_by: by };
    let announced = header.clone();
    if let Some(row) = app.blocking(move |app| app.artifacts.already(&announced)).await? {
        return Ok(row);
    }
    let (chunks, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
    let (whole, is_whole) = tokio::sync::oneshot::channel();
    let app = Arc::clone(app);
    let write = tokio::task::spawn_blocking(move || {
        let mut incoming = app.artifacts.begin(header)?;
        incoming.write(&first.data)?;
        while let Some(chunk) = waiting.blocking_recv() {
            incoming.write(&chunk)?;
        }
        // A stream that broke is not an artifact that ended.
        match is_whole.blocking_recv() {
            Ok(()) => incoming.finish(wall_ms()).map(Some),
            Err(_) => Ok(None),
        }
    });
    let pumped = pump(stream, chunks, |message| message.data).await;
    if pumped.is_ok() {
        let _ = whole.send(());
    } else {
        drop(whole);
    }
    let written =
        write.await.map_err(|_| Status::internal("the upload failed; the coordinator's log says where"))?;
    pumped?;
    let row = written.map_err(|error| artifact_refused(&error))?;
    row.ok_or_else(|| Status::aborted("the upload broke off; nothing of it was kept"))
}

fn artifact_refused(error: &ArtifactError) -> Status {
    match error {
        ArtifactError::Disk(_) => Status::resource_exhausted(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// A node sends a backup, or goes on with one.
pub(super) async fn backup(
    app: &Arc<App>,
    peer: NodePeer,
    place: Transfer,
    mut stream: Streaming<UploadBackupRequest>,
) -> Result<UploadBackupResponse, Status> {
    let first = next(&mut stream).await?.ok_or_else(|| Status::invalid_argument("the upload is empty"))?;
    let raw = first.header.ok_or_else(|| Status::invalid_argument("an upload begins with its header"))?;
    let offset = raw.offset;
    let header = BackupHeader {
        effect: edge::effect_id(&raw.effect_id).map_err(invalid)?,
        sha256: edge::sha256(&raw.sha256).map_err(invalid)?,
        size: raw.size,
        component: ComponentName::parse(&raw.component).map_err(invalid)?,
    };
    let (node, effect) = (peer.name.clone(), header.effect);
    if !app.blocking(move |app| app.registry.was_handed(&node, effect)).await? {
        // Else a node could leave as many small files as it likes, each a transaction.
        return Err(Status::failed_precondition("a backup belongs to a section that was handed to its node"));
    }
    let (chunks, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
    let (app, node) = (Arc::clone(app), peer.name.clone());
    let write = tokio::task::spawn_blocking(move || {
        // With the thread, not with the call: a caller that goes away leaves both behind.
        let _place = place;
        let mut upload = match app.backups.begin(&peer.name, &header, offset, wall_ms())? {
            Begun::Complete(held) => return Ok(held),
            Begun::Upload(upload) => upload,
        };
        upload.write(&first.data)?;
        while let Some(chunk) = waiting.blocking_recv() {
            upload.write(&chunk)?;
        }
        // What came stays, also of a stream that broke: the node goes on from there.
        upload.finish(wall_ms())
    });
    let pumped = pump(stream, chunks, |message| message.data).await;
    let written =
        write.await.map_err(|_| Status::internal("the upload failed; the coordinator's log says where"))?;
    pumped?;
    let held = written.map_err(|error: BackupError| {
        tracing::warn!(%node, %error, "a backup was not taken");
        Status::failed_precondition(error.to_string())
    })?;
    Ok(UploadBackupResponse { held: held.held, complete: held.complete })
}
