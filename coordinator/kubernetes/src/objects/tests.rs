use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Budget, Change, List, Node, Pod,
    budget::UnhealthyPods,
    quantity::Milli,
    selector::{LabelSelector, NodeSelector, Taint, Toleration},
};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    // By text, as answers come.
    serde_json::from_str(&value.to_string()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_node_is_read_as_a_server_writes_it() {
    let node: Node = read(json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": "n001", "uid": "u-1", "resourceVersion": "3456", "creationTimestamp": "2026-11-21T02:50:00Z",
            "labels": {"kubernetes.io/arch": "amd64"},
            "annotations": {"drydock/mark": "{}", "volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"unschedulable": true, "taints": [
            {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-21T02:53:12Z"},
        ]},
        "status": {
            "capacity": {"cpu": "32"}, "allocatable": {"cpu": "31500m", "memory": "263010240Ki", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}],
            "nodeInfo": {"machineID": "m", "bootID": "b", "kubeletVersion": "v1.36.3+k3s1", "architecture": "amd64"},
            "images": [{"names": ["a"], "sizeBytes": 1}],
        },
    }));
    assert!(node.spec.unschedulable && node.is_ready());
    assert_eq!(node.status.node_info.machine_id, "m");
    assert_eq!(node.status.node_info.boot_id, "b");
    assert_eq!(node.status.node_info.kubelet_version, "v1.36.3+k3s1");
    assert_eq!(node.status.allocatable.get("cpu"), Milli(31_500_000 / 1000));
    assert_eq!(node.metadata.annotations.len(), 1, "others' annotations are not kept");
}

#[test]
fn an_object_without_its_uid_or_version_is_no_object() {
    for missing in ["name", "uid", "resourceVersion"] {
        let mut node = json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}});
        assert!(serde_json::from_value::<Node>(node.clone()).is_ok());
        node["metadata"].as_object_mut().unwrap().remove(missing);
        assert!(serde_json::from_value::<Node>(node).is_err(), "without {missing}");
    }
}

#[test]
fn go_s_nulls_are_read_as_nothing() {
    let list: List<Pod> = read(json!({"metadata": {"resourceVersion": "7"}, "items": null}));
    assert!(list.items.is_empty() && list.metadata.more.is_empty());
    let budget: Budget = read(json!({
        "metadata": {"name": "b", "namespace": "s", "uid": "u", "resourceVersion": "1", "generation": 1,
            "labels": null, "annotations": null},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": null}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 3,
            "disruptedPods": null, "observedGeneration": 1},
    }));
    assert!(budget.status.disrupted_pods.is_empty() && budget.is_counted());
    assert_eq!(budget.rule(), "minAvailable: 2");
}

#[test]
fn lines_of_a_watch_are_read() {
    let pod = json!({"metadata": {"name": "p", "namespace": "s", "uid": "u", "resourceVersion": "9"}});
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let change: Change<Pod> = read(json!({"type": kind, "object": pod}));
        assert!(
            matches!(change, Change::Added(pod) | Change::Modified(pod) | Change::Deleted(pod) if pod.metadata.uid == "u")
        );
    }
    let bookmark =
        json!({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "12"}}});
    assert!(
        matches!(read::<Change<Pod>>(bookmark), Change::Bookmark(mark) if mark.metadata.resource_version == "12")
    );
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
    assert!(matches!(read::<Change<Pod>>(error), Change::Error(status) if status["code"] == 410));
}

#[test]
fn quantities_are_read_in_every_spelling() {
    for (text, milli) in [
        ("0", 0),
        ("1", 1000),
        ("100m", 100),
        ("1.5", 1500),
        (".5", 500),
        ("1500u", 2),
        ("1n", 1),
        ("2k", 2_000_000),
        ("1Ki", 1_024_000),
        ("1.5Gi", 1_610_612_736_000),
        ("129e6", 129_000_000_000),
        ("1E3", 1_000_000),
        ("1e-3", 1),
        ("128974848", 128_974_848_000),
        ("1Ei", (1_i128 << 60) * 1000),
        ("-1", -1000),
    ] {
        assert_eq!(Milli::parse(text), Some(Milli(milli)), "{text}");
    }
    for text in ["", "m", "1x", "1.2.3", "--1", "1 Gi", "1e99999", "1234567890123456789012345", "½"] {
        assert_eq!(Milli::parse(text), None, "{text}");
    }
}

