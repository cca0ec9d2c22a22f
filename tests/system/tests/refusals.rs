//! What a fleet refuses, with the exit code that says whose turn it is, and nothing changed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet};

/// Nothing was done to any node, and no run came to be.
#[track_caller]
fn untouched(fleet: &Fleet) {
    for node in &fleet.nodes {
        assert_eq!(
            (node.starts(), node.beside()),
            (vec!["1.0.0".to_owned()], Vec::<String>::new()),
            "{}",
            node.name
        );
        assert_eq!(node.version().as_deref(), Some("1.0.0"), "{}", node.name);
    }
}

#[test]
fn a_plan_for_nodes_that_do_not_exist_or_that_matches_nothing_is_a_bad_file() {
    let fleet = Fleet::start(1);
    fleet.release("2.0.0", Behaviour::Well);
    let text = fleet.plan_text("2.0.0");
    let names = text.replace("nodes: {labels: {role: demo}}", "nodes: {names: [n1, m1]}");
    let nothing = text.replace("role: demo", "role: dmeo");
    let no_label = text.replace("{label:port}", "{label:prt}");
    for (name, text, says) in [
        ("names.yaml", names, ["m1", "did you mean"].as_slice()),
        ("nothing.yaml", nothing, &["role=dmeo", "matches none"]),
        ("label.yaml", no_label, &["n1", "prt", "drydock node label n1 prt="]),
    ] {
        let file = fleet.write(name, &text);
        fleet.drydock(&["plan", &file]).exits(2).says(says);
        fleet.drydock(&["run", "start", &file]).exits(2).says(says);
    }
    fleet.drydock(&["run", "list"]).exits(0).says(&["There is no run yet"]);
    untouched(&fleet);
}

#[test]
fn a_version_older_than_what_runs_is_a_blocker_that_names_the_permit() {
    let fleet = Fleet::start(1);
    let plan = fleet.plan("0.9.0", Behaviour::Well);
    for typed in [["plan", &plan].as_slice(), &["run", "start", &plan]] {
        fleet.drydock(typed).exits(3).says(&["n1", "1.0.0", "0.9.0", "allowDowngrade"]);
    }
    fleet.drydock(&["run", "list"]).exits(0).says(&["There is no run yet"]);
    untouched(&fleet);
}

#[test]
fn an_artifact_for_another_architecture_is_a_blocker_of_the_node() {
    let fleet = Fleet::start(1);
    let file = fleet.release("2.0.0", Behaviour::Well);
    let mut bytes = fs::read(&file).unwrap();
    bytes[18..20].copy_from_slice(&[0xb7, 0]);
    fs::write(&file, &bytes).unwrap();
    fleet.sign(&file, "demo", "2.0.0");
    let plan = fleet.write("plan.yaml", &fleet.plan_text("2.0.0"));
    fleet.drydock(&["run", "start", &plan]).exits(3).says(&["n1", "aarch64", std::env::consts::ARCH]);
    untouched(&fleet);
}

/// A plan whose path on the node is this one; the policy allows it.
fn plan_for_path(fleet: &mut Fleet, path: &str) -> String {
    fleet.release("2.0.0", Behaviour::Well);
    let binary = fleet.nodes[0].binary().display().to_string();
    let policy = fleet.nodes[0].policy(&fleet.public_key);
    let table = format!("[binaries.\"{binary}\"]\n");
    assert!(policy.contains(&table));
    fleet.nodes[0].kill();
    fleet.nodes[0].write_policy(&policy.replace(&table, &format!("[binaries.\"{path}\"]\n")));
    fs::remove_file(fleet.nodes[0].dir.join("starts")).unwrap();
    fleet.nodes[0].start();
    fleet.all_connected();
    let usual = format!("{}/{{node}}/bin/demo", fleet.dir().display());
    let text = fleet.plan_text("2.0.0");
    assert!(text.contains(&usual));
    fleet.write("path.yaml", &text.replace(&usual, path))
}

