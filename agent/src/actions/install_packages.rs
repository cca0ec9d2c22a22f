//! Installs staged packages while no service is touched by them.
//!
//! A unit of its own does it ([`crate::apt::install`]): dpkg comes to its end whatever becomes of this agent, and whoever
//! comes next finds how it ended in that job's documents and, above all, in dpkg's own database.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use drydock_types::{
    Sha256, Step, UnitName, Version,
    outcome::Evidence,
    packages::{Packages, StaleProcess},
};
use serde::{Deserialize, Serialize};

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    apt::{
        beside,
        database::Database,
        ended::{Ended, May, boot_id},
        held_still::HeldStill,
        install::{self, is_at, is_not},
        job::{Before, Done, Job, Jobs, Way},
        marks,
        outside::Outside,
        room,
        root::Root,
        staged::{Change, Staged, Store},
    },
    host::Host,
    revert::arm,
    sys::{
        blocking,
        stale::{self, Stale},
        units::services,
    },
};

/// Processes that are named in the evidence.
const STALE_NAMED: usize = 16;

/// The installation.
#[derive(Debug)]
pub struct Install<'a>(pub &'a Packages);

/// The journal's note: the digest of what was kept on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    before: Sha256,
}

/// What of the check can be seen before anything is staged.
pub(crate) async fn foresee(config: &Packages, cx: &Cx<'_>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    // A source's packages are named by what is installed of it.
    match Database::look().await {
        Err(problem) => problems.push(problem),
        Ok(database) => {
            problems.extend(half_done(&database, config).err());
            let built =
                config.source.iter().flat_map(|source| database.built_from(source)).map(|known| &known.name);
            let named = config.packages.iter().map(|package| &package.name);
            let all: BTreeSet<_> = built.chain(named).chain(&config.along).chain(&config.remove).collect();
            problems.extend(all.into_iter().filter_map(|name| cx.host.policy.may_change_package(name).err()));
        }
    }
    problems.extend(HeldStill::of(&Root::here()).may_put().err());
    problems
}

fn half_done(database: &Database, config: &Packages) -> Result<(), Problem> {
    match database.half_done.first() {
        Some(first) if !config.repair => Err(Problem::new(format!("dpkg has not ended its work: {first}"))
            .next("see what hinders it: dpkg --audit; then: dpkg --configure -a")
            .next("or let the step do it: repair: true")),
        _ => Ok(()),
    }
}

#[async_trait]
impl Action for Install<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let staged = staged(cx.host, self.0, &cx.section.to).await?;
        for change in &staged.changes {
            cx.host.policy.may_change_package(&change.name)?;
        }
        arm::nobody_installs().await?;
        HeldStill::of(&Root::here()).may_put()?;
        let database = Database::look().await?;
        half_done(&database, self.0)?;
        as_staged(&database, &staged.changes)?;
        Outside::program()?;
        room::has(&Store::of(&cx.host.state_dir), &staged.changes).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let before = self.before(cx).await?;
        let (jobs, effect) = (Jobs::of(&cx.host.state_dir), cx.section.effect);
        let before = blocking(move || jobs.keep(effect, &before)).await?;
        Note::of(&Kept { before })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before = read(cx, note)?;
        let beside = beside::look(&Root::here(), &before.changes).await?;
        let job = Job {
            effect: cx.section.effect,
            way: Way::Forward,
            changes: before.changes.clone(),
            downgrade: cx.section.allow_downgrade,
            repair: self.0.repair,
            beside,
            within: self.0.within,
        };
        let done = outside(cx, Way::Forward).run(&job).await?;
        ended(cx, &jobs(cx)).keep(&before).await?;
        well(cx, &before, done).await
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        let before = match read(cx, note) {
            Ok(before) => before,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        // dpkg goes on without us.
        if let Err(problem) = outside(cx, Way::Forward).ended(Duration::from_millis(self.0.within.0)).await {
            return Found::Undecidable(problem.what);
        }
        let database = match Database::look().await {
            Ok(database) => database,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        // Between the two, too: the step's check says what is half-way, and the change is taken back.
        if !database.half_done.is_empty() || !before.changes.iter().all(|change| is_at(&database, change)) {
            return Found::NotBegun;
        }
        let jobs = jobs(cx);
        match jobs.done(cx.section.effect, Way::Forward) {
            // What is wrong beside the versions is said by doing it again, which changes none of them.
            Ok(Some(done)) => match ended(cx, &jobs).keep(&before).await {
                Ok(()) => well(cx, &before, done).await.map_or(Found::NotBegun, Found::Seen),
                Err(_) => Found::NotBegun,
            },
            // Its marks may be missing: doing it again sets them and changes nothing else.
            Ok(None) => Found::NotBegun,
            Err(problem) => Found::Undecidable(problem.what),
        }
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before = read(cx, note)?;
        let within = Duration::from_millis(self.0.within.0);
        outside(cx, Way::Forward).ended(within).await?;
        let outside = outside(cx, Way::Back);
        outside.ended(within).await?;
        let changes = install::back(&before.changes);
        let database = Database::look().await?;
        if database.half_done.is_empty() && changes.iter().all(|change| is_at(&database, change)) {
            return bring_back(cx, &before).await;
        }
        for change in &changes {
            cx.host.policy.may_change_package(&change.name)?;
        }
        let beside = beside::look(&Root::here(), &changes).await?;
        let job = Job {
            effect: cx.section.effect,
            way: Way::Back,
            changes,
            downgrade: true,
            repair: false,
            beside,
            within: self.0.within,
        };
        let up = ended(cx, &jobs(cx)).keep_up().await?;
        let done = outside.run(&job).await?;
        // A service that the way there has touched is not asked about again: those that ran right before.
        let then = Before { services: up.services, boot_id: up.boot_id, ..before.clone() };
        // Whatever came of it: nobody stays down because packages were exchanged.
        let (well, back) = (well(cx, &then, done).await, bring_back(cx, &before).await);
        let (mut evidence, back) = (well?, back?);
        evidence.extend(back);
        Ok(evidence)
    }

    async fn undo_probe(&self, cx: &Cx<'_>, note: &Note, _before: &Note) -> Found {
        let within = Duration::from_millis(self.0.within.0);
        let (Ok(before), Ok(())) = (read(cx, note), outside(cx, Way::Back).ended(within).await) else {
            return Found::NotBegun;
        };
        let is_back = |database: &Database| {
            database.half_done.is_empty()
                && install::back(&before.changes).iter().all(|it| is_at(database, it))
        };
        let jobs = jobs(cx);
        let done = jobs.done(cx.section.effect, Way::Back);
        match (Database::look().await, done, ended(cx, &jobs).missing(&before).await) {
            (Ok(database), Ok(Some(Done { failed: None, .. })), Ok(missing))
                if is_back(&database) && missing.is_empty() =>
            {
                Found::Done
            }
            _ => Found::NotBegun,
        }
    }
}

