//! The reverter on real files, as it runs at boot, where it needs no systemd.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use drydock_types::{AbsPath, ComponentName, Sha256, Version};

use super::*;
use crate::{
    policy::BinaryRule,
    revert::plan::FileBack,
    sys::{files::tests::ground, network::Network},
};

const EFFECT: EffectId = EffectId([7; 32]);

/// With nothing to put back.
pub(super) fn plan_of(boot_id: &str) -> Plan {
    Plan {
        effect: EFFECT,
        run_number: 7,
        component: ComponentName::parse("x").unwrap(),
        to: Version::parse("2.0.0").unwrap(),
        boot_id: boot_id.into(),
        armed_unix_ms: unix_ms(),
        armed_age_ms: 0,
        within: Millis::secs(30),
        witness: vec!["10.0.0.1:22".into()],
        program_sha256: Sha256::of(b"the reverter"),
        files: Vec::new(),
        units: Vec::new(),
        packages: None,
        switch: None,
        network: Network::default(),
    }
}

/// A node with one file that was exchanged, and a revert armed for it in that boot.
struct Node {
    dir: tempfile::TempDir,
    path: AbsPath,
}

impl Node {
    fn armed_in(boot_id: &str) -> Self {
        let dir = ground();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::set_permissions(&bin, Permissions::from_mode(0o755)).unwrap();
        let (file, new) = (bin.join("x"), dir.path().join("artifact"));
        fs::write(&file, b"the old one").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        fs::write(&new, b"the new one").unwrap();
        let path = AbsPath::parse(file.to_str().unwrap()).unwrap();
        let (old_sha256, new_sha256) = (Sha256::of(b"the old one"), Sha256::of(b"the new one"));

        let exchange = files::Place::open(&path, EFFECT).unwrap();
        let target = exchange.target(&BinaryRule::default()).unwrap();
        let staged = exchange.stage(&target, &File::open(&new).unwrap(), new_sha256).unwrap();
        exchange.exchange(&target, &staged).unwrap();

        let place = Place::of(dir.path());
        place.make().unwrap();
        let files = vec![FileBack { path: path.clone(), old_sha256, new_sha256 }];
        place.arm(&Plan { files, ..plan_of(boot_id) }).unwrap();
        Self { dir, path }
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.path.as_str()).unwrap()
    }

    fn place(&self) -> Place {
        Place::of(self.dir.path())
    }

    fn start(&self) -> Result<String, Problem> {
        self.started(Start::AtBoot)
    }

    fn started(&self, start: Start) -> Result<String, Problem> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(run(self.dir.path(), start))
    }

    fn report(&self) -> Report {
        match self.place().state().unwrap() {
            State::Reverted(report) => report,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn after_a_start_of_the_node_the_old_file_lies_there_again_and_the_report_says_why() {
    let node = Node::armed_in("another boot");
    assert_eq!(node.content(), b"the new one");
    assert!(node.start().unwrap().contains("x to 2.0.0 (run 7) was taken back"));
    assert_eq!(node.content(), b"the old one");
    let report = node.report();
    assert!(report.because.contains("started anew before the change was confirmed"), "{report:?}");
    assert_eq!((report.restored.len(), report.failed.len(), report.after), (1, 0, Millis(0)));
    // A second start finds nothing to do and changes nothing.
    assert!(node.start().unwrap().contains("nothing to take back"));
    assert_eq!((node.content(), node.report()), (b"the old one".to_vec(), report));
}

#[test]
fn in_the_boot_in_which_it_was_armed_it_is_left_to_its_timer() {
    let node = Node::armed_in(&boot::id().unwrap());
    assert!(node.start().unwrap().contains("left to its timer"));
    assert_eq!(node.content(), b"the new one");
    assert!(matches!(node.place().state().unwrap(), State::Armed(_)));
}

#[test]
fn a_revert_that_lost_its_power_half_way_is_gone_on_with() {
    let node = Node::armed_in("another boot");
    let plan = node.place().claim_revert().unwrap().unwrap();
    let file = &plan.files[0];
    let exchanged = files::Place::open(&file.path, plan.effect).unwrap();
    assert!(exchanged.restore(file.old_sha256, file.new_sha256).unwrap());
    // Here the power went: the file is back, the report is not written.
    node.start().unwrap();
    assert_eq!(node.content(), b"the old one");
    assert!(node.report().failed.is_empty());
}

#[test]
fn a_file_that_somebody_else_put_there_is_left_alone_and_named() {
    let node = Node::armed_in("another boot");
    fs::write(node.path.as_str(), b"somebody else's").unwrap();
    let problem = node.start().unwrap_err();
    assert!(
        problem.what.contains("NOT put back") && problem.what.contains(node.path.as_str()),
        "{problem:?}"
    );
    assert_eq!(node.content(), b"somebody else's");
    assert_eq!(node.report().failed.len(), 1);
}

#[test]
fn what_somebody_keeps_by_hand_is_not_taken_back_any_more() {
    let node = Node::armed_in("another boot");
    let shown = show(node.dir.path()).unwrap();
    assert!(shown.contains("x to 2.0.0 (run 7)") && shown.contains("10.0.0.1:22"), "{shown}");
    assert!(keep(node.dir.path()).unwrap().contains("is kept"));
    assert!(node.start().unwrap().contains("nothing to take back"));
    assert_eq!(node.content(), b"the new one");
    assert!(keep(node.dir.path()).is_err());
    assert!(show(node.dir.path()).unwrap().contains("by hand"));
}

#[test]
fn the_timer_of_an_earlier_change_leaves_a_later_one_alone() {
    let node = Node::armed_in(&boot::id().unwrap());
    let earlier = Start::Of(EffectId([6; 32]));
    let armed = node.place().state().unwrap();
    assert!(node.started(earlier).unwrap().contains("nothing to take back"));
    assert_eq!((node.content(), node.place().state().unwrap()), (b"the new one".to_vec(), armed));
    // Nor does it go on with what another one has begun.
    node.place().claim_revert().unwrap().unwrap();
    assert!(node.started(earlier).unwrap().contains("nothing to take back"));
    assert_eq!(node.content(), b"the new one");
}

#[test]
fn a_revert_is_waited_for_as_long_as_its_units_may_take() {
    let unit = |name: &str| crate::revert::plan::UnitBack {
        unit: drydock_types::UnitName::parse(name).unwrap(),
        active: true,
        invocation: String::new(),
    };
    let plan = |units| Plan { units, ..plan_of("a boot") };
    let none = longest(&plan(Vec::new()));
    for count in 1..=8 {
        let units = vec![unit("x.service"); count];
        // A job of before that is waited for to its end, and one of the reverter's own.
        let jobs = units::LONGEST * u32::try_from(count).unwrap();
        assert_eq!(longest(&plan(units)), none + jobs);
    }
}
