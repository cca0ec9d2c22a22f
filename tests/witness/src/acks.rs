//! The files in which the writer records what became of each key.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A key that etcd acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The key; never used twice.
    pub key: String,
    /// Its value.
    pub value: String,
    /// When the acknowledgement came, in milliseconds since 1970.
    pub acked_unix_ms: u64,
}

/// A key of which nobody knows whether it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The key.
    pub key: String,
    /// The value that was sent.
    pub value: String,
    /// When the writer gave up, in milliseconds since 1970.
    pub gave_up_unix_ms: u64,
    /// The endpoint asked.
    pub endpoint: String,
    /// Why there was no acknowledgement.
    pub error: String,
}

/// Where the unknown keys belonging to an acknowledgement file are kept.
#[must_use]
pub fn unknown_path(acks: &Path) -> PathBuf {
    let mut name = acks.as_os_str().to_owned();
    name.push(".unknown");
    PathBuf::from(name)
}
