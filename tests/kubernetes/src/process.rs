//! A child that does not outlive its test, whatever becomes of that.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Error, Result};

/// Between two looks at whether a child has ended: there is no event to await.
const LOOK: Duration = Duration::from_millis(10);
const KEPT_LINES: usize = 30;

/// A running child. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command that dies with this process, in an environment with nothing of ours but `home`.
#[must_use]
pub fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([OsStr::new("--pdeathsig"), OsStr::new("KILL"), OsStr::new("--"), program.as_os_str()]);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", home).stdin(Stdio::null());
    command
}

impl Process {
    /// Starts it; all that it says is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        command.stdout(appended(log)?).stderr(appended(log)?);
        Self::spawn(name, command, log)
    }

    /// Starts it, and waits for its first line on standard output; what it says beside is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started, ends before it says a line, or says none within the time; it is killed then.
    pub fn start_and_hear(
        name: &str,
        mut command: Command,
        log: &Path,
        within: Duration,
    ) -> Result<(Self, String)> {
        command.stdout(Stdio::piped()).stderr(appended(log)?);
        let mut process = Self::spawn(name, command, log)?;
        let (said, heard) = mpsc::channel();
        if let Some(out) = process.child.stdout.take() {
            // Ends with the line or with the child; held open until then, so that the child never writes into nothing.
            std::thread::spawn(move || {
                let mut lines = BufReader::new(out).lines();
                let first = lines.next();
                drop(said.send(first));
                lines.map_while(std::result::Result::ok).for_each(drop);
            });
        }
        match heard.recv_timeout(within) {
            Ok(Some(Ok(line))) => Ok((process, line)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(process.error(&format!("was not ready within {within:?}")))
            }
            Ok(Some(Err(_)) | None) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status =
                    process.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(process.error(&format!("ended before it was ready: {status}")))
            }
        }
    }

    fn spawn(name: &str, command: Command, log: &Path) -> Result<Self> {
        let child = spawn(command).map_err(|error| {
            Error::Unfit(format!("{name} (through setpriv of util-linux) did not start: {error}"))
        })?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is kept in memory of it, in KiB; 0 when it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }

    /// Everything that it and its predecessors said.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // A child that has not been waited for keeps its number: this is never somebody else.
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.error(&format!("has ended already: {status}")));
        }
        let pid = i32::try_from(self.pid()).map(Pid::from_raw).unwrap_or(Pid::from_raw(i32::MAX));
        kill(pid, signal).map_err(|error| self.error(&format!("took no {signal}: {error}")))
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it had ended before, or does not end in time; it runs on then.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if began.elapsed() < within => look_again(),
                Ok(None) => return Err(self.error(&format!("did not end within {within:?} of SIGTERM"))),
                Err(error) => return Err(self.error(&format!("cannot be waited for: {error}"))),
            }
        }
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(&mut self) {
        // Fails only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(crate) fn error(&self, outcome: &str) -> Error {
        let said = last_lines(&fs::read(&self.log).unwrap_or_default());
        Error::Ended { what: self.name.clone(), outcome: outcome.into(), log: self.log.clone(), said }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts children from a thread that lasts as long as this process: the kernel kills them with the *thread* that
/// started them, and a cluster that several tests share would die with the test that came first.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static JOBS: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let (reply, started) = mpsc::channel();
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = jobs.get_or_insert_with(|| {
        let (sender, todo) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in todo {
                drop(reply.send(command.spawn()));
            }
        });
        sender
    });
    let gone = |_| std::io::Error::other("the thread that starts children is gone");
    sender
        .send((command, reply))
        .map_err(|_| std::io::Error::other("the thread that starts children is gone"))?;
    drop(jobs);
    started.recv().map_err(gone)?
}

fn appended(log: &Path) -> Result<fs::File> {
    OpenOptions::new().create(true).append(true).open(log).map_err(Error::io("write", log))
}

pub(crate) fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(KEPT_LINES)..).unwrap_or_default().join("\n")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the end of a foreign process is polled: there is no event to await"
)]
fn look_again() {
    std::thread::sleep(LOOK);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Command {
        let mut command = command(Path::new("/bin/sh"), dir);
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_first_line_is_heard_and_the_rest_is_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let command = shell("echo so >&2; echo ready; exec sleep 60", dir.path());
        let (mut process, line) =
            Process::start_and_hear("sh", command, &dir.path().join("log"), Duration::from_secs(20)).unwrap();
        assert_eq!(line, "ready");
        assert_eq!(process.log(), "so\n");
        assert!(!process.terminate(Duration::from_secs(20)).unwrap().success());
        process.signal(Signal::SIGTERM).unwrap_err();
    }

    #[test]
    fn one_that_ends_before_it_is_ready_is_an_error_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let command = shell("echo no disk >&2; exit 3", dir.path());
        let ended =
            Process::start_and_hear("the server", command, &dir.path().join("log"), Duration::from_secs(20));
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("the server ended before it was ready: exit status: 3"), "{text}");
        assert!(text.ends_with("no disk"), "{text}");
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let command = shell("echo up; read line; echo over; exec sleep 60", dir.path());
        let started = std::thread::spawn(move || {
            Process::start_and_hear("sh", command, &log, Duration::from_secs(20)).unwrap()
        });
        let (mut process, _) = started.join().unwrap();
        process.signal(Signal::SIGTERM).unwrap();
    }
}
