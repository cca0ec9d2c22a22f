//! What of all that stops a run: what is newer than it.

use drydock_types::Verdict;
use serde_json::{Value, json};

use super::*;
use crate::{
    answer::Refusal,
    drain::ask::Fault,
    health::{Known, judge, keys, verdict},
};

/// The run of these tests began an hour ago.
const RUN: i64 = 3600;

fn known(before: Option<&[String]>) -> Known<'_> {
    Known { began_unix_s: now() - RUN, before }
}

fn crashing(name: &str, age: i64) -> Value {
    pod(
        name,
        "k3s-2",
        age,
        &container(&json!({
            "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": ago(100)}},
        })),
    )
}

fn without_sandbox(pods: &[(&str, &str, i64)]) -> Observed {
    let said = "failed to setup network: open /run/flannel/subnet.env: no such file or directory";
    let events = pods.iter().map(|(name, ..)| event(name, "FailedCreatePodSandBox", said, 10)).collect();
    let pods: Vec<Value> = pods.iter().map(|(name, node, age)| pod(name, node, *age, &creating())).collect();
    seen(&pods, events)
}

#[test]
fn what_has_failed_without_a_break_since_before_the_run_is_not_its_doing() {
    let old = without_sandbox(&[("a-1", "k3s-2", 41 * DAY), ("b-1", "k3s-2", 2 * DAY)]);
    assert_eq!(verdict(&judge(&old, now()), Some(known(None)), now()), Verdict::Clear);
    // The same for nobody's run: what a person asks, or a plan that refuses what fails already.
    let Verdict::Waiting(why) = verdict(&judge(&old, now()), None, now()) else { panic!() };
    assert!(why.starts_with("2 pods on k3s-2 without a sandbox for 41 d"), "{why}");
}

#[test]
fn what_is_newer_than_the_run_stops_it_and_is_told_alone() {
    let mixed = without_sandbox(&[("a-1", "k3s-2", 41 * DAY), ("b-1", "k3s-1", 10 * MIN)]);
    let Verdict::Waiting(why) = verdict(&judge(&mixed, now()), Some(known(None)), now()) else { panic!() };
    assert!(why.starts_with("pod shop/b-1 on k3s-1 without a sandbox for 10 min"), "{why}");
    assert!(why.ends_with("(beside 1 that failed before the run)"), "{why}");
}

#[test]
fn a_crash_loop_is_known_by_what_was_noted_and_never_by_its_times() {
    let before = judge(&seen(&[crashing("cart-1", 9 * DAY)], vec![]), now());
    let noted = keys(&before);
    // Nothing was noted: whether it crashed before the run nothing tells.
    assert!(matches!(verdict(&before, Some(known(None)), now()), Verdict::Waiting(_)));
    // It was; and the pod that took its place while a node was drained fails as it did.
    let later = judge(&seen(&[crashing("cart-2", 10 * MIN)], vec![]), now());
    assert_eq!(verdict(&later, Some(known(Some(&noted))), now()), Verdict::Clear);
    let other = judge(&seen(&[crashing("web-1", 10 * MIN)], vec![]), now());
    assert!(
        matches!(verdict(&other, Some(known(Some(&noted))), now()), Verdict::Waiting(why) if why.contains("web-1"))
    );
}

/// Two Nodes, one of which has been in this state for so long.
fn of_node(condition: &str, status: &str, age: i64) -> Observed {
    let mut seen = seen(&[], vec![]);
    let mut sick = node("k3s-2", "True", &json!({}));
    sick.status.conditions.retain(|of| of.kind != condition);
    let of = json!({"type": condition, "status": status, "message": "why", "lastTransitionTime": ago(age)});
    sick.status.conditions.push(serde_json::from_value(of).unwrap());
    seen.nodes = vec![node("k3s-1", "True", &json!({})), sick];
    seen
}

#[test]
fn a_node_that_recovered_and_fails_again_is_not_excused_by_its_failure_before_the_run() {
    for (condition, status) in [("Ready", "False"), ("Ready", "Unknown"), ("DiskPressure", "True")] {
        let of = |age| judge(&of_node(condition, status, age), now());
        let noted = keys(&of(DAY));
        // The same failure goes on: by its age, also where nobody noted it.
        for before in [None, Some(&*noted)] {
            assert_eq!(verdict(&of(DAY), Some(known(before)), now()), Verdict::Clear, "{condition}");
        }
        // It ended meanwhile, and another one began.
        let again = verdict(&of(10 * MIN), Some(known(Some(&noted))), now());
        assert!(matches!(&again, Verdict::Waiting(why) if why.contains("k3s-2")), "{condition}: {again:?}");
        // What began after the run and before its first gate is noted there, and is no news while it lasts.
        let noted = keys(&of(RUN - 300));
        assert_eq!(verdict(&of(RUN - 300), Some(known(Some(&noted))), now()), Verdict::Clear, "{condition}");
        assert!(matches!(verdict(&of(RUN - 301), Some(known(Some(&noted))), now()), Verdict::Waiting(_)));
    }
}

#[test]
fn a_node_of_whose_failure_nothing_tells_when_it_began_is_never_noted() {
    let mut seen = of_node("Ready", "False", DAY);
    seen.nodes[1].status.conditions[0].last_transition_time = None;
    let problems = judge(&seen, now());
    assert_eq!(keys(&problems), [""; 0]);
    assert!(matches!(verdict(&problems, Some(known(Some(&[]))), now()), Verdict::Waiting(_)));
    // One that has never reported has not done so since it was made.
    seen.nodes[1].status.conditions.clear();
    seen.nodes[1].metadata.creation_timestamp = Some(ago(DAY));
    assert_eq!(verdict(&judge(&seen, now()), Some(known(None)), now()), Verdict::Clear);
}

