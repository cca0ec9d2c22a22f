//! Is the local member well, at the version that it should have?

use std::{cmp::Ordering, time::Duration};

use drydock_types::{Version, probe::EtcdStatus};
use futures_util::future::select_ok;
use tokio::time::{Instant, sleep};

use super::{
    EtcdAccess,
    dial::Target,
    known::KnownCluster,
    member::Member,
    survey::{left, status_of},
};
use crate::sys::still;

const CALL_WITHIN: Duration = Duration::from_secs(2);
/// etcd tells nobody when it is ready, so it is asked. A restart takes 160 ms at best: asking oftener than this
/// would not end sooner, asking less often would.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// Past the time in which a restart normally ends.
const ASK_LATER_EVERY: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_secs(3);

/// Asks until the member is well or the time is over.
///
/// # Errors
/// What was missing when it was last looked at.
pub async fn wait_until_well(
    access: &EtcdAccess,
    version: &Version,
    within: Duration,
) -> Result<EtcdStatus, String> {
    let begun = Instant::now();
    let end = begun + within;
    loop {
        let why = match is_well(access, version, left(end, CALL_WITHIN)).await {
            Ok(status) => return Ok(status),
            Err(why) => why,
        };
        let pause = if begun.elapsed() < SOON { ASK_EVERY } else { ASK_LATER_EVERY };
        if Instant::now() + pause >= end {
            return Err(why);
        }
        still::waits(&why);
        sleep(pause).await;
    }
}

/// One look: it answers, in its cluster, started, with this version, a leader, no error of its own, a quorum
/// behind it, and no entry behind the leader.
///
/// # Errors
/// What is missing. A certificate that cannot be read is told as such, though waiting will hardly help.
pub async fn is_well(access: &EtcdAccess, version: &Version, within: Duration) -> Result<EtcdStatus, String> {
    let words = |error: super::EtcdError| error.to_string();
    let member = Member::dial(access, &access.endpoint, within).await.map_err(words)?;
    let (status, _) = member.status(within).await.map_err(words)?;
    judge(&status, version)?;
    let list = member.members(within).await.map_err(words)?;
    let myself = list.members.iter().find(|known| known.id == status.member);
    match myself {
        Some(known) if !known.name.is_empty() => {}
        Some(_) => return Err(format!("member {} was added and has never started", status.member)),
        None => return Err(format!("member {} is not in its cluster's member list", status.member)),
    }
    // In this order: what the leader had committed before, this member must have applied after.
    let due = committed_by_leader(access, &list, &status, within).await;
    member.read(within).await.map_err(words)?;
    let (after, _) = member.status(within).await.map_err(words)?;
    judge(&after, version)?;
    match due {
        Some(due) if after.raft_applied < due => {
            let behind = due - after.raft_applied;
            Err(format!("member {} is {behind} entries behind its leader", after.member))
        }
        _ => Ok(after),
    }
}

/// What can be judged from the member's own word.
fn judge(status: &EtcdStatus, version: &Version) -> Result<(), String> {
    let EtcdStatus { member, version: runs, .. } = status;
    if runs.compare(version) != Some(Ordering::Equal) {
        return Err(format!("member {member} runs {runs}, not {version}"));
    }
    if !status.knows_leader() {
        return Err(format!("member {member} knows no leader"));
    }
    if !status.errors.is_empty() {
        return Err(format!("member {member} says of itself: {}", status.errors.join(", ")));
    }
    Ok(())
}

/// The leader's committed index, where it can be dialled. Where it cannot (a firewall between client ports), the
/// linearizable read stands alone: it, too, succeeds only once this member has applied what was committed.
async fn committed_by_leader(
    access: &EtcdAccess,
    list: &KnownCluster,
    own: &EtcdStatus,
    within: Duration,
) -> Option<u64> {
    if own.leads() {
        return Some(own.raft_index);
    }
    let leader = list.members.iter().find(|member| member.id == own.leader)?;
    let targets = leader.client_urls.iter().filter_map(|url| Target::advertised(url, access).ok());
    let asked: Vec<_> = targets
        .map(|target| Box::pin(status_of(access, target, &list.cluster, &leader.id, within)))
        .collect();
    if asked.is_empty() {
        return None;
    }
    let ((status, _), _) = tokio::time::timeout(within, select_ok(asked)).await.ok()?.ok()?;
    Some(status.raft_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> EtcdStatus {
        EtcdStatus {
            cluster: "c".into(),
            member: "a".into(),
            version: Version::parse("3.5.16").unwrap(),
            leader: "b".into(),
            raft_term: 2,
            raft_index: 10,
            raft_applied: 10,
            db_size: 1,
            errors: vec![],
        }
    }

    #[test]
    fn another_version_no_leader_or_an_error_of_its_own_is_not_well() {
        let want = Version::parse("v3.5.16").unwrap();
        assert_eq!(judge(&status(), &want), Ok(()));
        let old = EtcdStatus { version: Version::parse("3.4.23").unwrap(), ..status() };
        assert!(judge(&old, &want).unwrap_err().contains("3.4.23"));
        assert!(judge(&EtcdStatus { leader: "0".into(), ..status() }, &want).is_err());
        assert!(judge(&EtcdStatus { errors: vec!["NOSPACE".into()], ..status() }, &want).is_err());
    }

    #[tokio::test]
    async fn a_member_that_is_down_is_not_waited_for_without_end() {
        let access = EtcdAccess { endpoint: "http://127.0.0.1:1".into(), ..EtcdAccess::default() };
        let version = Version::parse("3.5.16").unwrap();
        let waits = wait_until_well(&access, &version, Duration::from_millis(300));
        let ended = tokio::time::timeout(Duration::from_secs(60), waits).await;
        let error = ended.expect("it ends by itself").unwrap_err();
        assert!(error.contains("127.0.0.1:1"), "{error}");
    }
}
