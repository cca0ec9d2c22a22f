//! Commit-confirmed: a change that can cut the node off is taken back by itself unless it is confirmed.
//!
//! | module | what it does |
//! |---|---|
//! | [`plan`] | what is put back and until when; what came of it: strict documents |
//! | [`place`] | where they lie, and who of agent and reverter was first: one rename decides |
//! | [`arm`] | before the change: may it be, then the plan on the disk, then the timer |
//! | [`confirm`] | after the change: nothing lost, and the coordinator or a witness answered |
//! | [`reverter`] | the other process: puts everything back, whatever became of the agent |
//!
//! The reverter is a copy of the agent that armed it, in the agent's state directory, started by a transient
//! timer of systemd or, when the node was started anew, by `drydock-revert.service`. It needs neither the
//! agent, nor the coordinator, nor the network. The files say by their names how things stand:
//!
//! ```text
//! armed.json ──┬─▶ confirmed.json                    the agent was first
//!              └─▶ reverting.json ─▶ reverted.json   the reverter was first
//! ```

pub mod arm;
pub mod confirm;
pub mod place;
pub mod plan;
pub mod reverter;

use std::{path::Path, time::Duration};

use drydock_types::{EffectId, Section};
use tokio::time::{Instant, sleep};

pub use self::plan::Report;
use self::{
    place::{Place, State},
    plan::Plan,
};
use crate::{
    actions::Problem,
    host::Host,
    sys::{boot, units::apart::Apart},
};

/// The boot unit that is shipped beside the agent's.
pub const BOOT_UNIT: &str = "drydock-revert.service";

/// How long a report is waited for where nothing is armed any more.
const GONE: Duration = Duration::from_secs(10);
/// How often it is looked how things stand.
const AGAIN: Duration = Duration::from_millis(50);

/// How the revert of a section stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// None is armed for it.
    None,
    /// It is armed, and strikes after this time.
    Armed(Duration),
    /// The change was confirmed.
    Confirmed,
    /// The change was taken back, as far as the report says.
    Reverted(Report),
}

/// How it stands, once no revert is at work any more.
///
/// # Errors
/// When that cannot be told, or a revert does not come to its end.
pub async fn standing(host: &Host, section: &Section) -> Result<Standing, Problem> {
    let place = Place::of(&host.state_dir);
    match place.state()? {
        State::Armed(plan) if plan.effect == section.effect => {
            if plan.is_of_this_boot()? {
                let left = plan.left()?;
                // Between the plan's being on the disk and the timer's start the agent may have died.
                let command = command(&host.state_dir, plan.effect);
                arm::start_timer(host, &plan, &command, left).await?;
                return Ok(Standing::Armed(left));
            }
            // The boot unit should have run; it may have been masked since.
            reported(host, section.effect).await.map(Standing::Reverted)
        }
        State::Reverting(plan) if plan.effect == section.effect => {
            reported(host, section.effect).await.map(Standing::Reverted)
        }
        State::Reverted(report) if report.effect == section.effect => Ok(Standing::Reverted(report)),
        State::Confirmed(done) if done.effect == section.effect => Ok(Standing::Confirmed),
        _ => Ok(Standing::None),
    }
}

/// Has the change taken back now, and waits for the report.
///
/// # Errors
/// When it was confirmed meanwhile, or no report comes.
pub async fn now(host: &Host, section: &Section, why: &str) -> Result<Report, Problem> {
    let place = Place::of(&host.state_dir);
    if let State::Confirmed(done) = place.state()?
        && done.effect == section.effect
    {
        return Err(Problem::new(format!("it had been confirmed by {}", done.by))
            .next("look at the node; take it back by a plan to the old version"));
    }
    place.write_reason(why)?;
    reported(host, section.effect).await
}

