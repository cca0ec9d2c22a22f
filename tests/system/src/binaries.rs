//! Where the binaries under test are.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A binary of this workspace, built in the same profile as the test.
///
/// # Panics
/// When it is neither there nor can be built.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = directory().join(name);
    if !path.exists() {
        BUILT.get_or_init(build);
    }
    assert!(path.exists(), "{} is not there: cargo build -p drydock-cli -p drydock-agent", path.display());
    path
}

/// `target/debug`: the test itself is in `deps` below it.
fn directory() -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    let dir = me.parent().unwrap_or(Path::new("/"));
    match dir.ends_with("deps") {
        true => dir.parent().unwrap_or(dir).to_owned(),
        false => dir.to_owned(),
    }
}

/// A directory of our own below the target directory.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn scratch() -> PathBuf {
    let dir = directory().join("../tmp");
    std::fs::create_dir_all(&dir).and_then(|()| dir.canonicalize()).unwrap_or_else(|error| {
        panic!("{}: {error}", dir.display());
    })
}

fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--quiet",
        "-p",
        "drydock-cli",
        "-p",
        "drydock-agent",
        "-p",
        "drydock-system-tests",
    ]);
    if directory().ends_with("release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.is_ok_and(|status| status.success()), "the binaries under test could not be built");
}
