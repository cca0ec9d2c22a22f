//! The installation itself: a job, done by a process of its own, so that dpkg comes to its end whatever becomes of the
//! agent. The reverter does the same jobs.
//!
//! Held still → what an earlier dpkg left half-way → simulated again with the very files and compared → installed → holds
//! and marks → seen in dpkg's database → let go. Taken up again at any point it goes on.

use std::{fs, path::Path, time::Duration};

use drydock_failpoint::effect;
use drydock_types::{EffectId, packages::ChangedPackage};
use tokio::time::{Instant, sleep};

use super::{
    beside,
    database::{Database, Known},
    held_still::{self, HeldStill},
    job::{Done, Job, Jobs, Way},
    marks,
    root::Root,
    simulate::{Simulation, To},
    staged::{Change, Store},
};
use crate::{
    actions::Problem,
    revert::place::{Place, State},
    sys::{exec::Output, packages, units::printable_line},
};

/// The time for what is neither apt's nor dpkg's work: marks, looks, the disk.
const BESIDE: Duration = Duration::from_secs(120);
/// How long another's lock is waited for: one that was just killed, or is just ending. Locks of the kernel tell nobody.
const ANOTHER: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);
/// So many of the last lines that apt says are told.
const LAST_LINES: usize = 20;

/// Where a job is done.
#[derive(Debug)]
pub struct Installer<'a> {
    root: &'a Root,
    jobs: Jobs,
    store: Store,
    held: HeldStill,
    reverts: Place,
}

/// How long a job may take, from its beginning to its document.
#[must_use]
pub const fn longest(job: &Job) -> Duration {
    Duration::from_millis(job.within.0).saturating_add(BESIDE)
}

/// Puts back what holds services still, unless somebody is at work on packages.
///
/// # Errors
/// When it could not be put back.
pub fn settle(root: &Root, state_dir: &Path) -> Result<&'static str, Problem> {
    // Where nothing was ever installed there is nothing to make either.
    if !state_dir.join("packages/jobs").is_dir() {
        return Ok("nothing was installed by this agent yet");
    }
    let Some(_lock) = Jobs::of(state_dir).try_lock()? else {
        return Ok("an installation is at work, and puts it back itself");
    };
    HeldStill::of(root).put_back().map(|()| "services are not held still")
}

impl<'a> Installer<'a> {
    /// Over the documents below this state directory.
    #[must_use]
    pub fn new(root: &'a Root, state_dir: &Path) -> Self {
        let (jobs, store) = (Jobs::of(state_dir), Store::of(state_dir));
        Self { root, jobs, store, held: HeldStill::of(root), reverts: Place::of(state_dir) }
    }

    /// Does a job to its end. One that has ended is not done again.
    ///
    /// # Errors
    /// When it cannot be begun, or its end cannot be written. How it went, also when that was badly, is in its document.
    pub async fn run(&self, effect: EffectId, way: Way) -> Result<Done, Problem> {
        let job = self.jobs.job(effect, way)?;
        let _lock = self.jobs.lock(longest(&job)).await?;
        if let Some(done) = self.jobs.done(effect, way)? {
            self.held.put_back()?;
            return Ok(done);
        }
        self.not_taken_back(&job)?;
        let worked = match self.held.put(&self.jobs.asked(effect, way)) {
            Ok(()) => self.work(&job).await,
            Err(problem) => Err(problem),
        };
        let let_go = self.held.put_back();
        let done = self.tell(&job, worked.and(let_go)).await;
        self.jobs.end(&job, &done)?;
        Ok(done)
    }

    /// The reverter may have been quicker than systemd was with this: then nothing is begun behind it.
    fn not_taken_back(&self, job: &Job) -> Result<(), Problem> {
        let taken_back = match self.reverts.state()? {
            State::Reverting(plan) => plan.effect == job.effect,
            State::Reverted(report) => report.effect == job.effect,
            State::Nothing | State::Armed(_) | State::Confirmed(_) => false,
        };
        if taken_back && job.way == Way::Forward {
            return Err(Problem::new(
                "the change is being taken back, or was: its packages are not installed",
            ));
        }
        Ok(())
    }

