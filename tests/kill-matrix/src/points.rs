//! The points that stand in the sources, as the build found them.

use std::collections::BTreeSet;

/// A point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// `agent.journal.sync`
    pub(crate) name: &'static str,
    /// A change of the world outside, rather than a write that a disk can refuse.
    pub(crate) effect: bool,
    /// Where it stands: file and line.
    pub(crate) at: &'static str,
}

/// All of them, by name.
pub(crate) const ALL: &[Point] = include!(concat!(env!("OUT_DIR"), "/points.rs"));

/// Passed once for each piece of a long file.
pub(crate) const IN_A_LOOP: [&str; 6] = [
    "agent.artifact.write",
    "agent.backup.write",
    "agent.backup.send",
    "agent.swap.write",
    "coordinator.artifact.write",
    "coordinator.backup.write",
];

/// Why no scenario here passes what only a commit-confirmed section does, and where it is passed.
const COMMIT_CONFIRMED: &str = "its timer and its reverter are units of a real systemd's: killed before and after it on a \
                                real node by tests/lab/src/scenarios/confirm/points.rs";

/// Why no scenario here puts an archive of images, and what tries it.
const K3S_IMAGES: &str = "an archive of images is put by no component of these scenarios, whole or not at all: \
                          agent/src/actions/place_k3s_images/tests.rs";

/// Why no scenario here reloads a switch, and what tries it.
const OPENVSWITCH: &str = "there is no switch on this machine: the ignored tests of agent/src/actions/reload_openvswitch, on a real node";

/// Why no scenario here keeps such a document, and what tries it.
const KEPT: &str = "kept before libvirt restarts and before packages are installed, and neither is done on this machine: \
                    agent/src/sys/files/kept.rs, and agent/tests/libvirt_real.rs on a real node";

/// Why no scenario here fetches packages, and what tries it.
const PACKAGES: &str = "no archive is here for these scenarios: agent/tests/apt_real.rs, with real apt on a root and an archive of its own";

/// Why no scenario here installs packages, and what tries it.
const INSTALLATION: &str = "no packages are installed on this machine: agent/src/apt/install/tests.rs and held_still.rs, with \
                            real dpkg on a root of its own, from every state that a kill leaves";