impl Install<'_> {
    /// The node as it stands.
    async fn before(&self, cx: &Cx<'_>) -> Result<Before, Problem> {
        let changes = changes(cx.host, self.0, &cx.section.to).await?;
        if let Some(held) = changes.iter().find(|change| change.held && !self.0.held) {
            return Err(Problem::new(format!("{} is on hold", held.name)).next(format!(
                "let it go (apt-mark unhold {}), or say `held: true` in the recipe",
                held.name
            )));
        }
        let stale = stale_now().await?.count;
        let up = ended(cx, &jobs(cx)).up().await?;
        Ok(Before { changes, services: up.services, boot_id: up.boot_id, stale })
    }
}

async fn staged(host: &Host, config: &Packages, to: &Version) -> Result<Staged, Problem> {
    let staged = Store::of(&host.state_dir).read(config, to).await?;
    staged.ok_or_else(|| {
        Problem::new("these packages are not staged on this node")
            .next("the recipe needs stagePackages under `stage:`, with exactly the same words")
    })
}

/// What is staged, with the holds and marks of now rather than of the staging.
///
/// # Errors
/// When nothing is, or dpkg or apt do not say.
pub(crate) async fn changes(host: &Host, config: &Packages, to: &Version) -> Result<Vec<Change>, Problem> {
    let mut changes = staged(host, config, to).await?.changes;
    let database = Database::look().await?;
    let automatic = marks::automatic(&Root::here()).await?;
    for change in &mut changes {
        if change.from.is_some() {
            change.held = database.named(&change.name).any(|known| known.held);
            change.auto = marks::is_automatic(&automatic, change);
        } else {
            change.auto = !config.packages.iter().any(|package| package.name == change.name);
        }
    }
    Ok(changes)
}

/// What the journal's note stands for.
fn read(cx: &Cx<'_>, note: &Note) -> Result<Before, Problem> {
    let kept: Kept = note.read()?;
    Jobs::of(&cx.host.state_dir).before(cx.section.effect, kept.before)
}

fn outside<'a>(cx: &Cx<'a>, way: Way) -> Outside<'a> {
    Outside { units: &cx.host.units, state_dir: &cx.host.state_dir, effect: cx.section.effect, way }
}

