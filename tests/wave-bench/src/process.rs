//! Child processes that do not outlive us, and what `/proc` says of them.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts it, its output in a file.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// An error when it has ended by itself.
    pub(crate) fn is_there(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// What it holds in memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.child.id());
        let status =
            fs::read_to_string(&path).with_context(|| format!("{}: cannot read {path}", self.name))?;
        let read = |field| kib(&status, field).with_context(|| format!("{path} holds no {field}"));
        Ok(Memory { resident_kb: read("VmRSS:")?, peak_kb: read("VmHWM:")? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and nothing more can be done about one that cannot be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A process's memory, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident_kb: u64,
    /// The most that it ever was.
    pub(crate) peak_kb: u64,
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Runs a command to its end and brings its stdout; its stderr is in the error.
pub(crate) fn output(what: &str, command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {what}"))?;
    if !done.status.success() {
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        bail!("{what} ended: {}\n{out}{err}", done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("{what} printed something that is no text"))
}

/// Tries until there is something.
#[expect(clippy::disallowed_methods, reason = "another process's progress is not an event here")]
pub(crate) fn wait_for<T>(
    what: &str,
    within: Duration,
    every: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("{what}: not within {within:?}");
        }
        std::thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_its_line() {
        let status = "Name:\tx\nVmHWM:\t    7012 kB\nVmRSS:\t     512 kB\n";
        assert_eq!((kib(status, "VmRSS:"), kib(status, "VmHWM:")), (Some(512), Some(7012)));
        assert_eq!(kib(status, "VmSwap:"), None);
    }
}
