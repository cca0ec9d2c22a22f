//! `cargo demo`: the command line and the agent in the quickest profile, then `drydock demo`.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::cargo::{self, Profile};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For the demo itself: --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let built = cargo::build(Profile::Dev, &["drydock-cli", "drydock-agent"])?;
    let mut command = Command::new(built.join("drydock"));
    command.arg("demo").arg("--agent").arg(built.join("drydock-agent")).args(args.words);
    match cargo::become_program(&mut command)? {}
}
