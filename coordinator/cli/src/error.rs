//! What went wrong, for a person: what happened, to what, and what to do next; and the exit code.

use std::fmt::Write as _;

use tonic::Code;

use crate::text;

/// Exit codes. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: failed, or the coordinator is not reachable.
    Failed,
    /// 2: wrong usage or a bad file; nothing was asked of anybody.
    Usage,
    /// 3: held, blockers, findings: a person must act.
    Person,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Person => 3,
        }
    }
}

/// An error as it is printed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct CliError {
    /// What happened, to what. Empty: everything has been said already.
    pub(crate) what: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
    /// How the command ends.
    pub(crate) exit: Exit,
    /// The status of the call that failed, where one did.
    pub(crate) status: Option<Code>,
}

impl CliError {
    const fn new(what: String, exit: Exit) -> Self {
        Self { what, hints: Vec::new(), exit, status: None }
    }

    /// Failed or unreachable: exit 1.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(what.into(), Exit::Failed)
    }

    /// Usage or a bad file: exit 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(what.into(), Exit::Usage)
    }

    /// The reader of our output has gone (`… | head`): nothing is wrong, and nothing more is said.
    pub(crate) const fn reader_gone() -> Self {
        Self::new(String::new(), Exit::Done)
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The text for stderr: `error: …` and `  hint: …`; empty when nothing is to be said.
    pub(crate) fn to_text(&self, color: bool) -> String {
        if self.what.is_empty() {
            return String::new();
        }
        let (red, cyan, off) = if color { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        // A message that begins with its own place (`error: etcd.yaml:12:11: …`) is not said to be an error twice.
        let what = text::clean_lines(&self.what);
        let what = what.strip_prefix("error: ").unwrap_or(&what).trim_end();
        let mut out = format!("{red}error:{off} {what}\n");
        for hint in &self.hints {
            let _ = writeln!(out, "  {cyan}hint:{off} {}", text::clean_lines(hint));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_and_what_to_do_next() {
        let error = CliError::failed("node ctl-9 is not enrolled").hint("drydock node list");
        assert_eq!(error.to_text(false), "error: node ctl-9 is not enrolled\n  hint: drydock node list\n");
        assert_eq!(
            error.to_text(true),
            "\x1b[1;31merror:\x1b[0m node ctl-9 is not enrolled\n  \x1b[36mhint:\x1b[0m drydock node list\n"
        );
    }

    #[test]
    fn an_error_of_a_file_is_called_an_error_once() {
        let error = CliError::usage("error: a.yaml:1:2: unknown key `x`\n   |\n 1 | x\n");
        assert_eq!(error.to_text(false), "error: a.yaml:1:2: unknown key `x`\n   |\n 1 | x\n");
    }

    #[test]
    fn a_hostile_message_cannot_steer_the_terminal() {
        let error = CliError::failed("\x1b]0;pwned\x07 gone");
        assert_eq!(error.to_text(false), "error: \\x1b]0;pwned\\x07 gone\n");
    }

    #[test]
    fn a_reader_that_went_away_is_not_spoken_to_and_is_no_failure() {
        let error = CliError::reader_gone();
        assert_eq!((error.to_text(true).as_str(), error.exit.code()), ("", 0));
    }

    #[test]
    fn the_exit_codes_are_these_four() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Person].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
