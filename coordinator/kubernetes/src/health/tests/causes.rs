//! One line a root cause, whatever stands around it.

use serde_json::{Value, json};

use super::*;
use crate::health::{Kind, Weight, judge};

/// As containerd and flannel wrote it, with a sandbox's id that is never the same twice.
fn flannel(id: &str) -> String {
    format!(
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"{id}\": plugin type=\"flannel\" failed (add): loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory"
    )
}

#[test]
fn pods_without_a_sandbox_for_want_of_one_file_are_one_line() {
    let names: Vec<String> = (0..14).map(|i| format!("cart-{i}")).collect();
    let pods: Vec<Value> = names.iter().map(|name| pod(name, "k3s-2", 41 * DAY, &creating())).collect();
    let events = names
        .iter()
        .enumerate()
        .map(|(i, name)| event(name, "FailedCreatePodSandBox", &flannel(&format!("{i:064x}")), 7));
    let seen = seen(&pods, events.collect());
    let problems = judge(&seen, now());
    let [one] = &*problems else { panic!("{problems:?}") };
    assert_eq!(
        one.what(now()),
        "14 pods on k3s-2 without a sandbox for 41 d: /run/flannel/subnet.env is not there"
    );
    assert_eq!((one.kind, one.weight), (Kind::Sandbox, Weight::Stops));
    assert!(one.next.contains("journalctl -u k3s -u k3s-agent on k3s-2"), "{}", one.next);
}

#[test]
fn one_missing_socket_on_two_nodes_is_one_cause_and_explains_images_and_crashes_too() {
    let said = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"8f2c0e1b7a\": plugin type=\"kube-ovn\" failed (add): RPC failed; request ip return 500 Post \"http://dummy/api/v1/add\": dial unix /run/openvswitch/kube-ovn-daemon.sock: connect: no such file or directory";
    let waits = container(
        &json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}),
    );
    let crashed = container(&json!({
        "restartCount": 12, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"reason": "Unknown", "exitCode": 255, "finishedAt": ago(52 * DAY)}},
    }));
    let pods = [
        pod("cart-a", "k3s-1", 203 * DAY, &creating()),
        pod("web-b", "k3s-2", 52 * DAY, &waits),
        pod("db-c", "k3s-2", 60 * DAY, &crashed),
    ];
    let events = ["cart-a", "web-b", "db-c"].map(|name| event(name, "FailedCreatePodSandBox", said, 30));
    let seen = seen(&pods, events.to_vec());
    assert_eq!(
        lines(&seen),
        [
            "3 pods on k3s-1, k3s-2 without a sandbox for 203 d: /run/openvswitch/kube-ovn-daemon.sock is not there"
        ]
    );
}

#[test]
fn an_event_that_is_long_over_explains_nothing() {
    let pods = [pod("cart-a", "k3s-2", DAY, &creating())];
    let seen = seen(&pods, vec![event("cart-a", "FailedCreatePodSandBox", &flannel("ab"), 31 * MIN)]);
    assert_eq!(lines(&seen), ["pod shop/cart-a on k3s-2 not started for 24 h: no event says why"]);
}

