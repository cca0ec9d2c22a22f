//! A coordinator that serves artifacts and takes backups over plaintext loopback, honestly or not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, reason = "a test double")]

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use drydock_proto::agent::{
    ArtifactChunk, EnrollRequest, FetchArtifactRequest, FromAgent, RenewRequest, RenewResponse,
    StatBackupRequest, StatBackupResponse, ToAgent, UploadBackupRequest, UploadBackupResponse,
    agent_service_server::{AgentService, AgentServiceServer},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
const CHUNK: usize = 16 << 10;

/// What it does when an artifact is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test binary uses some")]
pub enum Manner {
    /// Serves what it has.
    Honest,
    /// Breaks each stream after so many bytes.
    BreaksAfter(usize),
    /// Never stops.
    Endless,
    /// Does not have it.
    Missing,
}

/// What it holds and what it was asked.
#[derive(Debug, Default)]
pub struct Held {
    pub artifact: Vec<u8>,
    pub fetch_offsets: Vec<u64>,
    pub backup: Vec<u8>,
    pub uploads: usize,
    /// Bytes after which an upload is broken off.
    pub break_upload_after: Option<usize>,
    pub refuse_upload: Option<tonic::Code>,
    /// Claims to hold so many bytes.
    pub claims_to_hold: Option<u64>,
}

#[derive(Debug)]
pub struct Double {
    pub manner: Mutex<Manner>,
    pub held: Mutex<Held>,
}

/// Starts it; ends with the runtime.
pub async fn serve(artifact: Vec<u8>, manner: Manner) -> (Channel, Arc<Double>) {
    let held = Mutex::new(Held { artifact, ..Held::default() });
    let double = Arc::new(Double { manner: Mutex::new(manner), held });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server =
        tonic::transport::Server::builder().add_service(AgentServiceServer::from_arc(double.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap();
    (channel, double)
}

#[tonic::async_trait]
impl AgentService for Double {
    type AttachStream = Out<ToAgent>;
    type FetchArtifactStream = Out<ArtifactChunk>;

    async fn attach(&self, _: Request<Streaming<FromAgent>>) -> Result<Response<Out<ToAgent>>, Status> {
        Err(Status::unimplemented("not in this double"))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let _: Option<EnrollRequest> = None;
        Err(Status::unimplemented("not in this double"))
    }

    async fn fetch_artifact(
        &self,
        request: Request<FetchArtifactRequest>,
    ) -> Result<Response<Out<ArtifactChunk>>, Status> {
        let offset = request.into_inner().offset;
        let manner = *self.manner.lock().unwrap();
        let bytes = {
            let mut held = self.held.lock().unwrap();
            held.fetch_offsets.push(offset);
            let at = usize::try_from(offset).unwrap().min(held.artifact.len());
            held.artifact[at..].to_vec()
        };
        let chunk = |data: &[u8]| Ok(ArtifactChunk { data: data.to_vec() });
        let chunks = |bytes: &[u8]| bytes.chunks(CHUNK).map(chunk).collect::<Vec<_>>();
        let out: Out<ArtifactChunk> = match manner {
            Manner::Honest => Box::pin(tokio_stream::iter(chunks(&bytes))),
            Manner::BreaksAfter(n) if n < bytes.len() => {
                let mut list = chunks(&bytes[..n]);
                list.push(Err(Status::unavailable("broken off by the test")));
                Box::pin(tokio_stream::iter(list))
            }
            Manner::BreaksAfter(_) => Box::pin(tokio_stream::iter(chunks(&bytes))),
            Manner::Endless => {
                let first = tokio_stream::iter(chunks(&bytes));
                let more =
                    tokio_stream::iter(std::iter::repeat_with(|| Ok(ArtifactChunk { data: vec![7; CHUNK] })));
                Box::pin(first.chain(more))
            }
            Manner::Missing => return Err(Status::not_found("there is no such artifact")),
        };
        Ok(Response::new(out))
    }

    async fn stat_backup(
        &self,
        request: Request<StatBackupRequest>,
    ) -> Result<Response<StatBackupResponse>, Status> {
        let size = request.into_inner().size;
        let held = self.held.lock().unwrap();
        let bytes = held.claims_to_hold.unwrap_or(held.backup.len() as u64);
        Ok(Response::new(StatBackupResponse { held: bytes, complete: bytes == size }))
    }

    async fn upload_backup(
        &self,
        request: Request<Streaming<UploadBackupRequest>>,
    ) -> Result<Response<UploadBackupResponse>, Status> {
        let mut stream = request.into_inner();
        let limit = {
            let mut held = self.held.lock().unwrap();
            held.uploads += 1;
            if let Some(code) = held.refuse_upload {
                return Err(Status::new(code, "refused by the test"));
            }
            held.break_upload_after.take()
        };
        let (mut size, mut came) = (0, 0);
        while let Some(message) = stream.message().await? {
            if let Some(header) = message.header {
                size = header.size;
                assert_eq!(
                    header.offset,
                    self.held.lock().unwrap().backup.len() as u64,
                    "resumed where it ended"
                );
            }
            came += message.data.len();
            self.held.lock().unwrap().backup.extend_from_slice(&message.data);
            if limit.is_some_and(|limit| came >= limit) {
                return Err(Status::unavailable("broken off by the test"));
            }
        }
        let held = self.held.lock().unwrap().backup.len() as u64;
        Ok(Response::new(UploadBackupResponse { held, complete: held == size }))
    }
}
