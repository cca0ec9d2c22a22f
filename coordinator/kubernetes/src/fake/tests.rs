//! The double says no as the real server does: what was recorded from a 1.36.3, asked of it here.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, Resource, Workload, make};
use crate::api::{Answer, Api as _, Method, Request};

async fn evict(cluster: &Cluster, name: &str, options: &Value) -> Answer {
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": "t"}, "deleteOptions": options,
    });
    let request = Request {
        method: Method::Post,
        path: format!("/api/v1/namespaces/t/pods/{name}/eviction"),
        body: Some(body.to_string().into_bytes()),
        within: Duration::from_secs(3),
    };
    cluster.call(request).await.unwrap()
}

fn text(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// Three pods of a workload on one node under `maxUnavailable: 1`.
async fn three() -> Cluster {
    let cluster = Cluster::default();
    cluster.put(Resource::Nodes, make::node("k-1"));
    cluster.workload(Workload::stateful_set("t", "e", 3));
    cluster.put(Resource::Budgets, make::budget("t", "ep", "e", &json!({"maxUnavailable": 1})));
    cluster.pass(Duration::from_secs(10)).await;
    cluster
}

fn allowed(cluster: &Cluster) -> Value {
    cluster.object(Resource::Budgets, "t", "ep").unwrap()["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_taken_and_the_next_one_over_the_budget_refused_in_the_servers_words() {
    let cluster = three().await;
    let taken = evict(&cluster, "e-0", &json!({})).await;
    assert_eq!(taken.status, 201);
    assert_eq!(
        text(&taken),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
    );
    cluster.pass(Duration::from_millis(500)).await;
    let refused = evict(&cluster, "e-1", &json!({})).await;
    assert_eq!((refused.status, refused.retry_after), (429, None));
    assert_eq!(
        text(&refused),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "reason": "TooManyRequests",
            "details": {"causes": [{"reason": "DisruptionBudget",
                "message": "The disruption budget ep needs 2 healthy pods and has 2 currently"}]},
            "code": 429,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_uid_that_does_not_match_is_refused_and_takes_from_the_budget_for_two_minutes() {
    let cluster = three().await;
    let uid = cluster.object(Resource::Pods, "t", "e-1").unwrap()["metadata"]["uid"].clone();
    let refused = evict(&cluster, "e-1", &json!({"preconditions": {"uid": "no"}})).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        text(&refused)["message"],
        format!(
            "Operation cannot be fulfilled on Pod \"e-1\": the UID in the precondition (no) does not match the UID in \
             record ({}). The object might have been deleted and then recreated",
            uid.as_str().unwrap()
        )
    );
    cluster.pass(Duration::from_secs(2)).await;
    assert_eq!(allowed(&cluster)["disruptionsAllowed"], 0);
    assert_eq!(evict(&cluster, "e-0", &json!({})).await.status, 429);
    cluster.pass(Duration::from_secs(121)).await;
    assert_eq!(allowed(&cluster)["disruptionsAllowed"], 1);
    assert_eq!(allowed(&cluster)["disruptedPods"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn dry_runs_answer_for_each_pod_alone_and_change_nothing() {
    let cluster = three().await;
    let before = cluster.version();
    for pod in ["e-0", "e-1"] {
        assert_eq!(evict(&cluster, pod, &json!({"dryRun": ["All"]})).await.status, 201);
    }
    assert_eq!(cluster.version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_changed_budget_is_still_being_processed_until_a_controller_counts_it() {
    let cluster = three().await;
    cluster.controlled(false);
    cluster.change(Resource::Budgets, "t", "ep", |budget| budget["spec"]["maxUnavailable"] = json!(2));
    let refused = evict(&cluster, "e-0", &json!({})).await;
    assert_eq!((refused.status, refused.retry_after), (429, Some(Duration::from_secs(10))));
    assert_eq!(
        text(&refused)["details"]["causes"][0]["message"],
        "The disruption budget ep is still being processed by the server."
    );
    cluster.controlled(true);
    cluster.pass(Duration::from_secs(1)).await;
    assert_eq!(evict(&cluster, "e-0", &json!({})).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_what_is_ending_and_two_budgets_have_their_own_answers() {
    let cluster = three().await;
    let gone = evict(&cluster, "nope", &json!({})).await;
    assert_eq!((gone.status, text(&gone)["message"].as_str()), (404, Some("pods \"nope\" not found")));
    assert_eq!(evict(&cluster, "e-0", &json!({})).await.status, 201);
    assert_eq!(evict(&cluster, "e-0", &json!({})).await.status, 201, "one that is ending is let go again");
    cluster.put(Resource::Budgets, make::budget("t", "too", "e", &json!({"maxUnavailable": 1})));
    let two = evict(&cluster, "e-1", &json!({})).await;
    assert_eq!(two.status, 500);
    assert!(
        text(&two)["message"].as_str().unwrap().starts_with("This pod has more than one PodDisruptionBudget")
    );
}

#[tokio::test(start_paused = true)]
async fn a_patch_with_an_old_version_is_refused_and_an_absent_node_is_not_made() {
    let cluster = three().await;
    let patch = |path: &str, body: Value| Request {
        method: Method::MergePatch,
        path: path.to_owned(),
        body: Some(body.to_string().into_bytes()),
        within: Duration::from_secs(3),
    };
    let stale = json!({"metadata": {"resourceVersion": "1x"}, "spec": {"unschedulable": true}});
    let refused = cluster.call(patch("/api/v1/nodes/k-1", stale)).await.unwrap();
    assert_eq!(refused.status, 409);
    assert_eq!(
        text(&refused)["message"],
        "Operation cannot be fulfilled on nodes \"k-1\": the object has been modified; please apply your changes to the \
         latest version and try again"
    );
    let absent = cluster.call(patch("/api/v1/nodes/nowhere", json!({}))).await.unwrap();
    assert_eq!(
        (absent.status, text(&absent)["message"].as_str()),
        (404, Some("nodes \"nowhere\" not found"))
    );
    assert!(cluster.object(Resource::Nodes, "", "nowhere").is_none());
}
