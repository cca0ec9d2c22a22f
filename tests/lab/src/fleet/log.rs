//! The coordinator's log as it grows: where each node is, to the millisecond. Screens are slower than some
//! phases are long.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::{Error, Result};

/// A reader of the log; several starts of a coordinator append to the same file.
#[derive(Debug)]
pub struct CoordinatorLog {
    path: PathBuf,
    read: u64,
    /// What follows the last line end: a line that is being written, or one that a kill cut off.
    rest: String,
    phases: BTreeMap<String, String>,
}

/// Something that the log told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A node entered another phase.
    Phase {
        /// Which.
        node: String,
        /// `staging`, `gating`, …
        phase: String,
    },
    /// The run stands otherwise: `Running`, `Held`, `Done`.
    Status(String),
}

#[derive(Deserialize)]
struct Line {
    node: Option<String>,
    phase: Option<String>,
    status: Option<String>,
}

impl CoordinatorLog {
    pub(super) fn open(path: PathBuf) -> Self {
        Self { path, read: 0, rest: String::new(), phases: BTreeMap::new() }
    }

    /// What was told since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn news(&mut self) -> Result<Vec<Told>> {
        let mut file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        self.read += u64::try_from(bytes.len()).unwrap_or(0);
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let text = std::mem::take(&mut self.rest);
        let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        rest.clone_into(&mut self.rest);
        Ok(whole.lines().filter_map(|line| self.take(line)).collect())
    }

    /// Where a node is, by what was read so far.
    #[must_use]
    pub fn phase_of(&self, node: &str) -> Option<&str> {
        self.phases.get(node).map(String::as_str)
    }

    fn take(&mut self, line: &str) -> Option<Told> {
        // A line of another form (of a library, or cut off by a kill) tells nothing about phases.
        match serde_json::from_str(line).ok()? {
            Line { node: Some(node), phase: Some(phase), .. } => {
                self.phases.insert(node.clone(), phase.clone());
                Some(Told::Phase { node, phase })
            }
            Line { status: Some(status), .. } => Some(Told::Status(status)),
            Line { .. } => None,
        }
    }
}
