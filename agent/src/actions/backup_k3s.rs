//! Saves what a K3s server's datastore holds, with the server's token beside it: verified, encrypted on the node,
//! copied to the coordinator.
//!
//! One tar archive: `token`, and `etcd-snapshot.db` or `state.db`. Without the token a new host cannot read the
//! bootstrap data in either (docs/datastore/backup-restore.md of k3s-io/docs). A datastore of somebody else is not
//! touched: the plan says who saves it, or the step refuses.

use std::{future::Future, io::Read as _, path::PathBuf, time::Duration};

use async_trait::async_trait;
use drydock_types::{Section, outcome::Evidence, probe::K3sDatastore, step::BackupK3s};
use tokio::time::{Instant, timeout};

use super::{Action, Cx, Found, Note, Problem, snapshot_etcd};
use crate::{
    artifacts::free_bytes,
    backups::{self, Backups, Holds, Piece, Receipt},
    etcd::EtcdAccess,
    k3s::{
        K3s, archive,
        etcd::{self, Saving},
        sqlite,
        token::Token,
    },
};

const CALL_WITHIN: Duration = Duration::from_secs(5);
/// Stays free whatever is taken, in bytes.
const RESERVE_BYTES: u64 = 64 << 20;
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
        let datastore = k3s.datastore()?;
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

    /// What this section, or an earlier one of this run not too long ago, has already at the coordinator or ready to
    /// be sent.
    async fn already(&self, cx: &Cx<'_>, backups: &Backups) -> Option<Receipt> {
        let Section { effect, run, component, .. } = cx.section;
        let max_age = Duration::from_millis(self.0.max_age.0);
        let own = backups.receipt(*effect);
        for receipt in own.into_iter().chain(backups.recent(*run, component, max_age)) {
            let there = backups::complete(&cx.host.remote, &receipt, CALL_WITHIN).await;
            if there.is_ok_and(|complete| complete) || (receipt.effect == *effect && backups.holds(&receipt))
            {
                return Some(receipt);
            }
        }
        None
    }

    async fn take_and_send(
        &self,
        cx: &Cx<'_>,
        source: &Source,
        within: Duration,
    ) -> Result<Receipt, Problem> {
        let end = Instant::now() + within;
        let backups = Backups::in_state(&cx.host.state_dir);
        let swept = backups.sweep(Some((cx.section.effect, cx.section.run)));
        swept.map_err(|error| Problem::new(format!("{}: {error}", backups.dir().display())))?;
        let receipt = match self.already(cx, &backups).await {
            Some(receipt) => receipt,
            None => take(cx, source, &backups, within).await?,
        };
        let rest = end.saturating_duration_since(Instant::now());
        backups::upload(&backups, &cx.host.remote, &receipt, rest, cx.progress).await?;
        Ok(receipt)
    }
}

/// Takes the backup into `backups`.
async fn take(cx: &Cx<'_>, source: &Source, backups: &Backups, within: Duration) -> Result<Receipt, Problem> {
    let recipient = cx.host.policy.recipient().map_err(snapshot_etcd::no_recipient)?;
    let token = Token::of(&source.k3s.data_dir)?;
    match &source.datastore {
        K3sDatastore::EmbeddedEtcd { member } => {
            let access = EtcdAccess::of(&cx.host.policy);
            let saving = Saving { access: &access, backups, section: cx.section, progress: cx.progress };
            etcd::save(&saving, member, &token, recipient, within).await
        }
        K3sDatastore::Sqlite {} => {
            is_open(&source.k3s).await?;
            database(cx, source.k3s.sqlite(), &token, backups, recipient, within).await
        }
        K3sDatastore::External { kind } => Err(Problem::new(format!("a {kind} datastore is not saved here"))),
    }
}

/// The database that is copied must be the one that K3s writes to.
async fn is_open(k3s: &K3s) -> Result<(), Problem> {
    let k3s = k3s.clone();
    let looked = tokio::task::spawn_blocking(move || k3s.has_open(&k3s.sqlite())).await;
    looked.map_err(|error| Problem::new(format!("looking for the datastore: {error}")))?
}

