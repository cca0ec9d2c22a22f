//! Packages that an archive exchanged between two nodes.

use alloc::{string::ToString, vec, vec::Vec};

use drydock_types::{
    PackageName, Sha256, Version,
    outcome::{Evidence, SectionResult},
    packages::{ReleasePin, StagedPackage},
};

use super::world::{World, outcome};
use crate::{
    hold_kind::HoldKind,
    run::Event,
    view::{Phase, RunStatus},
};

/// `NAME VERSION ARCHITECTURE CONTENT`
fn package(line: &str) -> StagedPackage {
    let words: Vec<&str> = line.split(' ').collect();
    StagedPackage {
        name: PackageName::parse(words[0]).unwrap(),
        architecture: words[2].to_string(),
        from: None,
        to: Version::parse(words[1]).unwrap(),
        sha256: Sha256::of(words[3].as_bytes()),
    }
}

impl World {
    fn stages(&mut self, release: &str, packages: &[&str]) {
        let of = self.staging().expect("nobody is being staged");
        let mut outcome = outcome(self.effect(of.as_str()), SectionResult::Done {});
        let releases =
            vec![ReleasePin { suite: "bookworm".to_string(), sha256: Sha256::of(release.as_bytes()) }];
        let packages = packages.iter().map(|line| package(line)).collect();
        outcome.evidence.push(Evidence::PackagesStaged { packages, releases });
        self.tell(Event::Ended { outcome });
    }
}

/// The second node of a run whose first one fetched this.
fn second(release: &str, packages: &[&str]) -> World {
    let mut world = World::usual();
    world.stages("monday", &["ovs 3.1-1 amd64 a", "ovs-common 3.1-1 all b"]);
    assert_eq!(world.run.status, RunStatus::Running);
    world.stages(release, packages);
    world
}

#[test]
fn the_same_files_are_the_same_also_of_an_archive_that_was_signed_anew() {
    for packages in [
        &["ovs 3.1-1 amd64 a", "ovs-common 3.1-1 all b"][..],
        &["ovs 3.1-1 amd64 a"],
        &["ovs 3.1-1 arm64 other", "ovs-common 3.1-1 all b"],
        &["ovs 3.1-1 amd64 a", "ovs-common 3.1-1 all b", "ovs-doc 3.1-1 all c"],
    ] {
        let world = second("tuesday", packages);
        assert_eq!((world.run.status, &world.run.hold), (RunStatus::Running, &None), "{packages:?}");
    }
}

#[test]
fn other_bytes_or_another_version_hold_the_run_and_name_both_nodes() {
    for (packages, said) in [
        (&["ovs 3.1-1 amd64 x"][..], "ovs 3.1-1 is sha256:"),
        (&["ovs-common 3.1-2 all b"], "ovs-common is 3.1-2 for"),
    ] {
        let mut world = second("tuesday", packages);
        let hold = world.run.hold.clone().expect("it goes on");
        assert_eq!(hold.kind, HoldKind::OtherBytes);
        assert!(hold.happened.contains(said), "{}", hold.happened);
        assert!(hold.happened.contains("signed anew since: bookworm"), "{}", hold.happened);
        let held = world.run.nodes.iter().find(|node| node.phase == Phase::Held).unwrap();
        assert!(!held.staged, "it must not leave service with them");
        let first = world.run.nodes.iter().find(|node| node.staged).unwrap();
        let both = alloc::format!("between {} and {}", first.name, held.name);
        assert!(hold.happened.contains(&both), "{}", hold.happened);

        // Tried again, with the archive as it was.
        let name = held.name.clone();
        world.resume();
        world.stages("monday", &["ovs 3.1-1 amd64 a", "ovs-common 3.1-1 all b"]);
        assert_eq!((world.run.status, world.node(name.as_str()).staged), (RunStatus::Running, true));
    }
}
