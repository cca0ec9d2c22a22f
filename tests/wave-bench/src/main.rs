//! What a node costs in a serial wave of real agents, beside the floor that durability asks for.
//!
//! Real processes throughout: `drydock serve`, one `drydock-agent` a node, enrolled by tokens, mTLS on
//! loopback, every durable write on the checkout's own disk. Nothing of Drydock is linked here: what is
//! measured is what a user would run, driven by its own command line.
//!
//! | module | what lives there |
//! |---|---|
//! | [`bench`] | what every bench is told, where it works, what it writes |
//! | [`table`] | percentiles, and figures beside their aims |
//! | [`process`] | child processes that do not outlive us, and what `/proc` says of them |
//! | [`fleet`] | the coordinator, its operator's command line, the agents |
//! | [`wave`] | one run over all nodes, and each node's time in it |
//! | [`artifact`] | a run that fetches 100 MiB, for an agent's highest memory |
//! | [`floor`] | the least that a serial node can cost, measured without our crates |
//! | [`figures`] | what was measured: the table, `wave.json` |
//! | [`kubernetes`] | what a node of a real cluster costs, drain included, beside a bare client: `kubernetes.json` |
//!
//! **A node's time** is the time from one node's entering "applying" to the next one's, by the coordinator's
//! own log, whose stamps have microseconds (the run's record has milliseconds, too coarse here). With no stage
//! section, no soak and no check to ask an agent for, one transition ends a node, opens the next one's gate,
//! and hands its section out: so this is also the time from gate to gate, and nothing between nodes is left
//! out. The last node's time ends when the run is done.
//!
//! Read the ratio on a machine that has nothing else to do. The floor has two commits, as the design counts
//! them, and the coordinator needs one: the slower the disk (or the more others use it), the further the
//! ratio falls, below 1 even; on a fast one what is left is processor time and wake-ups, and it rises.

mod artifact;
mod bench;
mod figures;
mod fleet;
mod floor;
mod kubernetes;
mod process;
mod table;
mod wave;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    bench::Bench,
    figures::{Figures, Round},
    fleet::{Fleet, Programs},
    floor::Floor,
};

#[derive(Debug, Parser)]
#[command(name = "drydock-wave-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, print a table, write wave.json
    Run(Run),
    /// Measure what a node of a Kubernetes cluster costs, drain included; print a table, write kubernetes.json
    Kubernetes(kubernetes::Kubernetes),
    /// The floor's other side: appends and fsyncs what comes. Started by `run`, once a node
    #[command(hide = true)]
    FloorAgent {
        /// Its directory
        dir: PathBuf,
        /// Where the floor's coordinator listens
        address: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    bench: Bench,
    /// How many waves are counted; one more goes before them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    waves: u32,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => args.bench.run("wave", |programs, state| measure(&args, programs, state)),
        Command::Kubernetes(args) => kubernetes::run(&args),
        Command::FloorAgent { dir, address } => floor::serve(&dir, address),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wave-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Run, programs: &Programs, state: &Path) -> Result<Figures> {
    let nodes = args.bench.nodes;
    eprintln!("wave-bench: enrolling {nodes} agents …");
    let fleet = Fleet::start(programs, &state.join("fleet"), nodes)?;
    let idle = fleet.memory()?;
    let mut floor = Floor::start(&state.join("floor"), nodes)?;
    let mut rounds = Vec::new();
    // Floor and wave take turns, so that a disk that is slow for a while is slow for both.
    for number in 0..=args.waves {
        let round = Round { floor: floor.wave()?, wave: wave::run(&fleet, number)? };
        let counted = if number == 0 { "not counted" } else { "counted" };
        eprintln!("wave-bench: wave {number} of {} ({counted}): {}", args.waves, round.line());
        if number > 0 {
            rounds.push(round);
        }
    }
    let after = fleet.memory()?;
    eprintln!("wave-bench: one agent fetches {} MiB …", artifact::MIB);
    let peak_kb = artifact::fetch(&fleet)?;
    let stripped_bytes = fs::metadata(&programs.agent)?.len();
    Ok(Figures { nodes, rounds, idle, after, peak_kb, stripped_bytes })
}
