//! The actions: one file a step, one arm in [`of`].
//!
//! The executor calls `check` (read-only) → `note` (journalled, fsynced) → `apply` → `verify`. After a crash
//! in between it calls `probe` with the note. When the section is taken back it calls `undo_note` (journalled,
//! fsynced) → `undo` with the note, and after a crash in between `undo_probe`.

pub(crate) mod backup;
pub mod backup_k3s;
mod beside;
pub mod check_k3s;
pub mod check_swap;
pub mod etcd_member_healthy;
pub mod fetch_artifact;
pub mod healthy;
pub mod install_packages;
pub mod k3s_ready;
pub mod libvirt_ready;
mod look;
pub mod move_etcd_leader;
pub mod move_k3s_leader;
pub mod nothing;
pub mod openvswitch_ready;
pub mod ovn_controller_ready;
pub mod packages_installed;
pub mod place_k3s_images;
pub mod reboot;
pub mod reload_openvswitch;
pub mod restart_agent;
pub mod restart_libvirt;
pub mod restart_ovn_controller;
pub mod running_executable;
pub mod service_version;
pub mod snapshot_etcd;
pub mod stage_packages;
pub mod swap_binary;
#[cfg(test)]
mod twice;
pub mod undo_guards;
pub mod unit;

use async_trait::async_trait;
use drydock_types::{Section, Step, outcome::Evidence};
use serde::{Serialize, de::DeserializeOwned};

use crate::host::Host;

/// What an action works with.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// This node.
    pub host: &'a Host,
    /// The section at work.
    pub section: &'a Section,
    /// Reports progress of long steps (bytes done, bytes in all); cheap, may be dropped.
    pub progress: &'a (dyn Fn(u64, u64) + Send + Sync),
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cx").field("effect", &self.section.effect).finish_non_exhaustive()
    }
}

/// Why a step was refused or failed: for a person, with what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Problem {
    /// What happened, to what.
    pub what: String,
    /// What to do next, where something is known.
    pub next: Vec<String>,
    /// The last lines of a unit's log, where they help.
    pub log: Vec<String>,
}

impl Problem {
    /// A problem that says it all in one line.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: Vec::new(), log: Vec::new() }
    }

    /// With what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

/// What `probe` and `undo` will need; stands in the journal before `apply` begins. Each action has its own form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Note(pub serde_json::Value);

impl Note {
    /// Nothing to remember.
    #[must_use]
    pub const fn none() -> Self {
        Self(serde_json::Value::Null)
    }

    /// Keeps this.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, Problem> {
        serde_json::to_value(value).map(Self).map_err(|error| Problem::new(format!("note: {error}")))
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When the journal holds another form than this build writes.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_value(self.0.clone())
            .map_err(|error| Problem::new(format!("the journal's note of this step cannot be read: {error}")))
    }
}

/// What a probe after a crash found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It took place, wholly.
    Done,
    /// It took place, wholly, and this was seen of it.
    Seen(Vec<Evidence>),
    /// Nothing of it took place, or what did can be done again without harm.
    NotBegun,
    /// Nothing tells. A person must look.
    Undecidable(String),
}

/// One step's behaviour.
#[async_trait]
pub trait Action: Send + Sync {
    /// Read-only. Everything that can be refused ahead is refused here: policy, form, space, presence.
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem>;

    /// What `probe` and `undo` will need. Read-only.
    async fn note(&self, _cx: &Cx<'_>) -> Result<Note, Problem> {
        Ok(Note::none())
    }

    /// Does it, and sees in the target that it is so.
    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem>;

    /// After a crash of the agent in or behind `apply`: did it take place?
    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found;

    /// What `undo_probe` will need. Read-only.
    async fn undo_note(&self, _cx: &Cx<'_>) -> Result<Note, Problem> {
        Ok(Note::none())
    }

    /// Takes it back, and sees that it is so. Done twice it does no harm.
    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem>;

    /// After a crash of the agent in or behind `undo`: was it taken back? To be answered by actions whose undo does
    /// something each time; of the others `undo` itself sees that there is nothing left to do.
    async fn undo_probe(&self, _cx: &Cx<'_>, _note: &Note, _before: &Note) -> Found {
        Found::NotBegun
    }
}

/// The action of a step. The one place where they meet.
#[must_use]
pub fn of(step: &Step) -> Box<dyn Action + '_> {
    match step {
        Step::FetchArtifact(_) => Box::new(fetch_artifact::Fetch),
        Step::CheckSwap(config) => Box::new(check_swap::Check(config)),
        Step::SwapBinary(config) => Box::new(swap_binary::Swap(config)),
        Step::StopUnit(config) => Box::new(unit::Stop(config)),
        Step::StartUnit(config) => Box::new(unit::Start(config)),
        Step::RestartUnit(config) => Box::new(unit::Restart(config)),
        Step::SnapshotEtcd(config) => Box::new(snapshot_etcd::Snapshot(config)),
        Step::MoveEtcdLeader(config) => Box::new(move_etcd_leader::MoveLeader(config)),
        Step::RunningExecutable(config) => Box::new(running_executable::Running(config)),
        Step::EtcdMemberHealthy(config) => Box::new(etcd_member_healthy::MemberHealthy(config)),
        Step::ServiceVersion(config) => Box::new(service_version::AnswersVersion(config)),
        Step::Healthy(config) => Box::new(healthy::IsHealthy(config)),
        Step::RestartAgent(config) => Box::new(restart_agent::Restart(config)),
        Step::Reboot(config) => Box::new(reboot::Reboot(config)),
        Step::CheckK3s(config) => Box::new(check_k3s::Check(config)),
        Step::BackupK3s(config) => Box::new(backup_k3s::Backup(config)),
        Step::MoveK3sLeader(config) => Box::new(move_k3s_leader::MoveLeader(config)),
        Step::K3sReady(config) => Box::new(k3s_ready::Ready(config)),
        Step::PlaceK3sImages(config) => Box::new(place_k3s_images::Place(config)),
        Step::StagePackages(config) => Box::new(stage_packages::Stage(config)),
        Step::InstallPackages(config) => Box::new(install_packages::Install(config)),
        Step::PackagesInstalled(config) => Box::new(packages_installed::Installed(config)),
        Step::RestartLibvirt(config) => Box::new(restart_libvirt::Restart(config)),
        Step::LibvirtReady(config) => Box::new(libvirt_ready::Ready(config)),
        Step::ReloadOpenvswitch(config) => Box::new(reload_openvswitch::Reload(config)),
        Step::OpenvswitchReady(config) => Box::new(openvswitch_ready::Ready(config)),
        Step::RestartOvnController(config) => Box::new(restart_ovn_controller::Restart(config)),
        Step::OvnControllerReady(config) => Box::new(ovn_controller_ready::Ready(config)),
        Step::Nothing(_) => Box::new(nothing::DoNothing),
    }
}
