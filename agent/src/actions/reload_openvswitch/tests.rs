use std::sync::Arc;

use drydock_types::{EffectId, SectionKind, Step};
use tempfile::TempDir;

use super::*;
use crate::{
    actions::Note,
    artifacts::{ArtifactStore, Limits},
    host::Host,
    policy::Policy,
    remote::remote,
    sys::{exec::Program, units::Units},
};

fn view() -> OpenvswitchView {
    OpenvswitchView {
        version: Ok("3.1.0".into()),
        db_version: Ok("3.1.0".into()),
        schema: "8.3.1".into(),
        other_config: Default::default(),
        flow_restore_wait: false,
        dpdk: false,
        bridges: Default::default(),
    }
}

fn bridge(meters: u64) -> drydock_types::openvswitch::Bridge {
    drydock_types::openvswitch::Bridge {
        datapath_type: String::new(),
        fail_mode: String::new(),
        controllers: vec![],
        other_config: Default::default(),
        ports: Default::default(),
        flows: 1,
        flows_digest: Sha256([0; 32]),
        groups: 0,
        groups_digest: Sha256([0; 32]),
        meters,
        meters_digest: Sha256([0; 32]),
        has_address: false,
    }
}

#[test]
fn what_a_reload_is_not_known_to_keep_is_refused() {
    let judged = |change: fn(&mut Seen), must| {
        let mut seen = Seen { view: view(), dialects: Default::default(), controlled: vec!["br-int".into()] };
        change(&mut seen);
        may_reload(&seen, must)
    };
    assert_eq!(judged(|_| {}, FlowsMust::Equal), Ok(()));
    assert!(judged(|it| it.view.dpdk = true, FlowsMust::Equal).unwrap_err().what.contains("DPDK"));
    let held = judged(|it| it.view.flow_restore_wait = true, FlowsMust::Equal).unwrap_err();
    assert!(held.next.iter().any(|next| next.starts_with("ovs-vsctl remove")), "{held:?}");
    assert!(judged(|it| it.view.db_version = Err("no".into()), FlowsMust::Equal).is_err());
    let metered: fn(&mut Seen) = |it| drop(it.view.bridges.insert("br-int".into(), bridge(1)));
    assert!(judged(metered, FlowsMust::Equal).unwrap_err().what.contains("br-int has 1 meters"));
    assert_eq!(judged(metered, FlowsMust::CaughtUp), Ok(()), "its controller writes them again");
    let other: fn(&mut Seen) = |it| drop(it.view.bridges.insert("br0".into(), bridge(1)));
    assert!(judged(other, FlowsMust::CaughtUp).is_err());
}

/// A node with a real Open vSwitch and a bridge `br0` of fail mode secure with some 200 flows.
struct Node {
    host: Host,
    section: drydock_types::Section,
    _dir: TempDir,
}

impl Node {
    fn here() -> Self {
        let dir = TempDir::new().unwrap();
        let policy = Arc::new(
            Policy::parse("profiles = [\"openvswitch\"]", std::path::Path::new("/etc/drydock/agent.toml"))
                .unwrap(),
        );
        let (_, remote) = remote();
        let host = Host {
            units: Units::of(&policy).unwrap(),
            policy,
            artifacts: ArtifactStore::new(dir.path().join("store"), Limits::default()),
            remote,
            state_dir: dir.path().into(),
            ending: Default::default(),
        };
        let mut section = crate::section::empty(SectionKind::Apply);
        section.effect = EffectId([9; 32]);
        section.steps = vec![Step::ReloadOpenvswitch(ReloadOpenvswitch::default())];
        Self { host, section, _dir: dir }
    }

    fn cx(&self) -> Cx<'_> {
        Cx { host: &self.host, section: &self.section, progress: &|_, _| {} }
    }
}

async fn sh(script: &str) {
    let done =
        Program::new("/bin/sh").args(["-c", script]).deadline(Duration::from_secs(120)).run().await.unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn flows() -> (u64, Sha256) {
    let seen = openvswitch::look().await.unwrap();
    let bridge = &seen.view.bridges["br0"];
    (bridge.flows, bridge.flows_digest)
}

#[tokio::test]
#[ignore = "needs a node with Open vSwitch of its own"]
async fn on_a_real_node_flows_are_kept_twice_and_back_twice() {
    let (node, config) =
        (Node::here(), ReloadOpenvswitch { flows: FlowsMust::CaughtUp, ..Default::default() });
    let (cx, step) = (node.cx(), Reload(&config));
    let before = flows().await;
    assert!(before.0 > 100);
    step.check(&cx).await.unwrap();
    let note = step.note(&cx).await.unwrap();
    assert_eq!(step.probe(&cx, &note).await, Found::NotBegun);
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        let evidence = step.apply(&cx, &note).await.unwrap();
        eprintln!("applied in {:?}: {evidence:?}", begun.elapsed());
        assert!(matches!(&evidence[0], Evidence::FlowsKept { before, after, .. } if before == after));
        assert_eq!(flows().await, before);
    }
    assert!(matches!(step.probe(&cx, &note).await, Found::Seen(_)));
    for _ in 0..2 {
        let last = step.undo_note(&cx).await.unwrap();
        step.undo(&cx, &note).await.unwrap();
        assert!(matches!(step.undo_probe(&cx, &note, &last).await, Found::Seen(_)));
        assert_eq!(flows().await, before);
    }
}

