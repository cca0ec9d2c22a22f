//! Restarts ovn-controller, and sees that it has caught up.
//!
//! The unit's own stop has the controller delete its chassis from the southbound database, and with it every port of the node loses
//! its place until the new one has claimed it again (seen with OVN 23.03.1). So it is told first to leave and to let everything be
//! (`exit --restart`): its flows go on forwarding, and its rows stay. Then the unit is started.
//!
//! That the chassis is at the generation that is asked for says nothing of the new process: the one before it has written that. So
//! its flows must be younger than it is: it writes all of them anew when it begins.

mod after;

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{Sha256, openvswitch::RestartOvnController, outcome::Evidence};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{
    Action, Cx, Found, Note, Problem,
    beside::Beside,
    install_packages,
    unit::{self, Job},
};
use crate::{
    host::Host,
    openvswitch::flows::Tables,
    ovn::{self, Tools},
    sys::units::{LOOK_AGAIN, Others, UnitInfo, Verb},
};

/// How long somebody else's job on the unit is waited for before the step is refused.
const SETTLE: Duration = Duration::from_secs(5);
/// After a crash of the agent, so long the new controller is given to catch up before the step is begun again.
const AFTER_CRASH: Duration = Duration::from_secs(30);

/// The restart.
#[derive(Debug)]
pub struct Restart<'a>(pub &'a RestartOvnController);

/// What the integration bridge had been told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Told {
    flows: u64,
    /// Over flows, groups and meters.
    digest: Sha256,
}

impl Told {
    fn of(tables: &Tables) -> Self {
        let all = [tables.flows, tables.groups, tables.meters].map(|it| it.digest().0).concat();
        Self { flows: tables.flows.count, digest: Sha256::of(&all) }
    }
}

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    /// Of the unit.
    invocation: String,
    told: Told,
}

/// The journal's note of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Last {
    /// Empty when it did not run.
    invocation: String,
}

#[async_trait]
impl Action for Restart<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let info = unit::judged(cx.host, &self.0.unit).await?;
        if ended_by_its_package(cx, &info)? {
            return ovn::at(&Tools::installed()).await.map(drop);
        }
        if info.needs_reset() || !info.is_running() {
            return Err(Problem::new(format!(
                "{} is {}/{} ({}): it is not well before the restart",
                info.id, info.active_state, info.sub_state, info.result
            ))
            .next(format!(
                "journalctl -u {0} -e; systemctl reset-failed {0}; systemctl start {0}",
                info.id
            )));
        }
        cx.host
            .units
            .settled(&self.0.unit, SETTLE)
            .await
            .map_err(|error| Problem::new(error.to_string()).next("systemctl list-jobs"))?;
        let seen = ovn::at(&Tools::installed()).await?;
        let pid = seen.controller?.pid;
        if pid != info.main_pid {
            return Err(Problem::new(format!(
                "ovn-controller's pid file names process {pid}, and {} runs process {}: which of them serves cannot be told",
                info.id, info.main_pid
            ))
            .next(format!("systemctl status {}; ls /run/ovn", info.id)));
        }
        // One that waits for northd's version ends its standstill by this very restart.
        match seen.view.caught_up() {
            Err(why) if seen.view.stands_still().is_none() => Err(after::problem(why)),
            _ => Ok(()),
        }
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let info = unit::judged(cx.host, &self.0.unit).await?;
        let seen = ovn::at(&Tools::installed()).await?;
        let (_, tables) = ovn::tables(&seen.chassis).await?;
        Note::of(&Before { invocation: info.invocation_id, told: Told::of(&tables) })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        let info = unit::judged(cx.host, &self.0.unit).await?;
        let beside = Beside::look(cx.host).await?;
        let evidence = self.restart(cx, &before.told, Others::Respect).await?;
        beside.untouched(cx.host, |name| name == info.id).await?;
        Ok(evidence)
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        match note.read::<Before>() {
            Ok(before) => self.found(cx, &before.told, &before.invocation).await,
            Err(problem) => Found::Undecidable(problem.what),
        }
    }

    async fn undo_note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let info = unit::judged(cx.host, &self.0.unit).await?;
        Note::of(&Last { invocation: if info.is_stopped() { String::new() } else { info.invocation_id } })
    }

    /// The same restart once more, by then of what lies on the disk again. A controller that was never restarted is let be.
    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        let info = self.settled(cx.host).await?;
        if info.is_running() && info.invocation_id == before.invocation {
            return Ok(Vec::new());
        }
        self.restart(cx, &before.told, Others::Replace).await
    }

    async fn undo_probe(&self, cx: &Cx<'_>, note: &Note, last: &Note) -> Found {
        match (note.read::<Before>(), last.read::<Last>()) {
            (Ok(before), Ok(last)) => self.found(cx, &before.told, &last.invocation).await,
            _ => Found::NotBegun,
        }
    }
}

