//! A cluster of these tests is a real one: what it does is what everything else that is tried on it relies on.
//!
//! `tests/run kubernetes` runs this; without Go it says that it is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;

use drydock_test_cluster::{
    Admin, Cluster, Settings,
    binaries::Release,
    cluster::SOON,
    here,
    objects::{self, is},
};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The pods of an app that are ready, once there are as many as that.
async fn ready_pods(cluster: &Cluster, app: &str, wanted: usize) -> Vec<Value> {
    let path = format!("{PODS}?labelSelector=app%3D{app}");
    let what = format!("{wanted} ready pods of {app}");
    let found = cluster.admin().until(&what, &path, SOON, |pods| {
        let ready = |pod: &&Value| is(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
        let ready: Vec<Value> = pods.iter().filter(ready).cloned().collect();
        (ready.len() == wanted).then_some(ready)
    });
    found.await.unwrap()
}

async fn allowed(cluster: &Cluster, budget: &str, wanted: u64) {
    let what = format!("the budget {budget} to allow {wanted}");
    let found = cluster.admin().until(&what, BUDGETS, SOON, |budgets| {
        let one = budgets.iter().find(|one| objects::name(one) == budget)?;
        let status = &one["status"];
        let seen = status["observedGeneration"] == one["metadata"]["generation"];
        (seen && status["disruptionsAllowed"] == wanted).then_some(())
    });
    found.await.unwrap();
}

async fn nodes_are_ready_and_say_what_they_were_made_with(cluster: &Cluster) {
    let nodes = cluster.admin().get("/api/v1/nodes").await.unwrap();
    let nodes = nodes["items"].as_array().unwrap().clone();
    assert_eq!(nodes.iter().map(objects::name).collect::<Vec<_>>(), ["node-1", "node-2", "node-3"]);
    assert!(nodes.iter().all(|node| is(node, "Ready")));
    assert_eq!(nodes[0]["status"]["nodeInfo"]["machineID"], "machine-node-1");
    assert_eq!(nodes[0]["status"]["nodeInfo"]["kubeletVersion"], "v1.36.2+k3s1");
}

async fn a_budget_is_computed_and_kept_by_evictions(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.create(DEPLOYMENTS, &objects::deployment("web", 4)).await.unwrap();
    admin.create(BUDGETS, &objects::budget("web", "web", json!({"minAvailable": 3}))).await.unwrap();
    let pods = ready_pods(cluster, "web", 4).await;
    allowed(cluster, "web", 1).await;

    let evicted = admin.evict("default", objects::name(&pods[0])).await.unwrap();
    assert_eq!(evicted.status, 201, "{}", evicted.body);
    let uid = pods[0]["metadata"]["uid"].clone();
    let gone = admin.until("the evicted pod to be gone", PODS, SOON, |pods| {
        pods.iter().all(|pod| pod["metadata"]["uid"] != uid).then_some(())
    });
    gone.await.unwrap();
    let pods = ready_pods(cluster, "web", 4).await;

    let strict = json!({"spec": {"minAvailable": 4}});
    admin.patch(&format!("{BUDGETS}/web"), &strict).await.unwrap();
    allowed(cluster, "web", 0).await;
    let refused = admin.evict("default", objects::name(&pods[0])).await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "DisruptionBudget");
}

async fn a_finalizer_keeps_a_pod_until_somebody_takes_it_off(cluster: &Cluster) {
    let admin = cluster.admin();
    let mut pod = objects::bare_pod("held");
    pod["metadata"]["finalizers"] = json!(["drydock.test/held"]);
    admin.create(PODS, &pod).await.unwrap();
    ready_pods(cluster, "held", 1).await;
    let evicted = admin.evict("default", "held").await.unwrap();
    assert_eq!(evicted.status, 201, "{}", evicted.body);
    let ended = admin.until("the kubelet's part to be done", PODS, SOON, |pods| {
        let held = pods.iter().find(|pod| objects::name(pod) == "held")?;
        (held["metadata"]["deletionGracePeriodSeconds"] == 0).then(|| held.clone())
    });
    let held = ended.await.unwrap();
    assert_eq!(held["metadata"]["finalizers"], json!(["drydock.test/held"]));
    admin.patch(&format!("{PODS}/held"), &json!({"metadata": {"finalizers": null}})).await.unwrap();
    let gone = admin.until("the pod to be gone", PODS, SOON, |pods| {
        pods.iter().all(|pod| objects::name(pod) != "held").then_some(())
    });
    gone.await.unwrap();
}

