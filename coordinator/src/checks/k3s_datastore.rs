//! `k3sDatastore`: the state of the cluster outlives this server's restart.
//!
//! A server with an embedded member of etcd is judged as `etcdQuorum` judges: it may stop while the healthy rest is
//! a quorum. What has no such rest, one member or an SQLite database on this very node, goes down only where the plan
//! accepts that the control plane is out (`outage: {controlPlane: 5m}`; rule 6). A database of somebody else is not
//! looked at and not saved: the recipe says who saves it, or the server stays as it is; and while it is down another
//! server must answer, by its own endpoint of the cluster. An agent of the fleet says which of the three it is, by the
//! unit's settings as K3s itself merges them.
//!
//! Source: pkg/cluster/managed.go of k3s-io/k3s (`assignManagedDriver`) says which datastore a server uses.

use std::collections::BTreeMap;

use drydock_core::recipe::{EtcdQuorum, K3sDatastoreCheck};
use drydock_kubernetes::survey::servers::{self, Says, Server};
use drydock_types::{
    NodeName, Verdict,
    probe::{EtcdView, K3sDatastore, K3sView, Observation, Probe},
    step::K3sRole,
};

use super::{PROBE_DEADLINE, Scene, etcd_quorum, kubernetes};

/// The name under which a plan accepts that a cluster's only server is out.
const OUTAGE: &str = "controlPlane";
/// The name under which a plan accepts it of a member of etcd.
const ETCD: &str = "etcd";

/// What was seen, and what is asked about.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The node that may stop, or has come back.
    pub node: &'a NodeName,
    /// It is about to stop, rather than coming back.
    pub before: bool,
    /// The names of the outages that the stage accepts.
    pub outages: &'a [String],
    /// The cluster's other servers, each by its own endpoint; none where they were not asked.
    pub others: Option<&'a Result<Vec<Server>, Verdict>>,
    /// What the node's agent says of its K3s.
    pub k3s: &'a Result<K3sView, String>,
    /// What each node of the stage sees of etcd.
    pub etcd: &'a BTreeMap<NodeName, Result<EtcdView, String>>,
}

/// Observes and judges.
pub(super) async fn verdict(scene: &Scene<'_>, config: &K3sDatastoreCheck) -> Verdict {
    let request = scene.request;
    let probe = Probe::K3s { unit: config.unit.clone() };
    let k3s = match scene.sessions.observe(&request.node, &probe, PROBE_DEADLINE).await {
        Ok(Observation::K3s(view)) => Ok(view),
        Ok(_) => Err(format!("{}'s agent answered another question", request.node)),
        Err(why) => Err(why),
    };
    let mut observed = Observed {
        node: &request.node,
        before: request.before,
        outages: &request.outages,
        others: None,
        k3s: &k3s,
        etcd: &scene.etcd,
    };
    let others = if needs_another(&observed) { Some(others(scene).await) } else { None };
    observed.others = others.as_ref();
    judge(&observed, config)
}

/// Does it hang on another server of the cluster whether this one may stop?
fn needs_another(observed: &Observed<'_>) -> bool {
    let external = |view: &K3sView| matches!(view.datastore, Some(K3sDatastore::External { .. }));
    observed.before && !accepted(observed) && observed.k3s.as_ref().is_ok_and(external)
}

async fn others(scene: &Scene<'_>) -> Result<Vec<Server>, Verdict> {
    let bound = kubernetes::in_cluster(scene, &scene.request.node).await?;
    let seen = servers::others(&*bound.api, &bound.node).await;
    seen.map_err(|fault| Verdict::Unknown(format!("which other servers answer is not known: {fault}")))
}

/// The first thing that is not as it must be, else clear.
#[must_use]
pub fn judge(observed: &Observed<'_>, config: &K3sDatastoreCheck) -> Verdict {
    let node = observed.node;
    let view = match observed.k3s {
        Ok(view) => view,
        Err(why) => return Verdict::Unknown(format!("K3s on {node} could not be looked at: {why}")),
    };
    let unit = &config.unit;
    if view.role == K3sRole::Agent {
        return Verdict::Refused(format!(
            "{unit} on {node} is a K3s agent, not a server: use recipe k3s-agent"
        ));
    }
    if !view.disabled.is_empty() {
        let why = format!(
            "{unit} on {node} runs with {}: servers of split roles are not upgraded by this recipe",
            view.disabled.join(" and ")
        );
        return Verdict::Refused(why);
    }
    match &view.datastore {
        None => Verdict::Unknown(format!("which datastore {unit} on {node} uses is not known")),
        Some(K3sDatastore::EmbeddedEtcd { member }) => embedded(observed, member, config.max_lag),
        Some(K3sDatastore::Sqlite {}) => alone(observed, "its SQLite database is the cluster's only one"),
        Some(K3sDatastore::External { kind }) => external(observed, kind, config),
    }
}

