//! The client over three real servers, of which one is frozen, stopped, and comes back.

use std::time::{Duration, SystemTime};

use drydock_kubernetes::{
    answer,
    api::{Answer, Api as _, Method, Request},
    client::Client,
    kubeconfig::{Asked, read},
};
use drydock_test_cluster::{Cluster, Settings, here};
use serde_json::json;

use super::{Scene, servers};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Longer than a busy machine takes, shorter than anybody waits for a frozen one.
const WITHIN: Duration = Duration::from_secs(4);

fn client(cluster: &Cluster) -> Client {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let servers = cluster.endpoints();
    let asked = Asked { servers: &servers, now_unix_s: i64::try_from(now).unwrap(), ..Asked::default() };
    Client::new(&read(&cluster.kubeconfig(), &asked).unwrap().credentials).unwrap()
}

fn look() -> Request {
    // From a server's own memory: asks nothing of etcd, whose leader may be the frozen one.
    let path = format!("{MAPS}?resourceVersion=0");
    Request { method: Method::Get, path, body: None, within: WITHIN }
}

fn make(name: &str) -> Request {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string();
    Request { method: Method::Post, path: MAPS.to_owned(), body: Some(body.into_bytes()), within: WITHIN }
}

fn names(answer: &Answer) -> Vec<String> {
    let list: serde_json::Value = answer::read(answer).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Until etcd has a leader among those that are left, servers say so in their own ways.
async fn made(client: &Client, name: &str) {
    let began = tokio::time::Instant::now();
    loop {
        let said = match client.call(make(name)).await {
            Ok(answer) => match answer::done(&answer) {
                Ok(()) | Err(answer::Refusal::Conflict { .. }) => return,
                Err(refusal) => refusal.to_string(),
            },
            Err(unreached) => unreached.to_string(),
        };
        assert!(began.elapsed() < Duration::from_secs(60), "{name} was never made: {said}");
    }
}

#[tokio::test]
#[ignore = "wants Go: tests/run kubernetes"]
async fn of_three_servers_a_frozen_and_a_stopped_one_are_passed_over_and_nothing_is_asked_twice() {
    if !here() {
        return;
    }
    let mut scene = Scene::of(Settings { servers: 3, ..Settings::default() }).await;
    servers::a_request_that_hangs_is_looked_after_through_another_server(&mut scene).await;
    let Scene { mut cluster, .. } = scene;
    cluster.stop_kwok();
    let ours = client(&cluster);
    made(&ours, "first").await;
    let asked = ours.sent();
    assert!(names(&ours.call(look()).await.unwrap()).contains(&"first".to_owned()));
    assert_eq!(ours.sent(), asked + 1, "a server that answers is asked once");

    // On a connection that is there a change to a frozen server may arrive yet: it is not sent to another one.
    cluster.servers_mut()[0].freeze().unwrap();
    let asked = ours.sent();
    let doubt = ours.call(make("doubt")).await.unwrap_err();
    assert!(doubt.may_have_taken_effect, "{doubt}");
    assert_eq!(ours.sent(), asked + 1, "a change in doubt was sent to a second server");
    assert!(names(&ours.call(look()).await.unwrap()).contains(&"first".to_owned()));

    // A change that never left goes on: nobody has a connection to the frozen one yet.
    let fresh = client(&cluster);
    made(&fresh, "second").await;
    assert!(fresh.sent() >= 2, "the frozen server was not even tried");

    // Stopped, it refuses; back again, it is asked again in time.
    cluster.servers_mut()[0].thaw().unwrap();
    cluster.servers_mut()[0].stop().unwrap();
    made(&fresh, "third").await;
    cluster.servers_mut()[0].start().unwrap();
    let each = fresh.each("/readyz", WITHIN).await;
    for (endpoint, answer) in each {
        assert_eq!(answer.unwrap().status, 200, "{endpoint}");
    }
}
