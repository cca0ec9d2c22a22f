//! Building what a command needs, and becoming it.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
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
}

impl Profile {
    /// The folder that cargo puts it in: `dev` has another name there.
    const fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release | Self::Lab => self.name(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Lab => "lab",
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
    let built = target_dir()?.join(profile.directory());
    if profile == Profile::Dev && env::var_os(BUILT).is_some() {
        return Ok(built);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()?).args(["build", "--locked", "--profile", profile.name()]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    succeed(&mut command, packages)?;
    Ok(built)
}

/// Builds programs with features, each as `PACKAGE/FEATURE`, in a folder of their own: what has failpoints stays apart from
/// what has none. All else is what is built for the tests, and compiled once.
pub(crate) fn build_apart(folder: &str, programs: &[&str], features: &[&str]) -> Result<PathBuf> {
    let with: Vec<&str> = features.iter().flat_map(|feature| ["--features", feature]).collect();
    let (built, apart) = (target_dir()?.join(Profile::Dev.directory()), target_dir()?.join(folder));
    build_programs(programs, &with)?;
    fs::create_dir_all(&apart).with_context(|| format!("cannot make {}", apart.display()))?;
    for program in programs {
        // The folder may hold one that runs: it is replaced, not written to.
        let (from, to) = (built.join(program), apart.join(program));
        let new = apart.join(format!("{program}.new"));
        fs::copy(&from, &new)
            .and_then(|_| fs::rename(&new, &to))
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    // Those without go back to their place.
    build_programs(programs, &[])?;
    Ok(apart)
}

fn build_programs(programs: &[&str], words: &[&str]) -> Result<()> {
    succeed(building(programs)?.args(words), programs)
}

/// All dependencies have the features that they have for the tests: a test is among what is built, the one that needs least.
fn building(programs: &[&str]) -> Result<Command> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()?).args(["build", "--locked", "--workspace", "--test", "kubernetes_minors"]);
    command.args(programs.iter().flat_map(|program| ["--bin", program]));
    Ok(command)
}

fn succeed(command: &mut Command, what: &[&str]) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("building {} failed", what.join(", "));
    }
    Ok(())
}

/// How the simulation is built: see there.
const SIMULATION: &str = "tests/simulation/profile.toml";

/// Builds the simulation, optimised and with every assertion, beside what is built for the tests: whatever it depends on is
/// the same then, and compiled once. Where it is.
pub(crate) fn build_simulation() -> Result<PathBuf> {
    let programs = ["drydock-simulation"];
    // What is built in increments is cut into small pieces, which are optimised apart.
    let mut command = building(&programs)?;
    succeed(command.args(["--config", SIMULATION]).env("CARGO_INCREMENTAL", "0"), &programs)?;
    Ok(target_dir()?.join(Profile::Dev.directory()).join("drydock-simulation"))
}

/// Becomes the program: its signals, its exit code. Returns only when it cannot be started.
pub(crate) fn become_program(command: &mut Command) -> Result<Infallible> {
    let why = command.exec();
    Err(why).with_context(|| format!("cannot start {}", command.get_program().display()))
}
