//! What tests put into a cluster, as JSON, and what they ask of it.

use serde_json::{Value, json};

/// A Node of simulated kubelets: 8 CPUs, 32 GiB, 110 pods. Its machine and boot id are made of its name, and
/// `version` is what its kubelet says that it is.
#[must_use]
pub fn node(name: &str, version: &str) -> Value {
    let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "status": {
            "capacity": room, "allocatable": room,
            "addresses": [{"type": "Hostname", "address": name}],
            "nodeInfo": {
                "machineID": format!("machine-{name}"), "bootID": format!("boot-{name}-1"), "systemUUID": "",
                "kubeletVersion": version, "kubeProxyVersion": version, "kernelVersion": "6.1.0",
                "osImage": "simulated", "operatingSystem": "linux", "architecture": "amd64",
                "containerRuntimeVersion": "containerd://simulated",
            },
        },
    })
}

/// What a pod of these tests is made of: one container that is never started, labelled `app: NAME`.
#[must_use]
pub fn template(app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{
            "name": "main", "image": "simulated", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }]},
    })
}

/// A pod that nothing brings back.
#[must_use]
pub fn bare_pod(name: &str) -> Value {
    let mut pod = template(name);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod
}

/// A Deployment of `replicas` pods, labelled `app: NAME`.
#[must_use]
pub fn deployment(name: &str, replicas: u32) -> Value {
    workload("Deployment", name, json!({"replicas": replicas}))
}

/// A DaemonSet.
#[must_use]
pub fn daemon_set(name: &str) -> Value {
    workload("DaemonSet", name, json!({}))
}

/// A StatefulSet without volumes.
#[must_use]
pub fn stateful_set(name: &str, replicas: u32) -> Value {
    workload("StatefulSet", name, json!({"replicas": replicas, "serviceName": name}))
}

fn workload(kind: &str, name: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": name}});
    spec["template"] = template(name);
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A PodDisruptionBudget over `app: APP`: `{"minAvailable": 3}`, `{"maxUnavailable": "25%"}`, …
#[must_use]
pub fn budget(name: &str, app: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": app}});
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec})
}

/// What makes the API server refuse a user's requests with 429 in plain text, as it does when it has too many, while
/// another of the same user is at work: paths to create at, with what. One at a time is always let through.
#[must_use]
pub fn throttled(user: &str) -> [(&'static str, Value); 2] {
    throttled_in(user, "*", "*")
}

/// The same of evictions alone.
#[must_use]
pub fn throttled_evictions(user: &str) -> [(&'static str, Value); 2] {
    throttled_in(user, "create", "pods/eviction")
}

fn throttled_in(user: &str, verb: &str, resource: &str) -> [(&'static str, Value); 2] {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    let level = json!({
        "apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": "none-at-all"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    });
    let rule = json!({
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{
            "verbs": [verb], "apiGroups": ["*"], "resources": [resource], "namespaces": ["*"], "clusterScope": true,
        }],
    });
    let schema = json!({
        "apiVersion": api, "kind": "FlowSchema", "metadata": {"name": "none-at-all"},
        "spec": {
            "matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "none-at-all"}, "rules": [rule],
        },
    });
    [
        ("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", level),
        ("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", schema),
    ]
}

/// Does the condition of that type say True?
#[must_use]
pub fn is(object: &Value, condition: &str) -> bool {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Its name.
#[must_use]
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
