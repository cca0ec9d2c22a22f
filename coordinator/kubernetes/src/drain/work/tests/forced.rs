//! Pods that are deleted because somebody has said so, and nobody else's.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::{
    api::Answer,
    drain::{
        Force,
        work::{Ended, Evidence, Stage},
    },
    fake::{Fault, Resource, make},
    objects::Uid,
};

/// Six pods, a budget that lets none go, and the UIDs of those on `k-1`.
async fn blocked() -> (Scene, Vec<Uid>) {
    let scene = Scene::with_shop(6).await.allowing_nowhere_else();
    scene.budget(json!({"minAvailable": 5})).await;
    // One elsewhere is not ready, and stays so.
    let (name, _) = scene.cluster.pods_on("k-2").remove(0);
    scene.cluster.controlled(false);
    scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    });
    scene.cluster.change(Resource::Budgets, "shop", "cart", |budget| {
        budget["status"]["currentHealthy"] = json!(5);
        budget["status"]["disruptionsAllowed"] = json!(0);
    });
    let here = uids(&scene);
    (scene, here)
}

fn uids(scene: &Scene) -> Vec<Uid> {
    scene.cluster.pods_on("k-1").into_iter().map(|(_, uid)| uid).collect()
}

fn by_anna(only: &[Uid], grace_s: Option<u32>) -> Force {
    let only: BTreeSet<Uid> = only.iter().cloned().collect();
    Force { by: "anna".to_owned(), only: Some(only), grace_s }
}

fn deletes(scene: &Scene) -> usize {
    scene.cluster.asked().iter().filter(|asked| asked.verb == "DELETE").count()
}

