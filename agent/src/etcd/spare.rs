//! Can this node's member be stopped once more without taking the quorum along? Asked when a change is to be taken
//! back: a member that serves, with whatever version, is then restarted, and the others may have changed since its
//! gate was looked at (rule 6).

use drydock_types::probe::EtcdView;

use super::{EtcdAccess, known::Known, survey::survey};

/// Ok when this member is down already, or the healthy others are a quorum.
///
/// # Errors
/// When they are not, or it cannot be seen: the reason, for a person.
pub async fn quorum_without_this(access: &EtcdAccess, known: &Known) -> Result<(), String> {
    judge(&survey(access, known).await.view)
}

fn judge(view: &EtcdView) -> Result<(), String> {
    // Nobody loses anything by the restart of a member that does not answer.
    let Ok(own) = &view.local else { return Ok(()) };
    let voters: Vec<_> = view.members.iter().filter(|member| !member.learner).collect();
    if !voters.iter().any(|member| member.id == own.member) {
        return Err("this node's etcd member is not among the voters that it lists".to_string());
    }
    let well = voters.iter().filter(|member| {
        member.id != own.member && member.status.as_ref().is_ok_and(|status| status.knows_leader())
    });
    let (left, all) = (well.count(), voters.len());
    if all > 2 && left < all / 2 + 1 {
        return Err(format!(
            "this etcd member serves, and with it stopped {left} of {all} voters would be left: taking the change \
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
        assert_eq!(judge(&view(2, 2)), Ok(()));
        assert!(judge(&view(2, 1)).unwrap_err().contains("1 of 3 voters would be left"));
        assert_eq!(judge(&view(4, 3)), Ok(()));
        assert!(judge(&view(4, 2)).is_err());
    }

    #[test]
    fn a_member_that_is_down_is_taken_back_whatever_the_others_are() {
        let down = EtcdView { local: Err("connection refused".to_string()), ..view(2, 0) };
        assert_eq!(judge(&down), Ok(()));
    }

    #[test]
    fn one_or_two_voters_are_covered_by_the_outage_that_let_them_be_changed() {
        assert_eq!(judge(&view(0, 0)), Ok(()));
        assert_eq!(judge(&view(1, 0)), Ok(()));
    }

    #[test]
    fn a_learner_is_no_voter_and_a_member_that_knows_no_leader_is_not_well() {
        let mut learner = view(3, 3);
        learner.members[3].learner = true;
        assert_eq!(judge(&learner), Ok(()));
        learner.members[2].status.as_mut().unwrap().leader = "0".to_string();
        assert!(judge(&learner).is_err());
    }
}
