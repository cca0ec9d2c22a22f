use std::time::Duration;

use serde_json::json;

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::{
    drain::work::{Ended, Stage, Stop},
    fake::{Fault, Resource, Workload, make},
};

#[tokio::test(start_paused = true)]
async fn pods_under_a_budget_go_one_after_another_as_replacements_get_ready() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    assert_eq!(scene.pods_here(), 3);
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.least_slack("shop/cart"), Some(0), "the budget was used and never violated");
    // No eviction was asked for that the budget's own status said no to.
    let evictions = scene.cluster.evictions();
    assert_eq!(evictions.iter().map(|asked| asked.status).collect::<Vec<_>>(), [201, 201, 201]);
}

#[tokio::test(start_paused = true)]
async fn no_budget_is_violated_where_two_nodes_are_drained_at_once() {
    let scene = Scene::with_shop(12).await;
    scene.budget(json!({"minAvailable": 10})).await;
    let mut other = scene.order.clone();
    other.node = "k-2".to_owned();
    let uid = scene.cluster.object(Resource::Nodes, "", "k-2").unwrap()["metadata"]["uid"].clone();
    other.uid = uid.as_str().unwrap().to_owned();
    let second = Scene { order: other, cluster: scene.cluster.clone(), ..Scene::new() };
    let (one, two) = tokio::join!(scene.drain(), second.drain());
    assert!(is_drained(&one) && is_drained(&two), "{one:?} {two:?}");
    assert!(scene.cluster.least_slack("shop/cart").unwrap() >= 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_can_never_be_satisfied_is_found_before_anything_is_touched() {
    for rule in [json!({"minAvailable": 9}), json!({"maxUnavailable": 0}), json!({"minAvailable": "100%"})] {
        let scene = Scene::with_shop(9).await;
        scene.budget(rule).await;
        let before = scene.cluster.version();
        let ended = scene.drain().await;
        let why = refused(&ended);
        assert!(why.contains("the PodDisruptionBudget shop/cart allows 0 disruptions with 9 of 9"), "{why}");
        assert_eq!(scene.cluster.version(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn two_budgets_over_one_pod_are_found_before_anything_is_touched() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    // An empty selector is over every pod of the namespace.
    let mut all = make::budget("shop", "all", "cart", &json!({"maxUnavailable": 1}));
    all["spec"]["selector"] = json!({});
    scene.cluster.put(Resource::Budgets, all);
    scene.cluster.pass(MINUTE).await;
    let before = scene.cluster.version();
    let ended = scene.drain().await;
    assert!(refused(&ended).contains("all and cart both select the pod shop/cart-"), "{ended:?}");
    assert_eq!(scene.cluster.version(), before);
}

/// One pod elsewhere is not ready: the budget allows nothing until it is.
async fn blocked() -> Scene {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"minAvailable": 8})).await;
    let (name, _) = scene.cluster.pods_on("k-2").into_iter().next().unwrap();
    scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
        pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
    });
    scene.cluster.pass(Duration::from_secs(1)).await;
    scene
}