    async fn tell(&self, job: &Job, worked: Result<(), Problem>) -> Done {
        let changed = match Database::look_in(self.root).await {
            Ok(database) => changed(job, &database),
            Err(_) => Vec::new(),
        };
        let beside = beside::look(self.root, &job.changes).await.unwrap_or_default();
        Done {
            changed,
            kept: beside::kept(&job.beside, &beside),
            held_still: held_still::asked(&self.jobs.asked(job.effect, job.way)).unwrap_or_default(),
            failed: worked.err().map(Into::into),
        }
    }

    async fn work(&self, job: &Job) -> Result<(), Problem> {
        let until = Instant::now() + Duration::from_millis(job.within.0);
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        self.nobody_else().await?;
        self.finish_writing(left()).await?;
        if job.repair {
            self.configure(left()).await?;
        }
        self.unpack_anew(job, left()).await?;
        let database = Database::look_in(self.root).await?;
        if job.changes.iter().any(|change| !is_at(&database, change)) {
            self.simulate(job, &database, left()).await?;
            let output = effect!("agent.packages.install", self.apt(job, &database, &[], left()).await)?;
            self.see(job, &output, left()).await?;
        }
        marks::put_back(self.root, &job.changes).await
    }

    /// dpkg's locks, by who holds them: apt would only name a number.
    async fn nobody_else(&self) -> Result<(), Problem> {
        let until = Instant::now() + ANOTHER;
        loop {
            match packages::lock_held(&self.root.path("/")) {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if Instant::now() < until => sleep(AGAIN).await,
                Ok(Some(who)) => {
                    return Err(Problem::new(format!("a package manager is at work: {who}"))
                        .next("wait for its end, then: drydock run resume"));
                }
                Err(error) => {
                    return Err(Problem::new(format!(
                        "whether a package manager is at work cannot be seen: {error}"
                    )));
                }
            }
        }
    }

    /// A dpkg that was killed has left what it was writing; any other one that may write takes it over first, and apt
    /// does nothing before that.
    async fn finish_writing(&self, within: Duration) -> Result<(), Problem> {
        let updates = self.root.path("/var/lib/dpkg/updates");
        let entries = fs::read_dir(&updates).map_err(super::staged::disk(&updates))?;
        if entries.count() == 0 {
            return Ok(());
        }
        let program = self.root.dpkg(&["--set-selections"], within)?;
        let output = effect!("agent.packages.take-over", program.run().await)
            .map_err(|error| Problem::new(error.to_string()))?;
        well(&output, "dpkg --set-selections, which takes over what an interrupted dpkg was writing")
    }

    /// Whatever comes of it is seen in the database.
    async fn configure(&self, within: Duration) -> Result<(), Problem> {
        let program = self.root.dpkg(&["--configure", "-a"], within)?;
        let output = effect!("agent.packages.configure", program.run().await)
            .map_err(|error| Problem::new(error.to_string()))?;
        let database = Database::look_in(self.root).await?;
        match database.half_done.first() {
            None => Ok(()),
            Some(first) => Err(told(&output, format!("dpkg --configure -a has not mended all: {first}"))
                .next("see what hinders it: dpkg --audit")),
        }
    }

    /// What dpkg was unpacking when it was ended: apt does nothing at all before that is whole again, and would have it of
    /// an archive. dpkg takes the staged file itself, and what is to go it removes.
    async fn unpack_anew(&self, job: &Job, within: Duration) -> Result<(), Problem> {
        let database = Database::look_in(self.root).await?;
        let half = |change: &&Change| known(&database, change).is_some_and(|known| known.half_unpacked);
        let (come, go): (Vec<&Change>, Vec<&Change>) =
            job.changes.iter().filter(half).partition(|change| change.to.is_some());
        let files: Vec<String> =
            come.into_iter().map(|change| self.file(change)).collect::<Result<_, _>>()?;
        let names: Vec<String> = go.into_iter().map(|change| change.name.to_string()).collect();
        for (verb, what) in
            [(["--unpack"].as_slice(), files), (["--force-remove-reinstreq", "--remove"].as_slice(), names)]
        {
            if what.is_empty() {
                continue;
            }
            let args: Vec<&str> = verb.iter().copied().chain(what.iter().map(String::as_str)).collect();
            let program = self.root.dpkg(&args, within)?;
            let output = effect!("agent.packages.unpack-anew", program.run().await)
                .map_err(|error| Problem::new(error.to_string()))?;
            well(&output, &format!("dpkg {}, over what an interrupted dpkg was unpacking,", args.join(" ")))?;
        }
        Ok(())
    }

