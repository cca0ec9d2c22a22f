//! Views that the tests of this module share. Figures are made up.

use std::collections::BTreeMap;

use drydock_core::hold_kind::{HoldKind, WaitKind};
use drydock_core::view::{
    CommandView, EstimateView, EventLineView, FindingView, HoldView, Phase, PlanNodeView, PlanStageView,
    PlanView, PlanWaveView, RunNodeView, RunStageView, RunStatus, RunView, RunWaveView, SkippedView,
    WaitingView,
};
use drydock_types::{
    AbsPath, ComponentName, Label, Millis, NodeName, RunId, Sha256, UnitName, Version,
    outcome::{Evidence, Failure, RunningUnit, StepReport},
};

use super::Canvas;

pub(crate) const WIDE: Canvas = Canvas { width: Some(120), color: false };
pub(crate) const NARROW: Canvas = Canvas { width: Some(60), color: false };
pub(crate) const FILE: Canvas = Canvas { width: None, color: false };

/// 2026-11-20 22:04:31Z
pub(crate) const START: u64 = 1_795_212_271_000;

pub(crate) fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}
pub(crate) fn node_name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}
pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}
pub(crate) fn component() -> ComponentName {
    ComponentName::parse("etcd").unwrap()
}
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<Label, Label> {
    pairs.iter().map(|(key, value)| (label(key), label(value))).collect()
}

fn plan_node(name: &str, note: &str) -> PlanNodeView {
    let sections = [
        "stage: fetchArtifact, checkSwap",
        "protect: snapshotEtcd",
        "apply: moveEtcdLeader, swapBinary, restartUnit",
    ];
    PlanNodeView {
        node: node_name(name),
        from: Some(version("3.4.23")),
        to: version("3.5.16"),
        note: note.into(),
        sections: sections.map(String::from).into(),
    }
}

const NO_RETURN: &str = "when ctl-1 is upgraded the cluster's version becomes 3.5; after that 3.4 cannot come back except from the snapshot";

pub(crate) fn plan() -> PlanView {
    let nodes = vec![
        plan_node("ctl-2", "follower"),
        plan_node("ctl-3", "follower"),
        plan_node("ctl-1", "leader now; leadership moves first"),
    ];
    let manner =
        "one at a time, followers first, soak 10s, on failure: roll this node back, then hold".into();
    let wave =
        PlanWaveView { name: label("members"), manner, nodes, point_of_no_return: Some(NO_RETURN.into()) };
    PlanView {
        name: label("etcd-3.5.16"),
        digest: Sha256([7; 32]),
        stages: vec![PlanStageView { name: label("etcd"), component: component(), waves: vec![wave] }],
        skipped: vec![SkippedView {
            node: node_name("ctl-4"),
            stage: label("etcd"),
            why: "not a member of this cluster".into(),
        }],
        budget: vec![
            "1 node out of service in each zone".into(),
            "zone b already has one (edge-7: agent silent for 12 min)".into(),
        ],
        window: None,
        blockers: vec![],
        warnings: vec![],
        estimate: Some(EstimateView { total_ms: 100_000, per_node_ms: 33_000, samples: 6 }),
    }
}

pub(crate) fn blocked_plan() -> PlanView {
    let blocker = FindingView {
        node: Some(node_name("ctl-3")),
        what: "the agent is silent for 12 min".into(),
        next: "see why on the node: systemctl status drydock-agent".into(),
    };
    let warning = FindingView {
        node: None,
        what: "the whole fleet is one failure domain".into(),
        next: "name the label that tells zones apart under budget.domainLabel".into(),
    };
    PlanView { blockers: vec![blocker], warnings: vec![warning], estimate: None, ..plan() }
}

