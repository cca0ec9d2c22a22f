//! A run that takes its nodes out of a real cluster one after another, and gives them back.

use std::time::Duration;

use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus},
};
use drydock_system_tests::{Fleet, fleet, release::Behaviour};
use drydock_test_cluster::{Admin, Cluster, Settings, cluster::SOON, here, objects};
use serde_json::{Value, json};

use super::typed;

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The kubelet of this Node reports the machine that the node's agent runs on.
pub(super) async fn is_machine_of(admin: &Admin, fleet: &Fleet, node: &str, kube_node: &str) {
    let shown = fleet.drydock(&["-o", "json", "node", "show", node]).json();
    let fact = |of: &str| find(&shown, of).unwrap_or_else(|| panic!("no {of} in {shown}")).clone();
    let info = json!({"status": {"nodeInfo": {"machineID": fact("machineId"), "bootID": fact("bootId")}}});
    admin.patch(&format!("{NODES}/{kube_node}/status"), &info).await.unwrap();
}

/// A field of that name, wherever it stands.
pub(super) fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        Value::Array(items) => items.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// The usual plan, by the usual recipe with a drain before its change.
pub(super) fn drained(fleet: &Fleet, version: &str) -> String {
    let recipe = include_str!("../../../../coordinator/recipes/systemd-binary.yaml");
    let (before, after) = recipe.split_once("  apply:").unwrap();
    let drain = "  drain:\n    - kubernetesDrain:\n        barePods: refuse\n\n  observe:\n    - controlPlane:\n        maxGap: 60s\n\n  apply:";
    fleet.write("drained-recipe.yaml", &format!("{before}{drain}{after}"));
    fleet.release(version, Behaviour::Well);
    let plan = fleet.plan_text(version).replace("recipe: systemd-binary", "recipe: ./drained-recipe.yaml");
    fleet.write("drained.yaml", &plan)
}

pub(super) async fn node(admin: &Admin, name: &str) -> (bool, Option<String>) {
    let node = admin.get(&format!("{NODES}/{name}")).await.unwrap();
    let cordoned = node["spec"]["unschedulable"] == true;
    (cordoned, node["metadata"]["annotations"]["drydock/mark"].as_str().map(str::to_owned))
}

pub(super) fn six_run(pods: &[Value]) -> Option<()> {
    let runs =
        |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    (pods.iter().filter(runs).count() == 6).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn nodes_are_emptied_changed_and_given_back_one_after_another() {
    if !here() {
        return;
    }
    let cluster = Cluster::start(Settings { nodes: 3, ..Settings::default() }).await.unwrap();
    let admin = cluster.admin();
    let fleet = Fleet::start(2);
    typed(&fleet, &format!("cluster add prod --kubeconfig {}", cluster.kubeconfig().display())).exits(0);
    let plan = drained(&fleet, "2.0.0");

    // Of a node that is bound to nothing nobody knows whom to move away: found before anything is touched.
    typed(&fleet, &format!("rehearse {plan}")).exits(3).says(&["drydock node bind n1 CLUSTER"]);
    for (name, kube_node) in [("n1", "node-1"), ("n2", "node-2")] {
        typed(&fleet, &format!("node bind {name} prod {kube_node}")).exits(0);
    }
    // And of one whose Node is another machine.
    typed(&fleet, &format!("rehearse {plan}")).exits(3).says(&["the Node node-1 is another machine"]);
    for (name, kube_node) in [("n1", "node-1"), ("n2", "node-2")] {
        is_machine_of(admin, &fleet, name, kube_node).await;
    }

    // A budget that can never be satisfied is named, and nothing was changed.
    admin
        .create("/apis/apps/v1/namespaces/default/deployments", &objects::deployment("cart", 6))
        .await
        .unwrap();
    admin.until("six pods", PODS, SOON, six_run).await.unwrap();
    admin.create(BUDGETS, &objects::budget("cart", "cart", json!({"minAvailable": 6}))).await.unwrap();
    let says = |budgets: &[Value], what: &str, is: u64| {
        budgets.first()?["status"][what].as_u64().filter(|said| *said == is)
    };
    admin.until("a budget that is counted", BUDGETS, SOON, |of| says(of, "expectedPods", 6)).await.unwrap();
    typed(&fleet, &format!("rehearse {plan}")).exits(3).says(&["default/cart"]);
    typed(&fleet, &format!("run start {plan}")).exits(0);
    let held = fleet.until_status(RunStatus::Held);
    let hold = held.hold.unwrap();
    assert_eq!(hold.kind, HoldKind::GateRefused, "{hold:?}");
    assert!(hold.happened.contains("default/cart"), "{hold:?}");
    for kube_node in ["node-1", "node-2"] {
        assert_eq!(node(admin, kube_node).await, (false, None));
    }

    // It is repaired, and the run goes on to its end by the command that the hold offers.
    let repaired = json!({"spec": {"minAvailable": 5}});
    admin.patch(&format!("{BUDGETS}/cart"), &repaired).await.unwrap();
    admin
        .until("a budget that allows one", BUDGETS, SOON, |of| says(of, "disruptionsAllowed", 1))
        .await
        .unwrap();
    typed(&fleet, "run resume 1").exits(0);
    let view = fleet.until_run("done", Duration::from_secs(180), |run| run.status != RunStatus::Running);
    assert_eq!(view.status, RunStatus::Done, "{}", fleet.everything(&Ok(view.clone())));
    assert_eq!(fleet::phases(&view), [Phase::Done, Phase::Done]);
    for kube_node in ["node-1", "node-2", "node-3"] {
        assert_eq!(node(admin, kube_node).await, (false, None), "{kube_node} is as it was");
    }
    admin.until("six pods again", PODS, SOON, six_run).await.unwrap();
    for (name, kube_node) in [("n1", "node-1"), ("n2", "node-2")] {
        typed(&fleet, &format!("run show 1 --node {name}")).exits(0).says(&[
            &format!("left service: the Node {kube_node} is cordoned and empty"),
            &format!("given back: the Node {kube_node} is uncordoned"),
            "the API of prod: ",
        ]);
    }
    // Its API was asked from outside while each node was changed.
    for node in fleet::nodes(&view) {
        let [seen] = &node.observed[..] else { panic!("{:?}", node.observed) };
        let gap = seen.whole.as_ref().unwrap();
        assert!(gap.asked > 0 && gap.answered > 0 && gap.longest_ms < 60_000, "{seen:?}");
    }
    typed(&fleet, "run report 1").exits(0).says(&["Measured from outside: the API of prod"]);
}
