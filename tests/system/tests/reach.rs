//! Whom another node's agent watches while a node is changed: refused before anything begins, measured, told, and held for where it
//! was away for too long. And what an operator sees of a node just now.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use drydock_core::{
    hold_kind::HoldKind,
    view::{Phase, RunStatus},
};
use drydock_system_tests::{Behaviour, Fleet, fleet};

/// How long the guest is away once its node runs the new version.
const AWAY: Duration = Duration::from_millis(1_500);

/// An address of this machine by which others would reach it: loopback is never watched. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let route = socket.connect("192.0.2.1:9");
    let own = route.and_then(|()| socket.local_addr()).map(|own| own.ip());
    own.unwrap_or_else(|error| panic!("this test needs an address that is not loopback: {error}"))
}

/// A guest of a node: it answers 200, and 503 for [`AWAY`] from when the node's service was first started in the new version.
fn guest(starts: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let mut gone: Option<Instant> = None;
        for stream in listener.incoming().flatten() {
            let changed = std::fs::read_to_string(&starts).is_ok_and(|text| text.contains("2.0.0"));
            if changed && gone.is_none() {
                gone = Some(Instant::now());
            }
            let well = gone.is_none_or(|gone| gone.elapsed() >= AWAY);
            drop(answer(stream, if well { "200 OK" } else { "503 Service Unavailable" }));
        }
    });
    address
}

fn answer(stream: TcpStream, status: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    reader.into_inner().write_all(head.as_bytes())
}

/// `n1` is to be changed, watched from `n2`, whose policy lets it watch these. `n1` is back when its guest is.
fn watched(targets: &str) -> (Fleet, SocketAddr) {
    let mut fleet = Fleet::without_nodes();
    for name in ["n1", "n2"] {
        fleet.add(name);
    }
    let policy = format!("watch_targets = [{targets}]\n{}", fleet.nodes[1].policy(&fleet.public_key));
    fleet.nodes[1].write_policy(&policy);
    for node in &mut fleet.nodes {
        node.start();
    }
    fleet.all_connected();
    let guest = guest(fleet.nodes[0].dir.join("starts"));
    fleet.drydock(&["node", "label", "n1", &format!("guest={guest}"), "peer=n2"]).exits(0);
    fleet.release("2.0.0", Behaviour::Well);
    (fleet, guest)
}

fn plan(fleet: &Fleet, max_gap: &str, from: &str) -> String {
    let text = fleet.plan_text("2.0.0");
    let text = text.replace("{labels: {role: demo}}", "{names: [n1]}");
    let observe = format!(
        "      observe:\n        - reach: {{from: \"{from}\", to: [{{http: {{url: \"http://{{label:guest}}/\"}}}}], maxGap: {max_gap}}}\n      returned:\n        - health: {{probe: {{http: {{url: \"http://{{label:guest}}/\"}}}}, from: coordinator}}\n      waves:\n"
    );
    fleet.write("plan.yaml", &text.replace("      waves:\n", &observe))
}

#[test]
fn a_guest_that_was_away_for_too_long_is_told_with_the_figure_and_holds_before_the_next_node() {
    let (fleet, guest) = watched(&format!("\"{}\"", own_address()));
    let file = plan(&fleet, "700ms", "{label:peer}");
    let watched = format!("reach http://{guest}/ from n2 (maxGap 700ms)");
    fleet.drydock(&["plan", &file]).show().exits(0);
    fleet.drydock(&["-o", "json", "plan", &file]).exits(0).says(&[&watched]);
    fleet.drydock(&["rehearse", &file]).show().exits(0);
    fleet.drydock(&["run", "start", &file]).exits(0);
    let view = fleet.until_status(RunStatus::Held);
    let hold = view.hold.as_ref().unwrap();
    assert_eq!(hold.kind, HoldKind::GapTooLong, "{hold:#?}");
    assert!(hold.reason.contains(&format!("http://{guest}/ from n2 did not answer for")), "{hold:#?}");
    let node = fleet::nodes(&view).next().unwrap();
    let seen = node.observed[0].whole.as_ref().unwrap();
    assert!((1_000..=4_000).contains(&seen.longest_ms), "{seen:?}");
    assert!(seen.answered < seen.asked && seen.answered > 0, "{seen:?}");
    assert_eq!(node.observed[0].interrupted, None);
    fleet
        .drydock(&["run", "show", "1", "--node", "n1"])
        .show()
        .says(&["From outside", "from n2: no answer for"]);
    fleet.drydock(&["run", "report", "1"]).show().says(&[
        "Measured from outside: what other nodes watched did not answer for",
        "from outside: http://",
    ]);
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    let view = fleet.until_status(RunStatus::Done);
    assert_eq!(fleet::phases(&view), [Phase::Done]);
    assert_eq!(
        fleet::nodes(&view).next().unwrap().observed[0].whole.as_ref().unwrap().longest_ms,
        seen.longest_ms
    );
}

