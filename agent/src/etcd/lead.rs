//! Handing leadership over before the leader is restarted: 117 to 162 ms instead of an election.

use std::time::Duration;

use drydock_failpoint::effect;
use drydock_types::probe::{EtcdMember, EtcdStatus};
use futures_util::future::join;
use tokio::time::{Instant, sleep};

use super::{
    EtcdAccess,
    dial::Target,
    known::{Known, KnownCluster},
    member::Member,
    survey::{Survey, left, survey},
};
use crate::actions::Problem;

const CALL_WITHIN: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Who led and who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Hex id of this node's member.
    pub from: String,
    /// Hex id of the new leader.
    pub to: String,
}

/// If this node's member leads and there is another voter, hands leadership over and sees that both this member
/// and the one chosen name the new leader. `None` when there was nothing to do.
///
/// # Errors
/// When the member does not answer, nobody is fit to lead, or no new leader is named `within` the time.
pub async fn hand_over(
    access: &EtcdAccess,
    known: &Known,
    within: Duration,
) -> Result<Option<Moved>, Problem> {
    let end = Instant::now() + within;
    let Survey { view: seen, list, .. } = survey(access, known).await;
    let own =
        seen.local.map_err(|why| Problem::new(format!("this node's etcd member does not answer: {why}")))?;
    if !own.knows_leader() {
        let what = format!("etcd member {} knows no leader: there is no leadership to hand over", own.member);
        return Err(Problem::new(what).next("restore the cluster's quorum first"));
    }
    if !own.leads() {
        return Ok(None);
    }
    let Some(to) = choose(&own, &seen.members)? else { return Ok(None) };
    // To the leader's own endpoint; etcd refuses it elsewhere.
    let local = Member::dial(access, &access.endpoint, left(end, CALL_WITHIN)).await?;
    let answer = effect!("agent.etcd.move-leader", local.move_leader(&to.member, left(end, within)).await);
    // Whatever the call answered, the members say what came of it.
    match wait_for_new_leader(access, &list, &local, &own, &to.member, end).await {
        Ok(leader) => Ok(Some(Moved { from: own.member, to: leader })),
        Err(why) => {
            let call = answer.err().map(|error| format!("; {error}")).unwrap_or_default();
            let what = format!("leadership did not move from {} to {}: {why}{call}", own.member, to.member);
            Err(Problem::new(what).next("see etcd's log on both members; nothing was taken out of service"))
        }
    }
}

/// The voter that is fittest to lead: it answered for itself, in the same cluster and term under the same leader,
/// without errors; the highest index, then the smallest lag, then the lowest id. `None` for a single voter.
fn choose<'a>(own: &EtcdStatus, members: &'a [EtcdMember]) -> Result<Option<&'a EtcdStatus>, Problem> {
    let others: Vec<_> = members.iter().filter(|m| !m.learner && m.id != own.member).collect();
    if !members.iter().any(|member| member.id == own.member) {
        let what = format!("etcd member {} is not in the member list that was seen", own.member);
        return Err(Problem::new(what).next("see `etcdctl member list` on this node"));
    }
    if others.is_empty() {
        return Ok(None);
    }
    let mut unfit = Vec::new();
    let mut fit = Vec::new();
    for member in others {
        match fitness(own, &member.status) {
            Ok(status) => fit.push(status),
            Err(why) => unfit.push(format!("{} ({}): {why}", member.name, member.id)),
        }
    }
    let lag = |status: &EtcdStatus| status.raft_index.saturating_sub(status.raft_applied);
    fit.sort_by(|a, b| {
        b.raft_index.cmp(&a.raft_index).then(lag(a).cmp(&lag(b))).then(a.member.cmp(&b.member))
    });
    match fit.first() {
        Some(best) => Ok(Some(best)),
        None => {
            let what =
                format!("no voter is fit to take leadership over from {}: {}", own.member, unfit.join("; "));
            Err(Problem::new(what)
                .next("bring another member back first: without one the restart is an outage"))
        }
    }
}

