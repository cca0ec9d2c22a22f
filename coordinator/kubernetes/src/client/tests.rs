pub(crate) mod server;

use futures_util::StreamExt as _;

use self::server::{Ca, Reply, Seen, Server, Then, dead, json, mute, plain, status};
use super::*;
use crate::kubeconfig::Authority;

/// Long enough for loopback on a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(30);

fn ask(method: Method, path: &str) -> Request {
    let body = method.changes().then(|| b"{}".to_vec());
    Request { method, path: path.to_owned(), body, within: LONG }
}

fn within(within: Duration, request: Request) -> Request {
    Request { within, ..request }
}

fn client(ca: &Ca, urls: &[&str]) -> Client {
    Client::new(&ca.credentials(urls)).unwrap()
}

async fn good(ca: &Ca) -> Server {
    Server::start(ca, |_| json(200, r#"{"kind":"Node"}"#)).await
}

async fn get(client: &Client) -> Result<Answer, Unreached> {
    client.call(ask(Method::Get, "/api/v1/nodes/a")).await
}

#[tokio::test]
async fn the_first_endpoint_answers_and_no_other_is_asked() {
    let ca = Ca::new();
    let (first, second) = (good(&ca).await, good(&ca).await);
    let client = client(&ca, &[&first.url, &second.url]);
    let answer = get(&client).await.unwrap();
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    assert_eq!(answer.body, br#"{"kind":"Node"}"#);
    assert_eq!(first.asked(), ["GET /api/v1/nodes/a"]);
    assert!(second.asked().is_empty());
    assert_eq!(client.sent(), 1);
}

#[tokio::test]
async fn how_far_a_server_s_clock_is_off_is_told_by_its_answer() {
    let ca = Ca::new();
    let says = |ahead_s: i64| {
        let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + ahead_s).unwrap();
        at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    let date = says(-7200);
    let (true_one, behind) = (good(&ca).await, Server::start(&ca, move |_| Reply::Dated(date.clone())).await);
    let client = client(&ca, &[&true_one.url, &behind.url]);
    assert_eq!(client.clock_ahead_s(), None, "nobody has said anything yet");
    get(&client).await.unwrap();
    let ahead = client.clock_ahead_s().unwrap();
    assert!(ahead.abs() < 60, "{ahead}");
    client.each("/readyz", LONG).await;
    let ahead = client.clock_ahead_s().unwrap();
    assert!((-7260..=-7140).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn requests_have_the_token_and_the_form_that_their_method_wants() {
    let ca = Ca::new();
    let server = good(&ca).await;
    let client = client(&ca, &[&format!("{}/k8s/clusters/c-1", server.url)]);
    for method in [Method::Get, Method::Post, Method::MergePatch, Method::Delete] {
        client.call(ask(method, "/api/v1/nodes/a?x=1")).await.unwrap();
    }
    let seen = |asked: &str, content_type: Option<&str>| Seen {
        asked: format!("{asked} /k8s/clusters/c-1/api/v1/nodes/a?x=1"),
        authorization: Some("Bearer the-token".to_owned()),
        content_type: content_type.map(str::to_owned),
        certificate: false,
    };
    let merge = Some("application/merge-patch+json");
    let json = Some("application/json");
    let expected = [seen("GET", None), seen("POST", json), seen("PATCH", merge), seen("DELETE", json)];
    assert_eq!(server.seen(), expected);
}

#[tokio::test]
async fn a_client_certificate_is_shown_instead_of_a_token() {
    let ca = Ca::new();
    let server = good(&ca).await;
    let mut credentials = ca.credentials(&[&server.url]);
    credentials.user = ca.identity("coordinator");
    get(&Client::new(&credentials).unwrap()).await.unwrap();
    let seen = server.seen().remove(0);
    assert!(seen.certificate && seen.authorization.is_none(), "{seen:?}");
}

#[tokio::test]
async fn a_token_in_a_file_is_read_from_there() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let server = good(&ca).await;
    let mut credentials = ca.credentials(&[&server.url]);
    let Authority::Pem(pem) = &credentials.authority else { panic!("the authority is PEM") };
    let (token, authority) = (dir.path().join("token"), dir.path().join("ca.crt"));
    std::fs::write(&authority, pem).unwrap();
    credentials.authority = Authority::File(authority);
    credentials.user = crate::kubeconfig::User::TokenFile(token.clone());
    let error = Client::new(&credentials).unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    std::fs::write(&token, "from-the-file").unwrap();
    get(&Client::new(&credentials).unwrap()).await.unwrap();
    assert_eq!(server.seen()[0].authorization.as_deref(), Some("Bearer from-the-file"));
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over_and_not_asked_first_again() {
    let ca = Ca::new();
    let (dead, alive) = (dead().await, good(&ca).await);
    let client = client(&ca, &[&dead, &alive.url]);
    // Nothing was sent to the dead one: also what changes something may go on.
    assert_eq!(client.call(ask(Method::Post, "/x")).await.unwrap().status, 200);
    assert_eq!(client.sent(), 2);
    get(&client).await.unwrap();
    assert_eq!(client.sent(), 3, "the dead one was asked again at once");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_rests_comes_back_after_a_while_and_rests_longer_each_time() {
    let ca = Ca::new();
    let client = client(&ca, &["https://a", "https://b"]);
    let first = || client.in_order()[0].url().as_str().to_owned();
    assert_eq!(first(), "https://a");
    let mut rested = Vec::new();
    for _ in 0..6 {
        client.ends[0].rest();
        let began = tokio::time::Instant::now();
        while first() == "https://b" {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        rested.push(began.elapsed().as_secs());
    }
    assert_eq!(rested, [2, 4, 8, 16, 30, 30]);
    client.ends[0].answered();
    client.ends[0].rest();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(first(), "https://a");
    // Where all rest, all are asked all the same, in their order.
    client.ends[0].rest();
    client.ends[1].rest();
    assert_eq!(first(), "https://a");
}

#[tokio::test]
async fn a_read_that_hangs_goes_to_the_next_endpoint() {
    let ca = Ca::new();
    let (hanging, alive) = (Server::start(&ca, |_| Reply::Hang).await, good(&ca).await);
    let client = client(&ca, &[&hanging.url, &alive.url]);
    let answer = client.call(within(SHORT, ask(Method::Get, "/x"))).await.unwrap();
    assert_eq!((answer.status, hanging.asked().len(), alive.asked().len()), (200, 1, 1));
}

#[tokio::test]
async fn a_change_that_hangs_or_breaks_is_not_sent_to_a_second_endpoint() {
    let ca = Ca::new();
    for reply in [Reply::Hang, Reply::Break] {
        for method in [Method::Post, Method::MergePatch, Method::Delete] {
            let reply = reply.clone();
            let (bad, alive) = (Server::start(&ca, move |_| reply.clone()).await, good(&ca).await);
            let client = client(&ca, &[&bad.url, &alive.url]);
            let error = client.call(within(SHORT, ask(method, "/x"))).await.unwrap_err();
            assert!(error.may_have_taken_effect, "{error}");
            assert!(error.why.contains(&bad.url), "{error}");
            assert_eq!((bad.asked().len(), alive.asked().len()), (1, 0), "{method:?}");
            // And who asked can read at once, elsewhere.
            get(&client).await.unwrap();
            assert_eq!(alive.asked().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_change_that_never_left_goes_to_the_next_endpoint() {
    let ca = Ca::new();
    let ((mute, _listener), alive) = (mute().await, good(&ca).await);
    let client = client(&ca, &[&mute, &alive.url]);
    let answer = client.call(ask(Method::Post, "/x")).await.unwrap();
    assert_eq!((answer.status, alive.asked().len()), (200, 1));
}

#[tokio::test]
async fn a_server_that_shuts_down_passes_even_a_change_on() {
    let ca = Ca::new();
    let (stopping, alive) =
        (Server::start(&ca, |_| plain(503, "apiserver is shutting down.\n")).await, good(&ca).await);
    let client = client(&ca, &[&stopping.url, &alive.url]);
    assert_eq!(client.call(ask(Method::Post, "/x")).await.unwrap().status, 200);
    let alone = self::client(&ca, &[&stopping.url]);
    let error = alone.call(ask(Method::Post, "/x")).await.unwrap_err();
    assert!(error.why.contains("shutting down") && !error.may_have_taken_effect, "{error}");
}

#[tokio::test]
async fn a_server_without_its_etcd_passes_reads_on_and_keeps_changes() {
    let ca = Ca::new();
    let unwell = || status(500, "", "etcdserver: request timed out");
    let (bad, alive) = (Server::start(&ca, move |_| unwell()).await, good(&ca).await);
    let client = client(&ca, &[&bad.url, &alive.url]);
    assert_eq!(get(&client).await.unwrap().status, 200);
    let answer = client.call(ask(Method::MergePatch, "/x")).await.unwrap();
    assert!(answer::refusal(&answer).may_have_taken_effect(), "{answer:?}");
    assert_eq!(alive.asked(), ["GET /api/v1/nodes/a"]);
    // Where no other one answers, its words are the answer.
    let alone = self::client(&ca, &[&bad.url]);
    assert_eq!(get(&alone).await.unwrap().status, 500);
}

#[tokio::test]
async fn budgets_and_throttling_are_answers_and_sent_to_nobody_else() {
    let ca = Ca::new();
    let said = "Too many requests, please try again later.\n";
    let (first, second) = (Server::start(&ca, move |_| plain(429, said)).await, good(&ca).await);
    let client = client(&ca, &[&first.url, &second.url]);
    let answer = client.call(ask(Method::Post, "/x")).await.unwrap();
    assert_eq!(answer.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(answer.content_type, "text/plain");
    assert!(matches!(answer::refusal(&answer), Refusal::Throttled { .. }));
    // No repetition below us either.
    assert_eq!((first.asked().len(), second.asked().len(), client.sent()), (1, 0, 1));
}

#[tokio::test]
async fn a_server_that_is_starting_does_not_refuse_for_the_cluster() {
    let ca = Ca::new();
    let reply = |asked: &str| match asked {
        "GET /readyz" => plain(500, "[-]poststarthook/rbac/bootstrap-roles failed: not finished"),
        _ => status(
            403,
            "Forbidden",
            "nodes \"a\" is forbidden: User \"u\" cannot patch resource \"nodes\" in API group \"\" at the cluster scope",
        ),
    };
    let (starting, alive) = (Server::start(&ca, reply).await, good(&ca).await);
    let client = client(&ca, &[&starting.url, &alive.url]);
    assert_eq!(client.call(ask(Method::MergePatch, "/x")).await.unwrap().status, 200);
    let alone = self::client(&ca, &[&starting.url]);
    let error = alone.call(ask(Method::MergePatch, "/x")).await.unwrap_err();
    assert!(error.why.contains("not ready yet") && !error.may_have_taken_effect, "{error}");
}

#[tokio::test]
async fn a_ready_servers_no_is_the_clusters() {
    let ca = Ca::new();
    let reply = |asked: &str| match asked {
        "GET /readyz" => plain(200, "ok"),
        _ => status(
            403,
            "Forbidden",
            "nodes \"a\" is forbidden: User \"u\" cannot patch resource \"nodes\" in API group \"\" at the cluster scope",
        ),
    };
    let (first, second) = (Server::start(&ca, reply).await, good(&ca).await);
    let client = client(&ca, &[&first.url, &second.url]);
    let answer = client.call(ask(Method::MergePatch, "/x")).await.unwrap();
    assert!(matches!(answer::refusal(&answer), Refusal::Forbidden { .. }));
    assert!(second.asked().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_said_to_be_one() {
    let ca = Ca::new();
    // A server that does not take the token does not take it for its readiness either.
    let server = Server::start(&ca, |_| status(401, "Unauthorized", "Unauthorized")).await;
    let answer = get(&client(&ca, &[&server.url])).await.unwrap();
    assert_eq!(answer::refusal(&answer), Refusal::Unauthorized);
}

#[tokio::test]
async fn another_clusters_ca_and_another_hosts_name_are_said_to_be_so() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = good(&ca).await;
    let error = get(&client(&other, &[&server.url])).await.unwrap_err();
    assert!(error.why.contains("not signed by the CA") && !error.may_have_taken_effect, "{error}");
    assert!(server.asked().is_empty(), "the token went to a server that is not ours");
    let elsewhere = Server::start_as(&ca, "kubernetes.default.svc", |_| json(200, "{}")).await;
    let mut credentials = ca.credentials(&[&elsewhere.url]);
    let error = get(&Client::new(&credentials).unwrap()).await.unwrap_err();
    assert!(error.why.contains("not for this name or address"), "{error}");
    credentials.tls_server_name = Some("kubernetes.default.svc".to_owned());
    get(&Client::new(&credentials).unwrap()).await.unwrap();
}

#[tokio::test]
async fn all_that_was_tried_is_in_the_error() {
    let ca = Ca::new();
    let (first, second) = (dead().await, dead().await);
    let error = get(&client(&ca, &[&first, &second])).await.unwrap_err();
    assert!(error.why.contains(&first) && error.why.contains(&second), "{error}");
    assert_eq!(error.why.matches("connection refused").count(), 2, "{error}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let ca = Ca::new();
    let server = Server::start(&ca, |_| json(200, &"x".repeat((32 << 20) + 1))).await;
    let error = get(&client(&ca, &[&server.url])).await.unwrap_err();
    assert!(error.why.contains("longer than 32 MiB"), "{error}");
}

#[tokio::test]
async fn every_endpoint_is_asked_when_each_is_to_be_known() {
    let ca = Ca::new();
    let (dead, alive) = (dead().await, good(&ca).await);
    let each = client(&ca, &[&dead, &alive.url]).each("/version", LONG).await;
    assert_eq!(each[0].0.as_str(), dead);
    assert_eq!(each[0].1.as_ref().unwrap_err(), "connection refused");
    assert_eq!(each[1].1.as_ref().unwrap().status, 200);
}

#[test]
fn no_endpoint_and_a_broken_key_are_refused_at_once() {
    let ca = Ca::new();
    let error = Client::new(&ca.credentials(&[])).unwrap_err();
    assert!(matches!(error, ClientError::NoEndpoint));
    // The certificate of one and the key of another.
    let mut credentials = ca.credentials(&["https://a"]);
    let (one, other) = (ca.identity("a"), ca.identity("b"));
    let (crate::kubeconfig::User::Certificate(mut one), crate::kubeconfig::User::Certificate(other)) =
        (one, other)
    else {
        panic!("identities are certificates")
    };
    one.key = other.key;
    credentials.user = crate::kubeconfig::User::Certificate(one);
    let error = Client::new(&credentials).unwrap_err();
    assert!(matches!(error, ClientError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("https://a"), "{error}");
    assert!(!format!("{error} {error:?}").contains("PRIVATE"), "{error}");
}

async fn lines(client: &Client, lives: Duration) -> Vec<Result<String, String>> {
    let stream = client.watch("/api/v1/pods?watch=1".to_owned(), lives).await.unwrap().unwrap();
    let text = |line: Line| line.map(|line| String::from_utf8(line).unwrap()).map_err(|error| error.why);
    stream.map(text).collect().await
}

fn chunks(chunks: &[&str], then: Then) -> Reply {
    Reply::Chunks(chunks.iter().map(|chunk| (*chunk).to_owned()).collect(), then)
}

#[tokio::test]
async fn a_watch_is_lines_however_they_are_cut() {
    let ca = Ca::new();
    let reply = |_: &str| chunks(&["{\"a\"", ":1}\n{\"b\":2}\n\n", "{\"c\":3}", "\n{\"cut\":"], Then::End);
    let server = Server::start(&ca, reply).await;
    let lines = lines(&client(&ca, &[&server.url]), LONG).await;
    assert_eq!(lines, [Ok("{\"a\":1}".to_owned()), Ok("{\"b\":2}".to_owned()), Ok("{\"c\":3}".to_owned())]);
}

#[tokio::test]
async fn a_watch_ends_with_its_time_although_the_server_goes_on() {
    let ca = Ca::new();
    let server = Server::start(&ca, |_| chunks(&["one\n", "cut"], Then::Hang)).await;
    assert_eq!(lines(&client(&ca, &[&server.url]), SHORT).await, [Ok("one".to_owned())]);
}

#[tokio::test]
async fn a_watch_that_breaks_off_says_so_once() {
    let ca = Ca::new();
    let server = Server::start(&ca, |_| chunks(&["one\n"], Then::Break)).await;
    let lines = lines(&client(&ca, &[&server.url]), LONG).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], Ok("one".to_owned()));
    assert!(lines[1].as_ref().unwrap_err().contains("broke off"), "{lines:?}");
}

#[tokio::test]
async fn a_line_without_an_end_is_cut_off() {
    let ca = Ca::new();
    let server = Server::start(&ca, |_| chunks(&["x".repeat((8 << 20) + 1).as_str()], Then::Hang)).await;
    let lines = lines(&client(&ca, &[&server.url]), LONG).await;
    assert!(lines[0].as_ref().unwrap_err().contains("longer than 8 MiB"), "{:?}", lines.len());
}

#[tokio::test]
async fn a_watch_opens_at_the_next_endpoint_and_a_refusal_is_brought() {
    let ca = Ca::new();
    let (hanging, alive) = (
        Server::start(&ca, |_| Reply::Hang).await,
        Server::start(&ca, |_| chunks(&["one\n"], Then::End)).await,
    );
    let client = client(&ca, &[&dead().await, &hanging.url, &alive.url]);
    assert_eq!(lines(&client, Duration::from_secs(8)).await, [Ok("one".to_owned())]);
    let gone = Server::start(&ca, |_| status(410, "Expired", "too old resource version: 1 (9)")).await;
    let client = self::client(&ca, &[&gone.url, &alive.url]);
    let Err(answer) = client.watch("/x".to_owned(), LONG).await.unwrap() else { panic!("not refused") };
    assert_eq!(answer::refusal(&answer), Refusal::Expired);
    assert_eq!(alive.asked().len(), 1);
    let error = self::client(&ca, &[&dead().await]).watch("/x".to_owned(), LONG).await.err().unwrap();
    assert!(error.why.contains("connection refused"), "{error}");
}
