//! One member, asked for its own word. Every call has a deadline.

use std::{future::Future, time::Duration};

use drydock_types::{Version, probe::EtcdStatus};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::timeout;
use tonic::{Code, Streaming, transport::Channel};

use super::{
    EtcdAccess, EtcdError,
    dial::{self, Target},
    known::{KnownCluster, KnownMember},
    pb::{self, cluster_client::ClusterClient, kv_client::KvClient, maintenance_client::MaintenanceClient},
};

/// The largest answer but for a snapshot's pieces, which are smaller (etcd sends 32 KiB at once).
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// `/version` is some 50 bytes.
const MAX_VERSION_BYTES: usize = 4 << 10;

/// A connection to one member.
#[derive(Debug, Clone)]
pub struct Member {
    target: Target,
    channel: Channel,
}

/// A member's `/version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The binary's.
    pub server: Version,
    /// The cluster's: what all members agreed to speak. `None` while it is not decided.
    pub cluster: Option<Version>,
}

impl Member {
    /// Dials a client URL of the policy.
    ///
    /// # Errors
    /// [`EtcdError`] when there is no connection `within` the time.
    pub async fn dial(access: &EtcdAccess, url: &str, within: Duration) -> Result<Self, EtcdError> {
        Self::dial_target(access, Target::parse(url)?, within).await
    }

    /// Dials an address that has been looked at.
    ///
    /// # Errors
    /// [`EtcdError`] when there is no connection `within` the time.
    pub async fn dial_target(
        access: &EtcdAccess,
        target: Target,
        within: Duration,
    ) -> Result<Self, EtcdError> {
        let channel = dial::grpc(access, &target, within).await?;
        Ok(Self { target, channel })
    }