/// Those that no scenario passes: why, and what tries them instead.
const NOT_PASSED: &[(&str, &str)] = &[
    ("agent.apart.start", COMMIT_CONFIRMED),
    ("agent.apart.start-after", COMMIT_CONFIRMED),
    ("agent.apart.start-now", COMMIT_CONFIRMED),
    ("agent.apart.stop-timer", COMMIT_CONFIRMED),
    ("agent.revert.claim", COMMIT_CONFIRMED),
    ("agent.revert.remove", COMMIT_CONFIRMED),
    ("agent.revert.rename", COMMIT_CONFIRMED),
    ("agent.revert.settle", COMMIT_CONFIRMED),
    ("agent.revert.sync", COMMIT_CONFIRMED),
    ("agent.revert.sync-dir", COMMIT_CONFIRMED),
    ("agent.revert.write", COMMIT_CONFIRMED),
    ("agent.revert.write-rename", COMMIT_CONFIRMED),
    (
        "agent.artifact.empty",
        "a part that is longer than its artifact was written by somebody else; agent/src/artifacts/tests.rs",
    ),
    ("agent.apt.config-rename", PACKAGES),
    ("agent.apt.config-write", PACKAGES),
    ("agent.kept.rename", KEPT),
    ("agent.kept.sync", KEPT),
    ("agent.kept.sync-dir", KEPT),
    ("agent.kept.sync-made", KEPT),
    ("agent.kept.write", KEPT),
    ("agent.openvswitch.let-go", OPENVSWITCH),
    ("agent.openvswitch.replay", OPENVSWITCH),
    ("agent.openvswitch.save-database", OPENVSWITCH),
    ("agent.openvswitch.save-database-sync", OPENVSWITCH),
    ("agent.openvswitch.save-flows", OPENVSWITCH),
    ("agent.openvswitch.save-flows-sync", OPENVSWITCH),
    ("agent.openvswitch.save-rename", OPENVSWITCH),
    ("agent.openvswitch.save-sync", OPENVSWITCH),
    ("agent.openvswitch.save-sync-dir", OPENVSWITCH),
    ("agent.openvswitch.save-write", OPENVSWITCH),
    ("agent.packages.configure", INSTALLATION),
    ("agent.packages.configure-back", INSTALLATION),
    ("agent.packages.install", INSTALLATION),
    ("agent.packages.job-remove", INSTALLATION),
    ("agent.packages.mark", INSTALLATION),
    ("agent.packages.policy-back", INSTALLATION),
    ("agent.packages.policy-keep", INSTALLATION),
    ("agent.packages.policy-put", INSTALLATION),
    ("agent.packages.policy-remove", INSTALLATION),
    ("agent.packages.policy-sync", INSTALLATION),
    ("agent.packages.policy-sync-dir", INSTALLATION),
    ("agent.packages.policy-write", INSTALLATION),
    ("agent.packages.take-over", INSTALLATION),
    ("agent.packages.unpack-anew", INSTALLATION),
    ("agent.packages.up-remove", INSTALLATION),
    ("agent.packages.file-rename", PACKAGES),
    ("agent.packages.file-sync", PACKAGES),
    ("agent.packages.file-write", PACKAGES),
    ("agent.packages.prune-file", PACKAGES),
    ("agent.packages.prune-set", PACKAGES),
    ("agent.packages.set-rename", PACKAGES),
    ("agent.packages.set-sync", PACKAGES),
    ("agent.packages.set-write", PACKAGES),
    ("agent.packages.sync-dir", PACKAGES),
    ("agent.put.create", K3S_IMAGES),
    (
        "agent.ovn.leave",
        "there is no OVN on this machine: the ignored tests of agent/src/actions/restart_ovn_controller, on a real chassis",
    ),
    ("agent.put.mkdir", K3S_IMAGES),
    ("agent.put.rename", K3S_IMAGES),
    ("agent.put.sync", K3S_IMAGES),
    (
        "agent.unit.reset-failed",
        "a unit that has failed is none that a gate lets through; agent/src/sys/units/systemd/tests.rs",
    ),
    (
        "coordinator.backup.empty",
        "a part that is longer than its backup was written by somebody else; coordinator/src/backups/tests.rs",
    ),
    (
        "coordinator.backup.sync-part",
        "only a stream that breaks on its way ends early and in order; coordinator/src/backups/tests.rs",
    ),
];

/// Every point is either passed or named with the reason why not.
pub(crate) fn not_accounted_for(passed: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for point in ALL {
        let excused = NOT_PASSED.iter().any(|(name, _)| *name == point.name);
        match (passed.contains(point.name), excused) {
            (true, true) => wrong.push(format!("{} is passed: take it out of NOT_PASSED", point.name)),
            (false, false) => wrong.push(format!(
                "{} ({}) is passed by no scenario: have one pass it (tests/kill-matrix/src/scenario), or name it in \
                 NOT_PASSED of tests/kill-matrix/src/points.rs with the reason and the test that tries it",
                point.name, point.at
            )),
            _ => {}
        }
    }
    let gone = NOT_PASSED.iter().filter(|(name, _)| !ALL.iter().any(|point| point.name == *name));
    wrong.extend(gone.map(|(name, _)| format!("{name} is in NOT_PASSED and not in the sources")));
    wrong
}

/// Can a disk refuse what is done there?
pub(crate) fn is_effect(point: &str) -> bool {
    ALL.iter().any(|known| known.name == point && known.effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_the_lab_is_killed_there() {
        let lab = include_str!("../../lab/src/scenarios/confirm/points.rs");
        let listed = lab.split_once("const POINTS").and_then(|(_, rest)| rest.split_once("];"));
        let (listed, _) = listed.expect("the lab's list of points");
        let left = NOT_PASSED.iter().filter(|(_, why)| *why == COMMIT_CONFIRMED).map(|(name, _)| *name);
        let missing: Vec<_> = left.filter(|name| !listed.contains(&format!("\"{name}\""))).collect();
        assert!(missing.is_empty(), "tests/lab/src/scenarios/confirm/points.rs does not have {missing:?}");
    }
}
