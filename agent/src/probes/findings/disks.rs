//! Space and inodes where a change needs them, and file systems that cannot be written to.

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use drydock_types::findings::{Finding, FindingKind, Weight};
use nix::sys::statvfs::statvfs;

use super::{Seen, finding, with_next};

/// A table of mounts is never larger.
const MAX_BYTES: u64 = 4 << 20;
/// As PID 1 has it: a service's own namespace may have file systems read-only that are not.
const MOUNTS: &str = "/proc/1/mountinfo";

/// Where packages, daemons and their logs write. Not where guests' disks may lie, which may be a network's.
const PLACES: [&str; 7] = ["/", "/usr", "/var", "/var/log", "/var/lib/libvirt", "/run", "/boot"];
/// Less space than this stops, in bytes.
const TOO_FEW_BYTES: u64 = 128 << 20;
/// The same where little is ever written: `/run`, `/boot`.
const TOO_FEW_SMALL: u64 = 16 << 20;
/// Above this much of the whole in use somebody should know, in percent.
const FULL_PERCENT: u64 = 90;

/// A file system as `statvfs` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Space {
    size: u64,
    free: u64,
    inodes: u64,
    inodes_free: u64,
}

pub(super) fn look(state_dir: &Path) -> Seen {
    let places = PLACES.map(Path::new).into_iter().chain([state_dir]);
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for place in places {
        let failed = |error: io::Error| format!("{}: {error}", place.display());
        let meta = match fs::metadata(place) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        if !seen.insert(meta.dev()) {
            continue;
        }
        let space = space(place).map_err(failed)?;
        let small = ["/run", "/boot"].contains(&place.to_str().unwrap_or_default());
        found.extend(judge(place, &space, if small { TOO_FEW_SMALL } else { TOO_FEW_BYTES }));
    }
    let mounts = fs::File::open(MOUNTS).and_then(|file| {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, MAX_BYTES), &mut text)?;
        Ok(text)
    });
    let mounts = mounts.map_err(|error| format!("{MOUNTS}: {error}"))?;
    found.extend(cannot_be_written(&mounts, state_dir));
    Ok((found, u64::try_from(seen.len()).unwrap_or(u64::MAX)))
}

fn space(place: &Path) -> io::Result<Space> {
    let stat = statvfs(place)?;
    let size = wide(stat.fragment_size());
    Ok(Space {
        size: wide(stat.blocks()).saturating_mul(size),
        free: wide(stat.blocks_available()).saturating_mul(size),
        inodes: wide(stat.files()),
        inodes_free: wide(stat.files_available()),
    })
}

/// The types of these differ between architectures.
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}

fn judge(place: &Path, space: &Space, least: u64) -> Vec<Finding> {
    let (mut found, place) = (Vec::new(), place.display());
    let next = format!("see what fills it: du -xh {place} | sort -h | tail -20");
    if let Some(free) = space.free.saturating_mul(100).checked_div(space.size) {
        let percent = 100u64.saturating_sub(free);
        let what = format!("{place} has {} MiB free of {} MiB", space.free >> 20, space.size >> 20);
        if space.free < least.min(space.size / 2) {
            found.push(with_next(finding(FindingKind::Disk, Weight::Stops, what), next));
        } else if percent >= FULL_PERCENT {
            found.push(with_next(finding(FindingKind::Disk, Weight::Warns, what), next));
        }
    }
    // Some file systems make inodes as they need them, and say that they have none.
    if let Some(free) = space.inodes_free.saturating_mul(100).checked_div(space.inodes) {
        let percent = 100u64.saturating_sub(free);
        let what = format!("{place} has {} inodes free of {}", space.inodes_free, space.inodes);
        let next = format!("see what has so many files: du --inodes -x {place} | sort -h | tail -20");
        if space.inodes_free < 1000.min(space.inodes / 2) {
            found.push(with_next(finding(FindingKind::Disk, Weight::Stops, what), next));
        } else if percent >= FULL_PERCENT {
            found.push(with_next(finding(FindingKind::Disk, Weight::Warns, what), next));
        }
    }
    found
}