#[tokio::test(start_paused = true)]
async fn a_blocked_drain_names_its_budget_and_does_not_ask_again_and_again() {
    let scene = blocked().await;
    let ended = scene.drain().await;
    let Ended::Stopped { why: Stop::Deadline, left, waits: Some(waits) } = ended else { panic!("{ended:?}") };
    assert_eq!(left.len(), 3);
    assert!(
        left.iter().all(|left| left.stage == Stage::Waits && left.because.contains("shop/cart")),
        "{left:?}"
    );
    assert!(waits.because.contains("PodDisruptionBudget shop/cart allows 0 more now (8 of 9"), "{waits:?}");
    assert!(waits.what.contains("3 pods are still to leave the Node k-1"), "{waits:?}");
    assert!(waits.since.elapsed() >= 9 * MINUTE, "since when is kept: {:?}", waits.since.elapsed());
    assert_eq!(scene.cluster.evictions().len(), 0, "its budget is watched, not asked");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_drain_goes_on_when_the_budget_is_repaired() {
    let scene = blocked().await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(3 * MINUTE).await;
        assert!(scene.because().contains("shop/cart"), "{}", scene.because());
        cluster.change(Resource::Budgets, "shop", "cart", |budget| budget["spec"]["minAvailable"] = json!(6));
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert!(scene.cluster.least_slack("shop/cart").unwrap() >= 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_somebody_else_used_up_meanwhile_is_waited_for_by_its_watch() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    let (elsewhere, _) = scene.cluster.pods_on("k-2").into_iter().next().unwrap();
    let took = move |cluster: &crate::fake::Cluster| {
        cluster.change(Resource::Budgets, "shop", "cart", |budget| {
            budget["status"]["disruptionsAllowed"] = json!(0);
        });
        cluster.remove(Resource::Pods, "shop", &elsewhere);
    };
    scene.cluster.fault(1, |request| request.path.ends_with("/eviction"), Fault::Before(Box::new(took)));
    assert!(is_drained(&scene.drain().await));
    let evictions = scene.cluster.evictions();
    assert_eq!(evictions.iter().filter(|asked| asked.status == 429).count(), 1, "{evictions:?}");
    assert!(scene.cluster.least_slack("shop/cart").unwrap() >= -1);
}

#[tokio::test(start_paused = true)]
async fn eighteen_seconds_without_a_leading_controller_manager_are_waited_for() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    scene.cluster.controlled(false);
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_secs(18)).await;
        cluster.controlled(true);
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert!(scene.cluster.evictions().len() <= 5, "{:?}", scene.cluster.evictions());
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_was_changed_while_nobody_counts_is_not_said_to_allow_what_it_did_before() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    scene.cluster.controlled(false);
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_secs(5)).await;
        assert!(scene.because().contains("shop/cart allows 0 more now"), "{}", scene.because());
        cluster.change(Resource::Budgets, "shop", "cart", |budget| {
            budget["spec"] = json!({"minAvailable": 8, "selector": {"matchLabels": {"app": "cart"}}});
        });
        cluster.pass(Duration::from_secs(5)).await;
        assert!(
            scene.because().contains("has not yet looked at the PodDisruptionBudget shop/cart"),
            "{}",
            scene.because()
        );
        cluster.controlled(true);
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert!(scene.cluster.least_slack("shop/cart").unwrap() >= 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_nobody_counted_yet_is_waited_for() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.controlled(false);
    scene.cluster.put(Resource::Budgets, make::budget("shop", "cart", "cart", &json!({"maxUnavailable": 2})));
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_secs(40)).await;
        assert!(scene.because().contains("shop/cart"), "{}", scene.because());
        cluster.controlled(true);
    });
    assert!(is_drained(&ended), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_uid_conflict_takes_from_the_budget_once_and_is_not_asked_again_while_it_does() {
    let scene = Scene::new();
    scene.cluster.workload(Workload::stateful_set("shop", "cart", 3));
    scene.cluster.pass(Duration::from_secs(10)).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    let name = scene.cluster.pods_on("k-1").remove(0).0;
    let same = name.clone();
    // Between our reading and our eviction somebody deletes the pod, and it is made anew on the same node.
    let anew = move |cluster: &crate::fake::Cluster| {
        let mut pod = cluster.object(Resource::Pods, "shop", &same).unwrap();
        cluster.remove(Resource::Pods, "shop", &same);
        pod["metadata"]["uid"] = json!("another");
        cluster.put(Resource::Pods, pod);
    };
    scene.cluster.fault(1, |request| request.path.ends_with("/eviction"), Fault::Before(Box::new(anew)));
    let ended = scene.drain().await;
    assert!(is_drained(&ended), "{ended:?}");
    let evictions = scene.cluster.evictions();
    let statuses: Vec<u16> = evictions.iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [409, 201], "{name}");
    let between = evictions[1].at.duration_since(evictions[0].at);
    assert!(between >= Duration::from_secs(121), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_eviction_is_not_taken_for_a_budget() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 3})).await;
    let throttled = crate::api::Answer {
        status: 429,
        retry_after: Some(Duration::from_secs(1)),
        content_type: "text/plain".to_owned(),
        body: b"Too many requests, please try again later.\n".to_vec(),
    };
    scene.cluster.fault(7, |request| request.path.ends_with("/eviction"), Fault::Answer(throttled));
    let mut told = scene.tell.subscribe();
    let ended = scene.drain().await;
    assert!(is_drained(&ended), "{ended:?}");
    assert!(told.borrow_and_update().left.is_empty());
    let evictions = scene.cluster.evictions();
    let throttled: Vec<_> = evictions.iter().filter(|asked| asked.status == 429).collect();
    assert_eq!(throttled.len(), 7);
    // Three at once, then nothing for a second.
    let rounds: std::collections::BTreeSet<_> = throttled.iter().map(|asked| asked.at).collect();
    let rounds: Vec<_> = rounds.into_iter().collect();
    assert!(
        rounds.windows(2).all(|two| two[1].duration_since(two[0]) >= Duration::from_secs(1)),
        "{rounds:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttled_pod_is_given_its_own_time_though_another_one_is_taken_meanwhile() {
    let scene = Scene::with_shop(9).await;
    let throttled = crate::api::Answer {
        status: 429,
        retry_after: Some(Duration::from_secs(1)),
        content_type: "text/plain".to_owned(),
        body: b"Too many requests, please try again later.\n".to_vec(),
    };
    scene.cluster.fault(1, |request| request.path.ends_with("/eviction"), Fault::Answer(throttled));
    assert!(is_drained(&scene.drain().await));
    let evictions = scene.cluster.evictions();
    assert_eq!(evictions.len(), 4, "{evictions:?}");
    let refused = evictions.iter().find(|asked| asked.status == 429).unwrap();
    let again = evictions.iter().find(|asked| asked.path == refused.path && asked.status == 201).unwrap();
    assert!(again.at.duration_since(refused.at) >= Duration::from_secs(1), "{evictions:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unready_pod_goes_as_its_budget_says() {
    for (policy, rule, goes) in [
        // Enough are healthy without it.
        (None, json!({"minAvailable": 2}), true),
        // Not enough are.
        (None, json!({"minAvailable": 3}), false),
        (Some("IfHealthyBudget"), json!({"minAvailable": 3}), false),
        (Some("AlwaysAllow"), json!({"minAvailable": 3}), true),
    ] {
        let scene = Scene::with_shop(3).await;
        let (name, _) = scene.cluster.pods_on("k-1").remove(0);
        scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
        });
        let mut rule = rule;
        rule["unhealthyPodEvictionPolicy"] = json!(policy);
        scene.budget(rule.clone()).await;
        let ended = scene.drain_within(MINUTE).await;
        assert_eq!(is_drained(&ended), goes, "{policy:?} {rule}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_its_start_goes_whatever_its_budget_says() {
    let scene = Scene::with_shop(3).await;
    let (name, _) = scene.cluster.pods_on("k-1").remove(0);
    scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
        pod["status"] = json!({"phase": "Pending"});
        pod["metadata"]["annotations"]["fake/never-ready"] = json!("");
    });
    scene.budget(json!({"minAvailable": 3})).await;
    assert!(is_drained(&scene.drain_within(MINUTE).await));
}