/// The reverter as systemd runs it: whatever kills it, it goes on where it was.
const fn reverter_unit<'a>(name: &'a str, command: &'a [String]) -> Apart<'a> {
    Apart { until_done: true, ..Apart::new(name, DESCRIPTION, command) }
}

/// Starts the reverter and waits for its report.
async fn reported(host: &Host, effect: EffectId) -> Result<Report, Problem> {
    let place = Place::of(&host.state_dir);
    let (name, command) = (unit_name(effect), command(&host.state_dir, effect));
    let apart = reverter_unit(&name, &command);
    let longest = match place.state()? {
        State::Armed(plan) | State::Reverting(plan) if plan.effect == effect => reverter::longest(&plan),
        // Its report is there, or nothing will come any more.
        _ => GONE,
    };
    host.ending.expect();
    let asked = host.units.start_apart_now(&apart).await;
    let until = Instant::now() + longest;
    loop {
        match place.state()? {
            State::Reverted(report) if report.effect == effect => return Ok(report),
            _ if Instant::now() < until => sleep(AGAIN).await,
            _ => {
                let asked = asked.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(Problem::new(format!(
                    "the armed revert did not report within {longest:?}{asked}"
                ))
                .next(format!("journalctl -u {name}.service; by hand: {}", command.join(" "))));
            }
        }
    }
}

/// Nothing was changed after it was armed.
///
/// # Errors
/// When it struck all the same, or the disk says no.
pub async fn disarm(host: &Host, section: &Section) -> Result<(), Problem> {
    let place = Place::of(&host.state_dir);
    match place.state()? {
        State::Armed(plan) if plan.effect == section.effect => place.disarm()?,
        State::Reverting(plan) if plan.effect == section.effect => {
            reported(host, section.effect).await?;
        }
        _ => {}
    }
    put_away(host, section.effect).await;
    Ok(())
}

/// Removes what is over, once the outcome is in the journal.
pub async fn put_away(host: &Host, effect: EffectId) {
    let name = unit_name(effect);
    let command = command(&host.state_dir, effect);
    let apart = reverter_unit(&name, &command);
    if let Err(error) = host.units.stop_timer(&apart).await {
        tracing::warn!(%error, "the timer of a revert that is not needed any more was not stopped; it takes no other change back");
    }
    host.ending.over();
    if let Err(problem) = Place::of(&host.state_dir).put_away(effect) {
        tracing::warn!(%problem, "what a revert left was not put away");
    }
}

/// Whose change is over and has left something. A disk that does not say is one that the next change will hear of.
#[must_use]
pub fn over(host: &Host) -> Option<EffectId> {
    Place::of(&host.state_dir).over().unwrap_or_else(|problem| {
        tracing::warn!(%problem, "what an earlier change has armed cannot be seen");
        None
    })
}

const DESCRIPTION: &str = "Drydock: take back a change that was not confirmed";

/// `drydock-revert-1a2b3c4d`.
fn unit_name(effect: EffectId) -> String {
    format!("drydock-revert-{}", effect.short())
}

/// What starts the reverter.
fn command(state_dir: &Path, effect: EffectId) -> Vec<String> {
    let program = Place::of(state_dir).program();
    let (program, state_dir, effect) =
        (program.display().to_string(), state_dir.display().to_string(), effect.to_string());
    [&program, "--state-dir", &state_dir, "revert", "--now", "--effect", &effect].map(str::to_owned).into()
}

impl Plan {
    fn is_of_this_boot(&self) -> Result<bool, Problem> {
        let now = boot::id().map_err(|error| Problem::new(format!("the boot id cannot be read: {error}")))?;
        Ok(now == self.boot_id)
    }

    /// Until it strikes.
    fn left(&self) -> Result<Duration, Problem> {
        let age = boot::age().map_err(|error| Problem::new(format!("the clock cannot be read: {error}")))?;
        let strikes = Duration::from_millis(self.armed_age_ms.saturating_add(self.within.0));
        Ok(strikes.saturating_sub(age))
    }
}
