//! Before the change: may a revert be armed at all, then the plan on the disk, then the timer.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use drydock_types::{
    Millis, Section, Sha256, Step, UnitName,
    section::CommitConfirmed,
    step::{SwapBinary, UnitStep},
};
use nix::fcntl::Flock;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    AGAIN, BOOT_UNIT, command, confirm,
    place::{Place, State},
    plan::{FileBack, PackagesBack, Plan, SwitchBack, UnitBack, unix_ms},
    reverter_unit, unit_name,
};
use crate::{
    actions::{Problem, install_packages},
    apt::ended,
    host::Host,
    sys::{
        blocking, boot,
        exec::Program,
        files::{self, FileError},
        network::Network,
        packages,
        units::UnitsError,
    },
};

/// How long the copy may take to say its version: it is tried before anybody relies upon it.
const TRIAL: Duration = Duration::from_secs(10);
/// How long a reverter of an earlier change is waited for that is just looking what is armed.
const ALONE: Duration = Duration::from_secs(5);

/// The section's limit and witnesses.
fn wanted(section: &Section) -> Result<&CommitConfirmed, Problem> {
    section.commit_confirmed.as_ref().ok_or_else(|| Problem::new("the section is not commit-confirmed"))
}

/// Everything that arming will demand. Changes nothing.
///
/// # Errors
/// Why it cannot be armed now, with what to do.
pub async fn may_arm(host: &Host, section: &Section) -> Result<(), Problem> {
    let wanted = wanted(section)?;
    nobody_installs().await?;
    boot_unit(host).await?;
    match Place::of(&host.state_dir).state()? {
        State::Armed(other) | State::Reverting(other) if other.effect != section.effect => {
            return Err(Place::in_the_way(&other));
        }
        _ => {}
    }
    network().await?;
    // One that does not answer before the change would not answer after it either.
    confirm::witness(host, &wanted.witness).await.map(drop).map_err(|problem| {
        Problem::new(format!(
            "no witness answers, so an outage of the coordinator would take back a change that is well: {}",
            problem.what
        ))
        .next("name one that answers (host:port of a gateway or peer) under `witness:`")
    })
}

