//! What the process table says: which executable a process has in memory, since when it runs.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use drydock_types::Sha256;
use nix::time::{ClockId, clock_gettime};

use super::files;

/// How many digests are remembered. A node has a handful of managed binaries.
const REMEMBERED: usize = 16;

/// Which file this is, as long as it is not written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
}

/// The executable that a process has in memory. Its file may long have another name or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exe {
    /// Which file it is.
    pub file: FileId,
    /// The digest of its bytes.
    pub sha256: Sha256,
}

/// What makes two looks at a file the same look. With the change time, which no owner can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    file: FileId,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

static DIGESTS: Mutex<VecDeque<(Seen, Sha256)>> = Mutex::new(VecDeque::new());

impl FileId {
    /// Of a file's metadata.
    #[must_use]
    pub fn of(meta: &fs::Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }
}

/// The executable of a process, read through `/proc/PID/exe`: that is the file in memory, whatever lies at
/// its path by now. Reads the whole file once; later looks at the same file are cheap.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn exe(pid: u32) -> io::Result<Exe> {
    let file = File::open(format!("/proc/{pid}/exe"))?;
    Ok(Exe { file: FileId::of(&file.metadata()?), sha256: digest(&file)? })
}

/// Which file a process has in memory, without reading it.
///
/// # Errors
/// As for [`exe`].
pub fn exe_file(pid: u32) -> io::Result<FileId> {
    fs::metadata(format!("/proc/{pid}/exe")).map(|meta| FileId::of(&meta))
}

/// Which file lies at a path.
///
/// # Errors
/// When there is none.
pub fn file_at(path: &str) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|meta| FileId::of(&meta))
}

/// The digest of an open file, remembered as long as the file does not change.
///
/// # Errors
/// When it cannot be read.
pub fn digest(file: &File) -> io::Result<Sha256> {
    let seen = Seen::of(&file.metadata()?);
    let known =
        DIGESTS.lock().map(|list| list.iter().find(|(key, _)| *key == seen).map(|(_, sha256)| *sha256));
    if let Ok(Some(sha256)) = known {
        return Ok(sha256);
    }
    let sha256 = files::hash(file)?;
    // Changed while it was read: right for now, not to be remembered.
    if Seen::of(&file.metadata()?) == seen
        && let Ok(mut list) = DIGESTS.lock()
    {
        list.truncate(REMEMBERED - 1);
        list.push_front((seen, sha256));
    }
    Ok(sha256)
}

impl Seen {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self {
            file: FileId::of(meta),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// How long a process has been running, to the kernel's hundredth of a second.
///
/// # Errors
/// When there is no such process.
pub fn age(pid: u32) -> io::Result<Duration> {
    let bad = || io::Error::other(format!("/proc/{pid}/stat has another form than expected"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, also spaces and parentheses; what follows the last one counts.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(bad)?;
    let ticks: u64 = fields.split(' ').nth(19).and_then(|field| field.parse().ok()).ok_or_else(bad)?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let per_second = per_second.and_then(|hz| u64::try_from(hz).ok()).filter(|hz| *hz > 0).unwrap_or(100);
    let started = Duration::from_millis(ticks.saturating_mul(1000) / per_second);
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(Duration::from(now).saturating_sub(started))
}

/// Is this machine run by systemd? (What `sd_booted(3)` looks at.)
#[must_use]
pub fn systemd_is_here() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_process_has_its_own_executable_in_memory() {
        let me = std::process::id();
        let path = std::env::current_exe().unwrap();
        let exe = exe(me).unwrap();
        assert_eq!(exe.file, file_at(path.to_str().unwrap()).unwrap());
        assert_eq!(exe.file, exe_file(me).unwrap());
        assert_eq!(exe.sha256, files::hash(&File::open(path).unwrap()).unwrap());
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "change times must differ, and the kernel's clock for them is coarse"
    )]
    fn a_remembered_digest_is_not_given_for_changed_content() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        assert_eq!(digest(&file).unwrap(), Sha256::of(b"one"));
        assert_eq!(digest(&file).unwrap(), Sha256::of(b"one"));
        let mtime = file.metadata().unwrap().modified().unwrap();
        file.set_len(0).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        file.write_all(b"two").unwrap();
        // The same length and the same modification time: only the change time tells.
        file.set_modified(mtime).unwrap();
        assert_eq!(digest(&file).unwrap(), Sha256::of(b"two"));
    }

    #[test]
    fn a_process_grows_older() {
        assert!(age(std::process::id()).unwrap() < Duration::from_secs(3600));
        assert!(age(1).unwrap() > age(std::process::id()).unwrap());
        assert!(age(u32::MAX).is_err());
    }
}
