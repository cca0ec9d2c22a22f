//! What is printed and where: data on stdout, everything else on stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cli::{ColorChoice, OutputFormat},
    error::CliError,
    render::{Canvas, Page},
    text,
};

/// Where output goes, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// `-o`.
    pub(crate) format: OutputFormat,
    /// Is stdout a terminal?
    pub(crate) terminal: bool,
    /// Are colours used on stdout?
    pub(crate) color: bool,
    /// Are colours used on stderr?
    pub(crate) color_stderr: bool,
    /// Is stderr a terminal: may a progress bar be drawn there?
    pub(crate) terminal_stderr: bool,
}

/// Narrower terminals are written to as if they had this many columns.
const MIN_COLUMNS: usize = 40;
/// For a terminal that does not say how large it is.
const USUAL_SIZE: (usize, usize) = (100, 24);

/// Is colour wanted on a stream? `NO_COLOR` (no-color.org) counts when it is set and not empty.
pub(crate) fn wants_color(choice: ColorChoice, terminal: bool, no_color: bool, dumb: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !no_color && !dumb,
    }
}

impl Screen {
    /// From the flags and what stdout and stderr are.
    pub(crate) fn new(format: OutputFormat, choice: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let (terminal, terminal_stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            format,
            terminal: terminal && !dumb,
            color: wants_color(choice, terminal, no_color, dumb),
            color_stderr: wants_color(choice, terminal_stderr, no_color, dumb),
            terminal_stderr: terminal_stderr && !dumb,
        }
    }

    /// Is it JSON that is wanted?
    pub(crate) fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Columns and lines of the terminal, asked anew each time: it may have been resized.
    pub(crate) fn size(&self) -> (usize, usize) {
        let asked = terminal_size::terminal_size();
        asked.map_or(USUAL_SIZE, |(columns, lines)| {
            (usize::from(columns.0).max(MIN_COLUMNS), usize::from(lines.0))
        })
    }

    /// What pages are drawn on.
    pub(crate) fn canvas(&self) -> Canvas {
        Canvas { width: self.terminal.then(|| self.size().0), color: self.color }
    }

    /// Prints a view: as JSON with `-o json`, else drawn, from a copy whose texts are clean.
    pub(crate) fn show<T, D>(&self, view: &T, draw: D) -> Result<(), CliError>
    where
        T: Serialize + DeserializeOwned,
        D: FnOnce(&T, Canvas) -> Page,
    {
        if self.is_json() {
            return self.json(view);
        }
        let canvas = self.canvas();
        self.data(&draw(&clean(view)?, canvas).to_text(canvas))
    }

    /// Prints a view as JSON: one line in a pipe, indented on a terminal.
    pub(crate) fn json<T: Serialize>(&self, view: &T) -> Result<(), CliError> {
        let text = text::json(view, self.terminal)
            .map_err(|why| CliError::failed(format!("writing JSON: {why}")))?;
        self.data(&text)
    }

    /// Prints data that is clean already.
    pub(crate) fn data(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|why| write_error(&why))
    }

    /// Prints a remark. That nobody reads stderr is no reason to stop.
    pub(crate) fn note(&self, remark: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", text::clean_lines(remark));
    }

    /// Prints text with our own control sequences on stderr.
    pub(crate) fn draw_stderr(&self, drawn: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(drawn.as_bytes()).and_then(|()| err.flush());
    }
}

/// A copy of the view in which no text can steer a terminal.
pub(crate) fn clean<T: Serialize + DeserializeOwned>(view: &T) -> Result<T, CliError> {
    text::clean_view(view)
        .map_err(|why| CliError::failed(format!("the coordinator's answer cannot be shown: {why}")))
}

fn write_error(why: &io::Error) -> CliError {
    match why.kind() {
        io::ErrorKind::BrokenPipe => CliError::reader_gone(),
        _ => CliError::failed(format!("writing to stdout: {why}")),
    }
}

/// Unix milliseconds by this machine's clock: for ages on screens, never for a decision.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_somebody_says_otherwise() {
        use ColorChoice::{Always, Auto, Never};
        assert!(wants_color(Auto, true, false, false));
        assert!(!wants_color(Auto, false, false, false), "a pipe");
        assert!(!wants_color(Auto, true, true, false), "NO_COLOR");
        assert!(!wants_color(Auto, true, false, true), "TERM=dumb");
        assert!(wants_color(Always, false, true, true), "the flag is nearer than the environment");
        assert!(!wants_color(Never, true, false, false));
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
        assert_eq!(write_error(&io::ErrorKind::BrokenPipe.into()).exit.code(), 0);
        assert_eq!(write_error(&io::ErrorKind::StorageFull.into()).exit.code(), 1);
    }
}
