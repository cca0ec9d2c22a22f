//! Saying why a unit is not well, to a person at three in the morning.

use std::{future::Future, time::Duration};

use drydock_types::{Millis, Step, UnitName};
use tokio::time::{Instant, sleep};

use crate::{
    actions::{Cx, Problem},
    host::Host,
    sys::units::{LOOK_AGAIN, UnitInfo},
};

/// Lines of the unit's log that go with a failure.
const LOG_LINES: usize = 20;

/// The failure with the unit's own last words: `etcd.service exited 1 four times in 8s: "panic: …"`. `what` is
/// said where the unit's process tells nothing.
pub(in crate::actions) async fn failed(
    host: &Host,
    unit: &UnitName,
    what: String,
    begun: Instant,
) -> Problem {
    let info = host.units.load(unit).await.ok();
    let id = info.as_ref().map_or_else(|| unit.as_str().to_owned(), |info| info.id.clone());
    let log = host.units.log_tail(&id, LOG_LINES).await;
    let what = match info.as_ref().and_then(|info| ended(info, begun.elapsed())) {
        Some(ended) => match log.last() {
            Some(line) => format!("{ended}: \"{line}\" ({what})"),
            None => format!("{ended} ({what})"),
        },
        None => what,
    };
    let mut problem = Problem::new(what).next(format!("systemctl status {id}; journalctl -u {id} -e"));
    problem.log = log;
    problem
}

/// Waits for the service, and no longer than it can still come: once a unit that the section started is down
/// for good, every further second of waiting is one out of service.
pub(in crate::actions) async fn while_it_may_come<T>(
    cx: &Cx<'_>,
    wait: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let begun = Instant::now();
    let given_up = async {
        loop {
            sleep(LOOK_AGAIN * 4).await;
            for unit in cx.section.steps.iter().filter_map(started) {
                let info = cx.host.units.load(unit).await.ok().filter(UnitInfo::is_stopped);
                if let Some(info) = info {
                    let what = format!("{} is {}/{}", info.id, info.active_state, info.sub_state);
                    return failed(cx.host, unit, what, begun).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        came = wait => came,
        problem = given_up => Err(problem),
    }
}

const fn started(step: &Step) -> Option<&UnitName> {
    match step {
        Step::StartUnit(config) | Step::RestartUnit(config) => Some(&config.unit),
        _ => None,
    }
}

/// `etcd.service exited 1 four times in 8s`, when its main process is gone.
fn ended(info: &UnitInfo, elapsed: Duration) -> Option<String> {
    if info.last_exit.is_empty() || info.is_running() {
        return None;
    }
    let times = match info.n_restarts {
        0 => String::new(),
        1 => " twice".into(),
        2 => " three times".into(),
        3 => " four times".into(),
        more => format!(" {} times", u64::from(more) + 1),
    };
    let elapsed = Millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    let limit = if info.result == "start-limit-hit" { ", and systemd gave up (start-limit-hit)" } else { "" };
    Some(format!("{} {}{times} in {elapsed}{limit}", info.id, info.last_exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_told_in_one_line() {
        let info = UnitInfo {
            id: "etcd.service".into(),
            active_state: "failed".into(),
            last_exit: "exited 1".into(),
            n_restarts: 3,
            ..UnitInfo::default()
        };
        let told = ended(&info, Duration::from_secs(8));
        assert_eq!(told.as_deref(), Some("etcd.service exited 1 four times in 8s"));
        let up = UnitInfo { active_state: "active".into(), main_pid: 7, ..info };
        assert_eq!(ended(&up, Duration::from_secs(8)), None);
    }
}
