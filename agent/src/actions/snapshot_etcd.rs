//! Takes an etcd snapshot, sees that it is whole, encrypts it on the node and copies it to the coordinator.
//!
//! A snapshot succeeds without a quorum: it belongs behind the health gate. Nothing of it is written in plain
//! text, not even on this node.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use drydock_types::{Section, outcome::Evidence, step::SnapshotEtcd};
use tokio::time::{Instant, timeout};

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    artifacts::free_bytes,
    backups::{self, Backups, Piece, Receipt},
    etcd::{EtcdAccess, EtcdError, member::Member},
};

const CALL_WITHIN: Duration = Duration::from_secs(5);
/// A snapshot's stream that brings nothing for so long is broken.
const IDLE: Duration = Duration::from_secs(30);
/// Stays free whatever is taken, in bytes.
const RESERVE_BYTES: u64 = 64 << 20;

/// Takes one, unless this run has a young one.
#[derive(Debug)]
pub struct Snapshot<'a>(pub &'a SnapshotEtcd);

/// Takes a snapshot of the local member into `backups`: verified and encrypted as it streams.
///
/// # Errors
/// When the member does not answer, the snapshot is not whole, the disk is full, or the time is over; then
/// nothing is left on the disk.
pub async fn take(
    access: &EtcdAccess,
    backups: &Backups,
    section: &Section,
    recipient: &str,
    within: Duration,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Receipt, Problem> {
    let end = Instant::now() + within;
    let url = access.endpoint.clone();
    let member = Member::dial(access, &url, CALL_WITHIN).await?;
    let (status, revision) = member.status(CALL_WITHIN).await?;
    has_space(backups, status.db_size)?;
    let total = u64::try_from(status.db_size).unwrap_or(0);
    let mut stream = member.snapshot(CALL_WITHIN).await?;
    let sealing = backups.seal(section.effect, section.run, &section.component, revision, recipient)?;
    let mut came = 0;
    let broken = loop {
        let idle = IDLE.min(end.saturating_duration_since(Instant::now()));
        match timeout(idle, stream.message()).await {
            Err(_) => break Some(EtcdError::Deadline { url, call: "Snapshot", within: idle }),
            Ok(Err(status)) => break Some(EtcdError::refusal(url, "Snapshot", &status)),
            Ok(Ok(None)) => {
                sealing.put(Piece::End).await;
                break None;
            }
            Ok(Ok(Some(piece))) => {
                came += piece.blob.len() as u64;
                progress(came.min(total), total);
                if !sealing.put(Piece::Bytes(piece.blob)).await {
                    break None;
                }
            }
        }
    };
    match (sealing.end().await, broken) {
        (_, Some(broken)) => Err(broken.into()),
        (sealed, None) => Ok(sealed?),
    }
}

/// The encrypted copy is the only one on this disk: the store's size, a little for encryption and growth, and the
/// reserve.
pub(crate) fn has_space(backups: &Backups, db_size: i64) -> Result<(), Problem> {
    let store = u64::try_from(db_size).unwrap_or(0);
    let need = store + store / 8 + RESERVE_BYTES;
    let dir = backups.dir().display();
    let free = free_bytes(backups.dir()).map_err(|error| Problem::new(format!("{dir}: {error}")))?;
    if free >= need {
        return Ok(());
    }
    let what =
        format!("{dir}: {} bytes too few are free for a snapshot: {need} needed, {free} free", need - free);
    Err(Problem::new(what).next("free space there, or compact and defragment etcd"))
}

pub(super) fn no_recipient(problem: Problem) -> Problem {
    problem
        .next("on a machine that is not a node: age-keygen -o drydock-backups.key; it prints the public key, age1…")
        .next("keep that file safe and off the nodes: without it no backup can be read again")
}

pub(super) fn evidence(receipt: &Receipt) -> Evidence {
    let Receipt { sha256, size, revision, stored_sha256, stored_size, .. } = *receipt;
    Evidence::Snapshot { sha256, size, revision, stored_sha256, stored_size }
}

impl Snapshot<'_> {
    /// What this section, or an earlier one of this run not too long ago, has already at the coordinator or ready
    /// to be sent.
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

    async fn take_and_send(&self, cx: &Cx<'_>, within: Duration) -> Result<Receipt, Problem> {
        let end = Instant::now() + within;
        let backups = Backups::in_state(&cx.host.state_dir);
        let recipient = cx.host.policy.recipient().map_err(no_recipient)?;
        let swept = backups.sweep(Some((cx.section.effect, cx.section.run)));
        swept.map_err(|error| Problem::new(format!("{}: {error}", backups.dir().display())))?;
        let receipt = match self.already(cx, &backups).await {
            Some(receipt) => receipt,
            None => {
                let access = EtcdAccess::of(&cx.host.policy);
                take(&access, &backups, cx.section, recipient, within, cx.progress).await?
            }
        };
        let rest = end.saturating_duration_since(Instant::now());
        backups::upload(&backups, &cx.host.remote, &receipt, rest, cx.progress).await?;
        Ok(receipt)
    }
}

/// Past the deadline everything is dropped; what was being written is removed by its own thread.
async fn bounded<T>(within: Duration, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Problem::new(format!("the etcd snapshot was not off this node within {within:?}"));
    timeout(within, work).await.map_err(late)?
}

#[async_trait]
impl Action for Snapshot<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        cx.host.policy.recipient().map_err(no_recipient)?;
        let access = EtcdAccess::of(&cx.host.policy);
        let member = Member::dial(&access, &access.endpoint, CALL_WITHIN).await?;
        let (status, _) = member.status(CALL_WITHIN).await?;
        has_space(&Backups::in_state(&cx.host.state_dir), status.db_size)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let within = Duration::from_millis(self.0.within.0);
        let receipt = bounded(within, self.take_and_send(cx, within)).await?;
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

    /// A snapshot too many harms nobody.
    async fn undo(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Backups::in_state(&cx.host.state_dir).drop_sealed(cx.section.effect);
        Ok(Vec::new())
    }
}
