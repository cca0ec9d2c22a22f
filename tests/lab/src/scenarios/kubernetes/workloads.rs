//! What runs in the cluster, and what its people say must stay up.

use anyhow::Result;
use drydock_test_cluster::{Admin, objects};
use serde_json::{Value, json};

use super::kubelet::IMAGE;
use super::network::Network;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
pub(super) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(super) const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The workload whose budget lets nobody go, and which prefers a node.
pub(super) const BLOCKING: &str = "ledger";

/// A workload with a budget: its app's name, how many pods, and how many of them must be ready at any time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    pub(super) app: &'static str,
    pub(super) replicas: u32,
    pub(super) ready_at_least: u32,
}

/// All of them. `ledger` has one pod and cannot spare it.
pub(super) const GUARDED: [Guarded; 4] = [
    Guarded { app: "web", replicas: 6, ready_at_least: 5 },
    Guarded { app: "cart", replicas: 4, ready_at_least: 3 },
    Guarded { app: "queue", replicas: 3, ready_at_least: 2 },
    Guarded { app: BLOCKING, replicas: 1, ready_at_least: 1 },
];

/// Creates everything and waits until it is up. `preferred` is where `ledger` would rather be.
pub(super) fn create(network: &Network, admin: &Admin, preferred: &str) -> Result<()> {
    let put = |path: &str, object: Value| network.create(admin, path, object).map(drop);
    put(DEPLOYMENTS, runnable(objects::deployment("web", 6)))?;
    put(BUDGETS, objects::budget("web", "web", json!({"minAvailable": 5})))?;
    put(DEPLOYMENTS, runnable(objects::deployment("cart", 4)))?;
    put(BUDGETS, objects::budget("cart", "cart", json!({"maxUnavailable": "25%"})))?;
    put(STATEFUL_SETS, runnable(objects::stateful_set("queue", 3)))?;
    put(BUDGETS, objects::budget("queue", "queue", json!({"minAvailable": 2})))?;
    put(DEPLOYMENTS, preferring(runnable(objects::deployment(BLOCKING, 1)), preferred))?;
    put(BUDGETS, objects::budget(BLOCKING, BLOCKING, json!({"minAvailable": 1})))?;
    put(DAEMON_SETS, runnable(objects::daemon_set("logs")))?;
    network.until(admin, "all pods to be ready", PODS, |pods| {
        GUARDED.iter().all(|of| ready(pods, of.app) == of.replicas)
    })?;
    network.until(admin, "all budgets to be counted", BUDGETS, |budgets| {
        let counted = |of: &Guarded| {
            let budget = budgets.iter().find(|budget| objects::name(budget) == of.app);
            budget.is_some_and(|budget| budget["status"]["currentHealthy"] == of.replicas)
        };
        GUARDED.iter().all(counted)
    })
}

/// Its pods can be started by a real kubelet too: from the image that is there, in containers that end when told to.
fn runnable(mut workload: Value) -> Value {
    let pod = &mut workload["spec"]["template"]["spec"];
    pod["containers"][0]["image"] = json!(IMAGE);
    pod["containers"][0]["imagePullPolicy"] = json!("Never");
    pod["automountServiceAccountToken"] = json!(false);
    pod["terminationGracePeriodSeconds"] = json!(2);
    workload
}

/// It may run anywhere, and runs there if it can.
fn preferring(mut workload: Value, node: &str) -> Value {
    let there = json!({"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
    ]});
    workload["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": there}],
    }});
    workload
}

/// How many pods of an app are ready and not about to end: what a budget counts.
pub(super) fn ready(pods: &[Value], app: &str) -> u32 {
    let counts = |pod: &&Value| {
        pod["metadata"]["labels"]["app"] == app
            && pod["metadata"]["deletionTimestamp"].is_null()
            && objects::is(pod, "Ready")
    };
    u32::try_from(pods.iter().filter(counts).count()).unwrap_or(u32::MAX)
}

/// On which node the only pod of an app is.
pub(super) fn node_of(network: &Network, admin: &Admin, app: &str) -> Result<String> {
    let pods = network.get(admin, &format!("{PODS}?labelSelector=app%3D{app}"))?;
    Ok(pods["items"][0]["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
}
