//! What a canary is made of, and what its pod's status means.

use serde_json::{Value, json};

use super::{judge::stands, *};
use crate::fake::{Cluster, Resource};

fn canary() -> Canary {
    Canary {
        fleet: FleetId([1; 16]),
        run: RunId([2; 16]),
        node: "k3s-2".to_owned(),
        node_uid: "uid-k3s-2".to_owned(),
        when: When::Before,
        asked_by: None,
        image: "registry.k8s.io/pause:3.10".to_owned(),
        command: Vec::new(),
        resolve: None,
        within: Duration::from_secs(120),
    }
}

fn resolving() -> Canary {
    Canary { resolve: Some("kubernetes.default.svc.cluster.local".to_owned()), ..canary() }
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "canary-k3s-2-before-02020202", "namespace": "drydock-canary", "uid": "u", "resourceVersion": "1",
            "labels": {"drydock/canary": "x"}, "creationTimestamp": "2026-11-21T19:59:00Z"},
        "spec": {"nodeName": "k3s-2", "containers": [{"name": "canary", "image": "registry.k8s.io/pause:3.10"}]},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn a_canary_is_bound_to_its_node_past_any_cordon_asks_for_nothing_and_goes_with_its_node() {
    let made = pod::json(&resolving());
    let spec = &made["spec"];
    assert_eq!(spec["nodeName"], "k3s-2");
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(
        (&spec["restartPolicy"], &spec["automountServiceAccountToken"]),
        (&json!("Never"), &json!(false))
    );
    assert_eq!(spec["activeDeadlineSeconds"], 180);
    let container = &spec["containers"][0];
    assert_eq!(
        container["command"][4], "kubernetes.default.svc.cluster.local",
        "a name is an argument, and no part of a script"
    );
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "uid-k3s-2");
    // As the API server would give it back, it is known for ours, and its Node is not taken for its controller.
    let mut back = made.clone();
    back["metadata"]["uid"] = json!("u");
    back["metadata"]["resourceVersion"] = json!("1");
    let meta: Meta = serde_json::from_value(back["metadata"].clone()).unwrap();
    assert!(is_ours(&meta) && meta.controller().is_none());
    assert!(pod::json(&canary())["spec"]["containers"][0]["command"].is_null(), "its image's own doing");
}

