//! Where the built witness is. It runs as a process of its own, inside the lab's network.

use std::path::PathBuf;

use crate::{Error, Result};

const BINARY: &str = "drydock-witness";
const VARIABLE: &str = "DRYDOCK_WITNESS";

/// The built `drydock-witness`: `$DRYDOCK_WITNESS`, or beside the running program (tests run from
/// a directory below).
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(Error::io("find", "/proc/self/exe"))?;
    own.ancestors().skip(1).take(2).map(|dir| dir.join(BINARY)).find(|path| path.is_file()).ok_or_else(|| {
        Error::Unfit(format!(
            "{BINARY} is not beside {}; run `cargo build -p {BINARY}`, or set {VARIABLE}",
            own.display()
        ))
    })
}
