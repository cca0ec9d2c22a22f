//! Can this node's member be stopped once more without taking the quorum along? Asked when a change is to be taken
//! back: a member that serves, with whatever version, is then restarted, and the others may have changed since its
//! gate was looked at (rule 6).

use std::time::Duration;

use drydock_types::probe::EtcdView;

use super::{
    EtcdAccess,
    dial::{self, Target},
    known::Known,
    survey::survey,
};

/// How long a connection to this node's own member may take.
const DIAL: Duration = Duration::from_secs(2);

/// Ok when this member is down already, or the healthy others are a quorum.
///
/// # Errors
/// When they are not, or it cannot be seen: the reason, for a person.
pub async fn quorum_without_this(access: &EtcdAccess, known: &Known) -> Result<(), String> {
    let view = survey(access, known).await.view;
    let listens = match (&view.local, Target::parse(&access.endpoint)) {
        (Err(_), Ok(target)) => dial::listens(&target, DIAL).await,
        _ => true,
    };
    judge(&view, listens)
}

fn judge(view: &EtcdView, listens: bool) -> Result<(), String> {
    let own = match &view.local {
        Ok(own) => Some(&own.member),
        // One that is late may count for its cluster all the same; nobody loses anything by the restart of one that
        // is not there.
        Err(_) if listens => None,
        Err(_) => return Ok(()),
    };
    let voters: Vec<_> = view.members.iter().filter(|member| !member.learner).collect();
    if own.is_some_and(|own| !voters.iter().any(|member| member.id == *own)) {
        return Err("this node's etcd member is not among the voters that it lists".to_string());
    }
    let well = voters.iter().filter(|member| {
        own != Some(&member.id) && member.status.as_ref().is_ok_and(|status| status.knows_leader())
    });
    let (left, all) = (well.count(), voters.len());
    if all > 2 && left < all / 2 + 1 {
        let serves = if own.is_some() { "serves" } else { "listens, and did not answer in time" };
        return Err(format!(
            "this etcd member {serves}, and with it stopped {left} of {all} voters would be left: taking the change \
             back waits for the others; bring them back, then resume"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use drydock_types::{
        Version,
        probe::{EtcdMember, EtcdStatus},
    };

    use super::*;

    fn status(i: usize) -> EtcdStatus {
        EtcdStatus {
            cluster: "c".to_string(),
            member: i.to_string(),
            version: Version::parse("3.5.16").unwrap(),
            leader: "1".to_string(),
            raft_term: 1,
            raft_index: 1,
            raft_applied: 1,
            db_size: 1,
            errors: Vec::new(),
        }
    }

    /// Member 0 is this node's; so many others, of whom so many answer.
    fn view(others: usize, answering: usize) -> EtcdView {
        let member = |i: usize| EtcdMember {
            id: i.to_string(),
            name: format!("m{i}"),
            learner: false,
            status: if i <= answering { Ok(status(i)) } else { Err("connection refused".to_string()) },
        };
        EtcdView {
            local: Ok(status(0)),
            members: (0..=others).map(member).collect(),
            alarms: Ok(Vec::new()),
            cluster_version: Ok(Version::parse("3.4").unwrap()),
            linearizable: Ok(()),
        }
    }

    #[test]
    fn a_member_that_serves_is_not_stopped_for_its_undo_without_a_quorum_left() {
        assert_eq!(judge(&view(2, 2), true), Ok(()));
        assert!(judge(&view(2, 1), true).unwrap_err().contains("1 of 3 voters would be left"));
        assert_eq!(judge(&view(4, 3), true), Ok(()));
        assert!(judge(&view(4, 2), true).is_err());
    }

    #[test]
    fn a_member_that_is_down_is_taken_back_whatever_the_others_are() {
        let down = EtcdView { local: Err("connection refused".to_string()), ..view(2, 0) };
        assert_eq!(judge(&down, false), Ok(()));
    }

    #[test]
    fn a_member_that_is_late_and_there_counts_as_one_that_serves() {
        let late = |others: usize, answering: usize| {
            let mut view = view(others, answering);
            view.local = Err("no answer within 5 s".to_string());
            view.members[0].status = Err("no answer within 5 s".to_string());
            view
        };
        assert_eq!(judge(&late(2, 2), true), Ok(()));
        let why = judge(&late(2, 1), true).unwrap_err();
        assert!(why.contains("did not answer in time") && why.contains("1 of 3"), "{why}");
        // Nobody lists the members: nothing tells of a quorum that would be lost.
        let alone = EtcdView { members: Vec::new(), ..late(0, 0) };
        assert_eq!(judge(&alone, true), Ok(()));
    }

    #[tokio::test]
    async fn where_nobody_listens_is_told_from_where_somebody_is_late() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        assert!(dial::listens(&target, DIAL).await);
        drop(listener);
        assert!(!dial::listens(&target, DIAL).await);
    }

    #[test]
    fn one_or_two_voters_are_covered_by_the_outage_that_let_them_be_changed() {
        assert_eq!(judge(&view(0, 0), true), Ok(()));
        assert_eq!(judge(&view(1, 0), true), Ok(()));
    }

    #[test]
    fn a_learner_is_no_voter_and_a_member_that_knows_no_leader_is_not_well() {
        let mut learner = view(3, 3);
        learner.members[3].learner = true;
        assert_eq!(judge(&learner, true), Ok(()));
        learner.members[2].status.as_mut().unwrap().leader = "0".to_string();
        assert!(judge(&learner, true).is_err());
    }
}
