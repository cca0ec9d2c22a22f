//! Bad files: exit code 2 before any connection. No coordinator runs here, and no context exists.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use drydock_system_tests::{Behaviour, Fleet, Ran};

/// `plan` and `run start` of the file: both refuse it the same way, and neither speaks of a coordinator.
#[track_caller]
fn refused(fleet: &Fleet, text: &str, says: &[&str]) -> Ran {
    let file = fleet.write("bad.yaml", text);
    let plan = fleet.drydock(&["plan", &file]);
    let start = fleet.drydock(&["run", "start", &file]);
    for ran in [&plan, &start] {
        ran.exits(2).says(says);
        assert!(
            !ran.stderr.contains("context") && !ran.stderr.contains("cannot be reached"),
            "{}",
            ran.said()
        );
        assert_eq!(ran.stdout, "", "{}", ran.said());
    }
    assert!(!fleet.coordinator.state_dir().exists() && !fleet.coordinator.config_dir().exists());
    plan
}

#[test]
fn what_is_wrong_with_a_plan_is_said_with_its_place_before_any_connection() {
    let fleet = Fleet::offline();
    fleet.release("2.0.0", Behaviour::Well);
    let good = fleet.plan_text("2.0.0");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    // The file itself is right: only the missing context stops it.
    let file = fleet.write("good.yaml", &good);
    fleet.drydock(&["plan", &file]).exits(2).says(&["context"]);

    refused(
        &fleet,
        &with("nodes: {labels", "nodez: {labels"),
        &["bad.yaml:18:11", "unknown key `nodez`", "did you mean `nodes`?"],
    );
    refused(&fleet, &with("to: \"2.0.0\"", "to: 2.0"), &["bad.yaml:9:11", "\"2.0\""]);
    refused(&fleet, &with("role: demo}", "role: demo}, names: [n1, n1]"), &["n1", "twice"]);
    let stage =
        good.split_once("    - name: demo").map(|(_, stage)| format!("    - name: demo{stage}")).unwrap();
    refused(&fleet, &format!("{good}{stage}"), &["demo", "bad.yaml:20:13"]);
    let other = stage.replace("- name: demo", "- name: other\n      needs: [demo]");
    let cycle = good.replace("- name: demo", "- name: demo\n      needs: [other]");
    refused(&fleet, &format!("{cycle}{other}"), &["demo", "other", "needs"]);
    refused(&fleet, &with("path: ./demo-2.0.0", "path: ./demo-9.9.9"), &["demo-9.9.9"]);
    refused(&fleet, &with("unit: demo.service", "unit: \"foo;reboot\""), &["foo;reboot"]);
    refused(&fleet, &with("path: \"/", "path: \"../"), &[".."]);
    refused(&fleet, "", &["bad.yaml"]);
    let missing = fleet.drydock(&["plan", "nowhere.yaml"]);
    missing.exits(2).says(&["nowhere.yaml"]);
}

#[test]
fn hostile_files_are_refused_quickly_and_in_little_memory() {
    let fleet = Fleet::offline();
    let brackets = "[".repeat(100_000);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..30 {
        let (one, nine) = (format!("*a{}", n - 1), 9);
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![one; nine].join(", "));
    }
    // Not random by chance: the same bytes each time, of every value.
    let mut state = 7u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(1 << 20)
    .collect();
    let huge = vec![b'a'; 64 << 20];
    for (name, bytes) in
        [("brackets", brackets.as_bytes()), ("bomb", bomb.as_bytes()), ("noise", &noise), ("huge", &huge)]
    {
        let file = format!("{name}.yaml");
        fs::write(fleet.dir().join(&file), bytes).unwrap();
        let ran = fleet.drydock(&["plan", &file]);
        ran.exits(2).says(&[&file]);
        assert!(ran.took < Duration::from_secs(10), "{name}: {:?}", ran.took);
        assert!(ran.peak_kib < 64 << 10, "{name}: {} KiB", ran.peak_kib);
        assert!(ran.stderr.len() < 4096, "{name}: {} bytes of explanation", ran.stderr.len());
        assert!(!ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{name}: {:?}", ran.stderr);
    }
    drop(fs::File::create(fleet.dir().join("device.yaml")).unwrap());
    fs::remove_file(fleet.dir().join("device.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", fleet.dir().join("device.yaml")).unwrap();
    fleet.drydock(&["plan", "device.yaml"]).exits(2).says(&["device.yaml"]);
    fleet.drydock(&["plan", "."]).exits(2);
}

#[test]
fn an_artifact_for_another_architecture_is_refused_when_it_is_signed_and_when_it_is_planned() {
    let fleet = Fleet::offline();
    let file = fleet.release("2.0.0", Behaviour::Well);
    // The ELF header's machine becomes AArch64's, and the signature is of the file before.
    let mut bytes = fs::read(&file).unwrap();
    bytes[18..20].copy_from_slice(&[0xb7, 0]);
    fs::write(&file, &bytes).unwrap();
    refused(&fleet, &fleet.plan_text("2.0.0"), &["demo-2.0.0"]);
    // Signed as what it is, it is a good artifact of another machine: the coordinator's to refuse, node by node.
    fleet.sign(&file, "demo", "2.0.0");
    let signature = fs::read_to_string(fleet.dir().join("demo-2.0.0.minisig")).unwrap();
    assert!(signature.contains("arch=aarch64"), "{signature}");
}

#[test]
fn a_context_that_others_can_read_is_refused_with_the_command_to_type() {
    let fleet = Fleet::without_nodes();
    let context = fleet.coordinator.config_dir().join("contexts/admin.json");
    fleet.drydock(&["node", "list"]).exits(0);
    fs::set_permissions(&context, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = fleet.drydock(&["node", "list"]);
    refused.exits(2).says(&["chmod 600", &context.display().to_string()]);
    fs::set_permissions(&context, fs::Permissions::from_mode(0o600)).unwrap();
    fleet.drydock(&["node", "list"]).exits(0);
}