/// Hostile input 20, end to end: what lies at the path, and on the way to it.
#[test]
fn a_target_that_is_no_binary_of_ours_is_held_before_the_node_leaves_service() {
    let mut fleet = Fleet::start(1);
    let dir = fleet.nodes[0].dir.clone();
    let open = dir.join("open");
    fs::create_dir(&open).unwrap();
    fs::copy(dir.join("bin/demo"), open.join("demo")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir(dir.join("bin/directory")).unwrap();
    std::os::unix::fs::symlink("demo", dir.join("bin/symlink")).unwrap();
    std::os::unix::fs::symlink("bin", dir.join("way")).unwrap();
    fs::copy(dir.join("bin/demo"), dir.join("bin/setuid")).unwrap();
    fs::set_permissions(dir.join("bin/setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::copy(dir.join("bin/demo"), dir.join("bin/twice")).unwrap();
    fs::hard_link(dir.join("bin/twice"), dir.join("elsewhere")).unwrap();
    let before = listing(&dir.join("bin"));
    for (number, (path, says)) in [
        ("bin/directory", "is not a regular file"),
        ("bin/symlink", "is a symlink"),
        ("way/demo", "symlink"),
        ("open/demo", "writable by others"),
        ("bin/setuid", "is setuid or setgid (mode 4755)"),
        ("bin/twice", "has 2 names (hard links)"),
        ("bin/missing", "No such file or directory"),
    ]
    .into_iter()
    .enumerate()
    {
        let plan = plan_for_path(&mut fleet, &dir.join(path).display().to_string());
        fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3).says(&["n1", says]);
        let view = fleet.run(0);
        assert_eq!((view.number, view.status), (number as u64 + 1, RunStatus::Held), "{path}");
        assert_eq!(fleet::phases(&view), [Phase::Held], "{path}");
        assert!(
            fleet::nodes(&view).all(|node| node.began_unix_ms.is_none()),
            "{path}: it never left service"
        );
        fleet.drydock(&["why"]).exits(3).says(&[says]);
        fleet.drydock(&["run", "abort", &view.number.to_string()]).exits(0);
        assert_eq!(listing(&dir.join("bin")), before, "{path}");
        assert_eq!(fleet.nodes[0].starts(), ["1.0.0"], "{path}");
    }
}

fn listing(dir: &std::path::Path) -> Vec<(String, u64, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let entry = |entry: fs::DirEntry| {
        let meta = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), meta.ino(), meta.mode())
    };
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|found| entry(found.unwrap())).collect();
    names.sort();
    names
}

/// Hostile inputs 20 and 21, end to end: what the node's policy does not list is refused by the node.
#[test]
fn a_path_or_unit_that_the_policy_does_not_list_is_refused_by_the_node_with_the_line_to_add() {
    let fleet = Fleet::start(1);
    fleet.release("2.0.0", Behaviour::Well);
    let text = fleet.plan_text("2.0.0");
    let path = format!("{}/{{node}}/bin/demo", fleet.dir().display());
    let elsewhere = fleet.write("elsewhere.yaml", &text.replace(&path, "/usr/bin/env"));
    fleet.drydock(&["run", "start", &elsewhere, "--wait"]).exits(3).says(&[
        "/usr/bin/env is not among the binaries that this node's policy lets be exchanged",
        "[binaries.\"/usr/bin/env\"]",
    ]);
    fleet.drydock(&["run", "abort", "1"]).exits(0);
    for (number, unit) in ["sshd.service", "systemd-journald.service", "dbus.service"].iter().enumerate() {
        let plan = fleet.write("unit.yaml", &text.replace("unit: demo.service", &format!("unit: {unit}")));
        fleet.drydock(&["run", "start", &plan, "--wait"]).exits(3).says(&["n1", unit]);
        fleet.drydock(&["run", "abort", &(number + 2).to_string()]).exits(0);
        untouched(&fleet);
    }
    for unit in ["--flag", "foo\\nbar.service", "a\\0b.service", "foo;reboot.service", "x/../y.service"] {
        let plan =
            fleet.write("unit.yaml", &text.replace("unit: demo.service", &format!("unit: \"{unit}\"")));
        fleet.drydock(&["plan", &plan]).exits(2).says(&["unit.yaml:12:15"]);
    }
    untouched(&fleet);
}

#[test]
fn a_coordinator_that_is_not_there_is_named_within_seconds() {
    let mut fleet = Fleet::without_nodes();
    let address = fleet.coordinator.address.to_string();
    fleet.coordinator.kill();
    let refused = fleet.drydock(&["node", "list"]);
    refused.exits(1).says(&[&address, "nothing listens there", "drydock context show"]);
    assert!(refused.took < Duration::from_secs(6), "{:?}", refused.took);
    // Nobody answers at all: a black hole.
    let file = fleet.coordinator.config_dir().join("contexts/admin.json");
    let context = fs::read_to_string(&file).unwrap();
    let listener = std::net::TcpListener::bind(fleet.coordinator.address).unwrap();
    let silent = fleet.drydock(&["node", "list"]);
    silent.exits(1).says(&[&address]);
    assert!(silent.took < Duration::from_secs(10), "{:?}", silent.took);
    drop(listener);
    fs::write(&file, context.replace(&address, "coordinator.invalid:7440")).unwrap();
    let unknown = fleet.drydock(&["node", "list"]);
    unknown.exits(1).says(&["coordinator.invalid:7440"]);
}

#[test]
fn a_node_whose_agent_is_silent_blocks_the_plan_and_is_named() {
    let mut fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet.nodes[1].kill();
    drydock_system_tests::wait::until_true("n2 to be silent", drydock_system_tests::wait::SOON, || {
        fleet.drydock(&["plan", &plan]).code == Some(3)
    });
    fleet.drydock(&["run", "start", &plan]).exits(3).says(&["n2", "silent"]);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0"]);
}