/// File systems that are read-only where something is written. A root that is so by design has a `/var` of its own.
fn cannot_be_written(mounts: &str, state_dir: &Path) -> Vec<Finding> {
    let read_only = |path: &Path| {
        // The last one mounted over a place is the one that is seen.
        let holds = mounts.lines().filter_map(mount).filter(|(at, _)| path.starts_with(at));
        holds.max_by_key(|(at, _)| at.len()).filter(|(_, read_only)| *read_only).map(|(at, _)| at.to_owned())
    };
    let needed: BTreeSet<String> = [Path::new("/var"), state_dir].into_iter().filter_map(read_only).collect();
    let each = needed.into_iter().map(|at| {
        let what = format!("the file system at {at} is read-only: nothing can be changed here");
        let next = "a disk that fails makes it so: dmesg | tail -50; then mount -o remount,rw";
        with_next(finding(FindingKind::Disk, Weight::Stops, what), format!("{next} {at}"))
    });
    each.collect()
}

/// Where, and is it read-only, by the mount's own or the file system's word?
fn mount(line: &str) -> Option<(&str, bool)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ');
    let (at, options) = (fields.nth(4)?, fields.next()?);
    let is = |options: &str| options.split(',').any(|option| option == "ro");
    Some((at, is(options) || system.split(' ').nth(2).is_some_and(is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space_of(size: u64, free: u64) -> Space {
        Space { size: size << 20, free: free << 20, inodes: 0, inodes_free: 0 }
    }

    #[test]
    fn space_stops_when_it_is_gone_and_warns_before() {
        let judge = |space| judge(Path::new("/var"), &space, TOO_FEW_BYTES);
        assert_eq!(judge(space_of(100_000, 20_000)), []);
        let warned = judge(space_of(100_000, 9_000));
        assert_eq!((warned[0].weight, warned.len()), (Weight::Warns, 1));
        let stopped = judge(space_of(100_000, 100));
        assert_eq!(stopped[0].weight, Weight::Stops);
        assert_eq!(stopped[0].what, "/var has 100 MiB free of 100000 MiB");
        assert_eq!(judge(space_of(100, 90)), [], "small and nearly empty");
        assert_eq!(judge(Space::default()), [], "no file system of blocks");
    }

    #[test]
    fn inodes_run_out_with_space_left() {
        let space = Space { inodes: 1_000_000, inodes_free: 10, ..space_of(100_000, 50_000) };
        let found = judge(Path::new("/"), &space, TOO_FEW_BYTES);
        assert_eq!(found[0].what, "/ has 10 inodes free of 1000000");
        assert_eq!(found[0].weight, Weight::Stops);
    }

    /// As a root has it after `errors=remount-ro`, and with a mount over it.
    const RW: &str = "21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro";
    const RO: &str = "21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 ro,errors=remount-ro";
    const VAR: &str = "30 21 254:2 / /var rw,relatime shared:9 - xfs /dev/vda2 rw,attr2";

    #[test]
    fn a_root_that_turned_read_only_stops_and_one_that_is_so_by_design_does_not() {
        let state = Path::new("/var/lib/drydock-agent");
        assert_eq!(cannot_be_written(RW, state), []);
        let found = cannot_be_written(RO, state);
        assert_eq!(found.len(), 1, "once for both places");
        assert!(found[0].what.starts_with("the file system at / is read-only"), "{found:?}");
        assert_eq!(cannot_be_written(&format!("{RO}\n{VAR}"), state), []);
        assert_eq!(cannot_be_written(&format!("{RO}\n{VAR}"), Path::new("/opt/x")).len(), 1);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let (_, count) = look(Path::new("/var/lib")).unwrap();
        assert!(count >= 1);
    }
}