fn pod_with(name: &str, annotations: Value) -> Value {
    let mut pod = objects::bare_pod(name);
    pod["metadata"]["annotations"] = annotations;
    pod
}

async fn what_is_marked_is_left_to_the_test(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.create(PODS, &pod_with("mine", json!({"drydock.test/hands-off": ""}))).await.unwrap();
    let scheduled = admin.until("the marked pod to be scheduled", PODS, SOON, |pods| {
        pods.iter()
            .any(|pod| objects::name(pod) == "mine" && pod["spec"]["nodeName"].is_string())
            .then_some(())
    });
    scheduled.await.unwrap();
    let waiting =
        json!({"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"});
    let container = json!({
        "name": "main", "image": "simulated", "imageID": "", "ready": false, "restartCount": 7,
        "state": {"waiting": waiting},
    });
    let status = json!({"status": {"phase": "Running", "containerStatuses": [container]}});
    admin.patch(&format!("{PODS}/mine/status"), &status).await.unwrap();
    // kwok has had its chance when it has dealt with one that came later.
    admin.create(PODS, &objects::bare_pod("theirs")).await.unwrap();
    ready_pods(cluster, "theirs", 1).await;
    let mine = admin.get(&format!("{PODS}/mine")).await.unwrap();
    assert!(!is(&mine, "Ready"));
    assert_eq!(mine["status"]["containerStatuses"][0]["state"]["waiting"], waiting);
}

async fn pods_take_as_long_as_they_are_told(cluster: &Cluster) {
    let admin = cluster.admin();
    let slow = json!({
        "pod-ready.stage.kwok.x-k8s.io/delay": "3s", "pod-delete.stage.kwok.x-k8s.io/delay": "3s",
    });
    admin.create(PODS, &pod_with("slow", slow)).await.unwrap();
    admin.create(PODS, &objects::bare_pod("quick")).await.unwrap();
    ready_pods(cluster, "quick", 1).await;
    assert!(!is(&admin.get(&format!("{PODS}/slow")).await.unwrap(), "Ready"));
    ready_pods(cluster, "slow", 1).await;
    for pod in ["slow", "quick"] {
        assert_eq!(admin.evict("default", pod).await.unwrap().status, 201);
    }
    let gone = async |name: &str| {
        let gone = admin.until("an evicted pod to be gone", PODS, SOON, |pods| {
            pods.iter().all(|pod| objects::name(pod) != name).then_some(())
        });
        gone.await.unwrap();
    };
    gone("quick").await;
    let slow = admin.get(&format!("{PODS}/slow")).await.unwrap();
    assert!(slow["metadata"]["deletionTimestamp"].is_string());
    gone("slow").await;
}

/// Rights are asked for, and credentials run out.
async fn who_asks_makes_a_difference(cluster: &Cluster) {
    let server = &cluster.servers()[0];
    let file = cluster.place().join("somebody.kubeconfig");
    let nodes = async || {
        let somebody = Admin::from_kubeconfig(&file).unwrap();
        somebody.ask(Method::GET, "/api/v1/nodes", None).await.unwrap().status
    };
    server.write_kubeconfig("jane", &["people"], 3600, &file).unwrap();
    assert_eq!(nodes().await, 403);
    server.write_kubeconfig("jane", &["system:masters"], 3600, &file).unwrap();
    assert_eq!(nodes().await, 200);
    server.write_kubeconfig("jane", &["system:masters"], -60, &file).unwrap();
    assert_eq!(nodes().await, 401);
    let token = cluster.admin().token("default", "default", 600).await.unwrap();
    server.write_kubeconfig_with_token(&token, &file).unwrap();
    assert_eq!(nodes().await, 403);
    server.write_kubeconfig_with_token("no-token-at-all", &file).unwrap();
    assert_eq!(nodes().await, 401);
}

