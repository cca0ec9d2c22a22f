use drydock_types::{Epoch, FleetId, NodeName, RunId};
use serde_json::json;

use super::*;
use crate::fake::{Cluster, Resource, make};

fn marker(node: &str) -> Marker {
    Marker {
        fleet: FleetId([1; 16]),
        run: RunId([2; 16]),
        node: NodeName::parse(node).unwrap(),
        epoch: Epoch(7),
    }
}

/// Five Nodes: ours cordoned, ours that was cordoned before, one with something illegible, none, another fleet's.
fn cluster() -> Cluster {
    let cluster = Cluster::default();
    let other = Marker { fleet: FleetId([9; 16]), ..marker("db-1") };
    for (name, mark) in [
        ("k-1", Some(marker("ctl-1").mark("k-1", false).text())),
        ("k-2", Some(marker("ctl-2").mark("k-2", true).text())),
        ("k-3", Some("{\"fleet\": 3}".to_owned())),
        ("k-4", None),
        ("k-5", Some(other.mark("k-5", false).text())),
    ] {
        let mut node = make::node(name);
        if let Some(mark) = mark {
            let set = json!({"f:metadata": {"f:annotations": {"f:drydock/mark": {}}}});
            make::overlay(
                &mut node,
                &json!({
                    "metadata": {
                        "annotations": {"drydock/mark": mark},
                        "managedFields": [
                            {"manager": "kubelet", "time": "2026-11-21T01:00:00Z", "fieldsV1": {"f:status": {}}},
                            {"manager": "drydock", "time": "2026-11-21T03:00:00Z", "fieldsV1": set},
                        ],
                    },
                    "spec": {"unschedulable": true},
                }),
            );
        }
        cluster.put(Resource::Nodes, node);
    }
    cluster
}

fn cordoned(cluster: &Cluster, name: &str) -> (bool, bool) {
    let node = cluster.object(Resource::Nodes, "", name).unwrap();
    (node["spec"]["unschedulable"] == true, !node["metadata"]["annotations"]["drydock/mark"].is_null())
}

#[tokio::test(start_paused = true)]
async fn every_mark_is_listed_with_what_it_says_and_what_cannot_be_read_too() {
    let cluster = cluster();
    let before = cluster.version();
    let found = list(&cluster).await.unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.kube_node.as_str()).collect();
    assert_eq!(names, ["k-1", "k-2", "k-3", "k-5"]);
    let first = found[0].mark.as_ref().unwrap();
    assert_eq!((first.node.as_str(), first.epoch, first.was_cordoned), ("ctl-1", Epoch(7), false));
    assert!(found[0].cordoned && found[0].hands.is_empty());
    assert_eq!(found[0].since.as_deref(), Some("2026-11-21T03:00:00Z"));
    assert!(found[1].mark.as_ref().unwrap().was_cordoned);
    assert!(found[2].mark.is_none() && found[2].illegible.is_some());
    assert_eq!(found[3].mark.as_ref().unwrap().fleet, FleetId([9; 16]));
    assert_eq!(one(&cluster, "k-2").await.unwrap().as_ref(), Some(&found[1]));
    assert_eq!(one(&cluster, "k-4").await.unwrap(), None);
    assert!(one(&cluster, "k-9").await.unwrap_err().is_gone());
    assert_eq!(cluster.version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_mark_on_a_node_that_cannot_be_read_otherwise_is_listed_as_illegible() {
    let cluster = cluster();
    for name in ["k-1", "k-4"] {
        cluster.change(Resource::Nodes, "", name, |node| node["status"]["conditions"] = json!("many"));
    }
    let found = list(&cluster).await.unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.kube_node.as_str()).collect();
    assert_eq!(names, ["k-1", "k-2", "k-3", "k-5"], "and one without a mark is not");
    let first = &found[0];
    assert!(first.cordoned && first.mark.is_none());
    assert!(first.illegible.as_ref().is_some_and(|why| why.contains("its Node is of a form")), "{first:?}");
    assert_eq!(first.since.as_deref(), Some("2026-11-21T03:00:00Z"));
    assert_eq!(one(&cluster, "k-1").await.unwrap().as_ref(), Some(first));
}

