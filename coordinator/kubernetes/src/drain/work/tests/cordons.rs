use drydock_types::{Epoch, FleetId, RunId};
use serde_json::json;

use super::scene::{Scene, is_drained, refused};
use crate::{
    api::Method,
    drain::cordon::Released,
    fake::{Cluster, Fault, Resource},
    mark,
};

fn is_patch(request: &crate::api::Request) -> bool {
    request.method == Method::MergePatch
}

#[tokio::test(start_paused = true)]
async fn the_mark_and_the_cordon_come_and_go_in_one_change_each() {
    let scene = Scene::new();
    let before = scene.cluster.version();
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.version(), before + 1);
    let mark = scene.node().metadata.annotations[mark::KEY].clone();
    assert!(mark.contains("kubectl uncordon k-1"), "{mark}");
    assert_eq!(scene.release().await, Released::Uncordoned);
    assert_eq!(scene.cluster.version(), before + 2);
    let node = scene.cluster.object(Resource::Nodes, "", "k-1").unwrap();
    assert_eq!(node["spec"], json!({}), "as it was");
    assert_eq!(node["metadata"]["annotations"], json!({}), "as it was");
}

#[tokio::test(start_paused = true)]
async fn a_cordon_that_was_there_before_is_there_afterwards() {
    let scene = Scene::with_shop(9).await;
    scene.change_node(|node| node["spec"]["unschedulable"] = json!(true));
    let crate::drain::work::Ended::Drained(evidence) = scene.drain().await else { panic!() };
    assert!(evidence.was_cordoned);
    assert_eq!(scene.release().await, Released::LeftCordoned);
    assert!(scene.node().spec.unschedulable);
    assert!(scene.node().metadata.annotations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_else_cordoned_is_never_uncordoned() {
    let scene = Scene::new();
    scene.change_node(|node| node["spec"]["unschedulable"] = json!(true));
    let before = scene.cluster.version();
    assert_eq!(scene.release().await, Released::NothingOfOurs(None));
    assert_eq!(scene.cluster.version(), before);
}

#[tokio::test(start_paused = true)]
async fn another_runs_and_another_fleets_cordon_are_neither_taken_over_nor_taken_back() {
    let scene = Scene::new();
    for change in [
        (|marker| marker.run = RunId([9; 16])) as fn(&mut mark::Marker),
        |marker| marker.fleet = FleetId([9; 16]),
        |marker| marker.epoch = Epoch(99),
    ] {
        let mut marker = scene.order.marker.clone();
        change(&mut marker);
        let mark = marker.mark("k-1", false).text();
        scene.change_node(|node| {
            node["metadata"]["annotations"][mark::KEY] = json!(mark);
            node["spec"]["unschedulable"] = json!(true);
        });
        let before = scene.cluster.version();
        let ended = scene.drain().await;
        assert!(refused(&ended).contains("it is undone by `kubectl uncordon k-1"), "{ended:?}");
        assert!(matches!(scene.release().await, Released::NothingOfOurs(Some(_))));
        assert_eq!(scene.cluster.version(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_cannot_be_read_is_not_taken_for_nobodys() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    scene.change_node(|node| node["metadata"]["annotations"][mark::KEY] = json!("{\"by\": \"hand\"}"));
    let before = scene.cluster.version();
    let released = scene.release().await;
    assert!(
        matches!(&released, Released::Illegible(what) if what.contains("kubectl annotate node")),
        "{released:?}"
    );
    assert_eq!(scene.cluster.version(), before, "whose it is nobody knows");
}

#[tokio::test(start_paused = true)]
async fn a_mark_without_its_cordon_is_taken_off_and_the_node_left_as_the_person_wanted_it() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    scene.uncordon_by_hand();
    assert_eq!(scene.release().await, Released::MarkRemoved);
    assert!(!scene.node().spec.unschedulable);
    assert!(scene.node().metadata.annotations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cordon_that_its_owner_took_back_under_our_mark_is_not_left_behind_by_us() {
    let mut scene = Scene::new();
    scene.change_node(|node| node["spec"]["unschedulable"] = json!(true));
    assert!(is_drained(&scene.drain().await));
    scene.uncordon_by_hand();
    assert!(refused(&scene.drain().await).contains("somebody uncordoned"));
    scene.order.again = true;
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.release().await, Released::Uncordoned);
    assert!(!scene.node().spec.unschedulable);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_changes_between_reading_and_patching_is_read_again() {
    let scene = Scene::new();
    let heartbeat = |cluster: &Cluster| {
        cluster.change(Resource::Nodes, "", "k-1", |node| {
            node["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-11-21T03:00:01Z");
        });
    };
    scene.cluster.fault(1, is_patch, Fault::Before(Box::new(heartbeat)));
    assert!(is_drained(&scene.drain().await));
    scene.cluster.fault(
        1,
        is_patch,
        Fault::Before(Box::new(|cluster: &Cluster| {
            cluster.change(Resource::Nodes, "", "k-1", |node| node["metadata"]["labels"]["a"] = json!("b"));
        })),
    );
    assert_eq!(scene.release().await, Released::Uncordoned);
    let patches: Vec<u16> = scene
        .cluster
        .asked()
        .iter()
        .filter(|asked| asked.verb == "PATCH")
        .map(|asked| asked.status)
        .collect();
    assert_eq!(patches, [409, 200, 409, 200]);
    assert_eq!(scene.node().metadata.labels["a"], "b", "nobody's change is lost");
}

#[tokio::test(start_paused = true)]
async fn another_hand_that_comes_between_reading_and_cordoning_keeps_the_cordon_off() {
    let scene = Scene::new();
    scene.cluster.fault(
        1,
        is_patch,
        Fault::Before(Box::new(|cluster: &Cluster| {
            cluster.change(Resource::Nodes, "", "k-1", |node| {
                node["metadata"]["annotations"]["weave.works/kured-reboot-in-progress"] = json!("2026-11-21");
            });
        })),
    );
    assert!(refused(&scene.drain().await).contains("kured reboots it"));
    assert!(!scene.node().spec.unschedulable);
}

#[tokio::test(start_paused = true)]
async fn a_cordon_that_was_not_answered_is_read_and_not_set_twice() {
    let scene = Scene::new();
    let before = scene.cluster.version();
    scene.cluster.fault(1, is_patch, Fault::Hang { takes_effect: true });
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.cluster.version(), before + 1);
    scene.cluster.fault(1, is_patch, Fault::Hang { takes_effect: true });
    assert_eq!(scene.release().await, Released::Uncordoned);
    assert_eq!(scene.cluster.version(), before + 2);
    scene.cluster.fault(1, is_patch, Fault::Hang { takes_effect: false });
    assert!(is_drained(&scene.drain().await));
    assert!(scene.node().spec.unschedulable);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_or_another_one_has_nothing_to_be_taken_back_and_is_not_made() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    scene.cluster.remove(Resource::Nodes, "", "k-1");
    assert_eq!(scene.release().await, Released::NodeGone);
    assert!(scene.cluster.object(Resource::Nodes, "", "k-1").is_none());
    scene.cluster.put(Resource::Nodes, crate::fake::make::node("k-1"));
    let before = scene.cluster.version();
    assert_eq!(scene.release().await, Released::NodeGone);
    assert_eq!(scene.cluster.version(), before);
}

#[tokio::test(start_paused = true)]
async fn taking_back_twice_is_the_same_as_once() {
    let scene = Scene::new();
    assert!(is_drained(&scene.drain().await));
    assert_eq!(scene.release().await, Released::Uncordoned);
    let before = scene.cluster.version();
    assert_eq!(scene.release().await, Released::NothingOfOurs(None));
    assert_eq!(scene.cluster.version(), before);
}

/// A cluster that takes its time with a patch that it has.
struct Slow {
    cluster: Cluster,
    begun: tokio::sync::Notify,
    goes_on: tokio::sync::Notify,
}

#[async_trait::async_trait]
impl crate::api::Api for Slow {
    async fn call(&self, request: crate::api::Request) -> Result<crate::api::Answer, crate::api::Unreached> {
        if is_patch(&request) {
            self.begun.notify_one();
            self.goes_on.notified().await;
        }
        self.cluster.call(request).await
    }

    async fn watch(
        &self,
        path: String,
        within: std::time::Duration,
    ) -> Result<
        Result<futures_util::stream::BoxStream<'static, crate::api::Line>, crate::api::Answer>,
        crate::api::Unreached,
    > {
        self.cluster.watch(path, within).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_stopped_while_its_cordon_is_written_ends_when_that_is_there_and_evicts_nobody() {
    let scene = Scene::with_shop(9).await;
    let slow = Slow {
        cluster: scene.cluster.clone(),
        begun: tokio::sync::Notify::new(),
        goes_on: tokio::sync::Notify::new(),
    };
    let ten = 10 * super::scene::MINUTE;
    let drain = crate::drain::work::drain(&slow, &scene.order, None, ten, &scene.tell, &scene.stop);
    tokio::pin!(drain);
    tokio::select! {
        ended = &mut drain => panic!("{ended:?}"),
        () = slow.begun.notified() => {}
    }
    scene.stop.cancel();
    let still = tokio::time::timeout(std::time::Duration::from_millis(1), &mut drain).await;
    assert!(still.is_err(), "what was sent may land, and whoever gives it back would not see it: {still:?}");
    slow.goes_on.notify_one();
    let ended = drain.await;
    assert!(
        matches!(&ended, crate::drain::work::Ended::Stopped { why: crate::drain::work::Stop::Told, .. }),
        "{ended:?}"
    );
    assert!(scene.cluster.evictions().is_empty());
    assert_eq!(scene.release().await, Released::Uncordoned);
}
