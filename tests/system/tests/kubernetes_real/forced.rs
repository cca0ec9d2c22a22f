//! A pod that its budget never lets go: listed with it, and deleted only by an operator's word.

use drydock_core::{hold_kind::HoldKind, view::RunStatus};
use drydock_system_tests::Fleet;
use drydock_test_cluster::{Cluster, Settings, cluster::SOON, here, objects};
use serde_json::{Value, json};

use super::{
    drained::{drained, is_machine_of, node, six_run},
    typed,
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn an_operator_sees_what_would_be_deleted_and_only_then_has_it_deleted() {
    if !here() {
        return;
    }
    let cluster = Cluster::start(Settings { nodes: 3, ..Settings::default() }).await.unwrap();
    let admin = cluster.admin();
    let fleet = Fleet::start(1);
    typed(&fleet, &format!("cluster add prod --kubeconfig {}", cluster.kubeconfig().display())).exits(0);
    typed(&fleet, "node bind n1 prod node-1").exits(0);
    is_machine_of(admin, &fleet, "n1", "node-1").await;

    // One may go; but nothing takes a pod anew, so that the budget lets no second one go.
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    admin.create(deployments, &objects::deployment("cart", 6)).await.unwrap();
    admin.until("six pods", PODS, SOON, six_run).await.unwrap();
    admin.create(BUDGETS, &objects::budget("cart", "cart", json!({"minAvailable": 5}))).await.unwrap();
    let allows_one = |all: &[Value]| (all.first()?["status"]["disruptionsAllowed"] == 1).then_some(());
    admin.until("a budget that allows one", BUDGETS, SOON, allows_one).await.unwrap();
    for elsewhere in ["node-2", "node-3"] {
        let cordon = json!({"spec": {"unschedulable": true}});
        admin.patch(&format!("/api/v1/nodes/{elsewhere}"), &cordon).await.unwrap();
    }

    let plan = drained(&fleet, "2.0.0");
    let read = |name: &str| std::fs::read_to_string(fleet.dir().join(name)).unwrap();
    let recipe = read("drained-recipe.yaml")
        .replace("  drain:\n", "  deadlines: {drain: 5s}\n  drain:\n")
        .replace("barePods: refuse", "nowhereElse: allow");
    fleet.write("drained-recipe.yaml", &recipe);
    let text = read("drained.yaml").replace("spec:\n", "spec:\n  allow: [force]\n");
    fleet.write("drained.yaml", &text);
    typed(&fleet, &format!("run start {plan}")).exits(0);
    let hold = fleet.until_status(RunStatus::Held).hold.unwrap();
    assert_eq!(hold.kind, HoldKind::NotDrained, "{hold:?}");
    assert!(hold.next.iter().any(|next| next.command == "drydock run force 1 --node n1"), "{hold:?}");

    // Shown, and nothing is done.
    typed(&fleet, "run force 1 --node n1")
        .exits(3)
        .says(&["would be deleted where they cannot be evicted", "PodDisruptionBudget default/cart"]);
    typed(&fleet, "run force 1 --node n1 --pod default/nobody").exits(2);
    typed(&fleet, "run force 1 --node n1 --yes")
        .exits(0)
        .says(&["past the PodDisruptionBudget default/cart"]);
    typed(&fleet, "run resume 1").exits(0);
    fleet.until_status(RunStatus::Done);
    assert_eq!(node(admin, "node-1").await, (false, None));
    typed(&fleet, "run show 1 --node n1").exits(0).says(&["was deleted by the word of"]);
}
