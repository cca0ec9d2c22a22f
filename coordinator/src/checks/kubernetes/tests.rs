//! A binding that is not true is found by every check that goes by it.

use drydock_core::run::CheckResult;
use drydock_kubernetes::fake::{Cluster, Resource, make};
use drydock_types::{Epoch, Fence, InstanceId};
use serde_json::json;

use super::*;
use crate::{
    checks::{look, tests::request},
    driver::LookRequest,
    link::Sessions,
    moves::kubernetes_drain::{
        KubernetesDrain,
        tests::{Binding, sessions},
    },
};

/// Checks that are about the Node come first, then those that are about its cluster.
fn checks() -> Vec<drydock_core::recipe::Check> {
    serde_json::from_value(json!([
        {"kubernetesNode": {}},
        {"nodeCanary": {"image": "registry.k8s.io/pause:3.10"}},
        {"nodeCanary": {"image": "busybox:1.37", "command": ["true"]}},
        {"kubernetesCluster": {}},
        {"kubernetesSkew": {"of": "server"}},
        {"kubernetesCondition": {"version": "v1", "kind": "Node", "selector": "", "condition": {"type": "Ready"}}},
    ]))
    .unwrap()
}

/// A cluster whose Node `k-1` says that it is this machine, of this boot.
fn cluster(machine: &str, boot: &str) -> Cluster {
    let cluster = Cluster::default();
    let mut node = make::node("k-1");
    node["status"]["nodeInfo"] =
        json!({"machineID": machine, "bootID": boot, "kubeletVersion": "v1.33.4+k3s1"});
    cluster.put(Resource::Nodes, node);
    cluster
}

async fn looked(cluster: &Cluster, sessions: &Sessions, rehearses: bool) -> Vec<CheckResult> {
    let name = NodeName::parse("n1").unwrap();
    let asked = LookRequest { checks: checks(), rehearses, ..request(&name) };
    let carrier = KubernetesDrain::new(Arc::new(Binding(Arc::new(cluster.clone()))), sessions.clone());
    look(sessions, &carrier, &asked).await.0
}

fn with_an_agent() -> (Sessions, tokio::task::JoinHandle<()>) {
    let name = NodeName::parse("n1").unwrap();
    sessions(&name, request(&name).key, Epoch(1))
}

fn asked(cluster: &Cluster, verb: &str, path: &str) -> usize {
    cluster.asked().iter().filter(|asked| asked.verb == verb && asked.path.starts_with(path)).count()
}

#[tokio::test(start_paused = true)]
async fn no_check_goes_by_a_binding_to_another_machines_node() {
    let (sessions, agent) = with_an_agent();
    for rehearses in [false, true] {
        let cluster = cluster("another", "b");
        let results = looked(&cluster, &sessions, rehearses).await;
        assert_eq!(results.len(), checks().len());
        for CheckResult { check, verdict } in &results {
            let Verdict::Refused(why) = verdict else { panic!("{check}: {verdict:?}") };
            assert!(why.contains("the Node k-1 is another machine") && why.contains("node bind n1"), "{why}");
        }
        assert_eq!(asked(&cluster, "POST", "/"), 0, "no pod is made on another machine");
        assert_eq!(asked(&cluster, "GET", "/api/v1/nodes/k-1"), 1, "it is asked about once");
    }
    agent.abort();
}

#[tokio::test(start_paused = true)]
async fn without_the_agents_word_no_check_believes_a_binding() {
    let cluster = cluster("m", "b");
    let sessions = Sessions::new(Fence { epoch: Epoch(1), instance: InstanceId([1; 16]) });
    for CheckResult { check, verdict } in looked(&cluster, &sessions, false).await {
        let Verdict::Unknown(why) = &verdict else { panic!("{check}: {verdict:?}") };
        assert!(why.contains("which machine n1 is was not said by its agent"), "{check}: {why}");
    }
    assert_eq!(asked(&cluster, "POST", "/"), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_about_the_node_itself_waits_for_its_kubelet_after_a_restart() {
    let (sessions, agent) = with_an_agent();
    let results = looked(&cluster("m", "the-one-before"), &sessions, false).await;
    let not_yet = |verdict: &Verdict| {
        verdict.reason().is_some_and(|why| why.contains("has not reported since the machine was started"))
    };
    let (of_the_node, of_the_cluster) = results.split_at(3);
    for CheckResult { check, verdict } in of_the_node {
        assert!(matches!(verdict, Verdict::Waiting(_)) && not_yet(verdict), "{check}: {verdict:?}");
    }
    for CheckResult { check, verdict } in of_the_cluster {
        assert!(!not_yet(verdict), "{check}: {verdict:?}");
    }
    agent.abort();
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_proven_node_are_asked_of_its_cluster() {
    let (sessions, agent) = with_an_agent();
    let cluster = cluster("m", "b");
    let results = looked(&cluster, &sessions, false).await;
    assert_eq!(results[0].verdict, Verdict::Clear, "its Node is Ready");
    assert_eq!(
        asked(&cluster, "POST", "/api/v1/namespaces/drydock-canary/pods"),
        2,
        "each has a canary of its own"
    );
    assert_eq!(asked(&cluster, "GET", "/api/v1/nodes/k-1"), 1, "it is asked about once");
    agent.abort();
}
