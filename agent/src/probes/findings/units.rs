//! Units that have failed, and services that are said to run with no process behind it.

use std::time::Duration;

use drydock_types::findings::{Finding, FindingKind, Weight};
use nix::time::{ClockId, clock_gettime};

use super::{Seen, finding, with_next};
use crate::{host::Host, sys::units::survey::Survey};

pub(super) async fn look(host: &Host) -> Seen {
    let survey = host.units.survey().await.map_err(|error| error.to_string())?;
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|error| format!("the clock: {error}"))?;
    let count = u64::try_from(survey.units).unwrap_or(u64::MAX);
    Ok((judge(&survey, Duration::from(now), &|unit| host.policy.lists(unit)), count))
}

/// `ours` are the units that are worked on here: without one of them well, nothing is begun.
fn judge(survey: &Survey, now: Duration, ours: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let weight = |unit: &str| if ours(unit) { Weight::Stops } else { Weight::Warns };
    let mut found = Vec::new();
    for failed in &survey.failed {
        let unit = &failed.name;
        // Where the last start failed too, systemd keeps that as the result and says nothing of the limit.
        let given_up = match failed.n_restarts {
            0 => String::new(),
            times => format!(", and systemd gave up after {times} restarts"),
        };
        let what = match failed.result.as_str() {
            "" | "success" => format!("{unit} has failed"),
            "start-limit-hit" => {
                format!("{unit} was started too often and is not started any more (start-limit-hit)")
            }
            "oom-kill" => format!("{unit} was killed because there was no memory left (oom-kill)"),
            result => format!("{unit} has failed ({result}{given_up})"),
        };
        let since = Duration::from_micros(failed.since_monotonic_us);
        let for_s = (failed.since_monotonic_us > 0).then(|| now.saturating_sub(since).as_secs());
        let next = format!("journalctl -u {unit}; when it is mended: systemctl reset-failed {unit}");
        let one = Finding { for_s, ..finding(FindingKind::Unit, weight(unit), what) };
        found.push(with_next(one, next));
    }
    if survey.more_failed > 0 {
        let what = format!("{} more units have failed", survey.more_failed);
        found.push(with_next(finding(FindingKind::Unit, Weight::Warns, what), "systemctl --failed"));
    }
    for unit in &survey.empty {
        let what = format!("{unit} is said to be running and has no process");
        let one = finding(FindingKind::Unit, weight(unit), what);
        found.push(with_next(one, format!("systemctl status {unit}; systemctl restart {unit}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::units::survey::Failure;

    #[test]
    fn a_failed_unit_is_told_with_its_age_and_stops_only_where_it_is_worked_on() {
        let failed = |name: &str, result: &str, since_s: u64| Failure {
            name: name.into(),
            result: result.into(),
            n_restarts: 0,
            since_monotonic_us: since_s * 1_000_000,
        };
        let survey = Survey {
            units: 100,
            failed: vec![
                failed("motd-news.service", "exit-code", 40),
                failed("etcd.service", "start-limit-hit", 10),
                failed("x.mount", "", 0),
            ],
            more_failed: 2,
            empty: vec!["ovs-vswitchd.service".into()],
        };
        let found = judge(&survey, Duration::from_secs(100), &|unit| unit == "etcd.service");
        let told: Vec<_> =
            found.iter().map(|found| (found.weight, found.what.as_str(), found.for_s)).collect();
        let want = [
            (Weight::Warns, "motd-news.service has failed (exit-code)", Some(60)),
            (
                Weight::Stops,
                "etcd.service was started too often and is not started any more (start-limit-hit)",
                Some(90),
            ),
            (Weight::Warns, "x.mount has failed", None),
            (Weight::Warns, "2 more units have failed", None),
            (Weight::Warns, "ovs-vswitchd.service is said to be running and has no process", None),
        ];
        assert_eq!(told, want);
        assert!(found.iter().all(|found| !found.next.is_empty()));
    }

    #[test]
    fn a_unit_that_systemd_gave_up_is_told_so_as_debian_12s_shows_it() {
        let name = "storm.service".to_owned();
        let failed = Failure { name, result: "exit-code".into(), n_restarts: 5, since_monotonic_us: 1 };
        let survey = Survey { units: 149, failed: vec![failed], ..Survey::default() };
        let found = judge(&survey, Duration::from_secs(9), &|_| false);
        assert_eq!(
            found[0].what,
            "storm.service has failed (exit-code, and systemd gave up after 5 restarts)"
        );
    }

    #[test]
    fn a_node_whose_units_are_well_has_no_findings() {
        let survey = Survey { units: 80, ..Survey::default() };
        assert_eq!(judge(&survey, Duration::from_secs(1), &|_| true), []);
    }
}
