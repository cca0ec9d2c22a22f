//! A newer kernel that waits for a reboot, and memory that ran out since the last one.

use std::{cmp::Ordering, fs, io, path::Path};

use drydock_types::findings::{Finding, FindingKind, Weight};

use super::{Seen, finding, with_next};
use crate::sys::bounded::{self, Kind};

/// Where Debian's packages say that they want a reboot.
const WANTS_REBOOT: &str = "run/reboot-required";
/// Which of them.
const WANTED_BY: &str = "run/reboot-required.pkgs";
/// Numbers of the kernel's, some hundred lines.
const COUNTERS: &str = "proc/vmstat";

pub(super) fn look(root: &Path) -> Seen {
    let uname = nix::sys::utsname::uname().map_err(|error| format!("uname: {error}"))?;
    let running = uname.release().to_string_lossy();
    let installed = installed(&root.join("boot")).map_err(|error| format!("/boot: {error}"))?;
    let mut found: Vec<Finding> =
        waits(&running, &installed, root.join("lib/modules").join(&*running).is_dir())
            .or_else(|| wants_reboot(root))
            .into_iter()
            .collect();
    let counters =
        fs::read_to_string(root.join(COUNTERS)).map_err(|error| format!("/{COUNTERS}: {error}"))?;
    found.extend(out_of_memory(&counters));
    Ok((found, 1))
}

/// Kernels that lie in `/boot`, by their releases.
fn installed(boot: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(boot) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        Some(entry.ok()?.file_name().to_string_lossy().strip_prefix("vmlinuz-")?.to_owned())
    };
    // What is left of an exchange is none that would be booted.
    let real =
        |name: &String| !name.contains("rescue") && !name.ends_with(".old") && !name.contains(".dpkg-");
    Ok(entries.filter_map(name).filter(real).take(256).collect())
}

/// A container runs a kernel that is not among its own: then nothing here will ever be booted.
fn waits(running: &str, installed: &[String], has_modules: bool) -> Option<Finding> {
    let own = has_modules || installed.iter().any(|release| release == running);
    let newest = installed.iter().max_by(|one, other| by_number(one, other))?;
    if !own || by_number(newest, running) != Ordering::Greater {
        return None;
    }
    let what = format!("kernel {newest} is installed and {running} runs: the next reboot changes it");
    Some(with_next(
        finding(FindingKind::Kernel, Weight::Warns, what),
        "reboot in a window of its own, or know that a reboot during the change does it",
    ))
}

fn wants_reboot(root: &Path) -> Option<Finding> {
    root.join(WANTS_REBOOT).exists().then(|| {
        let by = bounded::text(&root.join(WANTED_BY), Kind::Settings).unwrap_or_default();
        let mut by: Vec<&str> = by.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        by.sort_unstable();
        by.dedup();
        by.truncate(8);
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        let one =
            finding(FindingKind::Kernel, Weight::Warns, format!("packages want a reboot of this node{by}"));
        with_next(one, "reboot in a window of its own")
    })
}

/// Numbers by their value, the rest by its letters: `6.1.0-9` is older than `6.1.0-28`.
fn by_number(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for part in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            parts.push((part[..digits].parse().unwrap_or(0), part[digits..].to_owned()));
        }
        parts
    };
    parts(one).cmp(&parts(other))
}

fn out_of_memory(counters: &str) -> Option<Finding> {
    let killed: u64 =
        counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().unwrap_or(0);
    let what = match killed {
        0 => return None,
        1 => "1 process was killed for want of memory since this node was started".to_owned(),
        many => format!("{many} processes were killed for want of memory since this node was started"),
    };
    Some(with_next(finding(FindingKind::Memory, Weight::Warns, what), "journalctl -k -g 'Killed process'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn releases(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_newer_kernel_in_boot_is_told_and_an_older_one_or_somebody_elses_is_not() {
        let both = releases(&["6.1.0-9-amd64", "6.1.0-28-amd64"]);
        let found = waits("6.1.0-9-amd64", &both, true).unwrap();
        assert!(
            found.what.starts_with("kernel 6.1.0-28-amd64 is installed and 6.1.0-9-amd64 runs"),
            "{found:?}"
        );
        assert_eq!(waits("6.1.0-28-amd64", &both, true), None);
        assert_eq!(waits("5.4.0-host", &both, false), None, "a container");
        assert_eq!(waits("6.1.0-9-amd64", &[], true), None);
        let ubuntu = releases(&["5.15.0-91-generic", "5.15.0-101-generic"]);
        assert!(waits("5.15.0-91-generic", &ubuntu, true).is_some());
    }

    #[test]
    fn packages_that_want_a_reboot_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(wants_reboot(dir.path()), None);
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join(WANTS_REBOOT), "*** System restart required ***\n").unwrap();
        fs::write(dir.path().join(WANTED_BY), "libc6\ndbus\nlibc6\n").unwrap();
        assert_eq!(
            wants_reboot(dir.path()).unwrap().what,
            "packages want a reboot of this node (dbus, libc6)"
        );
    }

    #[test]
    fn what_was_killed_for_want_of_memory_is_counted() {
        assert_eq!(out_of_memory("pgfault 7\noom_kill 0\n"), None);
        assert!(out_of_memory("oom_kill 3\n").unwrap().what.starts_with("3 processes were killed"));
    }

    #[test]
    fn kernels_are_those_that_would_be_booted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vmlinuz-6.1.0-9", "vmlinuz-0-rescue-abc", "vmlinuz-6.1.0-9.old", "config-6.1"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(installed(dir.path()).unwrap(), ["6.1.0-9"]);
        assert_eq!(installed(Path::new("/nonexistent")).unwrap(), Vec::<String>::new());
    }
}
