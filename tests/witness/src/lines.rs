//! Files of JSON lines: one value a line, each written whole.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends values to a file, each with one `write`, so that a killed witness leaves at most one
/// torn line at the end.
#[derive(Debug)]
pub struct LineWriter {
    file: File,
    path: PathBuf,
    count: u64,
}

impl LineWriter {
    /// Opens (or creates) the file for appending.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {} for appending", path.display()))?;
        Ok(Self { file, path: path.to_owned(), count: 0 })
    }

    /// Writes one value as one line.
    ///
    /// # Errors
    /// When the line cannot be written (disk full, file system gone).
    pub fn push<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(|| format!("cannot write to {}", self.path.display()))?;
        self.count += 1;
        Ok(())
    }

    /// Lines written by this writer.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish(self) -> Result<u64> {
        self.file.sync_all().with_context(|| format!("cannot flush {}", self.path.display()))?;
        Ok(self.count)
    }
}

/// Reads every line of a file. A torn last line (no newline: the writer was killed in mid-write)
/// is dropped; any other line that does not parse is an error.
///
/// # Errors
/// When the file cannot be read or a line is not what it should be.
pub fn read_all<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut values = Vec::new();
    for (index, line) in whole.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(value) => values.push(value),
            Err(error) => bail!(
                "{} line {}: {error}; the file was damaged or is of another kind",
                path.display(),
                index + 1
            ),
        }
    }
    Ok(values)
}
