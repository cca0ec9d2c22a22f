//! `etcdQuorum`: every member is healthy by its own word and by another's, all name one leader, and this
//! node's member may stop.
//!
//! Quorum is ⌊N/2⌋+1 of the voters; a member may stop when the healthy others are still that many. With one
//! or two voters there is no such rest: only an outage that the plan accepts by name (`outage: {etcd: 5m}`)
//! lets them go down (rule 6). A gate also wants no alarm, no learner, nobody lagging, and a read that sees
//! a quorum through every member.
//!
//! Source: etcd's operations guide ("Failure modes", "Runtime reconfiguration") and trials recorded in
//! ARCHITECTURE.md. `/health` is never asked: on 3.4 each such request writes to the log.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::recipe::EtcdQuorum;
use drydock_types::{
    NodeName, Verdict,
    probe::{EtcdMember, EtcdStatus, EtcdView},
};

use super::Scene;

/// What every node of the stage said, and what is asked about.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The node that may stop, or has come back.
    pub node: &'a NodeName,
    /// It is about to stop, rather than coming back.
    pub before: bool,
    /// The plan accepts that etcd is out while its only members are.
    pub outage_accepted: bool,
    /// What that outage is called in a plan.
    pub outage_name: &'a str,
    /// What each node of the stage sees.
    pub views: &'a BTreeMap<NodeName, Result<EtcdView, String>>,
}

/// Judges what the scene holds.
pub(super) fn verdict(scene: &Scene<'_>, config: &EtcdQuorum) -> Verdict {
    let request = scene.request;
    let observed = Observed {
        node: &request.node,
        before: request.before,
        outage_accepted: request.outages.iter().any(|name| name == "etcd"),
        outage_name: "etcd",
        views: &scene.etcd,
    };
    judge(&observed, config)
}

/// The first thing that is not as it must be, else clear.
#[must_use]
pub fn judge(observed: &Observed<'_>, config: &EtcdQuorum) -> Verdict {
    let steps = [members_agree, everybody_answers, one_leader, nothing_raised, may_stop];
    let first = steps.iter().map(|step| step(observed)).find(|verdict| !verdict.is_clear());
    first.unwrap_or_else(|| nobody_lags(observed, config.max_lag))
}

fn views<'a>(observed: &'a Observed<'_>) -> impl Iterator<Item = (&'a NodeName, &'a EtcdView)> {
    observed.views.iter().filter_map(|(node, view)| Some((node, view.as_ref().ok()?)))
}

/// Every agent was heard, and all have the same list of members.
fn members_agree(observed: &Observed<'_>) -> Verdict {
    for (node, view) in observed.views {
        if let Err(why) = view {
            return Verdict::Unknown(format!("the etcd member on {node} could not be looked at: {why}"));
        }
    }
    match observed.views.get(observed.node) {
        None => return Verdict::Unknown(format!("{} itself was not looked at", observed.node)),
        Some(Ok(view)) => {
            if let Err(why) = &view.local {
                return Verdict::Waiting(format!(
                    "the etcd member on {} does not answer: {why}",
                    observed.node
                ));
            }
        }
        Some(Err(_)) => {}
    }
    let mut lists = views(observed).map(|(node, view)| (node, ids(view)));
    let Some((first, list)) = lists.next() else {
        return Verdict::Unknown("no node of the stage was looked at".to_string());
    };
    for (node, other) in lists {
        if other != list {
            return Verdict::Unknown(format!(
                "{first} and {node} have different lists of members: two clusters, or one that is changing"
            ));
        }
    }
    if list.is_empty() {
        return Verdict::Unknown(format!("{first} lists no members"));
    }
    if let Some((node, _)) = views(observed).find(|(_, view)| view.members.len() != list.len()) {
        return Verdict::Unknown(format!("{node} lists a member twice"));
    }
    // Each local member is in the list, and no two nodes speak for the same one.
    let mut homes: BTreeMap<&str, &NodeName> = BTreeMap::new();
    for (node, status) in locals(observed) {
        if !list.contains(status.member.as_str()) {
            let why = format!("the etcd member on {node} ({}) is not in the list of members", status.member);
            return Verdict::Unknown(why);
        }
        if let Some(other) = homes.insert(&status.member, node) {
            return Verdict::Unknown(format!(
                "{other} and {node} both say that member {} is theirs",
                status.member
            ));
        }
    }
    Verdict::Clear
}

