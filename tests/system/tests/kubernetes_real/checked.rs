//! Runs whose gates and soaks look at a real cluster: what failed before them is recorded and holds nobody, what comes after
//! it stops them, and canaries leave nothing behind.

use std::time::Duration;

use drydock_coordinator::clusters::view::ClusterCheckView;
use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus},
};
use drydock_kubernetes::health::Kind;
use drydock_system_tests::{Fleet, fleet, release::Behaviour};
use drydock_test_cluster::{Admin, Cluster, Settings, cluster::SOON, here, objects};
use serde_json::{Value, json};

use super::{apply, drained::is_machine_of, typed};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CANARIES: &str = "/api/v1/namespaces/drydock-canary/pods";

/// A Deployment of one pod that crashes again and again.
async fn crashes(admin: &Admin, name: &str) {
    let mut deployment = objects::deployment(name, 1);
    let template = &mut deployment["spec"]["template"];
    template["metadata"]["annotations"] = json!({"drydock.test/hands-off": ""});
    template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-3"});
    admin.create(DEPLOYMENTS, &deployment).await.unwrap();
    let path = format!("{PODS}?labelSelector=app%3D{name}");
    let placed = |pods: &[Value]| pods.iter().find(|pod| pod["spec"]["nodeName"] == "node-3").cloned();
    let pod = admin.until("the pod to be placed", &path, SOON, placed).await.unwrap();
    let ended = json!({"exitCode": 1, "reason": "Error", "message": "no database"});
    let status = json!({"status": {
        "phase": "Running",
        "containerStatuses": [{
            "name": "main", "image": "simulated", "imageID": "", "ready": false, "restartCount": 1403,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
            "lastState": {"terminated": ended},
        }],
    }});
    admin.patch(&format!("{PODS}/{}/status", objects::name(&pod)), &status).await.unwrap();
}

/// The usual plan with these checks beside the recipe's.
fn checked(fleet: &Fleet, version: &str, name: &str, checks: &str, soak: &str) -> String {
    fleet.release(version, Behaviour::Well);
    let plan = fleet.plan_text(version);
    let plan = plan.replace("      waves:\n", &format!("{checks}      waves:\n"));
    fleet.write(name, &plan.replace("soak: 0s\n", soak))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn what_failed_before_a_run_is_recorded_and_what_comes_after_it_stops_it() {
    if !here() {
        return;
    }
    let cluster = Cluster::start(Settings { nodes: 3, ..Settings::default() }).await.unwrap();
    let admin = cluster.admin();
    let fleet = Fleet::start(2);
    typed(&fleet, &format!("cluster add prod --kubeconfig {}", cluster.kubeconfig().display())).exits(0);
    typed(&fleet, "check cluster prod").exits(0).says(&["3 of 3 nodes Ready", "Nothing fails"]);
    typed(&fleet, "check cluster pord").exits(1).says(&["no cluster pord"]);
    for (name, kube_node) in [("n1", "node-1"), ("n2", "node-2")] {
        typed(&fleet, &format!("node bind {name} prod {kube_node}")).exits(0);
        is_machine_of(admin, &fleet, name, kube_node).await;
    }

    crashes(admin, "cart").await;
    typed(&fleet, "check cluster prod").exits(3).says(&[
        "in a crash loop",
        "container main ends with exit code 1: no database",
        "logs cart-",
        "1 cause.",
    ]);
    let ran = typed(&fleet, "-o json check cluster prod");
    let view: ClusterCheckView = serde_json::from_str(&ran.exits(3).stdout).unwrap();
    assert_eq!((view.problems[0].kind, view.problems[0].count), (Kind::Crash, 1), "{view:?}");

    // Who wants no run under it says so; and a canary without its rights is found by the rehearsal, which makes none.
    let strict = "      gate:\n        - kubernetesCluster: {alreadyFailing: refuse}\n        - nodeCanary: {image: simulated}\n";
    let plan = checked(&fleet, "2.0.0", "strict.yaml", strict, "soak: 0s\n");
    typed(&fleet, &format!("rehearse {plan}"))
        .exits(3)
        .says(&["in a crash loop", "deploy/kubernetes/canary.yaml"]);
    apply(admin, "canary.yaml").await;
    let accounts = "/api/v1/namespaces/drydock-canary/serviceaccounts";
    let made = |all: &[Value]| all.iter().any(|one| objects::name(one) == "default").then_some(());
    admin.until("the ServiceAccount", accounts, SOON, made).await.unwrap();

    let checks = "      gate:\n        - kubernetesCluster\n        - kubernetesNode\n        - nodeCanary: {image: simulated}\n      returned:\n        - kubernetesNode\n        - nodeCanary: {image: simulated}\n";
    let soak = "soak: 6s\n          soakChecks: [kubernetesCluster: {}]\n";
    let plan = checked(&fleet, "2.0.0", "checked.yaml", checks, soak);
    typed(&fleet, &format!("rehearse {plan}")).exits(0);
    assert_eq!(admin.get(CANARIES).await.unwrap()["items"], json!([]), "a rehearsal makes no pod");

    // It goes on over what failed before it, and stops at what fails since.
    typed(&fleet, &format!("run start {plan}")).exits(0);
    let soaks = |run: &drydock_core::view::RunView| fleet::phases(run).contains(&Phase::Soaking);
    fleet.until_run("a node to soak", Duration::from_secs(90), soaks);
    crashes(admin, "web").await;
    let held = fleet.until_status(RunStatus::Held);
    let hold = held.hold.unwrap();
    assert_eq!(hold.kind, HoldKind::Unwell, "{hold:?}");
    assert!(hold.happened.contains("web-") && !hold.happened.contains("cart-"), "{hold:?}");
    assert!(hold.reason.contains("kubernetesCluster"), "{hold:?}");

    // It is seen to, and the run goes on to its end.
    admin.delete(&format!("{DEPLOYMENTS}/web")).await.unwrap();
    let path = format!("{PODS}?labelSelector=app%3Dweb");
    let pods = admin.get(&path).await.unwrap()["items"].as_array().unwrap().clone();
    for pod in &pods {
        // Its simulated kubelet leaves it alone.
        admin.delete(&format!("{PODS}/{}?gracePeriodSeconds=0", objects::name(pod))).await.unwrap();
    }
    typed(&fleet, "run resume 1").exits(0);
    let view = fleet.until_run("done", Duration::from_secs(180), |run| run.status != RunStatus::Running);
    assert_eq!(view.status, RunStatus::Done, "{}", fleet.everything(&Ok(view.clone())));
    admin.until("no canary to be left", CANARIES, SOON, |all| all.is_empty().then_some(())).await.unwrap();

    // Once, and by its name.
    typed(&fleet, "audit export 1 run-1.record").exits(0);
    let record = std::fs::read_to_string(fleet.dir().join("run-1.record")).unwrap();
    let said = "failing in the cluster prod before this run, and not its doing";
    assert_eq!(record.matches(said).count(), 1);
}
