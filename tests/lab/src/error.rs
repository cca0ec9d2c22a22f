//! What can go wrong in a lab. Every message says what happened, to what, and what to do next.

use std::path::PathBuf;
use std::time::Duration;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the lab itself, never of what is tried in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read, written or removed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: "read", "create", …
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A command did not start, failed, or did not end in time.
    #[error("{purpose} failed: `{command}` {outcome}{said}")]
    Command {
        /// What it was for.
        purpose: String,
        /// The command line.
        command: String,
        /// How it ended.
        outcome: String,
        /// Its last lines of output, on lines of their own.
        said: String,
    },
    /// Something expected did not happen in time.
    #[error("waited {} ms for {what}: {seen}", waited.as_millis())]
    Waited {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was there instead.
        seen: String,
    },
    /// The machine or the request does not fit; the text says what to do.
    #[error("{0}")]
    Unfit(String),
}

impl Error {
    /// For `map_err` on operations with files.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
