//! The members as they were last listed, kept in the agent's state: while the local member is down, somebody
//! else must be asked, and the policy need not name everybody.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use serde::{Deserialize, Serialize};

/// A member list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownCluster {
    /// Hex id of the cluster.
    pub cluster: String,
    /// Its members, in the order of ids.
    pub members: Vec<KnownMember>,
}

/// A member as the list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownMember {
    /// Hex id.
    pub id: String,
    /// Its name; empty for one that was added and never started.
    pub name: String,
    /// A learner does not vote.
    pub learner: bool,
    /// Where it says that it answers.
    pub client_urls: Vec<String>,
}

/// More than any list of members, and little enough to read without a thought.
const MAX_BYTES: u64 = 256 << 10;

/// The file that remembers.
#[derive(Debug, Clone)]
pub struct Known {
    path: PathBuf,
}

impl Known {
    /// In the agent's state directory.
    #[must_use]
    pub fn in_state(state_dir: &Path) -> Self {
        Self { path: state_dir.join("etcd-members.json") }
    }

    /// What was remembered; nothing when it cannot be read: it is a help, no evidence.
    pub async fn load(&self) -> Option<KnownCluster> {
        let path = self.path.clone();
        let read = move || {
            let fits = std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
            let bytes = if fits { std::fs::read(&path).ok()? } else { return None };
            serde_json::from_slice(&bytes).ok()
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// Remembers a list, where it is another than the one remembered. A failure is only logged.
    pub async fn save(&self, list: &KnownCluster) {
        if self.load().await.as_ref() == Some(list) {
            return;
        }
        let (path, list) = (self.path.clone(), list.clone());
        let written = tokio::task::spawn_blocking(move || write(&path, &list)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(path = %self.path.display(), %error, "etcd's member list could not be remembered");
        }
    }
}

fn write(path: &Path, list: &KnownCluster) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    let bytes = serde_json::to_vec(list)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&new)?;
    durable!("agent.etcd-known.write", file.write_all(&bytes))?;
    // No fsync: what is lost is looked up again.
    durable!("agent.etcd-known.rename", std::fs::rename(&new, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_listed_is_remembered_and_rubbish_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known::in_state(dir.path());
        assert_eq!(known.load().await, None);
        let list = KnownCluster {
            cluster: "c".into(),
            members: vec![KnownMember {
                id: "a".into(),
                name: "n".into(),
                learner: false,
                client_urls: vec!["http://10.0.0.1:2379".into()],
            }],
        };
        known.save(&list).await;
        assert_eq!(known.load().await, Some(list));
        std::fs::write(dir.path().join("etcd-members.json"), b"{").unwrap();
        assert_eq!(known.load().await, None);
    }
}
