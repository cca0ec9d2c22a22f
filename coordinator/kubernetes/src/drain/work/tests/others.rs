use std::time::Duration;

use drydock_types::Verdict;
use serde_json::json;

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::fake::{Cluster, Fault, Resource, Workload, make};

#[tokio::test(start_paused = true)]
async fn a_pod_is_gone_by_its_uid_not_by_its_name() {
    let scene = Scene::new();
    scene.cluster.workload(Workload::stateful_set("shop", "db", 3));
    scene.cluster.pass(MINUTE).await;
    assert_eq!(scene.pods_here(), 1);
    let (name, uid) = scene.cluster.pods_on("k-1").remove(0);
    assert!(is_drained(&scene.drain().await));
    scene.cluster.pass(MINUTE).await;
    let now = scene.cluster.object(Resource::Pods, "shop", &name).unwrap();
    assert_ne!(now["metadata"]["uid"], uid.as_str(), "it is back under its name");
    assert_ne!(now["spec"]["nodeName"], "k-1");
    assert_eq!(scene.cluster.evictions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_back_here_under_its_name_again_and_again_is_no_endless_drain() {
    let scene = Scene::new();
    // It names its node itself: no cordon keeps it off.
    let mut workload = Workload::stateful_set("shop", "db", 1);
    workload.pinned = Some("k-1".to_owned());
    scene.cluster.workload(workload);
    scene.cluster.pass(MINUTE).await;
    let ended = scene.drain().await;
    let why = refused(&ended);
    assert!(why.contains("shop/db-0 has come back to this node 3 times"), "{why}");
    assert_eq!(scene.cluster.evictions().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lands_late_is_seen_and_goes_too() {
    let scene = Scene::with_shop(9).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(500)).await;
        // The scheduler had decided before it heard of the cordon.
        let mut late = make::pod("shop", "late", "k-1");
        late["metadata"]["ownerReferences"] = json!([make::owner("ReplicaSet", "late", "owner-late")]);
        cluster.put(Resource::Pods, late);
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert_eq!(scene.pods_here(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lands_late_is_judged_by_the_plans_words_like_any_other() {
    let scene = Scene::with_shop(9).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(500)).await;
        cluster.put(Resource::Pods, make::pod("shop", "bare", "k-1"));
    });
    assert!(refused(&ended).contains("shop/bare belongs to no controller"), "{ended:?}");
    assert!(scene.cluster.evictions().iter().all(|asked| !asked.path.contains("bare")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lands_after_the_last_event_is_found_by_the_last_look() {
    let scene = Scene::new();
    // Between the cordon and the look at the end; the watch was never opened.
    let land = |cluster: &Cluster| {
        let mut late = make::pod("shop", "late", "k-1");
        late["metadata"]["ownerReferences"] = json!([make::owner("ReplicaSet", "late", "owner-late")]);
        cluster.put(Resource::Pods, late);
    };
    scene.cluster.fault(1, |request| request.method.changes(), Fault::Before(Box::new(land)));
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.evictions().len(), 1);
    assert_eq!(scene.pods_here(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_uncordons_in_mid_drain_ends_it() {
    let scene = Scene::with_shop(9).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(500)).await;
        scene.uncordon_by_hand();
    });
    assert!(refused(&ended).contains("somebody uncordoned the Node k-1"), "{ended:?}");
    assert!(!scene.node().spec.unschedulable, "that person's word stands");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_uncordoned_is_not_overruled_unless_somebody_says_again() {
    let scene = Scene::with_shop(9).await;
    assert!(is_drained(&scene.drain().await));
    scene.uncordon_by_hand();
    assert!(refused(&scene.drain().await).contains("somebody uncordoned"));
    let mut order = scene.order.clone();
    order.again = true;
    let scene = Scene { order, ..scene };
    assert!(is_drained(&scene.drain().await));
    assert!(scene.node().spec.unschedulable);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_uncordoned_after_its_drain_is_not_drained_any_more() {
    let scene = Scene::with_shop(9).await;
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.still_drained().await, Verdict::Clear);
    scene.uncordon_by_hand();
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("somebody uncordoned")), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_where_a_pod_landed_after_its_drain_is_not_drained_any_more() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    scene.cluster.put(Resource::Pods, make::pod("shop", "late", "k-1"));
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Waiting(why) if why.contains("shop/late")), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_deleted_after_its_drain_or_in_it_is_not_drained() {
    let scene = Scene::with_shop(9).await;
    assert!(is_drained(&scene.drain().await));
    scene.cluster.remove(Resource::Nodes, "", "k-1");
    let verdict = scene.still_drained().await;
    assert!(
        matches!(&verdict, Verdict::Refused(why) if why.contains("not in the cluster any more")),
        "{verdict:?}"
    );

    let scene = Scene::with_shop(9).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(500)).await;
        cluster.remove(Resource::Nodes, "", "k-1");
    });
    assert!(refused(&ended).contains("the Node k-1 was deleted"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_same_name_that_is_another_one_is_not_touched() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.remove(Resource::Nodes, "", "k-1");
    scene.cluster.put(Resource::Nodes, make::node("k-1"));
    let before = scene.cluster.version();
    assert!(refused(&scene.drain().await).contains("the Node k-1 is another one now"));
    assert_eq!(scene.cluster.version(), before);
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("another one")), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn another_hand_that_comes_in_mid_drain_ends_it_by_its_name() {
    let scene = Scene::with_shop(9).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_millis(500)).await;
        scene.change_node(|node| {
            node["spec"]["taints"] =
                json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]);
        });
    });
    assert!(refused(&ended).contains("the cluster-autoscaler deletes it"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_takes_its_pods_along_and_is_no_missing_right() {
    let scene = Scene::with_shop(9).await;
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"j\" is forbidden: unable to create new content in namespace shop because it is being terminated","reason":"Forbidden","details":{"name":"j","kind":"pods","causes":[{"reason":"NamespaceTerminating","message":"namespace shop is being terminated","field":"metadata.namespace"}]},"code":403}"#;
    let answer = crate::api::Answer {
        status: 403,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
    };
    scene.cluster.fault(1000, |request| request.path.ends_with("/eviction"), Fault::Answer(answer));
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        cluster.pass(Duration::from_secs(5)).await;
        assert!(scene.because().contains("namespace shop is being terminated"), "{}", scene.because());
        for (name, _) in cluster.pods_on("k-1") {
            cluster.remove(Resource::Pods, "shop", &name);
        }
    });
    assert!(is_drained(&ended), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_kured_that_took_its_lock_after_the_drain_keeps_the_node_from_being_worked_on() {
    let scene = Scene::new();
    scene.cluster.put(
        Resource::DaemonSets,
        json!({"metadata": {"namespace": "kube-system", "name": "kured", "annotations": {}}}),
    );
    assert!(is_drained(&scene.drain().await));
    let requests = scene.cluster.asked().len();
    assert!(scene.still_drained().await.is_clear());
    assert_eq!(scene.cluster.asked().len() - requests, 2, "no kured runs here: nobody asks for its lock");

    scene.cluster.workload(Workload::daemon_set("kube-system", "kured", "k-1"));
    scene.cluster.pass(MINUTE).await;
    let requests = scene.cluster.asked().len();
    assert!(scene.still_drained().await.is_clear());
    assert_eq!(scene.cluster.asked().len() - requests, 3);

    let held_for = |node: &str| {
        let lock = json!({"nodeID": node, "metadata": {"unschedulable": false}}).to_string();
        scene.cluster.change(Resource::DaemonSets, "kube-system", "kured", |set| {
            set["metadata"]["annotations"]["weave.works/kured-node-lock"] = json!(lock);
        });
    };
    held_for("k-1");
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("has its lock for it")), "{verdict:?}");
    // It takes nothing back here: "Waiting" would have the Node drained anew.
    held_for("k-2");
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("its lock for k-2")), "{verdict:?}");
    scene.cluster.forbid("get", "daemonsets");
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("get daemonsets.apps")), "{verdict:?}");
}
