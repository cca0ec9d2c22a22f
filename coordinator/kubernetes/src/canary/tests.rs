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
        "metadata": {"name": "canary-k3s-2", "namespace": "drydock-canary", "uid": "u", "resourceVersion": "1",
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

/// Canaries that are not each other's, all on one Node but for the last.
fn of_all_kinds() -> Vec<Canary> {
    let words = |command: &[&str]| command.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    // Of the same minute: the beginning of a run's id is its time.
    let mut of_the_same_minute = [2; 16];
    of_the_same_minute[15] = 3;
    vec![
        canary(),
        Canary { when: When::After, ..canary() },
        Canary { when: When::Soak, ..canary() },
        Canary { when: When::Soak, asked_by: Some("k3s-3".to_owned()), ..canary() },
        Canary { run: RunId(of_the_same_minute), ..canary() },
        Canary { fleet: FleetId([3; 16]), ..canary() },
        Canary { node_uid: "uid-of-another-one".to_owned(), ..canary() },
        Canary { image: "busybox:1.37".to_owned(), ..canary() },
        Canary { command: words(&["true"]), ..canary() },
        Canary { command: words(&["sh", "-c", "exit 1"]), ..canary() },
        Canary { command: words(&["sh", "-c exit 1"]), ..canary() },
        Canary { within: Duration::from_secs(121), ..canary() },
        resolving(),
        Canary { node: "k3s-3".to_owned(), ..canary() },
    ]
}

#[test]
fn whatever_is_asked_otherwise_has_a_canary_of_its_own_name() {
    let all = of_all_kinds();
    let names: std::collections::BTreeSet<String> = all.iter().map(Canary::name).collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
    assert_eq!(canary().name(), canary().name());
    assert!(canary().name().starts_with("canary-k3s-2-before-"), "{}", canary().name());
}

#[test]
fn a_canarys_name_is_a_dns_label_whatever_its_nodes_is() {
    let of = |node: &str| Canary { node: node.to_owned(), ..canary() }.name();
    let long = "n".repeat(250);
    let names = [
        of("k3s-2.shop.example"),
        of("k3s-2-shop.example"),
        of(&format!("{long}a")),
        of(&format!("{long}b")),
    ];
    let apart: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(apart.len(), names.len(), "{names:?}");
    for name in &names {
        let fine = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(fine && name.len() <= 63, "{name}");
    }
}

#[test]
fn a_canary_is_known_by_its_digest_and_no_other_one_is() {
    let all = of_all_kinds();
    let meta = |canary: &Canary| {
        let mut meta = pod::json(canary)["metadata"].clone();
        meta["uid"] = json!("u");
        meta["resourceVersion"] = json!("1");
        serde_json::from_value::<Meta>(meta).unwrap()
    };
    for (at, canary) in all.iter().enumerate() {
        let its: Vec<usize> = (0..all.len()).filter(|&of| canary.is_it(&meta(&all[of]))).collect();
        assert_eq!(its, [at]);
    }
    assert!(canary().is_of_its_run(&meta(&resolving())));
    assert!(!canary().is_of_its_run(&meta(&all[4])), "a run of the same minute is another one");
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_one_check_is_not_anothers() {
    let cluster = Cluster::default();
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    answered(&cluster, &canary(), &canary().name(), now);
    let other = Canary { command: vec!["false".to_owned()], ..canary() };
    let verdict = fly(&cluster, &other, || now).await;
    // This cluster makes no pods: it is asked to, and that is what counts here.
    assert_ne!(verdict, Verdict::Clear);
    assert!(cluster.asked().iter().any(|asked| asked.verb == "POST"), "its own was not made");
    assert!(
        cluster.object(Resource::Pods, CANARY_NAMESPACE, &canary().name()).is_some(),
        "another check waits for that one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_under_a_canarys_name_that_is_another_one_is_neither_believed_nor_taken_away() {
    let cluster = Cluster::default();
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    let other = Canary { command: vec!["true".to_owned()], ..canary() };
    answered(&cluster, &other, &canary().name(), now);
    let verdict = fly(&cluster, &canary(), || now).await;
    let next = format!("kubectl -n drydock-canary delete pod {}", canary().name());
    assert!(matches!(&verdict, Verdict::Refused(why) if why.contains(&next)), "{verdict:?}");
    assert!(!cluster.asked().iter().any(|asked| asked.verb == "DELETE"));
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
    let mut of_an_hour = pod(&json!({"phase": "Succeeded"}));
    let made = when::of(of_an_hour.metadata.creation_timestamp.as_ref()).unwrap();
    let left_after = |pod: &Pod, s| is_left_behind(pod, made + s);
    assert!(!left_after(&of_an_hour, UNSAID_S + LEFT_AFTER_S));
    assert!(left_after(&of_an_hour, UNSAID_S + LEFT_AFTER_S + 1));
    // Its own word on how long it may run counts.
    of_an_hour.spec.active_deadline_seconds = Some(3600);
    assert!(!left_after(&of_an_hour, 3600 + LEFT_AFTER_S));
    assert!(left_after(&of_an_hour, 3600 + LEFT_AFTER_S + 1));
}

#[tokio::test(start_paused = true)]
async fn finished_pods_of_a_coordinator_that_died_are_taken_away_by_the_next_canary_and_nobody_elses() {
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    let cluster = Cluster::default();
    let put = |canary: &Canary, age: i64, phase: &str| {
        let mut there = pod::json(canary);
        there["metadata"]["uid"] = json!(format!("uid-{}", canary.name()));
        there["metadata"]["creationTimestamp"] =
            json!(jiff::Timestamp::from_second(now - age).unwrap().to_string());
        there["status"] = json!({"phase": phase});
        cluster.put(Resource::Pods, there);
        canary.name()
    };
    let of = |run: u8, node: &str| Canary { run: RunId([run; 16]), node: node.to_owned(), ..canary() };
    let long = 180 + LEFT_AFTER_S;
    let finished = put(&of(7, "k3s-3"), long + 1, "Succeeded");
    let on_this_node = put(&of(8, "k3s-2"), 30, "Failed");
    // Another run is waiting for this one, on another Node.
    let young = put(&of(9, "k3s-3"), long, "Running");
    let anothers = put(&Canary { fleet: FleetId([9; 16]), ..of(10, "k3s-4") }, 10 * long, "Succeeded");
    drop(fly(&cluster, &canary(), || now).await);
    let told = |name: &str| {
        let pod = cluster.object(Resource::Pods, CANARY_NAMESPACE, name);
        pod.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
    };
    let taken = [&finished, &on_this_node, &young, &anothers].map(|name| told(name));
    assert_eq!(taken, [true, true, false, false]);
}

/// A canary that has answered, made at that time.
fn answered(cluster: &Cluster, canary: &Canary, name: &str, made: i64) {
    let mut there = pod::json(canary);
    there["metadata"]["name"] = json!(name);
    there["metadata"]["uid"] = json!("uid-of-that-time");
    there["metadata"]["creationTimestamp"] = json!(jiff::Timestamp::from_second(made).unwrap().to_string());
    there["status"] = json!({"phase": "Succeeded", "podIP": "10.42.1.9"});
    cluster.put(Resource::Pods, there);
}

/// A canary that has answered, made so many seconds ago, and what a look at it says.
async fn looked_at(cluster: &Cluster, canary: &Canary, age: i64) -> Verdict {
    let now = when::unix_s("2026-11-21T20:00:00Z").unwrap();
    answered(cluster, canary, &canary.name(), now - age);
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
