//! Building what a command needs, and becoming it.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// How packages are built: the profile and the directory that cargo gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The quickest to build.
    Dev,
    /// The agent as it is shipped: small, slow to build.
    Release,
    /// The coordinator and the tests' own programs: optimized, quick to build.
    Lab,
    /// As the quickest, in a folder of its own: what is built with failpoints stays apart from what is not.
    Failpoints,
}

impl Profile {
    /// The folder that cargo puts it in: `dev` has another name there.
    const fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release | Self::Lab | Self::Failpoints => self.name(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Lab => "lab",
            Self::Failpoints => "failpoints",
        }
    }
}

/// Set where `cargo build --workspace --all-targets` has just built everything: a package that is built alone has fewer
/// features, and so has what it depends on, which would be compiled once more.
const BUILT: &str = "DRYDOCK_BUILT";

/// The top of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("the checkout has no top")?;
    Ok(root.to_owned())
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    Ok(env::var_os("CARGO_TARGET_DIR").map_or(root()?.join("target"), PathBuf::from))
}

/// Builds packages, with cargo's own progress on stderr; where their programs are.
pub(crate) fn build(profile: Profile, packages: &[&str]) -> Result<PathBuf> {
    build_with(profile, packages, &[])
}

/// The same with features, each as `PACKAGE/FEATURE`.
pub(crate) fn build_with(profile: Profile, packages: &[&str], features: &[&str]) -> Result<PathBuf> {
    let built = target_dir()?.join(profile.directory());
    if profile == Profile::Dev && features.is_empty() && env::var_os(BUILT).is_some() {
        return Ok(built);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()?).args(["build", "--locked", "--profile", profile.name()]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(features.iter().flat_map(|feature| ["--features", feature]));
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("building {} failed", packages.join(", "));
    }
    Ok(built)
}

/// How the simulation is built: see there.
const SIMULATION: &str = "tests/simulation/profile.toml";

/// Builds the simulation, optimised and with every assertion, beside what is built for the tests: whatever it depends on is
/// the same then, and compiled once. Where it is.
pub(crate) fn build_simulation() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()?).args(["build", "--locked", "--workspace", "--config", SIMULATION]);
    // All dependencies have the features then that they have for the tests: a test is among what is built, the one that
    // needs least.
    command.args(["--bin", "drydock-simulation", "--test", "kubernetes_minors"]);
    // What is built in increments is cut into small pieces, which are optimised apart.
    command.env("CARGO_INCREMENTAL", "0");
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("building the simulation failed");
    }
    Ok(target_dir()?.join(Profile::Dev.directory()).join("drydock-simulation"))
}

/// Becomes the program: its signals, its exit code. Returns only when it cannot be started.
pub(crate) fn become_program(command: &mut Command) -> Result<Infallible> {
    let why = command.exec();
    Err(why).with_context(|| format!("cannot start {}", command.get_program().display()))
}
