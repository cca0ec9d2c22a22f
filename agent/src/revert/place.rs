//! Where a revert's files lie. One rename of `armed.json` decides who was first: the agent that confirms or the
//! reverter. All of this blocks for the length of an fsync.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;
use drydock_types::{
    EffectId, Millis,
    document::{decode_own, encode},
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::Deserialize;

use super::plan::{Begun, Confirmed, Plan, Report};
use crate::actions::Problem;

const ARMED: &str = "armed.json";
const CONFIRMED: &str = "confirmed.json";
/// Who confirmed; counts only beside the file above.
const CONFIRMED_BY: &str = "confirmed-by.json";
const REVERTING: &str = "reverting.json";
const REVERTED: &str = "reverted.json";
/// Units that the reverter has begun to put back.
const BEGUN: &str = "begun.json";
/// The last revert's report, for people.
const LAST: &str = "last-revert.json";
/// Why the agent itself wants it taken back.
const REASON: &str = "reason";
/// The largest document that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The directory.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
}

/// How things stand there.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Nothing is armed, nothing is left.
    Nothing,
    /// Armed.
    Armed(Plan),
    /// The agent was first.
    Confirmed(Confirmed),
    /// The reverter was first, and is at work or was interrupted.
    Reverting(Plan),
    /// The reverter is done.
    Reverted(Report),
}

