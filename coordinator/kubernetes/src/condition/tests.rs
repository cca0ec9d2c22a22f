//! Objects of the forms that Flux, Rook and Longhorn write them in.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::json;

use super::*;
use crate::api::{Answer, Line, Request, Unreached};

fn asked(kind: &str, which: Which, wanted: Wanted) -> Asked {
    Asked {
        group: "kustomize.toolkit.fluxcd.io".to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: Some("flux-system".to_owned()),
        which,
        wanted,
    }
}

fn ready() -> Wanted {
    Wanted::Condition { kind: "Ready".to_owned(), status: "True".to_owned() }
}

fn values(path: &str, one_of: &[&str]) -> Wanted {
    Wanted::Values {
        path: Path::parse(path).unwrap(),
        one_of: one_of.iter().map(|text| Value::from(*text)).collect(),
    }
}

fn all() -> Which {
    Which::Selector(String::new())
}

fn kustomization(name: &str, status: &str, generation: i64, observed: i64) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system", "generation": generation},
        "status": {
            "observedGeneration": observed,
            "conditions": [{"type": "Ready", "status": status, "reason": "ReconciliationFailed", "observedGeneration": observed,
                "message": "Deployment/shop/cart dry-run failed: admission webhook denied the request"}],
        },
    })
}

#[test]
fn a_condition_is_clear_where_every_object_has_it_for_its_present_generation() {
    let wanted = asked("Kustomization", all(), ready());
    let judged = |objects: &[Value]| judge(objects, &wanted);
    assert_eq!(judged(&[kustomization("a", "True", 2, 2), kustomization("b", "True", 1, 1)]), Verdict::Clear);
    for (object, said) in [
        (
            kustomization("apps", "False", 2, 2),
            "Kustomization flux-system/apps is Ready=False (ReconciliationFailed: Deployment/shop/cart dry-run failed: admission webhook denied the request), and must be Ready=True",
        ),
        (kustomization("apps", "Unknown", 2, 2), "is Ready=Unknown"),
        // True of what was there before it was changed.
        (kustomization("apps", "True", 3, 2), "was changed, and its controller has not looked at it since"),
        (json!({"metadata": {"name": "apps", "namespace": "flux-system"}}), "has no condition Ready"),
    ] {
        let verdict = judged(&[kustomization("a", "True", 2, 2), object]);
        assert!(matches!(&verdict, Verdict::Waiting(why) if why.contains(said)), "{verdict:?}");
    }
}

#[test]
fn nothing_at_all_is_not_clear() {
    for (which, said) in [
        (all(), "there is no Kustomization at all in flux-system"),
        (
            Which::Selector("app=shop".to_owned()),
            "there is no Kustomization with the labels app=shop in flux-system",
        ),
    ] {
        let verdict = judge(&[], &asked("Kustomization", which, ready()));
        assert!(matches!(&verdict, Verdict::Unknown(why) if why.starts_with(said)), "{verdict:?}");
    }
}

#[test]
fn every_value_at_a_path_counts_and_there_must_be_one() {
    let ceph = |health: Value| json!({"metadata": {"name": "rook-ceph", "namespace": "rook-ceph"}, "status": {"phase": "Ready", "ceph": health}});
    let wanted = asked("CephCluster", all(), values("$.status.ceph.health", &["HEALTH_OK"]));
    assert_eq!(judge(&[ceph(json!({"health": "HEALTH_OK"}))], &wanted), Verdict::Clear);
    for (health, said) in [
        (
            json!({"health": "HEALTH_WARN"}),
            "CephCluster rook-ceph/rook-ceph has HEALTH_WARN at $.status.ceph.health, and must have HEALTH_OK",
        ),
        (json!({}), "has nothing at $.status.ceph.health"),
        (json!({"health": 3}), "has 3 at"),
    ] {
        let verdict = judge(&[ceph(health)], &wanted);
        assert!(matches!(&verdict, Verdict::Waiting(why) if why.contains(said)), "{verdict:?}");
    }
    let volumes = json!({"metadata": {"name": "v"}, "status": {"replicas": [{"state": "running"}, {"state": "error"}]}});
    let each = asked("Volume", all(), values("$.status.replicas[*].state", &["running", "degraded"]));
    let verdict = judge(std::slice::from_ref(&volumes), &each);
    assert!(
        matches!(&verdict, Verdict::Waiting(why) if why.contains("must have running or degraded")),
        "{verdict:?}"
    );
    let some = asked("Volume", all(), values("$.status.replicas[?@.state == 'running'].state", &["running"]));
    assert_eq!(judge(&[volumes], &some), Verdict::Clear);
}

