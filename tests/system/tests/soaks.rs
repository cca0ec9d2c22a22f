//! Soak checks over real processes: what goes wrong on a node that was done already, while a later one is watched,
//! stops the run before anybody else leaves service.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus, RunView},
};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Three nodes by a plan that watches each for so long that three looks fit in, with these soak checks. Comes back
/// when n1 is done and n2 is watched.
fn until_the_second_is_watched(fleet: &Fleet, checks: &str) {
    fleet.release("2.0.0", Behaviour::Well);
    let text = fleet.plan_text("2.0.0");
    let wave = format!("          soak: 6s\n          soakChecks:\n            - {checks}\n");
    let file = fleet.write("plan.yaml", &text.replace("          soak: 0s\n", &wave));
    fleet.drydock(&["rehearse", &file]).exits(0);
    fleet.drydock(&["run", "start", &file]).exits(0);
    fleet.until_run("n1 to be done and n2 to be watched", wait::RUN, |view| {
        fleet::phases(view)[..2] == [Phase::Done, Phase::Soaking]
    });
}

/// It holds for a check that names n1, and n3 has not been touched.
fn stopped_for_the_first(fleet: &Fleet, check: &str) -> RunView {
    let view = fleet.until_status(RunStatus::Held);
    let hold = view.hold.as_ref().unwrap();
    let at = hold.node.as_ref().map(|node| node.as_str().to_owned());
    assert_eq!((hold.kind, at.as_deref()), (HoldKind::Unwell, Some("n2")), "{hold:#?}");
    let said = format!("{} {}", hold.reason, hold.happened);
    assert!(said.contains(check) && said.contains("n1"), "{hold:#?}");
    assert_eq!(fleet::phases(&view)[..1], [Phase::Done]);
    assert_eq!(fleet.nodes[2].starts(), ["1.0.0"]);
    fleet.drydock(&["why"]).show().exits(3).says(&[
        "n1",
        "drydock run resume 1",
        "drydock run rollback 1 --node n2",
    ]);
    view
}

#[test]
fn an_earlier_node_that_becomes_ill_stops_the_run_and_well_again_it_goes_on() {
    let fleet = Fleet::start(3);
    let check = "health: {probe: {http: {url: \"http://{label:ip}:{label:port}/healthz\"}}}";
    until_the_second_is_watched(&fleet, check);
    fleet.nodes[0].make_ill(true);
    stopped_for_the_first(&fleet, "health");
    fleet.nodes[0].make_ill(false);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
}

#[test]
fn an_earlier_node_s_port_that_no_longer_answers_stops_the_run() {
    let fleet = Fleet::start(3);
    // What is asked for stands beside the service: a node's own health is well all the time.
    let mut beside: Vec<TcpListener> = Vec::new();
    for node in &fleet.nodes {
        let listener = TcpListener::bind((node.service.ip(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        fleet.drydock(&["node", "label", &node.name, &format!("beside={port}")]).exits(0);
        beside.push(listener);
    }
    until_the_second_is_watched(&fleet, "health: {probe: {tcp: {address: \"{label:ip}:{label:beside}\"}}}");
    drop(beside.remove(0));
    stopped_for_the_first(&fleet, "health");
}

#[test]
fn an_earlier_node_s_service_that_is_started_anew_stops_the_run_even_if_it_is_well() {
    let fleet = Fleet::start(3);
    until_the_second_is_watched(&fleet, "unit: {unit: demo.service}");
    let pid = Pid::from_raw(fleet.nodes[0].service_pid().unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    stopped_for_the_first(&fleet, "unit");
}

#[test]
fn a_threshold_that_prometheus_reports_as_passed_stops_the_run() {
    let fleet = Fleet::start(3);
    let errors = Arc::new(AtomicU32::new(0));
    let prometheus = prometheus(Arc::clone(&errors));
    let check = format!(
        "prometheus: {{url: \"http://{prometheus}\", query: \"sum(rate(errors{{job=\\\"demo\\\"}}[1m]))\", below: 5}}"
    );
    until_the_second_is_watched(&fleet, &check);
    errors.store(7, Ordering::Release);
    let view = fleet.until_status(RunStatus::Held);
    let hold = view.hold.as_ref().unwrap();
    assert_eq!(hold.kind, HoldKind::Unwell);
    assert!(hold.happened.contains("is 7, and must be below 5"), "{hold:#?}");
    fleet.drydock(&["why"]).show().exits(3);
    assert_eq!(fleet.nodes[2].starts(), ["1.0.0"]);
    errors.store(0, Ordering::Release);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
}

/// What Prometheus answers to an instant query that gives one series: its value is read anew for each.
fn prometheus(value: Arc<AtomicU32>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |stream: TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"job":"demo"}},"value":[1700000000,"{}"]}}]}}}}"#,
            value.load(Ordering::Acquire)
        );
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        reader
            .into_inner()
            .write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
    };
    // Ends with the test's process.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
    address
}
