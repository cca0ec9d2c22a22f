//! What is told to the process that installs, and what it tells: documents below the agent's state directory, each with
//! its digest, so that an agent that was killed meanwhile, the reverter, and the next start all know how things stand.
//!
//! ```text
//! packages/jobs/lock                 held by whoever works on packages or puts policy-rc.d back
//! packages/jobs/EFFECT/before.json   the node right before the change
//! packages/jobs/EFFECT/ended.json    services that were gone right behind it
//! packages/jobs/EFFECT/up.json       services that were up right before the way back
//! packages/jobs/EFFECT/WAY.json      what is to be done; WAY is `forward` or `back`
//! packages/jobs/EFFECT/WAY.asked     what packages asked of services and were not let
//! packages/jobs/EFFECT/WAY.done.json how it ended; nothing is done any more once it is there
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_failpoint::durable;
use drydock_types::{EffectId, Millis, Sha256, packages::ChangedPackage};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use super::staged::{Change, disk};
use crate::{
    actions::Problem,
    sys::{files::kept, units::services::Service},
};

/// Below the agent's state directory.
const DIR: &str = "packages/jobs";
/// The largest document that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// So many changes' documents are kept: a rollback may come long after.
const KEPT: usize = 8;
/// How often the lock is tried while another holds it.
const AGAIN: Duration = Duration::from_millis(100);

/// There or back again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// To the new versions.
    Forward,
    /// To the old ones.
    Back,
}

impl Way {
    /// `forward`, `back`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// Of which effect.
    pub effect: EffectId,
    /// Which way.
    pub way: Way,
    /// What each package is to be, in this way's direction: `to` is what will be.
    pub changes: Vec<Change>,
    /// May versions go down?
    pub downgrade: bool,
    /// Is what an earlier dpkg has left half-configured configured first?
    pub repair: bool,
    /// The packages' own configuration files that lie beside kept ones already, each with inode and time.
    pub beside: BTreeMap<String, (u64, i64)>,
    /// How long it may take.
    pub within: Millis,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Done {
    /// What is another version now than before.
    pub changed: Vec<ChangedPackage>,
    /// Configuration that was kept, with the package's own beside it.
    pub kept: Vec<String>,
    /// What packages asked of services and were not let.
    pub held_still: Vec<String>,
    /// Why it is not as it should be; `None`: it is.
    pub failed: Option<Failed>,
}

/// A [`Problem`] that can be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failed {
    what: String,
    next: Vec<String>,
    log: Vec<String>,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self { what: problem.what, next: problem.next, log: problem.log }
    }
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        Self { what: failed.what, next: failed.next, log: failed.log }
    }
}

/// The node right before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Before {
    /// What is changed, with holds and marks of this moment.
    pub changes: Vec<Change>,
    /// The services that ran.
    pub services: BTreeMap<String, Service>,
    /// In which boot.
    pub boot_id: String,
    /// How many processes ran what is not installed any more.
    pub stale: u64,
}

/// The services that were up at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Up {
    /// Each with its invocation.
    pub services: BTreeMap<String, Service>,
    /// In which boot.
    pub boot_id: String,
}

/// Where the documents lie.
#[derive(Debug, Clone)]
pub struct Jobs(PathBuf);

