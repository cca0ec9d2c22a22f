//! What a stage has fetched, kept below the agent's state directory until the change, and for the way back.
//!
//! ```text
//! packages/sets/KEY.json     one set: what would change, with the digests of its files; KEY is of what was asked
//! packages/apt/              apt's lists and cache, ours alone
//! packages/pool/SHA256.deb   the files of all sets, by content: those of the new versions and of the old ones
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use drydock_failpoint::durable;
use drydock_types::{
    PackageName, Sha256, Version,
    packages::{Packages, ReleasePin},
};
use serde::{Deserialize, Serialize};

use crate::{
    actions::Problem,
    sys::{blocking, files},
};

/// Below the agent's state directory.
const DIR: &str = "packages";

/// The largest set that is read.
const MAX_SET: u64 = 8 << 20;
/// So many sets are kept, the newest: a way back to what was there before the last few changes, also where the archive
/// has those versions no more.
const SETS_KEPT: usize = 12;

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

    /// apt's own folder: lists, cache, configuration.
    #[must_use]
    pub fn apt_dir(&self) -> PathBuf {
        self.0.join("apt")
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
        let key = serde_json::to_vec(&(asked.as_staged(), to))
            .map_err(|error| Problem::new(format!("the packages that are asked for: {error}")))?;
        Ok(self.0.join("sets").join(format!("{}.json", Sha256::of(&key))))
    }

    /// Puts a set in its place; on return it is on the disk. Its files must be in the pool.
    ///
    /// # Errors
    /// When the disk refuses, or one of its files is not in the pool.
    pub async fn write(&self, set: &Staged) -> Result<(), Problem> {
        let path = self.set(&set.asked, &set.to)?;
        let text =
            serde_json::to_vec(set).map_err(|error| Problem::new(format!("{}: {error}", path.display())))?;
        for kept in set.files() {
            if !self.has(kept).await? {
                return Err(Problem::new(format!("{} is not in the pool", self.path(kept).display())));
            }
        }
        blocking(move || write_set(&path, &text).map_err(disk(&path))).await
    }

    /// The set that was staged for this, with all its files; `None` where none was.
    ///
    /// # Errors
    /// When it cannot be read, or one of its files is not there as it was written.
    pub async fn read(&self, asked: &Packages, to: &Version) -> Result<Option<Staged>, Problem> {
        let path = self.set(asked, to)?;
        let Some(set) = blocking(move || read_set(&path)).await? else { return Ok(None) };
        for kept in set.files() {
            if !self.has(kept).await? {
                return Err(Problem::new(format!(
                    "{} is not there as it was fetched",
                    self.path(kept).display()
                ))
                .next("let the run stage this node again"));
            }
        }
        Ok(Some(set))
    }

    /// Does this file lie in the pool, byte for byte?
    ///
    /// # Errors
    /// When it lies there and cannot be read.
    pub async fn has(&self, kept: &Kept) -> Result<bool, Problem> {
        let (path, kept) = (self.path(kept), kept.clone());
        blocking(move || match File::open(&path) {
            Ok(file) => {
                let size = file.metadata().map_err(disk(&path))?.len();
                Ok(size == kept.size && files::hash(&file).map_err(disk(&path))? == kept.sha256)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(disk(&path)(error)),
        })
        .await
    }

    /// Copies a file into the pool if it is exactly this one; `false` where it is another, or is not there. On return
    /// it is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn add(&self, from: &Path, kept: &Kept) -> Result<bool, Problem> {
        let (from, to, kept) = (from.to_owned(), self.path(kept), kept.clone());
        blocking(move || add(&from, &to, &kept).map_err(disk(&to))).await
    }

    /// Every set that is kept, the newest first. One that cannot be read is left out: it serves nobody.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn sets(&self) -> Result<Vec<Staged>, Problem> {
        let dir = self.0.join("sets");
        let newest = |dir: PathBuf| -> Result<Vec<Staged>, Problem> {
            let paths = by_age(&dir).map_err(disk(&dir))?;
            Ok(paths.iter().filter_map(|path| read_set(path).ok().flatten()).collect())
        };
        blocking(move || newest(dir)).await
    }

    /// Removes sets that are too old, and files that no set names any more. How many files went.
    ///
    /// # Errors
    /// When the disk refuses, or a set that is kept cannot be read: nobody knows its files then.
    pub async fn prune(&self) -> Result<usize, Problem> {
        let (sets, pool) = (self.0.join("sets"), self.pool());
        blocking(move || {
            let paths = by_age(&sets).map_err(disk(&sets))?;
            let (keep, old) = paths.split_at(paths.len().min(SETS_KEPT));
            let mut named = BTreeSet::new();
            for path in keep {
                let set = read_set(path)?;
                named.extend(set.iter().flat_map(Staged::files).map(|kept| format!("{}.deb", kept.sha256)));
            }
            for path in old {
                durable!("agent.packages.prune-set", fs::remove_file(path)).map_err(disk(path))?;
            }
            let mut gone = 0;
            for entry in entries(&pool).map_err(disk(&pool))? {
                if !named.contains(entry.file_name().and_then(|name| name.to_str()).unwrap_or_default()) {
                    durable!("agent.packages.prune-file", fs::remove_file(&entry)).map_err(disk(&entry))?;
                    gone += 1;
                }
            }
            Ok::<_, Problem>(gone)
        })
        .await
    }
}

