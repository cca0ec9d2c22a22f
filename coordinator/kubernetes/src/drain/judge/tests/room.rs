//! Where else pods can run, and what binds them.

use super::*;

/// What is wrong, the pod, what the other nodes are like, and what is said.
type Nowhere = (&'static str, Value, fn(&mut Vec<(Node, Amounts)>), &'static str);

#[test]
fn a_pod_that_fits_nowhere_is_told_why_node_by_node() {
    let cases: [Nowhere; 9] = [
        (
            "selector",
            json!({"spec": {"nodeSelector": {"disk": "fast"}}}),
            |_| {},
            "2 not selected by its node selector or affinity",
        ),
        (
            "affinity",
            json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["k-1"]}]}]}}}}}),
            |_| {},
            "2 not selected",
        ),
        (
            "too big",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "9Gi"}}}]}}),
            |_| {},
            "2 with too little memory",
        ),
        (
            "full",
            json!({}),
            |nodes| {
                for (node, used) in nodes {
                    used.add(&node.status.allocatable);
                }
            },
            "2 with too little cpu",
        ),
        (
            "cordoned",
            json!({}),
            |nodes| {
                for (node, _) in nodes {
                    node.spec.unschedulable = true;
                }
            },
            "2 cordoned",
        ),
        (
            "not ready",
            json!({}),
            |nodes| {
                for (node, _) in nodes {
                    node.status.conditions.clear();
                }
            },
            "2 not ready",
        ),
        ("alone", json!({}), Vec::clear, "there is no other node"),
        (
            "tainted",
            json!({}),
            |nodes| {
                for (node, _) in nodes {
                    node.spec.taints =
                        vec![serde_json::from_value(json!({"key": "gpu", "effect": "NoExecute"})).unwrap()];
                }
            },
            "2 with the taint gpu that it does not tolerate",
        ),
        (
            "each for another reason",
            json!({}),
            |nodes| {
                nodes[0].0.spec.unschedulable = true;
                nodes[1].0.status.conditions.clear();
            },
            "1 cordoned, 1 not ready",
        ),
    ];
    for (what, with, change, word) in cases {
        let mut here = look(vec![pod("a", with)]);
        change(&mut Arc::make_mut(here.elsewhere.as_mut().unwrap()).nodes);
        let judgement = judge(&here, &order());
        assert_eq!(kinds(&judgement), [Kind::NowhereElse], "{what}");
        assert!(said(&judgement).contains(word), "{what}: {}", said(&judgement));
    }
}

#[test]
fn a_taint_that_only_prefers_and_one_that_is_tolerated_keep_nobody_off() {
    for (with, taint) in [
        (json!({}), json!({"key": "gpu", "effect": "PreferNoSchedule"})),
        (
            json!({"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}),
            json!({"key": "gpu", "effect": "NoSchedule"}),
        ),
    ] {
        let mut here = look(vec![pod("a", with)]);
        for (node, _) in &mut Arc::make_mut(here.elsewhere.as_mut().unwrap()).nodes {
            node.spec.taints = vec![serde_json::from_value(taint.clone()).unwrap()];
        }
        assert_eq!(judge(&here, &order()).verdict(), Verdict::Clear, "{taint}");
    }
}

#[test]
fn pods_that_find_room_alone_and_not_together_are_noted() {
    let big = |name| {
        pod(name, json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}}))
    };
    let judgement = judge(&look(vec![big("a"), big("b"), big("c")]), &order());
    assert_eq!(judgement.verdict(), Verdict::Clear);
    assert!(judgement.findings[0].what.contains("shop/c finds room elsewhere alone"), "{judgement:?}");
}

#[test]
fn volumes_bind_by_what_they_are_and_by_whom_they_reach() {
    let reaches = |name: &str| {
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]}]}})
    };
    for (what, spec, kinds_) in [
        ("a network volume", json!({"csi": {}}), vec![]),
        ("one of this node", json!({"csi": {}, "nodeAffinity": reaches("k-1")}), vec![Kind::LocalVolume]),
        ("one of another node", json!({"csi": {}, "nodeAffinity": reaches("k-2")}), vec![]),
        (
            "a local disk",
            json!({"local": {"path": "/d"}, "nodeAffinity": reaches("k-1")}),
            vec![Kind::LocalVolume],
        ),
        ("a directory", json!({"hostPath": {"path": "/d"}}), vec![Kind::LocalVolume]),
    ] {
        let volume = json!({"metadata": {"name": "pv", "uid": "u", "resourceVersion": "1"}, "spec": spec});
        let claim = ClaimRef { namespace: "shop".to_owned(), name: "data".to_owned() };
        let with =
            json!({"spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}});
        let mut here = look(vec![pod("a", with)]);
        here.volumes = Some(Ok([(claim, serde_json::from_value(volume).unwrap())].into()));
        assert_eq!(kinds(&judge(&here, &order())), kinds_, "{what}");
    }
}

#[test]
fn volumes_that_could_not_be_read_are_unknown_unless_the_plan_does_not_ask() {
    let mut here = look(vec![pod("a", json!({}))]);
    here.volumes = Some(Err("list persistentvolumes".to_owned()));
    assert_eq!(is(&judge(&here, &order())), Is::Unknown);
    let mut order = order();
    order.words.local_volumes = Word::Allow;
    assert_eq!(is(&judge(&here, &order)), Is::Clear);
}
