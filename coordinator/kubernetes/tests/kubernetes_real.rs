//! The drain against a real control plane, through the real client. One cluster; each scene has its own node.
//!
//! `tests/run kubernetes` runs this; without Go it says that it is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "kubernetes_real/between.rs"]
mod between;
#[path = "kubernetes_real/checks.rs"]
mod checks;
#[path = "kubernetes_real/endpoints.rs"]
mod endpoints;
#[path = "kubernetes_real/refused.rs"]
mod refused;
#[path = "kubernetes_real/servers.rs"]
mod servers;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use drydock_kubernetes::{
    client::Client,
    drain::{
        Force, Order, Word, Words, ask,
        cordon::{self, Released},
        look::{self, foresee},
        work::{Ended, Progress, Stage, Stop, drain, still_drained_with},
    },
    kubeconfig::{Asked, read},
    mark::{self, Marker},
    objects::{Node, Pod},
    rights::{Purpose, missing},
};
use drydock_test_cluster::{
    Cluster, Settings,
    cluster::SOON,
    here,
    objects::{self, is},
};
use drydock_types::{Epoch, FleetId, NodeName, RunId, Verdict};
use futures_util::future;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const CLUSTER_ROLE: &str = include_str!("../../../deploy/kubernetes/clusterrole.yaml");
const FORCE_ROLE: &str = include_str!("../../../deploy/kubernetes/force.yaml");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// The user has the shipped role and nothing else: what it does not grant no drain may want.
async fn least_rights(cluster: &Cluster, client: &Client) {
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let role: Value = serde_saphyr::from_str(CLUSTER_ROLE).unwrap();
    cluster.admin().create(&format!("{roles}/clusterroles"), &role).await.unwrap();
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "drydock"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "drydock"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "drydock"}],
    });
    cluster.admin().create(&format!("{roles}/clusterrolebindings"), &binding).await.unwrap();
    // The server's authorizer hears of it a moment later.
    let granted = async { while !missing(client, &[Purpose::Drain]).await.unwrap().is_empty() {} };
    tokio::time::timeout(SOON, granted).await.expect("the shipped role does not suffice");
}

/// Of the user that is ours.
fn kubeconfig(cluster: &Cluster) -> PathBuf {
    cluster.place().join("drydock.kubeconfig")
}

/// Our client, that asks these servers, in that order.
fn ours(cluster: &Cluster, order: &[usize]) -> Client {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let servers: Vec<String> = order.iter().map(|index| cluster.servers()[*index].url()).collect();
    let asked = Asked { servers: &servers, now_unix_s: i64::try_from(now).unwrap(), ..Asked::default() };
    Client::new(&read(&kubeconfig(cluster), &asked).unwrap().credentials).unwrap()
}

struct Scene {
    cluster: Cluster,
    client: Client,
}

impl Scene {
    async fn start() -> Self {
        Self::of(Settings { audit: true, ..Settings::default() }).await
    }

    async fn of(settings: Settings) -> Self {
        let all: Vec<usize> = (0..settings.servers).collect();
        let cluster = Cluster::start(settings).await.unwrap();
        // A user of our own, to be told apart in the audit log.
        cluster.servers()[0].write_kubeconfig("drydock", &[], 3600, &kubeconfig(&cluster)).unwrap();
        let client = ours(&cluster, &all);
        least_rights(&cluster, &client).await;
        Self { cluster, client }
    }

    async fn node(&self, name: &str) -> Node {
        let node = self.cluster.admin().get(&format!("/api/v1/nodes/{name}")).await.unwrap();
        serde_json::from_value(node).unwrap()
    }

    /// As it is looked before the node is worked on.
    async fn still_drained(&self, order: &Order) -> Verdict {
        let (node, pods) = (look::node_path(&order.node), look::pods_path(&order.node));
        let node = ask::get::<Node>(&self.client, &node).await.unwrap();
        let (pods, _) = ask::list::<Pod>(&self.client, &pods).await.unwrap();
        still_drained_with(&self.client, order, &node, &pods).await
    }

    async fn order(&self, name: &str) -> Order {
        Order {
            node: name.to_owned(),
            uid: self.node(name).await.metadata.uid,
            marker: Marker {
                fleet: FleetId([1; 16]),
                run: RunId([2; 16]),
                node: NodeName::parse(name).unwrap(),
                epoch: Epoch(1),
            },
            words: Words::default(),
            own_pod: None,
            force: None,
            expects_none: false,
            looks_again: false,
            again: false,
        }
    }