fn ids(view: &EtcdView) -> BTreeSet<&str> {
    view.members.iter().map(|member| member.id.as_str()).collect()
}

/// Every member by its own agent's word, and by at least one other node that dialled it.
fn everybody_answers(observed: &Observed<'_>) -> Verdict {
    let Some((_, any)) = views(observed).next() else {
        return Verdict::Unknown("nobody was looked at".to_string());
    };
    for member in &any.members {
        let name = if member.name.is_empty() { &member.id } else { &member.name };
        let learns = |other: &EtcdMember| other.id == member.id && other.learner;
        if views(observed).any(|(_, view)| view.members.iter().any(learns)) {
            return Verdict::Waiting(format!("member {name} is a learner: promote it or remove it first"));
        }
        let own = views(observed)
            .find(|(_, view)| view.local.as_ref().is_ok_and(|status| status.member == member.id));
        let Some((home, own)) = own else {
            return nobody_speaks_for(observed, name, &member.id);
        };
        let cluster = own.local.as_ref().map(|status| status.cluster.as_str()).unwrap_or_default();
        let seen_by_others = views(observed).filter(|(node, _)| *node != home).filter_map(|(node, view)| {
            let status = &view.members.iter().find(|other| other.id == member.id)?.status;
            Some((node, status))
        });
        let mut failed = None;
        let mut confirmed = false;
        for (node, status) in seen_by_others {
            match status {
                Ok(status) if status.member == member.id && status.cluster != cluster => {
                    failed = Some((node, format!("who answers there is in cluster {}", status.cluster)));
                }
                Ok(status) if status.member == member.id && !status.knows_leader() => {
                    failed = Some((node, "it knows no leader".to_string()));
                }
                Ok(status) if status.member == member.id => confirmed = true,
                Ok(status) => failed = Some((node, format!("who answers there is {}", status.member))),
                Err(why) => failed = Some((node, why.clone())),
            }
        }
        if let Some((node, why)) = failed {
            return Verdict::Waiting(format!(
                "member {name} on {home} is well by its own word, but not as {node} sees it: {why}"
            ));
        }
        if !confirmed && any.members.len() > 1 {
            return Verdict::Unknown(format!("only {home} itself says that member {name} is well"));
        }
    }
    Verdict::Clear
}

/// A member without an agent of this stage, or whose agent finds it down.
fn nobody_speaks_for(observed: &Observed<'_>, name: &str, id: &str) -> Verdict {
    let down = views(observed).find_map(|(node, view)| Some((node, view.local.as_ref().err()?)));
    if let Some((node, why)) = down {
        return Verdict::Waiting(format!("the etcd member on {node} does not answer: {why}"));
    }
    Verdict::Unknown(format!(
        "member {name} ({id}) is on no node of this stage: nobody can look at it from beside"
    ))
}

fn locals<'a>(observed: &'a Observed<'_>) -> Vec<(&'a NodeName, &'a EtcdStatus)> {
    views(observed).filter_map(|(node, view)| Some((node, view.local.as_ref().ok()?))).collect()
}

/// All name the same leader, in the same term, and it is one of them.
fn one_leader(observed: &Observed<'_>) -> Verdict {
    let locals = locals(observed);
    let Some((first, leading)) = locals.first() else {
        return Verdict::Unknown("nobody was looked at".to_string());
    };
    for (node, status) in &locals {
        if !status.knows_leader() {
            return Verdict::Waiting(format!("the etcd member on {node} knows no leader"));
        }
        if status.cluster != leading.cluster {
            return Verdict::Refused(format!("{first} and {node} are in different etcd clusters"));
        }
        if (&status.leader, status.raft_term) != (&leading.leader, leading.raft_term) {
            return Verdict::Waiting(format!("{first} and {node} do not name the same leader"));
        }
    }
    if !locals.iter().any(|(_, status)| status.leads()) {
        return Verdict::Unknown(format!("all name {} as leader, and none of them is it", leading.leader));
    }
    Verdict::Clear
}

/// No alarm, no error of a member's own, and a read through each that sees a quorum.
fn nothing_raised(observed: &Observed<'_>) -> Verdict {
    for (node, view) in views(observed) {
        match &view.alarms {
            Ok(alarms) if alarms.is_empty() => {}
            Ok(alarms) => return Verdict::Refused(format!("etcd has raised {}", alarms.join(", "))),
            Err(why) => return Verdict::Unknown(format!("{node} could not ask for alarms: {why}")),
        }
        if let Err(why) = &view.linearizable {
            return Verdict::Waiting(format!("a read through {node} does not see a quorum: {why}"));
        }
        if let Ok(status) = &view.local
            && let Some(error) = status.errors.first()
        {
            return Verdict::Waiting(format!("the etcd member on {node} reports: {error}"));
        }
    }
    Verdict::Clear
}

