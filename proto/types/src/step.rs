//! The steps that a section is made of: what a recipe names and an agent does.
//!
//! A recipe's step and a section's step are one type, so nothing is lost between the file that an
//! operator reads and the program that a node runs. What a step needs beside its own fields (the
//! artifact, the versions) stands once in the [`Section`](crate::Section).

use alloc::string::String;

use serde::{Deserialize, Serialize};

mod k3s;

pub use self::k3s::{BackupK3s, CheckK3s, K3sReady, K3sRole, MoveK3sLeader, PlaceK3sImages};
use crate::{
    AbsPath, Millis, PackageName, UnitName,
    libvirt::RestartLibvirt,
    openvswitch::{ReloadOpenvswitch, RestartOvnController},
    packages::Packages,
};

/// One step. In YAML `restartUnit: {unit: etcd.service}`; a step without fields is its bare name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Step {
    /// Fetch the section's artifact into the agent's store: resumed, size-limited, digest and signature checked.
    FetchArtifact(FetchArtifact),
    /// Everything `swapBinary` will demand, looked at ahead of time: target, space, architecture, policy.
    CheckSwap(SwapBinary),
    /// Put the fetched artifact in the place of a binary. Disrupts nothing: the old process goes on.
    SwapBinary(SwapBinary),
    /// Stop a unit.
    StopUnit(UnitStep),
    /// Start a unit.
    StartUnit(UnitStep),
    /// Restart a unit.
    RestartUnit(UnitStep),
    /// Take a verified etcd snapshot, encrypt it on the node, copy it to the coordinator.
    SnapshotEtcd(SnapshotEtcd),
    /// If this node's member leads, hand leadership to a healthy voter.
    MoveEtcdLeader(Within),
    /// See that the unit's main process runs the file that lies at the path, and nothing older.
    RunningExecutable(RunningExecutable),
    /// See that this node's etcd member answers, is in the cluster, knows a leader and has the target version.
    EtcdMemberHealthy(Within),
    /// See that the service itself answers the target version.
    ServiceVersion(ServiceVersion),
    /// See that the service's health probe passes.
    Healthy(Healthy),
    /// Restart this agent itself, so that it runs the file that lies on the disk now. Only in a section that
    /// is commit-confirmed.
    RestartAgent(UnitStep),
    /// Start the whole node anew.
    Reboot(Reboot),
    /// See that a K3s server or agent of the shape that its installer makes is here, and that a restart of its unit
    /// leaves pods alone (`KillMode=process`).
    CheckK3s(CheckK3s),
    /// Save what a K3s server's datastore holds together with the server's token: verified, encrypted on the node,
    /// copied to the coordinator.
    BackupK3s(BackupK3s),
    /// If the etcd member of this K3s server leads, hand leadership to a healthy voter; nothing where it has none.
    MoveK3sLeader(MoveK3sLeader),
    /// See that the API of this node's K3s server is ready by all of its own checks.
    K3sReady(K3sReady),
    /// Put the fetched artifact, an archive of images, where K3s imports it from.
    PlaceK3sImages(PlaceK3sImages),
    /// Find the packages of the target version and everything that would come with them, refuse what the plan does not
    /// allow, and fetch them, with those that are needed for the way back. Changes nothing that is installed.
    StagePackages(Packages),
    /// Install the staged packages while no service is started, stopped or restarted by them.
    InstallPackages(Packages),
    /// See that these packages are installed, whole, and that nothing is half-configured.
    PackagesInstalled(Packages),
    /// Restart libvirt's daemon beside its running guests, and see that each of them is the same process as before.
    RestartLibvirt(RestartLibvirt),
    /// See that libvirt's daemon and the monitor of each guest answer.
    LibvirtReady(Within),
    /// Have Open vSwitch run what is installed, with its flows saved before and seen again afterwards.
    ReloadOpenvswitch(ReloadOpenvswitch),
    /// See that Open vSwitch answers, runs what is installed and holds no flows back.
    OpenvswitchReady(Within),
    /// Restart ovn-controller, and see that it has caught up.
    RestartOvnController(RestartOvnController),
    /// See that ovn-controller is connected and has caught up with the southbound database.
    OvnControllerReady(Within),
    /// Do nothing. For measuring what a section costs.
    Nothing(Nothing),
}

