//! Who installs packages, what upgrades itself, and what dpkg has left half-way.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    path::Path,
};

use drydock_types::findings::{Finding, FindingKind, Weight};

use super::{Seen, finding, with_next};
use crate::{
    probes::rehearse,
    sys::{
        packages::{self, AtWork},
        process,
    },
};

const STATUS: &str = "/var/lib/dpkg/status";
/// What dpkg has begun and not ended: there are files here only while it works, or when it was killed.
const UPDATES: &str = "/var/lib/dpkg/updates";
/// A machine with thousands of packages has some MiB.
const MAX_BYTES: u64 = 128 << 20;
/// So many are named.
const NAMED: usize = 8;

pub(super) fn look() -> Seen {
    let mut found = Vec::new();
    let busy = packages::who_is_at_work()
        .map_err(|error| format!("whether a package manager is at work: {error}"))?;
    found.extend(busy.as_ref().map(at_work));
    if let Some(foreseen) = rehearse::upgrades_itself(Path::new(rehearse::APT_CONF)) {
        let one = finding(FindingKind::Packages, Weight::Warns, foreseen.what);
        found.push(Finding { next: foreseen.next, ..one });
    }
    let half = match File::open(STATUS) {
        Ok(file) => half_way(BufReader::new(file.take(MAX_BYTES))),
        // No dpkg here.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((found, 0)),
        Err(error) => Err(error),
    };
    let (half, count) = half.map_err(|error| format!("{STATUS}: {error}"))?;
    let begun = match fs::read_dir(UPDATES) {
        Ok(entries) => entries.flatten().any(|entry| digits(&entry.file_name().to_string_lossy())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(format!("{UPDATES}: {error}")),
    };
    // While it works, what is half-way is what it works on.
    if busy.is_none() {
        found.extend(judge(&half, begun));
    }
    Ok((found, count))
}

/// It has worked for as long as its process runs.
fn at_work(who: &AtWork) -> Finding {
    let what = format!("a package manager is at work: {}", who.what);
    let age = who.pid.and_then(|pid| process::age(pid).ok());
    let one = Finding {
        for_s: age.map(|age| age.as_secs()),
        ..finding(FindingKind::Packages, Weight::Stops, what)
    };
    let next = match who.pid {
        Some(pid) => {
            format!("let it end: ps -fp {pid} says what it was told, /var/log/apt/term.log how far it is")
        }
        None => "let it end: it runs in a container of its own".to_owned(),
    };
    with_next(one, next)
}

fn digits(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn judge(half: &[(String, String)], begun: bool) -> Option<Finding> {
    let what = match half {
        [] if begun => "dpkg was interrupted".to_owned(),
        [] => return None,
        half => {
            let mut named: Vec<_> =
                half.iter().take(NAMED).map(|(name, state)| format!("{name} ({state})")).collect();
            if half.len() > NAMED {
                named.push(format!("{} more", half.len() - NAMED));
            }
            format!("dpkg has left packages half-way: {}", named.join(", "))
        }
    };
    let next = "dpkg --audit says why; dpkg --configure -a goes on with it";
    Some(with_next(finding(FindingKind::Packages, Weight::Stops, what), next))
}

/// Packages that are neither there nor gone, with dpkg's word; and how many there are in all.
fn half_way(status: impl io::BufRead) -> io::Result<(Vec<(String, String)>, u64)> {
    let (mut half, mut count, mut name) = (Vec::new(), 0, String::new());
    for line in status.split(b'\n') {
        let line = line?;
        if let Some(rest) = line.strip_prefix(b"Package: ") {
            name = String::from_utf8_lossy(rest).trim().to_owned();
            count += 1;
        } else if let Some(rest) = line.strip_prefix(b"Status: ") {
            let rest = String::from_utf8_lossy(rest);
            // What is wanted, whether it must be installed anew, how it is.
            let mut words = rest.split_whitespace().skip(1);
            let (anew, state) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let whole = matches!(state, "installed" | "config-files" | "not-installed");
            if !whole || anew == "reinstreq" {
                let state = if whole { anew } else { state };
                half.push((std::mem::take(&mut name), state.to_owned()));
            }
        }
    }
    Ok((half, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as dpkg 1.21 writes them.
    const WELL: &str = "Package: adduser\nStatus: install ok installed\nPriority: important\n\n\
                        Package: exim4\nStatus: deinstall ok config-files\n\n";
    const HALF: &str = "Package: libvirt-daemon\nStatus: install ok half-configured\n\n\
                        Package: man-db\nStatus: install ok triggers-pending\n\n\
                        Package: x\nStatus: install reinstreq installed\n\n";

    #[test]
    fn whoever_works_on_packages_is_named_with_his_age() {
        let me = std::process::id();
        let found = at_work(&AtWork { what: format!("dpkg (pid {me}) is running"), pid: Some(me) });
        assert_eq!(found.what, format!("a package manager is at work: dpkg (pid {me}) is running"));
        assert_eq!((found.weight, found.for_s.is_some()), (Weight::Stops, true));
        assert!(found.next[0].contains(&format!("ps -fp {me} ")), "{found:?}");
        let elsewhere = at_work(&AtWork { what: "process 0 holds x".into(), pid: None });
        assert_eq!((elsewhere.for_s, elsewhere.next.len()), (None, 1));
    }

    #[test]
    fn packages_that_are_neither_there_nor_gone_are_named_with_dpkgs_word() {
        assert_eq!(half_way(WELL.as_bytes()).unwrap(), (Vec::new(), 2));
        let (half, count) = half_way(format!("{WELL}{HALF}").as_bytes()).unwrap();
        assert_eq!(count, 5);
        let found = judge(&half, false).unwrap();
        assert_eq!(
            found.what,
            "dpkg has left packages half-way: libvirt-daemon (half-configured), man-db (triggers-pending), x (reinstreq)"
        );
        assert_eq!(found.weight, Weight::Stops);
    }

    #[test]
    fn an_interrupted_dpkg_stops_also_when_every_package_looks_whole() {
        assert_eq!(judge(&[], false), None);
        assert_eq!(judge(&[], true).unwrap().what, "dpkg was interrupted");
        assert!(digits("0001") && !digits("tmp.i") && !digits(""));
    }

    #[test]
    fn a_hundred_half_packages_are_one_line() {
        let many = vec![("p".to_owned(), "unpacked".to_owned()); 100];
        assert!(judge(&many, false).unwrap().what.ends_with("92 more"));
    }
}