/// The members judge; and the one that is looked at must be the one that K3s runs.
fn embedded(observed: &Observed<'_>, member: &str, max_lag: u64) -> Verdict {
    let quorum = etcd_quorum::Observed {
        node: observed.node,
        before: observed.before,
        outage_accepted: accepted(observed),
        outage_name: OUTAGE,
        views: observed.etcd,
    };
    let verdict = etcd_quorum::judge(&quorum, &EtcdQuorum { max_lag });
    if !verdict.is_clear() {
        return verdict;
    }
    let own = observed.etcd.get(observed.node).and_then(|view| view.as_ref().ok());
    let local = own.and_then(|view| Some((view, view.local.as_ref().ok()?)));
    let name = local.and_then(|(view, local)| view.members.iter().find(|it| it.id == local.member));
    match name {
        Some(it) if it.name == member => Verdict::Clear,
        Some(it) => Verdict::Refused(format!(
            "K3s on {} runs etcd member {member:?}, and the agent's policy reaches {:?}: [etcd] of the policy \
             names another etcd; with K3s's default data directory `profiles = [\"k3s\"]` is all that it needs",
            observed.node, it.name
        )),
        None => Verdict::Unknown(format!("{}'s own etcd member was not seen", observed.node)),
    }
}

fn external(observed: &Observed<'_>, kind: &str, config: &K3sDatastoreCheck) -> Verdict {
    let node = observed.node;
    let who = config.external_datastore_backed_up_by.as_deref().map(str::trim).filter(|who| !who.is_empty());
    if who.is_none() {
        return Verdict::Refused(format!(
            "K3s on {node} keeps its state in a datastore of somebody else ({kind}), which Drydock does not save: \
             say in the plan who does (`with: {{externalDatastoreBackedUpBy: \"…\"}}`)"
        ));
    }
    if !needs_another(observed) {
        return Verdict::Clear;
    }
    match observed.others {
        Some(Ok(others)) if others.is_empty() => alone(observed, "the cluster has no other server"),
        Some(Ok(others)) => another_answers(node, others),
        Some(Err(unclear)) => unclear.clone(),
        None => Verdict::Unknown(format!("the servers beside {node} were not asked")),
    }
}

/// The database serves the other servers; whether they serve is what they answer.
fn another_answers(node: &NodeName, others: &[Server]) -> Verdict {
    let mut silent = Vec::new();
    for server in others {
        match &server.says {
            Says::Ready(_) => return Verdict::Clear,
            Says::Silent(why) => silent.push(format!("{} ({})", server.node, why.join("; "))),
            Says::NoEndpoint => {}
        }
    }
    let accept = format!("or accept in the plan that nobody serves meanwhile (`outage: {{{OUTAGE}: 5m}}`)");
    if !silent.is_empty() {
        return Verdict::Waiting(format!(
            "no server but {node} answers for the control plane: {}; start one (systemctl status k3s there), {accept}",
            silent.join(", ")
        ));
    }
    let names: Vec<&str> = others.iter().map(|server| server.node.as_str()).collect();
    Verdict::Refused(format!(
        "nobody can tell whether a server but {node} answers: the cluster has no endpoint of {}; add it again with \
         one of each server (drydock cluster add NAME --replace … --server https://HOST:6443), {accept}",
        names.join(", ")
    ))
}

/// Nobody else serves while this one is down.
fn alone(observed: &Observed<'_>, because: &str) -> Verdict {
    if !observed.before || accepted(observed) {
        return Verdict::Clear;
    }
    Verdict::Refused(format!(
        "while {} is restarted there is no control plane: {because}; accept that in the plan by name and length \
         (`outage: {{{OUTAGE}: 5m}}`)",
        observed.node
    ))
}

fn accepted(observed: &Observed<'_>) -> bool {
    observed.outages.iter().any(|name| name == OUTAGE || name == ETCD)
}

#[cfg(test)]
mod tests {
    use drydock_types::{
        UnitName, Version,
        probe::{EtcdMember, EtcdStatus},
    };

    use super::*;

    fn node(i: usize) -> NodeName {
        NodeName::parse(&format!("k3s-{i}")).unwrap()
    }

