//! Who else is at work on a Node.

use super::*;

#[test]
fn every_other_hand_on_a_node_is_named() {
    let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
    let note = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let foreign = Marker { fleet: FleetId([9; 16]), ..order().marker }.mark("k-1", false).text();
    for (with, word) in [
        (taint("ToBeDeletedByClusterAutoscaler"), "the cluster-autoscaler deletes it"),
        (taint("DeletionCandidateOfClusterAutoscaler"), "the cluster-autoscaler is about to delete it"),
        (taint("karpenter.sh/disrupted"), "Karpenter"),
        (taint("node.cluster.x-k8s.io/outdated-revision"), "Cluster API rolls its machines"),
        (taint("deployment.machine.sapcloud.io/prefer-no-schedule"), "Gardener's machine-controller-manager"),
        (taint("kvm.cloud.sap/offboarding"), "the hypervisor operator"),
        (taint("medik8s.io/drain"), "the node-maintenance operator"),
        (note("weave.works/kured-reboot-in-progress", "2026-11-21"), "kured reboots it"),
        (note("harvesterhci.io/maintain-status", "running"), "Harvester's maintenance mode"),
        (
            note("machineconfiguration.openshift.io/state", "Working"),
            "the machine-config operator (state Working)",
        ),
        (note("machineconfiguration.openshift.io/desiredDrain", "drain-1"), "the machine-config operator"),
        (note(mark::KEY, &foreign), "the mark of another fleet"),
        (note(mark::KEY, "?"), "cannot be read"),
        (
            json!({"status": {"conditions": [{"type": "Terminating", "status": "True"}]}}),
            "its machine is being deleted",
        ),
        (json!({"metadata": {"deletionTimestamp": "2026-11-21T03:00:00Z"}}), "somebody who deletes it"),
    ] {
        let mut node = make::node("k-1");
        make::overlay(&mut node, &with);
        let judgement = judge(&Look { node: object(node), ..look(Vec::new()) }, &order());
        assert_eq!(is(&judgement), Is::Refused, "{with}");
        assert!(kinds(&judgement).iter().all(|kind| *kind == Kind::Hand));
        assert!(said(&judgement).contains(word), "{with}: {}", said(&judgement));
        assert!(said(&judgement).contains("the Node k-1"), "{}", said(&judgement));
    }
}

#[test]
fn what_only_looks_like_another_hand_is_none() {
    let mut node = make::node("k-1");
    // Cordoned by somebody, done with an upgrade, its last drain applied.
    make::overlay(
        &mut node,
        &json!({
            "metadata": {
                "labels": {"plan.upgrade.cattle.io/k3s-server": "abc"},
                "annotations": {
                    "machineconfiguration.openshift.io/state": "Done",
                    "machineconfiguration.openshift.io/desiredDrain": "uncordon-1",
                    "machineconfiguration.openshift.io/lastAppliedDrain": "uncordon-1",
                    "weave.works/kured-most-recent-reboot-needed": "2026-11-21",
                },
            },
            "spec": {"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]},
        }),
    );
    let done = pod(
        "apply",
        json!({"metadata": {"labels": {"upgrade.cattle.io/plan": "k3s"}}, "status": {"phase": "Succeeded"}}),
    );
    let judgement = judge(&Look { node: object(node), ..look(vec![done]) }, &order());
    assert_eq!(judgement.findings, []);
}

#[test]
fn kureds_lock_is_read_in_every_form() {
    for (kured, verdict, word) in [
        (Kured::None, Is::Clear, ""),
        (Kured::Lock(None), Is::Clear, ""),
        (
            Kured::Lock(Some(r#"{"nodeID":"k-1","metadata":{"unschedulable":false},"created":"x"}"#.into())),
            Is::Refused,
            "kured has its lock for it",
        ),
        (Kured::Lock(Some(r#"{"nodeID":"k-9"}"#.into())), Is::Waiting, "kured has its lock for k-9"),
        (Kured::Lock(Some(r#"{"nodeID":"manual"}"#.into())), Is::Waiting, "manual"),
        (
            Kured::Lock(Some(r#"{"maxOwners":2,"locks":[{"nodeID":"k-9"},{"nodeID":"k-1"}]}"#.into())),
            Is::Refused,
            "for it",
        ),
        (Kured::Lock(Some(r#"{"maxOwners":2,"locks":[]}"#.into())), Is::Clear, ""),
        (Kured::Lock(Some("{".into())), Is::Unknown, "cannot be read"),
        (Kured::Unseen("forbidden".into()), Is::Unknown, "its lock cannot be seen (forbidden)"),
    ] {
        let judgement = judge(&Look { kured: kured.clone(), ..look(Vec::new()) }, &order());
        assert_eq!(is(&judgement), verdict, "{kured:?}");
        assert!(said(&judgement).contains(word), "{kured:?}: {}", said(&judgement));
    }
}

#[test]
fn a_node_that_we_emptied_may_be_a_candidate_of_the_autoscaler_and_not_more() {
    for (key, verdict) in
        [("DeletionCandidateOfClusterAutoscaler", Is::Clear), ("ToBeDeletedByClusterAutoscaler", Is::Refused)]
    {
        let mut node = make::node("k-1");
        make::overlay(
            &mut node,
            &json!({
                "metadata": {"annotations": {mark::KEY: order().marker.mark("k-1", false).text()}},
                "spec": {"unschedulable": true, "taints": [{"key": key, "effect": "PreferNoSchedule"}]},
            }),
        );
        let judgement = judge(&Look { node: object(node), ..look(Vec::new()) }, &order());
        assert_eq!(is(&judgement), verdict, "{key}: {judgement:?}");
    }
}
