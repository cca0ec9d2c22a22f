//! Processes that run what is not installed any more: they get the new code only by a restart, and one that comes by itself later
//! changes what runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use drydock_types::{
    findings::{Finding, FindingKind, Weight},
    packages::StaleProcess,
};

use super::{Seen, finding, lasted_since, with_next};
use crate::sys::stale;

/// So many units are named.
const NAMED: usize = 8;

pub(super) fn look() -> Seen {
    let stale = stale::processes().map_err(|error| format!("which files processes run: {error}"))?;
    let files = stale.named.iter().flat_map(|process| &process.files);
    let for_s = files.filter_map(|file| replaced_for_s(file)).max();
    let replaced = judge(&stale.named, stale.count).map(|one| Finding { for_s, ..one });
    let found = replaced.into_iter().chain(unread(&stale.unread));
    Ok((found.collect(), stale.count))
}

/// Of these nobody knows.
fn unread(unread: &[String]) -> Option<Finding> {
    let first = unread.first()?;
    let what =
        format!("{} processes may not be looked at, so what they run is not known: {first}", unread.len());
    Some(with_next(
        finding(FindingKind::Packages, Weight::Warns, what),
        "the agent looks as root with CAP_SYS_PTRACE; see what forbids it: journalctl -k -g 'denied|avc'",
    ))
}

/// So long at least it is another file: by what lies there now, or its directory where nothing does.
fn replaced_for_s(file: &str) -> Option<u64> {
    let changed = |path: &Path| Some(fs::symlink_metadata(path).ok()?.ctime());
    let path = Path::new(file);
    lasted_since(changed(path).or_else(|| changed(path.parent()?))?)
}

/// One finding, with the units that would have to be restarted.
fn judge(named: &[StaleProcess], count: u64) -> Option<Finding> {
    let first = named.first()?;
    let mut units: BTreeMap<&str, u64> = BTreeMap::new();
    for process in named {
        let unit = process.unit.as_deref().unwrap_or("no unit");
        *units.entry(unit).or_default() += 1;
    }
    let mut told: Vec<String> =
        units.iter().take(NAMED).map(|(unit, count)| format!("{unit} ({count})")).collect();
    if units.len() > NAMED {
        told.push(format!("{} more units", units.len() - NAMED));
    }
    let unnamed = count.saturating_sub(named.len() as u64);
    if unnamed > 0 {
        told.push(format!("{unnamed} more processes"));
    }
    let runs = if count == 1 { "process runs" } else { "processes run" };
    let file = first.files.first().map(|file| format!("; {} maps {file}", first.command)).unwrap_or_default();
    let what = format!("{count} {runs} what is not installed any more: {}{file}", told.join(", "));
    let mut one = with_next(
        finding(FindingKind::Packages, Weight::Warns, what),
        "restart those units when it suits, or as a stage of a plan; a restart at another time would change what runs",
    );
    let otherwise: BTreeSet<&str> = units.keys().filter_map(|unit| not_by_a_restart(unit)).collect();
    one.next.extend(otherwise.into_iter().map(str::to_owned));
    Some(one)
}

/// What is done in place of a restart where that would take something from guests.
fn not_by_a_restart(unit: &str) -> Option<&'static str> {
    match unit {
        "openvswitch-switch.service" | "ovs-vswitchd.service" | "ovsdb-server.service" => {
            Some("Open vSwitch only by a plan with the recipe openvswitch: a plain restart loses every flow")
        }
        "virtlogd.service" | "virtlockd.service" => Some(
            "virtlogd and virtlockd by systemctl reload, which runs the new ones: a restart cuts guests off from their consoles \
             and locks",
        ),
        guest if guest.starts_with("machine-qemu") => {
            Some("a guest (machine-qemu…) has another QEMU only when it is migrated or started anew")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, unit: Option<&str>) -> StaleProcess {
        StaleProcess {
            pid,
            command: "sshd".into(),
            unit: unit.map(str::to_owned),
            files: vec!["/usr/lib/libcrypto.so.3".into()],
        }
    }

    #[test]
    fn a_file_is_another_one_since_what_lies_there_was_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib.so");
        let for_s = || replaced_for_s(file.to_str().unwrap());
        assert!(for_s().unwrap() < 60, "removed");
        fs::write(&file, "").unwrap();
        assert!(for_s().unwrap() < 60, "exchanged");
        assert_eq!(replaced_for_s("/nowhere/at/all"), None);
    }

    #[test]
    fn where_a_restart_takes_something_from_guests_another_way_is_told() {
        let next = |unit: &str| judge(&[process(1, Some(unit))], 1).unwrap().next;
        assert_eq!(next("ssh.service").len(), 1);
        assert!(next("ovs-vswitchd.service")[1].contains("recipe openvswitch"));
        assert!(next("virtlogd.service")[1].contains("systemctl reload"));
        assert!(next("machine-qemu\\x2d1\\x2dvm.scope")[1].contains("migrated"));
        let both = [process(1, Some("ovsdb-server.service")), process(2, Some("ovs-vswitchd.service"))];
        assert_eq!(judge(&both, 2).unwrap().next.len(), 2, "once for both");
    }

    #[test]
    fn units_are_counted_and_what_is_too_much_is_said() {
        assert_eq!((judge(&[], 0), unread(&[])), (None, None));
        let denied = unread(&["sshd (pid 7): permission denied".into()]).unwrap().what;
        assert!(denied.starts_with("1 processes") && denied.ends_with("sshd (pid 7): permission denied"));
        let two = [process(1, Some("ssh.service")), process(2, Some("ssh.service")), process(3, None)];
        let told = judge(&two, 3).unwrap();
        assert_eq!(
            told.what,
            "3 processes run what is not installed any more: no unit (1), ssh.service (2); sshd maps /usr/lib/libcrypto.so.3"
        );
        assert_eq!(told.weight, Weight::Warns);
        let many: Vec<_> = (0..20).map(|pid| process(pid, Some(&format!("u{pid:02}.service")))).collect();
        let told = judge(&many, 90).unwrap().what;
        assert!(told.contains("u07.service (1), 12 more units, 70 more processes"), "{told}");
    }
}
