//! Processes that run what is not installed any more: they get the new code only by a restart, and one that comes by itself later
//! changes what runs.

use std::collections::BTreeMap;

use drydock_types::{
    findings::{Finding, FindingKind, Weight},
    packages::StaleProcess,
};

use super::{Seen, finding, with_next};
use crate::sys::stale;

/// So many units are named.
const NAMED: usize = 8;

pub(super) fn look() -> Seen {
    let stale = stale::processes().map_err(|error| format!("which files processes run: {error}"))?;
    let found = judge(&stale.named, stale.count).into_iter().chain(unread(&stale.unread));
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
    let one = finding(FindingKind::Packages, Weight::Warns, what);
    Some(with_next(
        one,
        "restart those units when it suits, or as a stage of a plan; a restart at another time would change what runs",
    ))
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