#[test]
fn every_way_of_not_being_well_has_its_own_words() {
    let back_off = |reason: &str, message: &str| {
        container(&json!({"state": {"waiting": {"reason": reason, "message": message}}}))
    };
    let crash = |reason: &str, code: i64, message: &str| {
        container(&json!({
            "restartCount": 1403, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting"}},
            "lastState": {"terminated": {"reason": reason, "exitCode": code, "message": message, "finishedAt": ago(200)}},
        }))
    };
    let unready = json!({"phase": "Running", "containerStatuses":
        [{"name": "app", "ready": false, "restartCount": 0, "state": {"running": {"startedAt": ago(DAY)}}}]});
    for (status, events, said) in [
        (
            back_off(
                "ImagePullBackOff",
                "Back-off pulling image \"ghcr.io/shop/app:1.4\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"ghcr.io/shop/app:1.4\": failed to resolve reference \"ghcr.io/shop/app:1.4\": ghcr.io/shop/app:1.4: not found",
            ),
            vec![],
            "pod shop/x-1 on k3s-2 without an image for 3 d: ghcr.io/shop/app:1.4 is not in its registry",
        ),
        // Older kubelets say why only in an event.
        (
            back_off("ImagePullBackOff", "Back-off pulling image \"ghcr.io/shop/app:1.4\""),
            vec![event(
                "x-1",
                "Failed",
                "Failed to pull image \"ghcr.io/shop/app:1.4\": rpc error: code = Unknown desc = failed to do request: Head \"https://ghcr.io/v2/shop/app/manifests/1.4\": dial tcp: lookup ghcr.io: no such host",
                20,
            )],
            "pod shop/x-1 on k3s-2 without an image for 3 d: the registry ghcr.io has no address (DNS)",
        ),
        (
            crash("Error", 1, "starting\npanic: no database"),
            vec![],
            "pod shop/x-1 on k3s-2 in a crash loop (made 3 d ago): container app ends with exit code 1: panic: no database",
        ),
        (
            crash("OOMKilled", 137, ""),
            vec![],
            "pod shop/x-1 on k3s-2 killed for want of memory (made 3 d ago): container app: its limit is 256Mi",
        ),
        (
            back_off("CreateContainerConfigError", "secret \"db-password\" not found"),
            vec![],
            "pod shop/x-1 on k3s-2 without a container for 3 d: container app: secret \"db-password\" not found",
        ),
        (
            creating(),
            vec![event(
                "x-1",
                "FailedMount",
                "MountVolume.MountDevice failed for volume \"pvc-0b7f\" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name driver.longhorn.io not found in the list of registered CSI drivers",
                20,
            )],
            "pod shop/x-1 on k3s-2 without a volume for 3 d: attacher.MountDevice failed to create newCsiDriverClient: driver name driver.longhorn.io not found in the list of registered CSI drivers",
        ),
        (
            unready,
            vec![event(
                "x-1",
                "Unhealthy",
                "Readiness probe failed: HTTP probe failed with statuscode: 503",
                20,
            )],
            "pod shop/x-1 on k3s-2 not ready for 3 d: Readiness probe failed: HTTP probe failed with statuscode: 503",
        ),
    ] {
        let seen = seen(&[pod("x-1", "k3s-2", 3 * DAY, &status)], events);
        assert_eq!(lines(&seen), [said]);
    }
}

#[test]
fn an_init_container_that_does_not_end_is_not_taken_for_a_probe_that_fails() {
    let waits = json!({"phase": "Pending",
        "initContainerStatuses": [{"name": "wait-for-db", "ready": false, "restartCount": 0, "state": {"running": {"startedAt": ago(DAY)}}}],
        "containerStatuses": [{"name": "app", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]});
    let seen = seen(&[pod("x-1", "k3s-2", 3 * DAY, &waits)], vec![]);
    assert_eq!(
        lines(&seen),
        ["pod shop/x-1 on k3s-2 not ready for 3 d: init container wait-for-db has not ended"]
    );
}

#[test]
fn what_is_just_being_done_is_no_finding() {
    let done = json!({"phase": "Succeeded"});
    let running = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "app", "ready": true, "restartCount": 9, "state": {"running": {}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": ago(700)}}}]});
    let mut going = pod("x-1", "k3s-2", DAY, &running);
    going["metadata"]["deletionTimestamp"] = json!(ago(30));
    let mut gated = pod("x-1", "", DAY, &json!({}));
    gated["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates", "lastTransitionTime": ago(DAY)}]);
    for pod in [
        pod("x-1", "k3s-2", 40, &creating()),
        pod("x-1", "", 40, &json!({"conditions": []})),
        pod("x-1", "k3s-2", DAY, &done),
        pod("x-1", "k3s-2", DAY, &running),
        going,
        gated,
    ] {
        assert_eq!(lines(&seen(std::slice::from_ref(&pod), vec![])), Vec::<String>::new(), "{pod}");
    }
}

