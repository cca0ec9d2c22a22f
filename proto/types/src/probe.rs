//! What the coordinator may ask an agent to look at, and the answers. Read-only, all of it.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    AbsPath, Section, Sha256, Signature, UnitName, Version,
    findings::{FindingsView, RunningVersion},
    libvirt::LibvirtView,
    openvswitch::OpenvswitchView,
    outcome::RunningUnit,
    ovn::OvnView,
    packages::PackagesView,
    reach::{ReachView, ReachWatch},
    step::{HealthProbe, K3sRole, VersionSource},
};

/// A look. In a recipe's `detect:` as in the stream's `Observe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Probe {
    /// The host: system, memory, space, boot.
    Host {},
    /// A unit, its main process and the executable in memory.
    Unit {
        /// The service.
        unit: UnitName,
        /// The binary it should be running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<AbsPath>,
    },
    /// The local etcd member, and every other member as seen from here.
    Etcd {},
    /// The version that a service answers.
    Version {
        /// Where it is read.
        source: VersionSource,
    },
    /// Whether a service is well.
    Health {
        /// What is asked.
        probe: HealthProbe,
    },
    /// What K3s is on this node, by its unit's settings.
    K3s {
        /// `k3s.service`, `k3s-agent.service`.
        unit: UnitName,
    },
    /// The package manager, and processes that run what is not installed any more.
    Packages {},
    /// libvirt and its guests.
    Libvirt {},
    /// Open vSwitch: bridges, ports, flows.
    Openvswitch {},
    /// ovn-controller.
    Ovn {},
    /// A watch over somebody else's reachability from here: begun, or gone on with.
    Reach {
        /// Which.
        watch: ReachWatch,
    },
    /// What is wrong with this node.
    Findings {},
    /// What runs here, each in its own words.
    Versions {},
    /// What would stand in the way of a section: judged as at its dispatch, and nothing of it is begun,
    /// journalled or written.
    Rehearse {
        /// The section as it would be sent.
        section: Box<Section>,
    },
    /// What the agent keeps of the coordinator's record.
    Record {
        /// Fresh randomness of whoever wants to know: an older answer does not serve.
        nonce: Sha256,
    },
}

/// The answer to a [`Probe`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Observation {
    /// See [`HostFacts`].
    Host(HostFacts),
    /// See [`UnitView`].
    Unit(UnitView),
    /// See [`EtcdView`].
    Etcd(EtcdView),
    /// The version answered.
    Version(VersionView),
    /// The health probe's end.
    Health(HealthView),
    /// See [`K3sView`].
    K3s(K3sView),
    /// See [`PackagesView`].
    Packages(PackagesView),
    /// See [`LibvirtView`].
    Libvirt(LibvirtView),
    /// See [`OpenvswitchView`].
    Openvswitch(OpenvswitchView),
    /// See [`OvnView`].
    Ovn(OvnView),
    /// See [`ReachView`].
    Reach(ReachView),
    /// See [`FindingsView`].
    Findings(FindingsView),
    /// See [`RunningVersion`].
    Versions(Vec<RunningVersion>),
    /// See [`Rehearsed`].
    Rehearsed(Rehearsed),
    /// See [`RecordView`].
    Record(RecordView),
}

/// K3s on one node, as root has set it up. No secret of it is in here: no token, no address of a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct K3sView {
    /// What it is started as.
    pub role: K3sRole,
    /// Where a server keeps its cluster's state; `None` for an agent.
    pub datastore: Option<K3sDatastore>,
    /// Parts of a server that are switched off: `disable-etcd`, `disable-apiserver`.
    pub disabled: Vec<String>,
}

/// Where a K3s server keeps its cluster's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum K3sDatastore {
    /// In a member of etcd that K3s runs itself.
    EmbeddedEtcd {
        /// The member's name, as K3s wrote it down.
        member: String,
    },
    /// In an SQLite database on this node.
    Sqlite {},
    /// In a database of somebody else.
    External {
        /// `mysql`, `postgres`, `https`: the scheme of its address and nothing more of it.
        kind: String,
    },
}

/// What an agent says of a section that it is not to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rehearsed {
    /// What it would refuse.
    pub refused: Vec<Foreseen>,
    /// What would not stop it and should be known before.
    pub warnings: Vec<Foreseen>,
    /// Digest of the node's policy as the agent obeys it.
    pub policy: Option<Sha256>,
}