    async fn drain(&self, order: &Order, within: Duration) -> Ended {
        let tell = watch::Sender::new(Progress::default());
        drain(&self.client, order, None, within, &tell, &CancellationToken::new()).await
    }

    async fn release(&self, order: &Order) -> Released {
        cordon::release(&self.client, &order.node, &order.uid, &order.marker, None).await.unwrap()
    }

    /// A Deployment of so many pods, all ready, and a budget over them that is counted.
    async fn workload(&self, name: &str, pods: usize, ends_after: &str, rule: Value, allowed: u64) {
        let admin = self.cluster.admin();
        let mut deployment = objects::deployment(name, u32::try_from(pods).unwrap());
        // Some take their time to end: the drain waits for them by its watch.
        deployment["spec"]["template"]["metadata"]["annotations"] =
            json!({"pod-delete.stage.kwok.x-k8s.io/delay": ends_after});
        admin.create(DEPLOYMENTS, &deployment).await.unwrap();
        admin.create(BUDGETS, &objects::budget(name, name, rule)).await.unwrap();
        let path = format!("{PODS}?labelSelector=app%3D{name}");
        let ready = admin.until("the pods to be ready", &path, SOON, |all| {
            (all.iter().filter(|pod| is(pod, "Ready")).count() == pods).then_some(())
        });
        ready.await.unwrap();
        let counted = admin.until("the budget to be counted", BUDGETS, SOON, |all| {
            let one = all.iter().find(|one| objects::name(one) == name)?;
            (one["status"]["disruptionsAllowed"] == allowed).then_some(())
        });
        counted.await.unwrap();
    }

    async fn pods_on(&self, node: &str) -> Vec<String> {
        let path = format!("{PODS}?fieldSelector=spec.nodeName%3D{node}");
        let pods = self.cluster.admin().get(&path).await.unwrap();
        pods["items"].as_array().unwrap().iter().map(|pod| objects::name(pod).to_owned()).collect()
    }

    async fn remove(&self, name: &str) {
        let admin = self.cluster.admin();
        admin.delete(&format!("{DEPLOYMENTS}/{name}")).await.unwrap();
        admin.delete(&format!("{BUDGETS}/{name}")).await.unwrap();
        let path = format!("{PODS}?labelSelector=app%3D{name}");
        let gone = admin.until("its pods to be gone", &path, SOON, |all| all.is_empty().then_some(()));
        gone.await.unwrap();
    }

