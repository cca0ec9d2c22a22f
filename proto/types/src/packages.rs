//! Packages of the distribution: what a step installs, what was seen of it.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Millis, PackageName, Sha256, Version};

/// Which packages, to which versions, and what may change along with them. Nothing else may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Packages {
    /// Every package that is installed and was built from this source goes to the target version: `libvirt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PackageName>,
    /// Packages by name, each at an exact version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageAt>,
    /// What may be added or upgraded along with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<PackageName>,
    /// What may be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<PackageName>,
    /// The archive must be exactly this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<ReleasePin>,
    /// Change what is on hold too, and put it on hold again.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub held: bool,
    /// Configure what an earlier dpkg has left half-configured. Without it such a node is refused.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub repair: bool,
    /// What if the files of the installed versions, which the way back needs, are nowhere to be had.
    #[serde(default, skip_serializing_if = "OldVersions::is_required")]
    pub old_versions: OldVersions,
    /// How long it may take.
    #[serde(default = "crate::step::ten_minutes")]
    pub within: Millis,
}

impl Packages {
    /// What of it says what is fetched: a set that was staged for one is another's that differs from it in nothing of this. How long
    /// a step may take and what is mended before it are each step's own.
    #[must_use]
    pub fn as_staged(&self) -> Self {
        let Self { within, repair, .. } = Self::default();
        Self { within, repair, ..self.clone() }
    }
}

/// Whether there must be a way back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OldVersions {
    /// Without the files of the installed versions nothing is begun.
    #[default]
    Required,
    /// What is there is kept; a package without its old file is changed all the same, and cannot be taken back.
    IfThere,
}

impl OldVersions {
    /// Must there be one?
    #[must_use]
    pub const fn is_required(&self) -> bool {
        matches!(self, Self::Required)
    }
}

impl Default for Packages {
    fn default() -> Self {
        Self {
            source: None,
            packages: Vec::new(),
            along: Vec::new(),
            remove: Vec::new(),
            release: Vec::new(),
            held: false,
            repair: false,
            old_versions: OldVersions::Required,
            within: crate::step::ten_minutes(),
        }
    }
}

/// A package at a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageAt {
    /// Which.
    pub name: PackageName,
    /// Its version; the section's target where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// One suite of an archive, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleasePin {
    /// Its suite or codename, as the signed Release says it: `bookworm-security`.
    pub suite: String,
    /// Digest of the signed file (`InRelease`) as it was fetched.
    pub sha256: Sha256,
}

/// One package that was fetched for a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagedPackage {
    /// Which.
    pub name: PackageName,
    /// For which architecture: `amd64`, `all`. Files of different ones are different files.
    pub architecture: String,
    /// The version that is installed; `None` where it is added.
    pub from: Option<Version>,
    /// The version that was fetched.
    pub to: Version,
    /// Digest of the fetched file.
    pub sha256: Sha256,
}

/// One package that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangedPackage {
    /// Which.
    pub name: PackageName,
    /// What was installed; `None`: nothing.
    pub from: Option<Version>,
    /// What is installed; `None`: nothing.
    pub to: Option<Version>,
}

/// A process that still maps files that were replaced or removed under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaleProcess {
    /// Its number.
    pub pid: u32,
    /// Its program's name.
    pub command: String,
    /// The unit that it belongs to, where it is one's.
    pub unit: Option<String>,
    /// Some of the files, as the kernel names them.
    pub files: Vec<String>,
}

/// The package manager of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackagesView {
    /// `apt`.
    pub manager: String,
    /// Who is at work: `dpkg (pid 812) holds /var/lib/dpkg/lock`.
    pub at_work: Option<String>,
    /// Packages that are neither installed nor not: `qemu-system-x86: half-configured`.
    pub half_done: Vec<String>,
    /// Packages on hold.
    pub held: Vec<PackageName>,
    /// Processes that run what is not installed any more; bounded.
    pub stale: Vec<StaleProcess>,
    /// Processes that may not be looked at, and why; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}
