//! The few etcd calls that actions and probes share.
//!
//! | module | what lives there |
//! |---|---|
//! | [`dial`] | addresses, TCP and TLS: never the public roots, always a deadline |
//! | [`member`] | one member's answers: status, list, alarms, read, move, snapshot, `/version` |
//! | [`survey`] | the cluster as this node sees it, every member dialled |
//! | [`known`] | the members' addresses from the last look, for when the local member is down |
//! | [`lead`] | handing leadership over |
//! | [`health`] | is the local member well, at a version |
//! | [`snapshot`] | is a snapshot whole |
//! | [`risen`] | has the cluster's version risen past what the old binary speaks |
//!
//! `GET /health` is never asked: on 3.4 each one writes a v2 entry into the WAL, at which 3.6 panics two minors
//! later. Identities are hex, as `etcdctl` shows them.

pub mod dial;
pub mod health;
pub mod known;
pub mod lead;
pub mod member;
pub mod risen;
pub mod snapshot;
pub mod spare;
pub mod survey;

use std::{path::PathBuf, time::Duration};

use crate::{actions::Problem, policy::Policy};

/// Generated from `proto/etcd/rpc.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub(crate) mod pb {
    tonic::include_proto!("etcdserverpb");
}

/// Where the local member answers where the policy says nothing else.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";

/// How this node reaches its etcd member and the others: root's policy, nothing that the coordinator sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdAccess {
    /// The local member's client URL.
    pub endpoint: String,
    /// Client URLs of other members, asked for the member list while the local member is down.
    pub peers: Vec<String>,
    /// Needed for every `https://` URL.
    pub tls: Option<EtcdTls>,
}

impl Default for EtcdAccess {
    fn default() -> Self {
        Self { endpoint: DEFAULT_ENDPOINT.to_owned(), peers: Vec::new(), tls: None }
    }
}

impl EtcdAccess {
    /// What this node's policy says.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let etcd = policy.etcd();
        let path = |path: &drydock_types::AbsPath| PathBuf::from(path.as_str());
        let client = etcd.cert_file.as_ref().zip(etcd.key_file.as_ref());
        let client = client.map(|(cert, key)| (path(cert), path(key)));
        let tls = etcd.ca_file.as_ref().map(|ca| EtcdTls { ca_file: path(ca), client });
        Self { endpoint: etcd.endpoint.clone(), peers: etcd.peers.clone(), tls }
    }
}

/// Files of the policy, in PEM. Read at every dial, so that a renewed certificate needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdTls {
    /// Who may have signed the members' certificates. Nobody else is believed.
    pub ca_file: PathBuf,
    /// Client certificate and its key, where etcd asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why an etcd member was not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// A client URL that cannot be dialled, or must not be.
    #[error("{url:?} cannot be dialled: {why}")]
    Address {
        /// As it stands in the policy or in the member list.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The policy's certificates cannot be used.
    #[error("etcd's TLS file {}: {why}", file.display())]
    TlsFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No connection.
    #[error("no connection to etcd at {url}: {why}")]
    Connect {
        /// Where.
        url: String,
        /// The system's or TLS's words.
        why: String,
    },
    /// Nothing was heard in time.
    #[error("etcd at {url} did not answer {call} within {within:?}")]
    Deadline {
        /// Where.
        url: String,
        /// Which call.
        call: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// The member answered with an error.
    #[error("etcd at {url} answered {call} with {code:?}: {message}")]
    Call {
        /// Where.
        url: String,
        /// Which call.
        call: &'static str,
        /// gRPC's code.
        code: tonic::Code,
        /// etcd's words.
        message: String,
    },
    /// The answer does not have the form that etcd's has.
    #[error("etcd at {url} gave an answer to {call} that cannot be read: {why}")]
    Answer {
        /// Where.
        url: String,
        /// Which call.
        call: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl EtcdError {
    /// The member's refusal of a call.
    pub(crate) fn refusal(url: String, call: &'static str, status: &tonic::Status) -> Self {
        Self::Call { url, call, code: status.code(), message: status.message().chars().take(300).collect() }
    }
}

impl From<EtcdError> for Problem {
    fn from(error: EtcdError) -> Self {
        let next = match &error {
            EtcdError::Address { .. } | EtcdError::TlsFile { .. } => "correct [etcd] in the agent's policy",
            EtcdError::Connect { .. } | EtcdError::Deadline { .. } => {
                "see that the member runs and that [etcd] endpoint in the agent's policy names its client URL"
            }
            EtcdError::Call { .. } | EtcdError::Answer { .. } => "see etcd's log on this node",
        };
        Self::new(error.to_string()).next(next)
    }
}
