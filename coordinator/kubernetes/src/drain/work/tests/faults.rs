use std::time::Duration;

use serde_json::json;

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::{
    api::{Answer, Method},
    drain::work::{Ended, Stage, Stop},
    fake::{Fault, Resource},
};

fn said(status: u16, body: &str) -> Fault {
    Fault::Answer(Answer {
        status,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
    })
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_gone_for_a_minute_in_mid_drain_is_waited_for_and_named() {
    let scene = Scene::with_shop(90).await.allowing_nowhere_else();
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(20)).await;
        cluster.down(true);
        cluster.pass(MINUTE).await;
        assert!(scene.because().contains("no endpoint of the cluster answers"), "{}", scene.because());
        cluster.down(false);
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert_eq!(scene.pods_here(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_never_comes_back_is_never_taken_for_an_empty_node() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.down(true);
    let ended = scene.drain().await;
    let Ended::Stopped { why: Stop::Deadline, waits: Some(waits), .. } = ended else { panic!("{ended:?}") };
    assert!(waits.because.contains("connection refused"), "{waits:?}");
    assert!(matches!(
        scene.still_drained().await,
        drydock_types::Verdict::Unknown(why) if why.contains("connection refused")
    ));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_pods_without_its_items_is_never_taken_for_an_empty_node() {
    let scene = Scene::with_shop(9).await;
    let lists = |request: &crate::api::Request| {
        request.method == Method::Get
            && request.path.split('?').next().is_some_and(|path| path.ends_with("/pods"))
    };
    let not_a_list = r#"{"kind":"PodList","metadata":{"resourceVersion":"7"}}"#;
    scene.cluster.fault(usize::MAX, lists, said(200, not_a_list));
    let ended = scene.drain().await;
    assert!(!is_drained(&ended), "{ended:?}");
    assert!(matches!(
        scene.still_drained().await,
        drydock_types::Verdict::Unknown(why) if why.contains("missing field `items`")
    ));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_hangs_and_took_effect_is_not_asked_again() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.fault(3, |request| request.path.ends_with("/eviction"), Fault::Hang { takes_effect: true });
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.evictions().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_hangs_and_did_not_take_effect_is_asked_again_after_reading() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.fault(
        3,
        |request| request.path.ends_with("/eviction"),
        Fault::Hang { takes_effect: false },
    );
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.evictions().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_fails_for_ever_never_counts_as_done() {
    for body in [
        r#"{"kind":"Status","status":"Failure","message":"etcdserver: request timed out","code":500}"#,
        r#"{"kind":"Status","status":"Failure","message":"apiserver is shutting down","reason":"ServiceUnavailable","code":503}"#,
    ] {
        let scene = Scene::with_shop(9).await;
        let status = if body.contains("503") { 503 } else { 500 };
        scene.cluster.fault(100_000, |request| request.path.ends_with("/eviction"), said(status, body));
        let ended = scene.drain().await;
        let Ended::Stopped { why: Stop::Deadline, left, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(left.len(), 3);
        assert!(
            scene.cluster.evictions().len() < 1000,
            "the pauses grow: {}",
            scene.cluster.evictions().len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_break_and_versions_that_are_forgotten_are_made_up_for_by_a_look() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        for _ in 0..5 {
            cluster.pass(Duration::from_millis(700)).await;
            cluster.forget();
        }
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert!(scene.cluster.asked().iter().any(|asked| asked.verb == "WATCH" && asked.status == 410));
    assert!(scene.cluster.least_slack("shop/cart").unwrap() >= 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgets_at_once_is_not_asked_without_a_breath() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"minAvailable": 9})).await;
    // Blocked, so that the drain only watches.
    let cluster = scene.cluster.clone();
    cluster.change(Resource::Budgets, "shop", "cart", |budget| budget["status"]["expectedPods"] = json!(10));
    cluster.controlled(false);
    let (ended, ()) = tokio::join!(scene.drain_within(MINUTE), async {
        for _ in 0..30_000 {
            cluster.pass(Duration::from_millis(2)).await;
            cluster.forget();
        }
    });
    assert!(matches!(ended, Ended::Stopped { why: Stop::Deadline, .. }), "{ended:?}");
    let asked = scene.cluster.asked().len();
    assert!(asked < 500, "{asked} requests in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_named_and_ends_the_drain_before_anything_is_touched() {
    for (verb, resource, word) in [
        ("patch", "nodes", "patch nodes"),
        ("list", "pods", "list pods"),
        ("list", "poddisruptionbudgets", "list poddisruptionbudgets.policy"),
        ("list", "nodes", "list nodes"),
        ("get", "nodes", "get nodes"),
    ] {
        let mut scene = Scene::with_shop(9).await;
        if verb == "get" {
            // Where every Node is listed, none is read alone before the cordon.
            scene = scene.allowing_nowhere_else();
        }
        scene.cluster.forbid(verb, resource);
        let before = scene.cluster.version();
        let ended = scene.drain().await;
        assert!(refused(&ended).contains(word), "{ended:?}");
        assert_eq!(scene.cluster.version(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_in_mid_drain_is_named_too() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.forbid("create", "pods/eviction");
    let ended = scene.drain().await;
    assert!(refused(&ended).contains("create pods/eviction in the namespace shop"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_starting_does_not_end_a_drain_by_its_forbidden() {
    let scene = Scene::with_shop(9).await;
    let forbidden = r#"{"kind":"Status","status":"Failure","message":"nodes \"k-1\" is forbidden: User \"system:serviceaccount:drydock:coordinator\" cannot get resource \"nodes\" in API group \"\" at the cluster scope","reason":"Forbidden","details":{"name":"k-1","kind":"nodes"},"code":403}"#;
    scene.cluster.fault(3, |request| request.path.ends_with("/nodes/k-1"), said(403, forbidden));
    let not_ready = Answer {
        status: 500,
        retry_after: None,
        content_type: "text/plain".to_owned(),
        body: b"[-]poststarthook/rbac/bootstrap-roles failed".to_vec(),
    };
    scene.cluster.fault(3, |request| request.path == "/readyz", Fault::Answer(not_ready));
    assert!(is_drained(&scene.drain().await));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_said_as_such() {
    let scene = Scene::with_shop(9).await;
    let unauthorized =
        r#"{"kind":"Status","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
    scene.cluster.fault(
        1000,
        |request| request.method == Method::Get && request.path != "/readyz",
        said(401, unauthorized),
    );
    let ended = scene.drain().await;
    assert!(refused(&ended).contains("expired"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_never_goes_is_named_and_the_drain_ends_at_its_deadline() {
    let scene = Scene::with_shop(9).await;
    let (name, _) = scene.cluster.pods_on("k-1").remove(0);
    scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
        pod["metadata"]["finalizers"] = json!(["example.com/keeps"]);
    });
    let ended = scene.drain().await;
    let Ended::Stopped { why: Stop::Deadline, left, waits: Some(waits) } = ended else { panic!("{ended:?}") };
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].stage, Stage::Ends);
    assert!(waits.because.contains("finalizer example.com/keeps keeps it"), "{waits:?}");
    assert!(waits.because.contains(&name), "{waits:?}");
    let asked = scene.cluster.evictions().iter().filter(|asked| asked.path.contains(&name)).count();
    assert_eq!(asked, 1, "who was told to end is not told again");
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_nothing_further_is_asked() {
    let scene = Scene::with_shop(90).await.allowing_nowhere_else();
    let cluster = scene.cluster.clone();
    let (ended, stopped) = tokio::join!(scene.drain(), async {
        // The first ten are on their way.
        while cluster.evictions().len() < 10 {
            cluster.pass(Duration::from_millis(1)).await;
        }
        scene.stop.cancel();
        tokio::time::Instant::now()
    });
    let Ended::Stopped { why: Stop::Told, left, .. } = ended else { panic!("{ended:?}") };
    assert!(stopped.elapsed() < Duration::from_millis(100));
    assert!(left.len() >= 20, "{}", left.len());
    let asked = scene.cluster.evictions().len();
    scene.cluster.pass(10 * MINUTE).await;
    assert_eq!(scene.cluster.evictions().len(), asked);
    assert!(scene.cluster.evictions().iter().all(|asked| asked.at <= stopped));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_told_to_stop_before_it_begins_asks_nothing() {
    let scene = Scene::with_shop(9).await;
    scene.stop.cancel();
    assert!(matches!(scene.drain().await, Ended::Stopped { why: Stop::Told, .. }));
    assert!(scene.cluster.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_after_the_deadline() {
    let scene = Scene::with_shop(90).await.allowing_nowhere_else();
    let begun = tokio::time::Instant::now();
    let within = Duration::from_millis(500);
    let ended = scene.drain_within(within).await;
    assert!(matches!(ended, Ended::Stopped { why: Stop::Deadline, .. }), "{ended:?}");
    scene.cluster.pass(10 * MINUTE).await;
    assert!(scene.cluster.evictions().iter().all(|asked| asked.at <= begun + within));
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_drain_its_cordon_can_be_taken_back() {
    for at_ms in [1, 3, 5, 7, 9, 11, 15, 30, 400, 1100, 5000] {
        let scene = Scene::with_shop(9).await;
        scene.drain_within(Duration::from_millis(at_ms)).await;
        scene.release().await;
        let node = scene.node();
        assert!(!node.spec.unschedulable && node.metadata.annotations.is_empty(), "after {at_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_was_interrupted_goes_on_where_it_was() {
    let scene = Scene::with_shop(9).await;
    scene.drain_within(Duration::from_millis(400)).await;
    let evictions = scene.cluster.evictions().len();
    assert_eq!(evictions, 3);
    // Another coordinator takes over.
    let mut order = scene.order.clone();
    order.marker.epoch = drydock_types::Epoch(4);
    let scene = Scene { order, ..scene };
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.evictions().len(), evictions);
}
