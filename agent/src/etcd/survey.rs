//! The cluster as this node sees it: its own member's word, the list, and every member dialled.
//!
//! A member's status counts only when the one that answered *is* that member: where all members advertise
//! `http://localhost:2379` (a common mistake), dialling each brings the local one three times over.

use std::time::Duration;

use drydock_types::{
    Version,
    probe::{EtcdMember, EtcdStatus, EtcdView},
};
use futures_util::future::{join, join_all, join3, select_ok};
use tokio::time::Instant;

use super::{
    EtcdAccess, EtcdError,
    dial::Target,
    known::{Known, KnownCluster, KnownMember},
    member::{Member, Versions, versions},
};

/// A look is over within this time, whatever hangs.
pub const WITHIN: Duration = Duration::from_secs(5);
const LOCAL_WITHIN: Duration = Duration::from_millis(1500);
const LIST_WITHIN: Duration = Duration::from_millis(700);
const MEMBER_WITHIN: Duration = Duration::from_secs(2);
/// A longer list is not a cluster that is known to work (upstream: seven at most).
const MAX_MEMBERS: usize = 32;
const MAX_URLS: usize = 4;

/// A view, and what it was made from.
#[derive(Debug, Clone)]
pub struct Survey {
    /// For the coordinator.
    pub view: EtcdView,
    /// `/version` of whoever answered it: by whom, and what. The local member first.
    pub versions: Vec<(String, Result<Versions, String>)>,
    /// Who the members are and where; empty when nobody could be asked.
    pub list: KnownCluster,
}

/// What was seen of one member.
struct Seen {
    member: EtcdMember,
    /// `None` for the local member: it is asked through the policy's endpoint.
    versions: Option<Result<Versions, String>>,
}

/// Looks at the whole cluster from here, within [`WITHIN`]. What could not be seen stands in the view as the
/// reason why; this never fails as a whole.
pub async fn survey(access: &EtcdAccess, known: &Known) -> Survey {
    let end = Instant::now() + WITHIN;
    let (local, status, linearizable) = ask_local(access).await;
    // After the read: the list is then at least as new as what a quorum had agreed on.
    let (source, list) = match list_from(access, local, known, end).await {
        Ok((source, list)) => (Some(source), Ok(list)),
        Err(why) => (None, Err(why)),
    };
    if let Ok(list) = &list {
        known.save(list).await;
    }
    let alarms = async {
        match &source {
            Some(source) => source.alarms(left(end, MEMBER_WITHIN)).await.map_err(|error| error.to_string()),
            None => Err("no member answered".to_owned()),
        }
    };
    let own_versions = async {
        let target = Target::parse(&access.endpoint)?;
        versions(access, &target, left(end, MEMBER_WITHIN)).await
    };
    let list = list.unwrap_or_default();
    let (alarms, own_versions, seen) =
        join3(alarms, own_versions, look_at_all(access, &list, status.as_ref().ok(), end)).await;
    let mut answers = vec![(access.endpoint.clone(), own_versions.map_err(|error| error.to_string()))];
    let mut members = Vec::new();
    for Seen { member, versions } in seen {
        answers.extend(versions.map(|versions| (format!("member {}", member.id), versions)));
        members.push(member);
    }
    let cluster_version = cluster_version(&answers);
    let local = status.map_err(|error| error.to_string());
    Survey {
        view: EtcdView { local, members, alarms, cluster_version, linearizable },
        versions: answers,
        list,
    }
}

type Local = (Result<Member, EtcdError>, Result<EtcdStatus, EtcdError>, Result<(), String>);

async fn ask_local(access: &EtcdAccess) -> Local {
    let end = Instant::now() + LOCAL_WITHIN;
    let local = match Member::dial(access, &access.endpoint, LOCAL_WITHIN).await {
        Ok(local) => local,
        Err(error) => return (Err(error.clone()), Err(error.clone()), Err(error.to_string())),
    };
    let rest = left(end, LOCAL_WITHIN);
    let (status, read) = join(local.status(rest), local.read(rest)).await;
    (Ok(local), status.map(|(status, _)| status), read.map_err(|error| error.to_string()))
}

