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
            "with {} stopped, {left} of {voters} voters are left and {quorum} are needed; accept the outage in the plan by name (`outage: {{etcd: 5m}}`) or add members",
            observed.node,
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