/// Is the node at the versions that the set was staged from, or already where it is to be?
fn as_staged(database: &Database, changes: &[Change]) -> Result<(), Problem> {
    let then = install::back(changes);
    let half = |(now, then): &(&Change, &Change)| !is_at(database, now) && !is_at(database, then);
    if let Some((_, then)) = changes.iter().zip(&then).find(half) {
        return Err(Problem::new(format!(
            "the node has changed since this was staged: {}",
            is_not(database, then)
        ))
        .next("let the run stage it again: drydock run resume"));
    }
    // All of them, or none: part of them is a change that was interrupted.
    let (there, not_yet): (Vec<_>, Vec<_>) = changes.iter().partition(|change| is_at(database, change));
    let began = there.iter().find(|change| change.from != change.to);
    match (began, not_yet.first()) {
        (Some(one), Some(other)) => Err(Problem::new(format!(
            "a change of packages was interrupted: {} is {}, and {}",
            one.name,
            one.to.as_ref().map_or_else(|| "removed".to_owned(), ToString::to_string),
            is_not(database, other)
        ))
        .next("look at it: dpkg --audit; apt-cache policy")),
        _ => Ok(()),
    }
}

/// What came of a job, and that no service was touched by it.
async fn well(cx: &Cx<'_>, before: &Before, done: Done) -> Result<Vec<Evidence>, Problem> {
    if let Some(failed) = done.failed {
        return Err(failed.into());
    }
    // Since a start of the node every service is another one.
    if boot_id()? == before.boot_id {
        let mut but = named(cx).await;
        but.extend(stale::unit(std::process::id()));
        let up = ended(cx, &jobs(cx)).up().await?;
        let touched = services::touched(&before.services, &up.services, &but);
        if !touched.is_empty() {
            return Err(Problem::new(format!(
                "the packages' scripts went past what holds services still: {}",
                touched.join(", ")
            ))
            .next("see that they are well: systemctl status UNIT")
            .next("a unit that this change may restart is named by a step of the recipe"));
        }
    }
    let now = stale_now().await?;
    let unread = now.unread.iter().map(|process| format!("not seen: {process}"));
    Ok(vec![Evidence::PackagesChanged {
        changed: done.changed,
        kept: done.kept,
        held_still: done.held_still,
        stale: (before.stale, now.count),
        still: now.named.iter().map(word).chain(unread).take(STALE_NAMED).collect(),
    }])
}

/// `libvirtd (pid 812, libvirtd.service)`.
fn word(process: &StaleProcess) -> String {
    let unit = process.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
    format!("{} (pid {}{unit})", process.command, process.pid)
}

/// The units that the section names, by the names that systemd has for them.
async fn named(cx: &Cx<'_>) -> Vec<String> {
    let of = |step: &Step| -> Option<UnitName> {
        match step {
            Step::StopUnit(it) | Step::StartUnit(it) | Step::RestartUnit(it) | Step::RestartAgent(it) => {
                Some(it.unit.clone())
            }
            Step::ReloadOpenvswitch(it) => Some(it.unit.clone()),
            Step::RestartLibvirt(it) => Some(it.unit.clone()),
            Step::RestartOvnController(it) => Some(it.unit.clone()),
            _ => None,
        }
    };
    let mut names = Vec::new();
    for unit in cx.section.steps.iter().filter_map(of) {
        names.push(unit.to_string());
        if let Ok(info) = cx.host.units.load(&unit).await {
            names.push(info.id);
        }
    }
    names
}

fn jobs(cx: &Cx<'_>) -> Jobs {
    Jobs::of(&cx.host.state_dir)
}

const fn ended<'a>(cx: &Cx<'a>, jobs: &'a Jobs) -> Ended<'a> {
    Ended { units: &cx.host.units, jobs, effect: cx.section.effect }
}

/// The services that the packages' scripts have ended are started, where this node's policy lets it.
async fn bring_back(cx: &Cx<'_>, before: &Before) -> Result<Vec<Evidence>, Problem> {
    let policy = &cx.host.policy;
    let started = ended(cx, &jobs(cx)).bring_back(before, May::Policy(policy), &policy.binaries).await?;
    Ok(started.into_iter().flat_map(|(_, seen)| seen).collect())
}

/// Was this service up right before the section's installation, and gone right behind it?
///
/// # Errors
/// When what was kept of it cannot be read.
pub(super) fn has_ended(cx: &Cx<'_>, name: &str) -> Result<bool, Problem> {
    let gone = jobs(cx).ended(cx.section.effect)?;
    Ok(gone.is_some_and(|gone| gone.iter().any(|it| it == name)))
}

async fn stale_now() -> Result<Stale, Problem> {
    blocking(|| {
        stale::processes()
            .map_err(|error| Problem::new(format!("what processes run cannot be seen: {error}")))
    })
    .await
}

#[cfg(test)]
mod tests;
