//! Where a binary lies, and whether it and the way to it can be trusted.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_types::{AbsPath, EffectId, Sha256};
use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{FileError, RESERVE_BYTES, Stop, bytes, hash};
use crate::{policy::BinaryRule, sys::process::FileId};

/// A directory whose every ancestor only root (or the agent's own user) can write, and a name in it. Held
/// open: what is done afterwards is done in this very directory, whatever its path becomes.
#[derive(Debug)]
pub struct Place {
    pub(super) dir: File,
    pub(super) path: PathBuf,
    name: String,
    effect: String,
    pub(super) stop: Stop,
}

/// The file at a place, opened and looked at.
#[derive(Debug)]
pub struct Target {
    /// The file.
    pub file: File,
    pub(super) stamp: Stamp,
}

/// What tells that a file is still the one that was looked at. Not the change time: keeping a hard link moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) file: FileId,
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { file: FileId::of(meta), size: meta.size(), mtime: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// The agent's own names beside a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// The new file before the exchange, what it displaced after it.
    New,
    /// The old file, kept.
    Old,
    /// The old file on its way back.
    Back,
}

impl Place {
    /// Opens the directory of `path`, from the root down and through no symlink.
    ///
    /// # Errors
    /// When a part of the way is a symlink, belongs to somebody else or is writable by others (a sticky bit
    /// does not excuse that), or is not there.
    pub fn open(path: &AbsPath, effect: EffectId) -> Result<Self, FileError> {
        let full = PathBuf::from(path.as_str());
        let (parent, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let mut at = PathBuf::from("/");
        let mut dir = open(None, "/", OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(not_opened(&at))?;
        trusted(&dir, &at)?;
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            at.push(part);
            dir = open(Some(&dir), part, OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(not_opened(&at))?;
            trusted(&dir, &at)?;
        }
        // Opened once more for reading: an O_PATH directory cannot be synced.
        let dir = open(Some(&dir), ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(not_opened(&at))?;
        Ok(Self { dir, path: full, name: name.into(), effect: effect.short(), stop: Stop::default() })
    }

    /// What is done here ends, before it changes the target, when this says so.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// The same directory, opened once more.
    pub(super) fn reopened(&self) -> Result<File, FileError> {
        open(Some(&self.dir), ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(not_opened(&self.path))
    }

    /// Opens the program itself and checks it.
    ///
    /// # Errors
    /// As [`Place::file`], and when it cannot be executed.
    pub fn target(&self, rule: &BinaryRule) -> Result<Target, FileError> {
        let target = self.file(rule)?;
        if target.meta(&self.path)?.mode() & 0o111 != 0 {
            return Ok(target);
        }
        let shown = self.path.display();
        Err(FileError::refused(format!("{shown} is not executable"), format!("ls -l {shown}")))
    }

    /// Opens the file itself and checks it.
    ///
    /// # Errors
    /// When it is missing, a symlink, no regular file, not root's (or the agent's user's), writable by others,
    /// or setuid or of several names without the policy's permit.
    pub fn file(&self, rule: &BinaryRule) -> Result<Target, FileError> {
        let target = self.present()?;
        let meta = target.meta(&self.path)?;
        let shown = self.path.display();
        foreign(&meta, &self.path)?;
        if meta.mode() & 0o6000 != 0 && !rule.allow_setuid {
            return Err(FileError::refused(
                format!("{shown} is setuid or setgid (mode {:04o})", meta.mode() & 0o7777),
                format!(
                    "if that is meant: allow_setuid = true under [binaries.\"{shown}\"] in the node's policy"
                ),
            ));
        }
        if meta.nlink() > 1 + self.own_links(&meta)? && !rule.allow_hard_links {
            return Err(FileError::refused(
                format!(
                    "{shown} has {} names (hard links); the others would keep the old content",
                    meta.nlink()
                ),
                format!(
                    "find -xdev / -samefile {shown}; if that is meant: allow_hard_links = true under [binaries.\"{shown}\"] in the node's policy"
                ),
            ));
        }
        Ok(target)
    }

    /// Opens what lies there if it is a regular file.
    pub(super) fn present(&self) -> Result<Target, FileError> {
        // Looked at before it is opened for reading: opening a device or a FIFO is an act.
        let look = self.entry(&self.name).map_err(not_opened(&self.path))?;
        let look = look.metadata().map_err(FileError::io("look at it", &self.path))?;
        let shown = self.path.display();
        let kind = look.file_type();
        if kind.is_symlink() {
            return Err(FileError::refused(
                format!("{shown} is a symlink"),
                format!("name the file itself in recipe and policy: readlink -f {shown}"),
            ));
        }
        if !kind.is_file() {
            return Err(FileError::refused(
                format!("{shown} is not a regular file"),
                format!("ls -ld {shown}"),
            ));
        }
        let file = open(Some(&self.dir), &self.name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW);
        let file = file.map_err(not_opened(&self.path))?;
        let meta = file.metadata().map_err(FileError::io("look at it", &self.path))?;
        if FileId::of(&meta) != FileId::of(&look) {
            return Err(changed(&self.path));
        }
        Ok(Target { stamp: Stamp::of(&meta), file })
    }

    /// The digest of what lies there now; `None` when nothing does.
    ///
    /// # Errors
    /// When something is there and cannot be read as a regular file.
    pub fn digest(&self) -> Result<Option<Sha256>, FileError> {
        match self.present() {
            Ok(target) => target.sha256(&self.path).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Is there room for a new file of this size, the old one and a reserve?
    ///
    /// # Errors
    /// When there is not, with what is missing.
    pub fn room(&self, new_bytes: u64, old_bytes: u64) -> Result<(), FileError> {
        let stat = nix::sys::statvfs::fstatvfs(&self.dir)
            .map_err(FileError::io("look at its file system", &self.path))?;
        let free = bytes(stat.blocks_available(), stat.fragment_size());
        let inodes = (stat.files() > 0).then(|| bytes(stat.files_available(), 1u32));
        enough(&self.path, free, inodes, new_bytes.saturating_add(old_bytes))
    }

    /// Where the old file is kept.
    ///
    /// # Errors
    /// When the name becomes longer than a path may be.
    pub fn kept(&self) -> Result<AbsPath, FileError> {
        let path = self.path.with_file_name(self.beside(Beside::Old));
        AbsPath::parse(&path.display().to_string())
            .map_err(|error| FileError::refused(error.to_string(), "use a shorter path"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `.etcd.drydock-1a2b3c4d.new`: hidden, ours by its look, of one effect only.
    pub(super) fn beside(&self, which: Beside) -> String {
        let end = match which {
            Beside::New => "new",
            Beside::Old => "old",
            Beside::Back => "back",
        };
        format!("{}{}.{end}", self.own_prefix(), self.effect)
    }

    pub(super) fn own_prefix(&self) -> String {
        format!(".{}.drydock-", self.name)
    }

    /// What a name in the directory stands for; not followed, not opened for reading.
    pub(super) fn entry(&self, name: &str) -> nix::Result<File> {
        open(Some(&self.dir), name, OFlag::O_PATH | OFlag::O_NOFOLLOW)
    }

    /// The stamp of what a name stands for; `None` when there is nothing.
    pub(super) fn stamp(&self, name: &str) -> Result<Option<Stamp>, FileError> {
        match self.entry(name) {
            Ok(file) => {
                let meta = file.metadata().map_err(FileError::io("look at a file beside it", &self.path))?;
                Ok(Some(Stamp::of(&meta)))
            }
            Err(nix::Error::ENOENT) => Ok(None),
            Err(error) => Err(FileError::io("look at a file beside it", &self.path)(error)),
        }
    }

    /// Removes one of the agent's own names. Not there is as good.
    pub(super) fn remove(&self, name: &str) -> Result<(), FileError> {
        let gone = |done: nix::Result<()>| match done {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(io::Error::from(error)),
        };
        durable!("agent.swap.remove", gone(unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)))
            .map_err(FileError::io("remove a file of ours beside it", &self.path))
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        durable!("agent.swap.sync-dir", self.dir.sync_all())
            .map_err(FileError::io("sync its directory", &self.path))
    }

    /// The names in the directory that the agent gave, of any effect.
    pub(super) fn own_names(&self) -> Result<Vec<String>, FileError> {
        use std::os::fd::AsRawFd as _;
        let listing = std::fs::read_dir(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))
            .map_err(FileError::io("list its directory", &self.path))?;
        let prefix = self.own_prefix();
        let ours = |name: &String| name.strip_prefix(&prefix).is_some_and(is_own_end);
        Ok(listing.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(ours).collect())
    }

    /// How many of a file's names are the agent's own.
    fn own_links(&self, meta: &Metadata) -> Result<u64, FileError> {
        let mut links = 0;
        for name in self.own_names()? {
            let same = self.stamp(&name)?.is_some_and(|stamp| stamp.file == FileId::of(meta));
            links += u64::from(same);
        }
        Ok(links)
    }
}

impl Target {
    /// The digest of its bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sha256(&self, path: &Path) -> Result<Sha256, FileError> {
        hash(&self.file).map_err(FileError::io("read it", path))
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Which file it is.
    #[must_use]
    pub const fn id(&self) -> FileId {
        self.stamp.file
    }

    fn meta(&self, path: &Path) -> Result<Metadata, FileError> {
        self.file.metadata().map_err(FileError::io("look at it", path))
    }
}

/// `1a2b3c4d.old`: eight hex digits and one of the three ends.
fn is_own_end(rest: &str) -> bool {
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    rest.split_once('.').is_some_and(|(effect, end)| {
        effect.len() == 8 && effect.chars().all(hex) && matches!(end, "new" | "old" | "back")
    })
}

/// Pure, so that every case can be tried.
pub(super) fn enough(path: &Path, free: u64, inodes: Option<u64>, copies: u64) -> Result<(), FileError> {
    let need = copies.saturating_add(RESERVE_BYTES);
    let dir = path.parent().unwrap_or(path).display();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if free < need {
        return Err(FileError::refused(
            format!(
                "{dir} has {} MiB free, and {} MiB are needed (both copies and a reserve of {} MiB)",
                free >> 20,
                mib(need),
                mib(RESERVE_BYTES)
            ),
            format!("free {} MiB there: df -h {dir}", mib(need - free)),
        ));
    }
    match inodes {
        Some(left) if left < 3 => Err(FileError::refused(
            format!("{dir} has {left} inodes free, and 3 are needed"),
            format!("df -i {dir}"),
        )),
        _ => Ok(()),
    }
}

pub(super) fn changed(path: &Path) -> FileError {
    FileError::refused(
        format!(
            "{} was changed by somebody else while it was being exchanged; nothing was left changed by Drydock",
            path.display()
        ),
        "find out who writes there, then try again",
    )
}

fn open(dir: Option<&File>, name: &str, flags: OFlag) -> nix::Result<File> {
    use std::os::fd::AsFd as _;
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    // O_PATH | O_NOFOLLOW may look at a symlink itself, which RESOLVE_NO_SYMLINKS allows for the last part only.
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(Mode::empty()).resolve(resolve);
    let dir = dir.map_or(AT_FDCWD, |dir| dir.as_fd());
    openat2(dir, name, how).map(File::from)
}

fn not_opened(path: &Path) -> impl FnOnce(nix::Error) -> FileError {
    let shown = path.display().to_string();
    let path = path.to_path_buf();
    move |error| match error {
        nix::Error::ELOOP => FileError::refused(
            format!("{shown} is a symlink"),
            format!("name the file itself in recipe and policy: readlink -f {shown}"),
        ),
        nix::Error::ENOSYS => FileError::refused(
            format!("{shown}: this kernel has no openat2, without which a path cannot be opened safely"),
            "a kernel of 5.6 or later is needed",
        ),
        nix::Error::ENOTDIR => FileError::refused(
            format!("{shown} is a symlink or not a directory"),
            format!("name the file itself in recipe and policy: readlink -f {shown}"),
        ),
        other => FileError::io("open it", &path)(other),
    }
}

fn trusted(dir: &File, path: &Path) -> Result<(), FileError> {
    let meta = dir.metadata().map_err(FileError::io("look at it", path))?;
    foreign(&meta, path)
}

/// Refuses what belongs to somebody else or what others can write. A sticky bit does not excuse: it keeps
/// others from renaming our file, not from putting theirs there first.
fn foreign(meta: &Metadata, path: &Path) -> Result<(), FileError> {
    let me = nix::unistd::geteuid().as_raw();
    let shown = path.display();
    if meta.uid() != 0 && meta.uid() != me {
        return Err(FileError::refused(
            format!("{shown} belongs to uid {}, who could change it at any moment", meta.uid()),
            format!("chown root {shown}"),
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(FileError::refused(
            format!("{shown} is writable by others (mode {:04o})", meta.mode() & 0o7777),
            format!("chmod go-w {shown}"),
        ));
    }
    Ok(())
}