/// The SQLite database: copied, seen to be whole, and then encrypted; the plain copy is removed.
async fn database(
    cx: &Cx<'_>,
    path: PathBuf,
    token: &Token,
    backups: &Backups,
    recipient: &str,
    within: Duration,
) -> Result<Receipt, Problem> {
    let dir =
        backups.make().map_err(|error| Problem::new(format!("{}: {error}", backups.dir().display())))?;
    has_space(&path, backups)?;
    let (to, until) = (dir.join(format!("{}.sqlite", cx.section.effect)), std::time::Instant::now() + within);
    let key = token.bootstrap_key();
    let copied = tokio::task::spawn_blocking(move || {
        let copied = sqlite::copy(&path, &to, until)?;
        copied.has_bootstrap(&key).map(|()| copied)
    })
    .await;
    let copied = copied.map_err(|error| Problem::new(format!("copying the datastore: {error}")))??;
    let Section { effect, run, component, .. } = cx.section;
    let sealing = backups.seal_as(Holds::Checked, (*effect, *run, component), copied.revision, recipient)?;
    let (size, progress) = (copied.size, cx.progress);
    let mut head = archive::entry("token", token.bytes())?;
    head.extend(archive::head(DATABASE, size)?);
    sealing.put(Piece::Frame(head)).await;
    let shown = copied.path().display().to_string();
    let unreadable = |error: std::io::Error| Problem::new(format!("{shown}: {error}"));
    let mut file = std::fs::File::open(copied.path()).map_err(unreadable)?;
    let mut sent = 0;
    while sent < size {
        let mut piece = Vec::with_capacity(PIECE);
        // In pieces of a moment each, of a file that was just written.
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).map_err(unreadable)?;
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
    let need = store * 2 + store / 8 + RESERVE_BYTES;
    let dir = backups.dir().display();
    let free = free_bytes(backups.dir()).map_err(|error| Problem::new(format!("{dir}: {error}")))?;
    if free >= need {
        return Ok(());
    }
    let what = format!(
        "{dir}: {} bytes too few are free for a backup of the datastore: {need} needed, {free} free",
        need - free
    );
    Err(Problem::new(what).next("free space there"))
}

fn evidence(receipt: &Receipt) -> Evidence {
    snapshot_etcd::evidence(receipt)
}

/// Past the deadline everything is dropped; what was being written is removed by its own thread.
async fn bounded<T>(within: Duration, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Problem::new(format!("the backup of K3s was not off this node within {within:?}"));
    timeout(within, work).await.map_err(late)?
}

#[async_trait]
impl Action for Backup<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let source = self.source(cx).await?;
        if self.elsewhere(&source.datastore)?.is_some() {
            return Ok(());
        }
        cx.host.policy.recipient().map_err(snapshot_etcd::no_recipient)?;
        Token::of(&source.k3s.data_dir)?;
        match &source.datastore {
            K3sDatastore::EmbeddedEtcd { member } => {
                etcd::own(&EtcdAccess::of(&cx.host.policy), member).await.map(drop)
            }
            K3sDatastore::Sqlite {} => is_open(&source.k3s).await,
            K3sDatastore::External { .. } => Ok(()),
        }
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let source = self.source(cx).await?;
        if let Some(said) = self.elsewhere(&source.datastore)? {
            return Ok(vec![said]);
        }
        let within = Duration::from_millis(self.0.within.0);
        let receipt = bounded(within, self.take_and_send(cx, &source, within)).await?;
        Ok(vec![evidence(&receipt)])
    }

    /// Done once the coordinator has all of it; else it is taken or sent again, which harms nobody.
    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        let backups = Backups::in_state(&cx.host.state_dir);
        let Some(receipt) = backups.receipt(cx.section.effect) else { return Found::NotBegun };
        match backups::complete(&cx.host.remote, &receipt, CALL_WITHIN).await {
            Ok(true) => {
                backups.drop_sealed(receipt.effect);
                Found::Done
            }
            Ok(false) | Err(_) => Found::NotBegun,
        }
    }

    /// A backup too many harms nobody.
    async fn undo(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Backups::in_state(&cx.host.state_dir).drop_sealed(cx.section.effect);
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