#[test]
fn a_drain_passes_a_canary_over_and_nothing_else_that_calls_itself_one() {
    let of = |namespace: &str, label: &str| {
        let mut pod = serde_json::to_value(json!({
            "metadata": {"name": "c", "uid": "u", "resourceVersion": "1"}, "spec": {"nodeName": "k3s-2"},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        pod["metadata"]["namespace"] = json!(namespace);
        pod["metadata"]["labels"] = json!({label: "x"});
        crate::drain::judge::goes(&serde_json::from_value(pod).unwrap())
    };
    assert!(!of("drydock-canary", "drydock/canary"));
    assert!(of("shop", "drydock/canary") && of("drydock-canary", "app"));
}

#[test]
fn each_look_that_has_a_canary_has_one_of_its_own_name() {
    let names = [
        canary(),
        Canary { when: When::After, ..canary() },
        Canary { when: When::Soak, ..canary() },
        Canary { when: When::Soak, asked_by: Some("k3s-3".to_owned()), ..canary() },
        Canary { run: RunId([3; 16]), ..canary() },
        Canary { node: "k3s-3".to_owned(), ..canary() },
    ]
    .map(|canary| canary.name());
    assert_eq!(names[0], "canary-k3s-2-before-02020202");
    let apart: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(apart.len(), names.len(), "{names:?}");
    let long = Canary { node: "n".repeat(253), ..canary() }.name();
    assert!(long.len() <= 253 && long.ends_with("-before-02020202"), "{long}");
}

#[test]
fn an_answer_is_an_address_and_an_end_with_0_or_being_ready_where_it_has_nothing_to_end() {
    let ready = json!({"phase": "Running", "podIP": "10.42.1.9", "conditions": [{"type": "Ready", "status": "True"}]});
    let ended = json!({"phase": "Succeeded", "podIP": "10.42.1.9"});
    let of = |status: &Value, canary: &Canary| stands(&pod(status), canary);
    assert_eq!(of(&ready, &canary()), Stands::Answered);
    assert_eq!(of(&ready, &resolving()), Stands::Waits, "it has not said yet whether it resolves");
    assert_eq!(of(&ended, &resolving()), Stands::Answered);
    assert_eq!(of(&ended, &canary()), Stands::Answered);
    let mut nowhere = ready.clone();
    nowhere["podIP"] = Value::Null;
    nowhere.as_object_mut().unwrap().remove("podIP");
    assert_eq!(of(&nowhere, &canary()), Stands::Waits);
    assert!(matches!(of(&json!({"phase": "Succeeded"}), &canary()), Stands::Failed(_)));
    assert_eq!(of(&json!({"phase": "Pending"}), &canary()), Stands::Waits);
}

#[test]
fn a_canary_that_fails_says_why() {
    let ended = json!({"phase": "Failed", "podIP": "10.42.1.9", "containerStatuses": [{"name": "canary", "state": {
        "terminated": {"exitCode": 1, "reason": "Error", "message": "Server: 10.43.0.10\n** server can't find x: NXDOMAIN\n"}}}]});
    assert_eq!(
        stands(&pod(&ended), &resolving()),
        Stands::Failed("it does not resolve kubernetes.default.svc.cluster.local (exit code 1): ** server can't find x: NXDOMAIN".to_owned())
    );
    let out = json!({"phase": "Failed", "reason": "OutOfpods", "message": "Pod was rejected: Node didn't have enough resource: pods"});
    assert_eq!(
        stands(&pod(&out), &canary()),
        Stands::Failed("OutOfpods: Pod was rejected: Node didn't have enough resource: pods".to_owned())
    );
}

#[test]
fn what_it_waits_for_is_told_as_of_any_pod_that_does_not_start() {
    let waits = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T19:59:50Z"}],
        "containerStatuses": [{"name": "canary", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let event: Event = serde_json::from_value(json!({
        "involvedObject": {"uid": "u"}, "reason": "FailedCreatePodSandBox", "lastTimestamp": "2026-11-21T19:59:59Z",
        "message": "Failed to create pod sandbox: plugin type=\"flannel\" failed (add): open /run/flannel/subnet.env: no such file or directory",
    }))
    .unwrap();
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    let said = judge::in_words(&pod(&waits), &[event], now);
    assert!(said.starts_with("/run/flannel/subnet.env is not there → "), "{said}");
    assert!(judge::in_words(&pod(&waits), &[], now).starts_with("no event says why"));
}

#[test]
fn what_is_left_behind_is_told_by_its_age() {
    let meta = pod(&json!({})).metadata;
    let made = when::of(meta.creation_timestamp.as_ref()).unwrap();
    assert!(!is_left_behind(&meta, made + LEFT_AFTER_S));
    assert!(is_left_behind(&meta, made + LEFT_AFTER_S + 1));
}

/// A canary that has answered, made so many seconds ago, and what a look at it says.
async fn looked_at(cluster: &Cluster, canary: &Canary, age: i64) -> Verdict {
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    let mut there = pod::json(canary);
    there["metadata"]["uid"] = json!("uid-of-that-time");
    there["metadata"]["creationTimestamp"] =
        json!(jiff::Timestamp::from_second(now - age).unwrap().to_string());
    there["status"] = json!({"phase": "Succeeded", "podIP": "10.42.1.9"});
    cluster.put(Resource::Pods, there);
    fly(cluster, canary, || now).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_as_long_as_one_may_take_and_an_older_one_makes_room_for_a_new_canary() {
    let cluster = Cluster::default();
    assert_eq!(looked_at(&cluster, &resolving(), 120).await, Verdict::Clear, "it may take two minutes");

    let cluster = Cluster::default();
    let verdict = looked_at(&cluster, &resolving(), 121).await;
    let Verdict::Waiting(why) = &verdict else { panic!("{verdict:?}") };
    assert!(why.contains("was made 2 min ago") && why.contains("a new one comes next"), "{why}");
    let name = resolving().name();
    let told = |cluster: &Cluster| {
        let pod = cluster.object(Resource::Pods, CANARY_NAMESPACE, &name);
        pod.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
    };
    assert!(told(&cluster), "it was not taken away");
    let made = |cluster: &Cluster| cluster.asked().iter().any(|asked| asked.verb == "POST");
    assert!(!made(&cluster));
    cluster.pass(Duration::from_secs(40)).await;
    // This cluster makes no pods: it is asked to, and that is what counts here.
    assert_ne!(fly(&cluster, &resolving(), || 0).await, Verdict::Clear);
    assert!(made(&cluster), "the next look makes a new one");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_that_cannot_be_taken_away_is_not_believed_either() {
    let cluster = Cluster::default();
    cluster.forbid("delete", "pods");
    let verdict = looked_at(&cluster, &resolving(), 3600).await;
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("canary.yaml")), "{verdict:?}");
}

#[test]
fn a_canary_that_does_not_say_when_it_was_made_is_as_old_as_can_be() {
    let mut unsaid = pod(&json!({}));
    assert_eq!(judge::age(&unsaid, when::unix_s("2026-11-21T20:00:00Z").unwrap()), 60);
    unsaid.metadata.creation_timestamp = None;
    assert_eq!(judge::age(&unsaid, 0), i64::MAX);
}