/// The healthy rest is still a quorum of all voters.
fn may_stop(observed: &Observed<'_>) -> Verdict {
    if !observed.before || observed.outage_accepted {
        return Verdict::Clear;
    }
    let Some((_, view)) = views(observed).next() else {
        return Verdict::Unknown("nobody was looked at".to_string());
    };
    let voters: BTreeSet<&str> =
        view.members.iter().filter(|member| !member.learner).map(|member| member.id.as_str()).collect();
    // Members, not nodes that speak: what counts is who is left to vote.
    let others = locals(observed).into_iter().filter(|(node, _)| *node != observed.node);
    let left: BTreeSet<&str> =
        others.map(|(_, status)| status.member.as_str()).filter(|member| voters.contains(member)).collect();
    let (voters, left) = (voters.len(), left.len());
    let quorum = voters / 2 + 1;
    if left < quorum {
        let why = format!(
            "with {} stopped, {left} of {voters} voters are left and {quorum} are needed; accept the outage in the plan by name (`outage: {{{}: 5m}}`) or add members",
            observed.node, observed.outage_name,
        );
        return Verdict::Refused(why);
    }
    Verdict::Clear
}

fn nobody_lags(observed: &Observed<'_>, max_lag: u64) -> Verdict {
    let locals = locals(observed);
    let furthest = locals.iter().map(|(_, status)| status.raft_applied).max().unwrap_or(0);
    for (node, status) in locals {
        let lag = furthest.saturating_sub(status.raft_applied);
        if lag > max_lag {
            return Verdict::Waiting(format!(
                "the etcd member on {node} lags {lag} entries behind (at most {max_lag})"
            ));
        }
    }
    Verdict::Clear
}

#[cfg(test)]
mod tests {
    use drydock_types::Version;

    use super::*;

    type Views = BTreeMap<NodeName, Result<EtcdView, String>>;

    fn node(i: usize) -> NodeName {
        NodeName::parse(&format!("ctl-{i}")).unwrap()
    }

    fn status(i: usize) -> EtcdStatus {
        EtcdStatus {
            cluster: "c0".to_string(),
            member: format!("{i:x}"),
            version: Version::parse("3.4.23").unwrap(),
            leader: "1".to_string(),
            raft_term: 4,
            raft_index: 1000,
            raft_applied: 1000,
            db_size: 1 << 20,
            errors: Vec::new(),
        }
    }

    fn member(i: usize) -> EtcdMember {
        EtcdMember { id: format!("{i:x}"), name: format!("m{i}"), learner: false, status: Ok(status(i)) }
    }

    /// `n` members, all well, each seen by all; member 1 leads.
    fn cluster(n: usize) -> Views {
        let view = |i| EtcdView {
            local: Ok(status(i)),
            members: (1..=n).map(member).collect(),
            alarms: Ok(Vec::new()),
            cluster_version: Ok(Version::parse("3.4").unwrap()),
            linearizable: Ok(()),
        };
        (1..=n).map(|i| (node(i), Ok(view(i)))).collect()
    }

    fn see(views: &mut Views, i: usize) -> &mut EtcdView {
        views.get_mut(&node(i)).unwrap().as_mut().unwrap()
    }

    fn own(views: &mut Views, i: usize) -> &mut EtcdStatus {
        see(views, i).local.as_mut().unwrap()
    }

    /// Member `i` does not answer anybody.
    fn stop(views: &mut Views, i: usize) {
        see(views, i).local = Err("connection refused".to_string());
        see(views, i).linearizable = Err("connection refused".to_string());
        for view in views.values_mut().flatten() {
            view.members[i - 1].status = Err("connection refused".to_string());
        }
    }

    fn judged(views: &Views, before: bool, outage_accepted: bool) -> Verdict {
        let observed = Observed { node: &node(2), before, outage_accepted, outage_name: "etcd", views };
        judge(&observed, &EtcdQuorum { max_lag: 5000 })
    }

    fn gate(views: &Views) -> Verdict {
        judged(views, true, false)
    }

