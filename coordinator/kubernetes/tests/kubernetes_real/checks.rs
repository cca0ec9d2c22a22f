//! Checks against a real control plane: planted failures by their causes, objects of kinds that others define, canaries.
//! The user has the shipped roles and nothing else.

use std::time::Duration;

use drydock_kubernetes::{
    canary::{self, Canary, When},
    condition::{self, Path, Wanted, Which},
    health::{self, Kind, Known, Problem, Weight},
    rights::{CANARY_NAMESPACE, Purpose, missing},
};
use drydock_test_cluster::{Admin, cluster::SOON, here, objects};
use drydock_types::{FleetId, RunId, Verdict};
use serde_json::{Value, json};

use super::{BUDGETS, DEPLOYMENTS, PODS, Scene};

const CANARY_ROLE: &str = include_str!("../../../../deploy/kubernetes/canary.yaml");
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";
const RBAC: &str = "rbac.authorization.k8s.io";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DAY: i64 = 86_400;

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
        .unwrap()
}

fn at(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).unwrap().to_string()
}

impl Scene {
    /// What is found, ten minutes from now: what is only just being done by then would be done.
    async fn problems(&self) -> Vec<Problem> {
        let later = now() + 600;
        health::judge(&health::observe(&self.client, Vec::new(), &[], later).await, later)
    }

    /// The lines that would stop a run.
    async fn lines(&self) -> Vec<String> {
        let later = now() + 600;
        let stops = |problem: &Problem| problem.weight > Weight::Note;
        self.problems()
            .await
            .iter()
            .filter(|problem| stops(problem))
            .map(|problem| problem.what(later))
            .collect()
    }

    /// A Deployment on one node whose pods are nobody's but this test's.
    async fn hands_off(&self, name: &str, pods: u32, node: &str) -> Vec<Value> {
        let mut deployment = objects::deployment(name, pods);
        let template = &mut deployment["spec"]["template"];
        template["metadata"]["annotations"] = json!({"drydock.test/hands-off": ""});
        template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        self.cluster.admin().create(DEPLOYMENTS, &deployment).await.unwrap();
        let bound = |all: &[Value]| {
            let of: Vec<Value> = all.iter().filter(|pod| pod["spec"]["nodeName"] == node).cloned().collect();
            (of.len() == pods as usize).then_some(of)
        };
        let path = format!("{PODS}?labelSelector=app%3D{name}");
        self.cluster.admin().until("the pods to be placed", &path, SOON, bound).await.unwrap()
    }
}

async fn status(admin: &Admin, pod: &Value, status: Value) {
    let path = format!("{PODS}/{}/status", objects::name(pod));
    admin.patch(&path, &json!({"status": status})).await.unwrap();
}

fn waits(reason: &str, message: &str, since: i64) -> Value {
    json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(since)},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": at(since)},
        ],
        "containerStatuses": [{
            "name": "main", "image": "simulated", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }],
    })
}

/// What a kubelet writes of a pod, again and again.
async fn event(admin: &Admin, namespace: &str, pod: &Value, reason: &str, message: &str) {
    let name = objects::name(pod);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.17a"), "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]},
        "reason": reason, "message": message, "type": "Warning", "count": 4711,
        "firstTimestamp": at(now() - 3600), "lastTimestamp": at(now()), "source": {"component": "kubelet"},
    });
    admin.create(&format!("/api/v1/namespaces/{namespace}/events"), &event).await.unwrap();
}

async fn a_cluster_that_is_well_has_no_finding(scene: &Scene) {
    scene.workload("fine", 6, "0s", json!({"maxUnavailable": 1}), 1).await;
    let settled = async { while !scene.lines().await.is_empty() {} };
    tokio::time::timeout(SOON, settled).await.expect("something fails in a fresh cluster");
    let seen = health::observe(&scene.client, Vec::new(), &[], now()).await;
    assert_eq!(
        (seen.nodes.len(), seen.counted.pods, seen.counted.workloads),
        (3, 6, 1),
        "{:?}",
        seen.counted
    );
    assert!(seen.unseen.is_empty(), "{:?}", seen.unseen);
    scene.cluster.admin().delete(&format!("{BUDGETS}/fine")).await.unwrap();
}