#[tokio::test]
#[ignore = "needs a node with Open vSwitch of its own"]
async fn on_a_real_node_a_restart_loses_flows_and_they_are_replayed_and_let_go() {
    let (node, config) =
        (Node::here(), ReloadOpenvswitch { flows: FlowsMust::CaughtUp, ..Default::default() });
    let (cx, step) = (node.cx(), Reload(&config));
    let before = flows().await;
    let note: Note = step.note(&cx).await.unwrap();
    // Nothing keeps flows here, and all of these end with 0.
    for lose in [
        "systemctl restart openvswitch-switch",
        "systemctl reload ovs-vswitchd || true; systemctl start ovs-vswitchd",
        // As a reload that was killed between waiting and letting go.
        "ovs-vsctl --no-wait set Open_vSwitch . other_config:flow-restore-wait=true; systemctl restart ovs-vswitchd",
        // And as one that was killed between stop and start.
        "ovs-vsctl --no-wait set Open_vSwitch . other_config:flow-restore-wait=true; systemctl stop ovs-vswitchd",
    ] {
        sh(lose).await;
        if !lose.ends_with("stop ovs-vswitchd") {
            assert_eq!(flows().await.0, 0, "{lose}");
        }
        assert_eq!(step.probe(&cx, &note).await, Found::NotBegun, "{lose}");
        assert_eq!(flows().await, before, "{lose}");
        assert!(!openvswitch::look().await.unwrap().view.flow_restore_wait, "{lose}");
        step.check(&cx).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a node with Open vSwitch of its own"]
async fn on_a_real_node_a_reload_that_loses_flows_is_mended_and_fails() {
    let (node, config) =
        (Node::here(), ReloadOpenvswitch { flows: FlowsMust::CaughtUp, ..Default::default() });
    let (cx, step) = (node.cx(), Reload(&config));
    sh("ovs-ofctl -O OpenFlow15 add-meter br0 meter=3,kbps,band=type=drop,rate=1000; ovs-ofctl -O OpenFlow15 add-flow br0 \
        cookie=0x5,priority=200,udp,tp_dst=99,actions=meter:3,NORMAL")
    .await;
    let before = flows().await;
    assert!(step.check(&cx).await.unwrap_err().what.contains("meters"));
    // What the check refuses, all the same: the picture is taken as by the note.
    let daemons = Daemons::look(&node.host.units).await.unwrap();
    let (_, picture) = store(&cx).save(config.flows).await.unwrap();
    let note = Note::of(&Before { picture, daemons }).unwrap();
    let problem = step.apply(&cx, &note).await.unwrap_err();
    eprintln!("{problem:?}");
    assert!(problem.what.contains("all of them were replayed"), "{problem:?}");
    assert_eq!(flows().await, before);
    sh("ovs-ofctl -O OpenFlow15 del-flows br0 cookie=0x5/-1; ovs-ofctl -O OpenFlow15 del-meters br0").await;
}

#[tokio::test]
#[ignore = "needs a node with Open vSwitch of its own"]
async fn on_a_real_node_200_000_flows_are_read_in_bounded_memory() {
    // The program's own pages, which the first look brings in, are none of the flows'.
    openvswitch::look().await.unwrap();
    sh("seq 200000 | awk '{printf \"priority=100,tcp,tp_dst=%d,nw_src=10.%d.%d.0/24,actions=drop\\n\", $1%60000+1, $1/250%250, $1%250}' \
        > /root/many; ovs-vsctl --may-exist add-br br9 -- set bridge br9 datapath_type=netdev fail_mode=secure; \
        ovs-ofctl add-flows br9 /root/many")
    .await;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (begun, before) = (tokio::time::Instant::now(), resident());
    let seen = openvswitch::look().await.unwrap();
    let (count, grown) = (seen.view.bridges["br9"].flows, resident() - before);
    eprintln!("{count} flows in {:?}, {grown} KiB more", begun.elapsed());
    sh("ovs-vsctl del-br br9").await;
    assert!(count > 100_000, "{count}");
    assert!(grown < 8 << 10, "{grown} KiB");
}