    async fn simulate(&self, job: &Job, database: &Database, within: Duration) -> Result<(), Problem> {
        let output = self.apt(job, database, &["-qq", "-s"], within).await?;
        well(&output, "apt-get -s install, with the very files that were staged")?;
        let said = String::from_utf8_lossy(&output.stdout);
        compare(&Simulation::parse(&said)?, job, database)
    }

    async fn apt(
        &self,
        job: &Job,
        database: &Database,
        first: &[&str],
        within: Duration,
    ) -> Result<Output, Problem> {
        let program = self.root.apt_get(&self.arguments(job, database, first)?, within)?;
        program.run().await.map_err(|error| {
            Problem::new(format!("installing: {error}"))
                .next("see what hung: journalctl -u 'drydock-packages-*'")
        })
    }

    fn arguments(&self, job: &Job, database: &Database, first: &[&str]) -> Result<Vec<String>, Problem> {
        let mut all: Vec<String> = first.iter().chain(&["-y"]).map(|arg| (*arg).to_owned()).collect();
        if job.downgrade {
            all.push("--allow-downgrades".into());
        }
        if job.changes.iter().any(|change| change.held) {
            all.push("--allow-change-held-packages".into());
        }
        if job.changes.iter().all(|change| change.to.is_some()) {
            all.push("--no-remove".into());
        }
        all.push("install".into());
        // apt, which knows no archive here, refuses to remove what dpkg does not know.
        for change in job.changes.iter().filter(|it| it.to.is_some() || !is_at(database, it)) {
            all.push(if change.to.is_some() { self.file(change)? } else { format!("{}-", change.name) });
        }
        Ok(all)
    }

    /// The staged file of what is to be installed.
    fn file(&self, change: &Change) -> Result<String, Problem> {
        match &change.new {
            Some(kept) => path(&self.store.path(kept)),
            None => Err(Problem::new(format!("no file of {} was kept", change.name)).next("stage it again")),
        }
    }

    /// Is everything as it is to be? What apt says at its end is neither proof of it nor against it.
    async fn see(&self, job: &Job, output: &Output, within: Duration) -> Result<(), Problem> {
        let mut database = Database::look_in(self.root).await?;
        // What waits for its turn is no failure of these packages; going back everything is tried.
        if !database.half_done.is_empty() && job.way == Way::Back {
            let program = self.root.dpkg(&["--configure", "-a"], within)?;
            let done = effect!("agent.packages.configure-back", program.run().await);
            done.map_err(|error| Problem::new(error.to_string()))?;
            database = Database::look_in(self.root).await?;
        }
        if let Some(first) = database.half_done.first() {
            let what = format!("dpkg has not come to its end with the packages: {first}");
            return Err(told(output, what).next("dpkg --audit"));
        }
        match job.changes.iter().find(|change| !is_at(&database, change)) {
            None => Ok(()),
            Some(change) => Err(told(output, is_not(&database, change))),
        }
    }
}

