//! What is wrong with this node: what an operator would look at before touching it.
//!
//! | module | what is looked at |
//! |---|---|
//! | `units` | units that have failed, and services that run with no process |
//! | `disks` | space, inodes, file systems that cannot be written to |
//! | `sockets` | sockets that the policy, a daemon that runs or the pod network needs: is anybody there? |
//! | `daemons` | which sockets those of a hypervisor's daemons are |
//! | `packages` | who installs packages, and what was left half-way |
//! | `libraries` | processes that run what is not installed any more |
//! | `kernel` | a newer kernel that waits, memory that ran out |
//! | `clock` | whether the clock is set by another one |
//!
//! Each has a pure judge over what a thin reader hands it. What could not be looked at is said: silence is no answer.

mod clock;
mod daemons;
mod disks;
mod kernel;
mod libraries;
mod packages;
mod sockets;
mod units;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use drydock_types::findings::{Finding, FindingKind, FindingsView, Looked, Weight};

use crate::{
    actions::Problem,
    host::Host,
    sys::{blocking, units::printable_line},
};

/// More findings than this nobody reads at once.
const MOST: usize = 200;

/// One kind of thing: what is wrong, and how many were looked at.
type Seen = Result<(Vec<Finding>, u64), String>;

/// Looks.
///
/// # Errors
/// When nothing could be seen at all.
pub async fn look(host: &Host) -> Result<FindingsView, Problem> {
    let (units, sockets, clock) =
        tokio::join!(units::look(host), sockets::look(&host.policy.expect, Path::new("/")), clock::look());
    let state_dir = host.state_dir.clone();
    let files = blocking(move || {
        Ok::<_, Problem>([
            ("disks", disks::look(&state_dir)),
            ("packages", packages::look()),
            ("processes", libraries::look()),
            ("kernel", kernel::look(Path::new("/"))),
        ])
    })
    .await?;
    let rest = [("units", units), ("sockets", sockets), ("clock", clock)];
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(joined(rest.into_iter().chain(files), u64::try_from(unix_ms).unwrap_or(u64::MAX)))
}

/// The worst first, and of equals those that have lasted longest.
fn joined(seen: impl Iterator<Item = (&'static str, Seen)>, unix_ms: u64) -> FindingsView {
    let mut view = FindingsView { unix_ms, ..FindingsView::default() };
    for (at, seen) in seen {
        let seen = seen.map(|(found, count)| {
            view.findings.extend(found);
            count
        });
        view.looked_at.push(Looked { at: at.to_owned(), seen: seen.map_err(|why| printable_line(&why)) });
    }
    view.findings.sort_by_key(|found| (found.weight, std::cmp::Reverse(found.for_s)));
    if view.findings.len() > MOST {
        let more = view.findings.len() - MOST + 1;
        view.findings.truncate(MOST - 1);
        view.findings.push(finding(
            FindingKind::Agent,
            Weight::Warns,
            format!("{more} more findings are not shown"),
        ));
    }
    view
}

fn finding(kind: FindingKind, weight: Weight, what: String) -> Finding {
    Finding { kind, weight, what: printable_line(&what), for_s: None, next: Vec::new() }
}

/// With what to do.
fn with_next(mut found: Finding, next: impl Into<String>) -> Finding {
    found.next.push(next.into());
    found
}

/// How long ago a moment of the wall clock was, in seconds; `None` where that clock has been set back since.
fn lasted_since(unix_s: i64) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    now.checked_sub(u64::try_from(unix_s).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_made_up() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        assert!((100..160).contains(&lasted_since(now - 100).unwrap()));
        assert_eq!((lasted_since(now + 3600), lasted_since(-1)), (None, None));
    }

    #[test]
    fn the_worst_and_the_oldest_come_first_and_what_could_not_be_seen_is_said() {
        let of = |weight, what: &str, for_s| Finding {
            for_s,
            ..finding(FindingKind::Unit, weight, what.to_owned())
        };
        let units = vec![
            of(Weight::Warns, "a", Some(9)),
            of(Weight::Stops, "b", Some(3)),
            of(Weight::Stops, "c", Some(8)),
        ];
        let view = joined([("units", Ok((units, 7))), ("disks", Err("no\nway".into()))].into_iter(), 5);
        let order: Vec<_> = view.findings.iter().map(|found| found.what.as_str()).collect();
        assert_eq!((order, view.unix_ms), (vec!["c", "b", "a"], 5));
        assert_eq!(view.looked_at[0].seen, Ok(7));
        assert_eq!(view.looked_at[1].seen, Err("no\\nway".into()));
    }

    #[tokio::test]
    async fn every_kind_is_looked_at_or_says_why_not() {
        let bench = crate::actions::swap_binary::tests::bench_with("[\"600\"]", "");
        let view = look(&bench.host).await.unwrap();
        println!("{view:#?}");
        let kinds: Vec<_> = view.looked_at.iter().map(|looked| looked.at.as_str()).collect();
        assert_eq!(kinds, ["units", "sockets", "clock", "disks", "packages", "processes", "kernel"]);
        assert!(view.unix_ms > 0);
        assert!(view.findings.is_sorted_by_key(|found| found.weight));
    }

    #[test]
    fn a_node_with_a_thousand_faults_has_two_hundred_lines() {
        let many = vec![finding(FindingKind::Unit, Weight::Warns, "x".into()); 1000];
        let view = joined([("units", Ok((many, 1000)))].into_iter(), 0);
        assert_eq!(view.findings.len(), MOST);
        assert_eq!(view.findings[MOST - 1].what, "801 more findings are not shown");
    }
}
