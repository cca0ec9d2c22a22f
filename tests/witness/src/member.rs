//! One etcd member as seen through its client endpoint.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::pb::kv_client::KvClient;
use crate::pb::maintenance_client::MaintenanceClient;

/// Why a question got no answer.
#[derive(Debug)]
pub enum AskError {
    /// Nothing came within the deadline.
    Deadline(Duration),
    /// The member, or the way to it, said no.
    Refused(Box<tonic::Status>),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::Refused(status) => write!(f, "{:?}: {}", status.code(), status.message()),
        }
    }
}

impl std::error::Error for AskError {}

/// What a member says about itself, or why it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The member answered the Status call within the deadline.
    pub ok: bool,
    /// etcd's version, such as `3.4.23`.
    pub version: Option<String>,
    /// The member's own id in hex.
    pub member_id: Option<String>,
    /// The leader that it names, in hex; absent when it names none.
    pub leader_id: Option<String>,
    /// How long the answer, or the failure, took in milliseconds.
    pub took_ms: u64,
    /// Why there is no answer, or what the member complains of (a newer etcd lists its alarms).
    pub error: Option<String>,
}

impl View {
    /// Answered, knows a leader, and complains of nothing.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.ok && self.leader_id.is_some() && self.error.is_none()
    }
}

/// A connection to one endpoint. After any failure the connection is thrown away: a TCP connection
/// to a node that lost its power hangs for minutes, and one that survived a partition waits for
/// its own back-off, which would be counted against the member. (Keepalive pings are no way out:
/// etcd closes connections that ping more often than every 5 s.)
#[derive(Debug)]
pub struct Member {
    name: String,
    endpoint: Endpoint,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    generation: u64,
    channel: Channel,
}

impl Member {
    /// A member at `host:port`, in clear text. Connects at the first question only.
    ///
    /// # Errors
    /// When the address does not parse.
    pub fn new(address: &str, deadline: Duration) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{address:?} is no endpoint; write HOST:PORT"))?
            .connect_timeout(deadline);
        let channel = endpoint.connect_lazy();
        Ok(Self { name: address.to_owned(), endpoint, line: Mutex::new(Line { generation: 0, channel }) })
    }

    /// One member for each address.
    ///
    /// # Errors
    /// When an address does not parse, or there is none.
    pub fn all(addresses: &[String], deadline: Duration) -> Result<Vec<Self>> {
        anyhow::ensure!(!addresses.is_empty(), "no endpoints; name at least one");
        addresses.iter().map(|address| Self::new(address, deadline)).collect()
    }

    /// `host:port`, as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for the status; a failure becomes a view that is not ok.
    pub async fn view(&self, deadline: Duration) -> View {
        let asked = Instant::now();
        let answer = self
            .ask(deadline, |channel| async move {
                let mut client = MaintenanceClient::new(channel);
                client.status(pb::StatusRequest {}).await
            })
            .await;
        let took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(status) => View {
                took_ms,
                ok: true,
                member_id: status.header.map(|header| hex(header.member_id)),
                leader_id: (status.leader != 0).then(|| hex(status.leader)),
                version: Some(status.version),
                error: (!status.errors.is_empty()).then(|| status.errors.join("; ")),
            },
            Err(error) => View { took_ms, error: Some(error.to_string()), ..View::default() },
        }
    }

    /// Puts one key, once.
    ///
    /// # Errors
    /// When no acknowledgement came: the key may or may not have been written.
    pub async fn put(&self, key: &str, value: &str, deadline: Duration) -> Result<(), AskError> {
        let request = pb::PutRequest { key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec() };
        self.ask(deadline, |channel| async move { KvClient::new(channel).put(request).await })
            .await
            .map(|_| ())
    }

    /// Reads a range.
    ///
    /// # Errors
    /// When the member does not answer in time.
    pub async fn range(
        &self,
        request: pb::RangeRequest,
        deadline: Duration,
    ) -> Result<pb::RangeResponse, AskError> {
        self.ask(deadline, |channel| async move { KvClient::new(channel).range(request).await }).await
    }

    /// Lists the cluster's members.
    ///
    /// # Errors
    /// When the member does not answer in time.
    pub async fn list(&self, deadline: Duration) -> Result<pb::MemberListResponse, AskError> {
        self.ask(deadline, |channel| async move {
            ClusterClient::new(channel).member_list(pb::MemberListRequest {}).await
        })
        .await
    }

    async fn ask<T, F, Fut>(&self, deadline: Duration, question: F) -> Result<T, AskError>
    where
        F: FnOnce(Channel) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let (generation, channel) = self.current();
        let outcome = tokio::time::timeout(deadline, question(channel)).await;
        match outcome {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                if !is_an_answer(status.code()) {
                    self.discard(generation);
                }
                Err(AskError::Refused(Box::new(status)))
            }
            Err(_elapsed) => {
                self.discard(generation);
                Err(AskError::Deadline(deadline))
            }
        }
    }

    fn current(&self) -> (u64, Channel) {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        (line.generation, line.channel.clone())
    }

    fn discard(&self, generation: u64) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        // Several questions share a connection: only the first to fail replaces it.
        if line.generation == generation {
            line.generation += 1;
            line.channel = self.endpoint.connect_lazy();
        }
    }
}

/// Codes that etcd itself sends, over a connection that evidently works.
fn is_an_answer(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unauthenticated
    )
}

/// An id as etcd prints it.
#[must_use]
pub fn hex(id: u64) -> String {
    format!("{id:x}")
}