#[test]
fn a_gap_within_its_bound_holds_nothing_though_the_coordinator_was_started_anew_in_between() {
    let (mut fleet, _) = watched(&format!("\"{}\"", own_address()));
    let file = plan(&fleet, "30s", "n2");
    fleet.drydock(&["run", "start", &file]).exits(0);
    fleet.until_run("n1 to be changed", drydock_system_tests::wait::RUN, |view| {
        matches!(fleet::phases(view)[..], [Phase::Applying | Phase::Returning])
    });
    fleet.coordinator.kill();
    fleet.coordinator.start();
    let view = fleet.until_status(RunStatus::Done);
    let seen = &fleet::nodes(&view).next().unwrap().observed[0];
    println!("{}", seen.line());
    assert!(seen.whole.as_ref().unwrap().longest_ms >= 1_000, "{seen:?}");
    assert_eq!((seen.interrupted, seen.lost), (None, false), "its agent has watched all the time: {seen:?}");
}

#[test]
fn who_may_not_watch_is_said_by_the_plan_and_nothing_begins() {
    let (mut fleet, guest) = watched("\"203.0.113.0/24\"");
    let file = plan(&fleet, "30s", "n2");
    let refused = format!("http://{guest}/ cannot be watched from n2");
    let next = "under watch_targets in the agent's policy on n2";
    fleet.drydock(&["plan", &file]).show().exits(3).says(&[&refused, "not among what", next]);
    fleet.drydock(&["rehearse", &file]).exits(3).says(&[&refused]);
    assert_ne!(fleet.drydock(&["run", "start", &file]).code, Some(0));
    // From itself, from nowhere, and from one whose agent is silent.
    let file = plan(&fleet, "30s", "n1");
    fleet.drydock(&["plan", &file]).exits(3).says(&["it would be watched from itself"]);
    let file = plan(&fleet, "30s", "n9");
    fleet.drydock(&["plan", &file]).exits(3).says(&["watched from n9, and there is no such node"]);
    let file = plan(&fleet, "30s", "n2");
    fleet.nodes[1].kill();
    drydock_system_tests::wait::until_true("n2 to be silent", drydock_system_tests::wait::SOON, || {
        fleet.drydock(&["plan", &file]).stdout.contains("whose agent has been silent")
    });
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0"]);
}

#[test]
fn check_node_names_the_sockets_at_which_nobody_is_and_node_show_says_what_it_could_not_see() {
    let mut fleet = Fleet::without_nodes();
    for name in ["n1", "n2"] {
        fleet.add(name);
    }
    let dir = fleet.nodes[0].dir.clone();
    let (missing, dead) = (dir.join("missing.sock"), dir.join("dead.sock"));
    drop(UnixListener::bind(&dead).unwrap());
    let expect = format!("[expect]\nsockets = [\"{}\", \"{}\"]\n", missing.display(), dead.display());
    let policy = format!("{}{expect}", fleet.nodes[0].policy(&fleet.public_key));
    fleet.nodes[0].write_policy(&policy);
    for node in &mut fleet.nodes {
        node.start();
    }
    fleet.all_connected();
    let found = fleet.drydock(&["check", "node", "n1"]);
    found.show().exits(3).says(&["missing.sock", "dead.sock"]);
    let json = fleet.drydock(&["-o", "json", "check", "node", "n1"]).exits(3).json();
    let looked: Vec<&str> =
        json["lookedAt"].as_array().unwrap().iter().filter_map(|at| at["at"].as_str()).collect();
    for kind in ["units", "sockets", "disks", "packages", "processes", "kernel", "clock"] {
        assert!(looked.contains(&kind), "{kind}: {looked:?}");
    }
    let sockets = |json: &serde_json::Value| {
        let findings = json["findings"].as_array().unwrap().clone();
        findings.iter().filter(|found| found["kind"] == "socket").count()
    };
    assert_eq!(sockets(&json), 2, "{json:#}");
    // Somebody is there again.
    std::fs::remove_file(&dead).unwrap();
    let (_one, _other) = (UnixListener::bind(&dead).unwrap(), UnixListener::bind(&missing).unwrap());
    let json = fleet.drydock(&["-o", "json", "check", "node", "n1"]).json();
    assert_eq!(sockets(&json), 0, "{json:#}");

    fleet
        .drydock(&["node", "show", "n1"])
        .show()
        .exits(0)
        .says(&["As its agent sees it just now", "libvirt"]);
    let shown = fleet.drydock(&["-o", "json", "node", "show", "n1"]).exits(0).json();
    assert_eq!(shown["name"], "n1");
    for part in ["libvirt", "openvswitch", "ovn", "packages"] {
        let of = &shown["live"][part];
        assert!(
            of.get("Ok").is_some() || of["Err"].as_str().is_some_and(|why| !why.is_empty()),
            "{part}: {of}"
        );
    }
    fleet.nodes[0].kill();
    drydock_system_tests::wait::until_true("n1 to be silent", drydock_system_tests::wait::SOON, || {
        fleet.drydock(&["node", "show", "n1"]).stdout.contains("Its agent is silent: what the node is at")
    });
    fleet.drydock(&["check", "node", "n1"]).exits(3).says(&["its agent is silent"]);
}
