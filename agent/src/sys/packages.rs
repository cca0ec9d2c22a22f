//! Is a package manager at work? It exchanges files and restarts services by itself: a change beside it could
//! neither be verified nor taken back.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::Path,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// What dpkg and apt hold while they work. Locks of the kernel (`fcntl`), so a file that merely lies there is none.
const LOCKS: [&str; 4] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/cache/apt/archives/lock",
    "/var/lib/apt/lists/lock",
];

/// Programs that are a package manager at work, by the name that the kernel keeps (15 characters).
const PROGRAMS: [&str; 17] = [
    "apt",
    "apt-get",
    "apt.systemd.dai",
    "aptitude",
    "dpkg",
    "unattended-upgr",
    "dnf",
    "dnf-3",
    "dnf5",
    "microdnf",
    "yum",
    "rpm",
    "rpm-ostree",
    "zypper",
    "pacman",
    "apk",
    "transactional-u",
];

/// Waits for the shutdown, all day long, and installs nothing.
const WAITS_ONLY: &str = "unattended-upgrade-shutdown";

/// Who works on packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    /// `dpkg (pid 812) holds /var/lib/dpkg/lock`
    pub what: String,
    /// The process; `None` where it lives in another PID namespace.
    pub pid: Option<u32>,
}

impl AtWork {
    fn new(pid: i32, does: &str) -> Self {
        let known = u32::try_from(pid).ok().filter(|pid| *pid > 0);
        Self { what: format!("{} {does}", named(pid)), pid: known }
    }
}

/// Why a package manager must be taken to be at work; `None` when none is.
///
/// # Errors
/// When that cannot be seen: then nobody knows.
pub fn at_work() -> io::Result<Option<String>> {
    Ok(who_is_at_work()?.map(|who| who.what))
}

/// As [`at_work`], with the process.
///
/// # Errors
/// As for [`at_work`].
pub fn who_is_at_work() -> io::Result<Option<AtWork>> {
    if let Some(holder) = held(Path::new("/"))? {
        return Ok(Some(holder));
    }
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that has ended meanwhile is none.
        let Ok(program) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if is_manager(program.trim(), &arguments) {
            return Ok(Some(AtWork::new(pid, "is running")));
        }
    }
    Ok(None)
}

/// Who holds a lock of dpkg or apt below this root: `dpkg (pid 812) holds /var/lib/dpkg/lock`.
///
/// # Errors
/// When that cannot be seen.
pub fn lock_held(root: &Path) -> io::Result<Option<String>> {
    Ok(held(root)?.map(|who| who.what))
}

fn held(root: &Path) -> io::Result<Option<AtWork>> {
    for lock in LOCKS {
        if let Some(pid) = holder(&root.join(lock.trim_start_matches('/')))? {
            return Ok(Some(AtWork::new(pid, &format!("holds {lock}"))));
        }
    }
    Ok(None)
}

fn is_manager(program: &str, arguments: &[u8]) -> bool {
    // Without arguments it is a process that is ending, or a thread of the kernel.
    !arguments.is_empty()
        && PROGRAMS.contains(&program)
        && !String::from_utf8_lossy(arguments).contains(WAITS_ONLY)
}

/// Who holds a write lock on the file. 0 where the holder lives in another PID namespace.
fn holder(path: &Path) -> io::Result<Option<i32>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    };
    let mut lock = libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type != short(libc::F_UNLCK)).then_some(lock.l_pid))
}

/// The kernel's small constants, which its structure wants shorter.
fn short(constant: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(constant).unwrap_or(libc::c_short::MAX)
}

fn named(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("{name} (pid {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    #[test]
    fn a_package_manager_is_told_from_what_only_waits() {
        assert!(is_manager("apt-get", b"apt-get\0install\0x\0"));
        assert!(is_manager("unattended-upgr", b"/usr/bin/python3\0/usr/bin/unattended-upgrade\0"));
        let waits =
            b"/usr/bin/python3\0/usr/share/unattended-upgrades/unattended-upgrade-shutdown\0--wait-for-signal\0";
        assert!(!is_manager("unattended-upgr", waits));
        assert!(!is_manager("apt-get", b""), "a process that is ending");
        assert!(!is_manager("etcd", b"etcd\0"));
    }

    #[test]
    fn a_holder_in_another_pid_namespace_has_no_number_here() {
        let who = AtWork::new(0, "holds /var/lib/dpkg/lock");
        assert_eq!((who.what.as_str(), who.pid), ("process 0 holds /var/lib/dpkg/lock", None));
        let me = AtWork::new(std::process::id().cast_signed(), "is running");
        assert_eq!(me.pid, Some(std::process::id()));
    }

    #[test]
    fn a_lock_that_another_process_holds_is_seen_and_a_file_that_only_lies_there_is_none() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(holder(file.path()).unwrap(), None);
        assert_eq!(holder(Path::new("/nowhere/lock")).unwrap(), None);
        // A lock of one's own process is never in one's own way.
        let script = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()";
        let spawned = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(file.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(holder(file.path()).unwrap(), Some(child.id().cast_signed()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(holder(file.path()).unwrap(), None);
    }
}
