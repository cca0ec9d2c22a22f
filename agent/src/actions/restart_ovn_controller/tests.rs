use std::sync::Arc;

use drydock_types::{EffectId, Millis, SectionKind, Step, packages::Packages, step::Within};
use tempfile::TempDir;

use super::*;
use crate::{
    actions::ovn_controller_ready::Ready,
    apt::job::Jobs,
    artifacts::{ArtifactStore, Limits},
    policy::Policy,
    remote::remote,
    sys::{exec::Program, units::Units},
};

/// A chassis of a real OVN under systemd, with its databases on the same node.
struct Node {
    host: Host,
    section: drydock_types::Section,
    _dir: TempDir,
}

impl Node {
    fn here() -> Self {
        let dir = TempDir::new().unwrap();
        let policy = Policy::parse("profiles = [\"ovn\"]", std::path::Path::new("/etc/drydock/agent.toml"));
        let policy = Arc::new(policy.unwrap());
        let host = Host {
            units: Units::of(&policy).unwrap(),
            policy,
            artifacts: ArtifactStore::new(dir.path().join("store"), Limits::default()),
            remote: remote().1,
            state_dir: dir.path().into(),
            ending: Default::default(),
        };
        let mut section = crate::section::empty(SectionKind::Apply);
        section.effect = EffectId([9; 32]);
        section.steps = vec![Step::RestartOvnController(RestartOvnController::default())];
        Self { host, section, _dir: dir }
    }

    fn cx(&self) -> Cx<'_> {
        Cx { host: &self.host, section: &self.section, progress: &|_, _| {} }
    }
}

fn config(seconds: u64) -> RestartOvnController {
    RestartOvnController { within: Millis::secs(seconds), ..RestartOvnController::default() }
}