/// The story of the missing socket: pods that fail for 41 days, in one line, and a run that is not stopped by them.
async fn the_missing_socket_is_one_line(scene: &Scene) {
    let admin = scene.cluster.admin();
    let said = |i: usize| {
        format!(
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"{i:064x}\": plugin type=\"flannel\" failed (add): loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory"
        )
    };
    let pods = scene.hands_off("cart", 14, "node-2").await;
    for (i, pod) in pods.iter().enumerate() {
        status(admin, pod, waits("ContainerCreating", "", now() - 41 * DAY)).await;
        event(admin, "default", pod, "FailedCreatePodSandBox", &said(i)).await;
    }
    assert_eq!(
        scene.lines().await,
        ["14 pods on node-2 without a sandbox for 41 d: /run/flannel/subnet.env is not there"]
    );
    let known = Known { began_unix_s: now(), before: None };
    let later = now() + 600;
    assert_eq!(health::verdict(&scene.problems().await, Some(known), later), Verdict::Clear);
    assert!(matches!(health::verdict(&scene.problems().await, None, later), Verdict::Waiting(_)));
    admin.delete(&format!("{DEPLOYMENTS}/cart")).await.unwrap();
    for pod in pods {
        let now = format!("{PODS}/{}?gracePeriodSeconds=0", objects::name(&pod));
        admin.delete(&now).await.unwrap();
    }
}

async fn planted_failures_are_told_apart(scene: &Scene) {
    let admin = scene.cluster.admin();
    let image = scene.hands_off("image", 2, "node-1").await;
    for pod in &image {
        let why = "Back-off pulling image \"simulated\": ErrImagePull: failed to pull and unpack image: dial tcp: lookup registry-1.docker.io: no such host";
        status(admin, pod, waits("ImagePullBackOff", why, now() - 3 * DAY)).await;
    }
    let crash = scene.hands_off("crash", 1, "node-1").await;
    let mut crashed = waits("CrashLoopBackOff", "back-off 5m0s restarting failed container", now() - 60);
    crashed["containerStatuses"][0]["restartCount"] = json!(1403);
    crashed["containerStatuses"][0]["lastState"] = json!({"terminated": {
        "exitCode": 1, "reason": "Error", "message": "no database", "startedAt": at(now() - 70), "finishedAt": at(now() - 60),
    }});
    status(admin, &crash[0], crashed).await;
    let mut held = objects::bare_pod("held");
    held["metadata"]["finalizers"] = json!(["drydock.test/held"]);
    held["spec"]["nodeName"] = json!("node-1");
    held["spec"]["terminationGracePeriodSeconds"] = json!(0);
    admin.create(PODS, &held).await.unwrap();
    admin.delete(&format!("{PODS}/held")).await.unwrap();
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
        "storageClassName": "nobodys", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    admin.create(claims, &claim).await.unwrap();
    let mut waits_for_it = objects::bare_pod("db");
    waits_for_it["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    admin.create(PODS, &waits_for_it).await.unwrap();

    let told = async {
        loop {
            let problems = scene.problems().await;
            let kinds: Vec<Kind> =
                problems.iter().filter(|of| of.weight > Weight::Note).map(|of| of.kind).collect();
            if kinds == [Kind::Claim, Kind::Image, Kind::Crash, Kind::Unscheduled, Kind::Terminating] {
                return;
            }
            assert!(kinds.len() < 8, "{problems:?}");
        }
    };
    let in_time = tokio::time::timeout(SOON, told).await;
    let lines = scene.lines().await;
    assert!(in_time.is_ok(), "{lines:#?}");
    for (line, said) in lines.iter().zip([
        "the claim default/data is bound to no volume, and pod db waits for it",
        "2 pods on node-1 without an image for 3 d: the registry docker.io has no address (DNS)",
        "in a crash loop",
        "pod default/db without a node",
        "stuck in Terminating",
    ]) {
        assert!(line.contains(said), "{lines:#?}");
    }
    assert!(lines[2].contains("container main ends with exit code 1: no database"), "{lines:#?}");
    assert!(lines[4].contains("its finalizer drydock.test/held is not taken off"), "{lines:#?}");

    admin.patch(&format!("{PODS}/held"), &json!({"metadata": {"finalizers": null}})).await.unwrap();
    for name in ["image", "crash"] {
        admin.delete(&format!("{DEPLOYMENTS}/{name}")).await.unwrap();
    }
    for pod in image.iter().chain(&crash).chain([&waits_for_it]) {
        admin.delete(&format!("{PODS}/{}?gracePeriodSeconds=0", objects::name(pod))).await.unwrap();
    }
    admin.delete(&format!("{claims}/data")).await.unwrap();
}

async fn a_node_whose_kubelet_is_silent_is_told_by_its_words(scene: &Scene) {
    let admin = scene.cluster.admin();
    let path = "/api/v1/nodes/node-3";
    admin.patch(path, &json!({"metadata": {"annotations": {"drydock.test/hands-off": ""}}})).await.unwrap();
    let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.", "lastTransitionTime": at(now() - 3 * 3600)}]}});
    admin.patch(&format!("{path}/status"), &silent).await.unwrap();
    let lines = scene.lines().await;
    assert!(
        lines
            .iter()
            .any(|line| line == "Node node-3 not Ready for 3 h: Kubelet stopped posting node status."),
        "{lines:#?}"
    );
    admin.patch(path, &json!({"metadata": {"annotations": {"drydock.test/hands-off": null}}})).await.unwrap();
    let ready = |all: &[Value]| all.iter().all(|node| objects::is(node, "Ready")).then_some(());
    admin.until("all nodes Ready again", "/api/v1/nodes", SOON, ready).await.unwrap();
}

/// A CustomResourceDefinition of any content.
fn crd(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

fn of_kind(group: &str, version: &str, kind: &str, wanted: Wanted) -> condition::Asked {
    condition::Asked {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some("default".to_owned()),
        which: Which::Selector(String::new()),
        wanted,
    }
}

async fn grant(admin: &Admin, name: &str, group: &str, resource: &str) {
    let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": ["get", "list"]}]});
    let binding = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "drydock"}]});
    admin.create(&format!("{ROLES}/clusterroles"), &role).await.unwrap();
    admin.create(&format!("{ROLES}/clusterrolebindings"), &binding).await.unwrap();
}

