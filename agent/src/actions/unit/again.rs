//! Once more, after a daemon has failed to start: what was in its way (a `/run` that was full for a moment) may be over.

use tokio::time::{Instant, sleep};

use super::{Job, run, seen_up};
use crate::{
    actions::Problem,
    host::Host,
    sys::units::{LOOK_AGAIN, UnitInfo, Verb},
};
use drydock_types::outcome::{Evidence, RunningUnit};

/// What systemd itself makes of a unit whose job has failed.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It runs.
    Up,
    /// It starts it anew, as `Restart=` says: between two starts the unit has not failed.
    Coming,
    /// It has given it up: `start-limit-hit`, or a unit without `Restart=`.
    GivenUp,
    /// It is down and has not failed, or is the one of before.
    Otherwise,
}

impl Fate {
    fn of(info: &UnitInfo, not: Option<&str>) -> Self {
        if info.is_running() {
            return if not == Some(info.invocation_id.as_str()) { Self::Otherwise } else { Self::Up };
        }
        let coming = info.job_pending || matches!(info.active_state.as_str(), "activating" | "deactivating");
        match (coming, info.needs_reset()) {
            (true, _) => Self::Coming,
            (false, true) => Self::GivenUp,
            (false, false) => Self::Otherwise,
        }
    }
}

/// As [`run`]. Where the daemon fails to start, systemd's own attempts are waited out; when it has given the unit up, the failure
/// is reset and the unit started once more. Once, and only for that: whatever lives by the daemon is without it meanwhile.
///
/// # Errors
/// As [`run`], with both failures.
pub(in crate::actions) async fn run_or_once_more(
    host: &Host,
    job: Job<'_>,
) -> Result<Vec<Evidence>, Problem> {
    let begun = Instant::now();
    let first = match run(host, job).await {
        Ok(evidence) => return Ok(evidence),
        Err(problem) => problem,
    };
    match waited_out(host, job, begun).await {
        Some(Ok(up)) => Ok(vec![Evidence::Running(up)]),
        // `run` resets the failure before it starts.
        Some(Err(GivenUp)) => {
            let what = |second: &Problem| format!("{}; started once more: {}", first.what, second.what);
            match run(host, Job { verb: Verb::Start, ..job }).await {
                Ok(evidence) => Ok(evidence),
                Err(second) => Err(Problem { what: what(&second), ..second }
                    .next(format!("systemctl reset-failed {0}; systemctl start {0}", job.unit))),
            }
        }
        None => Err(first),
    }
}

/// systemd has given it up.
struct GivenUp;

/// Until systemd has it up or has given it up; `None`: neither, or not in time.
async fn waited_out(host: &Host, job: Job<'_>, begun: Instant) -> Option<Result<RunningUnit, GivenUp>> {
    loop {
        let info = host.units.load(job.unit).await.ok()?;
        match Fate::of(&info, job.not) {
            Fate::Up => return seen_up(host, job, begun).await.ok().map(Ok),
            Fate::GivenUp => return Some(Err(GivenUp)),
            Fate::Coming if begun.elapsed() < job.within => sleep(LOOK_AGAIN).await,
            Fate::Coming | Fate::Otherwise => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, sub: &str, result: &str, pid: u32) -> UnitInfo {
        UnitInfo {
            id: "libvirtd.service".into(),
            invocation_id: "new".into(),
            active_state: active.into(),
            sub_state: sub.into(),
            result: result.into(),
            main_pid: pid,
            ..UnitInfo::default()
        }
    }

    /// As systemd 252 shows a unit with `Restart=on-failure` whose `ExecStartPre` fails.
    #[test]
    fn between_two_starts_a_unit_is_coming_and_not_given_up() {
        let fate = |info: &UnitInfo| Fate::of(info, Some("old"));
        assert_eq!(fate(&unit("activating", "auto-restart", "exit-code", 0)), Fate::Coming);
        assert_eq!(fate(&unit("activating", "start-pre", "exit-code", 0)), Fate::Coming);
        assert_eq!(fate(&unit("failed", "failed", "start-limit-hit", 0)), Fate::GivenUp);
        assert_eq!(fate(&unit("failed", "failed", "exit-code", 0)), Fate::GivenUp);
        assert_eq!(fate(&unit("active", "running", "success", 7)), Fate::Up);
        assert_eq!(fate(&unit("inactive", "dead", "success", 0)), Fate::Otherwise);
        let old = UnitInfo { invocation_id: "old".into(), ..unit("active", "running", "success", 7) };
        assert_eq!(fate(&old), Fate::Otherwise, "nothing was restarted");
    }
}