fn run_node(name: &str, phase: Phase) -> RunNodeView {
    RunNodeView {
        node: node_name(name),
        phase,
        since_unix_ms: START,
        from: Some(version("3.4.23")),
        now: Some(version("3.4.23")),
        to: version("3.5.16"),
        role: Some("follower".into()),
        step: None,
        progress: None,
        began_unix_ms: None,
        ended_unix_ms: None,
        planned_ms: Some(33_000),
        out_of_service_ms: None,
        observed: Vec::new(),
        outage: None,
        soak_ms: 10_000,
        note: String::new(),
        attempt: 1,
        evidence: vec![],
        steps: vec![],
        failure: None,
    }
}

pub(crate) fn done_node() -> RunNodeView {
    let running = RunningUnit {
        unit: UnitName::parse("etcd.service").unwrap(),
        pid: 4711,
        invocation: "ab".repeat(16),
        exe_inode: 131_077,
        exe_sha256: Sha256([9; 32]),
        unpacked: None,
    };
    RunNodeView {
        since_unix_ms: START + 33_000,
        now: Some(version("3.5.16")),
        began_unix_ms: Some(START),
        ended_unix_ms: Some(START + 33_000),
        out_of_service_ms: Some(1_240),
        evidence: vec![
            Evidence::Running(running),
            Evidence::Version { version: version("3.5.16"), source: "etcd member 8e9e05c52164694d".into() },
            Evidence::Swapped {
                path: AbsPath::parse("/usr/bin/etcd").unwrap(),
                old_sha256: Sha256([1; 32]),
                new_sha256: Sha256([9; 32]),
                kept: AbsPath::parse("/var/lib/drydock-agent/kept/etcd").unwrap(),
            },
        ],
        steps: vec![
            StepReport { step: "swapBinary".into(), undo: false, took: Millis(42), error: None },
            StepReport { step: "restartUnit".into(), undo: false, took: Millis(1_180), error: None },
        ],
        ..run_node("ctl-2", Phase::Done)
    }
}

fn working_node() -> RunNodeView {
    RunNodeView {
        since_unix_ms: START + 40_000,
        began_unix_ms: Some(START + 35_000),
        step: Some("restartUnit".into()),
        out_of_service_ms: Some(400),
        ..run_node("ctl-3", Phase::Applying)
    }
}

/// One node done, one at work, one staged.
pub(crate) fn run() -> RunView {
    let staged = RunNodeView { role: Some("leader".into()), ..run_node("ctl-1", Phase::Staged) };
    let wave = RunWaveView {
        name: label("members"),
        nodes: vec![done_node(), working_node(), staged],
        point_of_no_return: Some(NO_RETURN.into()),
    };
    let event = |seq, after, node: Option<&str>, text: &str| EventLineView {
        seq,
        unix_ms: START + after,
        node: node.map(node_name),
        text: text.into(),
    };
    RunView {
        number: 42,
        id: RunId([4; 16]),
        name: label("etcd-3.5.16"),
        file: "etcd.yaml".into(),
        digest: Sha256([7; 32]),
        status: RunStatus::Running,
        started_by: "alice".into(),
        started_unix_ms: START,
        ended_unix_ms: None,
        now_unix_ms: START + 45_000,
        queued_behind: None,
        stopped_by: None,
        stopped_unix_ms: None,
        frozen: None,
        amendments: vec![],
        approvals: vec![],
        undoes: None,
        undone_by: Vec::new(),
        handed_out: vec!["apply on ctl-3".into()],
        failed_before: vec![],
        stages: vec![RunStageView {
            name: label("etcd"),
            component: component(),
            to: version("3.5.16"),
            waves: vec![wave],
        }],
        waiting: None,
        hold: None,
        estimate: Some(EstimateView { total_ms: 56_000, per_node_ms: 33_000, samples: 6 }),
        log: vec![
            event(318, 0, None, "started by alice"),
            event(319, 33_000, Some("ctl-2"), "done: etcd 3.5.16"),
            event(321, 40_000, Some("ctl-3"), "apply handed out"),
        ],
    }
}