/// A pod of a DaemonSet for a Node, failing in one of the ways in which a pod can.
fn of_daemon(way: &str, node: &str, age: i64) -> Observed {
    let status = match way {
        "crash" => container(&json!({
            "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "finishedAt": ago(100)}},
        })),
        "memory" => container(&json!({
            "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": ago(100)}},
        })),
        "image" => {
            container(&json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}))
        }
        "config" => container(
            &json!({"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}}),
        ),
        "unready" => container(&json!({"state": {"running": {"startedAt": ago(age)}}})),
        _ => creating(),
    };
    let name = format!("cni-{node}");
    let mut pod = pod(&name, node, age, &status);
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "cni", "uid": "ds", "controller": true}]);
    if way == "unscheduled" {
        pod["spec"]["nodeName"] = json!("");
        // As the DaemonSet controller binds its pods to their Nodes.
        pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/2 nodes are available: 1 Insufficient cpu.", "lastTransitionTime": ago(age)}]);
    }
    let volume = "MountVolume.SetUp failed for volume \"run\" : hostPath type check failed: /run/cni is not a directory";
    let events = if way == "volume" { vec![event(&name, "FailedMount", volume, 10)] } else { Vec::new() };
    seen(&[pod], events)
}

#[test]
fn a_daemonset_that_failed_on_one_node_before_has_not_failed_on_any_other() {
    for way in ["crash", "memory", "image", "config", "unready", "unscheduled", "volume", "starting"] {
        let noted = keys(&judge(&of_daemon(way, "k3s-1", 10 * MIN), now()));
        assert_eq!(noted.len(), 1, "{way}");
        let there = judge(&of_daemon(way, "k3s-1", 5 * MIN), now());
        assert_eq!(verdict(&there, Some(known(Some(&noted))), now()), Verdict::Clear, "{way}");
        let elsewhere = judge(&of_daemon(way, "k3s-2", 5 * MIN), now());
        let stops = verdict(&elsewhere, Some(known(Some(&noted))), now());
        assert!(matches!(&stops, Verdict::Waiting(why) if why.contains("cni-k3s-2")), "{way}: {stops:?}");
    }
}

#[test]
fn a_root_cause_of_a_node_covers_its_further_pods_and_no_other_node() {
    let noted = keys(&judge(&without_sandbox(&[("a-1", "k3s-2", 10 * MIN)]), now()));
    let more = judge(&without_sandbox(&[("a-1", "k3s-2", 10 * MIN), ("c-1", "k3s-2", 2 * MIN)]), now());
    assert_eq!(verdict(&more, Some(known(Some(&noted))), now()), Verdict::Clear);
    let elsewhere = judge(&without_sandbox(&[("a-1", "k3s-2", 10 * MIN), ("c-1", "k3s-1", 2 * MIN)]), now());
    assert!(matches!(verdict(&elsewhere, Some(known(Some(&noted))), now()), Verdict::Waiting(_)));
}

#[test]
fn what_cannot_be_seen_is_never_clear() {
    let forbidden = |user: &str| {
        let said = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": format!("events is forbidden: User \"{user}\" cannot list resource \"events\" in API group \"\" at the cluster scope")});
        crate::answer::refusal(&crate::api::Answer {
            status: 403,
            retry_after: None,
            content_type: "application/json".to_owned(),
            body: said.to_string().into_bytes(),
        })
    };
    let fault = |refusal: Refusal| Fault::Refused { asked: "GET /api/v1/events".to_owned(), refusal };
    let mut seen = seen(&[], vec![]);
    seen.unseen = vec![("events", fault(forbidden("drydock")))];
    let Verdict::Refused(why) = verdict(&judge(&seen, now()), Some(known(None)), now()) else { panic!() };
    assert!(why.contains("the events could not be listed") && why.contains("list events"), "{why}");
    assert!(why.contains("deploy/kubernetes/clusterrole.yaml"), "{why}");
    seen.unseen = vec![("pods", fault(Refusal::ShuttingDown))];
    assert!(matches!(verdict(&judge(&seen, now()), Some(known(None)), now()), Verdict::Unknown(_)));
    seen.unseen.clear();
    assert_eq!(verdict(&judge(&seen, now()), Some(known(None)), now()), Verdict::Clear);
}

#[test]
fn an_api_that_is_not_ready_stops_a_run_however_long_it_has_been_so() {
    let mut seen = seen(&[], vec![]);
    seen.api = vec![Readyz {
        endpoint: String::new(),
        said: Ok((500, "[-]etcd failed: reason withheld\n".to_owned())),
    }];
    let problems = judge(&seen, now());
    let noted = keys(&problems);
    assert!(
        matches!(verdict(&problems, Some(known(Some(&noted))), now()), Verdict::Waiting(why) if why.contains("etcd"))
    );
}

#[test]
fn a_verdict_has_a_few_causes_and_counts_the_rest() {
    let pods: Vec<Value> = ('a'..='i').map(|app| crashing(&format!("{app}-1"), 10 * MIN)).collect();
    let Verdict::Waiting(why) = verdict(&judge(&seen(&pods, vec![]), now()), Some(known(None)), now()) else {
        panic!()
    };
    assert!(why.ends_with("; and 4 more: drydock check cluster"), "{why}");
}

#[test]
fn what_was_noted_does_not_grow_with_names() {
    let noted = keys(&judge(&seen(&[crashing("cart-1", DAY), crashing("cart-2", DAY)], vec![]), now()));
    assert_eq!(noted.len(), 1, "two pods of one workload are one thing that fails");
    assert!(noted.iter().all(|key| key.len() == 16), "{noted:?}");
}
