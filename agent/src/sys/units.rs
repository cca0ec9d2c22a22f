//! Services: systemd's, or those that the agent runs itself for the demo.
//!
//! ActiveState alone lies (a unit was seen `active` with no process behind it), so what is handed out here
//! is what a judgement needs: the main process, the invocation, the pending job. Judging is the policy's and
//! the actions' work.

pub mod apart;
pub mod services;
pub mod supervisor;
pub mod survey;
mod systemd;

use std::time::Duration;

use drydock_failpoint::effect;
use drydock_types::UnitName;
use tokio::time::{Instant, sleep};

use self::{supervisor::Supervisor, systemd::Systemd};
use super::{
    exec::{self, Program},
    process,
};
use crate::policy::Policy;

/// How often a state is read again while nothing announces its change.
pub const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The most characters that are shown of one line of a log.
const MAX_LINE_CHARS: usize = 400;
/// The most lines that are shown.
const MAX_LINES: usize = 50;

/// Who runs the services.
#[derive(Debug)]
pub enum Units {
    /// systemd, over D-Bus.
    Systemd(Systemd),
    /// The agent itself. For the demo.
    Supervised(Supervisor),
}

/// A service as its manager has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitInfo {
    /// Its own name, whatever alias was asked for.
    pub id: String,
    /// All of its names.
    pub names: Vec<String>,
    /// `active`, `failed`, `activating`, …
    pub active_state: String,
    /// `running`, `auto-restart`, …
    pub sub_state: String,
    /// Its main process; 0 when there is none.
    pub main_pid: u32,
    /// 32 hex digits, others after each start; empty when it was never started.
    pub invocation_id: String,
    /// A job on it is queued or running.
    pub job_pending: bool,
    /// `control-group`, `process`, …
    pub kill_mode: String,
    /// Active units that would stop along with it, or when it starts. Complete, not only the next ones.
    pub stops_with: Vec<String>,
    /// `success`, `exit-code`, `start-limit-hit`, …
    pub result: String,
    /// How often systemd has restarted it by itself since it was last started by somebody.
    pub n_restarts: u32,
    /// How its last main process ended: `exited 1`, `was killed by signal 9`; empty when none has.
    pub last_exit: String,
    /// How it is started.
    pub started: Started,
}

/// How a service is started. Arguments and environment may hold secrets: there is no `Debug` of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Started {
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Files with more of it, and whether each may be missing.
    pub environment_files: Vec<(String, bool)>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Started").field("program", &self.exec.first()).finish_non_exhaustive()
    }
}

impl UnitInfo {
    /// Is there a main process in a unit that says that it is up?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.main_pid != 0 && matches!(self.active_state.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Is it down, without a process, and not on its way up?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.main_pid == 0 && !self.job_pending && matches!(self.active_state.as_str(), "inactive" | "failed")
    }

    /// Must its failure be reset before it can be started?
    #[must_use]
    pub fn needs_reset(&self) -> bool {
        self.active_state == "failed" || self.result == "start-limit-hit"
    }
}

/// What is asked of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it; nothing when it is up.
    Start,
    /// Stop it; nothing when it is down.
    Stop,
    /// Stop it if it is up, and start it.
    Restart,
    /// What its `ExecReload` does.
    Reload,
}

impl Verb {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// What becomes of somebody else's job on the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// It stays, and ours is refused.
    Respect,
    /// It is cancelled. When something is taken back: the job in the way is then our own, which hung.
    Replace,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// As asked. What became of the service must still be seen.
    Done,
    /// Not as asked: systemd's word (`failed`, `timeout`, `canceled`, `dependency`, …).
    Not(String),
    /// The connection was lost and the job was over when it was back: the unit must tell.
    Unseen,
}

/// Why a unit could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// There is none of that name.
    #[error("there is no unit {unit} on this node (systemctl status {unit})")]
    NotFound {
        /// Which.
        unit: String,
    },
    /// It cannot be used as it is.
    #[error("{unit} cannot be used: its load state is {state} (systemctl status {unit})")]
    NotLoaded {
        /// Which.
        unit: String,
        /// systemd's word: `masked`, `bad-setting`, …
        state: String,
    },
    /// systemd refused, in its own words.
    #[error("systemd refused to {doing} {unit}: {why}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// Of which.
        unit: String,
        /// Its words.
        why: String,
    },
    /// It was not over in time. The job is still there.
    #[error("{doing} of {unit} was not over within {deadline:?}")]
    Deadline {
        /// What was asked.
        doing: &'static str,
        /// Of which.
        unit: String,
        /// The time it had.
        deadline: Duration,
    },
    /// No talking to systemd.
    #[error("systemd cannot be reached over D-Bus: {why} (systemctl status dbus)")]
    Bus {
        /// What the bus said.
        why: String,
    },
    /// Too much would stop along.
    #[error("more than {limit} units would stop along with {unit}")]
    TooMany {
        /// With which.
        unit: String,
        /// How many are looked at.
        limit: usize,
    },
    /// The agent's own supervisor could not do it.
    #[error("{unit}: {why}")]
    Supervisor {
        /// Which service.
        unit: String,
        /// What went wrong.
        why: String,
    },
}

impl Units {
    /// systemd, unless the policy has the agent run services itself. Those with `autostart` are started.
    ///
    /// # Errors
    /// When the supervisor's thread cannot be started. systemd is dialled at the first call.
    pub fn of(policy: &Policy) -> Result<Self, UnitsError> {
        match &policy.supervisor {
            Some(config) => Supervisor::start(config.clone()).map(Self::Supervised),
            None => Ok(Self::Systemd(Systemd::new())),
        }
    }