    fn config() -> K3sDatastoreCheck {
        K3sDatastoreCheck {
            unit: UnitName::parse("k3s.service").unwrap(),
            max_lag: 5000,
            external_datastore_backed_up_by: None,
        }
    }

    fn view(datastore: K3sDatastore) -> K3sView {
        K3sView { role: K3sRole::Server, datastore: Some(datastore), disabled: Vec::new() }
    }

    fn embedded_etcd() -> K3sDatastore {
        K3sDatastore::EmbeddedEtcd { member: "k3s-1-aaaa1111".into() }
    }

    fn status(i: usize) -> EtcdStatus {
        EtcdStatus {
            cluster: "c0".into(),
            member: format!("{i:x}"),
            version: Version::parse("3.6.4").unwrap(),
            leader: "1".into(),
            raft_term: 4,
            raft_index: 1000,
            raft_applied: 1000,
            db_size: 1 << 20,
            errors: Vec::new(),
        }
    }

    /// `n` members on as many servers, all well.
    fn etcd(n: usize) -> BTreeMap<NodeName, Result<EtcdView, String>> {
        let member = |i: usize| EtcdMember {
            id: format!("{i:x}"),
            name: format!("k3s-{i}-aaaa1111"),
            learner: false,
            status: Ok(status(i)),
        };
        let view = |i| EtcdView {
            local: Ok(status(i)),
            members: (1..=n).map(member).collect(),
            alarms: Ok(Vec::new()),
            cluster_version: Ok(Version::parse("3.6").unwrap()),
            linearizable: Ok(()),
        };
        (1..=n).map(|i| (node(i), Ok(view(i)))).collect()
    }

    fn server(node: &str, says: Says) -> Server {
        Server { node: node.into(), says }
    }

    /// Judged at the gate of the first server.
    fn gate(k3s: &Result<K3sView, String>, servers: usize, outages: &[&str]) -> Verdict {
        let outages: Vec<String> = outages.iter().map(|name| (*name).to_string()).collect();
        let etcd = etcd(servers);
        let observed =
            Observed { node: &node(1), before: true, outages: &outages, others: None, k3s, etcd: &etcd };
        judge(&observed, &config())
    }

    fn refused(verdict: &Verdict, words: &[&str]) {
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
        for word in words {
            assert!(verdict.reason().unwrap().contains(word), "{word}: {verdict:?}");
        }
    }

    #[test]
    fn one_of_three_servers_with_embedded_etcd_may_stop() {
        assert_eq!(gate(&Ok(view(embedded_etcd())), 3, &[]), Verdict::Clear);
    }

    #[test]
    fn the_only_server_stops_only_where_the_plan_accepts_that_the_control_plane_is_out() {
        for datastore in [embedded_etcd(), K3sDatastore::Sqlite {}] {
            let k3s = Ok(view(datastore));
            refused(&gate(&k3s, 1, &[]), &["outage: {controlPlane: 5m}"]);
            refused(&gate(&k3s, 1, &["something"]), &["controlPlane"]);
            assert_eq!(gate(&k3s, 1, &["controlPlane"]), Verdict::Clear);
            assert_eq!(gate(&k3s, 1, &["etcd"]), Verdict::Clear);
        }
    }

    #[test]
    fn two_members_have_no_rest_either() {
        refused(&gate(&Ok(view(embedded_etcd())), 2, &[]), &["1 of 2 voters", "controlPlane"]);
    }

    #[test]
    fn a_server_that_has_come_back_needs_no_accepted_outage() {
        let (k3s, etcd) = (Ok(view(K3sDatastore::Sqlite {})), BTreeMap::new());
        let observed =
            Observed { node: &node(1), before: false, outages: &[], others: None, k3s: &k3s, etcd: &etcd };
        assert_eq!(judge(&observed, &config()), Verdict::Clear);
    }

    #[test]
    fn a_member_that_is_not_the_one_that_k3s_runs_is_no_evidence() {
        let other = K3sDatastore::EmbeddedEtcd { member: "k3s-9-bbbb2222".into() };
        refused(&gate(&Ok(view(other)), 3, &[]), &["k3s-9-bbbb2222", "[etcd] of the policy"]);
    }

    #[test]
    fn an_accepted_outage_accepts_no_member_that_is_ill() {
        let mut etcd = etcd(1);
        etcd.get_mut(&node(1)).unwrap().as_mut().unwrap().alarms = Ok(vec!["CORRUPT on 1".into()]);
        let (k3s, outages) = (Ok(view(embedded_etcd())), ["controlPlane".to_string()]);
        let observed = Observed {
            node: &node(1),
            before: true,
            outages: &outages,
            others: None,
            k3s: &k3s,
            etcd: &etcd,
        };
        refused(&judge(&observed, &config()), &["CORRUPT"]);
    }

