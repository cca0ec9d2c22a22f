//! Takes an etcd snapshot, sees that it is whole, encrypts it on the node and copies it to the coordinator.
//!
//! A snapshot succeeds without a quorum: it belongs behind the health gate. Nothing of it is written in plain
//! text, not even on this node.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{Section, outcome::Evidence, step::SnapshotEtcd};
use tokio::time::{Instant, timeout};

use super::{
    Action, Cx, Found, Note, Problem,
    backup::{self, CALL_WITHIN, Wanted},
};
use crate::{
    backups::{Backups, Piece, Receipt},
    etcd::{EtcdAccess, EtcdError, member::Member},
};

/// A snapshot's stream that brings nothing for so long is broken.
const IDLE: Duration = Duration::from_secs(30);

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
    backup::has_space_for_snapshot(backups, status.db_size)?;
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

#[async_trait]
impl Action for Snapshot<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        backup::recipient(cx)?;
        let access = EtcdAccess::of(&cx.host.policy);
        let member = Member::dial(&access, &access.endpoint, CALL_WITHIN).await?;
        let (status, _) = member.status(CALL_WITHIN).await?;
        backup::has_space_for_snapshot(&Backups::in_state(&cx.host.state_dir), status.db_size)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (within, recipient) = (Duration::from_millis(self.0.within.0), backup::recipient(cx)?);
        let (backups, access) = (Backups::in_state(&cx.host.state_dir), EtcdAccess::of(&cx.host.policy));
        let wanted = Wanted { what: "the etcd snapshot", max_age: self.0.max_age, within };
        let taking = take(&access, &backups, cx.section, recipient, within, cx.progress);
        backup::keep(cx, &backups, wanted, taking).await
    }

    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        backup::found(cx).await
    }

    async fn undo(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(backup::taken_back(cx))
    }
}