impl Step {
    /// The step's name as it stands in a recipe.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FetchArtifact(_) => "fetchArtifact",
            Self::CheckSwap(_) => "checkSwap",
            Self::SwapBinary(_) => "swapBinary",
            Self::StopUnit(_) => "stopUnit",
            Self::StartUnit(_) => "startUnit",
            Self::RestartUnit(_) => "restartUnit",
            Self::SnapshotEtcd(_) => "snapshotEtcd",
            Self::MoveEtcdLeader(_) => "moveEtcdLeader",
            Self::RunningExecutable(_) => "runningExecutable",
            Self::EtcdMemberHealthy(_) => "etcdMemberHealthy",
            Self::ServiceVersion(_) => "serviceVersion",
            Self::Healthy(_) => "healthy",
            Self::RestartAgent(_) => "restartAgent",
            Self::Reboot(_) => "reboot",
            Self::CheckK3s(_) => "checkK3s",
            Self::BackupK3s(_) => "backupK3s",
            Self::MoveK3sLeader(_) => "moveK3sLeader",
            Self::K3sReady(_) => "k3sReady",
            Self::PlaceK3sImages(_) => "placeK3sImages",
            Self::StagePackages(_) => "stagePackages",
            Self::InstallPackages(_) => "installPackages",
            Self::PackagesInstalled(_) => "packagesInstalled",
            Self::RestartLibvirt(_) => "restartLibvirt",
            Self::LibvirtReady(_) => "libvirtReady",
            Self::ReloadOpenvswitch(_) => "reloadOpenvswitch",
            Self::OpenvswitchReady(_) => "openvswitchReady",
            Self::RestartOvnController(_) => "restartOvnController",
            Self::OvnControllerReady(_) => "ovnControllerReady",
            Self::Nothing(_) => "nothing",
        }
    }

    /// Does the step secure what lies on its own node, and not what a whole cluster has in common? Then no other node's is
    /// as good: each K3s server with SQLite is a cluster of its own, and any of them has a token and keys.
    #[must_use]
    pub const fn secures_its_node(&self) -> bool {
        matches!(self, Self::BackupK3s(_))
    }

    /// Does the step only look? Such a step may stand under `verify` and is never undone.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::CheckSwap(_)
                | Self::RunningExecutable(_)
                | Self::EtcdMemberHealthy(_)
                | Self::ServiceVersion(_)
                | Self::Healthy(_)
                | Self::CheckK3s(_)
                | Self::K3sReady(_)
                | Self::PackagesInstalled(_)
                | Self::LibvirtReady(_)
                | Self::OpenvswitchReady(_)
                | Self::OvnControllerReady(_)
        )
    }

    /// Keeps what its way back needs under the section's effect: a second one of its kind in the section would be taken back
    /// by what the last one kept.
    #[must_use]
    pub const fn only_once(&self) -> bool {
        matches!(self, Self::InstallPackages(_) | Self::RestartLibvirt(_) | Self::ReloadOpenvswitch(_))
    }

    /// Can the step cut its node off, so that only the node itself can take it back? Such a step stands in a
    /// commit-confirmed section. Open vSwitch may carry the very address by which its node is reached.
    #[must_use]
    pub const fn can_cut_off(&self) -> bool {
        matches!(self, Self::RestartAgent(_) | Self::ReloadOpenvswitch(_))
    }

    /// Can the step take the service out of service?
    #[must_use]
    pub const fn disrupts(&self) -> bool {
        matches!(
            self,
            Self::StopUnit(_)
                | Self::StartUnit(_)
                | Self::RestartUnit(_)
                | Self::RestartAgent(_)
                | Self::Reboot(_)
                | Self::RestartLibvirt(_)
                | Self::ReloadOpenvswitch(_)
                | Self::RestartOvnController(_)
        )
    }

    /// Does the step see the service itself answer? From then on it is back in service.
    #[must_use]
    pub const fn asks_the_service(&self) -> bool {
        matches!(
            self,
            Self::EtcdMemberHealthy(_)
                | Self::ServiceVersion(_)
                | Self::Healthy(_)
                | Self::K3sReady(_)
                | Self::LibvirtReady(_)
                | Self::OpenvswitchReady(_)
                | Self::OvnControllerReady(_)
        )
    }

    /// Every step's name, for `Hello` and for the planner's refusal of what an agent lacks.
    pub const ALL: [&'static str; 29] = [
        "fetchArtifact",
        "checkSwap",
        "swapBinary",
        "stopUnit",
        "startUnit",
        "restartUnit",
        "snapshotEtcd",
        "moveEtcdLeader",
        "runningExecutable",
        "etcdMemberHealthy",
        "serviceVersion",
        "healthy",
        "restartAgent",
        "reboot",
        "checkK3s",
        "backupK3s",
        "moveK3sLeader",
        "k3sReady",
        "placeK3sImages",
        "stagePackages",
        "installPackages",
        "packagesInstalled",
        "restartLibvirt",
        "libvirtReady",
        "reloadOpenvswitch",
        "openvswitchReady",
        "restartOvnController",
        "ovnControllerReady",
        "nothing",
    ];
}