/// Looks until it says so: discovery, rights and storage of a kind come a moment after it.
async fn until(scene: &Scene, asked: &condition::Asked, is: impl Fn(&Verdict) -> bool) -> Verdict {
    let looks = async {
        loop {
            let verdict = condition::look(&scene.client, asked).await;
            if is(&verdict) {
                return verdict;
            }
        }
    };
    match tokio::time::timeout(SOON, looks).await {
        Ok(verdict) => verdict,
        Err(_) => panic!("it stays {:?}", condition::look(&scene.client, asked).await),
    }
}

async fn objects_of_other_peoples_kinds_are_judged(scene: &Scene) {
    let admin = scene.cluster.admin();
    let group = "kustomize.toolkit.fluxcd.io";
    let ready = Wanted::Condition { kind: "Ready".to_owned(), status: "True".to_owned() };
    let asked = of_kind(group, "v1", "Kustomization", ready);
    let says =
        |what: &'static str| move |verdict: &Verdict| verdict.reason().is_some_and(|why| why.contains(what));
    // No such kind; then there is one that may not be read; then one of which there is nothing.
    let verdict = condition::look(&scene.client, &asked).await;
    assert!(
        matches!(&verdict, Verdict::Refused(why) if why.contains("no API kustomize.toolkit.fluxcd.io/v1")),
        "{verdict:?}"
    );
    admin.create(CRDS, &crd(group, "v1", "Kustomization", "kustomizations")).await.unwrap();
    let verdict = until(scene, &asked, says("grant it by a role of its own")).await;
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("list kustomizations")), "{verdict:?}");
    grant(admin, "flux-read", group, "kustomizations").await;
    let verdict = until(scene, &asked, says("there is no Kustomization at all")).await;
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");

    let path = format!("/apis/{group}/v1/namespaces/default/kustomizations");
    let apps = json!({"apiVersion": format!("{group}/v1"), "kind": "Kustomization", "metadata": {"name": "apps", "labels": {"team": "shop"}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "kustomization.yaml not found"}]}});
    admin.create(&path, &apps).await.unwrap();
    let verdict = condition::look(&scene.client, &asked).await;
    assert_eq!(
        verdict,
        Verdict::Waiting("Kustomization default/apps is Ready=False (BuildFailed: kustomization.yaml not found), and must be Ready=True".to_owned())
    );
    let well = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"}]}});
    admin.patch(&format!("{path}/apps"), &well).await.unwrap();
    assert_eq!(condition::look(&scene.client, &asked).await, Verdict::Clear);
    let named = |which: Which| condition::Asked { which, ..asked.clone() };
    assert_eq!(condition::look(&scene.client, &named(Which::Name("apps".to_owned()))).await, Verdict::Clear);
    assert_eq!(
        condition::look(&scene.client, &named(Which::Selector("team=shop".to_owned()))).await,
        Verdict::Clear
    );
    let none = condition::look(&scene.client, &named(Which::Selector("team=web".to_owned()))).await;
    assert!(matches!(none, Verdict::Unknown(_)), "{none:?}");
    let bad = condition::look(&scene.client, &named(Which::Selector("team in (".to_owned()))).await;
    assert!(matches!(bad, Verdict::Refused(_)), "{bad:?}");

    // A value at a path.
    let group = "ceph.rook.io";
    admin.create(CRDS, &crd(group, "v1", "CephCluster", "cephclusters")).await.unwrap();
    grant(admin, "rook-read", group, "cephclusters").await;
    let path = Path::parse("$.status.ceph.health").unwrap();
    let asked =
        of_kind(group, "v1", "CephCluster", Wanted::Values { path, one_of: vec![json!("HEALTH_OK")] });
    until(scene, &asked, says("there is no CephCluster at all")).await;
    let path = format!("/apis/{group}/v1/namespaces/default/cephclusters");
    let ceph = json!({"apiVersion": format!("{group}/v1"), "kind": "CephCluster", "metadata": {"name": "rook-ceph"},
        "status": {"phase": "Ready", "ceph": {"health": "HEALTH_WARN"}}});
    admin.create(&path, &ceph).await.unwrap();
    let verdict = condition::look(&scene.client, &asked).await;
    assert!(
        matches!(&verdict, Verdict::Waiting(why) if why.contains("HEALTH_WARN at $.status.ceph.health")),
        "{verdict:?}"
    );
    admin
        .patch(&format!("{path}/rook-ceph"), &json!({"status": {"ceph": {"health": "HEALTH_OK"}}}))
        .await
        .unwrap();
    assert_eq!(condition::look(&scene.client, &asked).await, Verdict::Clear);
}

