use std::collections::BTreeMap;

use super::*;

/// A real server's answers (1.36.3): "STATUS RETRY-AFTER NAME", then the body as it came.
const RECORDED: &str = include_str!("../../tests/recorded/answers.txt");

fn recorded() -> BTreeMap<&'static str, Answer> {
    let lines: Vec<&str> = RECORDED.lines().collect();
    let one = |pair: &[&'static str]| {
        let mut words = pair[0].splitn(3, ' ');
        let mut word = || words.next().unwrap();
        let (status, after, name) = (word(), word(), word());
        let retry_after = after.parse().ok().map(Duration::from_secs);
        (name, json(status.parse().unwrap(), retry_after, pair[1]))
    };
    lines.chunks_exact(2).map(one).collect()
}

fn json(status: u16, retry_after: Option<Duration>, body: &str) -> Answer {
    Answer { status, retry_after, content_type: "application/json".into(), body: body.into() }
}

fn plain(status: u16, body: &str) -> Answer {
    Answer { status, retry_after: None, content_type: "text/plain".into(), body: body.into() }
}

fn of(name: &str) -> Refusal {
    refusal(recorded().get(name).unwrap_or_else(|| panic!("{name} is not among the recorded answers")))
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = serde_json::json!({"kind": "Status", "message": message, "reason": reason, "code": code});
    json(code, None, &body.to_string())
}

#[test]
fn a_429_with_the_budgets_cause_names_the_budget_and_has_no_time() {
    let refusal = of("b blocked");
    let said = "The disruption budget b needs 2 healthy pods and has 2 currently";
    assert_eq!(refusal, Refusal::Budget { name: "b".into(), said: said.into() });
    assert_eq!(refusal.after(), None);
    assert!(!refusal.is_final() && !refusal.is_of_this_endpoint());
    assert!(refusal.to_string().contains("the PodDisruptionBudget b"), "{refusal}");
    let refusal = of("e3 uid mismatch under PDB");
    assert!(matches!(&refusal, Refusal::Budget { name, .. } if name == "ep"), "{refusal:?}");
}

#[test]
fn a_budget_that_the_controller_has_not_seen_says_when_to_ask_again() {
    let expected = |name: &str| Refusal::BudgetNotSeen { name: name.into(), after: Duration::from_secs(10) };
    assert_eq!(of("PDB spec changed, controller has not observed it (kcm stopped)"), expected("q"));
    assert_eq!(of("PDB brand new, never processed"), expected("r"));
}

#[test]
fn the_bodys_own_retry_after_counts_where_the_header_was_lost() {
    let mut answer = recorded().remove("PDB brand new, never processed").unwrap();
    answer.retry_after = None;
    assert_eq!(refusal(&answer).after(), Some(Duration::from_secs(10)));
}

#[test]
fn a_429_in_plain_text_is_a_server_with_too_much_to_do_and_no_budget() {
    let mut answer = plain(429, "Too many requests, please try again later.\n");
    assert_eq!(refusal(&answer), Refusal::Throttled { after: Duration::from_secs(1) });
    answer.retry_after = Some(Duration::from_secs(7));
    assert_eq!(refusal(&answer), Refusal::Throttled { after: Duration::from_secs(7) });
    // Also where it talks of budgets, which a text of a proxy's may.
    answer.body = b"The disruption budget b needs 2 healthy pods".to_vec();
    assert!(matches!(refusal(&answer), Refusal::Throttled { .. }));
}

#[test]
fn a_429_in_json_without_the_cause_is_no_budget_either() {
    let refusal = refusal(&status(429, "TooManyRequests", "storage is (re)initializing"));
    assert!(matches!(refusal, Refusal::Throttled { .. }), "{refusal:?}");
}

#[test]
fn two_budgets_over_one_pod_are_final() {
    let refusal = of("c two PDBs");
    assert_eq!(refusal, Refusal::TwoBudgets);
    assert!(refusal.is_final());
}

#[test]
fn what_is_gone_is_gone_whether_pod_namespace_or_node() {
    for name in ["d not found", "d2 namespace not found", "m merge-patch on absent node"] {
        let refusal = of(name);
        assert!(matches!(refusal, Refusal::Gone { .. }), "{name}: {refusal:?}");
    }
    assert!(of("m merge-patch on absent node").to_string().contains("nodes \"nowhere\" not found"));
}

