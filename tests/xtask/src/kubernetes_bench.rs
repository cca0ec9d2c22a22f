//! `cargo kubernetes-bench`: what a node of a real control plane costs through the real coordinator.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::cargo::{self, Profile};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For the bench itself: --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let lab = cargo::build(Profile::Lab, &["drydock-cli", "drydock-agent", "drydock-wave-bench"])?;
    let mut command = Command::new(lab.join("drydock-wave-bench"));
    command
        .arg("kubernetes")
        .arg("--agent")
        .arg(lab.join("drydock-agent"))
        .arg("--drydock")
        .arg(lab.join("drydock"));
    command.arg("--dir").arg(cargo::target_dir()?.join("bench")).args(args.words);
    match cargo::become_program(&mut command)? {}
}