    #[derive(Debug, PartialEq)]
    enum Is {
        Clear,
        Waiting,
        Refused,
        Unknown,
    }

    fn kind(verdict: &Verdict) -> Is {
        match verdict {
            Verdict::Clear => Is::Clear,
            Verdict::Waiting(_) => Is::Waiting,
            Verdict::Refused(_) => Is::Refused,
            Verdict::Unknown(_) => Is::Unknown,
        }
    }

    /// What is wrong, how it is made so, what is said of it, and a word that the reason has.
    type Case = (&'static str, fn(&mut Views), Is, &'static str);

    #[test]
    fn a_cluster_that_is_well_lets_one_of_three_four_or_five_stop() {
        for n in 3..=5 {
            assert_eq!(gate(&cluster(n)), Verdict::Clear, "{n} members");
        }
    }

    #[test]
    fn whatever_is_not_as_it_must_be_keeps_the_gate_shut_and_is_named() {
        let cases: [Case; 29] = [
            ("another member is down", |v| stop(v, 3), Is::Waiting, "ctl-3 does not answer"),
            ("this member is down", |v| stop(v, 2), Is::Waiting, "ctl-2 does not answer"),
            (
                "an agent is silent",
                |v| drop(v.insert(node(3), Err("no stream".to_string()))),
                Is::Unknown,
                "ctl-3",
            ),
            (
                "this node's agent is silent",
                |v| drop(v.insert(node(2), Err("no stream".into()))),
                Is::Unknown,
                "ctl-2",
            ),
            ("a peer was not asked at all", |v| drop(v.remove(&node(3))), Is::Unknown, "m3"),
            ("this node was not asked at all", |v| drop(v.remove(&node(2))), Is::Unknown, "ctl-2 itself"),
            ("nobody was asked", |v| v.clear(), Is::Unknown, "was not looked at"),
            ("two lists of members", |v| drop(see(v, 3).members.pop()), Is::Unknown, "different lists"),
            (
                "a list with another member",
                |v| see(v, 3).members[0].id = "9".to_string(),
                Is::Unknown,
                "different lists",
            ),
            (
                "empty lists",
                |v| v.values_mut().flatten().for_each(|view| view.members.clear()),
                Is::Unknown,
                "lists no members",
            ),
            (
                "a member listed twice",
                |v| {
                    let again = member(1);
                    see(v, 3).members.push(again);
                },
                Is::Unknown,
                "twice",
            ),
            (
                "two clusters of the same ids",
                |v| own(v, 3).cluster = "c9".to_string(),
                Is::Waiting,
                "cluster",
            ),
            (
                "two clusters, each consistent",
                |v| {
                    own(v, 3).cluster = "c9".to_string();
                    for view in v.values_mut().flatten() {
                        view.members[2].status.as_mut().unwrap().cluster = "c9".to_string();
                    }
                },
                Is::Refused,
                "different etcd clusters",
            ),
            (
                "a local member outside of the list",
                |v| own(v, 3).member = "9".to_string(),
                Is::Unknown,
                "not in the list",
            ),
            (
                "two nodes speak for one member",
                |v| own(v, 3).member = "1".to_string(),
                Is::Unknown,
                "both say",
            ),
            (
                "another leader by one word",
                |v| own(v, 3).leader = "3".to_string(),
                Is::Waiting,
                "same leader",
            ),
            ("another term by one word", |v| own(v, 3).raft_term = 5, Is::Waiting, "same leader"),
            ("one knows no leader", |v| own(v, 3).leader = "0".to_string(), Is::Waiting, "knows no leader"),
            (
                "one knows no leader as another sees it",
                |v| {
                    see(v, 1).members[2].status.as_mut().unwrap().leader = "0".to_string();
                },
                Is::Waiting,
                "knows no leader",
            ),
            ("an empty leader", |v| own(v, 1).leader = String::new(), Is::Waiting, "knows no leader"),
            (
                "all name one who does not lead",
                |v| {
                    v.values_mut().flatten().for_each(|view| {
                        view.local.as_mut().unwrap().leader = "7".to_string();
                    })
                },
                Is::Unknown,
                "none of them is it",
            ),
            (
                "a learner",
                |v| v.values_mut().flatten().for_each(|view| view.members[2].learner = true),
                Is::Waiting,
                "learner",
            ),
            ("a learner in one list only", |v| see(v, 3).members[2].learner = true, Is::Waiting, "learner"),
            (
                "an alarm",
                |v| see(v, 3).alarms = Ok(vec!["NOSPACE on 8e9e".to_string()]),
                Is::Refused,
                "NOSPACE",
            ),
            (
                "alarms that could not be asked for",
                |v| see(v, 1).alarms = Err("timeout".to_string()),
                Is::Unknown,
                "alarms",
            ),
            (
                "a read without quorum",
                |v| see(v, 3).linearizable = Err("timeout".to_string()),
                Is::Waiting,
                "quorum",
            ),
            ("a member's own error", |v| own(v, 3).errors.push("memory".to_string()), Is::Waiting, "memory"),
            ("one that lags", |v| own(v, 1).raft_applied = 6001, Is::Waiting, "lags 5001"),
            (
                "one that another cannot reach",
                |v| {
                    see(v, 1).members[2].status = Err("no route".to_string());
                },
                Is::Waiting,
                "no route",
            ),
        ];
        for (what, make, is, word) in cases {
            let mut views = cluster(3);
            make(&mut views);
            let verdict = gate(&views);
            assert_eq!(kind(&verdict), is, "{what}: {verdict:?}");
            assert!(verdict.reason().unwrap().contains(word), "{what}: {verdict:?}");
        }
    }

