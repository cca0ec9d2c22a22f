//! `cargo lab`: the programs that a lab starts, then `drydock-lab`.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::cargo::{self, Profile};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For the lab itself: --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let packages = ["drydock-cli", "drydock-agent", "drydock-witness", "drydock-lab", "drydock-system-tests"];
    let built = cargo::build(Profile::Dev, &packages)?;
    let mut command = Command::new(built.join("drydock-lab"));
    command.args(args.words);
    match cargo::become_program(&mut command)? {}
}
