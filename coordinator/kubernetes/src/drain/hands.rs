//! Who else is at work on a Node. Pure.
//!
//! Two that drain, reboot or replace one node at a time, each by itself, are two nodes at a time, or one that is
//! rebooted while it is upgraded. So whoever else has a hand on the Node is a blocker, by name.
//!
//! Sources of the signs, each in its project: `kured` (`cmd/kured/main.go`: lock on its DaemonSet, annotation with
//! `--annotate-nodes`), `rancher/system-upgrade-controller` (`pkg/apis/upgrade.cattle.io`: labels of its jobs' pods),
//! `kubernetes/autoscaler` (`utils/taints`), `kubernetes-sigs/karpenter` (`apis/v1/taints.go`),
//! `kubernetes-sigs/cluster-api` (`api/…/common_types.go`), `gardener/machine-controller-manager`
//! (`pkg/util/provider/machineutils`, `pkg/controller/deployment_…`), `harvester` (`controllers/master/nodedrain`,
//! `node`), `medik8s/node-maintenance-operator`, `cobaltcore-dev/openstack-hypervisor-operator`,
//! `openshift/machine-config-operator` (`pkg/daemon/constants`). None of these was run here.

use serde::Deserialize;

use super::{Finding, Kind, Weight};
use crate::{
    mark::{self, Found, Marker},
    objects::{Node, Pod},
};

/// kured's lock, as its DaemonSet has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kured {
    /// No kured here.
    None,
    /// Its lock's annotation, where there is one.
    Lock(Option<String>),
    /// It is here, and its lock could not be read: why.
    Unseen(String),
}

/// The DaemonSet of the kured that runs on this Node: namespace and name.
#[must_use]
pub fn kured_here(pods: &[Pod]) -> Option<(&str, &str)> {
    pods.iter().find_map(|pod| {
        let owner = pod.daemon_set()?;
        let labels = &pod.metadata.labels;
        let named = ["name", "app.kubernetes.io/name", "app"]
            .iter()
            .any(|key| labels.get(*key).is_some_and(|value| value == "kured"));
        (owner.name == "kured" || named).then_some((pod.metadata.namespace.as_str(), owner.name.as_str()))
    })
}

/// Everything that is seen of others.
#[must_use]
pub fn judge(node: &Node, pods: &[Pod], kured: &Kured, marker: &Marker) -> Vec<Finding> {
    let mut found = on_node(node, marker);
    found.extend(kured_lock(node, kured));
    found.extend(pods.iter().filter_map(upgrade_job));
    found
}

/// What stands on the Node itself. Judged again at each reading of it.
#[must_use]
pub fn on_node(node: &Node, marker: &Marker) -> Vec<Finding> {
    let mut found = Vec::new();
    let mark = mark::found(node, marker);
    if let Some(whose) = mark.in_the_way() {
        found.push(hand(node, &whose, "end that run or take its mark back first"));
    }
    let is_ours = matches!(mark, Found::Ours(_));
    // A node that we emptied is a candidate because we emptied it: that ends when it is given back.
    found.extend(taints(node).filter(|(key, _)| !(is_ours && *key == CANDIDATE)).map(|(_, finding)| finding));
    found.extend(annotations(node));
    if node.condition("Terminating").is_some_and(|condition| condition.status == "True") {
        found.push(hand(
            node,
            "Gardener's machine-controller-manager (condition Terminating): its machine is being deleted",
            "leave this node out of the plan; its successor comes with the new version",
        ));
    }
    if node.metadata.is_going() {
        found.push(hand(
            node,
            "somebody who deletes it (deletionTimestamp)",
            "leave this node out of the plan (`drydock run skip`)",
        ));
    }
    found
}

fn hand(node: &Node, who: &str, next: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Hand,
        format!("another hand is on the Node {}: {who}", node.name()),
        next,
    )
}

/// The cluster-autoscaler's on a node that it may delete before long.
const CANDIDATE: &str = "DeletionCandidateOfClusterAutoscaler";