async fn sh(script: &str) -> String {
    let done =
        Program::new("/bin/sh").args(["-c", script]).deadline(Duration::from_secs(60)).run().await.unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// The row of the chassis: another one after it was deleted.
async fn chassis() -> String {
    sh("ovn-sbctl --timeout=5 --bare --columns=_uuid,name list Chassis").await
}

async fn flows() -> Told {
    let seen = ovn::at(&Tools::installed()).await.unwrap();
    Told::of(&ovn::tables(&seen.chassis).await.unwrap().1)
}

async fn invocation(node: &Node) -> String {
    node.host.units.load(&config(1).unit).await.unwrap().invocation_id
}

#[test]
fn only_a_controller_that_this_sections_packages_have_ended_may_be_down() {
    let mut node = Node::here();
    node.section.steps.insert(0, Step::InstallPackages(Packages::default()));
    let down = UnitInfo {
        id: "ovn-controller.service".into(),
        active_state: "inactive".into(),
        ..UnitInfo::default()
    };
    let ended = |node: &Node, info: &UnitInfo| ended_by_its_package(&node.cx(), info).unwrap();
    assert!(!ended(&node, &down), "somebody has stopped it, or nothing was installed yet");
    let jobs = Jobs::of(&node.host.state_dir);
    jobs.keep_ended(node.section.effect, &["other.service".to_owned()]).unwrap();
    assert!(!ended(&node, &down), "it was still there behind the installation");
    jobs.keep_ended(node.section.effect, std::slice::from_ref(&down.id)).unwrap();
    assert!(ended(&node, &down));
    assert!(!ended(&node, &UnitInfo { active_state: "failed".into(), ..down }), "it was not told to leave");
}

#[tokio::test]
#[ignore = "needs a chassis of OVN with its databases, under systemd"]
async fn on_a_real_chassis_it_is_restarted_twice_and_back_twice_and_keeps_its_rows_and_flows() {
    let (node, config) = (Node::here(), config(30));
    let (cx, step) = (node.cx(), Restart(&config));
    eprintln!("{:#?}", ovn::look().await.unwrap());
    let (row, before) = (chassis().await, flows().await);
    assert!(before.flows > 10, "{before:?}");
    step.check(&cx).await.unwrap();
    let note = step.note(&cx).await.unwrap();
    assert_eq!(step.probe(&cx, &note).await, Found::NotBegun);
    assert_eq!(step.undo(&cx, &note).await.unwrap(), [], "never restarted");
    let mut invocations = vec![invocation(&node).await];
    for again in 0..4 {
        let last = step.undo_note(&cx).await.unwrap();
        let begun = Instant::now();
        let done = if again < 2 { step.apply(&cx, &note).await } else { step.undo(&cx, &note).await };
        eprintln!("{again}: {:?} {done:?}", begun.elapsed());
        assert!(done.unwrap().iter().any(|it| matches!(it, Evidence::FlowsKept { same: true, .. })));
        assert_eq!((chassis().await, flows().await), (row.clone(), before.clone()));
        let now = invocation(&node).await;
        assert!(!invocations.contains(&now), "not restarted");
        invocations.push(now);
        assert!(matches!(step.probe(&cx, &note).await, Found::Seen(_)));
        assert!(matches!(step.undo_probe(&cx, &note, &last).await, Found::Seen(_)));
    }
    let within = Within { within: Millis::secs(10) };
    eprintln!("{:?}", Ready(&within).apply(&cx, &note).await.unwrap());
}

#[tokio::test]
#[ignore = "needs a chassis of OVN with its databases, under systemd"]
async fn on_a_real_chassis_one_that_was_told_to_leave_and_never_started_is_started() {
    let (node, config) = (Node::here(), config(30));
    let (cx, step) = (node.cx(), Restart(&config));
    let (row, before) = (chassis().await, flows().await);
    let note = step.note(&cx).await.unwrap();
    // As an agent leaves it that dies in between.
    let info = node.host.units.load(&config.unit).await.unwrap();
    step.leave(&node.host, &info, Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert!(node.host.units.load(&config.unit).await.unwrap().is_stopped());
    assert_eq!(flows().await, before, "without a controller they forward on");
    assert!(matches!(step.probe(&cx, &note).await, Found::Seen(_)));
    assert_eq!((chassis().await, flows().await), (row, before));
}

#[tokio::test]
#[ignore = "needs a chassis of OVN with its databases, under systemd"]
async fn on_a_real_chassis_one_that_never_catches_up_fails_with_the_reason_and_is_taken_back() {
    let (node, config) = (Node::here(), config(5));
    let (cx, step) = (node.cx(), Restart(&config));
    let before = flows().await;
    let note = step.note(&cx).await.unwrap();
    // Another northd than its own, and it follows its own alone: so it does nothing from its start on. (A stop of northd's unit
    // would stop the databases along.)
    let pretend = "ovn-appctl -t ovn-northd pause; ovn-sbctl --timeout=5 set SB_Global . options:northd_internal_version=99.9-1-1; \
                   ovs-vsctl --timeout=5 set Open_vSwitch . external_ids:ovn-match-northd-version=true";
    sh(pretend).await;
    step.check(&cx).await.unwrap();
    let problem = step.apply(&cx, &note).await.unwrap_err();
    eprintln!("{problem:?}");
    assert!(problem.what.contains("stands still") && problem.what.contains("99.9-1-1"), "{problem:?}");
    assert_eq!(flows().await, before, "it lets its flows be");
    // Without that rule the generation agrees already, and what is not so is that it has written anything.
    sh("ovs-vsctl --timeout=5 remove Open_vSwitch . external_ids ovn-match-northd-version; ovn-appctl -t ovn-northd resume").await;
    step.undo(&cx, &note).await.unwrap();
    assert_eq!(flows().await, before);
    // And a generation that it does not reach is named with both numbers.
    sh("ovn-appctl -t ovn-controller debug/pause; ovn-nbctl --timeout=5 --wait=sb sync").await;
    let why = step.check(&cx).await.unwrap_err().what;
    sh("ovn-appctl -t ovn-controller debug/resume").await;
    assert!(why.contains("asks for ") && why.contains(" is at "), "{why}");
}

#[tokio::test]
#[ignore = "needs a chassis of OVN with its databases, under systemd"]
async fn on_a_real_chassis_a_unit_that_was_given_up_is_reset_and_started() {
    let (node, config) = (Node::here(), config(30));
    let (cx, step) = (node.cx(), Restart(&config));
    let note = step.note(&cx).await.unwrap();
    // Until systemd refuses: ovn-controller ends each time, so nothing is stopped by its unit.
    sh("for i in 1 2 3 4 5 6 7; do ovn-appctl -t ovn-controller exit --restart 2>/dev/null; systemctl start ovn-controller 2>/dev/null; done; \
        ovn-appctl -t ovn-controller exit --restart 2>/dev/null; systemctl start ovn-controller 2>/dev/null; systemctl is-failed ovn-controller; true")
    .await;
    let info = node.host.units.load(&config.unit).await.unwrap();
    eprintln!("{}/{} {}", info.active_state, info.sub_state, info.result);
    assert!(info.needs_reset(), "{info:?}");
    assert!(step.check(&cx).await.unwrap_err().next.iter().any(|next| next.contains("reset-failed")));
    assert!(matches!(step.probe(&cx, &note).await, Found::Seen(_)));
}
