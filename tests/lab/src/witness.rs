//! Where the built witness is. It runs as a process of its own, inside the lab's network.

use std::path::PathBuf;

use crate::{Result, built};

/// The built `drydock-witness`, or what `$DRYDOCK_WITNESS` names.
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    built::program("drydock-witness", "DRYDOCK_WITNESS")
}