#[test]
fn a_pod_asks_for_its_containers_or_its_greatest_init_container_and_its_overhead() {
    let pod: Pod = read(json!({
        "metadata": {"name": "p", "namespace": "s", "uid": "u", "resourceVersion": "9"},
        "spec": {
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}},
            ],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "big", "resources": {"requests": {"cpu": "1"}}},
            ],
            "overhead": {"cpu": "10m"},
        },
    }));
    let asks = pod.asks();
    // The greatest init container beside the one that stays: 1050m is more than 350m.
    assert_eq!(asks.get("cpu"), Milli(1060));
    assert_eq!(asks.get("memory"), Milli::parse("1Gi").unwrap());
    assert_eq!(asks.get("pods"), Milli::ONE);
}

#[test]
fn label_selectors_match_as_the_server_s_do() {
    let all = LabelSelector::default();
    let of = |value: Value| read::<LabelSelector>(value);
    let app = labels(&[("app", "cart"), ("tier", "web")]);
    assert!(all.matches(&app) && all.matches(&BTreeMap::new()), "an empty selector matches everything");
    for (selector, matches) in [
        (json!({"matchLabels": {"app": "cart"}}), true),
        (json!({"matchLabels": {"app": "cart", "tier": "db"}}), false),
        (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "cart"]}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["cart"]}]}), false),
        (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["cart"]}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), false),
        (json!({"matchExpressions": [{"key": "app", "operator": "Resembles", "values": ["cart"]}]}), false),
    ] {
        assert_eq!(of(selector.clone()).matches(&app), matches, "{selector}");
    }
}

#[test]
fn a_budget_without_a_selector_is_over_none_and_with_an_empty_one_over_all_of_its_namespace() {
    let pod = |namespace: &str| -> Pod {
        read(
            json!({"metadata": {"name": "p", "namespace": namespace, "uid": "u", "resourceVersion": "9", "labels": {"a": "b"}}}),
        )
    };
    let budget = |spec: Value| -> Budget {
        read(
            json!({"metadata": {"name": "b", "namespace": "s", "uid": "u", "resourceVersion": "1"}, "spec": spec}),
        )
    };
    assert!(!budget(json!({})).covers(&pod("s")));
    assert!(budget(json!({"selector": {}})).covers(&pod("s")));
    assert!(!budget(json!({"selector": {}})).covers(&pod("t")));
    assert_eq!(budget(json!({})).spec.unhealthy_pod_eviction_policy, UnhealthyPods::IfHealthyBudget);
}

#[test]
fn node_selectors_match_names_labels_and_numbers_and_an_empty_term_matches_none() {
    let labels = labels(&[("zone", "a"), ("disks", "4")]);
    for (selector, matches) in [
        (json!({"nodeSelectorTerms": []}), false),
        (json!({"nodeSelectorTerms": [{}]}), false),
        (
            json!({"nodeSelectorTerms": [{}, {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}),
            true,
        ),
        (
            json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["k-1"]}]}]}),
            true,
        ),
        (
            json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["k-2"]}]}]}),
            false,
        ),
        (
            json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "disks", "operator": "Gt", "values": ["3"]}]}]}),
            true,
        ),
        (
            json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "disks", "operator": "Lt", "values": ["3"]}]}]}),
            false,
        ),
        (
            json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Gt", "values": ["3"]}]}]}),
            false,
        ),
    ] {
        assert_eq!(read::<NodeSelector>(selector.clone()).matches("k-1", &labels), matches, "{selector}");
    }
}

#[test]
fn tolerations_bear_what_the_server_says_they_bear() {
    let taint: Taint = read(json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"}));
    for (toleration, bears) in [
        (json!({"operator": "Exists"}), true),
        (json!({"key": "gpu", "operator": "Exists"}), true),
        (json!({"key": "gpu", "value": "yes"}), true),
        (json!({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}), true),
        (json!({"key": "gpu", "value": "no"}), false),
        (json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}), false),
        (json!({"key": "cpu", "operator": "Exists"}), false),
    ] {
        assert_eq!(read::<Toleration>(toleration.clone()).bears(&taint), bears, "{toleration}");
    }
}
