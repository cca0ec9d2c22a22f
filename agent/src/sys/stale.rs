//! Processes that still run what is not installed any more: they map files that were replaced or removed under them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
};

use drydock_types::packages::StaleProcess;

use super::{
    process::{self, FileId},
    units::printable_line,
};

/// Where packages put what is run. Not memfd, shared memory or temporary files: nobody replaces those.
const INSTALLED: [&str; 5] = ["/usr/", "/lib", "/opt/", "/bin/", "/sbin/"];
/// The most processes that are named; all are counted.
const NAMED: usize = 64;
/// The most files that are named of each.
const FILES: usize = 8;

/// What a look at all processes found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// Some of them.
    pub named: Vec<StaleProcess>,
    /// How many there are.
    pub count: u64,
    /// Processes that may not be looked at, and why: of these nobody knows. Some of them.
    pub unread: Vec<String>,
}

/// Looks at all processes.
///
/// # Errors
/// When there is no process table to look at.
pub fn processes() -> io::Result<Stale> {
    let root = FileId::of(&fs::metadata("/")?);
    let mut stale = Stale::default();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            stale.add(pid, replaced(pid, root));
        }
    }
    Ok(stale)
}

impl Stale {
    fn add(&mut self, pid: u32, seen: io::Result<Vec<String>>) {
        match seen {
            Ok(files) if files.is_empty() => {}
            Ok(files) => {
                self.count += 1;
                if self.named.len() < NAMED {
                    self.named.push(StaleProcess { pid, command: command(pid), unit: unit(pid), files });
                }
            }
            // It has ended meanwhile.
            Err(error) if ended(&error) => {}
            Err(error) if self.unread.len() < NAMED => {
                let why = printable_line(&error.to_string());
                self.unread.push(format!("{} (pid {pid}): {why}", command(pid)));
            }
            Err(_) => {}
        }
    }
}

/// Does a process map, byte for byte, what lies at the same paths now? So it is where a change was taken back beside it: the
/// files are others, and their content is what it began with.
///
/// # Errors
/// When what it maps cannot be read.
pub fn maps_what_lies_there(pid: u32) -> io::Result<bool> {
    let mut seen = BTreeSet::new();
    for line in BufReader::new(File::open(format!("/proc/{pid}/maps"))?).split(b'\n') {
        let line = line?;
        let Some(path) = removed(&line) else { continue };
        if !seen.insert(path.clone()) {
            continue;
        }
        let range = String::from_utf8_lossy(&line);
        let range = range.split(' ').next().unwrap_or_default();
        let memory = process::digest(&File::open(format!("/proc/{pid}/map_files/{range}"))?)?;
        match File::open(&path) {
            Ok(file) if process::digest(&file)? == memory => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

fn replaced(pid: u32, root: FileId) -> io::Result<Vec<String>> {
    // A container's files are its image's, not this node's packages'. A thread of the kernel has no such link.
    match fs::metadata(format!("/proc/{pid}/root")) {
        Ok(its) if FileId::of(&its) != root => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let mut found = BTreeSet::new();
    for line in BufReader::new(File::open(format!("/proc/{pid}/maps"))?).split(b'\n') {
        if let Some(path) = removed(&line?)
            && found.len() < FILES
        {
            found.insert(path);
        }
    }
    Ok(found.into_iter().collect())
}

/// The file of a line of `maps` that lies there no more.
fn removed(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let path = line.strip_suffix(" (deleted)")?;
    let path = &path[path.find('/')?..];
    INSTALLED.iter().any(|dir| path.starts_with(dir)).then(|| printable_line(path))
}

fn command(pid: u32) -> String {
    printable_line(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim())
}

/// The unit that a process belongs to.
pub fn unit(pid: u32) -> Option<String> {
    unit_of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The innermost service or scope of a text of `/proc/PID/cgroup`.
fn unit_of(text: &str) -> Option<String> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    let unit = text.lines().filter(of_systemd).find_map(|line| line.rsplit('/').find(is_unit))?;
    Some(printable_line(unit))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        process::{Command, Stdio},
    };

    use super::*;

    /// Recorded lines of `/proc/PID/maps`.
    #[test]
    fn what_was_replaced_is_told_from_what_was_never_a_package_file() {
        let removed = |line: &str| removed(line.as_bytes());
        let at = "7f2a1c000000-7f2a1c022000 r-xp 00000000 08:01 1234                       ";
        assert_eq!(
            removed(&format!("{at}/usr/lib/x86_64-linux-gnu/libvirt.so.0 (deleted)")).as_deref(),
            Some("/usr/lib/x86_64-linux-gnu/libvirt.so.0")
        );
        assert_eq!(removed(&format!("{at}/usr/lib/x86_64-linux-gnu/libvirt.so.0")), None);
        for other in ["/memfd:x", "/dev/shm/pg", "/SYSV00000000", "/tmp/x", "/dev/zero", "/var/lib/x"] {
            assert_eq!(removed(&format!("{at}{other} (deleted)")), None, "{other}");
        }
    }

    #[test]
    fn the_unit_is_the_innermost_one() {
        let unit = |text: &str| unit_of(text);
        assert_eq!(unit("0::/system.slice/libvirtd.service\n").as_deref(), Some("libvirtd.service"));
        assert_eq!(
            unit("0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n").as_deref(),
            Some("machine-qemu\\x2d1\\x2dvm.scope")
        );
        let v1 = "12:pids:/x.service\n1:name=systemd:/system.slice/ssh.service\n";
        assert_eq!(unit(v1).as_deref(), Some("ssh.service"));
        assert_eq!(unit("0::/\n"), None);
    }

    #[test]
    fn one_process_that_may_not_be_looked_at_is_named_and_one_that_has_ended_is_none() {
        let mut stale = Stale::default();
        stale.add(1, Ok(vec!["/usr/lib/x".into()]));
        stale.add(2, Ok(Vec::new()));
        stale.add(3, Err(io::ErrorKind::NotFound.into()));
        stale.add(4, Err(io::Error::from_raw_os_error(nix::libc::ESRCH)));
        stale.add(std::process::id(), Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!((stale.named.len(), stale.count, stale.unread.len()), (1, 1, 1));
        assert!(
            stale.unread[0].ends_with(&format!("(pid {}): permission denied", std::process::id())),
            "{stale:?}"
        );
    }

    #[test]
    fn a_process_whose_program_was_removed_is_found() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        // A file below /opt, as a package would put it there; nothing of it is left behind.
        let Ok(dir) = tempfile::Builder::new().prefix("drydock-stale-").tempdir_in("/opt") else { return };
        let program = dir.path().join("waits");
        fs::copy("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Its start is not yet its program's being mapped: what it echoes is.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let root = FileId::of(&fs::metadata("/").unwrap());
        let intact = replaced(child.id(), root).unwrap();
        let as_it_lies_there = || maps_what_lies_there(child.id()).unwrap();
        let at_first = as_it_lies_there();
        fs::remove_file(&program).unwrap();
        let gone = replaced(child.id(), root).unwrap();
        let removed = as_it_lies_there();
        fs::copy("/bin/true", &program).unwrap();
        let another = as_it_lies_there();
        fs::remove_file(&program).unwrap();
        fs::copy("/bin/cat", &program).unwrap();
        let back = as_it_lies_there();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(intact, Vec::<String>::new());
        assert_eq!(gone, [program.display().to_string()]);
        assert_eq!([at_first, removed, another, back], [true, false, false, true]);
    }
}
