//! A command typed by an operator, and what came of it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{binaries, process, wait};

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What was typed.
    pub typed: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    /// The most memory that it held, in KiB, as seen every few milliseconds.
    pub peak_kib: u64,
}

/// `drydock` with these arguments, in directory `at`, with the configuration in `config`.
#[must_use]
pub fn drydock<S: AsRef<OsStr>>(at: &Path, config: &Path, args: &[S]) -> Ran {
    let mut command = process::command(&binaries::path("drydock"), at);
    command.current_dir(at).arg("--config-dir").arg(config).args(args);
    run(command, wait::RUN)
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or does not end in time.
#[must_use]
pub fn run(mut command: Command, within: Duration) -> Ran {
    let typed = format!("{command:?}");
    let capture = || tempfile::tempfile().unwrap_or_else(|error| panic!("a file for the output: {error}"));
    let (out, err) = (capture(), capture());
    let to = |file: &File| Stdio::from(file.try_clone().unwrap_or_else(|error| panic!("{error}")));
    let began = Instant::now();
    let started = command.stdout(to(&out)).stderr(to(&err)).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{typed}: {error}"));
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak(child.id()));
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < within => wait::pause(Duration::from_millis(2)),
            other => {
                drop(child.kill());
                drop(child.wait());
                panic!("{typed} did not end within {within:?} ({other:?})\n{}\n{}", text(out), text(err));
            }
        }
    };
    Ran { typed, code: status.code(), stdout: text(out), stderr: text(err), took: began.elapsed(), peak_kib }
}

fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    drop(file.rewind().and_then(|()| file.read_to_end(&mut bytes)));
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ran {
    /// Everything that it said.
    #[must_use]
    pub fn said(&self) -> String {
        format!(
            "{}\nexit code {:?}\n--- stdout\n{}--- stderr\n{}",
            self.typed, self.code, self.stdout, self.stderr
        )
    }

    /// Prints the screen, for whoever reads the test's output.
    pub fn show(&self) -> &Self {
        println!("{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "wanted exit code {code}:\n{}", self.said());
        self
    }

    /// Checks that stdout or stderr holds each of these texts.
    ///
    /// # Panics
    /// When one is missing.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        let said = self.said();
        for text in texts {
            assert!(self.stdout.contains(text) || self.stderr.contains(text), "wanted {text:?}:\n{said}");
        }
        self
    }

    /// The JSON document on stdout.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.said()))
    }
}
