//! The frame of a bench: the programs to measure, a place that no other bench uses, what it writes in the end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::fleet::Programs;

/// What every bench is told.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The agent
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The coordinator and command line
    #[arg(long, value_name = "FILE")]
    drydock: PathBuf,
    /// Where state lies while it runs, and the figures afterwards; on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many agents
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=500))]
    pub(crate) nodes: u32,
    /// Leave the state directory behind
    #[arg(long)]
    keep: bool,
}

/// What was measured, for its two kinds of readers.
pub(crate) trait Measured {
    /// For people.
    fn table(&self) -> String;

    /// For programs.
    fn json(&self) -> String;
}

impl Bench {
    /// Measures in a fresh state directory, prints the table, and writes `NAME.json`.
    pub(crate) fn run<F: Measured>(
        &self,
        name: &str,
        measure: impl FnOnce(&Programs, &Path) -> Result<F>,
    ) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let dir = self.dir.canonicalize()?;
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().with_context(|| format!("another bench is at work in {}", dir.display()))?;
        let state = dir.join(format!("{name}-state"));
        remove(&state)?;
        let programs = Programs { agent: self.agent.canonicalize()?, drydock: self.drydock.canonicalize()? };
        let measured = measure(&programs, &state);
        if !self.keep {
            remove(&state)?;
        }
        let figures = measured?;
        print!("{}", figures.table());
        let place = dir.join(format!("{name}.json"));
        fs::write(&place, figures.json()).with_context(|| format!("cannot write {}", place.display()))?;
        println!("written to {}", place.display());
        Ok(())
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(why).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
