use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::*;
use crate::api::{Answer, Line};

/// A cluster that grants what it is told to, and remembers what it was asked about.
struct Cluster<F> {
    grants: F,
    asked: Mutex<Vec<String>>,
}

impl<F: Fn(&str) -> bool> Cluster<F> {
    const fn granting(grants: F) -> Self {
        Self { grants, asked: Mutex::new(Vec::new()) }
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    let content_type = "application/json".to_owned();
    Answer { status, retry_after: None, content_type, body: body.to_string().into_bytes() }
}

#[async_trait]
impl<F: Fn(&str) -> bool + Send + Sync> Api for Cluster<F> {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        assert_eq!(request.path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        let body: Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
        let of = &body["spec"]["resourceAttributes"];
        let text = |key: &str| of[key].as_str().unwrap().to_owned();
        let asked = format!(
            "{} {}/{}.{} @{}",
            text("verb"),
            text("resource"),
            text("subresource"),
            text("group"),
            text("namespace")
        );
        let allowed = (self.grants)(&asked);
        self.asked.lock().unwrap().push(asked);
        let status = if allowed {
            json!({"allowed": true, "reason": "RBAC: allowed by ClusterRoleBinding"})
        } else {
            json!({"allowed": false})
        };
        Ok(answer(201, &json!({"kind": "SelfSubjectAccessReview", "status": status})))
    }

    async fn watch(
        &self,
        path: String,
        _within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        panic!("nobody watches {path} to know rights");
    }
}

#[tokio::test]
async fn whoever_may_all_lacks_nothing_and_each_right_is_asked_about_once() {
    let cluster = Cluster::granting(|_| true);
    assert_eq!(missing(&cluster, &Purpose::ALL).await, Ok(Vec::new()));
    let mut asked = cluster.asked.into_inner().unwrap();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all);
    assert!(asked.contains(&"create pods/eviction. @".to_owned()), "{asked:?}");
    assert!(asked.contains(&"watch poddisruptionbudgets/.policy @".to_owned()), "{asked:?}");
    assert!(asked.contains(&"delete pods/. @drydock-canary".to_owned()), "{asked:?}");
}

#[tokio::test]
async fn a_missing_right_says_what_cannot_be_done_without_it() {
    let lacks = ["patch nodes/. @", "watch poddisruptionbudgets/.policy @", "delete pods/. @drydock-canary"];
    let cluster = Cluster::granting(|asked| !lacks.contains(&asked));
    let missing = missing(&cluster, &Purpose::ALL).await.unwrap();
    let text: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let expected = [
        "cannot patch nodes: needed to cordon and give back (drain)",
        "cannot watch poddisruptionbudgets.policy: needed to see at once that a budget allows one more (drain)",
        "cannot delete pods in the namespace drydock-canary: needed to take it away again (nodeCanary)",
    ];
    assert_eq!(text, expected);
}

#[tokio::test]
async fn only_the_works_that_are_asked_for_are_judged() {
    let cluster = Cluster::granting(|_| false);
    let missing = missing(&cluster, &[Purpose::Drain]).await.unwrap();
    assert!(missing.iter().all(|missing| missing.purpose == Purpose::Drain));
    let drain = NEEDS.iter().filter(|need| need.purpose == Purpose::Drain).count();
    assert_eq!(missing.len(), drain);
}

/// A server that does not say is no server that grants.
struct Silent(Result<Answer, Unreached>);

#[async_trait]
impl Api for Silent {
    async fn call(&self, _request: Request) -> Result<Answer, Unreached> {
        self.0.clone()
    }

    async fn watch(
        &self,
        path: String,
        _within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        panic!("nobody watches {path} to know rights");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_nothing_missing() {
    let unreached = Unreached { why: "connection refused".to_owned(), may_have_taken_effect: false };
    let error = missing(&Silent(Err(unreached)), &Purpose::ALL).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    let unauthorized =
        json!({"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized", "code": 401});
    let error = missing(&Silent(Ok(answer(401, &unauthorized))), &Purpose::ALL).await.unwrap_err();
    assert_eq!(error, RightsError::Refused(Refusal::Unauthorized));
    // An answer without a word on it is none, and one without `allowed` is no.
    let error = missing(&Silent(Ok(answer(201, &json!({"kind": "x"})))), &Purpose::ALL).await.unwrap_err();
    assert!(matches!(error, RightsError::Refused(Refusal::Strange { .. })), "{error:?}");
    let missing =
        missing(&Silent(Ok(answer(201, &json!({"status": {}})))), &[Purpose::Canary]).await.unwrap();
    assert_eq!(missing.len(), 5);
}

/// A rule of a Role or ClusterRole, and where it holds.
#[derive(Deserialize)]
struct Role {
    kind: String,
    metadata: Named,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

type Granted = BTreeSet<(String, String, String, Option<String>)>;

fn granted(yaml: &str) -> Granted {
    let mut granted = Granted::new();
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    for document in documents {
        let kind = document["kind"].as_str().unwrap();
        if !matches!(kind, "ClusterRole" | "Role") {
            continue;
        }
        let role: Role = serde_json::from_value(document).unwrap();
        assert_eq!(role.kind == "Role", role.metadata.namespace.is_some(), "{}", role.metadata.name);
        for rule in role.rules {
            for (group, resource, verb) in rule.api_groups.iter().flat_map(|group| {
                let resources = rule.resources.iter();
                let verbs = &rule.verbs;
                resources.flat_map(move |resource| verbs.iter().map(move |verb| (group, resource, verb)))
            }) {
                let namespace = role.metadata.namespace.clone();
                let one = (group.clone(), resource.clone(), verb.clone(), namespace);
                assert!(granted.insert(one.clone()), "{one:?} is granted twice");
            }
        }
    }
    granted
}

fn needed(purposes: &[Purpose]) -> Granted {
    let needs = NEEDS.iter().filter(|need| purposes.contains(&need.purpose));
    let text = str::to_owned;
    needs
        .map(|need| (text(need.group), text(need.resource), text(need.verb), need.namespace.map(text)))
        .collect()
}

const CLUSTER_ROLE: &str = include_str!("../../../../deploy/kubernetes/clusterrole.yaml");
const FORCE: &str = include_str!("../../../../deploy/kubernetes/force.yaml");
const CANARY: &str = include_str!("../../../../deploy/kubernetes/canary.yaml");

#[test]
fn the_shipped_roles_grant_what_is_needed_and_nothing_else() {
    assert_eq!(granted(CLUSTER_ROLE), needed(&[Purpose::Drain, Purpose::Checks]));
    assert_eq!(granted(CANARY), needed(&[Purpose::Canary]));
    assert_eq!(granted(FORCE), needed(&[Purpose::Force]));
}

#[test]
fn the_shipped_roles_delete_nothing_but_the_canarys_pods_and_have_no_wildcard() {
    for (group, resource, verb, namespace) in granted(CLUSTER_ROLE).into_iter().chain(granted(CANARY)) {
        let one = format!("{verb} {resource}.{group}");
        assert!(!one.contains('*') && resource != "secrets", "{one}");
        if ["create", "delete", "patch", "update", "deletecollection"].contains(&verb.as_str()) {
            let ours = namespace.as_deref() == Some(CANARY_NAMESPACE);
            assert!(ours || ["create pods/eviction.", "patch nodes."].contains(&one.as_str()), "{one}");
        }
    }
}