impl Jobs {
    /// Below this state directory.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self(state_dir.join(DIR))
    }

    fn file(&self, effect: EffectId, name: &str) -> PathBuf {
        self.0.join(effect.to_string()).join(name)
    }

    /// Where it is written down what packages ask for.
    #[must_use]
    pub fn asked(&self, effect: EffectId, way: Way) -> PathBuf {
        self.file(effect, &format!("{way}.asked"))
    }

    /// Keeps how the node stands, and says by which digest it is known again. What is older than the last few changes
    /// goes.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep(&self, effect: EffectId, before: &Before) -> Result<Sha256, Problem> {
        kept::prune(&self.0, KEPT, &effect.to_string()).map_err(disk(&self.0))?;
        let path = self.file(effect, "before.json");
        kept::write(&path, before).map_err(disk(&path))
    }

    /// What was kept.
    ///
    /// # Errors
    /// When it is gone, or is not what was kept.
    pub fn before(&self, effect: EffectId, digest: Sha256) -> Result<Before, Problem> {
        let path = self.file(effect, "before.json");
        match kept::read(&path, MAX_BYTES).map_err(disk(&path))? {
            Some((before, found)) if found == digest => Ok(before),
            Some(_) => {
                Err(Problem::new(format!("{} is not what was kept before the change", path.display())))
            }
            None => Err(Problem::new(format!(
                "{} is gone: what the packages were before is not known",
                path.display()
            ))
            .next("look at the packages by hand: dpkg --audit; apt-cache policy")),
        }
    }

    /// What was kept, whoever asks: the reverter has no journal.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kept(&self, effect: EffectId) -> Result<Option<Before>, Problem> {
        self.document(effect, "before.json")
    }

    /// Keeps which services were gone right behind the installation.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep_ended(&self, effect: EffectId, names: &[String]) -> Result<(), Problem> {
        let path = self.file(effect, "ended.json");
        kept::write(&path, &names).map(drop).map_err(disk(&path))
    }

    /// Which were; `None`: nobody has looked.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ended(&self, effect: EffectId) -> Result<Option<Vec<String>>, Problem> {
        self.document(effect, "ended.json")
    }

    /// Keeps which services were up right before the way back. One that was interrupted has begun with those that it kept.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep_up(&self, effect: EffectId, up: &Up) -> Result<(), Problem> {
        if self.up(effect)?.is_some_and(|kept| kept.boot_id == up.boot_id) {
            return Ok(());
        }
        let path = self.file(effect, "up.json");
        kept::write(&path, up).map(drop).map_err(disk(&path))
    }

    /// Which were; `None`: no way back was begun, or the one that was has come to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn up(&self, effect: EffectId) -> Result<Option<Up>, Problem> {
        self.document(effect, "up.json")
    }

    /// All of them are up again: what somebody stops from now on is theirs.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn all_are_up(&self, effect: EffectId) -> Result<(), Problem> {
        if self.kept(effect)?.is_some() {
            self.keep_ended(effect, &[])?;
        }
        let path = self.file(effect, "up.json");
        match durable!("agent.packages.up-remove", fs::remove_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(&path)(error)),
            _ => Ok(()),
        }
    }

    fn document<T: DeserializeOwned>(&self, effect: EffectId, name: &str) -> Result<Option<T>, Problem> {
        let path = self.file(effect, name);
        Ok(kept::read(&path, MAX_BYTES).map_err(disk(&path))?.map(|(document, _)| document))
    }

    /// Hands out a job: what an earlier one of that way has told is gone.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn hand_out(&self, job: &Job) -> Result<(), Problem> {
        let done = self.file(job.effect, &format!("{}.done.json", job.way));
        for old in [done, self.asked(job.effect, job.way)] {
            match durable!("agent.packages.job-remove", fs::remove_file(&old)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(&old)(error)),
                _ => {}
            }
        }
        let path = self.file(job.effect, &format!("{}.json", job.way));
        kept::write(&path, job).map(drop).map_err(disk(&path))
    }

    /// A job that was handed out.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn job(&self, effect: EffectId, way: Way) -> Result<Job, Problem> {
        let path = self.file(effect, &format!("{way}.json"));
        match kept::read(&path, MAX_BYTES).map_err(disk(&path))? {
            Some((job, _)) => Ok(job),
            None => Err(Problem::new(format!("{} is not there: no such job was handed out", path.display()))),
        }
    }

    /// Writes how it ended.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn end(&self, job: &Job, done: &Done) -> Result<(), Problem> {
        let path = self.file(job.effect, &format!("{}.done.json", job.way));
        kept::write(&path, done).map(drop).map_err(disk(&path))
    }

    /// How it ended; `None`: it has not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn done(&self, effect: EffectId, way: Way) -> Result<Option<Done>, Problem> {
        self.document(effect, &format!("{way}.done.json"))
    }

    /// The lock, where nobody holds it.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn try_lock(&self) -> Result<Option<Flock<File>>, Problem> {
        let path = self.0.join(kept::LOCK);
        let opened = kept::make(&self.0).and_then(|()| {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
        });
        match Flock::lock(opened.map_err(disk(&path))?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(disk(&path)(errno.into())),
        }
    }

    /// The lock, once nobody else holds it.
    ///
    /// # Errors
    /// When another one works on longer than this, or the disk says no.
    pub async fn lock(&self, within: Duration) -> Result<Flock<File>, Problem> {
        let until = Instant::now() + within;
        loop {
            match self.try_lock()? {
                Some(lock) => return Ok(lock),
                None if Instant::now() < until => sleep(AGAIN).await,
                None => {
                    return Err(Problem::new(format!(
                        "another installation of this agent is still at work after {within:?}"
                    ))
                    .next("look at it: systemctl list-units 'drydock-packages-*'; journalctl -u 'drydock-packages-*'"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            effect: EffectId([7; 32]),
            way: Way::Forward,
            changes: Vec::new(),
            downgrade: false,
            repair: false,
            beside: BTreeMap::new(),
            within: Millis::secs(60),
        }
    }

    #[test]
    fn a_job_that_is_handed_out_again_has_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(dir.path());
        assert!(jobs.job(job().effect, Way::Forward).unwrap_err().what.contains("no such job"));
        jobs.hand_out(&job()).unwrap();
        let done = Done { changed: vec![], kept: vec![], held_still: vec!["x restart".into()], failed: None };
        jobs.end(&job(), &done).unwrap();
        fs::write(jobs.asked(job().effect, Way::Forward), "x restart\n").unwrap();
        assert_eq!(jobs.done(job().effect, Way::Forward).unwrap(), Some(done));
        assert_eq!(jobs.done(job().effect, Way::Back).unwrap(), None);
        jobs.hand_out(&job()).unwrap();
        assert_eq!(jobs.done(job().effect, Way::Forward).unwrap(), None);
        assert!(!jobs.asked(job().effect, Way::Forward).exists());
        assert_eq!(jobs.job(job().effect, Way::Forward).unwrap(), job());
    }

    #[test]
    fn what_was_kept_is_known_again_and_only_the_last_few_stay() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(dir.path());
        let before = Before { changes: vec![], services: BTreeMap::new(), boot_id: "b".into(), stale: 3 };
        let effect = |number: u8| EffectId([number; 32]);
        let digest = jobs.keep(effect(0), &before).unwrap();
        assert_eq!(jobs.before(effect(0), digest).unwrap(), before);
        assert!(jobs.before(effect(0), Sha256([0; 32])).unwrap_err().what.contains("is not what was kept"));
        for number in 1..20 {
            jobs.keep(effect(number), &before).unwrap();
        }
        let left = fs::read_dir(dir.path().join(DIR)).unwrap().count();
        assert_eq!(left, KEPT);
        assert!(jobs.before(effect(19), digest).is_ok());
        assert!(jobs.before(effect(0), digest).unwrap_err().what.contains("is gone"));
    }

    #[test]
    fn only_one_works_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(dir.path());
        let lock = jobs.try_lock().unwrap().unwrap();
        assert!(jobs.try_lock().unwrap().is_none());
        drop(lock);
        assert!(jobs.try_lock().unwrap().is_some());
    }
}