/// The scripts of Debian's ovn-host have the controller leave while they are exchanged (`exit --restart`, in the preinst), and
/// services are held still meanwhile: then the restart is its start. Any other one that is down was stopped by somebody.
fn ended_by_its_package(cx: &Cx<'_>, info: &UnitInfo) -> Result<bool, Problem> {
    Ok(info.is_stopped() && !info.needs_reset() && install_packages::has_ended(cx, &info.id)?)
}

impl Restart<'_> {
    const fn within(&self) -> Duration {
        Duration::from_millis(self.0.within.0)
    }

    async fn settled(&self, host: &Host) -> Result<UnitInfo, Problem> {
        let settled = host.units.settled(&self.0.unit, self.within()).await;
        settled.map_err(|error| Problem::new(error.to_string()))
    }

    /// Was it restarted since that invocation? One that was told to leave and never started is started first: whatever is found,
    /// nobody is left without a controller.
    async fn found(&self, cx: &Cx<'_>, told: &Told, invocation: &str) -> Found {
        let info = match self.settled(cx.host).await {
            Ok(info) => info,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        if info.is_running() && info.invocation_id == invocation {
            return Found::NotBegun;
        }
        if info.is_stopped()
            && let Err(problem) =
                unit::run_or_once_more(cx.host, self.job(Verb::Start, None, Others::Respect)).await
        {
            return Found::Undecidable(problem.what);
        }
        let until = Instant::now() + AFTER_CRASH.min(self.within());
        match after::as_before(cx.host, self.0, told, until).await {
            Ok(evidence) => Found::Seen(evidence),
            // Once more does no harm, and says what is in its way.
            Err(_) => Found::NotBegun,
        }
    }

    /// Has it leave, starts it, and sees that it has caught up.
    async fn restart(&self, cx: &Cx<'_>, told: &Told, others: Others) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + self.within();
        let info = unit::judged(cx.host, &self.0.unit).await?;
        let old = (!info.is_stopped()).then(|| info.invocation_id.clone());
        let mut evidence = match self.leave(cx.host, &info, until).await {
            Ok(()) => unit::run_or_once_more(cx.host, self.job(Verb::Start, old.as_deref(), others)).await?,
            // What is taken back may not answer any more. systemd stops it then: that it deletes its chassis on the way is likely
            // only where it still answers, and a controller that does nothing is worse.
            Err(problem) if others == Others::Replace => {
                tracing::warn!(problem = problem.what, "ovn-controller is restarted without its leave");
                unit::run(cx.host, self.job(Verb::Restart, old.as_deref(), others)).await?
            }
            Err(problem) => return Err(problem),
        };
        evidence.extend(after::as_before(cx.host, self.0, told, until).await?);
        Ok(evidence)
    }

    /// Until its process is gone: that of a unit that systemd starts anew by itself is another one by then.
    async fn leave(&self, host: &Host, info: &UnitInfo, until: Instant) -> Result<(), Problem> {
        if info.is_stopped() {
            return Ok(());
        }
        let tools = Tools::installed();
        let seen = ovn::at(&tools).await?;
        let controller = seen.controller?;
        controller.leave(&tools).await.map_err(|why| {
            Problem::new(format!("ovn-controller was not told to leave: {why}"))
                .next(format!("it runs as before; systemctl status {}", info.id))
        })?;
        loop {
            let now = host.units.load(&self.0.unit).await.map_err(|error| Problem::new(error.to_string()))?;
            if now.is_stopped() || now.invocation_id != info.invocation_id {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Problem::new(format!(
                    "ovn-controller (process {}) was told to leave, and {} is still {}/{}",
                    controller.pid, info.id, now.active_state, now.sub_state
                ))
                .next(format!("systemctl status {0}; journalctl -u {0} -e", info.id)));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    const fn job<'a>(&'a self, verb: Verb, not: Option<&'a str>, others: Others) -> Job<'a> {
        Job { unit: &self.0.unit, within: self.within(), verb, others, not }
    }
}

#[cfg(test)]
mod tests;
