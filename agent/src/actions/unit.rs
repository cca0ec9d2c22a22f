//! Starting, stopping and restarting a unit. Done means seen: a new invocation with a main process, never a
//! job's result or a state's name.
//!
//! Undo brings the unit back to how it was, running or stopped, *after* the executor has put the files back:
//! a restart then runs what lies on disk.

mod again;
mod failure;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use drydock_types::{
    AbsPath, Millis, UnitName,
    outcome::{Evidence, RunningUnit},
    step::UnitStep,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub(super) use self::{
    again::run_or_once_more,
    failure::{failed, while_it_may_come},
};
use super::{Action, Cx, Found, Note, Problem};
use crate::{
    host::Host,
    policy::BinaryRule,
    sys::{
        units::{self, JobEnd, LOOK_AGAIN, Others, UnitInfo, Verb},
        unpacked,
    },
};

/// How long somebody else's job on the unit is waited for before the step is refused.
const SETTLE: Duration = Duration::from_secs(5);

/// Stops a unit.
#[derive(Debug)]
pub struct Stop<'a>(pub &'a UnitStep);

/// Starts a unit.
#[derive(Debug)]
pub struct Start<'a>(pub &'a UnitStep);

/// Restarts a unit.
#[derive(Debug)]
pub struct Restart<'a>(pub &'a UnitStep);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    invocation: String,
    active: bool,
}

/// What a unit is to become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) unit: &'a UnitName,
    pub(super) within: Duration,
    pub(super) verb: Verb,
    pub(super) others: Others,
    /// The invocation that must be over.
    pub(super) not: Option<&'a str>,
}

/// The unit as it is, if the policy lets it be touched. A name that is not listed is not even loaded.
pub(super) async fn judged(host: &Host, unit: &UnitName) -> Result<UnitInfo, Problem> {
    host.policy.may_touch(unit)?;
    let info = host.units.load(unit).await.map_err(|error| Problem::new(error.to_string()))?;
    host.policy.may_touch_unit(unit, &info)?;
    Ok(info)
}

async fn check(cx: &Cx<'_>, config: &UnitStep) -> Result<(), Problem> {
    judged(cx.host, &config.unit).await?;
    // Something that somebody has just asked for may well be over in a moment.
    cx.host.units.settled(&config.unit, SETTLE).await.map(drop).map_err(|error| {
        Problem::new(error.to_string()).next(format!("systemctl list-jobs; systemctl status {}", config.unit))
    })
}

async fn note(cx: &Cx<'_>, config: &UnitStep) -> Result<Note, Problem> {
    let info = judged(cx.host, &config.unit).await?;
    Note::of(&Before { active: !info.is_stopped(), invocation: info.invocation_id })
}

const fn time(within: Millis) -> Duration {
    Duration::from_millis(within.0)
}

/// Runs the job and sees that the unit is up or down.
pub(super) async fn run(host: &Host, job: Job<'_>) -> Result<Vec<Evidence>, Problem> {
    let begun = Instant::now();
    let info = judged(host, job.unit).await?;
    if job.verb != Verb::Stop && info.needs_reset() {
        host.units.reset_failed(&info.id).await.map_err(|error| Problem::new(error.to_string()))?;
    }
    match host.units.run(&info.id, job.verb, job.others, job.within).await {
        Ok(JobEnd::Done | JobEnd::Unseen) => {}
        Ok(JobEnd::Not(word)) => {
            let what = format!("systemd's job to {} {} ended as {word}", job.verb.word(), info.id);
            return Err(failed(host, job.unit, what, begun).await);
        }
        Err(error) => return Err(failed(host, job.unit, error.to_string(), begun).await),
    }
    match job.verb {
        Verb::Stop => seen_down(host, job, begun).await.map(|()| Vec::new()),
        Verb::Start | Verb::Restart | Verb::Reload => {
            seen_up(host, job, begun).await.map(|it| vec![Evidence::Running(it)])
        }
    }
}