#[test]
fn what_is_no_path_is_told_with_its_place_and_kubectls_own_form_with_the_right_one() {
    for (text, said) in [
        ("$.status[", "it cannot be read from character"),
        ("$.status..", "it cannot be read from character"),
        ("$.a[?@.b = 1]", "it cannot be read from character"),
        ("{.status.phase}", "without braces around it as kubectl's: $.status.phase"),
        (".status.phase", "$.status.phase"),
        ("status.phase", "$.status.phase"),
        ("", "it begins with $"),
    ] {
        let why = Path::parse(text).unwrap_err().to_string();
        let said = said.replace("without braces", "has no braces");
        assert!(why.contains(&said), "{text}: {why}");
    }
}

/// A cluster that serves one kind and answers its list as it is told.
struct One {
    discovery: (u16, Value),
    list: (u16, Value),
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Api for One {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        self.asked.lock().unwrap().push(request.path.clone());
        let (status, body) = match request.path.as_str() {
            "/readyz" => (200, json!("ok")),
            "/apis/kustomize.toolkit.fluxcd.io/v1" => self.discovery.clone(),
            _ => self.list.clone(),
        };
        let (content_type, body) = match body {
            Value::String(text) => ("text/plain", text),
            body => ("application/json", body.to_string()),
        };
        Ok(Answer {
            status,
            retry_after: None,
            content_type: content_type.to_owned(),
            body: body.into_bytes(),
        })
    }

    async fn watch(
        &self,
        path: String,
        _: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        panic!("nobody watches {path}");
    }
}

fn kinds() -> Value {
    json!({"kind": "APIResourceList", "groupVersion": "kustomize.toolkit.fluxcd.io/v1", "resources": [
        {"name": "kustomizations/status", "kind": "Kustomization", "namespaced": true, "verbs": ["get"]},
        {"name": "kustomizations", "kind": "Kustomization", "namespaced": true, "verbs": ["get", "list"]},
        {"name": "things", "kind": "Thing", "namespaced": false, "verbs": ["get", "list"]},
    ]})
}

fn refused(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}))
}

