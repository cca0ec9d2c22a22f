//! The member of etcd that K3s runs itself: is it the one that is reached, and its snapshot with the token beside it.
//!
//! K3s's own `etcd-snapshot save` leaves a file on the node, compressed where it is told so. Here etcd's snapshot
//! streams into the encryption, checked as `snapshotEtcd` checks it, and no plain copy lies anywhere.
//!
//! Sources in k3s-io/k3s: `pkg/etcd/etcd.go` (the member's name is in `server/db/etcd/name`; the endpoint),
//! in etcd: `server/etcdserver/api/v3rpc/maintenance.go` (each piece says how many bytes of the file remain; 32 bytes
//! of digest follow).

use std::{fmt, time::Duration};

use drydock_types::Section;
use tokio::time::{Instant, timeout};

use super::{
    archive,
    token::{BOOTSTRAP, MOST_KEYS, Token},
};
use crate::{
    actions::{Problem, backup},
    backups::{Backups, Holds, Piece, Receipt, Sealing},
    etcd::{EtcdAccess, EtcdError, member::Member},
};

/// The name of the snapshot in the archive.
pub const SNAPSHOT: &str = "etcd-snapshot.db";
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// A stream that brings nothing for so long is broken.
const IDLE: Duration = Duration::from_secs(30);
/// What etcd puts behind the file.
const DIGEST_BYTES: u64 = 32;

/// Sees that the member that the policy reaches is the one that K3s runs.
///
/// # Errors
/// When it does not answer, or is another one.
pub async fn own(access: &EtcdAccess, name: &str) -> Result<Member, Problem> {
    let member = Member::dial(access, &access.endpoint, CALL_WITHIN).await.map_err(reach)?;
    let (status, _) = member.status(CALL_WITHIN).await.map_err(reach)?;
    let list = member.members(CALL_WITHIN).await.map_err(reach)?;
    let found = list.members.iter().find(|it| it.id == status.member).map(|it| it.name.as_str());
    if found == Some(name) {
        return Ok(member);
    }
    Err(Problem::new(format!(
        "the etcd member at {} is {:?}, and K3s runs {name:?} here: it is another cluster's",
        access.endpoint,
        found.unwrap_or("not in its own list")
    ))
    .next(
        "correct [etcd] in the agent's policy; profiles = [\"k3s\"] has it for K3s's default data directory",
    ))
}

/// Sees that this token opens K3s's bootstrap data in the member's store.
///
/// # Errors
/// When it does not, or the member does not say.
pub async fn opens(member: &Member, token: &Token) -> Result<(), Problem> {
    token.opens(&member.keys(BOOTSTRAP, MOST_KEYS, CALL_WITHIN).await?)
}

/// The same as of any etcd, with what is special about K3s's.
fn reach(error: EtcdError) -> Problem {
    let tls = matches!(error, EtcdError::TlsFile { .. } | EtcdError::Address { .. });
    let problem = Problem::from(error);
    if tls {
        problem.next("profiles = [\"k3s\"] has [etcd] for K3s's default data directory; with another one name its files")
    } else {
        problem
    }
}

/// Takes the member's snapshot and the token into one sealed archive.
///
/// # Errors
/// When the member is not K3s's, the token is not its datastore's, the snapshot is not whole, the disk is full, or the
/// time is over; then nothing is left.
pub async fn save(
    cx: &Saving<'_>,
    name: &str,
    token: &Token,
    recipient: &str,
    within: Duration,
) -> Result<Receipt, Problem> {
    let end = Instant::now() + within;
    let member = own(cx.access, name).await?;
    let (status, revision) = member.status(CALL_WITHIN).await?;
    backup::has_space_for_snapshot(cx.backups, status.db_size)?;
    // Before the snapshot's moment and after it: K3s writes a rotated token to its file first, and then to its datastore.
    opens(&member, token).await?;
    let mut stream = member.snapshot(CALL_WITHIN).await?;
    let Section { effect, run, component, .. } = cx.section;
    let sealing = cx.backups.seal_as(Holds::EtcdSnapshot, (*effect, *run, component), revision, recipient)?;
    sealing.put(Piece::Frame(archive::entry("token", token.bytes())?)).await;
    let mut passed = Passed { came: 0, total: None };
    let url = || cx.access.endpoint.clone();
    let broken = loop {
        let idle = IDLE.min(end.saturating_duration_since(Instant::now()));
        match timeout(idle, stream.message()).await {
            Err(_) => break Some(EtcdError::Deadline { url: url(), call: "Snapshot", within: idle }.into()),
            Ok(Err(status)) => break Some(EtcdError::refusal(url(), "Snapshot", &status).into()),
            Ok(Ok(None)) => match opens(&member, token).await {
                Ok(()) => break passed.ends(&sealing).await,
                Err(problem) => break Some(problem),
            },
            Ok(Ok(Some(piece))) => match passed.piece(&sealing, piece.remaining_bytes, piece.blob).await {
                Err(problem) => break Some(problem),
                Ok(false) => break None,
                Ok(true) => (cx.progress)(passed.came.min(passed.total()), passed.total()),
            },
        }
    };
    match (sealing.end().await, broken) {
        (_, Some(broken)) => Err(broken),
        (sealed, None) => Ok(sealed?),
    }
}

/// What a backup is made with.
pub struct Saving<'a> {
    /// How the member is reached.
    pub access: &'a EtcdAccess,
    /// Where backups are.
    pub backups: &'a Backups,
    /// For which section.
    pub section: &'a Section,
    /// Bytes there, bytes in all.
    pub progress: &'a (dyn Fn(u64, u64) + Send + Sync),
}

impl fmt::Debug for Saving<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Saving").field("effect", &self.section.effect).finish_non_exhaustive()
    }
}

/// The stream as far as it has passed.
struct Passed {
    came: u64,
    total: Option<u64>,
}

impl Passed {
    fn total(&self) -> u64 {
        self.total.unwrap_or(0)
    }

    /// `false`: the sealing takes no more, and says why itself.
    async fn piece(&mut self, sealing: &Sealing, remain: u64, blob: Vec<u8>) -> Result<bool, Problem> {
        let size = blob.len() as u64;
        if self.total.is_none() {
            let total = remain.saturating_add(size).saturating_add(DIGEST_BYTES);
            self.total = Some(total);
            if !sealing.put(Piece::Frame(archive::head(SNAPSHOT, total)?)).await {
                return Ok(false);
            }
        }
        self.came += size;
        if self.came > self.total() {
            return Err(self.otherwise());
        }
        Ok(sealing.put(Piece::Bytes(blob)).await)
    }

    async fn ends(&self, sealing: &Sealing) -> Option<Problem> {
        if self.total.is_none() || self.came != self.total() {
            return Some(self.otherwise());
        }
        let tail = [archive::padding(self.came), archive::END.to_vec()].concat();
        if sealing.put(Piece::Frame(tail)).await {
            sealing.put(Piece::End).await;
        }
        None
    }

    fn otherwise(&self) -> Problem {
        Problem::new(format!("etcd announced a snapshot of {} bytes and sent {}", self.total(), self.came))
            .next("let the run try again; if it fails again, see etcd's log on this node")
    }
}
