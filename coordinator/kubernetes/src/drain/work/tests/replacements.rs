//! What `waitForReplacements` waits for, over all orders of a run.

use std::{collections::BTreeMap, time::Duration};

use drydock_types::{Epoch, RunId};
use serde_json::{Value, json};

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::{
    api::{Answer, Method},
    drain::{
        Force,
        cordon::Released,
        work::{Ended, Waits},
    },
    fake::{Cluster, Fault, Resource, make},
    mark::{
        self,
        before::{self, Before, Controller},
    },
    objects::Pod,
};

/// Nine pods on three nodes, three on each, and an order that waits for replacements.
pub(super) async fn scene() -> Scene {
    let mut scene = Scene::with_shop(9).await.allowing_nowhere_else();
    scene.order.words.wait_for_replacements = true;
    scene
}

/// The other nodes take pods, or take none: then what replaces an evicted one stays without a node.
pub(super) fn others_take_pods(cluster: &Cluster, take: bool) {
    for name in ["k-2", "k-3"] {
        cluster.change(Resource::Nodes, "", name, |node| node["spec"]["unschedulable"] = json!(!take));
    }
}

fn ready_on(cluster: &Cluster, nodes: &[&str]) -> usize {
    let pods = nodes.iter().flat_map(|node| cluster.pods_on(node));
    let pods = pods.filter_map(|(name, _)| cluster.object(Resource::Pods, "shop", &name));
    pods.filter_map(|pod| serde_json::from_value::<Pod>(pod).ok()).filter(Pod::is_ready).count()
}

/// The annotation, as it stands.
fn stands(scene: &Scene) -> Option<String> {
    scene.node().metadata.annotations.get(before::KEY).cloned()
}

/// By the controllers' names, how many were ready.
fn remembered(scene: &Scene) -> BTreeMap<String, u64> {
    let before: Value = serde_json::from_str(&stands(scene).unwrap()).unwrap();
    let ready = before["ready"].as_object().unwrap().values();
    ready.map(|one| (one["name"].as_str().unwrap().to_owned(), one["ready"].as_u64().unwrap())).collect()
}

fn is_patch(request: &crate::api::Request) -> bool {
    request.method == Method::MergePatch
}

/// What it waited for when its time was over.
pub(super) fn waited(ended: Ended) -> Waits {
    match ended {
        Ended::Stopped { waits: Some(waits), .. } => waits,
        other => panic!("it did not wait: {other:?}"),
    }
}

/// A pod on `k-1` of a controller that the cluster knows nothing else of, ready.
fn lands(cluster: &Cluster, controller: &str) {
    let mut pod = make::pod("shop", &format!("{controller}-1"), "k-1");
    pod["metadata"]["ownerReferences"] =
        json!([make::owner("StatefulSet", controller, &format!("uid-{controller}"))]);
    cluster.put(Resource::Pods, pod);
}

