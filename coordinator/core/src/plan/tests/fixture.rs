//! A small fleet of etcd members, and a plan for it; shared with the reducer's tests.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{
    AbsPath, ArtifactRef, ComponentName, Label, Millis, NodeName, Sha256, Step, UnitName, Version,
    section::ArtifactLabel,
    step::{FetchArtifact, SnapshotEtcd, SwapBinary, UndoGuard, UnitStep, VersionSource, Within},
};

use crate::{
    bundle::{Bundle, StageBundle},
    inventory::{Inventory, InventoryNode, Role, Seen},
    plan_file::{
        ApiVersion, BudgetSpec, Count, OnFailure, Order, PlanFile, PlanKind, PlanMetadata, PlanSpec,
        Selector, StageSpec, WaveSpec,
    },
    recipe::{
        Check, Deadlines, Detect, EtcdQuorum, Recipe, RecipeKind, RecipeMetadata, RecipeSpec, VersionRules,
        VersionSkew,
    },
};

pub(crate) fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

pub(crate) const OLD: &str = "3.4.23";
pub(crate) const NEW: &str = "3.5.16";

/// The digest of the new binary.
pub(crate) fn new_exe() -> Sha256 {
    Sha256::of(b"etcd 3.5.16")
}

/// The digest of the old binary.
pub(crate) fn old_exe() -> Sha256 {
    Sha256::of(b"etcd 3.4.23")
}

/// Like the built-in `etcd`.
pub(crate) fn recipe() -> Recipe {
    let unit = UnitName::parse("etcd.service").unwrap();
    let path = AbsPath::parse("/usr/bin/etcd").unwrap();
    let within = Millis::secs(120);
    Recipe {
        api_version: ApiVersion::V1,
        kind: RecipeKind::Recipe,
        metadata: RecipeMetadata {
            name: label("etcd"),
            component: Some(component()),
            summary: "an etcd member".to_string(),
        },
        spec: RecipeSpec {
            detect: Detect {
                unit: Some(unit.clone()),
                path: Some(path.clone()),
                version: Some(VersionSource::Etcd {}),
            },
            versions: VersionRules {
                one_minor_at_a_time: true,
                no_return_after_last_member: true,
                no_return_over_minor: false,
                not_ahead_of: None,
            },
            stage: vec![Step::FetchArtifact(FetchArtifact {})],
            gate: vec![Check::EtcdQuorum(EtcdQuorum { max_lag: 5000 }), Check::VersionSkew(VersionSkew {})],
            protect: vec![Step::SnapshotEtcd(SnapshotEtcd {
                max_age: Millis::secs(900),
                within: Millis::secs(600),
            })],
            drain: Vec::new(),
            observe: Vec::new(),
            apply: vec![
                Step::MoveEtcdLeader(Within { within }),
                Step::SwapBinary(SwapBinary { path }),
                Step::RestartUnit(UnitStep { unit, within }),
            ],
            verify: vec![Step::EtcdMemberHealthy(Within { within })],
            can_undo: vec![UndoGuard::EtcdClusterNotRisen {}],
            commit_confirmed: None,
            returned: vec![Check::EtcdQuorum(EtcdQuorum { max_lag: 5000 })],
            deadlines: Deadlines::default(),
        },
    }
}

fn component() -> ComponentName {
    ComponentName::parse("etcd").unwrap()
}

pub(crate) fn artifact() -> ArtifactRef {
    let label = ArtifactLabel {
        component: component(),
        version: version(NEW),
        os: "linux".to_string(),
        arch: "x86_64".to_string(),
        size: 20 << 20,
        sha256: new_exe(),
    };
    ArtifactRef {
        sha256: new_exe(),
        size: 20 << 20,
        signature: format!("untrusted comment: x\nAAAA\ntrusted comment: {}\nBBBB\n", label.to_comment()),
    }
}

/// What runs on a member before the upgrade.
pub(crate) fn seen_old(role: Role) -> Seen {
    Seen { version: Some(Ok(version(OLD))), exe_sha256: Some(old_exe()), role: Some(role), down: false }
}

/// What runs on a member after it.
pub(crate) fn seen_new(role: Role) -> Seen {
    Seen { version: Some(Ok(version(NEW))), exe_sha256: Some(new_exe()), role: Some(role), down: false }
}

/// A node that lacks nothing.
pub(crate) fn node(of: &str, seen: Seen) -> InventoryNode {
    InventoryNode {
        set_aside: None,
        quarantined: Vec::new(),
        key: Sha256::of(of.as_bytes()),
        labels: BTreeMap::from([(label("role"), label("etcd"))]),
        silent_for_ms: None,
        arch: "x86_64".to_string(),
        steps: Step::ALL.iter().map(ToString::to_string).collect(),
        requirements: crate::step::REQUIRES.iter().map(ToString::to_string).collect(),
        free_bytes: 1 << 30,
        seen: BTreeMap::from([(label("etcd"), seen)]),
    }
}

/// `ctl-1` leads, the others follow.
pub(crate) fn inventory(nodes: usize) -> Inventory {
    let role = |i| if i == 1 { Role::Leader } else { Role::Follower };
    let one = |i| (name(&format!("ctl-{i}")), node(&format!("ctl-{i}"), seen_old(role(i))));
    Inventory { nodes: (1..=nodes).map(one).collect(), ..Inventory::default() }
}

pub(crate) fn wave(of: &str, nodes: Selector) -> WaveSpec {
    WaveSpec {
        name: label(of),
        nodes,
        order: Order::FollowersFirst,
        concurrency: Count::default(),
        split: Vec::new(),
        soak: Millis::secs(10),
        soak_checks: Vec::new(),
        approval: None,
    }
}

pub(crate) fn named(names: &[&str]) -> Selector {
    Selector { names: names.iter().map(|of| name(of)).collect(), ..Selector::default() }
}

pub(crate) fn labelled() -> Selector {
    Selector { labels: BTreeMap::from([(label("role"), label("etcd"))]), ..Selector::default() }
}

pub(crate) fn stage(of: &str, waves: Vec<WaveSpec>) -> StageSpec {
    StageSpec {
        name: label(of),
        component: component(),
        recipe: "etcd".to_string(),
        to: version(NEW),
        artifact: None,
        with: BTreeMap::new(),
        needs: Vec::new(),
        gate: Vec::new(),
        observe: Vec::new(),
        returned: Vec::new(),
        waves,
        on_failure: OnFailure::Rollback,
        allow_downgrade: false,
        outage: BTreeMap::new(),
    }
}

/// A bundle of these stages, each with the recipe and the artifact.
pub(crate) fn bundle(stages: Vec<StageSpec>) -> Bundle {
    let part = |spec: &StageSpec| StageBundle {
        stage: spec.name.clone(),
        recipe: recipe(),
        artifact: Some(artifact()),
    };
    Bundle {
        file: String::from("etcd.yaml"),
        stages: stages.iter().map(part).collect(),
        plan: PlanFile {
            api_version: ApiVersion::V1,
            kind: PlanKind::Plan,
            metadata: PlanMetadata { name: label("etcd-3.5.16") },
            spec: PlanSpec { stages, budget: BudgetSpec::default(), window: None, allow: Vec::new() },
        },
    }
}

/// The usual one: all members by label, followers first, soak 10 s.
pub(crate) fn usual() -> Bundle {
    bundle(vec![stage("etcd", vec![wave("members", labelled())])])
}