#[tokio::test(start_paused = true)]
async fn what_the_mark_says_is_taken_back_and_nothing_else() {
    let cluster = cluster();
    let (said, released) = release(&cluster, "k-1").await.unwrap();
    assert_eq!((said.node.as_str(), released), ("ctl-1", Released::Uncordoned));
    assert_eq!(cordoned(&cluster, "k-1"), (false, false));
    // Of another fleet as well: whoever types this has said which Node.
    assert_eq!(release(&cluster, "k-5").await.unwrap().1, Released::Uncordoned);
    // What was cordoned before stays so.
    assert_eq!(release(&cluster, "k-2").await.unwrap().1, Released::LeftCordoned);
    assert_eq!(cordoned(&cluster, "k-2"), (true, false));
    // And what somebody has uncordoned meanwhile too.
    cluster.put(Resource::Nodes, {
        let mut node = make::node("k-6");
        let mark = marker("ctl-6").mark("k-6", false).text();
        make::overlay(&mut node, &json!({"metadata": {"annotations": {"drydock/mark": mark}}}));
        node
    });
    assert_eq!(release(&cluster, "k-6").await.unwrap().1, Released::MarkRemoved);
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_the_mark_is_ours_and_is_taken_off_with_it() {
    let cluster = cluster();
    let ready = mark::before::Before::nothing(RunId([2; 16])).text();
    for (name, ready) in [("k-1", ready.as_str()), ("k-2", "nobody can read this")] {
        cluster.change(Resource::Nodes, "", name, |node| {
            node["metadata"]["annotations"][mark::before::KEY] = json!(ready);
        });
    }
    assert!(list(&cluster).await.unwrap()[..2].iter().all(|marked| marked.hands.is_empty()));
    for name in ["k-1", "k-2"] {
        release(&cluster, name).await.unwrap();
        let node = cluster.object(Resource::Nodes, "", name).unwrap();
        assert_eq!(node["metadata"]["annotations"], json!({}), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_mark_or_none_that_can_be_read_nothing_is_touched() {
    let cluster = cluster();
    let before = cluster.version();
    assert_eq!(release(&cluster, "k-4").await, Err(NotReleased::NoMark));
    assert_eq!(release(&cluster, "k-9").await, Err(NotReleased::NoNode));
    let why = release(&cluster, "k-3").await.unwrap_err();
    assert!(matches!(why, NotReleased::Illegible(_)), "{why:?}");
    assert!(why.to_string().contains("kubectl annotate node k-3 drydock/mark-"), "{why}");
    assert_eq!(cluster.version(), before);
}

#[tokio::test(start_paused = true)]
async fn another_hand_on_the_node_is_named_and_left_alone() {
    let cluster = cluster();
    cluster.change(Resource::Nodes, "", "k-1", |node| {
        node["metadata"]["annotations"]["weave.works/kured-reboot-in-progress"] =
            json!("2026-11-21T03:00:00Z");
    });
    let before = cluster.version();
    let why = release(&cluster, "k-1").await.unwrap_err();
    assert!(why.to_string().contains("kured reboots it"), "{why}");
    assert_eq!(cluster.version(), before);
    assert_eq!(list(&cluster).await.unwrap()[0].hands.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_another_run_sets_in_between_is_not_taken_back() {
    let cluster = cluster();
    let node: Node = serde_json::from_value(cluster.object(Resource::Nodes, "", "k-1").unwrap()).unwrap();
    // Read before, changed since: the patch loses, and what is read then is another run's.
    let later = Marker { run: RunId([8; 16]), ..marker("ctl-1") };
    cluster.change(Resource::Nodes, "", "k-1", |node| {
        node["metadata"]["annotations"]["drydock/mark"] = json!(later.mark("k-1", false).text());
    });
    let released = cordon::release(&cluster, "k-1", &node.metadata.uid, &marker("ctl-1"), Some(&node)).await;
    assert!(matches!(released, Ok(Released::NothingOfOurs(Some(_)))), "{released:?}");
    assert_eq!(cordoned(&cluster, "k-1"), (true, true));
}
