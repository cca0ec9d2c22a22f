//! One identity in the hands of two.

use std::{fs, path::Path};

use drydock_system_tests::{Behaviour, Fleet, binaries, process, wait};
use serde_json::Value;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}

fn node(fleet: &Fleet, name: &str) -> Value {
    fleet.drydock(&["-o", "json", "node", "show", name]).exits(0).json()
}

/// Hostile input 10: a copy of a node's state beside the node itself.
#[test]
fn of_two_agents_with_one_identity_neither_is_listened_to_until_a_person_decides() {
    let fleet = Fleet::start(2);
    let thief = fleet.dir().join("thief");
    copy(&fleet.nodes[0].state_dir(), &thief.join("state"));
    fs::set_permissions(thief.join("state"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(thief.join("agent.toml"), "units = []\n").unwrap();
    let mut command = process::command(&binaries::path("drydock-agent"), &thief);
    command.arg("--state-dir").arg(thief.join("state")).arg("--policy").arg(thief.join("agent.toml"));
    let mut second = process::Process::start("the second agent", command, &thief.join("agent.log"));

    let seen = || (!node(&fleet, "n1")["standing"]["twins"].is_null()).then_some(());
    wait::until("the second machine to be noticed", wait::SOON, || {
        if let Some(ended) = second.ended() {
            panic!("the second agent ended: {ended}\n{}", second.log());
        }
        seen()
    });
    // Both are told, in words, and neither has a stream.
    let told = "two machines hold this identity";
    wait::until_true("both to be told", wait::SOON, || {
        fleet.nodes[0].log().contains(told) && second.log().contains(told)
    });
    wait::until_true("the stream to be gone", wait::SOON, || node(&fleet, "n1")["connected"] == false);
    let list = fleet.drydock(&["node", "list"]);
    list.says(&["n1: two machines hold this identity", "drydock node release n1", "drydock node retire n1"]);
    // Nothing is begun meanwhile, on nobody: it counts as out of service.
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet.drydock(&["run", "start", &plan]).exits(3).says(&["n1"]);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0"]));
    // Both on one machine: its id tells nobody apart, so the wrong one is stopped first.
    fleet.drydock(&["node", "release", "n1", "--machine", "abc"]).exits(1).says(&["stop the agent"]);
    second.kill();
    fleet.drydock(&["node", "release", "n1"]).exits(0).says(&["released by admin"]);
    fleet.all_connected();
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(0);
    assert!(node(&fleet, "n1")["standing"].is_null());
}
