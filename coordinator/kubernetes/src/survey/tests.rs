use super::*;
use crate::client::tests::server::{Ca, Server, dead, json, plain, status};

const NOW: i64 = 1_780_272_000;

fn nodes() -> String {
    let node = |name: &str, kubelet: &str, ready: &str| {
        json!({"metadata": {"name": name}, "status": {
            "conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"kubeletVersion": kubelet}}})
    };
    let items = [node("a", "v1.33.4", "True"), node("b", "v1.33.4", "False"), node("c", "v1.32.0", "True")];
    json!({"kind": "NodeList", "metadata": {}, "items": items}).to_string()
}

/// A server of that version, whose every review says `allowed`.
async fn server(ca: &Ca, version: &'static str, ready: u16, allowed: bool) -> Server {
    let reply = move |asked: &str| match asked.split(['?', ' ']).nth(1).unwrap() {
        "/version" => json(200, &json!({"major": "1", "gitVersion": version}).to_string()),
        "/readyz" => plain(ready, "ok"),
        "/api/v1/nodes" => json(200, &nodes()),
        "/apis/authentication.k8s.io/v1/selfsubjectreviews" => {
            json(201, &json!({"status": {"userInfo": {"username": "system:serviceaccount:d:c"}}}).to_string())
        }
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            json(201, &json!({"status": {"allowed": allowed}}).to_string())
        }
        other => status(404, "NotFound", other),
    };
    Server::start(ca, reply).await
}

async fn seen(ca: &Ca, urls: &[&str]) -> Survey {
    let credentials = ca.credentials(urls);
    survey(&Client::new(&credentials).unwrap(), &credentials, NOW).await
}

#[tokio::test]
async fn a_cluster_that_is_well_has_no_findings() {
    let ca = Ca::new();
    let (first, second) = (server(&ca, "v1.33.4", 200, true).await, server(&ca, "v1.34.1", 200, true).await);
    let seen = seen(&ca, &[&first.url, &second.url]).await;
    assert_eq!(seen.findings, Vec::<String>::new());
    assert_eq!(seen.user.as_deref(), Some("system:serviceaccount:d:c"));
    assert_eq!(seen.kubelets, BTreeMap::from([("v1.32.0".to_owned(), 1), ("v1.33.4".to_owned(), 2)]));
    assert_eq!(seen.not_ready, ["b"]);
    let versions: Vec<_> = seen.endpoints.iter().map(|endpoint| endpoint.version.as_deref()).collect();
    assert_eq!(versions, [Some("v1.33.4"), Some("v1.34.1")]);
}

#[tokio::test]
async fn each_endpoint_that_is_not_well_is_a_finding_of_its_own() {
    let ca = Ca::new();
    let (dead, starting) = (dead().await, server(&ca, "v1.33.4", 500, true).await);
    let well = server(&ca, "v1.33.4", 200, true).await;
    let seen = seen(&ca, &[&dead, &starting.url, &well.url]).await;
    assert_eq!(seen.findings.len(), 2, "{:?}", seen.findings);
    assert_eq!(seen.findings[0], format!("{dead}: connection refused"));
    assert!(seen.findings[1].contains("/readyz answers 500"), "{:?}", seen.findings);
}

#[tokio::test]
async fn where_nobody_answers_that_is_said_and_nothing_else() {
    let ca = Ca::new();
    let dead = dead().await;
    let seen = seen(&ca, &[&dead]).await;
    assert_eq!(seen.findings, [format!("{dead}: connection refused")]);
}

#[tokio::test]
async fn missing_rights_are_findings_and_those_of_the_canary_and_of_force_are_apart() {
    let ca = Ca::new();
    let server = server(&ca, "v1.33.4", 200, false).await;
    let seen = seen(&ca, &[&server.url]).await;
    assert!(seen.findings.iter().any(|found| found.starts_with("cannot patch nodes: needed to cordon")));
    assert!(!seen.findings.iter().any(|found| found.contains("nodeCanary")), "{:?}", seen.findings);
    assert_eq!(seen.missing_for_canary.len(), 5);
    assert!(!seen.findings.iter().any(|found| found.contains("(force)")), "{:?}", seen.findings);
    let [force] = &seen.missing_for_force[..] else { panic!("{:?}", seen.missing_for_force) };
    assert!(
        force.to_string().starts_with("cannot delete pods: needed to delete pods that cannot be evicted")
    );
}

#[test]
fn credentials_that_end_are_a_finding_before_they_do() {
    let seen = Survey {
        endpoints: Vec::new(),
        user: None,
        kubelets: BTreeMap::new(),
        not_ready: Vec::new(),
        valid_until_unix_s: None,
        missing: Vec::new(),
        missing_for_canary: Vec::new(),
        missing_for_force: Vec::new(),
        findings: Vec::new(),
    };
    let until = |until_unix_s: i64| Some(Validity { from_unix_s: 0, until_unix_s });
    assert!(findings(&seen, until(NOW - 1), NOW)[0].contains("expired at 2026-05-31T23:59:59Z"));
    assert!(findings(&seen, until(NOW + 3600), NOW)[0].contains("expire at"));
    assert!(findings(&seen, until(NOW + 90 * 86_400), NOW).is_empty());
    assert!(findings(&seen, None, NOW).is_empty());
}
