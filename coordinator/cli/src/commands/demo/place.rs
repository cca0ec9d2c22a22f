//! The demo's own directory: made new, removed at the end.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// A directory that goes when this is dropped, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Place {
    /// Under `$XDG_RUNTIME_DIR` or the home directory: an agent refuses to exchange a binary below a
    /// directory that others can write to, such as `/tmp`.
    pub(super) fn make(keep: bool) -> Result<Self, CliError> {
        let env =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
        let base = env("XDG_RUNTIME_DIR").or_else(|| env("HOME"));
        let base = base.ok_or_else(|| {
            CliError::failed("neither XDG_RUNTIME_DIR nor HOME is a directory").hint("set HOME")
        })?;
        // Without symbolic links: the agent follows none either.
        let base =
            base.canonicalize().map_err(|why| CliError::failed(format!("{}: {why}", base.display())))?;
        let dir = base.join(format!("drydock-demo-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|why| CliError::failed(format!("{}: {why}", dir.display())))?;
        Ok(Self { dir, keep })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing to do about it here, and the name says what it is.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
