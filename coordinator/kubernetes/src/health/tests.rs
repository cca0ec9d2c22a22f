//! What is found in pods, events and workloads of the forms that real clusters have.

mod causes;
mod observed;
mod roots;
mod verdicts;

use serde_json::{Value, json};

use super::{
    objects::{Claim, Event, Pod, Scaled},
    observe::{Observed, Readyz},
    pods::{self, Failing},
    when,
};
use crate::objects::Node;

/// The moment of all these tests.
pub(super) const NOW: &str = "2026-11-21T20:00:00Z";

pub(super) fn now() -> i64 {
    when::unix_s(NOW).unwrap()
}

/// So many seconds before [`NOW`].
pub(super) fn ago(seconds: i64) -> String {
    jiff::Timestamp::from_second(now() - seconds).unwrap().to_string()
}

pub(super) const MIN: i64 = 60;
pub(super) const DAY: i64 = 86_400;

/// A pod of a Deployment, made and placed so long ago, with what is given laid over its status.
pub(super) fn pod(name: &str, node: &str, age: i64, status: &Value) -> Value {
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "1",
            "creationTimestamp": ago(age), "labels": {"app": app, "pod-template-hash": "5f7c"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-5f7c"),
                "uid": format!("rs-{app}"), "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "ghcr.io/shop/app:1.4",
            "resources": {"limits": {"memory": "256Mi"}}}]},
        "status": {
            "phase": "Pending", "startTime": ago(age),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(age)},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady",
                 "message": "containers with unready status: [app]", "lastTransitionTime": ago(age)},
            ],
        },
    });
    crate::fake::make::overlay(&mut pod["status"], status);
    pod
}

/// A container's status, in a pod's.
pub(super) fn container(status: &Value) -> Value {
    let mut container =
        json!({"name": "app", "ready": false, "restartCount": 0, "image": "ghcr.io/shop/app:1.4"});
    crate::fake::make::overlay(&mut container, status);
    json!({"containerStatuses": [container]})
}

/// It has a node, and no sandbox.
pub(super) fn creating() -> Value {
    container(&json!({"state": {"waiting": {"reason": "ContainerCreating"}}}))
}

pub(super) fn node(name: &str, ready: &str, more: &Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "status": {
            "nodeInfo": {"kubeletVersion": "v1.33.4+k3s1"},
            "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady",
                "message": "kubelet is posting ready status", "lastTransitionTime": ago(3 * DAY)}],
        },
    });
    crate::fake::make::overlay(&mut node, more);
    serde_json::from_value(node).unwrap()
}

pub(super) fn event(of: &str, reason: &str, message: &str, age: i64) -> Event {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{of}.17a"), "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": of, "uid": format!("uid-{of}")},
        "reason": reason, "message": message, "type": "Warning", "count": 4711,
        "lastTimestamp": ago(age),
        "source": {"component": "kubelet", "host": "k3s-2"},
    }))
    .unwrap()
}

/// What is observed of these pods and their events: as a real look would keep them.
pub(super) fn seen(pods: &[Value], events: Vec<Event>) -> Observed {
    let mut seen = Observed {
        api: vec![Readyz { endpoint: String::new(), said: Ok((200, "ok".to_owned())) }],
        nodes: vec![node("k3s-1", "True", &json!({})), node("k3s-2", "True", &json!({}))],
        ..Observed::default()
    };
    for pod in pods {
        let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
        if let Some(seems) = pods::look(&pod, now()) {
            seen.failing.push(Failing { pod, seems });
        }
    }
    for event in events {
        seen.events.entry(event.involved_object.uid.clone()).or_default().push(event);
    }
    seen
}

pub(super) fn claim(name: &str, phase: &str, age: i64) -> Claim {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", "creationTimestamp": ago(age)},
        "spec": {"storageClassName": "longhorn", "volumeName": if phase == "Lost" { "pvc-1" } else { "" }},
        "status": {"phase": phase},
    }))
    .unwrap()
}

pub(super) fn scaled(name: &str, spec: &Value, status: &Value) -> Scaled {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", "generation": 3},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

/// Every line that a look has.
pub(super) fn lines(seen: &Observed) -> Vec<String> {
    super::judge(seen, now()).iter().map(|problem| problem.what(now())).collect()
}
