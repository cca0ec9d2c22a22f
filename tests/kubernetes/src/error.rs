//! What can go wrong with a cluster of tests. Every message says what happened, to what, and what to do next.

use std::{path::PathBuf, time::Duration};

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the cluster itself, never of what is tried on it.
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
    /// A build failed.
    #[error("{what} could not be built: {outcome}\n{said}")]
    Build {
        /// What was built.
        what: String,
        /// How Go ended.
        outcome: String,
        /// Its last lines.
        said: String,
    },
    /// A program did not start, or ended when it should run.
    #[error("{what} {outcome}; the end of {log}:\n{said}", log = log.display())]
    Ended {
        /// Which.
        what: String,
        /// What became of it.
        outcome: String,
        /// Where everything stands that it said.
        log: PathBuf,
        /// Its last lines.
        said: String,
    },
    /// Something expected did not happen in time.
    #[error("waited {waited:?} for {what}; {seen}")]
    Waited {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was there instead.
        seen: String,
    },
    /// The API server gave no answer.
    #[error("{request}: no answer: {why}")]
    NoAnswer {
        /// Verb and URL.
        request: String,
        /// Why.
        why: String,
    },
    /// The API server gave another answer than was wanted.
    #[error("{request}: {status}: {said}")]
    Answer {
        /// Verb and path.
        request: String,
        /// HTTP's.
        status: u16,
        /// What the body says.
        said: String,
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
