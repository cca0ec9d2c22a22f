//! Who goes, who stays, and what the plan's words allow.

use super::*;

/// What is found, with which pod, and the word that allows it.
type Allowed = (Kind, Value, fn(&mut Words));

#[test]
fn an_ordinary_node_is_clear_and_its_pods_go_by_class_and_name() {
    let pods = vec![
        pod("b", json!({})),
        pod("dns", json!({"spec": {"priority": 2_000_000_000}})),
        pod("a", json!({})),
        pod("low", json!({"spec": {"priority": -1}})),
    ];
    let judgement = judge(&look(pods), &order());
    assert_eq!(judgement.verdict(), Verdict::Clear);
    let names: Vec<&str> = judgement.go.iter().map(|pod| pod.name.name.as_str()).collect();
    assert_eq!(names, ["low", "a", "b", "dns"]);
}

#[test]
fn who_stays_is_said_with_its_reason() {
    let pods = vec![
        pod("daemon", json!({"metadata": {"ownerReferences": [make::owner("DaemonSet", "d", "o")]}})),
        pod("mirror", json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})),
        pod("static", json!({"metadata": {"ownerReferences": [make::owner("Node", "k-1", "o")]}})),
        pod("done", json!({"status": {"phase": "Succeeded"}})),
        pod("failed", json!({"status": {"phase": "Failed"}})),
    ];
    let judgement = judge(&look(pods), &order());
    assert!(judgement.go.is_empty());
    let why: Vec<Stays> = judgement.stay.iter().map(|stayer| stayer.why).collect();
    assert_eq!(why, [Stays::DaemonSet, Stays::Mirror, Stays::Mirror, Stays::Finished, Stays::Finished]);
}

#[test]
fn a_pod_that_is_going_already_is_waited_for_and_needs_no_word() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-11-21T03:00:00Z", "ownerReferences": []}, "spec": {"volumes": [{"name": "t", "emptyDir": {}}]}});
    let judgement = judge(&look(vec![pod("a", going)]), &order());
    assert_eq!(judgement.verdict(), Verdict::Clear);
    assert!(judgement.go[0].is_going);
}

#[test]
fn each_of_the_plans_words_allows_its_own_and_nothing_else() {
    let local: Volume = serde_json::from_value(json!({
        "metadata": {"name": "pv", "uid": "u", "resourceVersion": "1"}, "spec": {"local": {}},
    }))
    .unwrap();
    let claim = ClaimRef { namespace: "shop".to_owned(), name: "data".to_owned() };
    let cases: [Allowed; 4] = [
        (Kind::BarePod, json!({"metadata": {"ownerReferences": []}}), |words| words.bare_pods = Word::Allow),
        (
            Kind::EmptyDir,
            json!({"spec": {"volumes": [{"name": "t", "emptyDir": {"medium": "Memory"}}]}}),
            |words| words.empty_dir = Word::Allow,
        ),
        (
            Kind::LocalVolume,
            json!({"spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}),
            |words| words.local_volumes = Word::Allow,
        ),
        (Kind::NowhereElse, json!({"spec": {"nodeSelector": {"disk": "fast"}}}), |words| {
            words.nowhere_else = Word::Allow
        }),
    ];
    for (kind, with, _) in &cases {
        let mut here = look(vec![pod("a", with.clone())]);
        here.volumes = Some(Ok([(claim.clone(), local.clone())].into()));
        for (other, _, allow) in &cases {
            let mut order = order();
            allow(&mut order.words);
            let judgement = judge(&here, &order);
            assert_eq!(kinds(&judgement), [*kind]);
            assert_eq!(
                is(&judgement),
                if kind == other { Is::Clear } else { Is::Refused },
                "{kind:?} by {other:?}"
            );
        }
    }
}

#[test]
fn the_coordinators_own_pod_keeps_its_node() {
    let mut order = order();
    let name = PodName { namespace: "shop".to_owned(), name: "a".to_owned() };
    order.own_pod = Some(OwnPod { name: name.clone(), uid: None });
    let claim =
        json!({"spec": {"volumes": [{"name": "state", "persistentVolumeClaim": {"claimName": "store"}}]}});
    let judgement = judge(&look(vec![pod("a", claim)]), &order);
    let words = said(&judgement);
    assert!(words.contains("this coordinator itself runs here, in the pod shop/a"), "{words}");
    assert!(words.contains("kubectl cordon k-1 && kubectl -n shop delete pod a"), "{words}");
    assert!(words.contains("its volume store must be able to follow it"), "{words}");

    // Nobody's word takes it down, and one of the same name in another cluster is not it.
    let look = look(vec![pod("a", json!({}))]);
    order.force =
        Some(Force { by: "anna".to_owned(), only: Some(["uid-a".to_owned()].into()), grace_s: None });
    assert!(matches!(judge(&look, &order).verdict(), Verdict::Refused(_)));
    order.own_pod = Some(OwnPod { name, uid: Some("another".to_owned()) });
    assert_eq!(judge(&look, &order).verdict(), Verdict::Clear);
}

#[test]
fn another_node_of_the_same_name_is_refused() {
    let mut order = order();
    order.uid = "another".to_owned();
    let judgement = judge(&look(Vec::new()), &order);
    assert!(said(&judgement).contains("the Node k-1 is another one now (UID uid-k-1, bound was another)"));
}