#[test]
fn a_crash_loop_is_seen_also_in_the_moments_in_which_it_runs() {
    let running = json!({"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(5)}],
        "containerStatuses": [{"name": "app", "ready": true, "restartCount": 40, "state": {"running": {"startedAt": ago(5)}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 2, "finishedAt": ago(200)}}}]});
    let seen = seen(&[pod("x-1", "k3s-2", DAY, &running)], vec![]);
    assert_eq!(
        lines(&seen),
        ["pod shop/x-1 on k3s-2 in a crash loop (made 24 h ago): container app ends with exit code 2"]
    );
}

#[test]
fn pods_that_do_not_end_are_told_by_what_holds_them() {
    let going = |name: &str, finalizers: Value| {
        let mut pod = pod(name, "k3s-2", 9 * DAY, &json!({"phase": "Running"}));
        pod["metadata"]["deletionTimestamp"] = json!(ago(2 * DAY));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        pod["metadata"]["finalizers"] = finalizers;
        pod
    };
    let pods = [
        going("a-1", json!(["example.com/backup"])),
        going("b-1", json!(["example.com/backup"])),
        going("c-1", json!([])),
    ];
    assert_eq!(
        lines(&seen(&pods, vec![])),
        [
            "2 pods on k3s-2 stuck in Terminating for 2 d: its finalizer example.com/backup is not taken off",
            "pod shop/c-1 on k3s-2 stuck in Terminating for 2 d: the kubelet of k3s-2 does not end its processes",
        ]
    );
}

#[test]
fn a_node_that_is_not_ready_is_told_once_and_not_by_its_pods() {
    let pods = [pod("a-1", "k3s-2", DAY, &creating()), pod("b-1", "k3s-2", DAY, &creating())];
    let mut seen = seen(&pods, vec![]);
    let unknown = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.", "lastTransitionTime": ago(3 * 3600)}]}});
    seen.nodes = vec![node("k3s-1", "True", &json!({})), node("k3s-2", "Unknown", &unknown)];
    // One pod of each DaemonSet stands on the Node that is away.
    let daemons = json!({"desiredNumberScheduled": 2, "numberReady": 1, "observedGeneration": 3});
    seen.workloads.push(("DaemonSet", scaled("network", &json!({}), &daemons)));
    assert_eq!(
        lines(&seen),
        [
            "Node k3s-2 not Ready for 3 h: Kubelet stopped posting node status.",
            "DaemonSet shop/network has 1 of 2 pods ready: a Node is not Ready",
        ]
    );
    assert_eq!(judge(&seen, now())[1].weight, Weight::Note);
}

#[test]
fn pressure_is_told_by_what_is_short() {
    let mut seen = seen(&[], vec![]);
    let mut full = node("k3s-2", "True", &json!({}));
    full.status.conditions.push(
        serde_json::from_value(
            json!({"type": "DiskPressure", "status": "True", "lastTransitionTime": ago(600)}),
        )
        .unwrap(),
    );
    seen.nodes = vec![full];
    assert_eq!(
        lines(&seen),
        ["Node k3s-2 under pressure for 10 min: short of disk: its kubelet evicts pods"]
    );
}

