//! The other process: puts everything back. Started by its timer, by the agent, at boot, or by hand.
//!
//! Files first, which takes a moment and cannot hang; then links, addresses, routes and rules, so that the
//! node can be reached; then packages, from files that are kept here; then units, so that they run what lies on the
//! disk, and Open vSwitch; after each of both the network once more, for what was lost while it was being stopped; then
//! services that packages' scripts have ended. At boot only files and packages: the network and the units come up from
//! them.

mod packages;
mod switch;
mod units;

use std::{path::Path, time::Duration};

use drydock_types::{EffectId, Millis};
use tokio::task::spawn_blocking;

use self::units::Restorer;
use super::{
    arm,
    place::{Place, State},
    plan::{Confirmed, Plan, Report, unix_ms, utc},
};
use crate::{
    actions::Problem,
    policy::Policy,
    sys::{boot, files, network, units::Units},
};

/// How what could not be put back of the network begins.
const OF_NETWORK: &str = "network: ";
/// How long the network is brought back for, before and after the units.
const NETWORK: Duration = Duration::from_millis(600);
/// Files, network and what systemd is asked take no longer than this beside the units' own jobs.
const BESIDE_UNITS: Duration = Duration::from_secs(180);

/// Why it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The node was started; units and network are not up yet.
    AtBoot,
    /// Somebody wants it, whatever is armed.
    Now,
    /// The time of this effect is over, or its agent wants it. What is armed for another is none of its business: a
    /// timer can outlive its change.
    Of(EffectId),
}

impl Start {
    fn is_for(self, effect: EffectId) -> bool {
        match self {
            Self::Of(wanted) => wanted == effect,
            Self::AtBoot | Self::Now => true,
        }
    }
}

/// How long a revert of this plan is waited for.
pub(super) fn longest(plan: &Plan) -> Duration {
    let units = u32::try_from(plan.units.len()).unwrap_or(u32::MAX);
    BESIDE_UNITS
        .saturating_add(units::LONGEST.saturating_mul(units))
        .saturating_add(packages::longest(plan))
        .saturating_add(switch::longest(plan))
}

/// Takes back what is armed. Does nothing when nothing is.
///
/// # Errors
/// When something could not be put back; the report says it as well.
pub async fn run(state_dir: &Path, start: Start) -> Result<String, Problem> {
    let place = Place::of(state_dir);
    if place.state()? == State::Nothing {
        return Ok("nothing is armed".into());
    }
    let _lock = place.lock()?;
    let (boot_id, before) = (boot::id().ok(), place.state()?);
    if let State::Armed(plan) | State::Reverting(plan) = &before
        && !start.is_for(plan.effect)
    {
        return Ok(format!(
            "there is nothing to take back: what is armed is another change, {} to {} (run {})",
            plan.component, plan.to, plan.run_number
        ));
    }
    if let (State::Armed(plan), Start::AtBoot) = (&before, start)
        && boot_id.as_deref() == Some(plan.boot_id.as_str())
    {
        return Ok("this is still the boot in which it was armed: left to its timer".into());
    }
    let Some(plan) = place.claim_revert()? else { return Ok("there is nothing to take back".into()) };
    let same_boot = boot_id.as_deref() == Some(plan.boot_id.as_str());
    let mut report = take_back(state_dir, &place, &plan, start, same_boot).await;
    // No flow outlives a boot.
    if same_boot && start != Start::AtBoot {
        let done = switch::put_back(state_dir, &plan).await;
        note(&mut report, "Open vSwitch", done);
        // Where the switch was down, what manages the network may have taken addresses off a bridge's own interface.
        links(&plan, &mut report).await;
        let done = packages::bring_back(state_dir, &plan).await;
        note(&mut report, "services", done);
    }
    place.report(&report)?;
    let said = format!(
        "{} to {} (run {}) was taken back at {}: {}; put back: {}",
        plan.component,
        plan.to,
        plan.run_number,
        utc(report.at_unix_ms),
        report.because,
        if report.restored.is_empty() { "nothing had to be".into() } else { report.restored.join(", ") }
    );
    if report.failed.is_empty() {
        return Ok(said);
    }
    Err(Problem::new(format!("{said}; NOT put back: {}", report.failed.join("; "))))
}

