//! `cargo sim --explore`: the small worlds, one after another.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Result, anyhow};
use drydock_simulation::explore::{Explored, Wanted, explore, worlds};

/// How far.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Exploration {
    /// A small world, explored whole: three nodes, two coordinators, everything in every order
    #[arg(long, conflicts_with_all = ["seeds", "seed", "waves"])]
    pub(crate) explore: bool,
    /// With --explore: steps of the longest story
    #[arg(long, value_name = "N", requires = "explore", default_value_t = 400)]
    depth: u32,
    /// With --explore: states of one world at the most
    #[arg(long, value_name = "N", requires = "explore", default_value_t = 3_000_000)]
    states: usize,
    /// With --explore: how much may go wrong in one story
    #[arg(long, value_name = "N", requires = "explore")]
    faults: Option<u8>,
    /// With --explore: only worlds whose name contains this
    #[arg(long, value_name = "TEXT", requires = "explore")]
    world: Option<String>,
}

/// Explores, and prints what came of it.
pub(crate) fn run(args: &Exploration) -> Result<ExitCode> {
    let chosen = worlds()
        .into_iter()
        .filter(|world| args.world.as_ref().is_none_or(|text| world.name.contains(text.as_str())))
        .map(|world| Wanted {
            depth: args.depth,
            states: args.states,
            faults: args.faults.unwrap_or(world.faults),
            ..world
        });
    let chosen: Vec<Wanted> = chosen.collect();
    if chosen.is_empty() {
        let names: Vec<String> = worlds().into_iter().map(|world| world.name).collect();
        anyhow::bail!("no world is called like that; there are: {}", names.join(", "));
    }
    let mut out = std::io::stdout().lock();
    let mut sum = Sum { complete: true, ..Sum::default() };
    for wanted in &chosen {
        let explored = explore(wanted).map_err(|error| anyhow!("{}: {error}", wanted.name))?;
        sum.add(&explored);
        writeln!(
            out,
            "{:<44} faults={} states={} transitions={} depth={} rests={} {}",
            wanted.name,
            wanted.faults,
            explored.states,
            explored.transitions,
            explored.depth,
            explored.rests,
            if explored.complete { "complete" } else { "bounded" },
        )?;
        if let Some((broken, story)) = &explored.failed {
            writeln!(out, "\nrule {} does not hold: {}. The shortest story:", broken.rule, broken.what)?;
            for line in story {
                writeln!(out, "  {line}")?;
            }
            writeln!(out)?;
        }
    }
    writeln!(
        out,
        "states={} depth={} transitions={} failed={} complete={}",
        sum.states,
        sum.depth,
        sum.transitions,
        sum.failed,
        if sum.complete { "yes" } else { "bounded" },
    )?;
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Sum {
    states: usize,
    depth: u32,
    transitions: u64,
    failed: u32,
    complete: bool,
}

impl Sum {
    fn add(&mut self, explored: &Explored) {
        self.states += explored.states;
        self.depth = self.depth.max(explored.depth);
        self.transitions += explored.transitions;
        self.failed += u32::from(explored.failed.is_some());
        self.complete &= explored.complete;
    }
}
