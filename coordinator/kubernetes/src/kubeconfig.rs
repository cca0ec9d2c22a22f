//! What a cluster is reached with, and how it is read from a kubeconfig file.
//!
//! A kubeconfig is somebody else's file: keys that Drydock does not use are passed over. What it does use is judged
//! here, on the operator's machine, before anything is sent or sealed. What would be weaker than it looks is refused
//! with words: a program that makes the credentials (it would run inside the coordinator), TLS that is not verified,
//! another user's rights.
//!
//! | module | what lives there |
//! |---|---|
//! | `error` | why a file is not taken |
//! | `file` | from a file to [`Credentials`] |
//! | `server` | an endpoint's URL |
//! | [`expiry`] | how long a client certificate or a token is good |
//! | `in_cluster` | what a pod is given by its cluster |

mod error;
pub mod expiry;
mod file;
mod in_cluster;
mod server;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    error::KubeconfigError,
    file::{Asked, Taken, read},
    in_cluster::{in_cluster, own_pod},
    server::{Endpoint, endpoints},
};

/// A text that only its reader sees: neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text: for the request that needs it, and for sealing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

/// What a cluster is reached with. Serialised to be sealed, and for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Credentials {
    /// The API's endpoints, the preferred one first. At least one.
    pub endpoints: Vec<Endpoint>,
    /// Who signs the servers' certificates.
    pub authority: Authority,
    /// The name that the servers' certificates must have, where it is not their URLs'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// Who we are.
    pub user: User,
}

/// Who signs the servers' certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Authority {
    /// Certificates in PEM.
    Pem(String),
    /// A file on the coordinator, read anew while it runs.
    File(PathBuf),
    /// Whom the coordinator's system trusts.
    System,
}

/// Who we are to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum User {
    /// A bearer token.
    Token(Secret),
    /// A file on the coordinator with a bearer token, read anew while it runs.
    TokenFile(PathBuf),
    /// A client certificate.
    Certificate(Identity),
}

/// A client certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// The chain in PEM, our own certificate first.
    pub certificate: String,
    /// In PEM.
    pub key: Secret,
}
