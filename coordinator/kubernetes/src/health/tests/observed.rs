//! What is read of a cluster, and what of it is not believed.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use drydock_types::Verdict;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Answer, Api, Line, Request, Unreached},
    health::{judge, observe, verdict},
};

/// A cluster by its lists: what a path begins with, and what is answered there; nothing at all where that is null.
struct Lists {
    there: BTreeMap<&'static str, Value>,
    clock_ahead_s: Option<i64>,
}

impl Lists {
    /// With one Node and nothing else.
    fn new() -> Self {
        let node = json!({"metadata": {"name": "k3s-1", "uid": "u", "resourceVersion": "1"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let empty = || list(&[]);
        let there = BTreeMap::from([
            ("/api/v1/nodes", list(&[node])),
            ("/api/v1/pods", empty()),
            ("/api/v1/events", empty()),
            ("/api/v1/persistentvolumeclaims", empty()),
            ("/apis/apps/v1/deployments", empty()),
            ("/apis/apps/v1/statefulsets", empty()),
            ("/apis/apps/v1/daemonsets", empty()),
        ]);
        Self { there, clock_ahead_s: Some(1) }
    }

    fn with(mut self, path: &'static str, answer: Value) -> Self {
        self.there.insert(path, answer);
        self
    }

    async fn seen(&self) -> Observed {
        observe(self, Vec::new(), &[], now()).await
    }

    async fn verdict(&self) -> Verdict {
        verdict(&judge(&self.seen().await, now()), None, now())
    }
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
}

fn unknown(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Unknown(why) => why,
        other => panic!("{other:?}"),
    }
}

#[async_trait]
impl Api for Lists {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        let path = request.path.split('?').next().unwrap();
        let answer = if path == "/readyz" { json!("ok") } else { self.there[path].clone() };
        if answer.is_null() {
            return std::future::pending().await;
        }
        let content_type = "application/json".to_owned();
        Ok(Answer { status: 200, retry_after: None, content_type, body: answer.to_string().into_bytes() })
    }

    async fn watch(
        &self,
        path: String,
        _: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        panic!("nobody watches {path}");
    }

    fn clock_ahead_s(&self) -> Option<i64> {
        self.clock_ahead_s
    }
}

#[tokio::test]
async fn a_cluster_without_nodes_is_not_one_in_which_nothing_fails() {
    assert_eq!(Lists::new().verdict().await, Verdict::Clear);
    let empty = Lists::new().with("/api/v1/nodes", list(&[]));
    let said = empty.verdict().await;
    assert!(unknown(&said).contains("no Node at all"), "{said:?}");
}

#[tokio::test]
async fn a_cluster_without_the_node_that_it_is_asked_for_is_another_one() {
    let mut seen = Lists::new().seen().await;
    for (bound, is_clear) in [("k3s-1", true), ("k3s-2", false)] {
        seen.bound = Some(bound.to_owned());
        let said = verdict(&judge(&seen, now()), None, now());
        assert_eq!(said == Verdict::Clear, is_clear, "{said:?}");
        assert!(is_clear || unknown(&said).contains("no Node k3s-2"), "{said:?}");
    }
}

#[tokio::test]
async fn a_list_without_its_items_is_not_an_empty_one() {
    let not_a_list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}});
    for path in ["/api/v1/nodes", "/api/v1/pods", "/apis/apps/v1/statefulsets"] {
        let said = Lists::new().with(path, not_a_list.clone()).verdict().await;
        assert!(unknown(&said).contains("missing field `items`"), "{path}: {said:?}");
    }
    // Go's empty slice is one.
    let mut null = not_a_list;
    null["items"] = Value::Null;
    assert_eq!(Lists::new().with("/api/v1/pods", null).verdict().await, Verdict::Clear);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_is_named_when_the_time_is_over() {
    let said = Lists::new().with("/api/v1/persistentvolumeclaims", Value::Null).verdict().await;
    let why = unknown(&said);
    assert!(why.contains("/api/v1/persistentvolumeclaims was not at its end after 60s"), "{why}");
    assert_eq!(why.matches("not at its end").count(), 1, "{why}");
}

#[tokio::test]
async fn what_is_too_much_to_be_kept_is_counted_and_is_never_clear() {
    let waits = |nth: usize| pod(&format!("cart-{nth}"), "k3s-1", 9 * DAY, &creating());
    let pods: Vec<Value> = (0..5003).map(waits).collect();
    let seen = Lists::new().with("/api/v1/pods", list(&pods)).seen().await;
    assert_eq!((seen.failing.len(), seen.counted.more_failing, seen.counted.pods), (5000, 3, 5003));
    let lost = |nth: usize| {
        json!({"metadata": {"name": format!("data-{nth}"), "namespace": "shop",
        "uid": "u", "resourceVersion": "1"}, "status": {"phase": "Lost"}})
    };
    let claims: Vec<Value> = (0..5001).map(lost).collect();
    let seen = Lists::new().with("/api/v1/persistentvolumeclaims", list(&claims)).seen().await;
    assert_eq!((seen.claims.len(), seen.counted.more_claims), (5000, 1));
    // None of those that were kept is newer than the run; of the others nobody knows it.
    let old = Observed {
        counted: super::super::observe::Counted { more_failing: 3, ..seen.counted },
        claims: vec![],
        ..seen
    };
    let known = super::super::Known { began_unix_s: now(), before: None };
    let said = verdict(&judge(&old, now()), Some(known), now());
    let why = unknown(&said);
    assert!(why.contains("3 more pods were not judged") && why.contains("ignoreNamespaces"), "{why}");
    assert!(why.contains("1 more claims"), "{why}");
}

#[tokio::test]
async fn of_what_is_said_of_a_pod_only_the_newest_of_each_kind_is_kept() {
    let event = |reason: &str, message: &str, age: i64| {
        json!({"metadata": {"name": "e", "namespace": "shop"}, "reason": reason, "message": message,
            "involvedObject": {"uid": "uid-cart-1"}, "lastTimestamp": ago(age)})
    };
    let events = [
        event("FailedMount", "old", 900),
        event("FailedMount", "new", 10),
        event("FailedAttachVolume", "older", 950),
        event("Unhealthy", "probe", 20),
        event("Pulled", "fine", 5),
    ];
    let lists = Lists::new()
        .with("/api/v1/pods", list(&[pod("cart-1", "k3s-1", DAY, &creating())]))
        .with("/api/v1/events", list(&events));
    let seen = lists.seen().await;
    let kept: Vec<&str> = seen.events["uid-cart-1"].iter().map(|event| event.message.as_str()).collect();
    assert_eq!(kept, ["new", "probe"]);
}

#[tokio::test]
async fn clocks_that_are_far_apart_tell_nobody_what_is_newer_than_a_run() {
    for (ahead, is_clear) in
        [(None, true), (Some(60), true), (Some(-60), true), (Some(61), false), (Some(-7200), false)]
    {
        let lists = Lists { clock_ahead_s: ahead, ..Lists::new() };
        let said = lists.verdict().await;
        assert_eq!(said == Verdict::Clear, is_clear, "{ahead:?}: {said:?}");
    }
    let said = Lists { clock_ahead_s: Some(-7200), ..Lists::new() }.verdict().await;
    let why = unknown(&said);
    assert!(why.contains("2026-11-21T18:00:00Z") && why.contains("2026-11-21T20:00:00Z"), "{why}");
    assert!(why.contains("set the clock"), "{why}");
}
