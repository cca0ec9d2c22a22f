//! What was observed, by root cause. Pure.
//!
//! What another finding explains is not told beside it: pods of a Node that is not Ready, a workload whose pods say
//! themselves why they are not there, a claim that is bound when a pod first asks for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    objects::{Claim, Scaled, Workload},
    observe::{Observed, Readyz},
    pods::{self, Seems},
    problem::{Kind, Member, Problem, Weight, by_cause},
    root, when,
};
use crate::{
    drain::ask::Fault,
    mark,
    objects::{Node, node::Condition, pod::PodName},
};

/// A claim may be unbound so long before that is a finding, in seconds: its volume is being made.
const BINDS_IN_S: i64 = 60;
/// What a Node can be short of, and what it does about it.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "short of memory: its kubelet evicts pods"),
    ("DiskPressure", "short of disk: its kubelet evicts pods"),
    ("PIDPressure", "short of process ids"),
    ("NetworkUnavailable", "its network is not set up"),
];

/// Everything that is the matter, what weighs most first.
#[must_use]
pub fn judge(seen: &Observed, now_unix_s: i64) -> Vec<Problem> {
    let mut all: Vec<Problem> = seen.api.iter().filter_map(api).collect();
    all.extend(seen.unseen.iter().map(|(what, fault)| unseen(what, fault)));
    all.extend(seen.nodes.iter().flat_map(node));
    let down: BTreeSet<&str> = seen.nodes.iter().filter(|node| !node.is_ready()).map(Node::name).collect();
    let ours = our_cordons(&seen.nodes);
    let mut explained: BTreeSet<(String, PodName)> = BTreeSet::new();
    for failing in &seen.failing {
        let workload = failing.pod.workload();
        explained.insert((workload.kind.clone(), workload.name.clone()));
        // Its Node is told of, and it is the Node's matter.
        if down.contains(failing.pod.spec.node_name.as_str()) {
            continue;
        }
        let events = seen.events.get(&failing.pod.metadata.uid).map(Vec::as_slice).unwrap_or_default();
        let mut problem = pods::problem(failing, events, now_unix_s);
        if matches!(&failing.seems, Seems::Unscheduled(why) if why.contains("unschedulable"))
            && !ours.is_empty()
        {
            problem.weight = Weight::Note;
            problem.next = format!("{} is cordoned by Drydock until its change is done", ours.join(", "));
        }
        all.push(problem);
    }
    let waited_for = claims_of_failing(seen);
    all.extend(seen.claims.iter().filter_map(|of| claim(of, &waited_for, now_unix_s)));
    for (kind, scaled) in &seen.workloads {
        let name =
            PodName { namespace: scaled.metadata.namespace.clone(), name: scaled.metadata.name.clone() };
        if !explained.contains(&((*kind).to_owned(), name)) {
            all.extend(workload(kind, scaled, down.len()));
        }
    }
    all.extend(seen.left.iter().map(left_behind));
    by_cause(all)
}

fn of_all(kind: Kind, weight: Weight, root: String, next: impl Into<String>) -> Problem {
    Problem { kind, weight, subject: String::new(), root, next: next.into(), members: Vec::new() }
}

fn api(server: &Readyz) -> Option<Problem> {
    let of = if server.endpoint.is_empty() { String::new() } else { format!(" at {}", server.endpoint) };
    let (weight, what) = match &server.said {
        Ok((200, _)) => return None,
        Ok((status, text)) => {
            let failing: Vec<&str> = failing_checks(text).collect();
            let which = match failing.is_empty() {
                true => format!("/readyz answers {status}"),
                false => format!("its own check {} fails", root::cut(&failing.join(", "))),
            };
            (Weight::Stops, format!("the API server{of} is not ready: {which}"))
        }
        Err(why) => (Weight::Unknown, format!("the API server{of} does not answer: {why}")),
    };
    Some(of_all(Kind::Api, weight, what, "see its log; of K3s: journalctl -u k3s on that server"))
}

/// `[-]etcd failed: reason withheld`: the checks that fail, by their names.
fn failing_checks(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("[-]")).filter_map(|line| line.split_whitespace().next())
}

fn unseen(what: &str, fault: &Fault) -> Problem {
    let weight = if fault.is_final() { Weight::Refused } else { Weight::Unknown };
    let next = match fault.is_final() {
        true => {
            "kubectl apply -f deploy/kubernetes/clusterrole.yaml; drydock cluster test says what is missing"
        }
        false => "ask again",
    };
    of_all(Kind::Unseen, weight, format!("the {what} could not be listed: {fault}"), next)
}

fn of_node(node: &Node, kind: Kind, condition: Option<&Condition>, what: String, next: String) -> Problem {
    let member = Member {
        name: node.name().to_owned(),
        node: node.name().to_owned(),
        key: format!("{}|{}", condition.map_or("Ready", |of| &of.kind), node.name()),
        since_unix_s: condition.and_then(|of| when::of(of.last_transition_time.as_ref())),
        unbroken: true,
    };
    Problem { kind, weight: Weight::Stops, subject: String::new(), root: what, next, members: vec![member] }
}

fn node(node: &Node) -> Vec<Problem> {
    let kubelet = || format!("see its kubelet: journalctl -u kubelet -u k3s -u k3s-agent on {}", node.name());
    if !node.is_ready() {
        let ready = node.condition("Ready");
        let why = match ready {
            Some(ready) if !ready.message.is_empty() => root::cut(&ready.message),
            Some(ready) => format!("its kubelet says {} and not why", ready.status),
            None => "its kubelet has never reported".to_owned(),
        };
        // What else it says of itself is old, or follows from it.
        return vec![of_node(node, Kind::Node, ready, why, kubelet())];
    }
    let of = |(kind, what): &(&str, &str)| {
        let condition = node.condition(kind).filter(|condition| condition.status == "True")?;
        let next = format!("kubectl describe node {}", node.name());
        Some(of_node(node, Kind::Pressure, Some(condition), (*what).to_owned(), next))
    };
    PRESSURES.iter().filter_map(of).collect()
}

