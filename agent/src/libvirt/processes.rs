//! QEMU processes, as the process table has them: whoever started them, whatever libvirt knows of them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use drydock_types::libvirt::GuestProcess;

use super::{
    emulator,
    parse::{is_uuid, short},
};
use crate::sys::process;

/// The longest command line that is read: QEMU's grow with the guest's devices.
const MAX_CMDLINE_BYTES: u64 = 1 << 20;
const MAX_CGROUP_BYTES: u64 = 64 << 10;

/// A QEMU process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Qemu {
    /// As it is sent.
    pub(super) process: GuestProcess,
    /// The guest's name on its command line.
    pub(super) name: String,
    /// Its `/proc/PID/cgroup`.
    pub(super) cgroups: String,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processes {
    /// By the UUID on the command line.
    pub(super) by_uuid: BTreeMap<String, Qemu>,
    /// Those without one.
    pub(super) without: Vec<Qemu>,
}

/// Finds them.
///
/// # Errors
/// When a process may not be looked at, or two have one UUID.
pub(super) fn find(proc: &Path) -> Result<Processes, String> {
    let mut found = Processes::default();
    let bad = |error: io::Error| format!("the process table: {error}");
    for entry in fs::read_dir(proc).map_err(bad)? {
        let entry = entry.map_err(bad)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let qemu = match one(&entry.path(), pid) {
            Ok(Some(qemu)) => qemu,
            Ok(None) => continue,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(format!("process {pid}: {error}")),
        };
        match qemu {
            (None, qemu) => found.without.push(qemu),
            (Some(uuid), qemu) => {
                if let Some(other) = found.by_uuid.insert(uuid.clone(), qemu) {
                    return Err(format!("processes {} and {pid} both run guest {uuid}", other.process.pid));
                }
            }
        }
    }
    Ok(found)
}

/// It ended while it was looked at, or is a kernel's thread, which has no program.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

fn one(dir: &Path, pid: u32) -> io::Result<Option<(Option<String>, Qemu)>> {
    let exe = fs::read_link(dir.join("exe"))?;
    let path = exe.as_os_str().as_bytes();
    let (path, deleted) = path.strip_suffix(b" (deleted)").map_or((path, false), |path| (path, true));
    if !is_qemu(path) {
        return Ok(None);
    }
    let started_ticks = started(&fs::read_to_string(dir.join("stat"))?)?;
    let line = read(&dir.join("cmdline"), MAX_CMDLINE_BYTES)?;
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    // Without arguments: a zombie. The daemon's own question what QEMU can do: no guest.
    if line.is_empty() || value(&args, b"-machine").is_some_and(|machine| machine.starts_with(b"none")) {
        return Ok(None);
    }
    let uuid = value(&args, b"-uuid").map(|uuid| String::from_utf8_lossy(uuid).to_ascii_lowercase());
    let uuid = uuid.filter(|uuid| is_uuid(uuid));
    let program = dir.join("exe");
    let in_memory = process::FileId::of(&fs::metadata(&program)?);
    let installed = std::str::from_utf8(path).ok().and_then(|path| process::file_at(path).ok());
    let process = GuestProcess {
        pid,
        started_ticks,
        qemu: emulator::version(&program),
        replaced: deleted || installed != Some(in_memory),
    };
    let cgroups = String::from_utf8_lossy(&read(&dir.join("cgroup"), MAX_CGROUP_BYTES)?).into_owned();
    // The number may have gone to another process meanwhile.
    if started(&fs::read_to_string(dir.join("stat"))?)? != started_ticks {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let name = value(&args, b"-name").map_or_else(|| format!("process {pid}"), guest_name);
    Ok(Some((uuid, Qemu { process, name, cgroups })))
}

/// The beginning of a file of the kernel's.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// By the name of its program: `qemu-system-x86_64`, `qemu-kvm`, `kvm`. Not its tools: `qemu-img`, `qemu-nbd`, `qemu-ga`.
fn is_qemu(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let name = name.strip_prefix(b".").unwrap_or(name);
    name.starts_with(b"qemu-system-")
        || name.starts_with(b"qemu-kvm")
        || name == b"kvm"
        || name == b"kvm-spice"
}

/// What follows an option.
fn value<'a>(args: &[&'a [u8]], option: &[u8]) -> Option<&'a [u8]> {
    let at = args.iter().position(|arg| *arg == option)?;
    args.get(at + 1).copied()
}

/// `guest=NAME,debug-threads=on`, where a comma of the name is doubled.
fn guest_name(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.strip_prefix("guest=").unwrap_or(&text).replace(",,", "\0");
    short(&text.split(',').next().unwrap_or_default().replace('\0', ","))
}

/// Field 22 of `/proc/PID/stat`.
fn started(stat: &str) -> io::Result<u64> {
    let bad = || io::Error::other("its stat has another form than expected");
    // The name in parentheses may hold anything, also spaces and parentheses; what follows the last one counts.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(bad)?;
    fields.split(' ').nth(19).and_then(|field| field.parse().ok()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_told_from_its_tools() {
        for path in ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/kvm"] {
            assert!(is_qemu(path.as_bytes()), "{path}");
        }
        for path in
            ["/usr/bin/qemu-img", "/usr/bin/qemu-nbd", "/usr/sbin/qemu-ga", "/usr/bin/kvmtool", "/bin/sh"]
        {
            assert!(!is_qemu(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_guests_name_may_hold_commas_and_anything_else() {
        assert_eq!(guest_name(b"guest=g1,debug-threads=on"), "g1");
        assert_eq!(guest_name(b"guest=a,,b,debug-threads=on"), "a,b");
        assert_eq!(guest_name(b"guest=\xff\x1b[2J"), "\u{fffd}\\u{1b}[2J");
        assert_eq!(guest_name(b"guest=a\nb\"'$(reboot)"), "a\\nb\"'$(reboot)");
        assert_eq!(guest_name(&[b"guest=".as_slice(), &[b'x'; 255]].concat()).len(), 64);
        assert_eq!(guest_name(b""), "");
    }

    #[test]
    fn the_start_is_read_behind_any_name() {
        let stat = "102 (a) (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started(stat).unwrap(), 4711);
        assert!(started("102 (a").is_err());
    }
}
