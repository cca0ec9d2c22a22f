//! What only the services need of the store: nodes, join tokens, revocations, and the indices of the files
//! beside it. The same file as the run store's, over a connection of its own; cheap to clone.
//!
//! Every method blocks (a disk, another writer's commit): call it from `spawn_blocking`. What it changes is
//! durable when it returns.

mod clusters;
mod files;
mod nodes;
mod record;
mod rehearsals;
mod tokens;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use drydock_proto::tls::{Serial, TokenId};
use drydock_types::{ClusterName, NodeKey, NodeName, Sha256};
use rusqlite::{Connection, Params, Row, Transaction, params};

pub use self::{
    clusters::{BindingRow, ClusterRow},
    files::{ArtifactRow, BackupRow, Reservation},
    nodes::{Enrolled, NewNode, NodeRow},
    record::Unreadable,
    rehearsals::RehearsalRow,
    tokens::{AtEnrolment, StoredToken},
};
use super::{
    StoreError,
    sqlite::{
        Checkpoint,
        database::{Database, Failed, Fault},
        rows, unread,
    },
};
use crate::trust::{revocation::Revoked, token::EnrolRefusal};

/// The services' part of the store.
#[derive(Debug, Clone)]
pub struct Registry {
    db: Arc<Database>,
    conn: Arc<Mutex<Connection>>,
}

/// Why the registry did not do it. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What may not be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token.
    #[error(transparent)]
    Token(#[from] EnrolRefusal),
    /// Somebody else has the name.
    #[error(
        "a node {node} is enrolled already, with key {key}: if this machine takes its place, make a token with \
         `drydock token create {node} --replace`; if not, give it another name"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
        /// First digits of the key that has it.
        key: String,
    },
    /// A key is one node's for ever.
    #[error(
        "this machine's key is or was that of node {node}: remove the key on the machine and enrol again"
    )]
    KeyTaken {
        /// Whose.
        node: NodeName,
    },
    /// No such node.
    #[error("no node {0} is enrolled: `drydock node list` shows those that are")]
    UnknownNode(NodeName),
    /// No such key.
    #[error("the key {0} is not that of an enrolled node: enrol the machine again with a new token")]
    UnknownKey(String),
    /// No such token, or nothing left to revoke.
    #[error("token {0:?} {1}: `drydock token list` shows the open ones")]
    TokenState(TokenId, &'static str),
    /// Too many.
    #[error("node {node} would have {wanted} labels; {most} are the most")]
    TooManyLabels {
        /// Which.
        node: NodeName,
        /// With this one.
        wanted: usize,
        /// At most.
        most: usize,
    },
    /// The bytes are there under another name.
    #[error(
        "artifact {sha256:?} is in the store as {known}, and its signature says {wanted}: one artifact has one name"
    )]
    ArtifactKnown {
        /// Which.
        sha256: Sha256,
        /// What it is.
        known: String,
        /// What it was to be.
        wanted: String,
    },
    /// A backup that is whole is not replaced.
    #[error("the backup of this effect is complete with another digest or size ({0}) and is not replaced")]
    BackupKnown(Sha256),
    /// No such cluster.
    #[error("there is no cluster {0}: `drydock cluster list` shows those that are")]
    UnknownCluster(ClusterName),
    /// It is there.
    #[error(
        "there is a cluster {0} already: to give it new credentials or endpoints add it with --replace, or choose \
         another name"
    )]
    ClusterKnown(ClusterName),
    /// Nodes are its Nodes.
    #[error(
        "{nodes} {are} bound to the cluster {cluster}: `drydock node bind NODE --none` ends that, for each"
    )]
    ClusterBound {
        /// Which.
        cluster: ClusterName,
        /// The first few, by name.
        nodes: String,
        /// `is`, `are`.
        are: &'static str,
    },
    /// Two machines cannot be one Node.
    #[error(
        "the Node {kube_node} of the cluster {cluster} is {other} already: `drydock node bind {other} --none`"
    )]
    NodeBound {
        /// Which cluster.
        cluster: ClusterName,
        /// Which of its Nodes.
        kube_node: String,
        /// Who it is.
        other: NodeName,
    },
    /// The node's share is used up.
    #[error(
        "the backups of node {node} would have {wanted_bytes} bytes; its quota is {quota_bytes}: remove old ones \
         with `drydock backup remove`"
    )]
    Quota {
        /// Whose.
        node: NodeName,
        /// With this one.
        wanted_bytes: u64,
        /// At most.
        quota_bytes: u64,
    },
}