async fn canary_of(scene: &Scene, node: &str) -> Canary {
    Canary {
        fleet: FleetId([7; 16]),
        run: RunId([9; 16]),
        node: node.to_owned(),
        node_uid: scene.node(node).await.metadata.uid,
        when: When::Before,
        asked_by: None,
        image: "simulated".to_owned(),
        command: Vec::new(),
        resolve: None,
        within: SOON,
    }
}

async fn a_canary_flies_and_is_gone(scene: &mut Scene) {
    let admin = scene.cluster.admin();
    let pods = format!("/api/v1/namespaces/{CANARY_NAMESPACE}/pods");
    let canary = canary_of(scene, "node-1").await;
    // Without its rights it says which file grants them.
    let verdict = canary::fly(&scene.client, &canary, now).await;
    assert!(
        matches!(&verdict, Verdict::Refused(why) if why.contains("deploy/kubernetes/canary.yaml")),
        "{verdict:?}"
    );
    for document in serde_saphyr::from_multiple::<Value>(CANARY_ROLE).unwrap() {
        let path = match document["kind"].as_str().unwrap() {
            "Namespace" => "/api/v1/namespaces".to_owned(),
            "Role" => format!("{ROLES}/namespaces/{CANARY_NAMESPACE}/roles"),
            _ => continue,
        };
        admin.create(&path, &document).await.unwrap();
    }
    let binding = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": "drydock-canary"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "drydock-canary"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "drydock"}]});
    admin.create(&format!("{ROLES}/namespaces/{CANARY_NAMESPACE}/rolebindings"), &binding).await.unwrap();
    // A pod is not taken into a new namespace before its ServiceAccount is there.
    let accounts = format!("/api/v1/namespaces/{CANARY_NAMESPACE}/serviceaccounts");
    let made = |all: &[Value]| all.iter().any(|one| objects::name(one) == "default").then_some(());
    admin.until("the ServiceAccount", &accounts, SOON, made).await.unwrap();
    let granted = async { while !missing(&scene.client, &[Purpose::Canary]).await.unwrap().is_empty() {} };
    tokio::time::timeout(SOON, granted).await.expect("the canary's role does not suffice");

    // A rehearsal makes none, whatever the node is.
    let cordon = json!({"spec": {"unschedulable": true}});
    admin.patch("/api/v1/nodes/node-1", &cordon).await.unwrap();
    assert_eq!(canary::rehearse(&scene.client, &canary).await, Verdict::Clear);
    assert_eq!(admin.get(&pods).await.unwrap()["items"], json!([]));
    // One that a run before has left on the node goes when the next one comes.
    let left = Canary { run: RunId([8; 16]), resolve: Some("x".to_owned()), ..canary.clone() };
    tokio::select! {
        verdict = canary::fly(&scene.client, &left, now) => panic!("simulated containers end with nothing: {verdict:?}"),
        ready = admin.until("it to run", &pods, SOON, |all| all.iter().any(|pod| objects::is(pod, "Ready")).then_some(())) => ready.unwrap(),
    }
    // Cordoned or not, it starts and answers, and nothing of it is left.
    assert_eq!(canary::fly(&scene.client, &canary, now).await, Verdict::Clear);
    admin.until("nothing to be left", &pods, SOON, |all| all.is_empty().then_some(())).await.unwrap();
    admin.patch("/api/v1/nodes/node-1", &json!({"spec": {"unschedulable": null}})).await.unwrap();
}

