//! Two real minors, of different code: `tests/run --all kubernetes` runs this, because the second one is a second long
//! build.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use drydock_test_cluster::{Cluster, Settings, binaries::Release, cluster::SOON, here, objects};
use serde_json::json;

/// Three servers, one after another from one minor to the next, as a rolling upgrade does it: while they differ, and
/// after it, what was written is there through every one of them.
#[tokio::test]
#[ignore = "builds two minors of Kubernetes with Go: tests/run --all kubernetes"]
async fn three_servers_go_up_a_minor_one_after_another() {
    if !here() {
        return;
    }
    let settings = Settings { servers: 3, nodes: 2, release: Release::minor_before(), ..Settings::default() };
    let mut cluster = Cluster::start(settings).await.unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    cluster.admin().create(maps, &map("before")).await.unwrap();
    for index in 0..3 {
        let server = &mut cluster.servers_mut()[index];
        server.stop().unwrap();
        server.set_release(Release::usual());
        server.start().unwrap();
        let admin = cluster.servers()[index].admin().unwrap();
        let version = admin.get("/version").await.unwrap();
        assert_eq!(version["gitVersion"], Release::usual().as_str());
        admin.create(maps, &map(&format!("after-{index}"))).await.unwrap();
        for server in cluster.servers() {
            let what = format!("what was written to be seen through {}", server.name());
            let written = format!("after-{index}");
            let seen = |maps: &[serde_json::Value]| {
                let there = |wanted: &str| maps.iter().any(|map| objects::name(map) == wanted);
                (there("before") && there(&written)).then_some(())
            };
            server.admin().unwrap().until(&what, maps, SOON, seen).await.unwrap();
        }
    }
}
