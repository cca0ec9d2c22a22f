//! Restarts libvirt's daemon beside its guests: once they rest, and only then. Afterwards each of them is the process that it
//! was and answers, and nothing else was restarted.
//!
//! What is compared with is seen right before the restart and kept in a file, for it may have been waited for until then.

mod after;
mod rest;

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{
    libvirt::{Quiescence, RestartLibvirt},
    outcome::{Evidence, Verdict},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Action, Cx, Found, Note, Problem,
    beside::Beside,
    unit::{self, Job},
};
use crate::{
    host::Host,
    libvirt::{self, Seen, before::Before},
    sys::units::{Others, UnitInfo, Verb},
};

/// The restart.
#[derive(Debug)]
pub struct Restart<'a>(pub &'a RestartLibvirt);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Was {
    /// Empty when the daemon did not run.
    invocation: String,
}

#[async_trait]
impl Action for Restart<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let info = self.judged(cx.host).await?;
        // What somebody has left in pieces is theirs to look at first: a restart would hide why.
        if info.needs_reset() {
            return Err(Problem::new(format!(
                "{} is {}/{} ({}): it is not well before the restart",
                info.id, info.active_state, info.sub_state, info.result
            ))
            .next(format!("df -h /run /var/lib/libvirt; journalctl -u {0} -e", info.id))
            .next(format!("systemctl reset-failed {0}; systemctl start {0}", info.id)));
        }
        let seen = self.look(cx.host).await?;
        match seen.view.quiescent(self.0.quiescence) {
            Verdict::Clear | Verdict::Waiting(_) => Ok(()),
            Verdict::Refused(why) | Verdict::Unknown(why) => Err(rest::problem(&info.id, why)),
        }
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        self.was(cx.host).await
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        self.restart(cx, Others::Respect).await
    }

    async fn probe(&self, cx: &Cx<'_>, _note: &Note) -> Found {
        // Written right before the restart: without it none was begun.
        let before = match Before::kept(cx.host, cx.section.effect) {
            Ok(Some(before)) => before,
            Ok(None) => return Found::NotBegun,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        match self.settled(cx.host).await {
            Ok(info) if info.is_running() && info.invocation_id != before.invocation => {
                match after::as_before(cx.host, self.0, &before).await {
                    Ok(evidence) => Found::Seen(evidence),
                    Err(problem) => Found::Undecidable(problem.what),
                }
            }
            // The old one, or none: what is there is looked at anew and the restart made.
            Ok(_) => Found::NotBegun,
            Err(problem) => Found::Undecidable(problem.what),
        }
    }

    async fn undo_note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        self.was(cx.host).await
    }

    /// The same restart once more, by then of what lies on the disk again. A daemon that was never restarted is let be.
    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let was: Was = note.read()?;
        let info = self.settled(cx.host).await?;
        if info.is_running() && !was.invocation.is_empty() && info.invocation_id == was.invocation {
            return Ok(Vec::new());
        }
        self.restart(cx, Others::Replace).await
    }

    async fn undo_probe(&self, cx: &Cx<'_>, _note: &Note, last: &Note) -> Found {
        let Ok(last) = last.read::<Was>() else { return Found::NotBegun };
        match self.settled(cx.host).await {
            Ok(info) if info.is_running() && info.invocation_id != last.invocation => {
                match Before::kept(cx.host, cx.section.effect) {
                    Ok(Some(before)) if before.invocation == last.invocation => {
                        match after::as_before(cx.host, self.0, &before).await {
                            Ok(evidence) => Found::Seen(evidence),
                            Err(problem) => Found::Undecidable(problem.what),
                        }
                    }
                    // Restarted since by somebody else: once more does no harm, for it waits until guests rest.
                    Ok(_) => Found::NotBegun,
                    Err(problem) => Found::Undecidable(problem.what),
                }
            }
            Ok(_) => Found::NotBegun,
            Err(problem) => Found::Undecidable(problem.what),
        }
    }
}

impl Restart<'_> {
    /// The unit, if the policy lets it be touched and it is the one whose socket is here.
    async fn judged(&self, host: &Host) -> Result<UnitInfo, Problem> {
        let info = unit::judged(host, &self.0.unit).await?;
        let daemon = libvirt::kind()?.unit();
        if info.id == daemon {
            return Ok(info);
        }
        Err(Problem::new(format!(
            "libvirt's daemon on this node is {daemon}, and the recipe restarts {}",
            info.id
        ))
        .next(format!("say in the plan: with: {{unit: {daemon}}}")))
    }

    async fn settled(&self, host: &Host) -> Result<UnitInfo, Problem> {
        let within = Duration::from_millis(self.0.within.0);
        host.units.settled(&self.0.unit, within).await.map_err(|error| Problem::new(error.to_string()))
    }

    async fn look(&self, host: &Host) -> Result<Seen, Problem> {
        self.judged(host).await?;
        libvirt::look(host).await
    }

    async fn was(&self, host: &Host) -> Result<Note, Problem> {
        let info = self.judged(host).await?;
        Note::of(&Was { invocation: if info.is_stopped() { String::new() } else { info.invocation_id } })
    }

    /// Waits until it may be, keeps what stands, restarts, and sees that it stands.
    async fn restart(&self, cx: &Cx<'_>, others: Others) -> Result<Vec<Evidence>, Problem> {
        let before = self.at_rest(cx).await?;
        before.keep(cx.host, cx.section.effect)?;
        let beside = Beside::look(cx.host).await?;
        let within = Duration::from_millis(self.0.within.0);
        let not = Some(before.invocation.as_str()).filter(|invocation| !invocation.is_empty());
        let job = Job { unit: &self.0.unit, within, verb: Verb::Restart, others, not };
        let mut evidence = unit::run_or_once_more(cx.host, job)
            .await
            .map_err(|problem| problem.next("df -h /run /var/lib/libvirt"))?;
        evidence.extend(after::as_before(cx.host, self.0, &before).await?);
        // What is taken back is judged by its guests and by those that they live by.
        if others == Others::Respect {
            beside.untouched(cx.host, |name| after::is_its_own(name, self.0.unit.as_str())).await?;
        }
        Ok(evidence)
    }

    /// Waits until the guests rest, and says as what they do.
    async fn at_rest(&self, cx: &Cx<'_>) -> Result<Before, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.wait.0);
        let seen = rest::wait(self.0.quiescence, until, || self.look(cx.host)).await.map_err(|why| {
            rest::problem(self.0.unit.as_str(), format!("{why} (waited for up to {})", self.0.wait))
        })?;
        let others = after::others(cx.host, &seen.unit).await?;
        Before::of(&seen.view, &seen.unit.invocation_id, others)
    }
}

/// The word of plans for it.
const fn word(quiescence: Quiescence) -> &'static str {
    match quiescence {
        Quiescence::Drained => "drained",
        Quiescence::RestartSafe => "restartSafe",
    }
}
