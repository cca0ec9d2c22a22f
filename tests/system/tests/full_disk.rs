//! A disk that fills up while a run is under way. Needs root, for a small file system of its own.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf, process::Command};

use drydock_core::view::{Phase, RunStatus};
use drydock_system_tests::{Behaviour, Fleet, fleet, wait};

/// A small file system, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// The state directory of a node that is not there yet. `None` where nobody may mount; in CI as root that
    /// is a failure, elsewhere it is said.
    fn mount(fleet: &Fleet, node: &str, size: &str) -> Option<Self> {
        let at = fleet.dir().join(node).join("state");
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "drydock-test"]).arg(&at).output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(at));
        }
        let may_be_left_out = std::env::var_os("CI").is_none() || !nix::unistd::geteuid().is_root();
        assert!(may_be_left_out, "CI=true as root, and a tmpfs cannot be mounted");
        println!("LEFT OUT: full disks; mounting a tmpfs needs root");
        None
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy", "--"]).arg(&self.0).status());
    }
}

#[test]
fn a_disk_that_fills_up_while_journaling_holds_the_run_and_it_goes_on_when_there_is_room() {
    let mut fleet = Fleet::without_nodes();
    let Some(disk) = Small::mount(&fleet, "n4", "128m") else { return };
    for name in ["n1", "n2", "n3", "n4"] {
        fleet.add(name).start();
    }
    fleet.all_connected();
    let plan = fleet.plan("2.0.0", Behaviour::Slow);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    // Nothing has been sent to the last one yet, so its journal has taken no room ahead.
    let ahead = [Phase::Applying, Phase::Staged, Phase::Staged, Phase::Pending];
    fleet.until_run("n1 changed, n4 pending", wait::SOON, |view| fleet::phases(view) == ahead);
    disk.fill();

    let view = fleet.until_status(RunStatus::Held);
    let why = fleet.drydock(&["why"]);
    why.exits(3).says(&["n4 declined the stage section", "no room to journal this", "drydock run resume 1"]);
    assert_eq!(fleet::phases(&view)[3], Phase::Held);
    assert_eq!(fleet.nodes[3].starts(), ["1.0.0"], "in service, and untouched");
    assert!(fleet.nodes[3].accepted().is_empty() && fleet.nodes[3].beside().is_empty());

    disk.free();
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
    assert!(fleet.nodes.iter().all(|node| node.starts() == ["1.0.0", "2.0.0"]));
}

#[test]
fn a_disk_without_room_for_the_artifact_holds_the_run_before_the_node_leaves_service() {
    let mut fleet = Fleet::without_nodes();
    let Some(disk) = Small::mount(&fleet, "n1", "48m") else { return };
    fleet.add("n1").start();
    fleet.all_connected();
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    let followed = fleet.drydock(&["run", "start", &plan, "--wait"]);
    followed.exits(3).says(&[
        "n1 could not do its stage section",
        "bytes too few are free",
        "drydock run resume 1",
    ]);
    assert_eq!(fleet::phases(&fleet.run(1)), [Phase::Held]);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0"]);

    disk.grow("128m");
    fleet.drydock(&["run", "resume", "1"]).exits(0);
    fleet.until_status(RunStatus::Done);
    assert_eq!(fleet.nodes[0].starts(), ["1.0.0", "2.0.0"]);
}