fn fitness<'a>(own: &EtcdStatus, status: &'a Result<EtcdStatus, String>) -> Result<&'a EtcdStatus, String> {
    let status = status.as_ref().map_err(Clone::clone)?;
    if status.raft_term != own.raft_term || status.leader != own.leader {
        return Err(format!("it follows {} in term {}", status.leader, status.raft_term));
    }
    if !status.errors.is_empty() {
        return Err(format!("it says of itself: {}", status.errors.join(", ")));
    }
    Ok(status)
}

/// Until this member and the one chosen name the same leader, which is not this one. An election in between may
/// have brought a third one: as good.
async fn wait_for_new_leader(
    access: &EtcdAccess,
    list: &KnownCluster,
    local: &Member,
    own: &EtcdStatus,
    to: &str,
    end: Instant,
) -> Result<String, String> {
    let urls = list.members.iter().filter(|member| member.id == to).flat_map(|member| &member.client_urls);
    let targets: Vec<_> = urls.filter_map(|url| Target::advertised(url, access).ok()).collect();
    loop {
        let theirs = async {
            let asked = targets.iter().map(|target| {
                let target = target.clone();
                let within = left(end, CALL_WITHIN);
                Box::pin(super::survey::status_of(access, target, &own.cluster, to, within))
            });
            let asked: Vec<_> = asked.collect();
            if asked.is_empty() {
                return Err(format!("no address of {to} is known"));
            }
            futures_util::future::select_ok(asked).await.map(|((status, _), _)| status)
        };
        let (mine, theirs) = join(local.status(left(end, CALL_WITHIN)), theirs).await;
        let why = match (mine, theirs) {
            (Ok((mine, _)), Ok(theirs)) => {
                if mine.leader == theirs.leader && mine.knows_leader() && !mine.leads() {
                    return Ok(mine.leader);
                }
                format!("{} names {}, {to} names {}", own.member, mine.leader, theirs.leader)
            }
            (Err(error), _) => error.to_string(),
            (_, Err(why)) => why,
        };
        if Instant::now() + ASK_EVERY >= end {
            return Err(why);
        }
        sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drydock_types::Version;

    fn status(id: &str, index: u64, applied: u64) -> EtcdStatus {
        EtcdStatus {
            cluster: "c".into(),
            member: id.into(),
            version: Version::parse("3.5.16").unwrap(),
            leader: "a".into(),
            raft_term: 2,
            raft_index: index,
            raft_applied: applied,
            db_size: 1,
            errors: vec![],
        }
    }

    fn member(id: &str, learner: bool, status: Result<EtcdStatus, String>) -> EtcdMember {
        EtcdMember { id: id.into(), name: format!("n{id}"), learner, status }
    }

    #[test]
    fn the_voter_with_the_highest_index_and_the_smallest_lag_is_chosen() {
        let own = status("a", 100, 100);
        let members = [
            member("a", false, Ok(own.clone())),
            member("b", false, Ok(status("b", 99, 90))),
            member("c", false, Ok(status("c", 99, 99))),
            member("d", true, Ok(status("d", 100, 100))),
            member("e", false, Err("connection refused".into())),
            member("f", false, Ok(EtcdStatus { raft_term: 1, ..status("f", 200, 200) })),
            member("g", false, Ok(EtcdStatus { errors: vec!["x".into()], ..status("g", 200, 200) })),
        ];
        assert_eq!(choose(&own, &members).unwrap().unwrap().member, "c");
    }

    #[test]
    fn a_single_voter_keeps_leadership_even_beside_a_learner() {
        let own = status("a", 1, 1);
        let members = [member("a", false, Ok(own.clone())), member("b", true, Ok(status("b", 1, 1)))];
        assert_eq!(choose(&own, &members), Ok(None));
    }

    #[test]
    fn where_nobody_is_fit_the_error_says_why_of_each() {
        let own = status("a", 1, 1);
        let members = [member("a", false, Ok(own.clone())), member("b", false, Err("refused".into()))];
        let error = choose(&own, &members).unwrap_err();
        assert!(error.what.contains("nb (b): refused"), "{error}");
    }

    #[test]
    fn a_list_without_the_leader_itself_is_not_believed() {
        let own = status("a", 1, 1);
        assert!(choose(&own, &[]).is_err());
    }
}
