//! The repository's own commands, behind the aliases of `.cargo/config.toml`: each builds what it needs, then
//! becomes the program that does the work. One file a command; what several of them need is in [`cargo`].

mod cargo;
mod demo;
mod kill_matrix;
mod kubernetes_bench;
mod lab;
mod mutants;
mod sim;
mod wave_bench;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole thing on this machine, with nothing installed
    Demo(demo::Args),
    /// Kill coordinator and agent before and after each durable write and each effect, and fail each write
    KillMatrix(kill_matrix::Args),
    /// Measure what a node of a Kubernetes cluster costs, drain included, beside a bare client; needs Go the first time
    KubernetesBench(kubernetes_bench::Args),
    /// Real systemd nodes with real etcd, upgraded and judged from outside; needs root
    Lab(lab::Args),
    /// Tell stories from seeds: the real driver and executor in virtual time, the rules asserted after every step
    Sim(sim::Args),
    /// Measure what a node costs in a serial wave of 50 agents, beside the floor
    WaveBench(wave_bench::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::KillMatrix(args) => kill_matrix::run(args),
        Command::KubernetesBench(args) => kubernetes_bench::run(args),
        Command::Lab(args) => lab::run(args),
        Command::Sim(args) => sim::run(args),
        Command::WaveBench(args) => wave_bench::run(args),
    }
}
