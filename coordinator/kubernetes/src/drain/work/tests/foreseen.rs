use std::sync::Arc;

use drydock_types::Verdict;
use serde_json::json;

use super::scene::{MINUTE, Scene, is_drained};
use crate::{
    api::Answer,
    drain::{
        Kind, Weight, Word,
        look::{self, Foreseen, foresee, foresee_from, unseen},
        work::drain,
    },
    fake::{Fault, Resource, Workload, make},
};

async fn foreseen(scene: &Scene, rehearse: bool) -> Foreseen {
    foresee(&scene.cluster, &scene.order, rehearse).await.unwrap()
}

fn said(foreseen: &Foreseen) -> String {
    foreseen.judgement.verdict().reason().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_finds_every_planted_blocker_and_changes_nothing() {
    let scene = Scene::new();
    // A budget that can never be satisfied, a bare pod, an emptyDir, a pod for a label that no other node has, data on
    // this node's disk, and an upgrade controller's job.
    for (name, template) in [
        ("tight", json!({})),
        ("scratch", json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}})),
        ("here", json!({"spec": {"nodeSelector": {"disk": "fast"}}})),
        (
            "db",
            json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db"}}]}}),
        ),
    ] {
        let mut workload = Workload::stateful_set("shop", name, 1);
        workload.template = template;
        workload.pinned = Some("k-1".to_owned());
        scene.cluster.workload(workload);
    }
    scene.change_node(|node| node["metadata"]["labels"]["disk"] = json!("fast"));
    scene
        .cluster
        .put(Resource::Budgets, make::budget("shop", "tight", "tight", &json!({"maxUnavailable": 0})));
    scene.cluster.put(Resource::Pods, make::pod("shop", "bare", "k-1"));
    scene.cluster.put(
        Resource::Volumes,
        json!({
            "metadata": {"name": "pv-1"},
            "spec": {"local": {"path": "/data"}, "claimRef": {"namespace": "shop", "name": "data-db"}},
        }),
    );
    let mut job = make::pod("system-upgrade", "apply-k3s", "k-1");
    job["metadata"]["labels"] = json!({"upgrade.cattle.io/plan": "k3s-server"});
    job["metadata"]["ownerReferences"] = json!([make::owner("Job", "apply", "owner-job")]);
    scene.cluster.put(Resource::Pods, job);
    scene.cluster.pass(MINUTE).await;

    let before = scene.cluster.version();
    let foreseen = foreseen(&scene, true).await;
    assert_eq!(scene.cluster.version(), before, "a rehearsal changes nothing");
    let said = said(&foreseen);
    for word in [
        "PodDisruptionBudget shop/tight allows 0",
        "shop/bare belongs to no controller",
        "shop/scratch-0 keeps data in an emptyDir",
        "shop/here-0 can run on no other node (2 not selected",
        "shop/db-0 has its data on this node (volume pv-1)",
        "system-upgrade-controller's job for its plan k3s-server",
    ] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    let refused =
        foreseen.judgement.findings.iter().filter(|finding| finding.weight == Weight::Refused).count();
    assert_eq!(refused, 6, "{:#?}", foreseen.judgement.findings);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_forbids_is_heard_by_a_dry_run() {
    let scene = Scene::with_shop(3).await;
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "admission webhook \"guard.example.com\" denied the request: not on a Friday",
    });
    let answer = Answer {
        status: 403,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
    };
    scene.cluster.fault(1, |request| request.path.contains("/eviction?dryRun=All"), Fault::Answer(answer));
    let foreseen = foreseen(&scene, true).await;
    assert!(matches!(foreseen.judgement.verdict(), Verdict::Refused(_)));
    assert!(said(&foreseen).contains("guard.example.com"), "{}", said(&foreseen));
    assert!(foreseen.judgement.findings.iter().any(|finding| finding.kind == Kind::Webhook));
}