    /// The unit as it is now, by any of its names.
    ///
    /// # Errors
    /// When there is none, it is masked or broken, or systemd does not answer.
    pub async fn load(&self, unit: &UnitName) -> Result<UnitInfo, UnitsError> {
        match self {
            Self::Systemd(systemd) => systemd.load(unit.as_str()).await,
            Self::Supervised(supervisor) => supervisor.load(unit.as_str()),
        }
    }

    /// Starts, stops or restarts the unit and waits for the end of that job. `id` is [`UnitInfo::id`]: what was
    /// judged is what is told.
    ///
    /// # Errors
    /// When it is refused, or not over by the deadline.
    pub async fn run(
        &self,
        id: &str,
        verb: Verb,
        others: Others,
        deadline: Duration,
    ) -> Result<JobEnd, UnitsError> {
        match self {
            Self::Systemd(systemd) => {
                effect!("agent.unit.systemd-job", systemd.run(id, verb, others, deadline).await)
            }
            Self::Supervised(_) if verb == Verb::Reload => Err(UnitsError::Supervisor {
                unit: id.into(),
                why: "the agent's own supervisor has no reload".into(),
            }),
            Self::Supervised(supervisor) => {
                effect!("agent.unit.supervised-job", supervisor.run(id, verb, deadline).await)
            }
        }
    }

    /// The unit once no job on it is pending. A bus that does not answer is given the same time.
    ///
    /// # Errors
    /// As [`Units::load`]; or when one is still pending at the deadline.
    pub async fn settled(&self, unit: &UnitName, deadline: Duration) -> Result<UnitInfo, UnitsError> {
        let until = Instant::now() + deadline;
        loop {
            let late = Instant::now() >= until;
            match self.load(unit).await {
                Ok(info) if !info.job_pending => return Ok(info),
                Ok(info) if late => {
                    return Err(UnitsError::Deadline { doing: "the pending job", unit: info.id, deadline });
                }
                // A bus that is being restarted comes back.
                Ok(_) => {}
                Err(UnitsError::Bus { .. }) if !late => {}
                Err(error) => return Err(error),
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Forgets a failure, so that it may be started again after `start-limit-hit`.
    ///
    /// # Errors
    /// When systemd refuses or does not answer.
    pub async fn reset_failed(&self, id: &str) -> Result<(), UnitsError> {
        match self {
            Self::Systemd(systemd) => effect!("agent.unit.reset-failed", systemd.reset_failed(id).await),
            Self::Supervised(_) => Ok(()),
        }
    }

    /// The unit's last log lines, oldest first, bounded and printable. Never fails: a log that cannot be read is
    /// one line that says so.
    pub async fn log_tail(&self, id: &str, lines: usize) -> Vec<String> {
        let lines = lines.min(MAX_LINES);
        match self {
            Self::Systemd(_) => journal(id, lines).await,
            Self::Supervised(supervisor) => supervisor.log_tail(id, lines),
        }
    }
}

/// The service's own words; systemd's about it only where it said nothing itself.
async fn journal(id: &str, lines: usize) -> Vec<String> {
    let Some(journalctl) = exec::find("journalctl") else {
        return vec!["(journalctl is not installed)".into()];
    };
    // Not `--boot`: a service with namespaces of its own sees another boot id in a container, and nothing then.
    for which in [format!("_SYSTEMD_UNIT={id}"), format!("--unit={id}")] {
        let program = Program::new(&journalctl)
            .args(["--no-pager", "--quiet", "--output=cat"])
            .args([format!("--lines={lines}"), which])
            .deadline(Duration::from_secs(3));
        match program.run().await.map(|output| printable(&output.stdout, lines)) {
            Ok(said) if said.is_empty() => {}
            Ok(said) => return said,
            Err(error) => return vec![format!("(the log could not be read: {error})")],
        }
    }
    Vec::new()
}

/// The last lines of a text that others wrote: no control characters, no line longer than a screen has use for.
fn printable(text: &[u8], lines: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| printable_line(line)).collect()
}

pub(crate) fn printable_line(line: &str) -> String {
    let mut shown = String::new();
    for c in line.trim_end().chars().take(MAX_LINE_CHARS) {
        // Also the characters that turn the direction of writing.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Which file a running unit has in memory; a convenience for those who have just loaded it.
///
/// # Errors
/// When it has no main process, or that may not be looked at.
pub fn executable(info: &UnitInfo) -> std::io::Result<process::Exe> {
    match info.main_pid {
        0 => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "it has no main process")),
        pid => process::exe(pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_into_a_log_is_harmless_when_it_is_shown() {
        let lines = printable(b"one\n\x1b[2Jtwo\x07\n\xff\xfe three \n\n", 2);
        assert_eq!(lines, ["\\u{1b}[2Jtwo\\u{7}", "\u{fffd}\u{fffd} three"]);
        assert!(printable_line(&"x".repeat(100_000)).len() <= MAX_LINE_CHARS);
        assert_eq!(printable_line("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn active_without_a_process_is_not_running() {
        let info = UnitInfo { active_state: "active".into(), ..UnitInfo::default() };
        assert!(!info.is_running());
        assert!(UnitInfo { main_pid: 7, ..info }.is_running());
    }

    #[test]
    fn a_unit_that_waits_for_its_restart_is_neither_running_nor_stopped() {
        let info = UnitInfo {
            active_state: "activating".into(),
            sub_state: "auto-restart".into(),
            ..UnitInfo::default()
        };
        assert!(!info.is_running() && !info.is_stopped());
    }
}
