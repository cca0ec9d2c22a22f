//! `cargo sim --explore`: the small worlds, one after another.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Result, anyhow};
use drydock_simulation::explore::{Explored, Wanted, explore, worlds};

/// Steps of the longest story, where nobody says how many.
const DEPTH: u32 = 400;
/// States of one world, where nobody says how many.
const STATES: usize = 3_000_000;

/// How far.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Exploration {
    /// Small worlds of three nodes, in every order, with one thing that goes wrong
    ///
    /// Where there are two coordinators, that the second one starts is that one thing: before it and behind it nothing
    /// else goes wrong, and nobody takes over, unless --faults says 2 or more. Without --faults, --depth and --states it
    /// fails unless each world was explored whole.
    #[arg(long, conflicts_with_all = ["seeds", "seed", "waves"])]
    pub(crate) explore: bool,
    /// With --explore: steps of the longest story [default: 400]
    #[arg(long, value_name = "N", requires = "explore")]
    depth: Option<u32>,
    /// With --explore: states of one world at the most [default: 3000000]
    #[arg(long, value_name = "N", requires = "explore")]
    states: Option<usize>,
    /// With --explore: how much may go wrong in one story [default: 1]
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
            depth: args.depth.unwrap_or(DEPTH),
            states: args.states.unwrap_or(STATES),
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
    if args.is_whole() && !sum.complete {
        writeln!(out, "a world was not explored whole: it has outgrown {DEPTH} steps or {STATES} states")?;
    }
    Ok(if args.is_satisfied(&sum) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Exploration {
    /// Nobody asked for more than can be explored whole, or for less.
    const fn is_whole(&self) -> bool {
        self.faults.is_none() && self.depth.is_none() && self.states.is_none()
    }

    const fn is_satisfied(&self, sum: &Sum) -> bool {
        sum.failed == 0 && (sum.complete || !self.is_whole())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(failed: u32, complete: bool) -> Sum {
        Sum { failed, complete, ..Sum::default() }
    }

    #[test]
    fn an_exploration_that_nobody_bounded_fails_where_it_is_bounded() {
        let plain = Exploration::default();
        assert!(plain.is_satisfied(&sum(0, true)));
        assert!(!plain.is_satisfied(&sum(0, false)));
        assert!(!plain.is_satisfied(&sum(1, true)));
    }

    #[test]
    fn one_that_was_bounded_fails_only_by_a_rule() {
        let bounded = [
            Exploration { faults: Some(2), ..Exploration::default() },
            Exploration { depth: Some(9), ..Exploration::default() },
            Exploration { states: Some(9), ..Exploration::default() },
        ];
        for bounded in bounded {
            assert!(bounded.is_satisfied(&sum(0, false)), "{bounded:?}");
            assert!(!bounded.is_satisfied(&sum(1, false)), "{bounded:?}");
        }
    }
}
