//! What was observed, by root cause. Pure.
//!
//! What another finding explains is not told beside it: pods of a Node that is not Ready, a workload whose pods say
//! themselves why they are not there, a claim that is bound when a pod first asks for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    objects::{Claim, Scaled, Workload},
    observe::{MOST_KEPT, Observed, Readyz},
    pods::{self, Failing, Seems},
    problem::{CLOCKS_S, Kind, Member, Problem, Weight, by_cause},
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
    all.extend(no_such_node(seen));
    all.extend(seen.counted.not_kept().map(not_judged));
    all.extend(seen.clock_ahead_s.and_then(|ahead| clocks(ahead, now_unix_s)));
    all.extend(seen.nodes.iter().flat_map(node));
    let down: BTreeSet<&str> = seen.nodes.iter().filter(|node| !node.is_ready()).map(Node::name).collect();
    let ours = our_cordons(&seen.nodes);
    let told = told_of(&seen.failing);
    // What waits until a Node of ours is given back.
    let mut waiting: BTreeSet<Workload> = BTreeSet::new();
    for failing in &seen.failing {
        // Its Node is told of, and it is the Node's matter.
        if down.contains(failing.pod.spec.node_name.as_str()) {
            continue;
        }
        let events = seen.events.get(&failing.pod.metadata.uid).map(Vec::as_slice).unwrap_or_default();
        let mut problem = pods::problem(failing, events, now_unix_s);
        if matches!(&failing.seems, Seems::Unscheduled(why) if why.contains("unschedulable"))
            && !ours.is_empty()
        {
            waiting.insert(failing.pod.workload());
            problem.weight = Weight::Note;
            problem.next = format!("{} is cordoned by Drydock until its change is done", ours.join(", "));
        }
        all.push(problem);
    }
    let waited_for = claims_of_failing(seen);
    all.extend(seen.claims.iter().filter_map(|of| claim(of, &waited_for, now_unix_s)));
    let short = |(kind, scaled): &(&'static str, Scaled)| short(kind, scaled, &told, &waiting, down.len());
    all.extend(seen.workloads.iter().filter_map(short));
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

/// Where there are no Nodes nothing fails, and nothing is well: the list of another cluster, or of a server that lost its
/// data, looks so.
fn no_such_node(seen: &Observed) -> Option<Problem> {
    let read = seen.api.iter().any(|server| server.said.is_ok())
        && !seen.unseen.iter().any(|(what, _)| *what == "nodes");
    let of = seen.bound.as_deref().filter(|name| !seen.nodes.iter().any(|node| node.name() == *name));
    let (what, next) = match of {
        _ if !read => return None,
        _ if seen.nodes.is_empty() => (
            "the cluster has no Node at all: nothing in it can be judged".to_owned(),
            "see whether its credentials lead where they should: drydock cluster test",
        ),
        Some(name) => (
            format!("the cluster has no Node {}, which it is asked for", root::cut(name)),
            "see kubectl get nodes, and which Node the machine is: drydock node bind",
        ),
        None => return None,
    };
    Some(of_all(Kind::Unseen, Weight::Unknown, what, next))
}

/// What was not kept was not judged: nobody knows whether it is news.
fn not_judged((what, many): (&str, usize)) -> Problem {
    let root = format!("{many} more {what} were not judged: more than {MOST_KEPT} are not well");
    let next = "repair what most of them have in common, or name in the check's ignoreNamespaces what is not to count";
    of_all(Kind::Unseen, Weight::Unknown, root, next)
}

/// What is a run's doing is told by times that the cluster wrote and one that the coordinator did.
fn clocks(ahead_s: i64, now: i64) -> Option<Problem> {
    if ahead_s.abs() <= CLOCKS_S {
        return None;
    }
    let root = format!(
        "the API server's clock says {}, and the coordinator's {}: how old a failure is cannot be told",
        when::text(now.saturating_add(ahead_s)),
        when::text(now)
    );
    let next = "set the clock of whichever is wrong, and keep it so: timedatectl there";
    Some(of_all(Kind::Unseen, Weight::Unknown, root, next))
}

fn of_node(node: &Node, kind: Kind, condition: Option<&Condition>, what: String, next: String) -> Problem {
    // A Node that never reported has not done so since it was made.
    let since_unix_s = match condition {
        Some(condition) => when::of(condition.last_transition_time.as_ref()),
        None => when::of(node.metadata.creation_timestamp.as_ref()),
    };
    // A Node that recovers and fails anew has failed anew: no drain puts another one in its place, so that what was noted
    // is the one failure that began then, and covers none after it.
    let key = |since| format!("{}|{}|{since}", condition.map_or("Ready", |of| &of.kind), node.name());
    let member = Member {
        name: node.name().to_owned(),
        node: node.name().to_owned(),
        key: since_unix_s.map(key).unwrap_or_default(),
        since_unix_s,
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

/// How many pods each workload lacks that say themselves why.
fn told_of(failing: &[Failing]) -> BTreeMap<Workload, i64> {
    let mut told = BTreeMap::new();
    for Failing { pod, seems } in failing {
        let workload = pod.workload();
        // A ReplicaSet has made another one in place of a pod that is to go; of the others it is the same pod's place.
        let replaced =
            *seems == Seems::Terminating && !matches!(workload.kind.as_str(), "StatefulSet" | "DaemonSet");
        let ready = pod.condition("Ready").is_some_and(|condition| condition.status == "True");
        if !replaced && !ready {
            *told.entry(workload).or_default() += 1;
        }
    }
    told
}

/// A workload that lacks more pods than say themselves why, or that says itself why it lacks them.
fn short(
    kind: &'static str,
    scaled: &Scaled,
    told: &BTreeMap<Workload, i64>,
    waiting: &BTreeSet<Workload>,
    nodes_down: usize,
) -> Option<Problem> {
    let (meta, status) = (&scaled.metadata, &scaled.status);
    let name = PodName { namespace: meta.namespace.clone(), name: meta.name.clone() };
    let of = Workload { kind: kind.to_owned(), name };
    let (has, wants) = match kind {
        "DaemonSet" => (status.number_ready, status.desired_number_scheduled),
        _ => (status.ready_replicas, scaled.spec.replicas),
    };
    let lacks = wants.saturating_sub(has);
    let condition = |kind: &str, is: &str| {
        status.conditions.iter().find(|condition| condition.kind == kind && condition.status == is)
    };
    let cannot = condition("ReplicaFailure", "True");
    let says_why = cannot.or_else(|| condition("Progressing", "False"));
    if says_why.is_none() && told.get(&of).is_some_and(|told| *told >= lacks) {
        return None;
    }
    let short = format!("{of} has {has} of {wants} pods ready");
    let (weight, root) = match says_why {
        Some(why) => (Weight::Stops, format!("{short}: {}", root::cut(&why.message))),
        // In order no pod is made before the one ahead of it is ready, and that one waits for a Node of ours.
        None if scaled.spec.pod_management_policy == "OrderedReady" && waiting.contains(&of) => (
            Weight::Note,
            format!("{short}: it makes them in order, and the one ahead waits for a cordoned Node"),
        ),
        None if is_rolled_out(kind, scaled) => (Weight::Note, format!("{short}: it is being rolled out")),
        // One pod of it stands on each Node that is away.
        None if kind == "DaemonSet" && usize::try_from(lacks).is_ok_and(|less| less <= nodes_down) => {
            (Weight::Note, format!("{short}: a Node is not Ready"))
        }
        None => (Weight::Stops, short),
    };
    let since = says_why.or_else(|| condition("Available", "False"));
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

/// Are its pods being exchanged for those of another template?
fn is_rolled_out(kind: &str, scaled: &Scaled) -> bool {
    let status = &scaled.status;
    if status.observed_generation < scaled.metadata.generation {
        return true;
    }
    match kind {
        "Deployment" => status.updated_replicas < scaled.spec.replicas,
        "StatefulSet" => {
            // Counted are only pods that are there, so that one that is missing looks like one that is not yet updated:
            // the revisions tell. They stay apart where somebody else deletes the pods, or only some may be exchanged.
            let strategy = &scaled.spec.update_strategy;
            let kept = strategy.rolling_update.partition;
            status.current_revision != status.update_revision
                && strategy.kind != "OnDelete"
                && (kept == 0 || status.current_replicas > kept)
        }
        _ => false,
    }
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
