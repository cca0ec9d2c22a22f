use serde_json::json;

use super::scene::{MINUTE, Scene, is_drained, refused};
use crate::{
    drain::{Word, judge::Stays, work::Ended},
    fake::{Resource, Workload, make},
};

#[tokio::test(start_paused = true)]
async fn a_node_is_cordoned_with_our_mark_emptied_and_read_again_before_it_counts_as_drained() {
    let scene = Scene::with_shop(9).await;
    let here = scene.cluster.pods_on("k-1");
    assert_eq!(here.len(), 3);
    let Ended::Drained(evidence) = scene.drain().await else { panic!() };
    assert_eq!(scene.pods_here(), 0);
    assert!(scene.node().spec.unschedulable);
    let mut gone: Vec<(String, String)> =
        evidence.gone.iter().map(|(pod, uid)| (pod.name.clone(), uid.clone())).collect();
    gone.sort();
    assert_eq!(gone, here);
    assert_eq!(evidence.node_version, scene.node().metadata.resource_version);
    let last: Vec<&str> = scene.cluster.asked().iter().rev().take(2).map(|asked| asked.verb).collect();
    assert_eq!(last, ["GET", "GET"]);
    assert!(scene.still_drained().await.is_clear());
}

#[tokio::test(start_paused = true)]
async fn a_drain_and_its_release_cost_nine_requests_and_two_for_each_pod() {
    let scene = Scene::with_shop(30).await;
    let (here, before) = (scene.pods_here(), scene.cluster.asked().len());
    let scene = scene.allowing_nowhere_else();
    assert!(is_drained(&scene.drain().await));
    scene.release().await;
    let asked = scene.cluster.asked().len() - before;
    assert!(asked <= 9 + 2 * here, "{asked} for {here} pods");
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_costs_six_requests_to_drain_and_two_to_give_back() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.asked().len(), 6);
    scene.release().await;
    assert_eq!(scene.cluster.asked().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn daemon_sets_mirror_pods_and_finished_pods_stay_and_keep_nobody() {
    let scene = Scene::new();
    scene.cluster.workload(Workload::daemon_set("kube-system", "network", "k-1"));
    let mut mirror = make::pod("kube-system", "apiserver-k-1", "k-1");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "abc"});
    scene.cluster.put(Resource::Pods, mirror);
    let mut finished = make::pod("shop", "migrate", "k-1");
    finished["status"] = json!({"phase": "Succeeded"});
    scene.cluster.put(Resource::Pods, finished);
    scene.cluster.pass(MINUTE).await;
    let Ended::Drained(evidence) = scene.drain().await else { panic!() };
    let mut why: Vec<Stays> = evidence.stayed.iter().map(|stayer| stayer.why).collect();
    why.sort_by_key(|why| *why as u8);
    assert_eq!(why, [Stays::DaemonSet, Stays::Mirror, Stays::Finished]);
    assert_eq!(scene.cluster.evictions().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_sets_pod_that_returns_at_once_does_not_keep_the_drain_going() {
    let scene = Scene::with_shop(9).await;
    scene.cluster.workload(Workload::daemon_set("kube-system", "network", "k-1"));
    scene.cluster.pass(MINUTE).await;
    let cluster = scene.cluster.clone();
    let (ended, ()) = tokio::join!(scene.drain(), async {
        // Somebody deletes it meanwhile: it is back under another name.
        let daemon =
            cluster.pods_on("k-1").into_iter().find(|(name, _)| name.starts_with("network")).unwrap();
        cluster.remove(Resource::Pods, "kube-system", &daemon.0);
    });
    assert!(is_drained(&ended), "{ended:?}");
    assert!(scene.cluster.evictions().iter().all(|asked| !asked.path.contains("network")));
    assert_eq!(scene.pods_here(), 1);
}

#[tokio::test(start_paused = true)]
async fn pods_of_lower_priority_classes_are_gone_before_others_are_asked() {
    let scene = Scene::new();
    for (name, priority) in [("dns", 2_000_000_000), ("web", 0), ("batch", -10)] {
        let mut workload = Workload::replica_set("shop", name, 6);
        workload.template = json!({"spec": {"priority": priority}});
        scene.cluster.workload(workload);
    }
    scene.cluster.pass(MINUTE).await;
    assert!(is_drained(&scene.drain().await));
    let order: Vec<String> = scene
        .cluster
        .evictions()
        .iter()
        .map(|asked| {
            ["batch", "web", "dns"].iter().find(|name| asked.path.contains(*name)).unwrap().to_string()
        })
        .collect();
    let mut classes = order.clone();
    classes.dedup();
    assert_eq!(classes, ["batch", "web", "dns"], "{order:?}");
    let times = scene.cluster.evictions();
    let last_batch = times.iter().rfind(|asked| asked.path.contains("batch")).unwrap().at;
    let first_web = times.iter().find(|asked| asked.path.contains("web")).unwrap().at;
    assert!(first_web.duration_since(last_batch) >= std::time::Duration::from_millis(900));
}

#[tokio::test(start_paused = true)]
async fn ten_are_asked_at_once_and_no_more() {
    let scene = Scene::with_shop(90).await;
    let scene = scene.allowing_nowhere_else();
    assert_eq!(scene.pods_here(), 30);
    assert!(is_drained(&scene.drain().await));
    let evictions = scene.cluster.evictions();
    assert_eq!(evictions.len(), 30);
    let first = evictions[0].at;
    assert_eq!(evictions.iter().filter(|asked| asked.at == first).count(), 10);
}

#[tokio::test(start_paused = true)]
async fn every_pod_is_read_again_right_before_it_is_evicted() {
    let scene = Scene::with_shop(9).await;
    assert!(is_drained(&scene.drain().await));
    let asked = scene.cluster.asked();
    for (index, eviction) in asked.iter().enumerate().filter(|(_, asked)| asked.verb == "POST") {
        let pod = eviction.path.strip_suffix("/eviction").unwrap();
        let read = asked[..index].iter().rfind(|asked| asked.path == pod).unwrap();
        assert!(eviction.at.duration_since(read.at) <= std::time::Duration::from_millis(10));
    }
}

#[tokio::test(start_paused = true)]
async fn bare_pods_and_empty_dirs_are_refused_before_anything_is_touched() {
    for (words, name) in [("barePods", "bare"), ("emptyDir", "scratch")] {
        let scene = Scene::new();
        if name == "bare" {
            scene.cluster.put(Resource::Pods, make::pod("shop", "bare", "k-1"));
        } else {
            let mut workload = Workload::replica_set("shop", "scratch", 3);
            workload.template = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}});
            scene.cluster.workload(workload);
        }
        scene.cluster.pass(MINUTE).await;
        let before = scene.cluster.version();
        let ended = scene.drain().await;
        assert!(refused(&ended).contains(name), "{ended:?}");
        let Ended::Refused { next, .. } = &ended else { panic!() };
        assert!(next.contains(&format!("`{words}: allow`")), "{next}");
        assert_eq!(scene.cluster.version(), before, "not even a cordon is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_plan_allows_goes_and_is_named_in_the_evidence() {
    let scene = Scene::new();
    let mut pod = make::pod("shop", "bare", "k-1");
    pod["spec"]["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    scene.cluster.put(Resource::Pods, pod);
    let mut order = scene.order.clone();
    order.words.bare_pods = Word::Allow;
    order.words.empty_dir = Word::Allow;
    let scene = Scene { order, ..scene };
    let Ended::Drained(evidence) = scene.drain().await else { panic!() };
    assert!(
        evidence.notes.iter().any(|note| note.contains("shop/bare belongs to no controller")),
        "{evidence:?}"
    );
    assert!(evidence.notes.iter().any(|note| note.contains("emptyDir (tmp)")), "{evidence:?}");
    assert_eq!(scene.pods_here(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ever_deleted() {
    let scene = Scene::with_shop(9).await;
    scene.drain().await;
    scene.release().await;
    assert!(scene.cluster.asked().iter().all(|asked| asked.verb != "DELETE"));
}

#[tokio::test(start_paused = true)]
async fn whoever_orders_a_drain_may_do_so_on_any_thread() {
    fn on_any_thread<T: Send>(it: T) -> T {
        it
    }
    let scene = Scene::new();
    let (cluster, order) = (&scene.cluster, &scene.order);
    assert!(on_any_thread(crate::drain::look::foresee(cluster, order, true)).await.is_ok());
    assert!(is_drained(&on_any_thread(scene.drain()).await));
    assert!(on_any_thread(scene.still_drained()).await.is_clear());
    on_any_thread(scene.release()).await;
}
