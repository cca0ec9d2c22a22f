//! Versions of the managed service: one build of `demo-target`, each with another trailer behind the ELF file.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::binaries;

/// Stands before the trailer. Spelt so that it does not occur in the program itself.
pub const MARK: [&str; 2] = ["\nDEMO-TARGET", "-TRAILER "];

/// How a version behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Serves, and answers its version.
    Well,
    /// Says something and exits 1.
    Exits,
    /// Serves, and says that it is ill.
    Ill,
    /// Takes some seconds until it listens.
    Slow,
    /// Answers another version than its own.
    Lies,
}

impl Behaviour {
    /// The word in the trailer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Exits => "exits",
            Self::Ill => "ill",
            Self::Slow => "slow",
            Self::Lies => "lies",
        }
    }
}

/// Writes a version of the service to `path`, executable.
///
/// # Panics
/// When it cannot be written.
pub fn write(path: &Path, version: &str, behaviour: Behaviour) {
    let written = || -> std::io::Result<()> {
        fs::copy(binaries::path("demo-target"), path)?;
        let mut file = OpenOptions::new().append(true).open(path)?;
        write!(file, "{}{}{version} {}", MARK[0], MARK[1], behaviour.word())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    written().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The trailer of a binary: version and behaviour.
#[must_use]
pub fn trailer(binary: &[u8]) -> Option<(String, String)> {
    let mark = MARK.concat();
    let at = binary.windows(mark.len()).rposition(|window| window == mark.as_bytes())?;
    let text = std::str::from_utf8(&binary[at + mark.len()..]).ok()?;
    let (version, behaviour) = text.split_once(' ')?;
    Some((version.to_owned(), behaviour.to_owned()))
}