    /// Where it was dialled.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.target.url
    }

    /// The member's word of itself, and the revision of its store.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not answer in time, or unreadably.
    pub async fn status(&self, within: Duration) -> Result<(EtcdStatus, i64), EtcdError> {
        let mut client = self.maintenance();
        let raw = self.call("Status", within, client.status(pb::StatusRequest {})).await?;
        let header = raw.header.ok_or_else(|| self.unreadable("Status", "it has no header"))?;
        let version = Version::parse(&raw.version).map_err(|e| self.unreadable("Status", e))?;
        let status = EtcdStatus {
            cluster: hex(header.cluster_id),
            member: hex(header.member_id),
            version,
            leader: hex(raw.leader),
            raft_term: raw.raft_term,
            raft_index: raw.raft_index,
            raft_applied: raw.raft_applied_index,
            db_size: raw.db_size,
            errors: raw.errors,
        };
        Ok((status, header.revision))
    }

    /// The member list as this member has it, in the order of ids.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not answer in time, or unreadably.
    pub async fn members(&self, within: Duration) -> Result<KnownCluster, EtcdError> {
        let mut client = ClusterClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let raw = self.call("MemberList", within, client.member_list(pb::MemberListRequest {})).await?;
        let header = raw.header.ok_or_else(|| self.unreadable("MemberList", "it has no header"))?;
        let mut members: Vec<_> = raw.members.into_iter().map(KnownMember::from).collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(KnownCluster { cluster: hex(header.cluster_id), members })
    }

    /// Raised alarms, `NOSPACE on 8e9e05c52164694d`.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not answer in time.
    pub async fn alarms(&self, within: Duration) -> Result<Vec<String>, EtcdError> {
        let mut client = self.maintenance();
        let raw = self.call("Alarm", within, client.alarm(pb::AlarmRequest::default())).await?;
        let text = |alarm: &pb::AlarmMember| {
            let kind =
                pb::AlarmType::try_from(alarm.alarm).map_or("unknown alarm", |kind| kind.as_str_name());
            format!("{kind} on {}", hex(alarm.member_id))
        };
        Ok(raw.alarms.iter().map(text).collect())
    }

    /// A linearizable read: it succeeds only with a quorum behind it, and once this member has applied all that
    /// was committed when it was asked.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not succeed in time.
    pub async fn read(&self, within: Duration) -> Result<(), EtcdError> {
        let mut client = KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let request = pb::RangeRequest { key: b"health".to_vec(), count_only: true, ..Default::default() };
        match self.call("a linearizable read", within, client.range(request)).await {
            // etcd judges rights after the quorum has agreed on the read (v3_server.go, Range): who has no right
            // to read has seen the quorum all the same. `etcdctl endpoint health` takes it so, too.
            Err(EtcdError::Call { code: Code::PermissionDenied, .. }) => Ok(()),
            Err(EtcdError::Call { code: Code::InvalidArgument, message, .. })
                if message.contains("user name is empty") =>
            {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// The names of the keys under a prefix, at most so many, as this member's own store has them: without a quorum, as
    /// a snapshot is taken. Their values stay where they are.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not answer in time, there are more, or a name is no text.
    pub async fn keys(&self, prefix: &str, most: u32, within: Duration) -> Result<Vec<String>, EtcdError> {
        let mut client = KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let key = prefix.as_bytes().to_vec();
        let request = pb::RangeRequest {
            range_end: end_of(&key),
            key,
            limit: i64::from(most),
            serializable: true,
            keys_only: true,
            ..Default::default()
        };
        let raw = self.call("Range", within, client.range(request)).await?;
        if raw.more {
            return Err(self.unreadable("Range", format!("there are more than {most} keys under {prefix}")));
        }
        let name = |found: pb::KeyValue| {
            String::from_utf8(found.key).map_err(|_| self.unreadable("Range", "a key's name is no text"))
        };
        raw.kvs.into_iter().map(name).collect()
    }

    /// Hands leadership to another member; this one must lead.
    ///
    /// # Errors
    /// [`EtcdError`] when it does not lead, the other is not taken, or it does not end in time: then what came
    /// of it is to be seen from the members.
    pub async fn move_leader(&self, to: &str, within: Duration) -> Result<(), EtcdError> {
        let bad = |_| self.unreadable("MoveLeader", format!("{to:?} is not a member's id"));
        let target_id = u64::from_str_radix(to, 16).map_err(bad)?;
        let mut client = self.maintenance();
        let request = pb::MoveLeaderRequest { target_id };
        self.call("MoveLeader", within, client.move_leader(request)).await.map(|_| ())
    }

    /// Begins a snapshot: the store's file in pieces, then its SHA-256.
    ///
    /// # Errors
    /// [`EtcdError`] when it is not begun in time.
    pub(crate) async fn snapshot(
        &self,
        within: Duration,
    ) -> Result<Streaming<pb::SnapshotResponse>, EtcdError> {
        let mut client = self.maintenance();
        self.call("Snapshot", within, client.snapshot(pb::SnapshotRequest {})).await
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    async fn call<T>(
        &self,
        call: &'static str,
        within: Duration,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, EtcdError> {
        let url = || self.target.url.clone();
        match timeout(within, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(EtcdError::refusal(url(), call, &status)),
            Err(_) => Err(EtcdError::Deadline { url: url(), call, within }),
        }
    }

    fn unreadable(&self, call: &'static str, why: impl ToString) -> EtcdError {
        EtcdError::Answer { url: self.target.url.clone(), call, why: why.to_string() }
    }
}

/// `GET /version`: the only place where a member says the cluster's version (before 3.6).
///
/// # Errors
/// [`EtcdError`] when it does not answer in time, or unreadably.
pub async fn versions(access: &EtcdAccess, target: &Target, within: Duration) -> Result<Versions, EtcdError> {
    let late = |_| EtcdError::Deadline { url: target.url.clone(), call: "GET /version", within };
    timeout(within, get_version(access, target)).await.map_err(late)?
}

async fn get_version(access: &EtcdAccess, target: &Target) -> Result<Versions, EtcdError> {
    let bad = |why: String| EtcdError::Answer { url: target.url.clone(), call: "GET /version", why };
    let stream = TokioIo::new(dial::http1(access, target).await?);
    let handshake = hyper::client::conn::http1::Builder::new().max_headers(32).handshake(stream);
    let (mut sender, connection) = handshake.await.map_err(|error| bad(error.to_string()))?;
    let host = target.url.split_once("://").map_or(target.host.as_str(), |(_, host)| host);
    let request = http::Request::get("/version").header(http::header::HOST, host);
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| bad(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| bad(error.to_string()))?;
        if answer.status() != http::StatusCode::OK {
            return Err(bad(format!("HTTP status {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MAX_VERSION_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| bad(error.to_string()))
    };
    // The connection is driven here and ends with the exchange: no task is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let body = tokio::select! {
        biased;
        body = &mut exchange => body?,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await?,
            Err(error) => return Err(bad(error.to_string())),
        },
    };
    read_versions(&body).map_err(bad)
}

#[derive(Deserialize)]
struct VersionBody {
    etcdserver: String,
    etcdcluster: String,
}

fn read_versions(body: &[u8]) -> Result<Versions, String> {
    let body: VersionBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let server = Version::parse(&body.etcdserver).map_err(|error| error.to_string())?;
    let cluster = match body.etcdcluster.as_str() {
        "not_decided" | "" => None,
        text => Some(Version::parse(text).map_err(|error| error.to_string())?),
    };
    Ok(Versions { server, cluster })
}

impl From<pb::Member> for KnownMember {
    fn from(raw: pb::Member) -> Self {
        Self { id: hex(raw.id), name: raw.name, learner: raw.is_learner, client_urls: raw.client_urls }
    }
}

/// The first key that does not begin with this one; all keys behind it where there is none, which etcd writes as 0.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else { return vec![0] };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_that_does_not_begin_with_it() {
        assert_eq!(end_of(b"/bootstrap/"), b"/bootstrap0");
        assert_eq!(end_of(b"a\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
    }

    #[test]
    fn a_version_answer_is_read_and_an_undecided_cluster_has_none() {
        let read = read_versions(br#"{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}"#).unwrap();
        assert_eq!(read.cluster.unwrap().minor(), (3, 4));
        let read = read_versions(br#"{"etcdserver":"3.5.16","etcdcluster":"not_decided"}"#).unwrap();
        assert_eq!(read.cluster, None);
        assert!(read_versions(b"{}").is_err());
        assert!(read_versions(br#"{"etcdserver":"x","etcdcluster":"3.4.0"}"#).is_err());
    }
}
