//! The judgement in tables, and the whole against a small server that answers as Prometheus does.

use drydock_core::recipe::Threshold;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn check(above: Option<f64>, below: Option<f64>) -> PrometheusCheck {
    let bound = |value: Option<f64>| value.and_then(Threshold::new);
    PrometheusCheck { url: String::new(), query: "up".to_string(), above: bound(above), below: bound(below) }
}

fn vector(values: &[&str]) -> String {
    let series = |value: &&str| {
        format!(r#"{{"metric":{{"__name__":"up","instance":"a"}},"value":[1732190000.123,"{value}"]}}"#)
    };
    let series: Vec<_> = values.iter().map(series).collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(","))
}

fn judged(status: u16, body: &str, above: Option<f64>, below: Option<f64>) -> Verdict {
    judge(&read(status, body.as_bytes()), &check(above, below))
}

#[test]
fn every_series_must_lie_within_the_bounds() {
    let judged = |values: &[&str], above, below| judged(200, &vector(values), above, below);
    assert_eq!(judged(&["1"], Some(0.5), None), Verdict::Clear);
    assert_eq!(judged(&["1", "0.51", "+Inf"], Some(0.5), None), Verdict::Clear);
    assert_eq!(judged(&["3"], Some(2.0), Some(4.0)), Verdict::Clear);
    assert_eq!(judged(&["-Inf", "0"], None, Some(1.0)), Verdict::Clear);
    let out = judged(&["1", "0.5"], Some(0.5), None);
    assert_eq!(out, Verdict::Waiting(r#"up{instance="a"} is 0.5, and must be above 0.5"#.to_string()));
    assert!(matches!(judged(&["4"], Some(2.0), Some(4.0)), Verdict::Waiting(why) if why.contains("below 4")));
}

#[test]
fn no_series_and_what_is_no_number_are_unknown_and_never_clear() {
    assert!(matches!(judged(200, &vector(&[]), Some(0.0), None), Verdict::Unknown(_)));
    assert!(matches!(judged(200, &vector(&["1", "NaN"]), Some(0.0), None), Verdict::Unknown(_)));
    assert!(matches!(judged(200, &vector(&["NaN"]), None, Some(1.0)), Verdict::Unknown(_)));
    assert!(matches!(judged(200, &vector(&["many"]), None, Some(1.0)), Verdict::Unknown(_)));
}

#[test]
fn a_number_alone_is_judged_and_what_has_many_is_refused() {
    let answer = |kind: &str, result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    assert_eq!(judged(200, &answer("scalar", r#"[1.5,"3"]"#), Some(2.0), None), Verdict::Clear);
    assert!(matches!(judged(200, &answer("scalar", r#"[1.5,"3"]"#), None, Some(2.0)), Verdict::Waiting(_)));
    let matrix = r#"[{"metric":{},"values":[[1,"1"]]}]"#;
    assert!(matches!(judged(200, &answer("matrix", matrix), None, Some(2.0)), Verdict::Refused(_)));
    assert!(matches!(judged(200, &answer("string", r#"[1,"x"]"#), None, Some(2.0)), Verdict::Refused(_)));
    let histogram = r#"[{"metric":{"__name__":"h"},"histogram":[1,{"count":"1"}]}]"#;
    assert!(matches!(judged(200, &answer("vector", histogram), None, Some(2.0)), Verdict::Refused(_)));
}

#[test]
fn errors_are_told_apart_by_whether_they_can_pass() {
    let error =
        |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"parse error at 3"}}"#);
    let refused = judged(400, &error("bad_data"), Some(0.0), None);
    assert!(matches!(&refused, Verdict::Refused(why) if why.contains("parse error at 3")), "{refused:?}");
    for (status, kind) in [(422, "execution"), (503, "timeout"), (500, "internal")] {
        assert!(matches!(judged(status, &error(kind), Some(0.0), None), Verdict::Unknown(_)), "{kind}");
    }
    for body in ["", "<html>502</html>", "[]", "{}", r#"{"status":"success"}"#] {
        assert!(matches!(judged(200, body, Some(0.0), None), Verdict::Unknown(_)), "{body}");
    }
    assert!(matches!(judged(500, &vector(&["1"]), Some(0.0), None), Verdict::Unknown(_)));
}

/// Answers one request with these bytes and tells what was asked.
async fn server(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "the request ended early");
            asked.push(byte[0]);
        }
        let _ = stream.write_all(&answer).await;
        String::from_utf8(asked).unwrap()
    });
    (url, served)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

async fn looked(answer: Vec<u8>) -> (Verdict, String) {
    let (url, served) = server(answer).await;
    let verdict = verdict(&PrometheusCheck { url, ..check(Some(0.5), None) }).await;
    (verdict, served.await.unwrap())
}

#[tokio::test]
async fn a_server_is_asked_for_the_query_and_its_answer_is_judged() {
    let (verdict, asked) = looked(http("200 OK", &vector(&["1"]))).await;
    assert_eq!(verdict, Verdict::Clear);
    assert!(asked.starts_with("GET /api/v1/query?query=up&timeout=5s HTTP/1.1\r\n"), "{asked}");
    let (verdict, _) = looked(http("200 OK", &vector(&["0"]))).await;
    assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
    let error = r#"{"status":"error","errorType":"bad_data","error":"x"}"#;
    assert!(matches!(looked(http("400 Bad Request", error)).await.0, Verdict::Refused(_)));
}

#[tokio::test]
async fn an_answer_without_an_end_a_torn_one_and_a_redirect_are_unknown() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n".to_vec();
    endless.resize(2 << 20, b' ');
    assert!(matches!(looked(endless).await.0, Verdict::Unknown(_)));
    let torn = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".to_vec();
    assert!(matches!(looked(torn).await.0, Verdict::Unknown(_)));
    let away = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert!(matches!(looked(away).await.0, Verdict::Unknown(_)));
}

#[tokio::test]
async fn nobody_there_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let verdict = verdict(&PrometheusCheck { url, ..check(Some(0.5), None) }).await;
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
}

/// By hand, against a real server that scrapes itself: `DRYDOCK_PROMETHEUS=http://127.0.0.1:9090 cargo test -p
/// drydock-coordinator a_real_server -- --ignored`.
#[tokio::test]
#[ignore = "wants a Prometheus of its own"]
async fn a_real_server_is_understood() {
    let url = std::env::var("DRYDOCK_PROMETHEUS").expect("DRYDOCK_PROMETHEUS says where it is");
    let ask = async |query: &str, above: Option<f64>, below: Option<f64>| {
        verdict(&PrometheusCheck { url: url.clone(), query: query.to_string(), ..check(above, below) }).await
    };
    assert_eq!(ask("up{job=\"prometheus\"}", Some(0.5), None).await, Verdict::Clear);
    assert!(matches!(ask("up", None, Some(1.0)).await, Verdict::Waiting(_)));
    assert_eq!(ask("scalar(vector(3))", Some(2.0), Some(4.0)).await, Verdict::Clear);
    assert!(matches!(ask("no_such_metric", Some(0.0), None).await, Verdict::Unknown(_)));
    assert!(matches!(ask("vector(0)/0", Some(0.0), None).await, Verdict::Unknown(_)));
    assert!(matches!(ask("up{", Some(0.0), None).await, Verdict::Refused(_)));
    assert!(matches!(ask("up[1m]", Some(0.0), None).await, Verdict::Refused(_)));
}