impl From<Failed<Refusal>> for RegistryError {
    fn from(failed: Failed<Refusal>) -> Self {
        match failed {
            Failed::Store(error) => Self::Store(error),
            Failed::No(refusal) => Self::Refused(refusal),
        }
    }
}

type Work<T> = Result<T, Fault<Refusal>>;

impl Registry {
    pub(in crate::store) fn over(db: Arc<Database>, conn: Connection) -> Self {
        Self { db, conn: Arc::new(Mutex::new(conn)) }
    }

    /// One transaction that may be refused. Registry rows are small.
    fn change<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Work<T>,
    ) -> Result<T, RegistryError> {
        Ok(self.db.write(&mut self.lock(), doing, 64 << 10, work)?)
    }

    /// One transaction that only the disk can refuse.
    fn put<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault<Infallible>>,
    ) -> Result<T, StoreError> {
        Ok(self.db.write(&mut self.lock(), doing, 64 << 10, work)?)
    }

    fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let conn = self.lock();
        let rows = || conn.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>();
        rows().map_err(|why| unread(&self.db, sql, why))
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.list(sql, params, read)?.pop())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic while it was held has rolled its transaction back.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the disk has failed under anybody's write: then nothing more can be written by this process, and
    /// only a start that reads the disk knows what is on it.
    pub async fn disk_failed(&self) -> String {
        self.db.disk_failed().await
    }

    /// Takes what the WAL holds into the database, without making the driver wait: for when nothing happens.
    ///
    /// # Errors
    /// When the disk says no; nothing is lost by that.
    pub fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.db.checkpoint(&self.lock())
    }

    /// Everybody who is no longer believed: fills the trust's list at a start.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn revoked(&self) -> Result<Revoked, StoreError> {
        let mut revoked = Revoked::default();
        for entry in self.list("SELECT kind, value FROM revocations", [], revocation)? {
            match entry {
                Entry::Key(key) => drop(revoked.keys.insert(key)),
                Entry::Serial(serial) => drop(revoked.serials.insert(serial)),
                Entry::Operator(name) => drop(revoked.operators.insert(name)),
            }
        }
        Ok(revoked)
    }

    /// One certificate is no longer believed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn revoke_serial(
        &self,
        serial: Serial,
        subject: &str,
        why: &str,
        now_s: i64,
    ) -> Result<(), StoreError> {
        self.put("revoking a certificate", |tx| {
            Ok(revoke(tx, "serial", &serial.to_string(), subject, why, now_s)?)
        })
    }

    /// No certificate that names this operator is believed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn revoke_operator(&self, name: &str, why: &str, now_s: i64) -> Result<(), StoreError> {
        self.put("revoking an operator", |tx| Ok(revoke(tx, "operator", name, name, why, now_s)?))
    }

    /// A small thing by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.one("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
    }

    /// Keeps a small thing by name. Never a secret: those are sealed, in files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.put("keeping a setting", |tx| {
            let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            tx.prepare_cached(sql)?.execute([key, value])?;
            Ok(())
        })
    }
}

/// A row of `revocations`.
enum Entry {
    Key(NodeKey),
    Serial(Serial),
    Operator(String),
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let kind: String = row.get(0)?;
    match kind.as_str() {
        "key" => Ok(Entry::Key(rows::parsed(row, 1, Sha256::parse)?)),
        "serial" => Ok(Entry::Serial(rows::parsed(row, 1, serial)?)),
        _ => Ok(Entry::Operator(row.get(1)?)),
    }
}

fn revoke(
    tx: &Transaction<'_>,
    kind: &str,
    value: &str,
    subject: &str,
    why: &str,
    now_s: i64,
) -> rusqlite::Result<()> {
    // The first reason stays.
    let sql = "INSERT INTO revocations (kind, value, subject, why, at_s) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (kind, value) DO NOTHING";
    tx.prepare_cached(sql)?.execute(params![kind, value, subject, why, now_s])?;
    Ok(())
}

/// 32 hex digits: the form that a serial prints as.
fn serial(text: &str) -> Result<Serial, String> {
    let exact = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let value = u128::from_str_radix(text, 16).ok().filter(|_| exact);
    value.map(|value| Serial(value.to_be_bytes())).ok_or_else(|| "a serial is 32 hex digits".to_owned())
}

#[cfg(test)]
mod tests;