/// Taints by which others say that the node goes.
fn taints(node: &Node) -> impl Iterator<Item = (&'static str, Finding)> {
    const LEAVE_OUT: &str = "leave this node out of the plan, or keep it (remove the taint)";
    const OTHERS: [(&str, &str, &str); 11] = [
        ("ToBeDeletedByClusterAutoscaler", "the cluster-autoscaler deletes it", LEAVE_OUT),
        (
            CANDIDATE,
            "the cluster-autoscaler is about to delete it",
            "keep it for the run: `kubectl annotate node NODE cluster-autoscaler.kubernetes.io/scale-down-disabled=true`",
        ),
        ("karpenter.sh/disrupted", "Karpenter replaces it", LEAVE_OUT),
        ("karpenter.sh/disruption", "Karpenter replaces it", LEAVE_OUT),
        (
            "node.cluster.x-k8s.io/outdated-revision",
            "Cluster API rolls its machines: this one is of an old revision",
            "let the roll-out end, or pause it (`spec.paused` of its Cluster)",
        ),
        (
            "deployment.machine.sapcloud.io/prefer-no-schedule",
            "Gardener's machine-controller-manager rolls its machines: this one is of an old set",
            "let the roll-out end",
        ),
        ("kvm.cloud.sap/offboarding", "the hypervisor operator takes it out of service", "let it end"),
        (
            "medik8s.io/drain",
            "the node-maintenance operator has it in maintenance",
            "end its NodeMaintenance first",
        ),
        (
            "kubevirt.io/drain",
            "the node-maintenance operator drains its virtual machines",
            "end its NodeMaintenance first",
        ),
        (
            "node.kubernetes.io/out-of-service",
            "somebody declared it out of service",
            "remove the taint when it serves again",
        ),
        (
            "node.cloudprovider.kubernetes.io/shutdown",
            "its cloud has shut it down",
            "start it, or leave it out of the plan",
        ),
    ];
    OTHERS.into_iter().filter(|(key, ..)| node.taint(key).is_some()).map(|(key, who, next)| {
        (key, hand(node, &format!("{who} (taint {key})"), &next.replace("NODE", node.name())))
    })
}

fn annotations(node: &Node) -> Vec<Finding> {
    let value = |key: &str| node.metadata.annotations.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let mut found = Vec::new();
    if let Some(since) = value("weave.works/kured-reboot-in-progress") {
        found.push(hand(
            node,
            &format!("kured reboots it (weave.works/kured-reboot-in-progress: {since})"),
            "wait until it has, or remove the annotation if no kured runs any more",
        ));
    }
    if let Some(state) = value("harvesterhci.io/maintain-status") {
        found.push(hand(
            node,
            &format!("Harvester's maintenance mode (harvesterhci.io/maintain-status: {state})"),
            "end its maintenance mode first",
        ));
    }
    let state = value("machineconfiguration.openshift.io/state");
    let (wanted, done) = (
        value("machineconfiguration.openshift.io/desiredDrain"),
        value("machineconfiguration.openshift.io/lastAppliedDrain"),
    );
    if state.is_some_and(|state| state != "Done") || (wanted.is_some() && wanted != done) {
        found.push(hand(
            node,
            &format!("the machine-config operator (state {})", state.unwrap_or("unknown")),
            "wait until its pool is updated, or pause the pool",
        ));
    }
    found
}

/// A pod that system-upgrade-controller's job has here, and has not finished.
fn upgrade_job(pod: &Pod) -> Option<Finding> {
    let plan = pod.metadata.labels.get("upgrade.cattle.io/plan")?;
    if pod.is_finished() {
        return None;
    }
    Some(Finding::new(
        Weight::Refused,
        Kind::Hand,
        format!(
            "another hand is on the Node {}: system-upgrade-controller's job for its plan {plan} (pod {})",
            pod.spec.node_name,
            pod.name()
        ),
        format!(
            "let it end, or delete that plan: `kubectl -n {} delete plans.upgrade.cattle.io {plan}`",
            pod.metadata.namespace
        ),
    ))
}

fn kured_lock(node: &Node, kured: &Kured) -> Option<Finding> {
    /// One holder, or several with `--concurrency`.
    #[derive(Deserialize)]
    struct Lock {
        #[serde(rename = "nodeID", default)]
        node_id: String,
        #[serde(default)]
        locks: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(rename = "nodeID", default)]
        node_id: String,
    }
    let text = match kured {
        Kured::None | Kured::Lock(None) => return None,
        Kured::Unseen(why) => {
            return Some(Finding::new(
                Weight::Unknown,
                Kind::Hand,
                format!("kured runs on {} and its lock cannot be seen ({why})", node.name()),
                "let the coordinator's role get daemonsets in kured's namespace, or stop kured for the run",
            ));
        }
        Kured::Lock(Some(text)) => text,
    };
    let holders: Vec<String> = match serde_json::from_str::<Lock>(text) {
        Ok(lock) => lock
            .locks
            .into_iter()
            .map(|one| one.node_id)
            .chain([lock.node_id])
            .filter(|holder| !holder.is_empty())
            .collect(),
        Err(_) => {
            return Some(Finding::new(
                Weight::Unknown,
                Kind::Hand,
                "kured's lock cannot be read".to_owned(),
                "look at the annotation weave.works/kured-node-lock of its DaemonSet",
            ));
        }
    };
    if holders.iter().any(|holder| holder == node.name()) {
        return Some(hand(
            node,
            "kured has its lock for it and reboots it",
            "wait until kured has released it",
        ));
    }
    // Held for another node, or by a person: kured is at work in this cluster, and ends by itself.
    (!holders.is_empty()).then(|| {
        Finding::new(
            Weight::Waiting,
            Kind::Hand,
            format!("kured has its lock for {}: it is rebooting there", holders.join(", ")),
            "it goes on when kured has released it; if that node is gone for good, remove the annotation \
             weave.works/kured-node-lock of kured's DaemonSet",
        )
    })
}