/// The member list from the local member, or else from whoever answers first.
async fn list_from(
    access: &EtcdAccess,
    local: Result<Member, EtcdError>,
    known: &Known,
    end: Instant,
) -> Result<(Member, KnownCluster), String> {
    let own = match local {
        Ok(local) => match local.members(left(end, LIST_WITHIN)).await {
            Ok(list) => return Ok((local, list)),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let remembered = known.load().await.unwrap_or_default();
    let urls = remembered.members.iter().flat_map(|member| member.client_urls.iter().take(MAX_URLS));
    let remembered_targets = urls.filter_map(|url| Target::advertised(url, access).ok());
    let mut targets: Vec<Target> = access.peers.iter().filter_map(|url| Target::parse(url).ok()).collect();
    targets.extend(remembered_targets.take(MAX_MEMBERS));
    let within = left(end, LIST_WITHIN + Duration::from_millis(300));
    let asked = targets.into_iter().map(|target| {
        Box::pin(async move {
            let member = Member::dial_target(access, target, within).await?;
            let list = member.members(within).await?;
            Ok::<_, EtcdError>((member, list))
        })
    });
    let asked: Vec<_> = asked.collect();
    let nobody = |why: &str| format!("no member list: {own}; of the others {why}");
    if asked.is_empty() {
        return Err(nobody("none is known ([etcd] peers in the agent's policy names them)"));
    }
    match tokio::time::timeout(within, select_ok(asked)).await {
        Ok(Ok((found, _))) => Ok(found),
        Ok(Err(error)) => Err(nobody(&format!("none answered, the last one: {error}"))),
        Err(_) => Err(nobody("none answered in time")),
    }
}

async fn look_at_all(
    access: &EtcdAccess,
    list: &KnownCluster,
    local: Option<&EtcdStatus>,
    end: Instant,
) -> Vec<Seen> {
    let within = left(end, MEMBER_WITHIN);
    let looks = list.members.iter().take(MAX_MEMBERS).map(|member| async move {
        let own = local.filter(|status| status.member == member.id && status.cluster == list.cluster);
        let (status, versions) = match own {
            // Itself, through the policy's endpoint: no second way to it is needed, nor may there be one.
            Some(status) => (Ok(status.clone()), None),
            None => {
                let (status, versions) = look_at(access, &list.cluster, member, within).await;
                (status, Some(versions))
            }
        };
        let member =
            EtcdMember { id: member.id.clone(), name: member.name.clone(), learner: member.learner, status };
        Seen { member, versions }
    });
    join_all(looks).await
}

type Word = (Result<EtcdStatus, String>, Result<Versions, String>);

/// Dials every address that the member advertises; the first that is truly it speaks for it.
async fn look_at(access: &EtcdAccess, cluster: &str, member: &KnownMember, within: Duration) -> Word {
    let silent = |why: String| (Err(why.clone()), Err(why));
    let asked = member.client_urls.iter().take(MAX_URLS).map(|url| {
        Box::pin(async move {
            let target = Target::advertised(url, access).map_err(|error| error.to_string())?;
            status_of(access, target, cluster, &member.id, within).await
        })
    });
    let asked: Vec<_> = asked.collect();
    let end = Instant::now() + within;
    if asked.is_empty() {
        return silent("it advertises no client URL: added and never started?".into());
    }
    match tokio::time::timeout(within, select_ok(asked)).await {
        Ok(Ok(((status, target), _))) => {
            let versions =
                versions(access, &target, left(end, within)).await.map_err(|error| error.to_string());
            (Ok(status), versions)
        }
        Ok(Err(why)) => silent(why),
        Err(_) => silent(format!("no answer within {within:?}")),
    }
}

/// The status of exactly this member of exactly this cluster.
pub(super) async fn status_of(
    access: &EtcdAccess,
    target: Target,
    cluster: &str,
    id: &str,
    within: Duration,
) -> Result<(EtcdStatus, Target), String> {
    let dialled = Member::dial_target(access, target.clone(), within).await.map_err(|e| e.to_string())?;
    let (status, _) = dialled.status(within).await.map_err(|error| error.to_string())?;
    if status.member != id || status.cluster != cluster {
        let EtcdStatus { member, cluster: other, .. } = &status;
        return Err(format!(
            "{} was answered by member {member} of cluster {other}: \
             the advertised client URL of {id} leads elsewhere",
            target.url
        ));
    }
    Ok((status, target))
}

fn cluster_version(answers: &[(String, Result<Versions, String>)]) -> Result<Version, String> {
    let decided = |answer: &(String, Result<Versions, String>)| answer.1.as_ref().ok()?.cluster.clone();
    if let Some(version) = answers.iter().find_map(decided) {
        return Ok(version);
    }
    let undecided = answers.iter().any(|(_, answer)| answer.is_ok());
    let why = answers.iter().find_map(|(_, answer)| answer.as_ref().err().cloned());
    Err(if undecided { "the cluster has not decided it".into() } else { why.unwrap_or_default() })
}

/// The smaller of `most` and what is left until `end`.
pub(super) fn left(end: Instant, most: Duration) -> Duration {
    end.saturating_duration_since(Instant::now()).min(most)
}
