//! Runs over a real cluster to which something happens in the middle of a drain: each ends right or holds with the
//! reason, and goes on when it is mended.

use std::time::Duration;

use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus, RunView},
};
use drydock_system_tests::{Fleet, fleet, release::Behaviour, wait};
use drydock_test_cluster::{Admin, Cluster, Settings, cluster::SOON, here, here_with_all, objects};
use serde_json::{Value, json};

use super::{drained::is_machine_of, typed};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
/// How long a whole run may take here, pods that end slowly included.
const RUN: Duration = Duration::from_secs(240);
/// How long the API is away.
const AWAY: Duration = Duration::from_secs(60);

/// Machines that are node-1, node-2 and so on, one Node more than machines, and six pods over them.
struct Scene {
    cluster: Cluster,
    fleet: Fleet,
    plan: String,
}

impl Scene {
    /// `ends`: how long a pod takes to end; `drain`: how long a drain may take.
    async fn set(ends: &str, drain: &str) -> Self {
        Self::of(2, ends, drain).await
    }

    /// The same with more machines, and always one Node more than there are machines.
    async fn of(machines: usize, ends: &str, drain: &str) -> Self {
        let cluster = Cluster::start(Settings { nodes: machines + 1, ..Settings::default() }).await.unwrap();
        let fleet = Fleet::start(machines);
        typed(&fleet, &format!("cluster add prod --kubeconfig {}", cluster.kubeconfig().display())).exits(0);
        for number in 1..=machines {
            let (name, kube_node) = (format!("n{number}"), format!("node-{number}"));
            typed(&fleet, &format!("node bind {name} prod {kube_node}")).exits(0);
            is_machine_of(cluster.admin(), &fleet, &name, &kube_node).await;
        }
        let mut cart = objects::deployment("cart", 6);
        cart["spec"]["template"]["metadata"]["annotations"] =
            json!({"pod-delete.stage.kwok.x-k8s.io/delay": ends});
        cluster.admin().create(DEPLOYMENTS, &cart).await.unwrap();
        let scene = Self { plan: plan(&fleet, drain), cluster, fleet };
        scene.six_pods().await;
        scene
    }

    fn admin(&self) -> &Admin {
        self.cluster.admin()
    }

