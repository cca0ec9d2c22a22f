//! The only place that starts processes.
//!
//! Output goes to unlinked files instead of pipes: a background process that inherits them cannot
//! block the caller, and no reader threads are needed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How much of a command's output an error repeats.
const SAID_LINES: usize = 15;

/// What a finished command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without space at either end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error as text, without space at either end.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// A command to be run to its end.
#[derive(Debug)]
pub(crate) struct Cmd {
    purpose: String,
    command: Command,
    stdin: Stdio,
    deadline: Duration,
}

impl Cmd {
    /// `purpose` opens the error message: "making the bridge".
    pub(crate) fn new(purpose: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        Self {
            purpose: purpose.into(),
            command: Command::new(program),
            stdin: Stdio::null(),
            deadline: Duration::from_secs(60),
        }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, file: File) -> Self {
        self.stdin = Stdio::from(file);
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it; any exit code is fine.
    pub(crate) fn output(self) -> Result<Output> {
        let line = command_line(&self.command);
        self.finish(|_, _| {}, &line)
    }

    /// Runs it; at the deadline `kill` is called as well, for what the process itself has started.
    pub(crate) fn output_or_kill(self, kill: impl FnOnce()) -> Result<Output> {
        let line = command_line(&self.command);
        self.finish(|_, _| kill(), &line)
    }

    /// Runs it and gives its standard output; any exit code but 0 is an error.
    pub(crate) fn run(self) -> Result<String> {
        let purpose = self.purpose.clone();
        let line = command_line(&self.command);
        let output = self.finish(|_, _| {}, &line)?;
        succeed(&purpose, &line, &output)?;
        Ok(output.text())
    }

    fn finish(mut self, kill: impl FnOnce(&str, &str), line: &str) -> Result<Output> {
        let fail = |outcome: String, said: String| Error::Command {
            purpose: self.purpose.clone(),
            command: line.to_owned(),
            outcome,
            said,
        };
        let scratch = || tempfile::tempfile().map_err(Error::io("create a file in", std::env::temp_dir()));
        let (mut stdout, mut stderr) = (scratch()?, scratch()?);
        let share = |file: &File| file.try_clone().map_err(Error::io("share", std::env::temp_dir()));
        self.command
            .stdin(std::mem::replace(&mut self.stdin, Stdio::null()))
            .stdout(share(&stdout)?)
            .stderr(share(&stderr)?);
        let mut child =
            self.command.spawn().map_err(|error| fail(format!("did not start: {error}"), String::new()))?;
        let status = wait_for(&mut child, self.deadline);
        let status = match status {
            Some(status) => status,
            None => {
                // It may have ended by itself in this very moment; both are fine.
                let _ = child.kill();
                let _ = child.wait();
                kill(&self.purpose, line);
                let said = last_lines(&read_back(&mut stderr));
                let outcome = format!("did not end within {} s and was killed", self.deadline.as_secs_f32());
                return Err(fail(outcome, said));
            }
        };
        Ok(Output { status, stdout: read_back(&mut stdout), stderr: read_back(&mut stderr) })
    }
}

/// Fails unless the command ended with 0.
pub(crate) fn succeed(purpose: &str, line: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::Command {
        purpose: purpose.to_owned(),
        command: line.to_owned(),
        outcome: format!("ended with {}", output.status),
        said: last_lines(said),
    })
}

/// Starts something that outlives the call, away from the terminal's signals, with all output
/// appended to a file.
pub(crate) fn spawn_logged(purpose: &str, mut command: Command, log: &Path) -> Result<Child> {
    let file = File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
    let second = file.try_clone().map_err(Error::io("share", log))?;
    command.stdin(Stdio::null()).stdout(file).stderr(second).process_group(0);
    command.spawn().map_err(|error| Error::Command {
        purpose: purpose.to_owned(),
        command: command_line(&command),
        outcome: format!("did not start: {error}"),
        said: String::new(),
    })
}

/// Waits for a child; none at the deadline.
pub(crate) fn wait_for(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        // An error here means that there is no such child any more, which cannot be: we hold it.
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if started.elapsed() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A command starting with the words given, followed by program, arguments, environment and
/// directory of another.
pub(crate) fn wrap<S: AsRef<OsStr>>(words: &[S], inner: &Command) -> Option<Command> {
    let (program, rest) = words.split_first()?;
    let mut outer = Command::new(program);
    outer.args(rest).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(dir) = inner.get_current_dir() {
        outer.current_dir(dir);
    }
    Some(outer)
}

/// An empty command to be filled: keeps `Command::new` in this module.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

impl Cmd {
    /// Runs a prepared command.
    pub(crate) fn of(purpose: impl Into<String>, command: Command) -> Self {
        Self { purpose: purpose.into(), command, stdin: Stdio::null(), deadline: Duration::from_secs(60) }
    }
}

/// The command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| shorten(&OsString::from(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Scripts given to `sh -c` would bury the message.
fn shorten(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let mut lines = word.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { format!("{first} …") } else { first }
}

/// The last lines of an output, indented, each on a line of its own.
pub(crate) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end) // A console ends its lines with CR LF.
        .filter(|line| !line.is_empty())
        .collect();
    let skipped = lines.len().saturating_sub(SAID_LINES);
    lines[skipped..].iter().map(|line| format!("\n    {line}")).collect()
}

fn read_back(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Only the caller's diagnosis suffers from a scratch file that cannot be read.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    bytes
}

/// A scratch file holding the bytes, to be given as standard input.
pub(crate) fn input(bytes: &[u8]) -> Result<File> {
    let place = std::env::temp_dir();
    let mut file = tempfile::tempfile().map_err(Error::io("create a file in", &place))?;
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(Error::io("write a file in", &place))?;
    Ok(file)
}