    #[test]
    fn a_lag_that_is_allowed_is_clear() {
        let mut views = cluster(3);
        own(&mut views, 1).raft_applied = 6000;
        assert_eq!(gate(&views), Verdict::Clear);
    }

    #[test]
    fn a_members_own_word_alone_is_not_believed() {
        // A forged or stale answer of ctl-3's agent: nobody else dials that member.
        let mut views = cluster(3);
        for i in [1, 2] {
            see(&mut views, i).members[2].status = Err("connection refused".to_string());
        }
        assert_eq!(kind(&gate(&views)), Is::Waiting);
        // Another answers at its address.
        let mut views = cluster(3);
        for i in [1, 2] {
            see(&mut views, i).members[2].status = Ok(status(9));
        }
        assert!(gate(&views).reason().unwrap().contains("who answers there is 9"));
    }

    #[test]
    fn one_or_two_voters_stop_only_when_their_outage_is_accepted_by_name() {
        for n in [1, 2] {
            let mut views = cluster(n);
            if n == 1 {
                let only = views.remove(&node(1)).unwrap();
                views.insert(node(2), only);
            }
            let verdict = gate(&views);
            assert_eq!(kind(&verdict), Is::Refused, "{n}: {verdict:?}");
            assert!(verdict.reason().unwrap().contains("accept the outage"));
            assert_eq!(judged(&views, true, true), Verdict::Clear, "{n} with the outage accepted");
            assert_eq!(judged(&views, false, false), Verdict::Clear, "{n} coming back");
        }
    }

    #[test]
    fn an_accepted_outage_accepts_nothing_else() {
        let mut views = cluster(2);
        stop(&mut views, 1);
        assert_eq!(kind(&judged(&views, true, true)), Is::Waiting);
        let mut views = cluster(2);
        see(&mut views, 1).alarms = Ok(vec!["CORRUPT on 1".to_string()]);
        assert_eq!(kind(&judged(&views, true, true)), Is::Refused);
    }

    #[test]
    fn a_third_node_that_repeats_a_members_word_is_no_third_voter() {
        // Two voters, and a node of the stage whose agent is pointed at the first one's member.
        let mut views = cluster(2);
        let copy = views[&node(1)].clone();
        views.insert(node(3), copy);
        assert_eq!(kind(&gate(&views)), Is::Unknown);
    }

    #[test]
    fn a_node_of_the_stage_without_a_member_is_never_stopped_as_one() {
        let mut views = cluster(4);
        for view in views.values_mut().flatten() {
            view.members.remove(1);
        }
        see(&mut views, 2).local = Err("not a member".to_string());
        assert_eq!(kind(&gate(&views)), Is::Waiting);
    }

    #[test]
    fn a_member_that_has_come_back_is_judged_by_the_same_words() {
        assert_eq!(judged(&cluster(3), false, false), Verdict::Clear);
        let mut views = cluster(3);
        stop(&mut views, 2);
        assert_eq!(kind(&judged(&views, false, false)), Is::Waiting);
        let mut views = cluster(3);
        own(&mut views, 2).raft_applied = 0;
        own(&mut views, 1).raft_applied = 10_000;
        assert_eq!(kind(&judged(&views, false, false)), Is::Waiting, "not caught up");
    }
}