async fn take_back(state_dir: &Path, place: &Place, plan: &Plan, start: Start, same_boot: bool) -> Report {
    let mut report = Report {
        effect: plan.effect,
        at_unix_ms: unix_ms(),
        after: if same_boot { arm::since(plan).unwrap_or(Millis(0)) } else { Millis(0) },
        because: because(place, plan, same_boot),
        restored: Vec::new(),
        failed: Vec::new(),
    };
    eprintln!("taking back {} to {} (run {}): {}", plan.component, plan.to, plan.run_number, report.because);
    files(plan, &mut report).await;
    if start != Start::AtBoot && same_boot {
        links(plan, &mut report).await;
    }
    let done = packages::put_back(state_dir, plan, start == Start::AtBoot).await;
    note(&mut report, "packages", done);
    let files_are_back = report.failed.is_empty();
    if start == Start::AtBoot {
        return report;
    }
    let units = Units::of(&Policy::default());
    match units {
        Ok(units) => {
            let restorer = Restorer::new(&units, place, plan, files_are_back);
            for unit in &plan.units {
                let done = restorer.put_back(unit).await;
                note(&mut report, unit.unit.as_str(), done);
            }
        }
        Err(error) => report.failed.push(error.to_string()),
    }
    if same_boot {
        links(plan, &mut report).await;
    }
    report
}

fn because(place: &Place, plan: &Plan, same_boot: bool) -> String {
    if !same_boot {
        return "the node was started anew before the change was confirmed".into();
    }
    match place.reason() {
        Some(reason) => format!("its agent saw that it had failed: {reason}"),
        None => format!("the change was not confirmed within {}", plan.within),
    }
}

fn note(report: &mut Report, what: &str, done: Result<Option<String>, String>) {
    match done {
        Ok(Some(line)) => {
            if !report.restored.contains(&line) {
                report.restored.push(line);
            }
        }
        Ok(None) => {}
        Err(why) => report.failed.push(format!("{what}: {why}")),
    }
}

async fn files(plan: &Plan, report: &mut Report) {
    for file in &plan.files {
        let (work, effect) = (file.clone(), plan.effect);
        let restored = spawn_blocking(move || {
            files::Place::open(&work.path, effect)?.restore(work.old_sha256, work.new_sha256)
        });
        let done = match restored.await {
            Ok(Ok(true)) => Ok(Some(format!("{} (sha256:{})", file.path, file.old_sha256.short()))),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        note(report, file.path.as_str(), done);
    }
}

async fn links(plan: &Plan, report: &mut Report) {
    let before = plan.network.clone();
    let done = spawn_blocking(move || network::put_back(&before, NETWORK)).await;
    report.failed.retain(|line| !line.starts_with(OF_NETWORK));
    match done {
        Ok(Ok(back)) => {
            for line in back.done {
                note(report, "network", Ok(Some(line)));
            }
            report.failed.extend(back.failed.into_iter().map(|line| format!("{OF_NETWORK}{line}")));
        }
        Ok(Err(error)) => report.failed.push(format!("{OF_NETWORK}{error}")),
        Err(error) => report.failed.push(format!("{OF_NETWORK}{error}")),
    }
}

/// Keeps the change: by hand, when somebody knows better.
///
/// # Errors
/// When nothing is armed, or it is being taken back already.
pub fn keep(state_dir: &Path) -> Result<String, Problem> {
    let place = Place::of(state_dir);
    let State::Armed(plan) = place.state()? else {
        return Err(Problem::new("nothing is armed that could be kept (drydock-agent revert --show)"));
    };
    let after = arm::since(&plan).unwrap_or(Millis(0));
    let done = Confirmed { effect: plan.effect, by: "somebody by hand on the node".into(), after };
    if !place.confirm(&done)? {
        return Err(Problem::new("it is being taken back already"));
    }
    Ok(format!(
        "{} to {} (run {}) is kept; nothing takes it back by itself any more",
        plan.component, plan.to, plan.run_number
    ))
}

/// How things stand, for people.
///
/// # Errors
/// When that cannot be read.
pub fn show(state_dir: &Path) -> Result<String, Problem> {
    let of = |plan: &Plan| format!("{} to {} (run {})", plan.component, plan.to, plan.run_number);
    Ok(match Place::of(state_dir).state()? {
        State::Nothing => "nothing is armed".into(),
        State::Armed(plan) => {
            let (left, paths) = (plan.left()?, plan.files.iter().map(|file| file.path.to_string()));
            let units = plan.units.iter().map(|unit| unit.unit.to_string());
            let what: Vec<String> = paths.chain(units).collect();
            format!(
                "{} is taken back in {} s unless it is confirmed\n  armed:    {}\n  put back: {}, and the network\n  \
                 witness:  {}\n  at once:  drydock-agent revert --now\n  keep it:  drydock-agent revert --keep",
                of(&plan),
                left.as_secs(),
                utc(plan.armed_unix_ms),
                what.join(", "),
                plan.witness.join(", ")
            )
        }
        State::Reverting(plan) => format!("{} is being taken back", of(&plan)),
        State::Confirmed(done) => format!("a change was confirmed by {}", done.by),
        State::Reverted(report) => {
            format!("a change was taken back at {}: {}", utc(report.at_unix_ms), report.because)
        }
    })
}

#[cfg(test)]
mod tests;