#[tokio::test(start_paused = true)]
async fn with_wait_for_replacements_the_node_counts_when_as_many_are_ready_elsewhere() {
    let scene = scene().await;
    assert!(is_drained(&scene.drain().await));
    assert_eq!(ready_on(&scene.cluster, &["k-2", "k-3"]), 9);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_never_gets_ready_is_named_until_the_deadline() {
    let scene = scene().await;
    others_take_pods(&scene.cluster, false);
    let waits = waited(scene.drain().await);
    assert!(waits.because.contains("ReplicaSet shop/cart has 6 of 9 pods ready"), "{waits:?}");
}

pub(super) const ROOM: &str = "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.";
pub(super) const VOLUME: &str = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match PersistentVolume's node affinity.";

/// What the scheduler says of pods that it has no node for.
pub(super) fn found_no_place(cluster: &Cluster, why: &str) {
    for (name, _) in cluster.all(Resource::Pods) {
        let pod = cluster.object(Resource::Pods, "shop", &name).unwrap();
        if !pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
            continue;
        }
        cluster.change(Resource::Pods, "shop", &name, |pod| {
            pod["status"]["conditions"] =
                json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_else_and_may_wait_by_the_plans_word_is_not_waited_for() {
    use crate::drain::Word::{Allow, Refuse};
    let words = [
        ((Allow, Refuse), ROOM, true),
        ((Refuse, Allow), VOLUME, true),
        // It is another want, which nobody has allowed.
        ((Refuse, Allow), ROOM, false),
        ((Refuse, Refuse), VOLUME, false),
    ];
    for ((nowhere_else, local_volumes), why, ends) in words {
        let mut scene = scene().await;
        others_take_pods(&scene.cluster, false);
        waited(scene.drain_within(MINUTE).await);
        found_no_place(&scene.cluster, why);
        (scene.order.words.nowhere_else, scene.order.words.local_volumes) = (nowhere_else, local_volumes);
        let ended = scene.drain_within(MINUTE).await;
        assert_eq!(is_drained(&ended), ends, "{nowhere_else:?} {local_volumes:?} {why}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_scheduler_makes_room_for_is_waited_for_though_it_might_wait() {
    let scene = scene().await;
    others_take_pods(&scene.cluster, false);
    waited(scene.drain_within(MINUTE).await);
    found_no_place(&scene.cluster, ROOM);
    for (name, _) in scene.cluster.all(Resource::Pods) {
        scene.cluster.change(Resource::Pods, "shop", &name, |pod| {
            if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
                pod["status"]["nominatedNodeName"] = json!("k-2");
            }
        });
    }
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("6 of 9 pods ready"), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_job_was_at_is_not_waited_for() {
    let scene = scene().await;
    let mut pod = make::pod("shop", "nightly-1", "k-1");
    pod["metadata"]["ownerReferences"] = json!([make::owner("Job", "nightly", "uid-nightly")]);
    scene.cluster.put(Resource::Pods, pod);
    assert!(matches!(scene.drain_within(Duration::from_millis(400)).await, Ended::Stopped { .. }));
    assert!(!remembered(&scene).contains_key("nightly"));
    assert!(is_drained(&scene.drain().await));
}

#[tokio::test(start_paused = true)]
async fn every_later_order_waits_for_what_an_earlier_one_had_evicted() {
    type Changes = fn(&mut Scene);
    let later: [(&str, Changes); 4] = [
        ("paused and resumed", |_| {}),
        ("a coordinator that was started anew", |scene| scene.order.marker.epoch = Epoch(4)),
        ("resumed by a person after it was held", |scene| scene.order.again = true),
        ("run force", |scene| {
            scene.order.force = Some(Force { by: "anna".to_owned(), only: None, grace_s: None });
        }),
    ];
    for (what, changes) in later {
        let mut scene = scene().await;
        others_take_pods(&scene.cluster, false);
        // All three were asked, and none of them is gone yet.
        let ended = scene.drain_within(Duration::from_millis(400)).await;
        assert!(matches!(ended, Ended::Stopped { .. }), "{ended:?}");
        let written = stands(&scene).unwrap();
        scene.cluster.pass(MINUTE).await;
        assert_eq!((scene.pods_here(), ready_on(&scene.cluster, &["k-2", "k-3"])), (0, 6));

        changes(&mut scene);
        let waits = waited(scene.drain_within(MINUTE).await);
        assert!(waits.because.contains("ReplicaSet shop/cart has 6 of 9 pods ready"), "{what}: {waits:?}");
        assert_eq!(stands(&scene).unwrap(), written, "{what}");
        assert!(is_drained(&{
            others_take_pods(&scene.cluster, true);
            scene.drain().await
        }));
        assert_eq!(ready_on(&scene.cluster, &["k-2", "k-3"]), 9, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_a_node_evicted_and_the_other_half_by_a_later_order_are_waited_for_together() {
    let scene = scene().await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    others_take_pods(&scene.cluster, false);
    // One goes, and the budget keeps the others.
    waited(scene.drain_within(MINUTE).await);
    assert_eq!((scene.pods_here(), ready_on(&scene.cluster, &["k-2", "k-3"])), (2, 6));
    scene.cluster.remove(Resource::Budgets, "shop", "cart");
    let waits = waited(scene.drain_within(MINUTE).await);
    assert_eq!(scene.pods_here(), 0);
    assert!(waits.because.contains("has 6 of 9 pods ready"), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_ready_stands_there_by_the_very_change_that_cordons_and_goes_with_the_mark() {
    for unanswered in [false, true] {
        let scene = scene().await;
        if unanswered {
            scene.cluster.fault(1, is_patch, Fault::Hang { takes_effect: true });
        }
        let mut changes = Vec::new();
        let before = scene.cluster.version();
        assert!(is_drained(&scene.drain().await));
        scene.cluster.each_change(before, |resource, _, object| {
            changes.push((
                resource,
                object["spec"]["unschedulable"] == true,
                object["metadata"]["annotations"].clone(),
            ));
        });
        let (resource, cordoned, annotations) = changes.remove(0);
        assert_eq!((resource, cordoned), (Resource::Nodes, true));
        assert!(annotations[mark::KEY].is_string() && annotations[before::KEY].is_string(), "{annotations}");
        assert!(changes.iter().all(|(resource, ..)| *resource == Resource::Pods), "once: {changes:?}");
        assert_eq!(remembered(&scene), BTreeMap::from([("cart".to_owned(), 9)]));
        let undo = scene.node().metadata.annotations[mark::KEY].clone();
        assert!(undo.contains("kubectl annotate node k-1 drydock/mark- drydock/replacements-"), "{undo}");
        assert_eq!(scene.release().await, Released::Uncordoned);
        assert!(scene.node().metadata.annotations.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_waits_nothing_is_remembered() {
    let mut scene = scene().await;
    scene.order.words.wait_for_replacements = false;
    assert!(is_drained(&scene.drain().await));
    assert_eq!(stands(&scene), None);
    assert!(!scene.node().metadata.annotations[mark::KEY].contains(before::KEY));
}

#[tokio::test(start_paused = true)]
async fn what_lands_since_is_added_before_it_is_asked_and_what_stands_is_left() {
    let mut scene = scene().await;
    assert!(is_drained(&scene.drain().await));
    let marked = scene.node().metadata.annotations[mark::KEY].clone();
    // Of a coordinator that was started anew, twice: the mark's own words are the first one's still.
    for (name, epoch) in [("late", 4), ("later", 5)] {
        scene.order.marker.epoch = Epoch(epoch);
        lands(&scene.cluster, name);
        scene.cluster.pass(Duration::from_secs(1)).await;
        let waits = waited(scene.drain_within(MINUTE).await);
        assert_eq!(scene.pods_here(), 0);
        assert!(waits.because.contains("StatefulSet shop/late has 0 of 1 pods ready"), "{waits:?}");
        assert!(waits.because.contains("`kubectl annotate node k-1 drydock/replacements-`"), "{waits:?}");
        assert_eq!(remembered(&scene)["cart"], 9);
        assert_eq!(remembered(&scene)[name], 1);
        assert_eq!(scene.node().metadata.annotations[mark::KEY], marked, "and its word on what was before");
    }
    assert_eq!(scene.release().await, Released::Uncordoned);
}

#[tokio::test(start_paused = true)]
async fn who_lands_between_the_look_and_the_cordon_is_remembered_before_it_is_asked() {
    let scene = scene().await;
    let landing = |cluster: &Cluster| lands(cluster, "late");
    scene.cluster.fault(1, is_patch, Fault::Before(Box::new(landing)));
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("StatefulSet shop/late has 0 of 1 pods ready"), "{waits:?}");
    let asked = scene.cluster.asked();
    let at = |verb: &str, what: &str| {
        asked.iter().rposition(|asked| asked.verb == verb && asked.path.contains(what))
    };
    assert!(at("PATCH", "k-1").unwrap() < at("POST", "late-1").unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_earlier_coordinators_patch_that_lands_late_is_what_counts() {
    let scene = scene().await;
    let marker = scene.order.marker.clone();
    let lands_late = move |cluster: &Cluster| {
        let mut before = Before::nothing(marker.run);
        let (namespace, kind, name) = ("shop".to_owned(), "ReplicaSet".to_owned(), "cart".to_owned());
        before.add("owner-shop-cart".to_owned(), Controller { namespace, kind, name, ready: 12 });
        let mark = marker.mark("k-1", false).with_before();
        cluster.change(Resource::Nodes, "", "k-1", |node| {
            node["spec"]["unschedulable"] = json!(true);
            node["metadata"]["annotations"] = json!({mark::KEY: mark.text(), before::KEY: before.text()});
        });
    };
    scene.cluster.fault(1, is_patch, Fault::Before(Box::new(lands_late)));
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("has 9 of 12 pods ready"), "{waits:?}");
    assert_eq!(remembered(&scene)["cart"], 12);
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_does_not_stand_is_waited_for_by_its_name_and_nobody_goes_before() {
    let scene = scene().await;
    let mut stripped = scene.cluster.object(Resource::Nodes, "", "k-1").unwrap();
    stripped["spec"]["unschedulable"] = json!(true);
    stripped["metadata"]["annotations"] = json!({mark::KEY: scene.order.marker.mark("k-1", false).text()});
    let body = stripped.to_string().into_bytes();
    let content_type = "application/json".to_owned();
    let answer = Answer { status: 200, retry_after: None, content_type, body };
    // As where an admission webhook takes it off again.
    scene.cluster.fault(6, is_patch, Fault::Answer(answer));
    let (ended, ()) = tokio::join!(scene.drain(), async {
        let mut told = scene.tell.subscribe();
        let told = told.wait_for(|progress| progress.waits.is_some()).await.unwrap();
        let waits = told.waits.clone().unwrap();
        assert_eq!(waits.what, "what was ready before to stand on the Node k-1");
        assert!(waits.because.contains("drydock/replacements"), "{waits:?}");
        assert_eq!(scene.cluster.evictions(), []);
    });
    assert!(is_drained(&ended), "{ended:?}");
    let told = scene.tell.borrow().waits.clone();
    assert!(told.is_none_or(|waits| !waits.what.contains("to stand on")), "what is over is not told on");
}

#[tokio::test(start_paused = true)]
async fn a_mark_of_ours_without_what_was_ready_holds_until_a_person_says_again() {
    for stands_there in [Value::Null, json!("nine"), json!("{}")] {
        let mut scene = scene().await;
        // As a coordinator left it that did not know of this, or as somebody has changed it.
        let mark = scene.order.marker.mark("k-1", false);
        scene.change_node(|node| {
            node["spec"]["unschedulable"] = json!(true);
            node["metadata"]["annotations"] = json!({mark::KEY: mark.text(), before::KEY: stands_there});
            if stands_there.is_null() {
                node["metadata"]["annotations"].as_object_mut().unwrap().remove(before::KEY);
            }
        });
        let version = scene.cluster.version();
        let ended = scene.drain().await;
        assert!(refused(&ended).contains("how many pods of each controller were ready"), "{ended:?}");
        let Ended::Refused { next, .. } = &ended else { panic!() };
        assert!(next.contains("`drydock run resume`"), "{next}");
        assert_eq!(scene.cluster.version(), version, "nobody was asked to go");

        scene.order.again = true;
        assert!(is_drained(&scene.drain().await));
        assert_eq!(remembered(&scene)["cart"], 9);
        assert_eq!(scene.release().await, Released::Uncordoned, "what was before is as the mark had it");
        assert!(scene.node().metadata.annotations.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_taken_off_is_counted_anew_by_their_word() {
    let mut scene = scene().await;
    others_take_pods(&scene.cluster, false);
    let waits = waited(scene.drain_within(MINUTE).await);
    assert!(waits.because.contains("6 of 9"), "{waits:?}");
    scene.change_node(|node| {
        drop(node["metadata"]["annotations"].as_object_mut().unwrap().remove(before::KEY))
    });
    refused(&scene.drain_within(MINUTE).await);
    scene.order.again = true;
    assert!(is_drained(&scene.drain_within(MINUTE).await));
}

#[tokio::test(start_paused = true)]
async fn what_another_run_has_left_is_not_waited_for_and_is_taken_off_with_ours() {
    let scene = scene().await;
    let mut left = Before::nothing(RunId([9; 16]));
    let (namespace, kind, name) = ("shop".to_owned(), "ReplicaSet".to_owned(), "cart".to_owned());
    left.add("owner-shop-cart".to_owned(), Controller { namespace, kind, name, ready: 50 });
    scene.change_node(|node| node["metadata"]["annotations"][before::KEY] = json!(left.text()));
    assert!(is_drained(&scene.drain().await));
    assert_eq!(remembered(&scene)["cart"], 9);
    assert_eq!(scene.release().await, Released::Uncordoned);
    assert!(scene.node().metadata.annotations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_controllers_than_an_annotation_holds_are_refused_before_anything_is_touched() {
    let scene = scene().await;
    for number in 0..500 {
        lands(&scene.cluster, &format!("{number}-{}", "n".repeat(240)));
    }
    let version = scene.cluster.version();
    let ended = scene.drain().await;
    assert!(refused(&ended).contains("of 501 controllers"), "{ended:?}");
    let Ended::Refused { next, .. } = &ended else { panic!() };
    assert!(next.contains("`waitForReplacements: false`"), "{next}");
    assert_eq!(scene.cluster.version(), version);
}

#[tokio::test(start_paused = true)]
async fn counting_costs_a_list_of_each_namespace_once_in_a_run_and_waiting_one_more() {
    let costs = async |waits: bool| {
        let mut scene = scene().await;
        scene.order.words.wait_for_replacements = waits;
        // Ready elsewhere by the time that the last has left: nothing is watched.
        scene.cluster.change(Resource::Pods, "shop", &scene.cluster.pods_on("k-1")[0].0, |pod| {
            pod["metadata"]["finalizers"] = json!(["example.com/keeps"]);
        });
        let cluster = scene.cluster.clone();
        let (ended, ()) = tokio::join!(scene.drain(), async {
            cluster.pass(MINUTE).await;
            let name = cluster.pods_on("k-1").remove(0).0;
            cluster.change(Resource::Pods, "shop", &name, |pod| pod["metadata"]["finalizers"] = json!([]));
        });
        assert!(is_drained(&ended), "{ended:?}");
        let first = scene.cluster.asked().len();
        assert!(is_drained(&scene.drain().await));
        (first, scene.cluster.asked().len() - first)
    };
    let (without, with) = (costs(false).await, costs(true).await);
    assert_eq!((with.0 - without.0, with.1 - without.1), (2, 1), "{without:?} {with:?}");
}