/// Fetch the section's artifact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FetchArtifact {}

/// Do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nothing {}

/// Start the node anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reboot {
    /// How long the node may take to go down. What it takes to come up again is not known to an agent that is
    /// not running; the coordinator's deadline bounds the whole.
    #[serde(default = "five_minutes")]
    pub within: Millis,
}

/// Which binary is exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwapBinary {
    /// The binary's path on the node.
    pub path: AbsPath,
}

/// A unit, and how long systemd's job may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitStep {
    /// The service.
    pub unit: UnitName,
    /// The job's deadline.
    #[serde(default = "ninety_seconds")]
    pub within: Millis,
}

/// A deadline and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Within {
    /// How long it may take.
    #[serde(default = "two_minutes")]
    pub within: Millis,
}

/// An etcd snapshot before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotEtcd {
    /// A verified snapshot of this run that is younger is good enough.
    #[serde(default = "fifteen_minutes")]
    pub max_age: Millis,
    /// How long taking and copying it may take.
    #[serde(default = "ten_minutes")]
    pub within: Millis,
}

/// The main process of a unit runs the file at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningExecutable {
    /// The service.
    pub unit: UnitName,
    /// The binary that its main process must be running.
    pub path: AbsPath,
    /// How long the process must have lived by then: a crash loop must not pass between two crashes.
    #[serde(default = "one_second")]
    pub stable_for: Millis,
    /// How long it may take until it does.
    #[serde(default = "thirty_seconds")]
    pub within: Millis,
}

/// The service answers the section's target version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceVersion {
    /// Where the version is read.
    pub source: VersionSource,
    /// How long it may take until it is the target version.
    #[serde(default = "two_minutes")]
    pub within: Millis,
}

/// The service's health probe passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Healthy {
    /// What is asked.
    pub probe: HealthProbe,
    /// How long it may take until it passes.
    #[serde(default = "two_minutes")]
    pub within: Millis,
}

/// Where a service's version is read. Always from the running service or the binary it runs, never from a
/// package database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum VersionSource {
    /// GET the address; the body is the version, or the JSON text at `pointer` (RFC 6901) is.
    Http {
        /// `http://127.0.0.1:8080/version`. Plain HTTP, to targets that the agent's policy lists.
        url: String,
        /// Where in a JSON answer the version stands: `/version`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pointer: Option<String>,
    },
    /// Run the version command that the *agent's policy* gives this name. The coordinator names it; it
    /// cannot say what is run.
    Command {
        /// A name under `[version_commands]` of the policy.
        name: String,
    },
    /// The version of an installed package, believed only while the unit's main process runs the very program that the
    /// package has installed, and nothing that it has replaced since.
    Package {
        /// The package: `libvirt-daemon`.
        name: PackageName,
        /// The service that runs it.
        unit: UnitName,
        /// The package's program that the service's main process must be running.
        path: AbsPath,
    },
    /// Ask the local etcd member (maintenance Status).
    Etcd {},
    /// Ask the API of this node's K3s server (`/version`), as its administrator.
    K3s {
        /// The server's unit: `k3s.service`.
        unit: UnitName,
    },
}

/// What tells that a service is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HealthProbe {
    /// GET answers 200.
    Http {
        /// `http://127.0.0.1:8080/healthz`.
        url: String,
    },
    /// A TCP connection opens.
    Tcp {
        /// `127.0.0.1:5432`.
        address: String,
    },
}