    #[test]
    fn an_external_datastore_is_refused_until_the_plan_says_who_saves_it() {
        let k3s = Ok(view(K3sDatastore::External { kind: "mysql".into() }));
        refused(&gate(&k3s, 2, &[]), &["mysql", "externalDatastoreBackedUpBy"]);
        let well = Ok(vec![server("k3s-2", Says::Ready("https://10.0.0.12:6443".into()))]);
        assert_eq!(external("the DBA team, nightly", Some(&well)), Verdict::Clear);
        refused(&external("  ", Some(&well)), &["externalDatastoreBackedUpBy"]);
    }

    /// Judged at the gate of the first server, whose datastore is somebody else's.
    fn external(who: &str, others: Option<&Result<Vec<Server>, Verdict>>) -> Verdict {
        let k3s = Ok(view(K3sDatastore::External { kind: "mysql".into() }));
        let etcd = BTreeMap::new();
        let config = K3sDatastoreCheck { external_datastore_backed_up_by: Some(who.into()), ..config() };
        let observed =
            Observed { node: &node(1), before: true, outages: &[], others, k3s: &k3s, etcd: &etcd };
        judge(&observed, &config)
    }

    #[test]
    fn with_an_external_datastore_one_other_server_that_answers_is_enough_and_must_be_there() {
        let of = |others: &[Server]| external("the DBA team", Some(&Ok(others.to_vec())));
        let ready = server("k3s-3", Says::Ready("https://10.0.0.13:6443".into()));
        let silent = server("k3s-2", Says::Silent(vec!["https://10.0.0.12:6443: connection refused".into()]));
        let unseen = server("k3s-4", Says::NoEndpoint);
        assert_eq!(of(&[silent.clone(), ready, unseen.clone()]), Verdict::Clear);
        let Verdict::Waiting(why) = of(&[silent, unseen.clone()]) else {
            panic!("it went down as the last one")
        };
        for words in
            ["k3s-2 (https://10.0.0.12:6443: connection refused)", "systemctl status k3s", "controlPlane"]
        {
            assert!(why.contains(words), "{words}: {why}");
        }
        refused(
            &of(&[unseen]),
            &["no endpoint of k3s-4", "drydock cluster add NAME --replace", "controlPlane"],
        );
        refused(&of(&[]), &["no other server", "outage: {controlPlane: 5m}"]);
    }

    #[test]
    fn servers_that_were_not_seen_are_not_taken_for_ones_that_answer() {
        assert!(matches!(external("the DBA team", None), Verdict::Unknown(_)));
        let unclear = Verdict::Unknown("the cluster says nothing".into());
        assert_eq!(external("the DBA team", Some(&Err(unclear.clone()))), unclear);
    }

    #[test]
    fn an_accepted_outage_asks_for_no_other_server() {
        let k3s = Ok(view(K3sDatastore::External { kind: "mysql".into() }));
        let (etcd, outages) = (BTreeMap::new(), [OUTAGE.to_string()]);
        let config = K3sDatastoreCheck { external_datastore_backed_up_by: Some("us".into()), ..config() };
        for (before, outages) in [(true, &outages[..]), (false, &[])] {
            let observed = Observed { node: &node(1), before, outages, others: None, k3s: &k3s, etcd: &etcd };
            assert!(!needs_another(&observed));
            assert_eq!(judge(&observed, &config), Verdict::Clear);
        }
    }

    #[test]
    fn what_is_no_whole_server_is_refused_and_what_was_not_seen_is_unknown() {
        let agent = K3sView { role: K3sRole::Agent, datastore: None, ..view(K3sDatastore::Sqlite {}) };
        refused(&gate(&Ok(agent), 3, &[]), &["k3s-agent"]);
        let split = K3sView { disabled: vec!["disable-etcd".into()], ..view(K3sDatastore::Sqlite {}) };
        refused(&gate(&Ok(split), 3, &[]), &["disable-etcd"]);
        let blank = K3sView { datastore: None, ..view(K3sDatastore::Sqlite {}) };
        assert!(matches!(gate(&Ok(blank), 3, &[]), Verdict::Unknown(_)));
        assert!(matches!(gate(&Err("no stream".into()), 3, &[]), Verdict::Unknown(_)));
    }
}
