//! `cargo kill-matrix`: coordinator and agent with their failpoints, in a folder of their own, and the same without
//! them, to see that none is left in; then `drydock-kill-matrix`.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::cargo::{self, Profile};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For the matrix itself: --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let programs = ["drydock", "drydock-agent", "demo-target", "second-operator", "drydock-kill-matrix"];
    let features = ["drydock-cli/failpoints", "drydock-agent/failpoints"];
    let built = cargo::build_apart("failpoints", &programs, &features)?;
    let plain = cargo::build(Profile::Dev, &["drydock-cli", "drydock-agent"])?;
    let mut command = Command::new(built.join("drydock-kill-matrix"));
    for program in ["drydock", "drydock-agent"] {
        command.arg("--shipped").arg(plain.join(program));
    }
    match cargo::become_program(command.args(args.words))? {}
}