/// What must still hold for a section's change to be taken back. Judged by the agent when undo is wanted,
/// on fresh evidence; what cannot be seen does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UndoGuard {
    /// The etcd cluster's version has not risen above the minor that the old binary speaks. From then on
    /// the old binary refuses to start ("invalid downgrade"; seen on 3.4 → 3.5).
    EtcdClusterNotRisen {},
    /// This node's etcd member is down already, or the healthy others are a quorum without it: taking the change
    /// back restarts it once more. One or two voters have no such rest; the outage that let them be changed
    /// covers the way back.
    EtcdQuorumWithoutThis {},
    /// Old and new version are of one minor, so that the old one reads what the new one wrote; and a server whose
    /// etcd member is up has a quorum of others, as in `etcdQuorumWithoutThis`.
    K3sMayGoBack {
        /// The server's unit: `k3s.service`.
        unit: UnitName,
    },
}

const fn one_second() -> Millis {
    Millis::secs(1)
}
const fn thirty_seconds() -> Millis {
    Millis::secs(30)
}
const fn ninety_seconds() -> Millis {
    Millis::secs(90)
}
pub(crate) const fn two_minutes() -> Millis {
    Millis::secs(120)
}
pub(crate) const fn five_minutes() -> Millis {
    Millis::secs(300)
}
pub(crate) const fn ten_minutes() -> Millis {
    Millis::secs(600)
}
pub(crate) const fn fifteen_minutes() -> Millis {
    Millis::secs(900)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{decode, encode};
    use alloc::vec::Vec;

    #[test]
    fn every_step_is_named_in_json_as_name_says() {
        let unit = UnitName::parse("x.service").unwrap();
        let path = AbsPath::parse("/usr/bin/x").unwrap();
        let within = Millis::secs(1);
        let steps: Vec<Step> = Vec::from([
            Step::FetchArtifact(FetchArtifact {}),
            Step::CheckSwap(SwapBinary { path: path.clone() }),
            Step::SwapBinary(SwapBinary { path: path.clone() }),
            Step::StopUnit(UnitStep { unit: unit.clone(), within }),
            Step::StartUnit(UnitStep { unit: unit.clone(), within }),
            Step::RestartUnit(UnitStep { unit: unit.clone(), within }),
            Step::SnapshotEtcd(SnapshotEtcd { max_age: within, within }),
            Step::MoveEtcdLeader(Within { within }),
            Step::RunningExecutable(RunningExecutable {
                unit: unit.clone(),
                path: path.clone(),
                stable_for: Millis(0),
                within,
            }),
            Step::EtcdMemberHealthy(Within { within }),
            Step::ServiceVersion(ServiceVersion { source: VersionSource::Etcd {}, within }),
            Step::Healthy(Healthy { probe: HealthProbe::Tcp { address: "127.0.0.1:1".into() }, within }),
            Step::RestartAgent(UnitStep { unit: UnitName::parse("drydock-agent.service").unwrap(), within }),
            Step::Reboot(Reboot { within }),
            Step::CheckK3s(CheckK3s { unit: unit.clone(), path: path.clone(), role: K3sRole::Server }),
            Step::BackupK3s(BackupK3s {
                unit: unit.clone(),
                max_age: within,
                within,
                external_datastore_backed_up_by: None,
            }),
            Step::MoveK3sLeader(MoveK3sLeader { unit: unit.clone(), within }),
            Step::K3sReady(K3sReady { unit, within }),
            Step::PlaceK3sImages(PlaceK3sImages { path }),
            Step::StagePackages(Packages::default()),
            Step::InstallPackages(Packages::default()),
            Step::PackagesInstalled(Packages::default()),
            Step::RestartLibvirt(RestartLibvirt::default()),
            Step::LibvirtReady(Within { within }),
            Step::ReloadOpenvswitch(ReloadOpenvswitch::default()),
            Step::OpenvswitchReady(Within { within }),
            Step::RestartOvnController(RestartOvnController::default()),
            Step::OvnControllerReady(Within { within }),
            Step::Nothing(Nothing {}),
        ]);
        let names: Vec<_> = steps.iter().map(Step::name).collect();
        assert_eq!(names, Step::ALL);
        for step in steps {
            let json = encode(&step);
            let text = core::str::from_utf8(&json).unwrap();
            assert!(text.starts_with(&alloc::format!("{{\"{}\":", step.name())), "{text}");
            assert_eq!(decode::<Step>("step", &json), Ok(step));
        }
    }

    #[test]
    fn a_step_with_an_unknown_key_is_refused() {
        let json = br#"{"restartUnit":{"unit":"x.service","within":"1s","force":true}}"#;
        assert!(decode::<Step>("step", json).is_err());
    }
}
