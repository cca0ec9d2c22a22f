//! What `waitForReplacements` waits for of StatefulSets: behind a pod that waits for this node one makes no other.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    replacements::{VOLUME, found_no_place, others_take_pods, scene, waited},
    scene::{MINUTE, Scene, is_drained},
};
use crate::{
    api::Request,
    drain::Word,
    fake::{Fault, Resource, make},
};

const PATH: &str = "/apis/apps/v1/namespaces/shop/statefulsets";

fn of_set(name: &str, node: &str) -> Value {
    let mut pod = make::pod("shop", name, node);
    pod["metadata"]["ownerReferences"] = json!([make::owner("StatefulSet", "db", "uid-db")]);
    if node.is_empty() {
        pod["status"] = json!({"phase": "Pending"});
    }
    pod
}

/// Three pods of a StatefulSet were evicted, and of its replacements these are there, with no place for any of them.
async fn evicted(policy: &str, made: &[&str]) -> Scene {
    let scene = scene().await;
    scene.cluster.put(Resource::StatefulSets, make::stateful_set("shop", "db", "uid-db", policy));
    for name in ["db-0", "db-1", "db-2"] {
        scene.cluster.put(Resource::Pods, of_set(name, "k-1"));
    }
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("the StatefulSet shop/db has 0 of 3 pods ready"), "{waits:?}");
    assert_eq!(asked(&scene), 0, "there is nothing to wait behind");
    others_take_pods(&scene.cluster, false);
    for name in made {
        scene.cluster.put(Resource::Pods, of_set(name, ""));
    }
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("shop/db"), "they may find a place yet: {waits:?}");
    found_no_place(&scene.cluster, VOLUME);
    scene
}

/// How often the StatefulSets were asked for.
fn asked(scene: &Scene) -> usize {
    scene.cluster.asked().iter().filter(|asked| asked.path.starts_with(PATH)).count()
}

/// The StatefulSet is waited for: what is said of it.
async fn waits(scene: &Scene) -> String {
    let because = waited(scene.drain_within(MINUTE).await).because;
    assert!(because.contains("the StatefulSet shop/db has "), "{because}");
    because
}

#[tokio::test(start_paused = true)]
async fn behind_a_pod_that_may_wait_no_other_one_of_a_set_in_order_is_waited_for() {
    let scene = evicted("OrderedReady", &["db-0"]).await;
    assert!(is_drained(&scene.drain_within(MINUTE).await));
    assert_eq!(asked(&scene), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_makes_all_its_pods_at_once_is_waited_for_until_it_has() {
    for policy in ["Parallel", "", "AnotherOneOfALaterServer"] {
        let scene = evicted(policy, &["db-0"]).await;
        let because = waits(&scene).await;
        assert!(because.contains("has 1 of 3 pods ready"), "{policy}: {because}");
        assert_eq!(asked(&scene), 1, "once in an order");
    }
    // All of them are made, and wait.
    let scene = evicted("Parallel", &["db-0", "db-1", "db-2"]).await;
    assert!(is_drained(&scene.drain_within(MINUTE).await));
}

#[tokio::test(start_paused = true)]
async fn what_a_set_makes_ahead_of_the_one_that_waits_is_waited_for() {
    let scene = evicted("OrderedReady", &["db-2"]).await;
    waits(&scene).await;
    // But where its numbers begin there.
    scene
        .cluster
        .change(Resource::StatefulSets, "shop", "db", |set| set["spec"]["ordinals"] = json!({"start": 2}));
    assert!(is_drained(&scene.drain_within(MINUTE).await));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_another_one_by_now_exempts_nothing() {
    let scene = evicted("OrderedReady", &["db-0"]).await;
    scene.cluster.remove(Resource::StatefulSets, "shop", "db");
    scene.cluster.put(Resource::StatefulSets, make::stateful_set("shop", "db", "uid-new", "OrderedReady"));
    waits(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn sets_that_cannot_be_seen_are_waited_for_and_the_reason_is_said() {
    let scene = evicted("OrderedReady", &["db-0"]).await;
    scene.cluster.forbid("list", "statefulsets");
    let because = waits(&scene).await;
    assert!(because.contains("must not: list statefulsets.apps"), "{because}");
    // With the right the next order sees it.
    scene.cluster.allow_all();
    assert!(is_drained(&scene.drain_within(MINUTE).await));
}

#[tokio::test(start_paused = true)]
async fn sets_that_are_not_told_of_for_a_moment_are_asked_for_again() {
    let scene = evicted("OrderedReady", &["db-0"]).await;
    let asks = |request: &Request| request.path.starts_with(PATH);
    scene.cluster.fault(2, asks, Fault::Hang { takes_effect: false });
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain_within(2 * MINUTE), async {
        cluster.pass(Duration::from_secs(20)).await;
        assert!(scene.because().contains("no answer within"), "{}", scene.because());
    });
    assert!(is_drained(&ended), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_may_wait_nobody_asks_for_sets() {
    let mut scene = evicted("OrderedReady", &["db-0"]).await;
    (scene.order.words.nowhere_else, scene.order.words.local_volumes) = (Word::Refuse, Word::Refuse);
    waits(&scene).await;
    assert_eq!(asked(&scene), 0);
}
