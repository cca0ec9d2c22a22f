//! Control groups as a register of what a lab has started.
//!
//! Everything a lab starts joins a group under `drydock-lab-ID`. That makes "kill what this lab
//! started, and nothing else" one write to `cgroup.kill`, right even after the process that owned
//! the lab is long dead and its process ids were given to others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec::Cmd;
use crate::state::RUN_DIR;
use crate::wait::until;
use crate::{Error, Result};

/// Joins a group and becomes the command that follows: `sh -c JOIN GROUP/cgroup.procs COMMAND…`.
pub(crate) const JOIN: &str = r#"echo $$ >"$0" && exec "$@""#;

/// Killed processes are gone in milliseconds; one in an uninterruptible write may take longer.
const DYING: Duration = Duration::from_secs(20);

/// One group, by its path in the host's unified hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The group of a lab; see [`Cgroup::create`].
    pub(crate) fn of_lab(id: &str) -> Result<Self> {
        Ok(Self { path: unified_hierarchy()?.join(format!("drydock-lab-{id}")) })
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file to which a process id is written to join.
    pub(crate) fn door(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Makes the group, unless it is there. Its parent must be: a process that still drives a lab
    /// which another has just removed must not bring half of it back.
    pub(crate) fn create(&self) -> Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", &self.path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Processes in this group and in all below it.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for group in self.tree() {
            // A group that vanishes while we look had no process in it.
            let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        pids
    }

    /// Whether any process lives in this group or below.
    pub(crate) fn is_populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }

    /// Sends a signal to every process in the group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.pids() {
            match kill(Pid::from_raw(pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(Error::Unfit(format!(
                        "cannot send {signal} to process {pid} of {}: {errno}",
                        self.path.display()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Kills everything in the group and waits until it is gone. A group that is not there is fine.
    pub(crate) fn kill(&self) -> Result<()> {
        let lever = self.path.join("cgroup.kill");
        match fs::write(&lever, "1") {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::io("write", lever)(source)),
        }
        until(
            &format!("the killed processes of {} to end", self.path.display()),
            DYING,
            Duration::from_millis(2),
            || Ok((!self.is_populated()).then_some(())),
            || format!("still there: {:?}", self.pids()),
        )
    }

    /// Kills everything in the group and removes it.
    pub(crate) fn remove(&self) -> Result<()> {
        self.kill()?;
        until(
            &format!("the group {} to be removable", self.path.display()),
            DYING,
            Duration::from_millis(5),
            || {
                // Deepest first; one that is busy for another moment is tried again.
                for group in self.tree().iter().rev() {
                    let _ = fs::remove_dir(group);
                }
                Ok((!self.path.exists()).then_some(()))
            },
            || format!("left: {:?}, processes: {:?}", self.tree(), self.pids()),
        )
    }

    /// This group and all below it, parents before children.
    fn tree(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.path.clone()];
        while let Some(group) = open.pop() {
            let Ok(entries) = fs::read_dir(&group) else {
                continue; // Gone in the meantime.
            };
            open.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
            found.push(group);
        }
        found
    }
}

/// Where the host has cgroup v2; on a machine that has v1 only, one is mounted for the lab.
fn unified_hierarchy() -> Result<PathBuf> {
    if let Some(mounted) = mounted_cgroup2()? {
        return Ok(mounted);
    }
    let place = Path::new(RUN_DIR).join("cgroup2");
    fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
    Cmd::new("mounting cgroup v2", "mount").args(["-t", "cgroup2", "none"]).args([&place]).run()?;
    Ok(place)
}

fn mounted_cgroup2() -> Result<Option<PathBuf>> {
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, place) = (fields.nth(3)?, fields.next()?);
        (root == "/" && after.starts_with("cgroup2 ")).then(|| PathBuf::from(place))
    }))
}