#[test]
fn a_409_tells_another_object_from_a_changed_one_and_from_a_managers_conflict() {
    assert!(matches!(of("e uid mismatch"), Refusal::AnotherUid { .. }));
    assert!(matches!(of("f terminating w/ uid mismatch"), Refusal::AnotherUid { .. }));
    assert_eq!(of("e2 rv mismatch"), Refusal::Stale);
    assert_eq!(of("l stale merge-patch"), Refusal::Stale);
    assert!(matches!(of("m SSA conflict by another manager"), Refusal::Conflict { .. }));
    let exists = status(409, "AlreadyExists", "pods \"drydock-canary\" already exists");
    assert!(matches!(refusal(&exists), Refusal::Conflict { .. }));
}

#[test]
fn a_missing_right_is_named_with_who_what_and_where() {
    let refusal = of("i RBAC");
    let right = Right::Resource {
        verb: "create".into(),
        resource: "pods/eviction".into(),
        group: String::new(),
        namespace: Some("t4".into()),
    };
    assert_eq!(refusal, Refusal::Forbidden { user: "system:serviceaccount:t4:nobody".into(), right });
    assert!(refusal.is_final() && refusal.is_of_a_ready_server_only());
    let text = refusal.to_string();
    let expected = "system:serviceaccount:t4:nobody must not: create pods/eviction in the namespace t4";
    assert_eq!(text, expected);
    let text = of("i2 RBAC node patch").to_string();
    assert_eq!(text, "system:serviceaccount:t4:nobody must not: patch nodes in the whole cluster");
}