/// Where no sandbox can be made it says so by the missing file, and takes the pod away.
async fn a_canary_finds_the_missing_socket(scene: &mut Scene) {
    scene.cluster.stop_kwok();
    let admin = scene.cluster.admin();
    let pods = format!("/api/v1/namespaces/{CANARY_NAMESPACE}/pods");
    // Nothing starts it, however long it is given.
    let canary = Canary { within: Duration::from_secs(2), ..canary_of(scene, "node-2").await };
    let (verdict, ()) = tokio::join!(canary::fly(&scene.client, &canary, now), async {
        let pod = admin.until("the canary", &pods, SOON, |all| all.first().cloned()).await.unwrap();
        let said = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"8f2c0e1b7a91\": plugin type=\"kube-ovn\" failed (add): RPC failed; request ip return 500 Post \"http://dummy/api/v1/add\": dial unix /run/openvswitch/kube-ovn-daemon.sock: connect: no such file or directory";
        event(admin, CANARY_NAMESPACE, &pod, "FailedCreatePodSandBox", said).await;
    });
    let Verdict::Waiting(why) = &verdict else { panic!("{verdict:?}") };
    assert!(
        why.starts_with("the canary on node-2 did not answer within 2 s: /run/openvswitch/kube-ovn-daemon.sock is not there"),
        "{why}"
    );
    let told_to_go =
        |all: &[Value]| all.iter().all(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).then_some(());
    admin.until("it to be told to go", &pods, SOON, told_to_go).await.unwrap();
    scene.cluster.start_kwok().unwrap();
    let admin = scene.cluster.admin();
    admin.until("nothing to be left", &pods, SOON, |all| all.is_empty().then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds a Kubernetes server with Go: tests/run kubernetes"]
async fn checks_of_a_real_control_plane() {
    if !here() {
        return;
    }
    let mut scene = Scene::start().await;
    let granted = async { while !missing(&scene.client, &[Purpose::Checks]).await.unwrap().is_empty() {} };
    tokio::time::timeout(SOON, granted).await.expect("the shipped role does not suffice");
    a_cluster_that_is_well_has_no_finding(&scene).await;
    the_missing_socket_is_one_line(&scene).await;
    planted_failures_are_told_apart(&scene).await;
    a_node_whose_kubelet_is_silent_is_told_by_its_words(&scene).await;
    objects_of_other_peoples_kinds_are_judged(&scene).await;
    a_canary_flies_and_is_gone(&mut scene).await;
    a_canary_finds_the_missing_socket(&mut scene).await;
}
