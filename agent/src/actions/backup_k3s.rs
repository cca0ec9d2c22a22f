//! Saves what a K3s server's datastore holds, with the server's token beside it: verified, encrypted on the node,
//! copied to the coordinator.
//!
//! One tar archive: `token`, and `etcd-snapshot.db` or `state.db`. Without the token a new host cannot read the
//! bootstrap data in either (docs/datastore/backup-restore.md of k3s-io/docs). A datastore of somebody else is not
//! touched: the plan says who saves it, or the step refuses.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use drydock_types::{Section, outcome::Evidence, probe::K3sDatastore, step::BackupK3s};
use tokio::io::AsyncReadExt as _;

use super::{
    Action, Cx, Found, Note, Problem,
    backup::{self, Wanted},
};
use crate::{
    backups::{Backups, Holds, Piece, Receipt},
    etcd::EtcdAccess,
    k3s::{
        K3s, archive,
        etcd::{self, Saving},
        sqlite,
        token::Token,
    },
    sys::blocking,
};

/// What of a copy is encrypted at once, in bytes.
const PIECE: usize = 256 << 10;
/// The name of an SQLite database in the archive.
const DATABASE: &str = "state.db";

/// Takes one, unless this run has a young one.
#[derive(Debug)]
pub struct Backup<'a>(pub &'a BackupK3s);

/// What is to be saved.
struct Source {
    k3s: K3s,
    datastore: K3sDatastore,
}

impl Backup<'_> {
    async fn source(&self, cx: &Cx<'_>) -> Result<Source, Problem> {
        let k3s = K3s::look(cx.host, &self.0.unit).await?;
        // An agent has no datastore, and says so here.
        k3s.api()?;
        let datastore = k3s.datastore_now().await?;
        Ok(Source { k3s, datastore })
    }

    /// Who saves it, where it is nobody's business of ours.
    fn elsewhere(&self, datastore: &K3sDatastore) -> Result<Option<Evidence>, Problem> {
        let K3sDatastore::External { kind } = datastore else { return Ok(None) };
        let by = self.0.external_datastore_backed_up_by.as_deref().map(str::trim).filter(|by| !by.is_empty());
        let by = by.ok_or_else(|| {
            Problem::new(format!(
                "this K3s keeps its state in a datastore of somebody else ({kind}): it is not saved"
            ))
            .next("say in the plan who saves it (`with: {externalDatastoreBackedUpBy: \"…\"}`)")
        })?;
        Ok(Some(Evidence::BackedUpElsewhere {
            what: format!("the K3s datastore ({kind})"),
            by: by.to_owned(),
        }))
    }
}

/// Takes the backup into `backups`.
async fn take(cx: &Cx<'_>, source: &Source, backups: &Backups, within: Duration) -> Result<Receipt, Problem> {
    let recipient = backup::recipient(cx)?;
    let token = token(&source.k3s).await?;
    match &source.datastore {
        K3sDatastore::EmbeddedEtcd { member } => {
            let access = EtcdAccess::of(&cx.host.policy);
            let saving = Saving { access: &access, backups, section: cx.section, progress: cx.progress };
            etcd::save(&saving, member, &token, recipient, within).await
        }
        K3sDatastore::Sqlite {} => {
            is_open(&source.k3s).await?;
            database(cx, source.k3s.sqlite(), token, backups, recipient, within).await
        }
        K3sDatastore::External { kind } => Err(Problem::new(format!("a {kind} datastore is not saved here"))),
    }
}

async fn token(k3s: &K3s) -> Result<Token, Problem> {
    let data_dir = k3s.data_dir.clone();
    blocking(move || Token::of(&data_dir)).await
}

/// The database that is copied must be the one that K3s writes to.
async fn is_open(k3s: &K3s) -> Result<(), Problem> {
    let k3s = k3s.clone();
    blocking(move || k3s.has_open(&k3s.sqlite())).await
}

