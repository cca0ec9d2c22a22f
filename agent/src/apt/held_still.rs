//! Services are held still while packages are installed: `policy-rc.d` forbids their scripts every start, stop and
//! restart, and writes down what they asked for.
//!
//! ```text
//! policy-rc.d               ours while packages are installed
//! policy-rc.d.drydock       what lay there before, under a second name; nothing where nothing lay there
//! policy-rc.d.drydock-new   ours while it is written
//! ```
//!
//! Each step leaves a state that tells what to do, so that whoever comes first after a crash can put it back: the
//! installing process itself, what systemd runs behind it, the agent's next start, or the reverter. They exclude each
//! other by the lock of `jobs`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use drydock_failpoint::durable;

use super::root::Root;
use crate::{actions::Problem, sys::units::printable_line};

/// Where Debian's scripts look before they start, stop or restart anything.
const PLACE: &str = "/usr/sbin/policy-rc.d";
/// What lay there.
const BEFORE: &str = "/usr/sbin/policy-rc.d.drydock";
/// Ours, not yet in its place.
const NEW: &str = "/usr/sbin/policy-rc.d.drydock-new";
/// How ours begins.
const OURS: &str = "#!/bin/sh\n\
    # Drydock installs packages, and holds services still meanwhile. What lay here before is policy-rc.d.drydock.\n\
    # Put back by hand, with no installation at work: drydock-agent packages --settle\n";
/// What is read of what the packages asked for.
const MOST: u64 = 64 << 10;
/// As many lines of it are told.
const LINES: usize = 64;

/// The place where services are held still.
#[derive(Debug, Clone)]
pub struct HeldStill {
    place: PathBuf,
    before: PathBuf,
    new: PathBuf,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    Nothing,
    Ours,
    /// Somebody else's: which file.
    Theirs(u64),
}

impl HeldStill {
    /// Of this root.
    #[must_use]
    pub fn of(root: &Root) -> Self {
        Self { place: root.path(PLACE), before: root.path(BEFORE), new: root.path(NEW) }
    }

    /// Can it be put there? Read-only.
    ///
    /// # Errors
    /// Why not.
    pub fn may_put(&self) -> Result<(), Problem> {
        if fs::symlink_metadata(&self.place).is_ok_and(|meta| meta.is_dir()) {
            return Err(Problem::new(format!("{} is a directory", self.place.display()))
                .next("a program or nothing must lie there: man invoke-rc.d"));
        }
        let dir = parent(&self.place);
        nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).map_err(|error| {
            Problem::new(format!(
                "{} cannot be written to ({error}), so services could not be held still while packages are installed",
                dir.display()
            ))
            .next(format!("findmnt --target {}", dir.display()))
        })?;
        match (look(&self.place)?, look(&self.before)?) {
            (Lies::Theirs(one), Lies::Theirs(other)) if one != other => Err(self.two()),
            _ => Ok(()),
        }
    }

    fn two(&self) -> Problem {
        Problem::new(format!(
            "{} was written by somebody while packages were installed, and what lay there before is {}",
            self.place.display(),
            self.before.display()
        ))
        .next(format!("keep one of the two as {} and remove the other", self.place.display()))
    }

    /// Puts ours there; on return it is on the disk. What packages ask for is added to `log`.
    ///
    /// # Errors
    /// When the disk says no, or an earlier one could not be put back. Then services are not held still.
    pub fn put(&self, log: &Path) -> Result<(), Problem> {
        self.put_back()?;
        self.may_put()?;
        let text = script(log)?;
        write(&self.new, &text).map_err(failed("write", &self.new))?;
        if look(&self.place)? != Lies::Nothing {
            durable!("agent.packages.policy-keep", fs::hard_link(&self.place, &self.before))
                .map_err(failed("keep", &self.place))?;
            self.sync()?;
        }
        durable!("agent.packages.policy-put", fs::rename(&self.new, &self.place))
            .map_err(failed("put", &self.place))?;
        self.sync()
    }

    /// Puts back what lay there, wherever a crash has left it. Done twice it does no harm.
    ///
    /// # Errors
    /// When the disk says no, or somebody has written there meanwhile.
    pub fn put_back(&self) -> Result<(), Problem> {
        remove(&self.new)?;
        match (look(&self.place)?, look(&self.before)?) {
            (Lies::Ours, Lies::Nothing) => remove(&self.place)?,
            (Lies::Ours | Lies::Nothing, Lies::Theirs(_)) => {
                durable!("agent.packages.policy-back", fs::rename(&self.before, &self.place))
                    .map_err(failed("put back", &self.place))?;
            }
            // One file under both names: ours had not come to its place.
            (Lies::Theirs(one), Lies::Theirs(other)) if one == other => remove(&self.before)?,
            (Lies::Theirs(_), Lies::Theirs(_)) => return Err(self.two()),
            // Ours under the name of what lay there: nobody but a person does that.
            (_, Lies::Ours) => remove(&self.before)?,
            (Lies::Theirs(_) | Lies::Nothing, Lies::Nothing) => return Ok(()),
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), Problem> {
        let dir = parent(&self.place);
        let synced =
            File::open(dir).and_then(|dir| durable!("agent.packages.policy-sync-dir", dir.sync_all()));
        synced.map_err(failed("sync", dir))
    }
}