#[tokio::test]
async fn a_kind_that_is_not_there_one_that_may_not_be_read_and_one_of_no_namespace_are_told_apart() {
    let found = json!({"metadata": {"resourceVersion": "7"}, "items": [kustomization("apps", "True", 1, 1)]});
    let forbidden = refused(
        403,
        "Forbidden",
        "kustomizations.kustomize.toolkit.fluxcd.io is forbidden: User \"system:serviceaccount:drydock:coordinator\" cannot list resource \"kustomizations\" in API group \"kustomize.toolkit.fluxcd.io\" in the namespace \"flux-system\"",
    );
    let missing = refused(404, "NotFound", "the server could not find the requested resource");
    let look_at = |discovery: (u16, Value), list: (u16, Value), asked: Asked| async move {
        let api = One { discovery, list, asked: Mutex::default() };
        let verdict = look(&api, &asked).await;
        (verdict, api.asked.into_inner().unwrap())
    };
    let labelled = asked("Kustomization", Which::Selector("app in (shop,web)".to_owned()), ready());
    let (verdict, paths) = look_at((200, kinds()), (200, found.clone()), labelled.clone()).await;
    assert_eq!(verdict, Verdict::Clear);
    assert_eq!(
        paths[1],
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations?labelSelector=app%20in%20%28shop%2Cweb%29&limit=500"
    );
    // As a real server (1.36.3) says it.
    let not_served = (404, json!("404 page not found\n"));
    for (discovery, list, asked, said) in [
        (
            not_served,
            (200, found.clone()),
            labelled.clone(),
            "the cluster has no API kustomize.toolkit.fluxcd.io/v1",
        ),
        (
            missing.clone(),
            (200, found.clone()),
            labelled.clone(),
            "the cluster has no API kustomize.toolkit.fluxcd.io/v1",
        ),
        (
            (200, kinds()),
            (200, found.clone()),
            Asked { kind: "Kustomizazion".to_owned(), ..labelled.clone() },
            "has no kind Kustomizazion",
        ),
        (
            (200, kinds()),
            forbidden,
            labelled.clone(),
            "grant it by a role of its own: apiGroups [\"kustomize.toolkit.fluxcd.io\"], resources [\"kustomizations\"], verbs [get, list]",
        ),
        (
            (200, kinds()),
            (200, found.clone()),
            Asked { kind: "Thing".to_owned(), ..labelled.clone() },
            "belongs to no namespace",
        ),
        (
            (200, kinds()),
            (200, found.clone()),
            Asked { namespace: None, which: Which::Name("apps".to_owned()), ..labelled.clone() },
            "belongs to a namespace: say which",
        ),
        (
            (200, kinds()),
            refused(400, "BadRequest", "unable to parse requirement: found '', expected: identifier"),
            labelled.clone(),
            "unable to parse requirement",
        ),
    ] {
        let (verdict, _) = look_at(discovery, list, asked).await;
        assert!(matches!(&verdict, Verdict::Refused(why) if why.contains(said)), "{verdict:?}");
    }
    let one = asked("Kustomization", Which::Name("apps".to_owned()), ready());
    let (verdict, _) = look_at((200, kinds()), missing, one).await;
    assert_eq!(verdict, Verdict::Waiting("there is no Kustomization flux-system/apps".to_owned()));
}

/// So many objects that are not as they should be, in pages of a few.
struct Pages {
    pages: usize,
    each: usize,
}

#[async_trait]
impl Api for Pages {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        if request.path == "/apis/kustomize.toolkit.fluxcd.io/v1" {
            return Ok(json_answer(&kinds()));
        }
        let page: usize =
            request.path.split_once("&continue=").map_or(0, |(_, continued)| continued.parse().unwrap());
        let item = |nth: usize| kustomization(&format!("app-{page}-{nth}"), "False", 1, 1);
        let more = if page + 1 < self.pages { (page + 1).to_string() } else { String::new() };
        let items: Vec<Value> = (0..self.each).map(item).collect();
        Ok(json_answer(&json!({"metadata": {"resourceVersion": "7", "continue": more}, "items": items})))
    }

    async fn watch(
        &self,
        path: String,
        _: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        panic!("nobody watches {path}");
    }
}

fn json_answer(body: &Value) -> Answer {
    Answer {
        status: 200,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
    }
}

thread_local! {
    /// How many objects are held by this test, and how many ever were at once.
    static HELD: std::cell::Cell<(usize, usize)> = const { std::cell::Cell::new((0, 0)) };
}

/// An object that is counted for as long as somebody holds it.
struct Held(Value);

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let (now, most) = HELD.get();
        HELD.set((now + 1, most.max(now + 1)));
        Ok(Self(value))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (now, most) = HELD.get();
        HELD.set((now - 1, most));
    }
}

impl Borrow<Value> for Held {
    fn borrow(&self) -> &Value {
        &self.0
    }
}

#[tokio::test]
async fn of_a_list_of_whatever_length_one_page_is_held_the_first_are_named_and_the_rest_are_counted() {
    let api = Pages { pages: 40, each: 5 };
    let wanted = asked("Kustomization", all(), ready());
    let tally = tally::<Held>(&api, "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations", &wanted).await;
    let tally = tally.unwrap();
    assert_eq!(HELD.get(), (0, 5), "held now, and at most at once");
    assert_eq!((tally.unlike.len(), tally.more), (3, 197));
    let verdict = look(&api, &wanted).await;
    let Verdict::Waiting(why) = &verdict else { panic!("{verdict:?}") };
    assert!(why.contains("flux-system/app-0-2 ") && !why.contains("app-0-3"), "{why}");
    assert!(why.ends_with("; and 197 more"), "{why}");
}