/// The SQLite database: copied, seen to be whole, and then encrypted; the plain copy is removed.
async fn database(
    cx: &Cx<'_>,
    path: PathBuf,
    token: Token,
    backups: &Backups,
    recipient: &str,
    within: Duration,
) -> Result<Receipt, Problem> {
    let dir =
        backups.make().map_err(|error| Problem::new(format!("{}: {error}", backups.dir().display())))?;
    has_space(&path, backups)?;
    let (to, until) = (dir.join(format!("{}.sqlite", cx.section.effect)), std::time::Instant::now() + within);
    let (copied, token) = blocking(move || {
        let copied = sqlite::copy(&path, &to, until)?;
        token.opens(&copied.bootstrap_keys(until)?).map(|()| (copied, token))
    })
    .await?;
    let Section { effect, run, component, .. } = cx.section;
    let sealing = backups.seal_as(Holds::Checked, (*effect, *run, component), copied.revision, recipient)?;
    let (size, progress) = (copied.size, cx.progress);
    let mut head = archive::entry("token", token.bytes())?;
    head.extend(archive::head(DATABASE, size)?);
    sealing.put(Piece::Frame(head)).await;
    let shown = copied.path().display().to_string();
    let unreadable = |error: std::io::Error| Problem::new(format!("{shown}: {error}"));
    let mut file = tokio::fs::File::open(copied.path()).await.map_err(unreadable)?;
    let mut sent = 0;
    while sent < size {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).await.map_err(unreadable)?;
        if piece.is_empty() {
            return Err(Problem::new(format!("{shown} became shorter while it was encrypted")));
        }
        sent += piece.len() as u64;
        if !sealing.put(Piece::Bytes(piece)).await {
            break;
        }
        progress(sent.min(size), size);
    }
    let tail = [archive::padding(size), archive::END.to_vec()].concat();
    if sealing.put(Piece::Frame(tail)).await {
        sealing.put(Piece::End).await;
    }
    Ok(sealing.end().await?)
}

/// The copy and its encrypted form lie beside each other for a moment.
fn has_space(database: &std::path::Path, backups: &Backups) -> Result<(), Problem> {
    let size = |end: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(end);
        std::fs::metadata(path).map_or(0, |meta| meta.len())
    };
    let store = size("") + size("-wal");
    backup::has_space(backups, store * 2 + store / 8, "a backup of the datastore", "free space there")
}

#[async_trait]
impl Action for Backup<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let source = self.source(cx).await?;
        if self.elsewhere(&source.datastore)?.is_some() {
            return Ok(());
        }
        backup::recipient(cx)?;
        let token = token(&source.k3s).await?;
        match &source.datastore {
            K3sDatastore::EmbeddedEtcd { member } => {
                let member = etcd::own(&EtcdAccess::of(&cx.host.policy), member).await?;
                etcd::opens(&member, &token).await
            }
            K3sDatastore::Sqlite {} => {
                is_open(&source.k3s).await?;
                let within = Duration::from_millis(self.0.within.0);
                let (path, until) = (source.k3s.sqlite(), std::time::Instant::now() + within);
                blocking(move || token.opens(&sqlite::bootstrap_keys(&path, until)?)).await
            }
            K3sDatastore::External { .. } => Ok(()),
        }
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let source = self.source(cx).await?;
        if let Some(said) = self.elsewhere(&source.datastore)? {
            return Ok(vec![said]);
        }
        let (within, max_age) = (Duration::from_millis(self.0.within.0), self.0.max_age);
        let backups = Backups::in_state(&cx.host.state_dir);
        let wanted = Wanted { what: "the backup of K3s", max_age, within };
        backup::keep(cx, &backups, wanted, take(cx, &source, &backups, within)).await
    }

    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        backup::found(cx).await
    }

    async fn undo(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(backup::taken_back(cx))
    }
}

#[cfg(test)]
mod tests;