#[test]
fn a_pod_that_waits_for_a_node_of_ours_stops_nobody() {
    let mut waits = pod("db-0", "", 5 * MIN, &json!({}));
    waits["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        "lastTransitionTime": ago(5 * MIN)}]);
    let mut seen = seen(&[waits], vec![]);
    let [problem] = &*judge(&seen, now()) else { panic!() };
    assert_eq!(problem.weight, Weight::Stops);
    assert_eq!(
        problem.what(now()),
        "pod shop/db-0 without a node for 5 min: 0/2 nodes are available: 1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable"
    );
    let ours = json!({"metadata": {"annotations": {"drydock/mark": "{}"}}, "spec": {"unschedulable": true}});
    seen.nodes = vec![node("k3s-1", "True", &ours)];
    let [problem] = &*judge(&seen, now()) else { panic!() };
    assert_eq!(
        (problem.weight, problem.next.as_str()),
        (Weight::Note, "k3s-1 is cordoned by Drydock until its change is done")
    );
}

#[test]
fn claims_count_where_somebody_waits_for_them_or_they_have_lost_their_volume() {
    let mut waits = pod("db-0", "", DAY, &json!({"conditions": []}));
    waits["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let mut seen = seen(&[waits], vec![]);
    seen.claims = vec![
        claim("data", "Pending", DAY),
        claim("idle", "Pending", DAY),
        claim("gone", "Lost", DAY),
        claim("new", "Pending", 20),
    ];
    let told: Vec<(Weight, String)> = judge(&seen, now())
        .iter()
        .filter(|of| of.kind == Kind::Claim)
        .map(|of| (of.weight, of.what(now())))
        .collect();
    assert_eq!(
        told,
        [
            (
                Weight::Stops,
                "the claim shop/data is bound to no volume, and pod db-0 waits for it for 24 h".to_owned()
            ),
            (Weight::Stops, "the claim shop/gone has lost its volume pvc-1".to_owned()),
            (
                Weight::Note,
                "the claim shop/idle is bound to no volume, and no pod waits for it for 24 h".to_owned()
            ),
        ]
    );
}

#[test]
fn workloads_are_told_where_no_pod_of_theirs_says_why() {
    let quota = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "lastTransitionTime": ago(600),
        "message": "pods \"web-5f7c-x\" is forbidden: exceeded quota: shop, requested: pods=1, used: pods=10, limited: pods=10"}]);
    let three = json!({"replicas": 3});
    let mut seen = seen(&[pod("cart-1", "k3s-2", DAY, &creating())], vec![]);
    seen.workloads = vec![
        (
            "Deployment",
            scaled(
                "cart",
                &three,
                &json!({"readyReplicas": 2, "updatedReplicas": 3, "observedGeneration": 3}),
            ),
        ),
        (
            "Deployment",
            scaled(
                "web",
                &three,
                &json!({"readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 3, "conditions": quota}),
            ),
        ),
        (
            "Deployment",
            scaled(
                "new",
                &three,
                &json!({"readyReplicas": 2, "updatedReplicas": 1, "observedGeneration": 3}),
            ),
        ),
        // One pod of it is missing, and is not counted as updated either.
        (
            "StatefulSet",
            scaled(
                "db",
                &three,
                &json!({"readyReplicas": 2, "updatedReplicas": 2, "currentReplicas": 2, "observedGeneration": 3,
                    "currentRevision": "db-6f5", "updateRevision": "db-6f5"}),
            ),
        ),
    ];
    let told: Vec<(Weight, String)> = judge(&seen, now())
        .iter()
        .filter(|of| of.kind == Kind::Workload)
        .map(|of| (of.weight, of.what(now())))
        .collect();
    assert_eq!(
        told,
        [
            (Weight::Stops, "Deployment shop/web has 2 of 3 pods ready: pods \"web-5f7c-x\" is forbidden: exceeded quota: shop, requested: pods=1, used: pods=10, limited: pods=10 for 10 min".to_owned()),
            (Weight::Stops, "StatefulSet shop/db has 2 of 3 pods ready".to_owned()),
            (Weight::Note, "Deployment shop/new has 2 of 3 pods ready: it is being rolled out".to_owned()),
        ]
    );
}

/// What is said of a StatefulSet that lacks one of three pods.
fn of_stateful(strategy: &Value, status: &Value) -> (Weight, String) {
    let mut of = json!({"readyReplicas": 2, "updatedReplicas": 1, "observedGeneration": 3});
    crate::fake::make::overlay(&mut of, status);
    let spec = json!({"replicas": 3, "updateStrategy": strategy});
    let mut seen = seen(&[], vec![]);
    seen.workloads = vec![("StatefulSet", scaled("db", &spec, &of))];
    let problems = judge(&seen, now());
    let [problem] = &*problems else { panic!("{problems:?}") };
    (problem.weight, problem.what(now()))
}

#[test]
fn a_statefulset_is_rolled_out_while_its_revisions_differ_and_never_because_a_pod_is_missing() {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    let kept = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    let by_hand = json!({"type": "OnDelete"});
    let same = json!({"currentReplicas": 2, "currentRevision": "db-6f5", "updateRevision": "db-6f5"});
    let between = json!({"currentReplicas": 2, "currentRevision": "db-6f5", "updateRevision": "db-7c9"});
    let as_far_as_wanted =
        json!({"currentReplicas": 1, "currentRevision": "db-6f5", "updateRevision": "db-7c9"});
    let short = "StatefulSet shop/db has 2 of 3 pods ready";
    let rolls = "StatefulSet shop/db has 2 of 3 pods ready: it is being rolled out";
    for (strategy, status, weight, said) in [
        (&rolling, &same, Weight::Stops, short),
        (&rolling, &between, Weight::Note, rolls),
        (&rolling, &as_far_as_wanted, Weight::Note, rolls),
        // The one that is kept has the old revision for good.
        (&kept, &between, Weight::Note, rolls),
        (&kept, &as_far_as_wanted, Weight::Stops, short),
        (&by_hand, &between, Weight::Stops, short),
    ] {
        assert_eq!(of_stateful(strategy, status), (weight, said.to_owned()), "{strategy} {status}");
    }
}

/// A pod of a StatefulSet.
fn of_set(name: &str, status: &Value) -> Value {
    let mut pod = pod(name, "k3s-2", DAY, status);
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "db", "controller": true}]);
    pod
}

