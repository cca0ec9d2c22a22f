//! What the steps that save something share: a young backup of this run is good enough, what was taken goes to the
//! coordinator, and what a probe and an undo of it are. Each step takes it in its own way.

use std::{future::Future, time::Duration};

use drydock_types::{Millis, Section, outcome::Evidence};
use tokio::time::{Instant, timeout};

use super::{Cx, Found, Problem};
use crate::{
    artifacts::free_bytes,
    backups::{self, Backups, Receipt},
};

/// How long a short question may take: to a member of etcd, or to the coordinator.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(5);
/// Stays free whatever is taken, in bytes.
const RESERVE_BYTES: u64 = 64 << 20;

/// What is wanted of a backup.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What it is called in an error: `the etcd snapshot`.
    pub(super) what: &'static str,
    /// How old one of this run may be that is good enough.
    pub(super) max_age: Millis,
    /// How long it may take until it is off the node.
    pub(super) within: Duration,
}

/// Has a backup at the coordinator: an earlier one, or what `take` takes.
///
/// # Errors
/// As `take`'s, and when it is not at the coordinator in time. Past the deadline everything is dropped; what was being
/// written is removed by its own thread.
pub(super) async fn keep(
    cx: &Cx<'_>,
    backups: &Backups,
    wanted: Wanted,
    take: impl Future<Output = Result<Receipt, Problem>> + Send,
) -> Result<Vec<Evidence>, Problem> {
    let Wanted { what, max_age, within } = wanted;
    let end = Instant::now() + within;
    let work = async {
        let swept = backups.sweep(Some((cx.section.effect, cx.section.run)));
        swept.map_err(|error| Problem::new(format!("{}: {error}", backups.dir().display())))?;
        let receipt = match already(cx, backups, Duration::from_millis(max_age.0)).await {
            Some(receipt) => receipt,
            None => take.await?,
        };
        let rest = end.saturating_duration_since(Instant::now());
        backups::upload(backups, &cx.host.remote, &receipt, rest, cx.progress).await?;
        Ok(vec![evidence(&receipt)])
    };
    let late = |_| Problem::new(format!("{what} was not off this node within {within:?}"));
    timeout(within, work).await.map_err(late)?
}

/// What this section, or an earlier one of this run not too long ago, has already at the coordinator or ready to be
/// sent.
async fn already(cx: &Cx<'_>, backups: &Backups, max_age: Duration) -> Option<Receipt> {
    let Section { effect, run, component, .. } = cx.section;
    let own = backups.receipt(*effect);
    for receipt in own.into_iter().chain(backups.recent(*run, component, max_age)) {
        let there = backups::complete(&cx.host.remote, &receipt, CALL_WITHIN).await;
        if there.is_ok_and(|complete| complete) || (receipt.effect == *effect && backups.holds(&receipt)) {
            return Some(receipt);
        }
    }
    None
}

fn evidence(receipt: &Receipt) -> Evidence {
    let Receipt { sha256, size, revision, stored_sha256, stored_size, .. } = *receipt;
    Evidence::Snapshot { sha256, size, revision, stored_sha256, stored_size }
}

/// Done once the coordinator has all of it; else it is taken or sent again, which harms nobody.
pub(super) async fn found(cx: &Cx<'_>) -> Found {
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

/// A backup too many harms nobody: only its copy on the node goes.
pub(super) fn taken_back(cx: &Cx<'_>) -> Vec<Evidence> {
    Backups::in_state(&cx.host.state_dir).drop_sealed(cx.section.effect);
    Vec::new()
}

/// To whom backups are encrypted.
///
/// # Errors
/// When the policy names nobody.
pub(super) fn recipient<'a>(cx: &Cx<'a>) -> Result<&'a str, Problem> {
    cx.host.policy.recipient().map_err(|problem| {
        problem
            .next("on a machine that is not a node: age-keygen -o drydock-backups.key; it prints the public key, age1…")
            .next("keep that file safe and off the nodes: without it no backup can be read again")
    })
}

/// Room for a snapshot of a store of so many bytes. The encrypted copy is the only one on this disk: the store's size, a
/// little for encryption and growth, and the reserve.
///
/// # Errors
/// How much is missing.
pub(crate) fn has_space_for_snapshot(backups: &Backups, db_size: i64) -> Result<(), Problem> {
    let store = u64::try_from(db_size).unwrap_or(0);
    let next = "free space there, or compact and defragment etcd";
    has_space(backups, store + store / 8, "a snapshot", next)
}

/// Room for so many bytes and the reserve beside them.
///
/// # Errors
/// How much is missing for `what`, and what to do `next`.
pub(super) fn has_space(backups: &Backups, bytes: u64, what: &str, next: &str) -> Result<(), Problem> {
    let need = bytes + RESERVE_BYTES;
    let dir = backups.dir().display();
    let free = free_bytes(backups.dir()).map_err(|error| Problem::new(format!("{dir}: {error}")))?;
    if free >= need {
        return Ok(());
    }
    let missing = need - free;
    let what = format!("{dir}: {missing} bytes too few are free for {what}: {need} needed, {free} free");
    Err(Problem::new(what).next(next))
}