/// Something that an agent sees coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Foreseen {
    /// At which step; empty for the section as a whole.
    pub step: String,
    /// What, for a person.
    pub what: String,
    /// What to do about it.
    pub next: Vec<String>,
}

/// What an agent keeps of the coordinator's record, signed with the node's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordView {
    /// A [`HeadStatement`](crate::signed::HeadStatement): the exact text that is signed.
    pub statement: String,
    /// Over the statement.
    pub signature: Signature,
}

/// What a version source answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionView {
    /// The version.
    pub version: Version,
    /// Who answered.
    pub source: String,
}

/// What a health probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthView {
    /// Did it pass?
    pub well: bool,
    /// The answer in words: `200`, `connection refused`.
    pub detail: String,
}

/// Facts of a host. Shown, never trusted as a label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostFacts {
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// `x86_64`.
    pub arch: String,
    /// What the host calls itself.
    pub hostname: String,
    /// Logical processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes free for staging where the agent keeps its state.
    pub state_free_bytes: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Digest of the node's policy as the agent obeys it: read at the agent's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Sha256>,
}

/// A unit as systemd and the process table have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitView {
    /// The unit.
    pub unit: UnitName,
    /// systemd's word: `active`, `failed`, …
    pub active_state: String,
    /// `running`, `start-limit-hit`, …
    pub sub_state: String,
    /// The main process, where there is one.
    pub running: Option<RunningUnit>,
    /// Does the file at the asked path have the inode that is in memory? `None` when no path was asked.
    pub runs_the_file: Option<bool>,
    /// How long its main process has been running, in milliseconds; `None` where there is none.
    pub runs_for_ms: Option<u64>,
}

/// An etcd cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdView {
    /// What the local member says of itself, or why it does not.
    pub local: Result<EtcdStatus, String>,
    /// The member list as the local member has it (or, if it is down, as another member of the policy's list has it).
    pub members: Vec<EtcdMember>,
    /// Raised alarms: `NOSPACE on 8e9e05c52164694d`.
    pub alarms: Result<Vec<String>, String>,
    /// The cluster's version (`/version`, `etcdcluster`), or why it is not known.
    pub cluster_version: Result<Version, String>,
    /// `true` when a linearizable read through the local member succeeded: it sees a quorum.
    pub linearizable: Result<(), String>,
}

/// One member, as the asking node sees it by dialling it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdMember {
    /// Hex id.
    pub id: String,
    /// Its name; empty for a member that was added and never started.
    pub name: String,
    /// A learner does not vote.
    pub learner: bool,
    /// What it answered to this node, or why it did not.
    pub status: Result<EtcdStatus, String>,
}

/// A member's own answer (maintenance Status).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdStatus {
    /// Hex id of the cluster.
    pub cluster: String,
    /// Hex id of the member.
    pub member: String,
    /// The binary's version.
    pub version: Version,
    /// Hex id of the leader that it knows; `0` when it knows none.
    pub leader: String,
    /// Its raft term.
    pub raft_term: u64,
    /// Its raft index.
    pub raft_index: u64,
    /// Its applied index.
    pub raft_applied: u64,
    /// Its database's size in bytes.
    pub db_size: i64,
    /// Errors that it reports of itself.
    pub errors: Vec<String>,
}

impl EtcdStatus {
    /// Does it lead, by its own word?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leader == self.member
    }

    /// Does it know a leader?
    #[must_use]
    pub fn knows_leader(&self) -> bool {
        self.leader != "0" && !self.leader.is_empty()
    }
}

/// Facts as `key: value`, for `node show`.
#[must_use]
pub fn fact_lines(facts: &HostFacts) -> BTreeMap<&'static str, String> {
    let policy = facts.policy.map(|digest| ("policy", alloc::format!("sha256:{}", digest.short())));
    let lines = BTreeMap::from([
        ("os", facts.os.clone()),
        ("kernel", facts.kernel.clone()),
        ("arch", facts.arch.clone()),
        ("hostname", facts.hostname.clone()),
        ("cpus", facts.cpus.to_string()),
        ("bootId", facts.boot_id.clone()),
        ("machineId", facts.machine_id.clone()),
    ]);
    lines.into_iter().chain(policy).collect()
}