/// Would exactly the staged set be changed, each to its version?
fn compare(simulation: &Simulation, job: &Job, database: &Database) -> Result<(), Problem> {
    let refuse = |what: String| {
        Problem::new(format!("installing the staged files would {what}, and that was not staged"))
            .next("the node has changed since: stage it again (drydock run resume)")
    };
    for would in &simulation.changes {
        let name = &would.name;
        let fits = |change: &&Change| {
            let own = would.qualifier.as_ref().is_none_or(|qualifier| *qualifier == change.architecture);
            change.name == *name && own && is_that(&would.to, change, job.way)
        };
        let Some(change) = job.changes.iter().find(fits) else {
            return Err(refuse(match &would.to {
                To::Version(version, architecture) => format!("install {name}:{architecture} {version}"),
                To::Removed => format!("remove {name}"),
                To::Purged => format!("purge {name}"),
            }));
        };
        if job.way == Way::Forward && would.from != change.from {
            let from = would.from.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(refuse(format!("change {name} from {from}")));
        }
    }
    if let Some(name) =
        simulation.configures.iter().find(|it| !job.changes.iter().any(|change| change.name == **it))
    {
        return Err(refuse(format!("configure {name}")));
    }
    let missing = job.changes.iter().filter(|change| !is_at(database, change)).find(|change| {
        !simulation.changes.iter().any(|would| would.name == change.name)
            && !simulation.configures.contains(&change.name)
    });
    match missing {
        None => Ok(()),
        Some(change) => Err(refuse(format!("leave {} as it is", change.name))),
    }
}

fn is_that(to: &To, change: &Change, way: Way) -> bool {
    match (to, &change.to) {
        (To::Version(version, architecture), Some(wanted)) => {
            // A package may have been for every architecture and not be any more.
            version == wanted && (way == Way::Back || *architecture == change.architecture)
        }
        (To::Removed, None) => true,
        _ => false,
    }
}

/// What of the set is another version than before.
fn changed(job: &Job, database: &Database) -> Vec<ChangedPackage> {
    let is_there = |change: &&Change| is_at(database, change) && change.from != change.to;
    let told = |change: &Change| ChangedPackage {
        name: change.name.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
    };
    job.changes.iter().filter(is_there).map(told).collect()
}

/// What dpkg has under the package's name, of its architecture where there are several.
fn known<'a>(database: &'a Database, change: &'a Change) -> Option<&'a Known> {
    let mut named: Vec<_> = database.named(&change.name).collect();
    if named.len() > 1 {
        named.retain(|known| known.architecture == change.architecture);
    }
    named.into_iter().next()
}

/// Is the package what it is to be, wholly?
#[must_use]
pub fn is_at(database: &Database, change: &Change) -> bool {
    match (&change.to, known(database, change)) {
        (Some(to), Some(known)) => known.installed && known.version.as_ref() == Some(to),
        (Some(_), None) | (None, None) => change.to.is_none(),
        (None, Some(known)) => !known.installed && known.version.is_none(),
    }
}

/// In words.
#[must_use]
pub fn is_not(database: &Database, change: &Change) -> String {
    let wanted = change.to.as_ref().map_or_else(|| "not installed".to_owned(), ToString::to_string);
    let is = known(database, change).map_or_else(
        || "not installed".to_owned(),
        |known| {
            let version =
                known.version.as_ref().map_or_else(|| "not installed".to_owned(), ToString::to_string);
            if known.installed || known.version.is_none() { version } else { format!("{version}, half-way") }
        },
    );
    format!("{} should be {wanted} and is {is}", change.name)
}

/// The same changes the other way round.
#[must_use]
pub fn back(changes: &[Change]) -> Vec<Change> {
    let turned = |change: &Change| Change {
        from: change.to.clone(),
        to: change.from.clone(),
        new: change.old.clone(),
        old: change.new.clone(),
        ..change.clone()
    };
    changes.iter().map(turned).collect()
}

fn path(path: &Path) -> Result<String, Problem> {
    let text = path.to_str().filter(|text| text.starts_with('/'));
    text.map(str::to_owned).ok_or_else(|| Problem::new(format!("{} is no path for apt", path.display())))
}

fn well(output: &Output, what: &str) -> Result<(), Problem> {
    if output.status.success() {
        return Ok(());
    }
    Err(told(output, format!("{what} ended with {}", output.status)))
}

/// With the last lines of what was said.
fn told(output: &Output, what: String) -> Problem {
    let mut problem = Problem::new(what);
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    let lines: Vec<String> = said
        .iter()
        .flat_map(|said| {
            let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            lines[lines.len().saturating_sub(LAST_LINES)..]
                .iter()
                .map(|line| printable_line(line))
                .collect::<Vec<_>>()
        })
        .collect();
    problem.log = lines;
    problem
}

#[cfg(test)]
pub(crate) mod tests;
