//! Where else the node's pods can run, and what binds them here.
//!
//! As the scheduler filters nodes, as far as it is about nodes: cordon, readiness, taints, node selector, required node
//! affinity, the volumes' affinity, requests. Affinity between pods, topology spread and what plug-ins add are not
//! judged: such a pod is seen later as one that has no replacement.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::look::Elsewhere, Finding, Kind, Look, Order, Weight, Word, by_word};
use crate::objects::{Node, Pod, Volume, pod::PodName, quantity::Amounts, volume::ClaimRef};

/// Judges where pods can go, and brings those whose going nothing makes up for.
pub(super) fn judge(
    pods: &[&Pod],
    look: &Look,
    order: &Order,
    findings: &mut Vec<Finding>,
) -> BTreeSet<PodName> {
    let mut for_good: BTreeSet<PodName> =
        pods.iter().filter(|pod| pod.metadata.controller().is_none()).map(|pod| pod.name()).collect();
    if let (Some(Err(why)), true) = (&look.volumes, order.words.local_volumes == Word::Refuse) {
        findings.push(Finding::new(
            Weight::Unknown,
            Kind::Unseen,
            format!("whether volumes bind pods to the Node {} cannot be seen ({why})", order.node),
            "let the coordinator's role list persistentvolumes, or say `localVolumes: allow` in the plan",
        ));
    }
    let Some(elsewhere) = &look.elsewhere else {
        return for_good;
    };
    let mut room = Room { elsewhere, placed: BTreeMap::new() };
    for pod in pods {
        let volumes = volumes_of(pod, look);
        if let Some(volume) = volumes.iter().find(|volume| lies_here(volume, elsewhere)) {
            for_good.insert(pod.name());
            let what = format!(
                "the pod {} has its data on this node (volume {}) and cannot run elsewhere",
                pod.name(),
                volume.metadata.name
            );
            findings.push(by_word(
                order.words.local_volumes,
                Kind::LocalVolume,
                what,
                "move its data, or say `localVolumes: allow` in the plan: then it is down until the node is back",
            ));
            continue;
        }
        // Nothing makes a bare pod anew, wherever there is room.
        if pod.metadata.controller().is_none() {
            continue;
        }
        match room.place(pod, &volumes) {
            Placed::Found => {}
            Placed::Crowded => findings.push(Finding::new(
                Weight::Note,
                Kind::NowhereElse,
                format!(
                    "the pod {} finds room elsewhere alone, and not beside the others of this node",
                    pod.name()
                ),
                "some of them may wait for room while this node is out",
            )),
            Placed::Nowhere(why) => {
                for_good.insert(pod.name());
                let what = format!("the pod {} can run on no other node ({why})", pod.name());
                findings.push(by_word(
                    order.words.nowhere_else,
                    Kind::NowhereElse,
                    what,
                    "make room, or say `nowhereElse: allow` in the plan: then it is down until the node is back",
                ));
            }
        }
    }
    for_good
}

fn volumes_of<'a>(pod: &Pod, look: &'a Look) -> Vec<&'a Volume> {
    let Some(Ok(volumes)) = &look.volumes else {
        return Vec::new();
    };
    let claim = |name| ClaimRef { namespace: pod.metadata.namespace.clone(), name };
    pod.claims().filter_map(|name| volumes.get(&claim(name))).collect()
}

/// Data of this node's disk: a directory of it, or a volume that no other node reaches.
fn lies_here(volume: &Volume, elsewhere: &Elsewhere) -> bool {
    volume.spec.host_path.is_some()
        || volume.spec.local.is_some()
        || (volume.spec.node_affinity.is_some()
            && !elsewhere.nodes.iter().any(|(node, _)| reaches(node, volume)))
}

fn reaches(node: &Node, volume: &Volume) -> bool {
    volume
        .spec
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required.as_ref())
        .is_none_or(|required| required.matches(node.name(), node.labels()))
}

enum Placed {
    Found,
    /// Alone it would.
    Crowded,
    Nowhere(String),
}

/// The other nodes, with what this node's pods would take of them.
struct Room<'a> {
    elsewhere: &'a Elsewhere,
    placed: BTreeMap<usize, Amounts>,
}

impl Room<'_> {
    fn place(&mut self, pod: &Pod, volumes: &[&Volume]) -> Placed {
        let asks = pod.asks();
        let mut against: BTreeMap<String, usize> = BTreeMap::new();
        let mut alone = false;
        for (index, (node, used)) in self.elsewhere.nodes.iter().enumerate() {
            if let Some(why) = keeps_off(node, used, pod, &asks, volumes) {
                *against.entry(why).or_default() += 1;
                continue;
            }
            alone = true;
            let taken = self.placed.entry(index).or_insert_with(|| used.clone());
            if node.status.allocatable.lacks(taken, &asks).is_none() {
                taken.add(&asks);
                return Placed::Found;
            }
        }
        if alone {
            return Placed::Crowded;
        }
        if against.is_empty() {
            return Placed::Nowhere("there is no other node".to_owned());
        }
        let said: Vec<String> = against.iter().map(|(why, count)| format!("{count} {why}")).collect();
        Placed::Nowhere(said.join(", "))
    }
}

/// Why the node does not take the pod, in words that follow a number of nodes.
fn keeps_off(node: &Node, used: &Amounts, pod: &Pod, asks: &Amounts, volumes: &[&Volume]) -> Option<String> {
    let spec = &pod.spec;
    if node.metadata.is_going() {
        return Some("being deleted".to_owned());
    }
    if node.spec.unschedulable {
        return Some("cordoned".to_owned());
    }
    if !node.is_ready() {
        return Some("not ready".to_owned());
    }
    if let Some(taint) = node.repelling().find(|taint| !spec.tolerations.iter().any(|one| one.bears(taint))) {
        return Some(format!("with the taint {} that it does not tolerate", taint.key));
    }
    let selected = spec.node_selector.iter().all(|(key, value)| node.labels().get(key) == Some(value));
    let wanted = spec.affinity.node_affinity.required.as_ref();
    if !selected || wanted.is_some_and(|wanted| !wanted.matches(node.name(), node.labels())) {
        return Some("not selected by its node selector or affinity".to_owned());
    }
    if volumes.iter().any(|volume| !reaches(node, volume)) {
        return Some("out of reach of its volume".to_owned());
    }
    node.status.allocatable.lacks(used, asks).map(|what| format!("with too little {what}"))
}
