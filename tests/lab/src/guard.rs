//! A process that was started into a lab and ends with its guard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cgroup::{Cgroup, JOIN};
use crate::exec::{last_lines, spawn_logged, wait_for, wrap};
use crate::{Error, Result};

/// A running process with everything that it starts. Dropping the guard kills them all.
#[derive(Debug)]
pub struct ChildGuard {
    name: String,
    child: Child,
    group: Cgroup,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl ChildGuard {
    /// Starts `command` in a group of its own, its output appended to `log`.
    pub(crate) fn start(name: &str, group: Cgroup, command: &Command, log: PathBuf) -> Result<Self> {
        group.create()?;
        let door = group.door();
        let words = ["sh".as_ref(), "-c".as_ref(), JOIN.as_ref(), door.as_os_str()];
        let Some(command) = wrap(&words, command) else {
            return Err(Error::Unfit(format!("{name}: no command to start")));
        };
        let child = spawn_logged(&format!("starting {name}"), command, &log)?;
        Ok(Self { name: name.to_owned(), child, group, log, ended: None })
    }

    /// The process id, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with everything that it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything that it printed so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn printed(&self) -> Result<String> {
        let bytes = fs::read(&self.log).map_err(Error::io("read", &self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll(Duration::ZERO).is_none()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end in time; it runs on then.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        match self.poll(deadline) {
            Some(status) => Ok(status),
            None => Err(Error::Waited {
                what: format!("{} (process {}) to end", self.name, self.id()),
                waited: deadline,
                seen: format!("it still runs; it printed{}", self.tail()),
            }),
        }
    }

    /// Sends a signal to it and to all that it has started.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.group.signal(signal)
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::SIGTERM)?;
        }
        let ended = self.wait(deadline);
        if ended.is_err() {
            self.kill()?;
        }
        ended
    }

    /// Asks it to end and fails unless it then ends with 0.
    ///
    /// # Errors
    /// When it does not end in time or ends with another code, as one that had failed before does.
    pub fn finish(&mut self, deadline: Duration) -> Result<()> {
        let status = self.terminate(deadline)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Command {
            purpose: format!("ending {}", self.name),
            command: self.name.clone(),
            outcome: format!("ended with {status}"),
            said: self.tail(),
        })
    }

    /// Kills it (SIGKILL) with all that it has started.
    ///
    /// # Errors
    /// When something does not die.
    pub fn kill(&mut self) -> Result<()> {
        self.group.remove()?;
        self.poll(Duration::from_secs(5));
        Ok(())
    }

    fn poll(&mut self, deadline: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = wait_for(&mut self.child, deadline);
        }
        self.ended
    }

    fn tail(&self) -> String {
        last_lines(&fs::read(&self.log).unwrap_or_default())
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Between fork and join it is in no group yet: kill the process itself as well.
        if self.poll(Duration::ZERO).is_none() {
            let _ = self.child.kill();
        }
        if let Err(error) = self.kill() {
            eprintln!("drydock-lab: {error}");
        }
    }
}