impl Staged {
    /// All its files: the new ones and the old ones.
    pub fn files(&self) -> impl Iterator<Item = &Kept> {
        self.changes.iter().flat_map(|change| change.new.iter().chain(&change.old))
    }
}

/// The files of a folder; none where there is no folder.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The sets of a folder, the newest first.
fn by_age(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = entries(dir)?;
    let mut aged: Vec<(SystemTime, PathBuf)> = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "json")) {
        aged.push((fs::metadata(&path)?.modified()?, path));
    }
    aged.sort_by(|a, b| b.cmp(a));
    Ok(aged.into_iter().map(|(_, path)| path).collect())
}

fn read_set(path: &Path) -> Result<Option<Staged>, Problem> {
    let text = match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_SET => return Err(disk(path)(io::Error::other("it is too large"))),
        Ok(_) => fs::read(path).map_err(disk(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk(path)(error)),
    };
    let set = serde_json::from_slice(&text);
    set.map(Some).map_err(|error| {
        Problem::new(format!("{}: {error}", path.display())).next("let the run stage this node again")
    })
}

fn write_set(path: &Path, text: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    durable!("agent.packages.set-write", file.write_all(text))?;
    durable!("agent.packages.set-sync", file.sync_all())?;
    durable!("agent.packages.set-rename", fs::rename(&new, path))?;
    sync_above(path)
}

/// Whole or not at all: what is copied is hashed as it is copied, and gets its name only then.
fn add(from: &Path, to: &Path, kept: &Kept) -> io::Result<bool> {
    let from = match File::open(from) {
        Ok(from) => from,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if from.metadata()?.len() != kept.size {
        return Ok(false);
    }
    make_parent(to)?;
    let new = to.with_extension("new");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
    let mut from = from.take(kept.size);
    durable!("agent.packages.file-write", io::copy(&mut from, &mut file))?;
    if files::hash(&file)? != kept.sha256 {
        fs::remove_file(&new)?;
        return Ok(false);
    }
    durable!("agent.packages.file-sync", file.sync_all())?;
    durable!("agent.packages.file-rename", fs::rename(&new, to))?;
    sync_above(to)?;
    Ok(true)
}

/// The folders are made by the first that is written.
fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The folder, ours above it, and the state directory: each may have got a new name in it.
fn sync_above(path: &Path) -> io::Result<()> {
    for dir in path.ancestors().skip(1).take(3) {
        let dir = File::open(dir)?;
        durable!("agent.packages.sync-dir", dir.sync_all())?;
    }
    Ok(())
}

/// What an error of the disk means here.
pub fn disk(path: &Path) -> impl Fn(io::Error) -> Problem {
    let path = path.display().to_string();
    move |error| Problem::new(format!("{path}: {error}")).next("df -h; look at the agent's state directory")
}
