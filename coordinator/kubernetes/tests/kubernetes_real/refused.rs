//! Refusals of a real server that are no budget's: too many requests, and another pod under the same name.

use drydock_kubernetes::{
    answer,
    api::{Api as _, Method, Request},
    drain::{
        Word, ask,
        cordon::Released,
        work::{Ended, Progress, Stage, Stop, drain},
    },
};
use drydock_test_cluster::{
    Admin,
    admin::Begun,
    cluster::SOON,
    objects::{self, is},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{BUDGETS, DEPLOYMENTS, PODS, Scene, between::Between, kubeconfig, told_of};

const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
/// Too many requests, as the audit log has it.
const REFUSED: u64 = 429;
/// One that we gave up waiting for, on a machine that is too busy.
const GIVEN_UP: u64 = 504;

/// From when this returns no eviction of ours is taken, until the request is dropped.
async fn fill(scene: &Scene) -> Begun {
    let ours = Admin::from_kubeconfig(&kubeconfig(&scene.cluster)).unwrap();
    let nobody = Request {
        method: Method::Post,
        path: format!("{PODS}/nobody/eviction"),
        body: Some(
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "nobody", "namespace": "default"}})
                .to_string()
                .into_bytes(),
        ),
        within: ask::WITHIN,
    };
    let filled = async {
        loop {
            // Again until the server has taken notice of who is to be held back.
            let begun = ours.begin(&format!("{PODS}/nobody/eviction"));
            for _ in 0..5 {
                // On a machine that is too busy one may be given up.
                let Ok(said) = scene.client.call(nobody.clone()).await else { continue };
                if matches!(answer::done(&said), Err(answer::Refusal::Throttled { .. })) {
                    return begun;
                }
            }
        }
    };
    tokio::time::timeout(SOON, filled).await.expect("the server holds nobody back")
}

fn time(line: &Value, of: &str) -> Timestamp {
    line[of].as_str().unwrap().parse().unwrap()
}

fn code(line: &Value) -> u64 {
    line["responseStatus"]["code"].as_u64().unwrap()
}

/// Its answer is plain text with a time. It is told as that, asked no sooner, and takes nothing from a budget.
pub(super) async fn a_server_with_too_many_requests_is_no_budget_and_is_given_its_time(scene: &Scene) {
    scene.workload("busy", 6, "0s", json!({"maxUnavailable": 3}), 3).await;
    let admin = scene.cluster.admin();
    let order = scene.order("node-1").await;
    let here = scene.pods_on("node-1").await;
    assert!(!here.is_empty());
    for (path, object) in objects::throttled_evictions("drydock") {
        admin.create(path, &object).await.unwrap();
    }
    let full = fill(scene).await;

    let before = scene.requests().len();
    let (tell, stop) = (watch::Sender::new(Progress::default()), CancellationToken::new());
    let mut told = tell.subscribe();
    let (ended, (said, budget)) =
        tokio::join!(drain(&scene.client, &order, None, SOON, &tell, &stop), async {
            let waits = |progress: &Progress| {
                progress.waits.as_ref().is_some_and(|waits| waits.because.contains("too many requests"))
            };
            let said = told_of(&mut told, waits).await;
            let budget = admin.get(&format!("{BUDGETS}/busy")).await.unwrap();
            drop(full);
            (said, budget)
        });
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    let waits = said.waits.unwrap();
    // A second at first, and twice as many each time that it goes on refusing, up to 32: the server's own rule.
    let patience = waits
        .because
        .strip_suffix("s of patience")
        .and_then(|told| told.rsplit_once("the API server has too many requests and asks for "))
        .and_then(|(_, seconds)| seconds.parse::<u64>().ok());
    assert!(patience.is_some_and(|seconds| (1..=32).contains(&seconds)), "{waits:?}");
    assert!(said.left.iter().all(|left| !left.because.contains("PodDisruptionBudget")), "{:?}", said.left);
    assert_eq!(budget["status"]["disruptionsAllowed"], 3, "{budget}");

    // By the server's own clock: nobody was asked about again before the time that it had asked for.
    for pod in &here {
        let asked = scene.evictions(pod, before);
        // One that was given up may have been carried out: then its pod is read as gone, and not asked again.
        assert!(matches!(asked.last().map(code), Some(201 | GIVEN_UP)), "{asked:?}");
        for pair in asked.windows(2).filter(|pair| code(&pair[0]) == REFUSED) {
            let waited = time(&pair[1], "requestReceivedTimestamp") - time(&pair[0], "stageTimestamp");
            assert!(waited.total(jiff::Unit::Second).unwrap() >= 1.0, "{pair:?}");
        }
    }
    let refused =
        here.iter().flat_map(|pod| scene.evictions(pod, before)).filter(|line| code(line) == REFUSED).count();
    assert!(refused > 0, "nothing was refused");

    for (path, object) in objects::throttled_evictions("drydock").iter().rev() {
        admin.delete(&format!("{path}/{}", objects::name(object))).await.unwrap();
    }
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    scene.remove("busy").await;
}