/// Refuses while a package manager is at work.
///
/// # Errors
/// When one is, or nobody can tell.
pub async fn nobody_installs() -> Result<(), Problem> {
    let look = spawn_blocking(packages::at_work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    match look {
        Ok(None) => Ok(()),
        Ok(Some(who)) => Err(Problem::new(format!("a package manager is at work: {who}"))
            .next("wait for its end, then: drydock run resume")),
        Err(error) => {
            Err(Problem::new(format!("whether a package manager is at work cannot be seen: {error}")))
        }
    }
}

/// What reverts after a restart of the node must be there, enabled, and start our copy.
async fn boot_unit(host: &Host) -> Result<(), Problem> {
    let next = format!(
        "install it beside the agent's unit and enable it: systemctl daemon-reload && systemctl enable {BOOT_UNIT}"
    );
    let missing = |why: String| {
        Problem::new(format!("a restart of the node would leave the change in place: {why}"))
            .next(next.clone())
    };
    let (starts, enabled) =
        host.units.what_it_starts(BOOT_UNIT).await.map_err(|error| missing(error.to_string()))?;
    let program = Place::of(&host.state_dir).program();
    if starts.first().map(String::as_str) != program.to_str() {
        return Err(missing(format!("{BOOT_UNIT} does not start {}", program.display())));
    }
    if enabled != "enabled" {
        return Err(missing(format!("{BOOT_UNIT} is {enabled}, not enabled")));
    }
    Ok(())
}

async fn network() -> Result<Network, Problem> {
    let look = spawn_blocking(Network::look).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    look.map_err(|error| {
        Problem::new(format!("the node's addresses, routes and rules cannot be read: {error}"))
    })
}

/// Arms. On return the change is taken back after its time, whatever becomes of this agent.
///
/// # Errors
/// When it cannot be armed; then nothing is.
pub async fn arm(host: &Host, section: &Section) -> Result<Duration, Problem> {
    let wanted = wanted(section)?;
    let place = Place::of(&host.state_dir);
    place.make()?;
    let program_sha256 = reverter(&place).await?;
    let mut files = Vec::new();
    for config in swaps(section) {
        files.push(file(section, config).await?);
    }
    let mut units = Vec::new();
    for config in touched(section) {
        units.push(unit(host, &config.unit).await?);
    }
    let plan = Plan {
        effect: section.effect,
        run_number: section.run_number,
        component: section.component.clone(),
        to: section.to.clone(),
        boot_id: boot::id().map_err(|error| Problem::new(format!("the boot id cannot be read: {error}")))?,
        armed_unix_ms: unix_ms(),
        armed_age_ms: age_ms()?,
        within: wanted.within,
        witness: wanted.witness.clone(),
        program_sha256,
        files,
        units,
        packages: packages_back(host, section).await?,
        switch: switch(section),
        network: network().await?,
    };
    let left = Duration::from_millis(plan.within.0);
    let (command, armed, at) = (command(&host.state_dir, plan.effect), plan.clone(), place.clone());
    let lock = alone(&place).await?;
    blocking(move || {
        let armed = at.arm(&armed);
        drop(lock);
        armed
    })
    .await?;
    match start_timer(host, &plan, &command, left).await {
        Ok(()) => {
            tracing::info!(effect = %section.effect, within = %plan.within, "a revert is armed");
            Ok(left)
        }
        Err(problem) => {
            host.ending.over();
            place.disarm()?;
            Err(problem)
        }
    }
}

/// While no reverter looks what is armed: one of an earlier change must not find this one between its look and its
/// claim.
async fn alone(place: &Place) -> Result<Flock<File>, Problem> {
    let until = Instant::now() + ALONE;
    loop {
        match place.try_lock()? {
            Some(lock) => return Ok(lock),
            None if Instant::now() < until => sleep(AGAIN).await,
            None => {
                return Err(Problem::new(format!("a reverter is still at work after {ALONE:?}"))
                    .next("look at it: drydock-agent revert --show; journalctl -u 'drydock-revert*'"));
            }
        }
    }
}

/// Starts the timer, if it does not run yet.
pub(super) async fn start_timer(
    host: &Host,
    plan: &Plan,
    command: &[String],
    left: Duration,
) -> Result<(), Problem> {
    let name = unit_name(plan.effect);
    let apart = reverter_unit(&name, command);
    // From here on whoever stops this agent may be the revert: it does not wait for the section's end.
    host.ending.expect();
    match host.units.start_apart_after(&apart, left).await {
        Ok(()) => Ok(()),
        Err(UnitsError::Refused { why, .. }) if why.contains("already") => Ok(()),
        Err(error) => Err(Problem::new(format!("the revert could not be armed: {error}"))),
    }
}

/// The agent's own program, as it runs now, copied and tried. It armed this, so it knows how to take it back.
async fn reverter(place: &Place) -> Result<Sha256, Problem> {
    let at = place.clone();
    let digest = blocking(move || copy(&at)).await?;
    let trial = Program::new(place.program()).args(["--version"]).deadline(TRIAL).run().await;
    let why = match trial {
        Ok(output) if output.status.success() => return Ok(digest),
        Ok(output) => format!("it ended with {}", output.status),
        Err(error) => error.to_string(),
    };
    Err(Problem::new(format!("the reverter {} cannot be run: {why}", place.program().display())).next(
        "the agent's state directory must not be mounted noexec: findmnt --target /var/lib/drydock-agent",
    ))
}

fn copy(place: &Place) -> Result<Sha256, Problem> {
    let running = std::path::Path::new("/proc/self/exe");
    let failed = |error: io::Error| Place::failed("copy the running agent to", &place.program(), &error);
    let digest = |path: &std::path::Path| fs::File::open(path).and_then(|file| files::hash(&file));
    let own = digest(running).map_err(failed)?;
    let mode = fs::metadata(place.program()).map(|meta| meta.permissions().mode() & 0o7777);
    if mode.is_ok_and(|mode| mode == 0o700) && digest(&place.program()).is_ok_and(|there| there == own) {
        return Ok(own);
    }
    let new = place.dir().join(".drydock-agent.new");
    let mut running = fs::File::open(running).map_err(failed)?;
    place.fill(&new, &mut running, 0o700).map_err(failed)?;
    let written = digest(&new).map_err(failed)?;
    if written != own {
        return Err(failed(io::Error::other("what was written reads back otherwise")));
    }
    place.settle(&new, &place.program())?;
    Ok(own)
}

fn swaps(section: &Section) -> impl Iterator<Item = &SwapBinary> {
    section.steps.iter().filter_map(|step| match step {
        Step::SwapBinary(config) => Some(config),
        _ => None,
    })
}

fn touched(section: &Section) -> impl Iterator<Item = &UnitStep> {
    section.steps.iter().filter_map(|step| match step {
        Step::StopUnit(config)
        | Step::StartUnit(config)
        | Step::RestartUnit(config)
        | Step::RestartAgent(config) => Some(config),
        _ => None,
    })
}

fn switch(section: &Section) -> Option<SwitchBack> {
    section.steps.iter().find_map(|step| match step {
        Step::ReloadOpenvswitch(config) => {
            Some(SwitchBack { unit: config.unit.clone(), within: config.within })
        }
        _ => None,
    })
}

/// What is staged, with the holds and marks of now.
async fn packages_back(host: &Host, section: &Section) -> Result<Option<PackagesBack>, Problem> {
    let steps = section.steps.iter().filter_map(|step| match step {
        Step::InstallPackages(config) => Some(config),
        _ => None,
    });
    let mut back: Option<PackagesBack> = None;
    for config in steps {
        let changes = install_packages::changes(host, config, &section.to).await?;
        let lacking = changes.iter().find(|change| change.from.is_some() && change.old.is_none());
        if let Some(change) = lacking {
            return Err(Problem::new(format!(
                "the installed version of {} is kept nowhere, so nothing could take its change back",
                change.name
            ))
            .next("stage it with `oldVersions: required`"));
        }
        if let Some(back) = &mut back {
            back.changes.extend(changes);
            back.within = back.within.max(config.within);
        } else {
            let may_start = ended::may_start(&host.units, &host.policy).await?;
            back = Some(PackagesBack { changes, within: config.within, may_start });
        }
    }
    Ok(back)
}

async fn file(section: &Section, config: &SwapBinary) -> Result<FileBack, Problem> {
    let artifact = section.artifact.as_ref().ok_or_else(|| Problem::new("the section has no artifact"))?;
    let (path, effect) = (config.path.clone(), section.effect);
    let old = spawn_blocking(move || {
        let place = files::Place::open(&path, effect)?;
        place.digest()?.ok_or_else(|| FileError::Refused {
            what: format!("{path} is not there"),
            next: "install it first".into(),
        })
    });
    let old = old.await.map_err(|error| Problem::new(format!("file work did not end properly: {error}")))?;
    let old_sha256 = old.map_err(Problem::from)?;
    Ok(FileBack { path: config.path.clone(), old_sha256, new_sha256: artifact.sha256 })
}

async fn unit(host: &Host, unit: &UnitName) -> Result<UnitBack, Problem> {
    let info = host.units.load(unit).await.map_err(|error| Problem::new(error.to_string()))?;
    Ok(UnitBack { unit: unit.clone(), active: !info.is_stopped(), invocation: info.invocation_id })
}

fn age_ms() -> Result<u64, Problem> {
    let age = boot::age().map_err(|error| Problem::new(format!("the clock cannot be read: {error}")))?;
    Ok(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// How long ago the plan was armed.
pub(super) fn since(plan: &Plan) -> Result<Millis, Problem> {
    Ok(Millis(age_ms()?.saturating_sub(plan.armed_age_ms)))
}
