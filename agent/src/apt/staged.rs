//! What a stage has fetched, kept below the agent's state directory until the change, and for the way back.
//!
//! ```text
//! packages/sets/KEY.json     one set: what would change, with the digests of its files; KEY is of what was asked
//! packages/pool/SHA256.deb   the files of all sets, by content: those of the new versions and of the old ones
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use drydock_types::{
    PackageName, Sha256, Version,
    packages::{Packages, ReleasePin},
};
use serde::{Deserialize, Serialize};

use crate::actions::Problem;

/// Below the agent's state directory.
const DIR: &str = "packages";

/// One package that is changed: both versions, and the files of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Which.
    pub name: PackageName,
    /// `amd64`, `all`.
    pub architecture: String,
    /// What is installed; `None`: it is added.
    pub from: Option<Version>,
    /// What will be; `None`: it is removed.
    pub to: Option<Version>,
    /// The file of `to`.
    pub new: Option<Kept>,
    /// The file of `from`. `None` where it is added, or where the old version is nowhere to be had.
    pub old: Option<Kept>,
    /// It was on hold.
    pub held: bool,
    /// apt had installed it for another package's sake.
    pub auto: bool,
}

/// A file in the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    /// Digest of its bytes: its name in the pool.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// A set of packages that was fetched together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Staged {
    /// What was asked for.
    pub asked: Packages,
    /// The section's target.
    pub to: Version,
    /// The archives as they were, by the digest of each signed file.
    pub releases: Vec<ReleasePin>,
    /// All that changes, by name. Nothing else may.
    pub changes: Vec<Change>,
}

/// Where it lies.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

impl Store {
    /// Below this state directory.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self(state_dir.join(DIR))
    }

    /// The folder of all files. apt is given their paths, so it must be readable for `_apt` or be read as root.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.0.join("pool")
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, kept: &Kept) -> PathBuf {
        self.pool().join(format!("{}.deb", kept.sha256))
    }

    /// The path of the set that was staged for this.
    ///
    /// # Errors
    /// When what is asked for has no JSON form.
    pub fn set(&self, asked: &Packages, to: &Version) -> Result<PathBuf, Problem> {
        let key = serde_json::to_vec(&(asked, to))
            .map_err(|error| Problem::new(format!("the packages that are asked for: {error}")))?;
        Ok(self.0.join("sets").join(format!("{}.json", Sha256::of(&key))))
    }
}

/// What an error of the disk means here.
pub fn disk(path: &Path) -> impl Fn(io::Error) -> Problem {
    let path = path.display().to_string();
    move |error| Problem::new(format!("{path}: {error}")).next("df -h; look at the agent's state directory")
}