/// Four pods anywhere and one that only node-1 takes, cordoned or not, under one budget that lets two go.
async fn queue(scene: &Scene) {
    let admin = scene.cluster.admin();
    let mut rest = objects::deployment("rest", 4);
    let mut queue = objects::stateful_set("queue", 1);
    queue["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let pod = &mut queue["spec"]["template"]["spec"];
    pod["nodeSelector"] = json!({"kubernetes.io/hostname": "node-1"});
    pod["tolerations"] = json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]);
    for workload in [&mut rest, &mut queue] {
        workload["spec"]["template"]["metadata"]["labels"]["kept"] = json!("together");
    }
    admin.create(DEPLOYMENTS, &rest).await.unwrap();
    admin.create(STATEFUL_SETS, &queue).await.unwrap();
    let mut budget = objects::budget("together", "", json!({"maxUnavailable": 2}));
    budget["spec"]["selector"] = json!({"matchLabels": {"kept": "together"}});
    admin.create(BUDGETS, &budget).await.unwrap();
    counted(admin, 5, 2, &[]).await;
}

/// Until the budget is counted as that.
async fn counted(admin: &Admin, healthy: u64, allowed: u64, gone: &[&str]) {
    let is = |all: &[Value]| {
        let status = &all.iter().find(|one| objects::name(one) == "together")?["status"];
        let named: Vec<&str> = status["disruptedPods"]
            .as_object()
            .map(|pods| pods.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let is = status["currentHealthy"] == healthy && status["disruptionsAllowed"] == allowed;
        (is && named == gone).then_some(())
    };
    admin.until("the budget to be counted so", BUDGETS, SOON, is).await.unwrap();
}

async fn uid(admin: &Admin, pod: &str) -> String {
    let pod = admin.get(&format!("{PODS}/{pod}")).await.unwrap();
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Between the look at a pod and its eviction somebody deletes it, and its controller makes it anew, on the same node.
/// The server refuses (409) and counts it as gone all the same: asked again it would be counted again.
pub(super) async fn a_pod_that_was_made_anew_in_between_costs_its_budget_once(scene: &Scene) {
    queue(scene).await;
    let admin = scene.cluster.admin();
    let mut order = scene.order("node-1").await;
    order.words.nowhere_else = Word::Allow;
    let first = uid(admin, "queue-0").await;

    let before = scene.requests().len();
    let api = Between::of(&scene.client);
    let held = api.hold_eviction("/pods/queue-0");
    let (tell, stop) = (watch::Sender::new(Progress::default()), CancellationToken::new());
    let mut told = tell.subscribe();
    let (ended, second) = tokio::join!(drain(&api, &order, None, SOON, &tell, &stop), async {
        let go_on = tokio::time::timeout(SOON, held).await.expect("queue-0 was never asked to go").unwrap();
        api.watches_are_late(true);
        admin.delete(&format!("{PODS}/queue-0?gracePeriodSeconds=0")).await.unwrap();
        let anew = |all: &[Value]| {
            let pod = all.iter().find(|pod| objects::name(pod) == "queue-0" && is(pod, "Ready"))?;
            pod["metadata"]["uid"].as_str().filter(|uid| *uid != first).map(str::to_owned)
        };
        let second = admin.until("queue-0 to be made anew", PODS, SOON, anew).await.unwrap();
        go_on.send(()).unwrap();
        // The answer comes; then the watch tells of both, as late as it likes.
        api.until_answered(409).await;
        api.watches_are_late(false);
        // Everybody else leaves. Whoever is new is known, and not asked although its budget would let one go.
        let alone = |progress: &Progress| {
            let [left] = &progress.left[..] else { return false };
            left.uid == second
                && left.stage == Stage::Waits
                && left.because.contains("an earlier pod of its name")
        };
        told_of(&mut told, alone).await;
        stop.cancel();
        second
    });
    let Ended::Stopped { why: Stop::Told, left, .. } = &ended else { panic!("{ended:?}") };
    assert_eq!(left.iter().map(|left| left.uid.as_str()).collect::<Vec<_>>(), [second.as_str()], "{left:?}");
    let codes = |after| {
        let all = scene.evictions("queue-0", after);
        all.iter().map(code).filter(|code| *code != GIVEN_UP).collect::<Vec<_>>()
    };
    assert_eq!(codes(before), [409]);
    // One of the two that it lets go is taken, not both.
    counted(admin, 4, 1, &["queue-0"]).await;
    assert_eq!(uid(admin, "queue-0").await, second, "nobody evicted the new one");

    // It may go elsewhere by now, and a person says again: then it is evicted by its own UID, once.
    let anywhere = json!({"spec": {"template": {"spec": {"nodeSelector": null, "tolerations": null}}}});
    admin.patch(&format!("{STATEFUL_SETS}/queue"), &anywhere).await.unwrap();
    let before = scene.requests().len();
    let ended = scene.drain(&order, SOON).await;
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    assert_eq!(codes(before), [201]);
    assert_eq!(scene.release(&order).await, Released::Uncordoned);

    for path in
        [format!("{STATEFUL_SETS}/queue"), format!("{DEPLOYMENTS}/rest"), format!("{BUDGETS}/together")]
    {
        admin.delete(&path).await.unwrap();
    }
    let of_ours = format!("{PODS}?labelSelector=kept%3Dtogether");
    admin.until("its pods to be gone", &of_ours, SOON, |all| all.is_empty().then_some(())).await.unwrap();
}
