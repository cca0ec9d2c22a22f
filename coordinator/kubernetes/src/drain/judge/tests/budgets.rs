//! What budgets say, each and together.

use super::*;

/// Spec, status, how many ready pods are here, what is judged, a word of the reason.
#[test]
fn budgets_are_judged_by_what_they_count() {
    let cases: [(&str, Value, Value, usize, Is, &str); 12] = [
        (
            "room for all",
            json!({"minAvailable": 2}),
            json!({"disruptionsAllowed": 3, "currentHealthy": 5, "desiredHealthy": 2, "expectedPods": 5}),
            2,
            Is::Clear,
            "",
        ),
        (
            "room for one",
            json!({"minAvailable": 4}),
            json!({"disruptionsAllowed": 1, "currentHealthy": 5, "desiredHealthy": 4, "expectedPods": 5}),
            2,
            Is::Clear,
            "",
        ),
        (
            "none, all healthy",
            json!({"minAvailable": 2}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}),
            1,
            Is::Refused,
            "shop/cart allows 0 disruptions with 2 of 2 pods healthy (minAvailable: 2): it can never be satisfied",
        ),
        (
            "more demanded than there are",
            json!({"minAvailable": 5}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 5, "expectedPods": 2}),
            1,
            Is::Refused,
            "never",
        ),
        (
            "maxUnavailable 0",
            json!({"maxUnavailable": 0}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 3, "desiredHealthy": 3, "expectedPods": 3}),
            1,
            Is::Refused,
            "maxUnavailable: 0",
        ),
        (
            "never, and unhealthy as well",
            json!({"maxUnavailable": 0}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 3, "expectedPods": 3}),
            1,
            Is::Refused,
            "never",
        ),
        (
            "maxUnavailable over pods without a controller",
            json!({"maxUnavailable": 1}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 0}),
            1,
            Is::Refused,
            "have no controller to count by",
        ),
        (
            "none, one unhealthy",
            json!({"minAvailable": 2}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 3}),
            1,
            Is::Waiting,
            "2 of 3 pods are healthy and 2 must be",
        ),
        (
            "none, one just evicted",
            json!({"maxUnavailable": 1}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 3, "disruptedPods": {"e1": "2026-11-21T02:55:27Z"}}),
            1,
            Is::Waiting,
            "also where a pod of that name is ready: e1 until 2026-11-21T02:57:27Z at the latest",
        ),
        (
            "not yet counted",
            json!({"minAvailable": 2}),
            json!({"observedGeneration": 0}),
            1,
            Is::Waiting,
            "not yet counted by the controller-manager",
        ),
        (
            "an empty selector",
            json!({"selector": {"matchLabels": null}, "minAvailable": 2}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}),
            1,
            Is::Refused,
            "never",
        ),
        (
            "none, and no pod of it here",
            json!({"minAvailable": 2}),
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}),
            0,
            Is::Clear,
            "",
        ),
    ];
    for (what, spec, status, here, verdict, word) in cases {
        let pods = (0..here).map(|i| pod(&format!("p{i}"), json!({}))).collect();
        let judgement = judge(&Look { budgets: vec![budget(spec, status)], ..look(pods) }, &order());
        assert_eq!(is(&judgement), verdict, "{what}: {judgement:?}");
        assert!(said(&judgement).contains(word), "{what}: {}", said(&judgement));
    }
}

#[test]
fn the_nodes_pods_together_are_counted_against_a_budget() {
    let status =
        json!({"disruptionsAllowed": 1, "currentHealthy": 5, "desiredHealthy": 4, "expectedPods": 5});
    let pods = vec![pod("a", json!({})), pod("b", json!({}))];
    let here = Look { budgets: vec![budget(json!({"minAvailable": 4}), status.clone())], ..look(pods) };
    // With replacements elsewhere they go one after another.
    let judgement = judge(&here, &order());
    assert_eq!((is(&judgement), kinds(&judgement)), (Is::Clear, vec![Kind::BudgetSum]));
    // Without, the second can never go.
    let mut words = order();
    words.words.nowhere_else = Word::Allow;
    let nowhere = Look { elsewhere: Some(Arc::default()), ..here };
    let judgement = judge(&nowhere, &words);
    assert_eq!(is(&judgement), Is::Refused);
    assert!(
        said(&judgement)
            .contains("2 pods of this node under the PodDisruptionBudget shop/cart are replaced nowhere")
    );
    assert!(said(&judgement).contains("shop/a, shop/b"), "{}", said(&judgement));
    // And bare pods are never replaced, wherever there is room.
    let bare = |name| pod(name, json!({"metadata": {"ownerReferences": []}}));
    let mut words = order();
    words.words.bare_pods = Word::Allow;
    let bares = Look {
        budgets: vec![budget(json!({"minAvailable": 4}), status)],
        ..look(vec![bare("a"), bare("b")])
    };
    assert!(kinds(&judge(&bares, &words)).contains(&Kind::BudgetSum));
    assert_eq!(is(&judge(&bares, &words)), Is::Refused);
}

#[test]
fn two_budgets_over_one_pod_are_both_named() {
    let fine = json!({"disruptionsAllowed": 3, "currentHealthy": 5, "desiredHealthy": 2, "expectedPods": 5});
    let one = budget(json!({"minAvailable": 2}), fine.clone());
    let mut two = budget(json!({"minAvailable": 2}), fine);
    two.metadata.name = "everything".to_owned();
    two.spec.selector = Some(crate::objects::selector::LabelSelector::default());
    let judgement = judge(&Look { budgets: vec![one, two], ..look(vec![pod("a", json!({}))]) }, &order());
    assert!(
        said(&judgement).contains("cart and everything both select the pod shop/a"),
        "{}",
        said(&judgement)
    );
}

#[test]
fn pods_that_are_not_ready_are_judged_by_their_budgets_policy() {
    let unready = || {
        pod(
            "a",
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}}),
        )
    };
    let pending = || pod("a", json!({"status": {"phase": "Pending", "conditions": []}}));
    let short = json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2, "expectedPods": 3});
    let met = json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 3});
    for (what, here, policy, status, verdict) in [
        ("budget not met", unready(), json!(null), &short, Is::Waiting),
        ("budget not met, said so", unready(), json!("IfHealthyBudget"), &short, Is::Waiting),
        ("a policy of a later server", unready(), json!("Sometimes"), &short, Is::Waiting),
        ("always", unready(), json!("AlwaysAllow"), &short, Is::Clear),
        ("budget met", unready(), json!(null), &met, Is::Clear),
        ("pending", pending(), json!(null), &short, Is::Clear),
    ] {
        let spec = json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": policy});
        let judgement =
            judge(&Look { budgets: vec![budget(spec, status.clone())], ..look(vec![here]) }, &order());
        assert_eq!(is(&judgement), verdict, "{what}: {judgement:?}");
    }
}