pub(crate) fn waiting_run() -> RunView {
    let can = |does: &str, command: &str| CommandView { does: does.into(), command: command.into() };
    let mut view = run();
    view.now_unix_ms = START + 420_000;
    let node = &mut view.stages[0].waves[0].nodes[1];
    (node.phase, node.step, node.since_unix_ms, node.out_of_service_ms) =
        (Phase::Gating, None, START + 48_000, None);
    view.waiting = Some(WaitingView {
        kind: WaitKind::Gate,
        node: Some(node_name("ctl-3")),
        phase: Some(Phase::Gating),
        waiting_for: "etcdQuorum to be clear on ctl-3".into(),
        because: "member ctl-1 is 8,112 entries behind; 5,000 are allowed".into(),
        since_unix_ms: START + 48_000,
        seen_unix_ms: START + 416_000,
        at_work: false,
        left_ms: Some(480_000),
        then: "the run holds at this node".into(),
        can: vec![can("see the node", "drydock node show ctl-1"), can("stop here", "drydock run pause 42")],
        others: vec![],
    });
    view
}

/// A wait for another run or a person, with one command.
pub(crate) fn person_wait(waiting_for: &str, command: &str) -> WaitingView {
    WaitingView {
        kind: WaitKind::Queue,
        node: None,
        phase: None,
        waiting_for: waiting_for.into(),
        because: "the reason".into(),
        since_unix_ms: START + 40_000,
        seen_unix_ms: START + 45_000,
        at_work: false,
        left_ms: None,
        then: "it ends".into(),
        can: vec![CommandView { does: "do something".into(), command: command.into() }],
        others: vec![],
    }
}

pub(crate) fn held_run() -> RunView {
    let mut view = run();
    view.status = RunStatus::Held;
    let node = &mut view.stages[0].waves[0].nodes[1];
    node.phase = Phase::RolledBack;
    node.step = None;
    node.ended_unix_ms = Some(START + 80_000);
    node.failure = Some(Failure {
        step: "restartUnit".into(),
        what: "etcd.service exited 1 four times in 8 s".into(),
        next: vec!["free the port, then try this node again".into()],
        log: vec!["listen tcp 10.99.0.3:2380: bind: address already in use".into()],
    });
    let next = |does: &str, command: &str| CommandView { does: does.into(), command: command.into() };
    view.hold = Some(HoldView {
        kind: HoldKind::RolledBack,
        node: Some(node_name("ctl-3")),
        phase: Some(Phase::Applying),
        reason: "ctl-3 did not come back with etcd 3.5.16, and is back on 3.4.23".into(),
        happened:
            "etcd.service exited 1 four times in 8 s: \"listen tcp 10.99.0.3:2380: address already in use\""
                .into(),
        on_the_node: vec!["free the port, then try this node again".into()],
        state_now:
            "3 of 3 members healthy on 3.4.23; nothing of ours is left on ctl-3; 3.5.16 is quarantined there"
                .into(),
        since_unix_ms: START + 80_000,
        log: vec!["listen tcp 10.99.0.3:2380: bind: address already in use".into()],
        next: vec![
            next("try this node again", "drydock run resume 42"),
            next("leave it here: ctl-2 stays on 3.5.16", "drydock run abort 42"),
        ],
    });
    view
}

pub(crate) fn done_run() -> RunView {
    let mut view = run();
    view.status = RunStatus::Done;
    view.ended_unix_ms = Some(START + 105_000);
    view.now_unix_ms = START + 200_000;
    view.handed_out = vec![];
    view.estimate = None;
    for (i, name) in ["ctl-2", "ctl-3", "ctl-1"].into_iter().enumerate() {
        let later = 35_000 * i as u64;
        view.stages[0].waves[0].nodes[i] = RunNodeView {
            node: node_name(name),
            began_unix_ms: Some(START + later),
            ended_unix_ms: Some(START + later + 33_000 + 1_000 * i as u64),
            out_of_service_ms: Some(1_240 + 100 * i as u64),
            ..done_node()
        };
    }
    view
}