#[test]
fn no_credentials_are_not_a_missing_right() {
    let refusal = of("k2 no credentials");
    assert!(matches!(refusal, Refusal::Anonymous { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("list nodes"), "{refusal}");
}

#[test]
fn a_right_in_another_group_or_to_a_path_is_named_too() {
    let leases = "leases.coordination.k8s.io is forbidden: User \"u\" cannot create resource \"leases\" in API group \
                  \"coordination.k8s.io\" in the namespace \"n\"";
    let refusal = refusal(&status(403, "Forbidden", leases));
    assert_eq!(refusal.to_string(), "u must not: create leases.coordination.k8s.io in the namespace n");
    let path = "forbidden: User \"u\" cannot get path \"/metrics\"";
    let refusal = super::refusal(&status(403, "Forbidden", path));
    let right = Right::Path { verb: "get".into(), path: "/metrics".into() };
    assert_eq!(refusal, Refusal::Forbidden { user: "u".into(), right });
}

#[test]
fn a_terminating_namespace_is_not_a_missing_right() {
    let refusal = of("j1 right after namespace delete");
    assert_eq!(refusal, Refusal::NamespaceTerminating { namespace: "t4term".into() });
    assert!(!refusal.is_final());
}

#[test]
fn an_expired_token_is_401_and_final() {
    assert_eq!(of("k expired token"), Refusal::Unauthorized);
    assert!(Refusal::Unauthorized.is_final() && Refusal::Unauthorized.is_of_a_ready_server_only());
}

#[test]
fn a_server_that_shuts_down_sends_us_to_the_next_one() {
    let mut answer = plain(503, "apiserver is shutting down.\n");
    answer.retry_after = Some(Duration::from_secs(1));
    let refusal = refusal(&answer);
    assert_eq!(refusal, Refusal::ShuttingDown);
    assert!(refusal.is_of_this_endpoint() && !refusal.may_have_taken_effect());
    let json = status(503, "ServiceUnavailable", "apiserver is shutting down");
    assert_eq!(super::refusal(&json), Refusal::ShuttingDown);
}

#[test]
fn a_server_that_did_not_reach_its_etcd_may_have_done_it() {
    let refusal = refusal(&status(500, "", "etcdserver: request timed out"));
    assert!(refusal.is_of_this_endpoint() && refusal.may_have_taken_effect(), "{refusal:?}");
    let refusal = super::refusal(&plain(504, ""));
    assert!(matches!(refusal, Refusal::Unwell { status: 504, .. }), "{refusal:?}");
}

#[test]
fn a_failed_test_of_a_json_patch_is_invalid_and_no_conflict() {
    let refusal = of("l3 json-patch test op fails");
    assert!(matches!(refusal, Refusal::Invalid { status: 422, .. }), "{refusal:?}");
    assert!(matches!(of("x name mismatch"), Refusal::Invalid { status: 400, .. }));
}

#[test]
fn a_webhooks_no_is_the_webhooks_whatever_status_it_chose() {
    let said = "admission webhook \"guard.example.com\" denied the request: backups are running";
    for code in [400, 403, 409, 500] {
        let refusal = refusal(&status(code, "", said));
        let by = "the admission webhook \"guard.example.com\"".to_owned();
        assert_eq!(refusal, Refusal::Denied { by, said: "backups are running".into(), later: false });
        assert!(refusal.is_final());
    }
    let refusal = refusal(&status(429, "TooManyRequests", said));
    assert!(matches!(refusal, Refusal::Denied { later: true, .. }) && !refusal.is_final(), "{refusal:?}");
    let silent = "admission webhook \"guard.example.com\" denied the request without explanation";
    let refusal = super::refusal(&status(400, "", silent)).to_string();
    assert!(refusal.ends_with("without explanation"), "{refusal}");
}

#[test]
fn a_webhook_that_is_down_and_one_without_dry_runs_are_told_apart() {
    let down = "Internal error occurred: failed calling webhook \"guard.example.com\": failed to call webhook: Post \
                \"https://guard.example.svc:443/?timeout=10s\": no endpoints available for service \"guard\"";
    let refusal = refusal(&status(500, "InternalError", down));
    assert!(
        matches!(&refusal, Refusal::WebhookDown { name, .. } if name == "guard.example.com"),
        "{refusal:?}"
    );
    let dry = "admission webhook \"guard.example.com\" does not support dry run";
    let refusal = super::refusal(&status(400, "BadRequest", dry));
    assert!(matches!(refusal, Refusal::NoDryRun { .. }), "{refusal:?}");
}

#[test]
fn a_policy_in_the_server_is_named() {
    let said = "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'quiet-hours' with binding 'all' denied request: \
                not before eight";
    let refusal = refusal(&status(422, "Invalid", said));
    let by = "the ValidatingAdmissionPolicy \"quiet-hours\"".to_owned();
    assert_eq!(refusal, Refusal::Denied { by, said: "not before eight".into(), later: false });
}

#[test]
fn a_budget_that_is_broken_is_the_servers_no_and_no_missing_right() {
    let said = "poddisruptionbudgets.policy \"b\" is forbidden: DisruptedPods map too big - too many evictions not \
                confirmed by PDB controller";
    let refusal = refusal(&status(403, "Forbidden", said));
    assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("DisruptedPods map too big"), "{refusal}");
}

#[test]
fn a_watch_that_fell_behind_is_listed_anew() {
    let object = br#"{"kind":"Status","status":"Failure","message":"too old resource version: 1 (3)","reason":"Expired","code":410}"#;
    assert_eq!(watch_error(object), Refusal::Expired);
    assert!(matches!(watch_error(b"nothing"), Refusal::Strange { .. }));
}

#[test]
fn a_proxys_page_is_strange_and_shown_short_and_clean() {
    let page = format!("<html>\u{1b}[31m\r\n{}", "x".repeat(5_000));
    let answer = Answer { content_type: "text/html".into(), ..plain(403, &page) };
    let refusal = refusal(&answer);
    let text = refusal.to_string();
    assert!(matches!(refusal, Refusal::Strange { status: 403, .. }), "{refusal:?}");
    assert!(text.len() < 600 && !text.contains('\u{1b}') && !text.contains('\n'), "{text}");
    // A right is never read out of a text that no API server wrote.
    let forged = Answer { body: b"User \"x\" cannot patch resource \"nodes\"".to_vec(), ..answer };
    assert!(matches!(super::refusal(&forged), Refusal::Strange { .. }));
}

#[test]
fn an_object_is_read_and_what_is_none_is_refused() {
    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Version {
        major: String,
    }
    assert_eq!(read::<Version>(&json(200, None, r#"{"major":"1"}"#)), Ok(Version { major: "1".into() }));
    let refusal = read::<Version>(&json(200, None, "{")).unwrap_err();
    assert!(matches!(refusal, Refusal::Strange { .. }), "{refusal:?}");
    assert_eq!(done(&json(201, None, "{}")), Ok(()));
    assert!(done(&json(302, None, "")).is_err());
}
