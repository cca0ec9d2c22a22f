//! `cargo sim`: the simulation, optimised and with every assertion kept; with `--mutants` as its
//! first word, whether its checker bites. `--explore`, the small worlds that are explored whole, is the program's own.

use std::{ffi::OsString, process::Command};

use anyhow::Result;
use clap::Parser as _;

use crate::{cargo, mutants};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For the simulation itself: --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Takes one guard after another out of the production code, and sees that the simulation misses each
#[derive(Debug, clap::Parser)]
#[command(name = "cargo sim --mutants", bin_name = "cargo sim --mutants")]
struct Mutants {
    /// How many seeds each is tried with
    #[arg(long, value_name = "N", default_value_t = 2000)]
    seeds: u64,
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if let Some((first, words)) = args.words.split_first()
        && first == "--mutants"
    {
        let name = OsString::from("cargo sim --mutants");
        let Mutants { seeds, only, jobs } = Mutants::parse_from(std::iter::once(&name).chain(words));
        return mutants::run(&mutants::Wanted { seeds, only, jobs });
    }
    let mut command = Command::new(cargo::build_simulation()?);
    command.args(args.words);
    match cargo::become_program(&mut command)? {}
}