    /// What the API server's audit log counted, by verb and subresource, of requests after the first so many.
    fn audited(&self, after: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.requests().iter().skip(after) {
            let sub =
                line["objectRef"]["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
            let kind = line["objectRef"]["resource"].as_str().unwrap_or_default();
            let key =
                format!("{} {kind}{sub} {}", line["verb"].as_str().unwrap(), line["responseStatus"]["code"]);
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    /// Requests of ours, each once.
    fn requests(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.cluster.servers()[0].audit_log()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ours = |line: &Value| line["user"]["username"] == "drydock";
        lines.filter(ours).filter(|line| seen.insert(line["auditID"].as_str().unwrap().to_owned())).collect()
    }

    /// The evictions of one pod that the server was asked for by us, first to last, after the first so many requests.
    fn evictions(&self, pod: &str, after: usize) -> Vec<Value> {
        let of_it =
            |line: &Value| line["objectRef"]["subresource"] == "eviction" && line["objectRef"]["name"] == pod;
        self.requests().into_iter().skip(after).filter(of_it).collect()
    }
}

/// What a drain tells, once it is that.
async fn told_of(told: &mut watch::Receiver<Progress>, is: impl FnMut(&Progress) -> bool) -> Progress {
    let told = tokio::time::timeout(SOON, told.wait_for(is)).await;
    told.expect("the drain tells nothing of the kind").unwrap().clone()
}

async fn a_node_is_emptied_under_a_budget_and_given_back(scene: &Scene) {
    scene.cluster.admin().create(DAEMON_SETS, &objects::daemon_set("network")).await.unwrap();
    scene.workload("web", 12, "300ms", json!({"maxUnavailable": 2}), 2).await;
    let order = scene.order("node-1").await;
    let here: Vec<String> =
        scene.pods_on("node-1").await.into_iter().filter(|name| name.starts_with("web")).collect();
    assert!(here.len() >= 3, "{here:?}");
    let foreseen = foresee(&scene.client, &order, true).await.unwrap();
    assert_eq!(foreseen.judgement.verdict(), Verdict::Clear, "{:?}", foreseen.judgement.findings);
    assert_eq!(foreseen.judgement.go.len(), here.len());

    let before = scene.requests().len();
    let Ended::Drained(evidence) = scene.drain(&order, SOON).await else { panic!() };
    let mut gone: Vec<String> = evidence.gone.iter().map(|(pod, _)| pod.name.clone()).collect();
    gone.sort();
    assert_eq!(gone, here);
    assert!(scene.pods_on("node-1").await.iter().all(|name| name.starts_with("network")));
    let node = scene.node("node-1").await;
    assert!(node.spec.unschedulable && node.metadata.annotations.contains_key(mark::KEY));
    assert_eq!(scene.still_drained(&order).await, Verdict::Clear);
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    let node = scene.node("node-1").await;
    assert!(!node.spec.unschedulable && node.metadata.annotations.is_empty());

    let counts = scene.audited(before);
    println!("requests of a drain of {} pods: {counts:?}", here.len());
    let evictions: usize =
        counts.iter().filter(|(key, _)| key.contains("eviction")).map(|(_, count)| count).sum();
    assert_eq!(counts.get("create pods/eviction 201"), Some(&here.len()), "{counts:?}");
    assert_eq!(evictions, here.len(), "the budget was never asked in vain: {counts:?}");
    scene.remove("web").await;
    scene.cluster.admin().delete(&format!("{DAEMON_SETS}/network")).await.unwrap();
}

/// The drain that others are measured by: no budget in the way, pods that end at once.
async fn a_plain_drain_costs_few_requests(scene: &Scene) {
    scene.workload("plain", 30, "0s", json!({"maxUnavailable": "50%"}), 15).await;
    let mut order = scene.order("node-2").await;
    order.words.nowhere_else = Word::Allow;
    let here = scene.pods_on("node-2").await.len();
    let look = foresee(&scene.client, &order, false).await.unwrap().look;
    let (before, tell) = (scene.requests().len(), watch::Sender::default());
    let began = Instant::now();
    let ended = drain(&scene.client, &order, Some(look), SOON, &tell, &CancellationToken::new()).await;
    let took = began.elapsed();
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    println!("a drain of {here} pods took {took:?}, with its release {:?}", began.elapsed());
    let counts = scene.audited(before);
    let all: usize = counts.values().sum();
    // On a machine that is too busy one may be given up (the log says 504): the pod is read and asked about once more.
    let given_up = counts.get("create pods/eviction 504").copied().unwrap_or_default();
    assert!(all <= 6 + 2 * (here + given_up), "{counts:?} for {here} pods");
    println!("the same by a bare client: {:?}", bare(scene, "node-3").await);
    scene.remove("plain").await;
}

/// Patch, ten evictions at once, a watch until all are gone, patch.
async fn bare(scene: &Scene, node: &str) -> Duration {
    let admin = scene.cluster.admin();
    let pods = scene.pods_on(node).await;
    let began = Instant::now();
    let path = format!("/api/v1/nodes/{node}");
    admin.patch(&path, &json!({"spec": {"unschedulable": true}})).await.unwrap();
    let asked = pods.iter().map(|pod| admin.evict("default", pod));
    for answer in future::join_all(asked).await {
        assert_eq!(answer.unwrap().status, 201);
    }
    let here = format!("{PODS}?fieldSelector=spec.nodeName%3D{node}");
    admin.until("they to be gone", &here, SOON, |all| all.is_empty().then_some(())).await.unwrap();
    admin.patch(&path, &json!({"spec": {"unschedulable": null}})).await.unwrap();
    println!("{} pods", pods.len());
    began.elapsed()
}

async fn what_can_never_go_is_found_before_anything_is_touched(scene: &Scene) {
    scene.workload("strict", 6, "0s", json!({"minAvailable": 6}), 0).await;
    let order = scene.order("node-2").await;
    let before = scene.node("node-2").await.metadata.resource_version;
    let ended = scene.drain(&order, SOON).await;
    let Ended::Refused { why, .. } = ended else { panic!("{ended:?}") };
    assert!(why.contains("default/strict allows 0 disruptions with 6 of 6 pods healthy"), "{why}");
    assert_eq!(scene.node("node-2").await.metadata.resource_version, before);
    scene.remove("strict").await;
}

async fn a_blocked_drain_goes_on_when_its_budget_is_repaired(scene: &Scene) {
    scene.workload("shop", 6, "300ms", json!({"minAvailable": 5}), 1).await;
    // One pod elsewhere is not ready, and stays so.
    let elsewhere = scene.pods_on("node-3").await.remove(0);
    let admin = scene.cluster.admin();
    let hands_off = json!({"metadata": {"annotations": {"drydock.test/hands-off": ""}}});
    admin.patch(&format!("{PODS}/{elsewhere}"), &hands_off).await.unwrap();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    admin.patch(&format!("{PODS}/{elsewhere}/status"), &unready).await.unwrap();
    let blocked = admin.until("the budget to allow none", BUDGETS, SOON, |all| {
        all.iter().any(|one| one["status"]["disruptionsAllowed"] == 0).then_some(())
    });
    blocked.await.unwrap();

    let order = scene.order("node-1").await;
    let tell = watch::Sender::new(Progress::default());
    let mut told = tell.subscribe();
    let stop = CancellationToken::new();
    let (ended, said) = tokio::join!(drain(&scene.client, &order, None, SOON, &tell, &stop), async {
        let said = told_of(&mut told, |progress| progress.waits.is_some()).await.waits.unwrap().because;
        admin.patch(&format!("{BUDGETS}/shop"), &json!({"spec": {"minAvailable": 3}})).await.unwrap();
        said
    });
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    assert!(
        said.contains("PodDisruptionBudget default/shop allows 0 more now (5 of 6 pods healthy"),
        "{said}"
    );
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    admin
        .patch(
            &format!("{PODS}/{elsewhere}"),
            &json!({"metadata": {"annotations": {"drydock.test/hands-off": null}}}),
        )
        .await
        .unwrap();
    scene.remove("shop").await;
}

async fn a_finalizer_is_named_at_the_deadline(scene: &Scene) {
    let admin = scene.cluster.admin();
    let mut pod = objects::bare_pod("held");
    pod["metadata"]["finalizers"] = json!(["drydock.test/held"]);
    pod["spec"]["nodeName"] = json!("node-2");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    admin.create(PODS, &pod).await.unwrap();
    let ready =
        admin.until("it to be ready", PODS, SOON, |all| all.iter().any(|pod| is(pod, "Ready")).then_some(()));
    ready.await.unwrap();
    let mut order = scene.order("node-2").await;
    let ended = scene.drain(&order, SOON).await;
    assert!(
        matches!(&ended, Ended::Refused { why, .. } if why.contains("default/held belongs to no controller"))
    );
    order.words.bare_pods = Word::Allow;
    let ended = scene.drain(&order, Duration::from_secs(20)).await;
    let Ended::Stopped { why: Stop::Deadline, left, waits: Some(waits) } = ended else { panic!("{ended:?}") };
    assert_eq!((left.len(), left[0].stage), (1, Stage::Ends));
    assert!(
        waits.because.contains("default/held") && waits.because.contains("finalizer drydock.test/held"),
        "{waits:?}"
    );
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    admin.patch(&format!("{PODS}/held"), &json!({"metadata": {"finalizers": null}})).await.unwrap();
}

/// With the right that the usual role has not.
async fn what_a_person_has_named_is_deleted_past_its_budget(scene: &Scene) {
    scene.workload("stuck", 6, "0s", json!({"minAvailable": 5}), 1).await;
    let admin = scene.cluster.admin();
    let mut order = scene.order("node-1").await;
    // One elsewhere is not ready, and stays so: the budget allows none any more.
    let elsewhere = scene.pods_on("node-2").await.remove(0);
    let hands_off = json!({"metadata": {"annotations": {"drydock.test/hands-off": ""}}});
    admin.patch(&format!("{PODS}/{elsewhere}"), &hands_off).await.unwrap();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    admin.patch(&format!("{PODS}/{elsewhere}/status"), &unready).await.unwrap();
    let blocked = admin.until("the budget to allow none", BUDGETS, SOON, |all| {
        all.iter().any(|one| one["status"]["disruptionsAllowed"] == 0).then_some(())
    });
    blocked.await.unwrap();
    let here = scene.pods_on("node-1").await;
    let mut uids = std::collections::BTreeSet::new();
    for pod in &here {
        let pod = admin.get(&format!("{PODS}/{pod}")).await.unwrap();
        uids.insert(pod["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    order.force = Some(Force { by: "anna".to_owned(), only: Some(uids), grace_s: None });
    let ended = scene.drain(&order, SOON).await;
    assert!(matches!(&ended, Ended::Refused { why, .. } if why.contains("delete pods")), "{ended:?}");
    let role: Value = serde_saphyr::from_multiple::<Value>(FORCE_ROLE).unwrap().remove(0);
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    admin.create(&format!("{roles}/clusterroles"), &role).await.unwrap();
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "drydock-force"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "drydock-force"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "drydock"}],
    });
    admin.create(&format!("{roles}/clusterrolebindings"), &binding).await.unwrap();
    let granted = async { while !missing(&scene.client, &[Purpose::Force]).await.unwrap().is_empty() {} };
    tokio::time::timeout(SOON, granted).await.expect("the shipped role does not suffice");

    let Ended::Drained(evidence) = scene.drain(&order, SOON).await else { panic!("not drained") };
    assert!(!evidence.forced.is_empty() && evidence.forced.len() <= here.len(), "{evidence:?}");
    for said in &evidence.forced {
        assert!(said.contains("by the word of anna") && said.contains("stuck"), "{said}");
    }
    assert_eq!(scene.pods_on("node-1").await, Vec::<String>::new());
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    let hands_on = json!({"metadata": {"annotations": {"drydock.test/hands-off": null}}});
    admin.patch(&format!("{PODS}/{elsewhere}"), &hands_on).await.unwrap();
    scene.remove("stuck").await;
}

async fn a_person_who_uncordons_in_mid_drain_ends_it(scene: &Scene) {
    scene.workload("taken", 9, "1s", json!({"maxUnavailable": 1}), 1).await;
    let order = scene.order("node-1").await;
    let (tell, stop) = (watch::Sender::new(Progress::default()), CancellationToken::new());
    let mut told = tell.subscribe();
    let (ended, ()) = tokio::join!(drain(&scene.client, &order, None, SOON, &tell, &stop), async {
        told_of(&mut told, |progress| progress.gone > 0).await;
        let uncordon = json!({"spec": {"unschedulable": null}});
        scene.cluster.admin().patch("/api/v1/nodes/node-1", &uncordon).await.unwrap();
    });
    let Ended::Refused { why, .. } = ended else { panic!("{ended:?}") };
    assert!(why.contains("somebody uncordoned the Node node-1"), "{why}");
    assert!(!scene.node("node-1").await.spec.unschedulable, "that person's word stands");
    assert!(matches!(scene.still_drained(&order).await, Verdict::Refused(_)));
    assert_eq!(scene.release(&order).await, Released::MarkRemoved);
    scene.remove("taken").await;
}

async fn a_server_that_is_killed_in_mid_drain_is_waited_for(scene: &mut Scene) {
    scene.workload("kept", 9, "3s", json!({"maxUnavailable": 1}), 1).await;
    let order = scene.order("node-3").await;
    let here = scene.pods_on("node-3").await.len();
    assert!(here >= 2);
    let tell = watch::Sender::new(Progress::default());
    let mut told = tell.subscribe();
    let stop = CancellationToken::new();
    let (client, servers) = (&scene.client, scene.cluster.servers_mut());
    let (ended, ()) = tokio::join!(drain(client, &order, None, 3 * SOON, &tell, &stop), async {
        told_of(&mut told, |progress| progress.gone > 0).await;
        servers[0].kill().unwrap();
        let unreached = |progress: &Progress| {
            progress.waits.as_ref().is_some_and(|waits| waits.because.contains("no endpoint"))
        };
        told_of(&mut told, unreached).await;
        tokio::task::block_in_place(|| servers[0].start()).unwrap();
    });
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    scene.remove("kept").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds a Kubernetes server with Go: tests/run kubernetes"]
async fn drains_of_a_real_control_plane() {
    if !here() {
        return;
    }
    let mut scene = Scene::start().await;
    a_node_is_emptied_under_a_budget_and_given_back(&scene).await;
    a_plain_drain_costs_few_requests(&scene).await;
    what_can_never_go_is_found_before_anything_is_touched(&scene).await;
    a_blocked_drain_goes_on_when_its_budget_is_repaired(&scene).await;
    a_finalizer_is_named_at_the_deadline(&scene).await;
    what_a_person_has_named_is_deleted_past_its_budget(&scene).await;
    a_person_who_uncordons_in_mid_drain_ends_it(&scene).await;
    refused::a_server_with_too_many_requests_is_no_budget_and_is_given_its_time(&scene).await;
    refused::a_pod_that_was_made_anew_in_between_costs_its_budget_once(&scene).await;
    a_server_that_is_killed_in_mid_drain_is_waited_for(&mut scene).await;
}
