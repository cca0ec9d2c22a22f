//! The coordinator as a service: stopping, coming back, being asked whether it is well, keeping secrets.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, time::Duration};

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, cli, fleet, node, wait};

#[test]
fn a_coordinator_that_is_told_to_stop_in_mid_run_ends_cleanly_and_the_run_goes_on_after() {
    let mut fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    let mut follower = fleet.drydock_in_background("watch.log", &["run", "watch", "1"]);
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);

    assert_eq!(fleet.coordinator.terminate(), Some(0), "{}", fleet.coordinator.log());
    assert!(fleet.coordinator.log().contains("stopping: nothing further is handed out"));
    let told = || fleet.nodes.iter().all(|node| node.log().contains("the coordinator is stopping"));
    wait::until_true("the agents to be told to come back", wait::SOON, told);
    // The section that was handed out ends by itself, without a coordinator.
    wait::until_true("n1 to serve 2.0.0", wait::SOON, || {
        fleet.nodes[0].version().as_deref() == Some("2.0.0")
    });
    assert_eq!(fleet.nodes[1].starts(), ["1.0.0"], "nobody else was begun");

    fleet.coordinator.start();
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
    // Whoever watched did not have to do anything.
    assert_eq!(follower.wait(wait::SOON).code(), Some(0), "{}", follower.log());
    assert!(follower.log().contains("Run 1 is done"), "{}", follower.log());
}

#[test]
fn a_stopping_agent_ends_its_section_first_and_exits_0() {
    let mut fleet = Fleet::start(1);
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    fleet.until_run("n1 to be changed", wait::RUN, |view| fleet::phases(view)[0] == Phase::Applying);
    let mut agent = fleet.nodes[0].agent.take().unwrap();
    assert_eq!(agent.terminate(Duration::from_secs(30)).code(), Some(0), "{}", agent.log());
    fleet.nodes[0].launch();
    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.nodes[0].accepted().len(), 2, "one stage section, one apply section");
}

#[test]
fn healthz_answers_and_a_second_coordinator_on_the_directory_is_refused_with_the_firsts_pid() {
    let fleet = Fleet::without_nodes();
    let (code, body) = node::get(fleet.coordinator.health, "/healthz").unwrap();
    assert_eq!(code, 200, "{body}");
    assert_eq!(node::get(fleet.coordinator.health, "/else").map(|(code, _)| code), Some(404));

    let mut second = drydock_system_tests::coordinator::Coordinator::new(fleet.dir());
    second.process = None;
    let refused = cli::run(second.command(), wait::SOON);
    let pid = fleet.coordinator.process.as_ref().map(|process| process.pid().to_string()).unwrap();
    refused.exits(1).says(&[&pid, "state"]);
    fleet.drydock(&["node", "list"]).exits(0);
}

/// Every file below a directory, with what stands in it.
fn files(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            Ok(kind) if kind.is_file() => {
                let text = fs::read(entry.path()).unwrap_or_default();
                found.push((entry.path().display().to_string(), String::from_utf8_lossy(&text).into_owned()));
            }
            _ => {}
        }
    }
}

/// Hostile input 27, end to end.
#[test]
fn no_secret_stands_in_any_log_or_in_the_store_or_on_a_command_line() {
    let mut fleet = Fleet::start(1);
    let plan = fleet.plan("2.0.0", Behaviour::Exits);
    let followed = fleet.drydock(&["run", "start", &plan, "--wait"]);
    let token = fleet.token("late", &[]);
    let late = node::Node::new(fleet.dir(), "late", &fleet.public_key);
    late.enrol(&token).exits(0);
    let again = late.enrol(&token);
    again.exits(1);
    let screens = [followed, fleet.drydock(&["why"]), fleet.drydock(&["token", "list"]), again];
    fleet.nodes[0].kill();
    fleet.coordinator.terminate();

    // The bodies of private keys, and the token's secret half.
    let key_of = |file: &Path| -> Vec<String> {
        let text = fs::read_to_string(file).unwrap().replace("\\n", "\n");
        let body = text.split("PRIVATE KEY-----\n").nth(1).and_then(|rest| rest.split("\n-----END").next());
        body.unwrap().lines().map(str::to_owned).collect()
    };
    let mut secrets = key_of(&fleet.nodes[0].state_dir().join("identity.json"));
    secrets.extend(key_of(&fleet.coordinator.config_dir().join("contexts/admin.json")));
    secrets.push(token[token.len() - 40..].to_owned());
    let signing = fs::read_to_string(fleet.dir().join("signing.key")).unwrap();
    secrets.push(signing.lines().nth(1).unwrap()[..60].to_owned());
    let sealing = fs::read(fleet.coordinator.config_dir().join("sealing.key")).unwrap_or_default();
    assert!(secrets.iter().all(|secret| secret.len() >= 16), "{}", secrets.len());

    let mut found = Vec::new();
    files(fleet.dir(), &mut found);
    let may = ["identity.json", "admin.json", "signing.key", "sealing"];
    for (path, text) in found.iter().filter(|(path, _)| !may.iter().any(|name| path.contains(name))) {
        assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "a secret stands in {path}");
        let sealing = String::from_utf8_lossy(&sealing);
        assert!(
            sealing.trim().is_empty() || !text.contains(sealing.trim()),
            "the sealing key stands in {path}"
        );
    }
    for screen in &screens {
        assert!(
            !secrets.iter().any(|secret| screen.said().contains(secret.as_str())),
            "a secret was printed by {}",
            screen.typed
        );
    }
    assert!(
        found.iter().any(|(path, _)| path.ends_with("drydock.db"))
            && found.iter().any(|(path, _)| path.ends_with("serve.log"))
    );
}
