//! Drydock on real nodes: one file a scenario. Each boots a lab of its own, starts the witnesses before it
//! does anything and ends them after, prints what was seen, and fails unless everything holds that it names.

mod answering;
mod between_rename_and_restart;
mod broken_binary;
mod confirm;
mod corrupt_artifact;
mod dice;
mod hypervisor;
mod kills;
mod kubernetes;
mod operate;
mod partitioned_member;
mod past_no_return;
mod proofs;
mod rehearse;
mod rollback;
mod scene;
mod snapshot;
mod table;
mod upgrade;

use anyhow::{Context, Result};

pub use kubernetes::Datastore;

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Three members, one after the other, under writes.
    Upgrade,
    /// Coordinator and agents are killed in every phase.
    Kills,
    /// The agent is killed when the binary is exchanged and the service not yet restarted.
    BetweenRenameAndRestart,
    /// A member is off the network before the run.
    PartitionedMember,
    /// The artifact is not what was signed.
    CorruptArtifact,
    /// The new binary does not come up.
    BrokenBinary,
    /// The last member fails when there is no way back.
    PastNoReturn,
    /// A rehearsal finds what is in the way and changes nothing.
    Rehearse,
    /// A run is taken back by command, and refuses to be past the point of no return.
    Rollback,
    /// A night of an operator: every power that he has, typed from the screens.
    Operate,
    /// Changes that cut their node off are taken back by the node alone.
    CutOff,
    /// Agents upgrade themselves, also while the coordinator is away; a node starts anew.
    Agents,
    /// A cluster in K3s's shape, upgraded while it is used; wants Go.
    Kubernetes,
    /// The same with one server only, whose outage the plan accepts, and its state in one of K3s's datastores.
    OneServer(Datastore),
    /// Agent and reverter are killed at every write and every unit of a revert; wants an agent with failpoints.
    RevertPoints,
    /// Three hypervisors: libvirt, Open vSwitch and ovn-controller beside running guests, and back.
    Hypervisor,
    /// What goes wrong with packages, on hypervisors.
    HypervisorPackages,
    /// What a restart of libvirt waits for, and what it lets be.
    HypervisorRest,
    /// The agent is killed while Open vSwitch is reloaded; back again, or gone for good.
    HypervisorReload,
    /// An ovn-controller that never catches up.
    HypervisorCatchUp,
    /// What an operator sees of a hypervisor, well and with faults.
    HypervisorCheck,
    /// A reload of Open vSwitch that loses every flow.
    HypervisorLostFlows,
    /// A node whose own address lies on a bridge, and a new Open vSwitch that cuts it off.
    HypervisorManagement,
}

impl Scenario {
    /// All, the main one first.
    pub const ALL: [Self; 25] = [
        Self::Upgrade,
        Self::Kills,
        Self::BetweenRenameAndRestart,
        Self::PartitionedMember,
        Self::CorruptArtifact,
        Self::BrokenBinary,
        Self::PastNoReturn,
        Self::Rehearse,
        Self::Rollback,
        Self::Operate,
        Self::CutOff,
        Self::Agents,
        Self::Kubernetes,
        Self::OneServer(Datastore::Sqlite),
        Self::OneServer(Datastore::Etcd),
        Self::OneServer(Datastore::External),
        Self::RevertPoints,
        Self::Hypervisor,
        Self::HypervisorPackages,
        Self::HypervisorRest,
        Self::HypervisorReload,
        Self::HypervisorCatchUp,
        Self::HypervisorCheck,
        Self::HypervisorLostFlows,
        Self::HypervisorManagement,
    ];

    /// So many of them, from the first on, want nothing but the ordinary programs.
    pub const ORDINARY: usize = Self::ALL.len() - 13;
    /// So many at the end are the hypervisors'.
    pub const HYPERVISORS: usize = 8;

    /// What `--variant` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Kills => "kills",
            Self::BetweenRenameAndRestart => "between-rename-and-restart",
            Self::PartitionedMember => "partitioned-member",
            Self::CorruptArtifact => "corrupt-artifact",
            Self::BrokenBinary => "broken-binary",
            Self::PastNoReturn => "past-no-return",
            Self::Rehearse => "rehearse",
            Self::Rollback => "rollback",
            Self::Operate => "operate",
            Self::CutOff => "cut-off",
            Self::Agents => "agents",
            Self::Kubernetes => "kubernetes",
            Self::OneServer(Datastore::Sqlite) => "one-server-sqlite",
            Self::OneServer(Datastore::Etcd) => "one-server-etcd",
            Self::OneServer(Datastore::External) => "one-server-external",
            Self::RevertPoints => "revert-points",
            Self::Hypervisor => "hypervisor",
            Self::HypervisorPackages => "hypervisor-packages",
            Self::HypervisorRest => "hypervisor-rest",
            Self::HypervisorReload => "hypervisor-reload",
            Self::HypervisorCatchUp => "hypervisor-catch-up",
            Self::HypervisorCheck => "hypervisor-check",
            Self::HypervisorLostFlows => "hypervisor-lost-flows",
            Self::HypervisorManagement => "hypervisor-management",
        }
    }

    /// Plays it.
    ///
    /// # Errors
    /// When something does not hold, or the lab itself fails.
    pub fn play(self) -> Result<()> {
        println!("== {}", self.name());
        let started = std::time::Instant::now();
        let played = match self {
            Self::Upgrade => upgrade::play(),
            Self::Kills => kills::play(),
            Self::BetweenRenameAndRestart => between_rename_and_restart::play(),
            Self::PartitionedMember => partitioned_member::play(),
            Self::CorruptArtifact => corrupt_artifact::play(),
            Self::BrokenBinary => broken_binary::play(),
            Self::PastNoReturn => past_no_return::play(),
            Self::Rehearse => rehearse::play(),
            Self::Rollback => rollback::play(),
            Self::Operate => operate::play(),
            Self::CutOff => confirm::cut_off::play(),
            Self::Agents => confirm::agents::play(),
            Self::Kubernetes => kubernetes::play(),
            Self::OneServer(datastore) => kubernetes::one_server(datastore),
            Self::RevertPoints => confirm::points::play(),
            Self::Hypervisor => hypervisor::play(),
            Self::HypervisorPackages => hypervisor::packages(),
            Self::HypervisorRest => hypervisor::rest(),
            Self::HypervisorReload => hypervisor::reload(),
            Self::HypervisorCatchUp => hypervisor::catch_up(),
            Self::HypervisorCheck => hypervisor::check(),
            Self::HypervisorLostFlows => hypervisor::lost_flows(),
            Self::HypervisorManagement => hypervisor::management(),
        };
        let verdict = if played.is_ok() { "holds" } else { "DOES NOT HOLD" };
        println!("== {} {verdict} ({:.0} s)\n", self.name(), started.elapsed().as_secs_f32());
        played.with_context(|| format!("the scenario {}", self.name()))
    }
}