    async fn six_pods(&self) {
        let six = |pods: &[Value]| {
            let serves =
                |pod: &&Value| objects::is(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
            (pods.iter().filter(serves).count() == 6).then_some(())
        };
        self.admin().until("six ready pods", PODS, SOON, six).await.unwrap();
    }

    fn start(&self) {
        typed(&self.fleet, &format!("run start {}", self.plan)).exits(0);
    }

    /// The first node is cordoned and being emptied.
    async fn until_draining(&self) {
        let marked = |nodes: &[Value]| nodes.iter().any(is_marked).then_some(());
        self.admin().until("a Node of ours", NODES, SOON, marked).await.unwrap();
    }

    fn until_held(&self) -> RunView {
        self.fleet.until_run("the run to hold", RUN, |run| run.status != RunStatus::Running)
    }

    fn until_done(&self) {
        let view = self.fleet.until_run("the run to end", RUN, |run| run.status != RunStatus::Running);
        assert_eq!(view.status, RunStatus::Done, "{}", self.fleet.everything(&Ok(view.clone())));
        assert_eq!(fleet::phases(&view), [Phase::Done, Phase::Done]);
        for node in &self.fleet.nodes {
            assert_eq!(node.starts(), ["1.0.0", "2.0.0"], "{}", node.name);
        }
    }

    /// Nothing of ours is left on any Node.
    async fn all_given_back(&self) {
        let nodes = self.admin().get(NODES).await.unwrap();
        for node in nodes["items"].as_array().unwrap() {
            assert!(!is_marked(node) && node["spec"]["unschedulable"] != true, "{node}");
        }
        self.six_pods().await;
    }

    /// No machine was changed.
    fn untouched(&self) {
        for node in &self.fleet.nodes {
            assert_eq!(node.starts(), ["1.0.0"], "{}", node.name);
        }
    }
}

fn is_marked(node: &Value) -> bool {
    node["metadata"]["annotations"]["drydock/mark"].is_string()
}

/// The usual plan, by the usual recipe with a drain before its change.
fn plan(fleet: &Fleet, drain: &str) -> String {
    let recipe = include_str!("../../../../coordinator/recipes/systemd-binary.yaml");
    let (before, after) = recipe.split_once("  apply:").unwrap();
    let drain = format!(
        "  drain:\n    - kubernetesDrain:\n        barePods: refuse\n\n  deadlines:\n    drain: {drain}\n\n  apply:"
    );
    fleet.write("drained-recipe.yaml", &format!("{before}{drain}{after}"));
    fleet.release("2.0.0", Behaviour::Well);
    let plan = fleet.plan_text("2.0.0").replace("recipe: systemd-binary", "recipe: ./drained-recipe.yaml");
    fleet.write("drained.yaml", &plan)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn an_api_that_is_away_for_a_minute_in_the_middle_of_a_drain_only_makes_it_later() {
    if !here_with_all("DRYDOCK_KUBERNETES_ALL") {
        return;
    }
    let mut scene = Scene::set("5s", "5m").await;
    scene.start();
    scene.until_draining().await;
    // It accepts connections and answers nothing.
    scene.cluster.servers_mut()[0].freeze().unwrap();
    wait::pause(AWAY);
    let view = scene.fleet.run(0);
    assert_eq!(view.status, RunStatus::Running, "{}", scene.fleet.everything(&Ok(view.clone())));
    scene.untouched();
    scene.cluster.servers_mut()[0].thaw().unwrap();
    scene.until_done();
    scene.all_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_coordinator_killed_in_the_middle_of_a_drain_goes_on_with_it_and_gives_everything_back() {
    if !here() {
        return;
    }
    let mut scene = Scene::set("5s", "5m").await;
    scene.start();
    scene.until_draining().await;
    scene.fleet.coordinator.kill();
    scene.fleet.coordinator.start();
    scene.until_done();
    scene.all_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_node_that_a_person_uncordons_under_our_mark_is_not_changed_until_somebody_says_again() {
    if !here() {
        return;
    }
    let scene = Scene::set("8s", "5m").await;
    scene.start();
    scene.until_draining().await;
    scene.admin().patch(&format!("{NODES}/node-1"), &json!({"spec": {"unschedulable": null}})).await.unwrap();
    let view = scene.until_held();
    let hold = view.hold.clone().unwrap_or_else(|| panic!("{}", scene.fleet.everything(&Ok(view.clone()))));
    assert_eq!(hold.kind, HoldKind::NotDrained, "{hold:?}");
    assert!(hold.happened.contains("node-1") && hold.happened.contains("uncordoned"), "{hold:?}");
    scene.untouched();
    typed(&scene.fleet, "run resume 1").exits(0);
    scene.until_done();
    scene.all_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_node_that_is_deleted_in_the_middle_of_its_drain_is_not_changed_until_it_is_there_again() {
    if !here_with_all("DRYDOCK_KUBERNETES_ALL") {
        return;
    }
    let scene = Scene::set("8s", "30s").await;
    scene.start();
    scene.until_draining().await;
    scene.admin().delete(&format!("{NODES}/node-1")).await.unwrap();
    let view = scene.until_held();
    let hold = view.hold.clone().unwrap_or_else(|| panic!("{}", scene.fleet.everything(&Ok(view.clone()))));
    assert!(hold.happened.contains("node-1"), "{hold:?}");
    scene.untouched();
    // It registers again, as a kubelet that is started anew does.
    scene.cluster.add_nodes(&["node-1".to_owned()]).await.unwrap();
    is_machine_of(scene.admin(), &scene.fleet, "n1", "node-1").await;
    typed(&scene.fleet, "run resume 1").exits(0);
    scene.until_done();
    scene.all_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_finalizer_that_never_goes_is_named_at_the_drains_deadline() {
    if !here_with_all("DRYDOCK_KUBERNETES_ALL") {
        return;
    }
    let scene = Scene::set("0s", "20s").await;
    let pods = scene.admin().get(&format!("{PODS}?fieldSelector=spec.nodeName%3Dnode-1")).await.unwrap();
    let pod = objects::name(&pods["items"][0]).to_owned();
    let held = json!({"metadata": {"finalizers": ["drydock.test/never"]}});
    scene.admin().patch(&format!("{PODS}/{pod}"), &held).await.unwrap();
    scene.start();
    let view = scene.until_held();
    let hold = view.hold.clone().unwrap_or_else(|| panic!("{}", scene.fleet.everything(&Ok(view.clone()))));
    assert_eq!(hold.kind, HoldKind::NotDrained, "{hold:?}");
    assert!(hold.happened.contains(&pod) && hold.happened.contains("drydock.test/never"), "{hold:?}");
    scene.untouched();
    scene.admin().patch(&format!("{PODS}/{pod}"), &json!({"metadata": {"finalizers": null}})).await.unwrap();
    typed(&scene.fleet, "run resume 1").exits(0);
    scene.until_done();
    scene.all_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_certificate_that_expires_in_the_middle_of_a_run_is_named_and_a_new_one_goes_on() {
    if !here_with_all("DRYDOCK_KUBERNETES_ALL") {
        return;
    }
    let scene = Scene::set("25s", "40s").await;
    let file = scene.fleet.dir().join("short.kubeconfig");
    let add = format!("cluster add prod --replace --kubeconfig {}", file.display());
    let server = &scene.cluster.servers()[0];
    server.write_kubeconfig("short", &["system:masters"], 15, &file).unwrap();
    typed(&scene.fleet, &add).exits(0);
    scene.start();
    scene.until_draining().await;
    let view = scene.until_held();
    let hold = view.hold.clone().unwrap_or_else(|| panic!("{}", scene.fleet.everything(&Ok(view.clone()))));
    assert!(hold.happened.contains("credentials"), "{hold:?}");
    scene.untouched();
    server.write_kubeconfig("short", &["system:masters"], 3600, &file).unwrap();
    typed(&scene.fleet, &add).exits(0);
    typed(&scene.fleet, "run resume 1").exits(0);
    scene.until_done();
    scene.all_given_back().await;
}

/// What a rehearsal may not change, by what the API server counts changes with.
async fn versions(admin: &Admin) -> Vec<String> {
    let mut all = Vec::new();
    for path in [NODES, PODS, BUDGETS, DEPLOYMENTS] {
        let list = admin.get(path).await.unwrap();
        let each = list["items"].as_array().unwrap().iter();
        all.extend(
            each.map(|one| format!("{path}/{} {}", objects::name(one), one["metadata"]["resourceVersion"])),
        );
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_rehearsal_finds_every_planted_blocker_and_changes_nothing() {
    if !here() {
        return;
    }
    let scene = Scene::set("0s", "5m").await;
    let admin = scene.admin();
    // On node-1: a budget that nothing satisfies, and a pod that nothing starts again.
    admin.create(BUDGETS, &objects::budget("strict", "cart", json!({"minAvailable": 6}))).await.unwrap();
    let mut bare = objects::bare_pod("alone");
    bare["spec"]["nodeName"] = json!("node-1");
    admin.create(PODS, &bare).await.unwrap();
    // On node-2: an autoscaler that is about to delete it, and two budgets over one pod.
    let taint = json!({"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"});
    admin.patch(&format!("{NODES}/node-2"), &json!({"spec": {"taints": [taint]}})).await.unwrap();
    let mut twice = objects::deployment("twice", 1);
    twice["spec"]["template"]["spec"]["nodeName"] = json!("node-2");
    admin.create(DEPLOYMENTS, &twice).await.unwrap();
    for name in ["twice-a", "twice-b"] {
        admin.create(BUDGETS, &objects::budget(name, "twice", json!({"maxUnavailable": 1}))).await.unwrap();
    }
    let up =
        |pods: &[Value]| (pods.iter().filter(|pod| objects::is(pod, "Ready")).count() == 8).then_some(());
    admin.until("eight ready pods", PODS, SOON, up).await.unwrap();
    let counted = |budgets: &[Value]| {
        let seen =
            |budget: &&Value| budget["status"]["observedGeneration"] == budget["metadata"]["generation"];
        (budgets.iter().filter(seen).count() == 3).then_some(())
    };
    admin.until("three budgets that are counted", BUDGETS, SOON, counted).await.unwrap();

    let before = versions(admin).await;
    typed(&scene.fleet, &format!("rehearse {}", scene.plan)).exits(3).says(&[
        "default/strict",
        "default/alone",
        "ToBeDeletedByClusterAutoscaler",
        "twice-a and twice-b both select",
    ]);
    assert_eq!(versions(admin).await, before);
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn a_version_that_always_fails_takes_no_more_than_the_two_that_may_be_out_at_once() {
    if !here() {
        return;
    }
    let scene = Scene::of(4, "0s", "5m").await;
    scene.fleet.release("2.0.0", Behaviour::Exits);
    let text = std::fs::read_to_string(scene.fleet.dir().join(&scene.plan)).unwrap();
    let text = text.replace("spec:\n", "spec:\n  budget: {perFailureDomain: 2}\n");
    let text = text.replace("soak: 0s", "soak: 0s\n          concurrency: 2");
    scene.fleet.write(&scene.plan, &text);
    scene.start();
    let view = scene.until_held();
    let hold = view.hold.clone().unwrap_or_else(|| panic!("{}", scene.fleet.everything(&Ok(view.clone()))));
    assert_eq!(hold.kind, HoldKind::RolledBack, "{hold:?}");
    // Whoever was at work beside it is brought to its end; the others were neither cordoned nor changed.
    scene.fleet.until_run("nobody to be at work", RUN, |run| run.handed_out.is_empty());
    for number in [3, 4] {
        assert_eq!(scene.fleet.nodes[number - 1].starts(), ["1.0.0"], "n{number}");
        let node = scene.admin().get(&format!("{NODES}/node-{number}")).await.unwrap();
        assert!(!is_marked(&node) && node["spec"]["unschedulable"] != true, "{node}");
    }
    assert!(scene.fleet.nodes[..2].iter().any(|node| node.starts().len() > 1), "nobody was changed at all");
}
