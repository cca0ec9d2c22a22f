//! What came of a section, and what was seen: the words of evidence.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    AbsPath, EffectId, Millis, Sha256, UnitName, Version,
    packages::{ChangedPackage, ReleasePin, StagedPackage},
};

/// What one look says. `Unknown` is never `Clear`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Verdict {
    /// It holds.
    Clear,
    /// It does not hold yet and may by itself.
    Waiting(String),
    /// It does not hold and will not without somebody's doing.
    Refused(String),
    /// It could not be seen, is too old, or two sources disagree.
    Unknown(String),
}

impl Verdict {
    /// `None` when clear.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Clear => None,
            Self::Waiting(reason) | Self::Refused(reason) | Self::Unknown(reason) => Some(reason),
        }
    }

    /// Does it hold?
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }
}

/// What came of a section, from the agent's journal. The same effect id always brings the same outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outcome {
    /// Of which effect.
    pub effect: EffectId,
    /// How it ended.
    pub result: SectionResult,
    /// Each step that was begun, in order; undone ones again at the end.
    pub steps: Vec<StepReport>,
    /// From acceptance to the end, by the agent's monotonic clock; a restart of the agent in between is not counted.
    pub took: Millis,
    /// From the beginning of the first disruptive step until the service itself answered as it must (until the
    /// end of the section where no step asks it).
    pub out_of_service: Option<Millis>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
}

/// How a section ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum SectionResult {
    /// Every step done and verified.
    Done {},
    /// Refused before anything was changed.
    Refused {
        /// Why, and what to do.
        failure: Failure,
    },
    /// Failed before anything was changed: nothing to take back.
    Failed {
        /// What went wrong.
        failure: Failure,
    },
    /// Failed, and everything that was changed has been taken back and seen so.
    Undone {
        /// What went wrong.
        failure: Failure,
    },
    /// Failed, and left as it is: past a point of no return, undo failed, or the plan says so.
    LeftAlone {
        /// What went wrong.
        failure: Failure,
        /// Why it was not taken back.
        because: String,
    },
    /// A step was interrupted and nothing tells whether it took place. Never tried again blindly.
    Undecidable {
        /// Which step.
        step: String,
        /// What was looked at.
        because: String,
    },
}

impl SectionResult {
    /// The word on screens and in the record.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done {} => "done",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Undone { .. } => "undone",
            Self::LeftAlone { .. } => "left alone",
            Self::Undecidable { .. } => "undecidable",
        }
    }
}

/// What went wrong, for a person at three in the morning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// The step's name.
    pub step: String,
    /// What happened, to what.
    pub what: String,
    /// What to do next, where something is known.
    pub next: Vec<String>,
    /// The last lines of the unit's log, where there is one.
    pub log: Vec<String>,
}

/// One step's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepReport {
    /// Its name.
    pub step: String,
    /// `true` when this was its undo.
    pub undo: bool,
    /// How long it took.
    pub took: Millis,
    /// `None` when it went well.
    pub error: Option<String>,
}