fn evidence(ended: Ended) -> Evidence {
    match ended {
        Ended::Drained(evidence) => evidence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_word_nothing_is_deleted_however_long_it_takes() {
    let (scene, here) = blocked().await;
    let ended = scene.drain_within(MINUTE).await;
    let Ended::Stopped { left, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((left.len(), deletes(&scene)), (here.len(), 0));
}

#[tokio::test(start_paused = true)]
async fn exactly_the_pods_that_were_named_are_deleted_and_the_budget_is_told_with_each() {
    let (mut scene, here) = blocked().await;
    assert!(here.len() >= 2);
    scene.order.force = Some(by_anna(&here[..1], None));
    let ended = scene.drain_within(MINUTE).await;
    let Ended::Stopped { left, waits, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((left.len(), deletes(&scene)), (here.len() - 1, 1));
    assert!(left.iter().all(|left| left.uid != here[0] && left.stage == Stage::Waits), "{left:?}");
    assert!(waits.unwrap().because.contains("shop/cart"));

    scene.order.force = Some(by_anna(&here, None));
    let evidence = evidence(scene.drain().await);
    assert_eq!((evidence.forced.len(), deletes(&scene)), (here.len() - 1, here.len()));
    for said in &evidence.forced {
        assert!(said.contains("by the word of anna") && said.contains("PodDisruptionBudget cart"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_budget_lets_go_by_then_is_evicted_and_not_deleted() {
    let scene = Scene::with_shop(6).await.allowing_nowhere_else();
    scene.budget(json!({"maxUnavailable": 2})).await;
    let mut scene = scene;
    scene.order.force = Some(by_anna(&uids(&scene), None));
    let evidence = evidence(scene.drain().await);
    assert_eq!((evidence.forced.len(), deletes(&scene)), (0, 0));
    assert!(evidence.notes.iter().any(|note| note.contains("past the PodDisruptionBudget shop/cart")));
}

#[tokio::test(start_paused = true)]
async fn the_plans_word_takes_whoever_is_left_past_its_budget_and_keeps_every_other_word() {
    let (mut scene, here) = blocked().await;
    scene.order.force = Some(Force { by: "the plan".to_owned(), only: None, grace_s: None });
    let evidence = evidence(scene.drain().await);
    assert_eq!((evidence.forced.len(), deletes(&scene)), (here.len(), here.len()));

    // A bare pod is refused by its own word still.
    let mut other = Scene::new();
    other.cluster.put(Resource::Pods, make::pod("shop", "bare", "k-1"));
    other.order.force = Some(Force { by: "the plan".to_owned(), only: None, grace_s: None });
    assert!(refused(&other.drain().await).contains("shop/bare belongs to no controller"));
    // By its name it goes.
    other.order.force = Some(by_anna(&uids(&other), None));
    assert!(is_drained(&other.drain().await));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_is_hastened_only_where_a_grace_period_is_said() {
    let mut scene = Scene::new();
    let mut pod = make::pod("shop", "slow", "k-1");
    pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T03:00:00Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(3600);
    // Its kubelet is dead: nothing ends it.
    pod["metadata"]["finalizers"] = json!(["drydock.test/held"]);
    scene.cluster.put(Resource::Pods, pod);
    let here = uids(&scene);
    scene.order.force = Some(by_anna(&here, None));
    let ended = scene.drain_within(Duration::from_secs(10)).await;
    assert!(matches!(&ended, Ended::Stopped { left, .. } if left[0].stage == Stage::Ends), "{ended:?}");
    assert_eq!(deletes(&scene), 0);

    scene.order.force = Some(by_anna(&here, Some(0)));
    let evidence = evidence(scene.drain().await);
    assert_eq!(deletes(&scene), 1);
    assert!(evidence.forced[0].contains("to end sooner"), "{:?}", evidence.forced);
}

#[tokio::test(start_paused = true)]
async fn another_pod_of_the_same_name_is_never_deleted() {
    let (mut scene, here) = blocked().await;
    scene.order.force = Some(by_anna(&["of-another-pod".to_owned()], None));
    let ended = scene.drain_within(MINUTE).await;
    assert!(matches!(&ended, Ended::Stopped { left, .. } if left.len() == here.len()), "{ended:?}");
    assert_eq!(deletes(&scene), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_delete_is_named() {
    let (mut scene, here) = blocked().await;
    scene.cluster.forbid("delete", "pods");
    scene.order.force = Some(by_anna(&here, None));
    let ended = scene.drain().await;
    assert!(refused(&ended).contains("delete pods"), "{ended:?}");
    assert_eq!(scene.pods_here(), here.len());
}

/// Every eviction is answered so.
fn guard(scene: &Scene, status: u16, reason: &str, message: &str) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": message,
    });
    let answer = Answer {
        status,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
    };
    scene.cluster.fault(1000, |request| request.path.ends_with("/eviction"), Fault::Answer(answer));
}

#[tokio::test(start_paused = true)]
async fn a_webhooks_no_is_passed_over_for_a_pod_that_somebody_named_and_not_by_the_plans_word() {
    let denied = "admission webhook \"guard.example.com\" denied the request: backups are running";
    let down = "Internal error occurred: failed calling webhook \"guard.example.com\": failed to call webhook: Post \
                \"https://guard.shop.svc:443/?timeout=5s\": dial tcp 10.0.0.1:443: connect: connection refused";
    for (status, reason, message) in [(403, "Forbidden", denied), (500, "InternalError", down)] {
        let mut scene = Scene::with_shop(6).await.allowing_nowhere_else();
        let here = uids(&scene);
        guard(&scene, status, reason, message);
        scene.order.force = Some(Force { by: "the plan".to_owned(), only: None, grace_s: None });
        let because = match scene.drain_within(MINUTE).await {
            Ended::Refused { why, .. } => why,
            Ended::Stopped { waits, .. } => waits.unwrap().because,
            Ended::Drained(evidence) => panic!("{evidence:?}"),
        };
        assert!(because.contains("guard.example.com"), "{because}");
        assert_eq!((scene.pods_here(), deletes(&scene)), (here.len(), 0));

        scene.order.force = Some(by_anna(&here, None));
        let evidence = evidence(scene.drain().await);
        assert_eq!((evidence.forced.len(), deletes(&scene)), (here.len(), here.len()));
        assert!(evidence.forced[0].contains("guard.example.com"), "{:?}", evidence.forced);
    }
}

#[tokio::test(start_paused = true)]
async fn the_grace_period_that_was_said_is_asked_for_of_a_pod_that_is_evicted_too() {
    for (grace_s, wanted) in [(Some(5), json!(5)), (None, Value::Null)] {
        let mut scene = Scene::with_shop(6).await.allowing_nowhere_else();
        let here = uids(&scene);
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let note = move |request: &crate::api::Request| {
            if request.path.ends_with("/eviction") {
                let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
                seen.lock().unwrap().push(body["deleteOptions"].clone());
            }
            false
        };
        scene.cluster.fault(1, note, Fault::Hang { takes_effect: false });
        scene.order.force = Some(by_anna(&here[..1], grace_s));
        assert!(is_drained(&scene.drain().await));
        let asked = asked.lock().unwrap();
        assert_eq!((asked.len(), deletes(&scene)), (here.len(), 0));
        for options in &*asked {
            let named = options["preconditions"]["uid"] == here[0].as_str();
            let wanted = if named { &wanted } else { &Value::Null };
            assert_eq!(&options["gracePeriodSeconds"], wanted, "{options}");
        }
    }
}
