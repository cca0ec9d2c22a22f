//! Objects for tests, as a server has them.

use serde_json::{Value, json};

use super::act::Workload;

/// A Node that is ready and has room.
#[must_use]
pub fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}, "annotations": {}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {"machineID": format!("machine-{name}"), "bootID": format!("boot-{name}"), "kubeletVersion": "v1.36.3"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        },
    })
}

/// What a pod says that runs and is ready.
#[must_use]
pub fn running_status() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

/// A pod that runs on a node and belongs to nobody.
#[must_use]
pub fn pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]},
        "status": running_status(),
    })
}

/// A pod of a workload, as its controller makes it.
pub(super) fn pod_of(workload: &Workload, name: &str) -> Value {
    let mut pod = pod(&workload.namespace, name, workload.pinned.as_deref().unwrap_or_default());
    if workload.pinned.is_none() {
        pod["spec"]["nodeName"] = Value::Null;
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.remove("nodeName");
        }
    }
    pod["metadata"]["labels"] = json!({"app": workload.name});
    pod["metadata"]["ownerReferences"] = json!([owner(workload.kind, &workload.name, &workload.uid())]);
    pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]});
    overlay(&mut pod, &workload.template);
    pod
}

/// A controller's reference.
#[must_use]
pub fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// A StatefulSet, as a server writes it out. It makes no pods by itself: [`Workload`] does.
#[must_use]
pub fn stateful_set(namespace: &str, name: &str, uid: &str, pod_management_policy: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "generation": 1},
        "spec": {"podManagementPolicy": pod_management_policy},
        "status": {},
    })
}

/// A budget over the pods with `app: APP`, not yet counted.
#[must_use]
pub fn budget(namespace: &str, name: &str, app: &str, rule: &Value) -> Value {
    let mut budget = json!({
        "metadata": {"namespace": namespace, "name": name, "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {},
    });
    overlay(&mut budget["spec"], rule);
    budget
}

/// Lays one object over another, key by key.
pub fn overlay(object: &mut Value, with: &Value) {
    match (object, with) {
        (Value::Object(object), Value::Object(with)) => {
            for (key, value) in with {
                overlay(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (object, with) => object.clone_from(with),
    }
}