#[tokio::test(start_paused = true)]
async fn a_clear_rehearsal_of_pods_under_a_budget_is_clear_and_says_that_they_go_one_after_another() {
    let scene = Scene::with_shop(9).await;
    scene.budget(json!({"maxUnavailable": 1})).await;
    let foreseen = foreseen(&scene, true).await;
    assert_eq!(foreseen.judgement.verdict(), Verdict::Clear);
    let note = foreseen.judgement.findings.iter().find(|finding| finding.kind == Kind::BudgetSum).unwrap();
    assert!(
        note.what.contains("3 pods of this node are under the PodDisruptionBudget shop/cart, which allows 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_from_the_gates_look_without_reading_again() {
    let scene = Scene::with_shop(9).await;
    let look = foreseen(&scene, false).await.look;
    let before = scene.cluster.asked().len();
    let ended = drain(&scene.cluster, &scene.order, Some(look), MINUTE, &scene.tell, &scene.stop).await;
    assert!(is_drained(&ended), "{ended:?}");
    // The patch, the watch, the last look, and two a pod.
    assert_eq!(scene.cluster.asked().len() - before, 4 + 2 * 3);
}

#[tokio::test(start_paused = true)]
async fn a_gates_look_that_is_old_is_made_up_for() {
    let scene = Scene::with_shop(9).await;
    let look = foreseen(&scene, false).await.look;
    // A pod comes, one goes, the Node changes.
    let mut late = make::pod("shop", "late", "k-1");
    late["metadata"]["ownerReferences"] = json!([make::owner("ReplicaSet", "late", "owner-late")]);
    scene.cluster.put(Resource::Pods, late);
    let first = scene.cluster.pods_on("k-1").into_iter().find(|(name, _)| name != "late").unwrap();
    scene.cluster.remove(Resource::Pods, "shop", &first.0);
    scene.change_node(|node| node["metadata"]["labels"]["a"] = json!("b"));
    let ended = drain(&scene.cluster, &scene.order, Some(look), MINUTE, &scene.tell, &scene.stop).await;
    assert!(is_drained(&ended), "{ended:?}");
    assert_eq!(scene.pods_here(), 0);
}

#[tokio::test(start_paused = true)]
async fn volumes_that_may_not_be_read_are_named_with_the_missing_right() {
    let scene = Scene::new();
    let mut workload = Workload::stateful_set("shop", "db", 3);
    workload.template =
        json!({"spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]}});
    scene.cluster.workload(workload);
    scene.cluster.pass(MINUTE).await;
    scene.cluster.forbid("list", "persistentvolumes");
    let verdict = foreseen(&scene, false).await.judgement.verdict();
    assert!(
        matches!(&verdict, Verdict::Unknown(why) if why.contains("list persistentvolumes")),
        "{verdict:?}"
    );
    // With the plan's word nobody has to know.
    let mut order = scene.order.clone();
    order.words.local_volumes = Word::Allow;
    let foreseen = foresee(&scene.cluster, &order, false).await.unwrap();
    assert_eq!(foreseen.judgement.verdict(), Verdict::Clear);
}

#[tokio::test(start_paused = true)]
async fn a_kured_whose_lock_may_not_be_read_is_not_taken_for_none() {
    let scene = Scene::new();
    scene.cluster.workload(Workload::daemon_set("kube-system", "kured", "k-1"));
    scene.cluster.put(
        Resource::DaemonSets,
        json!({"metadata": {"namespace": "kube-system", "name": "kured", "annotations": {}}}),
    );
    scene.cluster.pass(MINUTE).await;
    assert_eq!(foreseen(&scene, false).await.judgement.verdict(), Verdict::Clear);
    for (lock, word) in [("k-1", "kured has its lock for it"), ("k-2", "kured has its lock for k-2")] {
        scene.cluster.change(Resource::DaemonSets, "kube-system", "kured", |set| {
            set["metadata"]["annotations"]["weave.works/kured-node-lock"] =
                json!(json!({"nodeID": lock, "metadata": {"unschedulable": false}}).to_string());
        });
        let foreseen = foreseen(&scene, false).await;
        assert!(said(&foreseen).contains(word), "{}", said(&foreseen));
    }
    scene.cluster.forbid("get", "daemonsets");
    let verdict = foreseen(&scene, false).await.judgement.verdict();
    assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("get daemonsets.apps")), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_answer_is_unknown_and_a_node_that_is_not_there_refused() {
    let scene = Scene::new();
    scene.cluster.down(true);
    let fault = look::look(&scene.cluster, &scene.order).await.unwrap_err();
    assert!(matches!(unseen("k-1", &fault), Verdict::Unknown(_)));
    scene.cluster.down(false);
    scene.cluster.remove(Resource::Nodes, "", "k-1");
    let fault = look::look(&scene.cluster, &scene.order).await.unwrap_err();
    assert!(matches!(unseen("k-1", &fault), Verdict::Refused(why) if why.contains("drydock run skip")));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_read_page_by_page() {
    let scene = Scene::new();
    for i in 0..1201 {
        let mut pod = make::pod("shop", &format!("p-{i:04}"), "k-2");
        pod["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "1m"});
        scene.cluster.put(Resource::Pods, pod);
    }
    let mut workload = Workload::replica_set("shop", "one", 1);
    workload.pinned = Some("k-1".to_owned());
    scene.cluster.workload(workload);
    scene.cluster.pass(MINUTE).await;
    let foreseen = foreseen(&scene, false).await;
    let elsewhere = foreseen.look.elsewhere.unwrap();
    let (_, used) = elsewhere.nodes.iter().find(|(node, _)| node.name() == "k-2").unwrap();
    assert_eq!(used.get("pods").0, 1_201_000);
    assert_eq!(used.get("cpu").0, 1_201);
    let pages =
        scene.cluster.asked().iter().filter(|asked| asked.path.starts_with("/api/v1/pods?limit")).count();
    assert_eq!(pages, 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_judged_without_a_further_request_and_room_costs_none() {
    let scene = Scene::with_shop(9).await.allowing_nowhere_else();
    let first = foreseen(&scene, false).await;
    let before = scene.cluster.asked().len();
    let look = look::look(&scene.cluster, &scene.order).await.unwrap();
    assert_eq!(scene.cluster.asked().len() - before, 3);
    let second = foresee_from(&scene.cluster, &scene.order, look, false).await;
    assert_eq!(second.judgement, first.judgement);
    assert_eq!(scene.cluster.asked().len() - before, 3);
    // With every other node and pod in it, of which this node and its own are a part.
    let mut refusing = scene.order.clone();
    refusing.words.nowhere_else = Word::Refuse;
    let third = foresee(&scene.cluster, &refusing, false).await.unwrap();
    assert_eq!(scene.cluster.asked().len() - before, 6);
    assert_eq!((third.judgement.go, third.look.node), (first.judgement.go, first.look.node));
    assert_eq!(third.look.elsewhere.as_ref().unwrap().nodes.len(), 2);
    // Where nobody was expected and somebody is there, the same is read in two steps.
    refusing.expects_none = true;
    let fourth = foresee(&scene.cluster, &refusing, false).await.unwrap();
    assert_eq!(scene.cluster.asked().len() - before, 11);
    assert_eq!(fourth.judgement.findings, third.judgement.findings);
    assert_eq!(fourth.look.elsewhere.unwrap().nodes.len(), 2);
    let verdict = scene.still_drained().await;
    assert!(matches!(&verdict, Verdict::Refused(_)), "{verdict:?}");
    assert!(is_drained(&scene.drain().await));
    assert!(scene.still_drained().await.is_clear());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_waits_keeps_nothing_of_the_other_nodes() {
    let scene = Scene::with_shop(9).await;
    // A disruption controller that is not there makes no more room: the drain waits after the first pod.
    scene.budget(json!({"maxUnavailable": 1})).await;
    scene.cluster.controlled(false);
    let look = look::look(&scene.cluster, &scene.order).await.unwrap();
    let elsewhere = Arc::downgrade(look.elsewhere.as_ref().unwrap());
    let drained = drain(&scene.cluster, &scene.order, Some(look), MINUTE, &scene.tell, &scene.stop);
    let waits = async {
        scene.tell.subscribe().wait_for(|progress| progress.waits.is_some()).await.unwrap();
        assert!(elsewhere.upgrade().is_none(), "the look is still there");
    };
    let (ended, ()) = tokio::join!(drained, waits);
    assert!(!is_drained(&ended), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn the_other_nodes_are_kept_for_a_drain_only_where_they_made_a_finding() {
    let scene = Scene::with_shop(9).await;
    let first = foreseen(&scene, false).await;
    let kept = first.clone().into_look();
    assert!(first.look.elsewhere.is_some() && kept.elsewhere.is_none() && kept.volumes.is_none());
    let again = foresee_from(&scene.cluster, &scene.order, kept, false).await;
    assert_eq!(again.judgement, first.judgement);

    for other in ["k-2", "k-3"] {
        scene.cluster.change(Resource::Nodes, "", other, |node| node["spec"]["unschedulable"] = json!(true));
    }
    let found = foreseen(&scene, false).await;
    assert!(found.judgement.findings.iter().any(|finding| finding.kind == Kind::NowhereElse), "{found:?}");
    let kept = found.clone().into_look();
    let again = foresee_from(&scene.cluster, &scene.order, kept, false).await;
    assert_eq!(again.judgement, found.judgement);
}