/// Too many requests, of one user, are refused in plain text, and not by a budget.
async fn a_throttled_user_is_told_so_in_plain_text(cluster: &Cluster) {
    let admin = cluster.admin();
    let file = cluster.place().join("throttled.kubeconfig");
    cluster.servers()[0].write_kubeconfig("busy", &["system:authenticated"], 3600, &file).unwrap();
    for (path, object) in objects::throttled("busy") {
        admin.create(path, &object).await.unwrap();
    }
    let busy = Admin::from_kubeconfig(&file).unwrap();
    let throttled = async {
        loop {
            // Again until the server has taken notice of both objects.
            let mut together = JoinSet::new();
            for _ in 0..30 {
                let busy = busy.clone();
                together.spawn(async move { busy.ask(Method::GET, "/api/v1/nodes", None).await.unwrap() });
            }
            if let Some(answer) = together.join_all().await.into_iter().find(|answer| answer.status == 429) {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(SOON, throttled).await.unwrap();
    assert!(answer.content_type.starts_with("text/plain"), "{answer:?}");
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(answer.body.is_string(), "{answer:?}");
}

async fn a_frozen_server_takes_requests_and_answers_them_later(cluster: &mut Cluster) {
    cluster.servers_mut()[0].freeze().unwrap();
    let admin = cluster.admin().clone();
    let asked = tokio::spawn(async move { admin.get("/readyz/ping").await });
    let moment = std::time::Duration::from_millis(500);
    tokio::time::sleep(moment).await;
    assert!(!asked.is_finished());
    cluster.servers_mut()[0].thaw().unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), json!("ok"));
}

async fn a_server_comes_back_at_the_next_version_with_everything_in_it(cluster: &mut Cluster) {
    let server = &mut cluster.servers_mut()[0];
    assert!(server.stop().unwrap().success());
    assert!(server.stop().is_err());
    server.set_release(Release::usual());
    server.start().unwrap();
    let version = cluster.admin().get("/version").await.unwrap();
    assert_eq!(version["gitVersion"], "v1.36.3+k3s1");
    ready_pods(cluster, "web", 4).await;
    // Killed in mid-life, it has what it had.
    let server = &mut cluster.servers_mut()[0];
    server.kill().unwrap();
    server.start().unwrap();
    ready_pods(cluster, "web", 4).await;
}

fn every_request_is_in_the_audit_log_once(cluster: &Cluster) {
    let log = fs::read_to_string(cluster.servers()[0].audit_log()).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let evictions = lines.iter().filter(|line| {
        line["objectRef"]["subresource"] == "eviction" && line["user"]["username"] == "drydock-test-admin"
    });
    let answers: Vec<u64> = evictions.map(|line| line["responseStatus"]["code"].as_u64().unwrap()).collect();
    assert_eq!(answers, [201, 429, 201, 201, 201]);
}

#[tokio::test]
#[ignore = "builds a Kubernetes server with Go: tests/run kubernetes"]
async fn a_real_control_plane_with_simulated_nodes() {
    if !here() {
        return;
    }
    let settings = Settings { release: Release::usual_before(), audit: true, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await.unwrap();
    nodes_are_ready_and_say_what_they_were_made_with(&cluster).await;
    a_budget_is_computed_and_kept_by_evictions(&cluster).await;
    a_finalizer_keeps_a_pod_until_somebody_takes_it_off(&cluster).await;
    what_is_marked_is_left_to_the_test(&cluster).await;
    pods_take_as_long_as_they_are_told(&cluster).await;
    who_asks_makes_a_difference(&cluster).await;
    a_throttled_user_is_told_so_in_plain_text(&cluster).await;
    a_frozen_server_takes_requests_and_answers_them_later(&mut cluster).await;
    every_request_is_in_the_audit_log_once(&cluster);
    a_server_comes_back_at_the_next_version_with_everything_in_it(&mut cluster).await;
}

/// Three servers with three members: one goes, and the others answer and keep what was written.
#[tokio::test]
#[ignore = "builds a Kubernetes server with Go: tests/run kubernetes"]
async fn of_three_servers_one_can_go() {
    if !here() {
        return;
    }
    let settings = Settings { servers: 3, nodes: 1, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await.unwrap();
    let leaders = cluster.servers().iter().filter(|server| server.leads_controllers()).count();
    assert_eq!(leaders, 1);
    cluster.servers_mut()[2].stop().unwrap();
    let put = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}});
    cluster.admin().create("/api/v1/namespaces/default/configmaps", &put).await.unwrap();
    let other = cluster.servers()[1].admin().unwrap();
    other.get("/api/v1/namespaces/default/configmaps/kept").await.unwrap();
    let server = &mut cluster.servers_mut()[2];
    server.start().unwrap();
    let third = cluster.servers()[2].admin().unwrap();
    third.get("/api/v1/namespaces/default/configmaps/kept").await.unwrap();
}
