//! Windows, by the clock of this machine: shut, about to open, and open for too short. Days on which the clock is
//! changed are tried in `coordinator/core/src/window/tests.rs`, where time can be any.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drydock_core::{
    hold_kind::WaitKind,
    view::{Phase, RunStatus, RunView},
};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Until the next full minute, and then the run.
const OPENING: Duration = Duration::from_secs(150);

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// `22:04`, of the minute that this second lies in.
fn clock(unix_s: u64) -> String {
    let of_day = unix_s % (24 * HOUR);
    format!("{:02}:{:02}", of_day / HOUR, of_day % HOUR / MINUTE)
}

fn window(from_s: u64, to_s: u64) -> String {
    format!("  window: {{from: \"{}\", to: \"{}\", timeZone: UTC}}\n", clock(from_s), clock(to_s))
}

/// The usual plan with a window, an `allow` and a soak.
fn plan(fleet: &Fleet, spec: &str, soak: &str) -> String {
    fleet.release("2.0.0", Behaviour::Well);
    let text = fleet.plan_text("2.0.0").replace("spec:\n", &format!("spec:\n{spec}"));
    fleet.write("plan.yaml", &text.replace("soak: 0s", &format!("soak: {soak}")))
}

fn typed(fleet: &Fleet, line: &str) -> drydock_system_tests::Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

/// The command under this beginning that the wait offers, without the program's name.
fn offered(view: &RunView, begins: &str) -> String {
    let waiting = view.waiting.as_ref().unwrap();
    let found = waiting.can.iter().find(|offer| offer.command.starts_with(begins));
    let found = found.unwrap_or_else(|| panic!("no {begins:?} among {:?}", waiting.can));
    found.command.strip_prefix("drydock ").unwrap().to_owned()
}

/// Until the run waits for its window with everything fetched.
fn until_it_waits(fleet: &Fleet) -> RunView {
    fleet.until_run("the window to be waited for", wait::SOON, |view| {
        view.waiting.as_ref().is_some_and(|waiting| waiting.kind == WaitKind::Window)
            && view.handed_out.is_empty()
            && fleet::phases(view)[0] == Phase::Staged
    })
}

#[test]
fn a_shut_window_keeps_every_node_in_service_until_an_operator_does_without_it() {
    let fleet = Fleet::start(2);
    let opens = now_s() + 2 * HOUR;
    let file = plan(&fleet, &format!("{}  allow: [window]\n", window(opens, opens + HOUR)), "0s");
    fleet.drydock(&["plan", &file]).show().exits(0).says(&[
        "Window",
        &format!("daily {} to", clock(opens)),
        "opens",
    ]);
    fleet.drydock(&["run", "start", &file]).exits(0);
    let view = until_it_waits(&fleet);
    let waiting = view.waiting.as_ref().unwrap();
    let foreseen = (opens / MINUTE * MINUTE * 1000).saturating_sub(view.now_unix_ms);
    assert!(waiting.left_ms.unwrap().abs_diff(foreseen) < 2000, "{waiting:?}, foreseen {foreseen}");
    assert!(view.handed_out.is_empty() && fleet.nodes.iter().all(|node| node.starts() == ["1.0.0"]));
    // It is no failure, and it has no deadline: the run goes on by itself.
    fleet.drydock(&["why"]).show().exits(0).says(&["the window to open", &clock(opens)]);

    let line = offered(&view, "drydock run amend");
    assert_eq!(line, "run amend 1 window=none");
    typed(&fleet, &line).exits(0).says(&["the window no longer binds", "drydock why 1"]);
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
    typed(&fleet, "run report 1").says(&["by admin"]);
}

#[test]
fn a_run_begins_by_itself_when_its_window_opens_and_not_before() {
    let fleet = Fleet::start(1);
    // The next full minute that leaves time to see that nothing happens before.
    let opens = (now_s() + 20).div_ceil(MINUTE) * MINUTE;
    let file = plan(&fleet, &window(opens, opens + 3 * HOUR), "0s");
    fleet.drydock(&["run", "start", &file]).exits(0);
    let view = until_it_waits(&fleet);
    assert!(view.now_unix_ms < opens * 1000, "the window was open before it could be seen shut");
    typed(&fleet, "run amend 1 window=none").exits(1).says(&["not in its spec.allow"]);
    let view = fleet.until_run("the run to be done", OPENING, |view| view.status == RunStatus::Done);
    let began = fleet::nodes(&view).next().unwrap().began_unix_ms.unwrap();
    assert!(began >= opens * 1000, "it began {} ms before the window", opens * 1000 - began);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0"]);
}

#[test]
fn a_node_that_would_not_be_done_before_the_window_shuts_waits_for_the_next_one() {
    let fleet = Fleet::start(1);
    let now = now_s();
    // Open for twenty minutes more, and the node would be watched for half an hour.
    let spec = format!("{}  allow: [soak]\n", window(now - HOUR, now + 20 * MINUTE));
    let file = plan(&fleet, &spec, "30m");
    fleet.drydock(&["run", "start", &file]).exits(0);
    let view = until_it_waits(&fleet);
    let next = view.waiting.as_ref().unwrap().left_ms.unwrap();
    assert!(next > 22 * HOUR * 1000, "it would begin in {next} ms, in the window that is open now");
    let shuts = format!("{} (UTC), and a node takes about", clock(now + 20 * MINUTE));
    typed(&fleet, "why 1").show().exits(0).says(&["it shuts", &shuts]);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0"]);
    // Watched for less long it fits.
    typed(&fleet, "run amend 1 soak=0s").exits(0);
    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0"]);
}

#[test]
fn a_window_that_is_never_open_for_as_long_as_a_node_takes_stops_the_plan() {
    let fleet = Fleet::start(1);
    let opens = now_s() + HOUR;
    let file = plan(&fleet, &window(opens, opens + 10 * MINUTE), "30m");
    fleet.drydock(&["plan", &file]).show().exits(3).says(&["window"]);
    fleet.drydock(&["run", "start", &file]).exits(3).says(&["no run was started"]);
    fleet.drydock(&["run", "list"]).exits(0).says(&["There is no run yet"]);
}