/// Nodes that are cordoned with a mark of Drydock's beside it: pods wait for them, and that is as it should be.
fn our_cordons(nodes: &[Node]) -> Vec<&str> {
    let ours = |node: &&Node| node.spec.unschedulable && node.metadata.annotations.contains_key(mark::KEY);
    nodes.iter().filter(ours).map(Node::name).collect()
}

/// The claims of pods that are not well, with one of those pods.
fn claims_of_failing(seen: &Observed) -> BTreeMap<PodName, String> {
    let mut claims = BTreeMap::new();
    for pod in seen.failing.iter().map(|failing| &failing.pod) {
        for claim in pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            let name = PodName { namespace: pod.metadata.namespace.clone(), name: claim.claim_name.clone() };
            claims.insert(name, pod.metadata.name.clone());
        }
    }
    claims
}

fn claim(claim: &Claim, waited_for: &BTreeMap<PodName, String>, now: i64) -> Option<Problem> {
    let name = PodName { namespace: claim.metadata.namespace.clone(), name: claim.metadata.name.clone() };
    let made = when::of(claim.metadata.creation_timestamp.as_ref());
    let lost = claim.status.phase == "Lost";
    if !lost && made.is_some_and(|made| now.saturating_sub(made) <= BINDS_IN_S) {
        return None;
    }
    let class = claim.spec.storage_class_name.as_deref().filter(|class| !class.is_empty());
    let pod = waited_for.get(&name);
    let (weight, root) = match (lost, pod) {
        (true, _) => {
            (Weight::Stops, format!("the claim {name} has lost its volume {}", claim.spec.volume_name))
        }
        (false, Some(pod)) => {
            (Weight::Stops, format!("the claim {name} is bound to no volume, and pod {pod} waits for it"))
        }
        // Many classes make a volume when a pod first asks for it.
        (false, None) => {
            (Weight::Note, format!("the claim {name} is bound to no volume, and no pod waits for it"))
        }
    };
    let next = match class {
        Some(class) => format!(
            "see whether the provisioner of the class {class} runs: kubectl -n {} describe pvc {}",
            name.namespace, name.name
        ),
        None => format!("kubectl -n {} describe pvc {}", name.namespace, name.name),
    };
    // When it lost its volume nothing says; when it was made says nothing of that.
    let since_unix_s = if lost { None } else { made };
    let member = Member {
        name: name.to_string(),
        node: String::new(),
        key: format!("claim|{name}"),
        since_unix_s,
        unbroken: true,
    };
    Some(Problem { kind: Kind::Claim, weight, subject: String::new(), root, next, members: vec![member] })
}

fn workload(kind: &'static str, scaled: &Scaled, nodes_down: usize) -> Option<Problem> {
    let (meta, status) = (&scaled.metadata, &scaled.status);
    let name = PodName { namespace: meta.namespace.clone(), name: meta.name.clone() };
    let of = Workload { kind: kind.to_owned(), name };
    let (has, wants) = match kind {
        "DaemonSet" => (status.number_ready, status.desired_number_scheduled),
        _ => (status.ready_replicas, scaled.spec.replicas),
    };
    let condition = |kind: &str, is: &str| {
        status.conditions.iter().find(|condition| condition.kind == kind && condition.status == is)
    };
    let short = format!("{of} has {has} of {wants} pods ready");
    let cannot = condition("ReplicaFailure", "True");
    let late = condition("Progressing", "False");
    let rolls = status.observed_generation < meta.generation
        || (kind != "DaemonSet" && status.updated_replicas < wants);
    let (weight, root) = match (cannot, late) {
        (Some(cannot), _) => (Weight::Stops, format!("{short}: {}", root::cut(&cannot.message))),
        (None, Some(late)) => (Weight::Stops, format!("{short}: {}", root::cut(&late.message))),
        (None, None) if rolls => (Weight::Note, format!("{short}: it is being rolled out")),
        // One pod of it stands on each Node that is away.
        (None, None)
            if kind == "DaemonSet"
                && usize::try_from(wants.saturating_sub(has)).is_ok_and(|less| less <= nodes_down) =>
        {
            (Weight::Note, format!("{short}: a Node is not Ready"))
        }
        (None, None) => (Weight::Stops, short),
    };
    let since = cannot.or(late).or_else(|| condition("Available", "False"));
    let member = Member {
        name: of.name.to_string(),
        node: String::new(),
        key: format!("workload|{of}"),
        since_unix_s: since.and_then(|condition| when::of(condition.last_transition_time.as_ref())),
        unbroken: true,
    };
    let next = format!("kubectl -n {} describe {} {}", of.name.namespace, kind.to_lowercase(), of.name.name);
    Some(Problem { kind: Kind::Workload, weight, subject: String::new(), root, next, members: vec![member] })
}

fn left_behind(pod: &super::objects::Pod) -> Problem {
    let name = pod.name();
    let member = Member {
        name: name.to_string(),
        node: pod.spec.node_name.clone(),
        key: format!("left|{name}"),
        since_unix_s: when::of(pod.metadata.creation_timestamp.as_ref()),
        unbroken: true,
    };
    let root = format!("a canary of Drydock's was left behind: {name}");
    let next =
        format!("the next one takes it away, or: kubectl -n {} delete pod {}", name.namespace, name.name);
    Problem {
        kind: Kind::Left,
        weight: Weight::Note,
        subject: String::new(),
        root,
        next,
        members: vec![member],
    }
}
