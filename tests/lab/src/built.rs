//! Where the programs of this workspace are that a lab starts: each runs as a process of its own.

use std::path::PathBuf;

use crate::{Error, Result};

/// A built program: where `variable` says, or beside the running program (tests run from a directory below).
///
/// # Errors
/// When it was not built.
pub(crate) fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(Error::io("find", "/proc/self/exe"))?;
    own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::Unfit(format!(
            "{name} is not beside {}; run `cargo lab`, which builds it, or set {variable}",
            own.display()
        ))
    })
}