/// The lines of workloads beside what their pods say.
fn of_workloads(seen: &Observed) -> Vec<String> {
    judge(seen, now()).iter().filter(|of| of.kind == Kind::Workload).map(|of| of.what(now())).collect()
}

#[test]
fn what_comes_in_order_behind_a_pod_that_waits_for_a_node_of_ours_stops_nobody() {
    let mut waits = of_set("db-0", &json!({}));
    waits["spec"]["nodeName"] = json!("");
    waits["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) were unschedulable.", "lastTransitionTime": ago(5 * MIN)}]});
    let ours = json!({"metadata": {"annotations": {"drydock/mark": "{}"}}, "spec": {"unschedulable": true}});
    let none = json!({});
    let weight = |policy: &str, cordoned: bool| {
        let mut seen = seen(&[waits.clone()], vec![]);
        seen.nodes = vec![node("k3s-1", "True", if cordoned { &ours } else { &none })];
        let spec = json!({"replicas": 3, "podManagementPolicy": policy});
        seen.workloads = vec![("StatefulSet", scaled("db", &spec, &json!({"observedGeneration": 3})))];
        let all = judge(&seen, now());
        all.iter().find(|problem| problem.kind == Kind::Workload).map(|problem| problem.weight)
    };
    assert_eq!(weight("OrderedReady", true), Some(Weight::Note));
    assert_eq!(weight("Parallel", true), Some(Weight::Stops), "all of them should be there");
    assert_eq!(weight("OrderedReady", false), Some(Weight::Stops), "it waits for nothing of ours");
}

#[test]
fn a_pod_that_fails_explains_no_more_than_itself() {
    let short = |has: i64, more: &Value| {
        let mut status = json!({"readyReplicas": has, "updatedReplicas": 3, "observedGeneration": 3});
        crate::fake::make::overlay(&mut status, more);
        scaled("db", &json!({"replicas": 3}), &status)
    };
    let mut seen = seen(&[of_set("db-0", &creating())], vec![]);
    seen.workloads = vec![("StatefulSet", short(2, &json!({})))];
    assert_eq!(of_workloads(&seen), [""; 0], "its one pod says why");
    seen.workloads = vec![("StatefulSet", short(1, &json!({})))];
    assert_eq!(of_workloads(&seen), ["StatefulSet shop/db has 1 of 3 pods ready"]);
    // What the workload itself says is told whatever its pods do.
    let quota = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: shop"}]});
    seen.workloads = vec![("StatefulSet", short(2, &quota))];
    assert_eq!(of_workloads(&seen), ["StatefulSet shop/db has 2 of 3 pods ready: exceeded quota: shop"]);
    let late = json!({"conditions": [{"type": "Progressing", "status": "False", "message": "ReplicaSet has timed out progressing."}]});
    seen.workloads = vec![("StatefulSet", short(2, &late))];
    assert_eq!(
        of_workloads(&seen),
        ["StatefulSet shop/db has 2 of 3 pods ready: ReplicaSet has timed out progressing."]
    );
}