impl Place {
    /// Within the agent's state directory.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("revert") }
    }

    /// Where the reverter lies.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.dir.join("drydock-agent")
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes it, for root alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), Problem> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| Self::failed("make", &self.dir, &error))
    }

    /// How things stand. What is further on counts.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what this build writes.
    pub fn state(&self) -> Result<State, Problem> {
        if let Some(report) = self.read(REVERTED)? {
            return Ok(State::Reverted(report));
        }
        if let Some(plan) = self.read(REVERTING)? {
            return Ok(State::Reverting(plan));
        }
        if let Some(plan) = self.read(ARMED)? {
            return Ok(State::Armed(plan));
        }
        match self.read::<Plan>(CONFIRMED)? {
            Some(plan) => self.confirmed_by(plan.effect).map(State::Confirmed),
            None => Ok(State::Nothing),
        }
    }

    /// Puts the plan on the disk: from here on the change is taken back unless it is confirmed.
    ///
    /// # Errors
    /// When another one is armed or at work, or the disk says no.
    pub fn arm(&self, plan: &Plan) -> Result<(), Problem> {
        match self.state()? {
            State::Armed(other) | State::Reverting(other) if other.effect != plan.effect => {
                return Err(Self::in_the_way(&other));
            }
            State::Armed(_) | State::Reverting(_) => return Ok(()),
            // Of an effect that is over: its outcome is in the journal.
            State::Confirmed(_) | State::Reverted(_) | State::Nothing => {
                // What a reverter that died behind its report has left goes first: alone it would be gone on with.
                for old in [REVERTING, CONFIRMED, CONFIRMED_BY, REVERTED, BEGUN, REASON] {
                    self.remove(old)?;
                }
            }
        }
        self.write(ARMED, &encode(plan))
    }

    /// Another change's revert that is armed.
    #[must_use]
    pub fn in_the_way(other: &Plan) -> Problem {
        Problem::new(format!(
            "a revert is armed for another change of this node: {} to {} (run {}, effect {})",
            other.component,
            other.to,
            other.run_number,
            other.effect.short()
        ))
        .next("wait until it has struck, or look at it: drydock-agent revert --show")
    }

    /// Confirms, unless the reverter was first: then `false`.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn confirm(&self, done: &Confirmed) -> Result<bool, Problem> {
        // First the words, which mean nothing by themselves; then the claim, which decides.
        self.write(CONFIRMED_BY, &encode(done))?;
        self.claim(ARMED, CONFIRMED)
    }

    fn confirmed_by(&self, effect: EffectId) -> Result<Confirmed, Problem> {
        let lost = || Confirmed { effect, by: "somebody whose name is lost".into(), after: Millis(0) };
        let words = self.read::<Confirmed>(CONFIRMED_BY)?.filter(|words| words.effect == effect);
        Ok(words.unwrap_or_else(lost))
    }

    /// The reverter's claim. `None`: there is nothing to take back.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn claim_revert(&self) -> Result<Option<Plan>, Problem> {
        // Interrupted behind its report: there is nothing left to do but to say so.
        if let Some(report) = self.read::<Report>(REVERTED)? {
            if self.read::<Plan>(REVERTING)?.is_some_and(|plan| plan.effect == report.effect) {
                self.remove(REVERTING)?;
            }
            return Ok(None);
        }
        // Interrupted half-way: gone on with.
        if let Some(plan) = self.read(REVERTING)? {
            return Ok(Some(plan));
        }
        if self.claim(ARMED, REVERTING)? { self.read(REVERTING) } else { Ok(None) }
    }

    /// What a reverter of this effect has begun to put back. One that cannot be read counts as none: what is put back
    /// twice does no harm.
    #[must_use]
    pub fn begun(&self, effect: EffectId) -> Begun {
        let none = Begun { effect, units: Vec::new() };
        let read = self.read::<Begun>(BEGUN).ok().flatten();
        read.filter(|begun| begun.effect == effect).unwrap_or(none)
    }

    /// Puts it on the disk.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_begun(&self, begun: &Begun) -> Result<(), Problem> {
        self.write(BEGUN, &encode(begun))
    }

    /// The reverter's end.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn report(&self, report: &Report) -> Result<(), Problem> {
        self.write(REVERTED, &encode(report))?;
        self.remove(REVERTING)
    }

    /// Once the outcome is in the journal.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn put_away(&self, effect: EffectId) -> Result<(), Problem> {
        match self.state()? {
            State::Reverted(report) if report.effect == effect => {
                // What a reverter that died behind its report has left goes first: alone it would be gone on with.
                self.remove(REVERTING)?;
                self.rename(REVERTED, LAST)?;
                self.remove(BEGUN)?;
            }
            State::Confirmed(done) if done.effect == effect => {
                self.remove(CONFIRMED)?;
                self.remove(CONFIRMED_BY)?;
            }
            _ => {}
        }
        self.remove(REASON)
    }

    /// Takes back an arming after which nothing was changed.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn disarm(&self) -> Result<(), Problem> {
        self.remove(ARMED)
    }

    /// Whose change is over, one way or the other, and has left something here.
    ///
    /// # Errors
    /// As [`Place::state`].
    pub fn over(&self) -> Result<Option<EffectId>, Problem> {
        Ok(match self.state()? {
            State::Confirmed(done) => Some(done.effect),
            State::Reverted(report) => Some(report.effect),
            State::Armed(_) | State::Reverting(_) | State::Nothing => None,
        })
    }

    /// Why the agent itself wants it taken back, for the report.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn write_reason(&self, why: &str) -> Result<(), Problem> {
        self.write(REASON, why.as_bytes())
    }

    /// What the agent said, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(REASON)).ok().map(|text| text.chars().take(500).collect())
    }

    /// One reverter at a time.
    ///
    /// # Errors
    /// When another one is at work.
    pub fn lock(&self) -> Result<Flock<File>, Problem> {
        let (path, file) = self.lock_file()?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Self::failed("lock", &path, &errno.into()))
    }

    /// The same, at once; `None` while another one is at work.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn try_lock(&self) -> Result<Option<Flock<File>>, Problem> {
        let (path, file) = self.lock_file()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Self::failed("lock", &path, &errno.into())),
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File), Problem> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        match file {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(Self::failed("open", &path, &error)),
        }
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, Problem> {
        let path = self.dir.join(name);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::failed("look at", &path, &error)),
        };
        let me = nix::unistd::geteuid().as_raw();
        if !meta.is_file() || meta.uid() != me || meta.mode() & 0o077 != 0 || meta.len() > MAX_BYTES {
            let why = "it is not a file of the agent's own, mode 0600";
            return Err(Problem::new(format!("{} is not believed: {why}", path.display())));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::failed("read", &path, &error)),
        };
        decode_own(name, &bytes)
            .map(Some)
            .map_err(|error| Problem::new(format!("{}: {error}", path.display())))
    }

    /// `false` when somebody else was first, or nothing was there.
    fn claim(&self, from: &str, to: &str) -> Result<bool, Problem> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        match durable!("agent.revert.claim", fs::rename(&from, &to)) {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Self::failed("rename", &from, &error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Problem> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        durable!("agent.revert.rename", fs::rename(&from, &to))
            .map_err(|error| Self::failed("rename", &from, &error))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> Result<(), Problem> {
        let path = self.dir.join(name);
        match durable!("agent.revert.remove", fs::remove_file(&path)) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Self::failed("remove", &path, &error)),
        }
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!(".{name}.new")));
        let failed = |error: io::Error| Self::failed("write", &path, &error);
        self.fill(&new, &mut &bytes[..], 0o600).map_err(failed)?;
        durable!("agent.revert.write-rename", fs::rename(&new, &path)).map_err(failed)?;
        self.sync()
    }

    /// A new file with what is read, durable.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn fill(&self, path: &Path, from: &mut dyn io::Read, mode: u32) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        durable!("agent.revert.write", io::copy(from, &mut file))?;
        durable!("agent.revert.sync", file.sync_all())
    }

    /// Puts a finished file in its place.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn settle(&self, new: &Path, path: &Path) -> Result<(), Problem> {
        durable!("agent.revert.settle", fs::rename(new, path))
            .map_err(|error| Self::failed("rename", new, &error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Problem> {
        let dir = File::open(&self.dir).map_err(|error| Self::failed("open", &self.dir, &error))?;
        durable!("agent.revert.sync-dir", dir.sync_all())
            .map_err(|error| Self::failed("sync", &self.dir, &error))
    }

    pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> Problem {
        Problem::new(format!("cannot {doing} {}: {error}", path.display()))
            .next("look at the disk of the agent's state directory: df, dmesg")
    }
}

#[cfg(test)]
mod tests;
