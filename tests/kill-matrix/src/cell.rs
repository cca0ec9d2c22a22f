//! One cell: a point, its nth passing, and what happens there.

use std::{fmt, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use crate::rig::{Rig, Side};

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL, and the work is not done.
    KillBefore,
    /// SIGKILL, and the work is done.
    KillAfter,
    /// The work is not done: no space left on device.
    Enospc,
    /// The work is not done: input/output error.
    Eio,
    /// The work is done and answers with an input/output error.
    LateEio,
}

impl Action {
    /// What is done at a durable write.
    pub(crate) const OF_A_WRITE: [Self; 5] =
        [Self::KillBefore, Self::KillAfter, Self::Enospc, Self::Eio, Self::LateEio];
    /// What is done at an effect.
    pub(crate) const OF_AN_EFFECT: [Self; 2] = [Self::KillBefore, Self::KillAfter];

    const fn word(self) -> &'static str {
        match self {
            Self::KillBefore => "kill-before",
            Self::KillAfter => "kill-after",
            Self::Enospc => "enospc",
            Self::Eio => "eio",
            Self::LateEio => "late-eio",
        }
    }

    /// Does the process die of it by SIGKILL?
    #[must_use]
    pub(crate) const fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter)
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// In which program.
    pub(crate) side: Side,
    /// Which point.
    pub(crate) point: String,
    /// At which passing, from 1.
    pub(crate) nth: u64,
    /// There is no later passing.
    pub(crate) last: bool,
    /// What happens there.
    pub(crate) action: Action,
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = if self.point.starts_with(self.side.word()) { "" } else { self.side.word() };
        let gap = if program.is_empty() { "" } else { ":" };
        write!(out, "{program}{gap}{} #{} {}", self.point, self.nth, self.action.word())
    }
}

impl Cell {
    /// Arms the point.
    pub(crate) fn arm(&self, rig: &Rig) {
        rig.arm(self.side, &self.armed());
    }

    /// What stands in the file.
    #[must_use]
    pub(crate) fn armed(&self) -> String {
        format!("{} {} {}", self.point, self.nth, self.action.word())
    }

    /// A failure that costs nothing, and of which nothing is said.
    fn is_silent(&self) -> bool {
        match (self.point.as_str(), self.action) {
            // More room than is needed was asked for; what is needed is asked for next.
            ("agent.journal.reserve", Action::Enospc) => true,
            // That the run is closed: an outcome is then kept for longer than it had to be.
            ("agent.journal.write", Action::Enospc) => self.last,
            _ => false,
        }
    }

    /// Did the process end as this cell ends it?
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn judge_end(&self, ended: Option<ExitStatus>) -> Result<(), String> {
        match ended {
            Some(status) if self.action.kills() && status.signal() == Some(9) => Ok(()),
            // It stops by itself and says so, or goes on: both are seen elsewhere.
            Some(status) if !self.action.kills() && status.code().is_some() => Ok(()),
            None if !self.action.kills() => Ok(()),
            other => Err(format!("the {} ended as {other:?}", self.side.word())),
        }
    }

    /// A disk that failed is named, somewhere where a person looks.
    ///
    /// # Errors
    /// When nobody said a word.
    pub(crate) fn judge_words(&self, why: &str, logged: &str) -> Result<(), String> {
        let words: &[&str] = match self.action {
            Action::KillBefore | Action::KillAfter => return Ok(()),
            Action::Enospc => &["os error 28", "No space left", "no room", "is full", "full disk", "missing"],
            Action::Eio | Action::LateEio => &["os error 5", "Input/output error", "disk I/O error"],
        };
        let said = |text: &str| words.iter().any(|word| text.contains(word));
        if said(logged) || said(why) || self.is_silent() {
            return Ok(());
        }
        Err(format!("nobody said that the disk failed ({})\n{logged}", self.action.word()))
    }
}