/// Something that was seen in the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Evidence {
    /// An artifact was fetched and verified.
    Artifact {
        /// Its digest.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
        /// How many bytes this attempt had to fetch.
        fetched: u64,
    },
    /// A binary was exchanged.
    Swapped {
        /// Where.
        path: AbsPath,
        /// The digest that lay there before.
        old_sha256: Sha256,
        /// The digest that lies there now.
        new_sha256: Sha256,
        /// Where the old one is kept.
        kept: AbsPath,
    },
    /// A unit's main process.
    Running(RunningUnit),
    /// The version that the service itself answered.
    Version {
        /// The version.
        version: Version,
        /// Who answered: `etcd member 8e9e05c52164694d`, `http://127.0.0.1:8080/version`.
        source: String,
    },
    /// A health probe passed.
    Healthy {
        /// What was asked.
        source: String,
    },
    /// An etcd member as itself and the cluster see it.
    EtcdMember {
        /// Hex member id.
        member: String,
        /// Hex cluster id.
        cluster: String,
        /// Its raft index.
        raft_index: u64,
        /// Hex id of the leader it knows.
        leader: String,
    },
    /// Leadership was handed over.
    LeaderMoved {
        /// Hex member id.
        from: String,
        /// Hex member id.
        to: String,
    },
    /// A commit-confirmed change was confirmed.
    Confirmed {
        /// Who answered after the change: `the coordinator`, `witness 10.0.0.1:22`.
        by: String,
        /// From the arming of the revert.
        after: Millis,
    },
    /// A commit-confirmed change was taken back by the node itself, outside of the agent.
    Reverted {
        /// When, by the node's own clock.
        at_unix_ms: u64,
        /// From the arming of the revert; 0 when the node was started anew in between.
        after: Millis,
        /// Why.
        because: String,
        /// What was put back.
        restored: Vec<String>,
    },
    /// Addresses, routes and rules, compared with those before the change. None of what was there is missing
    /// when a change is confirmed.
    Network {
        /// What was there before and is not there now.
        lost: Vec<String>,
        /// What has come since.
        gained: Vec<String>,
    },
    /// The node was started anew.
    Rebooted {
        /// The boot id before.
        from: String,
        /// The boot id now.
        to: String,
    },
    /// A verified snapshot, encrypted and off the node.
    Snapshot {
        /// Digest of the snapshot as etcd wrote it.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
        /// Its revision.
        revision: i64,
        /// Digest of the encrypted file at the coordinator.
        stored_sha256: Sha256,
        /// Its size there.
        stored_size: u64,
    },
    /// Nothing was saved here: the plan says who saves it.
    BackedUpElsewhere {
        /// What: `a mysql datastore`.
        what: String,
        /// Who, in the plan's words.
        by: String,
    },
    /// Packages were fetched and their archive's signature was seen to be right.
    PackagesStaged {
        /// Which.
        packages: Vec<StagedPackage>,
        /// The archives that they came from, as they were.
        releases: Vec<ReleasePin>,
    },
    /// Packages were changed.
    PackagesChanged {
        /// Which.
        changed: Vec<ChangedPackage>,
        /// Configuration files of the package that were left as they were, with the packages' own beside them.
        kept: Vec<String>,
        /// What the packages wanted to start, stop or restart and were not let: `openvswitch-switch restart`.
        held_still: Vec<String>,
        /// How many processes ran what was not installed any more, before and afterwards.
        stale: (u64, u64),
        /// Some of those afterwards: `libvirtd (pid 812, libvirtd.service)`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        still: Vec<String>,
    },
    /// A hypervisor's daemon was restarted beside its guests.
    GuestsKept {
        /// How many guests are the same process as before, and answer.
        guests: u64,
        /// The version that the daemon answers.
        version: String,
        /// Versions of QEMU that guests are running, and how many run each.
        qemu: Vec<(String, u64)>,
    },
    /// A switch was reloaded or restarted with its flows.
    FlowsKept {
        /// How many flows before.
        before: u64,
        /// How many now.
        after: u64,
        /// Are they the same?
        same: bool,
        /// The version that the switch answers.
        version: String,
        /// Where the kernel's module that is loaded is not the one that is installed: which, and that it needs a reboot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        module: Option<String>,
    },
    /// A file was put where a service takes it from.
    Placed {
        /// Where.
        path: AbsPath,
        /// Its digest.
        sha256: Sha256,
        /// Digest of what lay there before.
        replaced: Option<Sha256>,
    },
}

/// The main process of a unit, read from the process itself. ActiveState alone lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningUnit {
    /// The unit.
    pub unit: UnitName,
    /// Its main process; 0 when there is none.
    pub pid: u32,
    /// The unit's InvocationID (hex), another one after each start.
    pub invocation: String,
    /// Inode of the executable in memory.
    pub exe_inode: u64,
    /// Digest of the executable in memory (read through `/proc/PID/exe`); where that was unpacked by an installed
    /// program, the digest of the program that unpacks exactly that.
    pub exe_sha256: Sha256,
    /// Where the executable in memory was unpacked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<String>,
}