/// What packages asked for and were not let, in their words, each once: `openvswitch-switch restart`.
///
/// # Errors
/// When it cannot be read.
pub fn asked(log: &Path) -> Result<Vec<String>, Problem> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", log)(error)),
    };
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(failed("read", log))?;
    let mut told: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let line = printable_line(line.trim());
        if !line.is_empty() && !told.contains(&line) && told.len() < LINES {
            told.push(line);
        }
    }
    Ok(told)
}

/// Ours. What it is called with is data of `printf` and nothing else.
fn script(log: &Path) -> Result<String, Problem> {
    let path = log.display().to_string();
    if path.contains(['\'', '\n']) {
        return Err(Problem::new(format!("{path:?} cannot stand in a script"))
            .next("give the agent a state directory without quotes in its name"));
    }
    Ok(format!(
        "{OURS}umask 077\n# 101: forbidden by policy. A log that cannot be written to changes nothing of that.\n\
         {{ printf '%s\\n' \"$*\" >> '{path}'; }} 2>/dev/null\nexit 101\n"
    ))
}

fn look(path: &Path) -> Result<Lies, Problem> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lies::Nothing),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    let theirs = Lies::Theirs(meta.ino());
    if !meta.file_type().is_file() {
        return Ok(theirs);
    }
    let mut begin = Vec::new();
    let file = File::open(path).map_err(failed("read", path))?;
    file.take(OURS.len() as u64).read_to_end(&mut begin).map_err(failed("read", path))?;
    Ok(if begin == OURS.as_bytes() { Lies::Ours } else { theirs })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    // Whatever the umask is.
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    durable!("agent.packages.policy-write", file.write_all(text.as_bytes()))?;
    durable!("agent.packages.policy-sync", file.sync_all())
}

fn remove(path: &Path) -> Result<(), Problem> {
    match durable!("agent.packages.policy-remove", fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Problem {
    let path = path.display().to_string();
    move |error| {
        Problem::new(format!("{doing} {path}: {error}"))
            .next("df -h /usr; services are held still by this file while packages are installed")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        held: HeldStill,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
            let held = HeldStill::of(&Root::at(dir.path().into()));
            Self { dir, held }
        }

        fn log(&self) -> PathBuf {
            self.dir.path().join("asked.log")
        }

        fn theirs(&self) {
            fs::write(&self.held.place, "#!/bin/sh\nexit 104\n").unwrap();
        }

        fn is_as_before(&self, had: bool) {
            assert_eq!(
                fs::read_to_string(&self.held.place).ok().as_deref(),
                had.then_some("#!/bin/sh\nexit 104\n")
            );
            assert!(!self.held.before.exists() && !self.held.new.exists());
        }
    }

    #[test]
    fn every_start_is_forbidden_and_written_down_and_what_lay_there_comes_back() {
        for had in [false, true] {
            let bench = Bench::new();
            if had {
                bench.theirs();
            }
            bench.held.put(&bench.log()).unwrap();
            for args in [["ovs.service", "restart"], ["$(id); x", "a\nb"], ["ovs.service", "restart"]] {
                let code = Command::new(&bench.held.place).args(args).status().unwrap().code();
                assert_eq!(code, Some(101), "{args:?}");
            }
            assert_eq!(asked(&bench.log()).unwrap(), ["ovs.service restart", "$(id); x a", "b"]);
            // Taken up again behind a crash: still the one that lay there, not ours, comes back.
            bench.held.put(&bench.log()).unwrap();
            bench.held.put_back().unwrap();
            bench.is_as_before(had);
            bench.held.put_back().unwrap();
            bench.is_as_before(had);
        }
    }

    #[test]
    fn from_each_state_that_a_crash_leaves_it_is_put_back() {
        let bench = Bench::new();
        bench.theirs();
        // Half written.
        fs::write(&bench.held.new, "#!/bin").unwrap();
        bench.held.put_back().unwrap();
        bench.is_as_before(true);
        // Kept, ours not in its place.
        fs::hard_link(&bench.held.place, &bench.held.before).unwrap();
        bench.held.put_back().unwrap();
        bench.is_as_before(true);
        // Somebody removed ours.
        bench.held.put(&bench.log()).unwrap();
        fs::remove_file(&bench.held.place).unwrap();
        bench.held.put_back().unwrap();
        bench.is_as_before(true);
    }

    #[test]
    fn a_link_stays_a_link_and_what_somebody_writes_meanwhile_is_not_lost() {
        let bench = Bench::new();
        std::os::unix::fs::symlink("/etc/alternatives/policy-rc.d", &bench.held.place).unwrap();
        bench.held.put(&bench.log()).unwrap();
        bench.held.put_back().unwrap();
        let target = fs::read_link(&bench.held.place).unwrap();
        assert_eq!(target, Path::new("/etc/alternatives/policy-rc.d"));
        bench.held.put(&bench.log()).unwrap();
        fs::remove_file(&bench.held.place).unwrap();
        bench.theirs();
        let problem = bench.held.put_back().unwrap_err();
        assert!(problem.what.contains("written by somebody"), "{problem}");
        assert!(bench.held.may_put().is_err());
        assert!(bench.held.before.is_symlink() && bench.held.place.is_file());
    }
}
