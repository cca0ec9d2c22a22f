//! The agents' service: their stream, artifacts to fetch, backups to keep, certificates to renew.

use std::{sync::Arc, time::Duration};

use drydock_proto::{
    agent::{
        ArtifactChunk, FetchArtifactRequest, FromAgent, RenewRequest, RenewResponse, StatBackupRequest,
        StatBackupResponse, UploadBackupRequest, UploadBackupResponse, agent_service_server::AgentService,
    },
    edge, limits,
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{App, attach};
use crate::{
    artifacts::ArtifactReader,
    link::Sent,
    quota::Transfer,
    trust::{self, NodePeer},
};

/// How long a peer may take nothing of a file that it asked for: a thread waits for it.
const STALL: Duration = Duration::from_secs(60);

/// The service.
#[derive(Debug, Clone)]
pub struct Agents(pub Arc<App>);

fn bad(error: edge::BadField) -> Status {
    Status::invalid_argument(error.to_string())
}

impl Agents {
    /// One node's calls do not take the disk and the threads from the others.
    fn may_call(&self, peer: &NodePeer) -> Result<(), Status> {
        let refused =
            || Status::resource_exhausted("this node calls more often than it may; come again later");
        self.0.quotas.call(peer.key).then_some(()).ok_or_else(refused)
    }

    fn may_transfer(&self, peer: &NodePeer) -> Result<Transfer, Status> {
        self.may_call(peer)?;
        let refused =
            || Status::resource_exhausted("this node has too many files on their way; come again later");
        self.0.quotas.transfer(peer.key).ok_or_else(refused)
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    type AttachStream = ReceiverStream<Sent>;
    type FetchArtifactStream = ReceiverStream<Result<ArtifactChunk, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = trust::node_peer(&request)?;
        let from = request.extensions().get::<trust::PeerConnection>();
        let address = from.map(|connection| connection.address.ip().to_string()).unwrap_or_default();
        let mut stream = request.into_inner();
        let (queue, sent) = mpsc::channel(limits::STREAM_QUEUE);
        let app = Arc::clone(&self.0);
        // The answer's headers must not wait for Hello: the agent's client may wait for them first.
        tokio::spawn(async move {
            match attach::begin(&app, &peer, &mut stream, queue.clone(), address).await {
                Ok(seat) => {
                    drop(queue);
                    tracing::info!(node = %peer.name, "an agent's stream opened");
                    attach::read(app, peer, seat, stream).await;
                }
                Err(status) => {
                    tracing::warn!(node = %peer.name, why = status.message(), "an agent's stream was refused");
                    let _ = queue.send(Err(status)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    async fn fetch_artifact(
        &self,
        request: Request<FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let place = self.may_transfer(&trust::node_peer(&request)?)?;
        let asked = request.into_inner();
        let sha256 = edge::sha256(&asked.sha256).map_err(bad)?;
        let file = self.0.blocking(move |app| app.artifacts.open_at(sha256, asked.offset)).await?;
        let (chunks, sent) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || send_file(file, &chunks, place));
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    async fn stat_backup(
        &self,
        request: Request<StatBackupRequest>,
    ) -> Result<Response<StatBackupResponse>, Status> {
        let peer = trust::node_peer(&request)?;
        self.may_call(&peer)?;
        let asked = request.into_inner();
        let (effect, sha256) =
            (edge::effect_id(&asked.effect_id).map_err(bad)?, edge::sha256(&asked.sha256).map_err(bad)?);
        let held =
            self.0.blocking(move |app| app.backups.stat(&peer.name, effect, sha256, asked.size)).await?;
        Ok(Response::new(StatBackupResponse { held: held.held, complete: held.complete }))
    }

    async fn upload_backup(
        &self,
        request: Request<Streaming<UploadBackupRequest>>,
    ) -> Result<Response<UploadBackupResponse>, Status> {
        let peer = trust::node_peer(&request)?;
        let place = self.may_transfer(&peer)?;
        super::uploads::backup(&self.0, peer, place, request.into_inner()).await.map(Response::new)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let peer = trust::renewing_peer(&request)?;
        self.may_call(&peer)?;
        let name = peer.name.clone();
        let asked = request.into_inner();
        let now = self.0.trust.clock.now_unix_s();
        let (issued, response) = trust::renew(&self.0.ca, &peer, &asked, self.0.node_ttl_s, now)
            .map_err(|error| error.status())?;
        let (serial, until) = (issued.serial, issued.not_after_unix_s);
        self.0.blocking(move |app| app.registry.renew_node(peer.key, serial, until)).await?;
        tracing::info!(node = %name, "renewed its certificate");
        Ok(Response::new(response))
    }
}

/// Chunk by chunk, no faster than the peer takes them; one that takes nothing is left. On a blocking thread.
fn send_file(
    mut file: ArtifactReader,
    chunks: &mpsc::Sender<Result<ArtifactChunk, Status>>,
    _place: Transfer,
) {
    loop {
        let chunk = match file.next_chunk() {
            Ok(None) => return,
            Ok(Some(data)) => Ok(ArtifactChunk { data }),
            Err(error) => Err(Status::internal(format!("the artifact could not be read: {error}"))),
        };
        let last = chunk.is_err();
        let taken = Handle::current().block_on(timeout(STALL, chunks.send(chunk)));
        if !matches!(taken, Ok(Ok(()))) || last {
            return;
        }
    }
}