async fn seen_down(host: &Host, job: Job<'_>, begun: Instant) -> Result<(), Problem> {
    loop {
        let left = job.within.saturating_sub(begun.elapsed());
        let info =
            host.units.settled(job.unit, left).await.map_err(|error| Problem::new(error.to_string()))?;
        if info.is_stopped() {
            return Ok(());
        }
        if begun.elapsed() >= job.within {
            let what = format!(
                "{} was stopped, but is {}/{} with main process {} after {:?}",
                info.id, info.active_state, info.sub_state, info.main_pid, job.within
            );
            return Err(failed(host, job.unit, what, begun).await);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// A main process of another invocation, whose executable can be read.
async fn seen_up(host: &Host, job: Job<'_>, begun: Instant) -> Result<RunningUnit, Problem> {
    loop {
        let left = job.within.saturating_sub(begun.elapsed());
        let info =
            host.units.settled(job.unit, left).await.map_err(|error| Problem::new(error.to_string()))?;
        let old = job.not.is_some_and(|old| old == info.invocation_id);
        if info.is_running()
            && !old
            && let Some(running) = running(&host.policy.binaries, job.unit, &info).await
        {
            return Ok(running);
        }
        let over = info.is_stopped() || begun.elapsed() >= job.within;
        if over {
            let what = if info.main_pid == 0 {
                format!("{} is {}/{} and has no main process", info.id, info.active_state, info.sub_state)
            } else {
                format!("{} still runs the invocation of before ({})", info.id, info.invocation_id)
            };
            return Err(failed(host, job.unit, what, begun).await);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The main process as the process table has it; `None` when it is gone by now.
pub(crate) async fn running(
    binaries: &BTreeMap<AbsPath, BinaryRule>,
    unit: &UnitName,
    info: &UnitInfo,
) -> Option<RunningUnit> {
    let (binaries, unit, info) = (binaries.clone(), unit.clone(), info.clone());
    let look = tokio::task::spawn_blocking(move || {
        let exe = units::executable(&info).ok()?;
        let unpacked = unpacked::program_of(info.main_pid, &binaries);
        Some(RunningUnit {
            unit,
            pid: info.main_pid,
            invocation: info.invocation_id,
            exe_inode: exe.file.ino,
            exe_sha256: unpacked.as_ref().map_or(exe.sha256, |it| it.installed.sha256),
            unpacked: unpacked.map(|it| it.from),
        })
    });
    look.await.ok().flatten()
}

/// The unit after any job on it is over, and the note; or why nothing can be told.
async fn after_crash(cx: &Cx<'_>, config: &UnitStep, note: &Note) -> Result<(UnitInfo, Before), Found> {
    let before = note.read().map_err(|problem| Found::Undecidable(problem.what))?;
    match cx.host.units.settled(&config.unit, time(config.within)).await {
        Ok(info) => Ok((info, before)),
        Err(error) => Err(Found::Undecidable(error.to_string())),
    }
}

fn undo_job<'a>(config: &'a UnitStep, verb: Verb) -> Job<'a> {
    Job { unit: &config.unit, within: time(config.within), verb, others: Others::Replace, not: None }
}

#[async_trait]
impl Action for Stop<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        check(cx, self.0).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        note(cx, self.0).await
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        run(cx.host, Job { others: Others::Respect, ..undo_job(self.0, Verb::Stop) }).await
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        match after_crash(cx, self.0, note).await {
            Ok((info, _)) if info.is_stopped() => Found::Done,
            // Stopping what runs, whichever invocation it is, is what was asked: again does no harm.
            Ok(_) => Found::NotBegun,
            Err(found) => found,
        }
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        if before.active { run(cx.host, undo_job(self.0, Verb::Start)).await } else { Ok(Vec::new()) }
    }
}

#[async_trait]
impl Action for Start<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        check(cx, self.0).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        note(cx, self.0).await
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        run(cx.host, Job { others: Others::Respect, ..undo_job(self.0, Verb::Start) }).await
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        match after_crash(cx, self.0, note).await {
            Ok((info, _)) if info.is_running() => Found::Done,
            Ok(_) => Found::NotBegun,
            Err(found) => found,
        }
    }

    async fn undo_note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        note(cx, self.0).await
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        put_back(cx, self.0, &before).await
    }

    async fn undo_probe(&self, cx: &Cx<'_>, note: &Note, before: &Note) -> Found {
        was_put_back(cx, self.0, note, before).await
    }
}

#[async_trait]
impl Action for Restart<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        check(cx, self.0).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        note(cx, self.0).await
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        let not = Some(before.invocation.as_str()).filter(|invocation| !invocation.is_empty());
        run(cx.host, Job { others: Others::Respect, not, ..undo_job(self.0, Verb::Restart) }).await
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        match after_crash(cx, self.0, note).await {
            Ok((info, before)) if info.is_running() && info.invocation_id != before.invocation => Found::Done,
            // The old invocation, or none: a restart of what is down does no harm.
            Ok(_) => Found::NotBegun,
            Err(found) => found,
        }
    }

    async fn undo_note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        note(cx, self.0).await
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        put_back(cx, self.0, &before).await
    }

    async fn undo_probe(&self, cx: &Cx<'_>, note: &Note, before: &Note) -> Found {
        was_put_back(cx, self.0, note, before).await
    }
}

/// Running again, with what lies on disk now, or stopped, as it was. A unit that was never touched is left alone.
async fn put_back(cx: &Cx<'_>, config: &UnitStep, before: &Before) -> Result<Vec<Evidence>, Problem> {
    if !before.active {
        return run(cx.host, undo_job(config, Verb::Stop)).await;
    }
    let info = judged(cx.host, &config.unit).await?;
    if info.is_running() && !info.job_pending && info.invocation_id == before.invocation {
        return Ok(running(&cx.host.policy.binaries, &config.unit, &info)
            .await
            .map(Evidence::Running)
            .into_iter()
            .collect());
    }
    run(cx.host, Job { not: Some(&info.invocation_id), ..undo_job(config, Verb::Restart) }).await
}

/// Did [`put_back`] take place? `last` is the unit right before that. Files are back by then, so whatever was started
/// since runs what lies on the disk, whoever started it.
async fn was_put_back(cx: &Cx<'_>, config: &UnitStep, note: &Note, last: &Note) -> Found {
    let last: Before = match last.read() {
        Ok(last) => last,
        // Nothing could be noted then, and putting it back twice does no harm.
        Err(_) => return Found::NotBegun,
    };
    match after_crash(cx, config, note).await {
        Ok((info, before)) if before.active && info.is_running() && info.invocation_id != last.invocation => {
            match running(&cx.host.policy.binaries, &config.unit, &info).await {
                Some(running) => Found::Seen(vec![Evidence::Running(running)]),
                None => Found::NotBegun,
            }
        }
        Ok(_) => Found::NotBegun,
        Err(found) => found,
    }
}

#[cfg(test)]
mod tests;