#[test]
fn a_pod_that_is_ready_or_has_been_replaced_explains_no_shortage() {
    let crashes_and_runs = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "app", "ready": true, "restartCount": 9, "state": {"running": {}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": ago(100)}}}]});
    let going = |mut pod: Value| {
        pod["metadata"]["deletionTimestamp"] = json!(ago(DAY));
        pod
    };
    let lacks = scaled(
        "db",
        &json!({"replicas": 3}),
        &json!({"readyReplicas": 2, "updatedReplicas": 3, "observedGeneration": 3}),
    );
    let told = |pod: Value, kind: &'static str| {
        let mut seen = seen(&[pod], vec![]);
        assert_eq!(seen.failing.len(), 1);
        seen.workloads = vec![(kind, lacks.clone())];
        of_workloads(&seen)
    };
    assert_eq!(
        told(of_set("db-0", &crashes_and_runs), "StatefulSet"),
        ["StatefulSet shop/db has 2 of 3 pods ready"]
    );
    // A StatefulSet makes no other pod while this one is there; a Deployment has made it.
    assert_eq!(told(going(of_set("db-0", &creating())), "StatefulSet"), [""; 0]);
    assert_eq!(
        told(going(pod("db-0", "k3s-2", DAY, &creating())), "Deployment"),
        ["Deployment shop/db has 2 of 3 pods ready"]
    );
}

#[test]
fn an_api_server_that_is_not_ready_is_told_by_the_check_that_fails() {
    let mut seen = seen(&[], vec![]);
    let said = "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n[+]poststarthook/start-apiserver-admission-initializer ok\nreadyz check failed\n";
    seen.api = vec![
        Readyz { endpoint: "https://10.0.0.11:6443".to_owned(), said: Ok((500, said.to_owned())) },
        Readyz { endpoint: "https://10.0.0.12:6443".to_owned(), said: Err("connection refused".to_owned()) },
    ];
    let problems = judge(&seen, now());
    assert_eq!(
        lines(&seen),
        [
            "the API server at https://10.0.0.12:6443 does not answer: connection refused",
            "the API server at https://10.0.0.11:6443 is not ready: its own check etcd fails",
        ]
    );
    assert_eq!([problems[0].weight, problems[1].weight], [Weight::Unknown, Weight::Stops]);
}

#[test]
fn a_pod_belongs_to_what_people_know_it_by() {
    let of = |kind: &str, name: &str, labels: Value| {
        let mut pod = pod("x-1", "k3s-2", DAY, &json!({}));
        pod["metadata"]["labels"] = labels;
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": kind, "name": name, "uid": "u", "controller": true}]);
        serde_json::from_value::<Pod>(pod).unwrap().workload().to_string()
    };
    let hash = json!({"pod-template-hash": "5f7c"});
    assert_eq!(of("ReplicaSet", "web-app-5f7c", hash), "Deployment shop/web-app");
    assert_eq!(of("ReplicaSet", "old", json!({})), "ReplicaSet shop/old");
    assert_eq!(of("Job", "backup-29394720", json!({})), "CronJob shop/backup");
    assert_eq!(of("Job", "migrate-v2", json!({})), "Job shop/migrate-v2");
    assert_eq!(of("StatefulSet", "db", json!({})), "StatefulSet shop/db");
}
