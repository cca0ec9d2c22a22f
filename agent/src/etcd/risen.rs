//! Has the cluster's version risen past what the old binary speaks? From then on that binary refuses to start
//! ("invalid downgrade", exit at once; seen on 3.4 → 3.5).
//!
//! The leader raises it some 4 s after *every* member has answered a higher version, and not while one of them
//! is silent. So one member that answers now with the old cluster version is proof, unless all of them, this one
//! included, answer with the new binary: then it is about to rise, and counts as risen.

use drydock_types::Version;

use super::{
    EtcdAccess,
    known::Known,
    member::Versions,
    survey::{Survey, survey},
};

/// Ok when the binary of version `from` can still be started in this cluster, on evidence taken now.
///
/// # Errors
/// When it cannot, or nobody answers: what is not known does not hold.
pub async fn not_risen(access: &EtcdAccess, known: &Known, from: Option<&Version>) -> Result<(), String> {
    let from =
        from.ok_or("the version to go back to is not known, so neither is whether it would still start")?;
    let Survey { view, versions, .. } = survey(access, known).await;
    judge(from, view.members.len(), &versions)
}

fn judge(
    from: &Version,
    members: usize,
    answers: &[(String, Result<Versions, String>)],
) -> Result<(), String> {
    let heard: Vec<_> =
        answers.iter().filter_map(|(who, answer)| Some((who, answer.as_ref().ok()?))).collect();
    let decided = heard.iter().filter_map(|(who, answer)| Some((who, answer.cluster.as_ref()?)));
    if let Some((who, cluster)) = decided.clone().find(|(_, cluster)| cluster.minor() > from.minor()) {
        let (major, minor) = cluster.minor();
        return Err(format!(
            "the cluster's version has risen to {major}.{minor} (said by {who}): the old binary {from} refuses to \
             start in it (\"invalid downgrade\"); the new binary stays, or restore the snapshot on all members"
        ));
    }
    if decided.count() == 0 {
        let whys: Vec<_> = answers
            .iter()
            .map(|(who, answer)| match answer {
                Ok(_) => format!("{who}: not decided"),
                Err(why) => format!("{who}: {why}"),
            })
            .collect();
        return Err(format!(
            "no member says the cluster's version, so whether {from} would still start is unknown: {}",
            whys.join("; ")
        ));
    }
    // `answers` has every member once: the local one through the policy's endpoint, the others by dialling.
    let newer = |answer: &Versions| answer.server.minor() > from.minor();
    if members > 0 && heard.len() == answers.len() && heard.iter().all(|(_, answer)| newer(answer)) {
        return Err(format!(
            "all {members} members answer with a newer minor than {from}: the cluster's version is about to rise, \
             after which the old binary refuses to start; stop this member first or go on with the new binary"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(who: &str, server: &str, cluster: &str) -> (String, Result<Versions, String>) {
        let cluster = (!cluster.is_empty()).then(|| Version::parse(cluster).unwrap());
        (who.into(), Ok(Versions { server: Version::parse(server).unwrap(), cluster }))
    }

    fn silent(who: &str) -> (String, Result<Versions, String>) {
        (who.into(), Err("connection refused".into()))
    }

    fn old() -> Version {
        Version::parse("3.4.23").unwrap()
    }

    #[test]
    fn one_member_that_says_a_higher_cluster_version_is_enough_to_leave_the_new_binary_alone() {
        let answers = [silent("local"), answer("b", "3.5.16", "3.4.0"), answer("c", "3.5.16", "3.5.0")];
        let why = judge(&old(), 3, &answers).unwrap_err();
        assert!(why.contains("has risen to 3.5") && why.contains("said by c"), "{why}");
    }

    #[test]
    fn where_nobody_answers_or_nothing_is_decided_it_does_not_hold() {
        assert!(judge(&old(), 3, &[silent("local"), silent("b")]).unwrap_err().contains("unknown"));
        assert!(judge(&old(), 1, &[answer("local", "3.5.16", "")]).unwrap_err().contains("not decided"));
        assert!(judge(&old(), 0, &[]).is_err());
    }

    #[test]
    fn an_old_cluster_version_said_by_one_member_that_answers_holds() {
        let answers = [silent("local"), answer("b", "3.5.16", "3.4.0"), answer("c", "3.5.16", "3.4.0")];
        assert_eq!(judge(&old(), 3, &answers), Ok(()));
        let answers = [answer("local", "3.5.16", "3.4.0"), answer("b", "3.4.23", "3.4.0"), silent("c")];
        assert_eq!(judge(&old(), 3, &answers), Ok(()));
    }

    #[test]
    fn once_every_member_answers_with_the_new_binary_it_is_about_to_rise() {
        let answers = [answer("local", "3.5.16", "3.4.0"), answer("b", "3.5.16", "3.4.0")];
        assert!(judge(&old(), 2, &answers).unwrap_err().contains("about to rise"));
    }

    #[test]
    fn a_patch_release_can_always_be_taken_back() {
        let answers = [answer("local", "3.4.27", "3.4.0"), answer("b", "3.4.27", "3.4.0")];
        assert_eq!(judge(&old(), 2, &answers), Ok(()));
    }
}
