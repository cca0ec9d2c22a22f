//! `cargo sim --mutants`: does the simulation's checker bite?
//!
//! Each mutant takes one guard out of the production code, never out of the checker. All of them are built at
//! once: a copy of the sources gets every mutant behind a switch that is read at run time, so that one build
//! serves all. Then the ordinary seeds run with one mutant switched on after another, until the checker
//! objects. A mutant that nobody objects to is one that escaped.

mod copy;
mod list;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use self::list::Mutant;
use crate::cargo;

/// The environment's name for the mutant that is switched on; read by the copy only.
const SWITCH: &str = "DRYDOCK_SIM_MUTANT";

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Seeds that each mutant is tried with: the ordinary ones.
    pub(crate) seeds: u64,
    /// Only mutants whose name contains this.
    pub(crate) only: Option<String>,
    /// How many at once.
    pub(crate) jobs: usize,
}

/// How a mutant ended.
enum Ended {
    /// The checker objected; its words.
    Caught(String),
    /// All seeds passed.
    Escaped,
}

/// Builds the copy and tries every mutant. An error when one escaped, or the list is not what it must be.
pub(crate) fn run(wanted: &Wanted) -> Result<()> {
    let root = cargo::root()?;
    let mutants = list::read(&root.join("tests/simulation/mutants.toml"))?;
    let chosen: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| wanted.only.as_ref().is_none_or(|only| mutant.name.contains(only)))
        .collect();
    if chosen.is_empty() {
        bail!("no mutant is called like that; tests/simulation/mutants.toml names them");
    }
    let simulation = build(&root, &mutants)?;
    let ended = try_all(&simulation, &chosen, wanted)?;
    let caught = ended.iter().filter(|(_, ended)| matches!(ended, Ended::Caught(_))).count();
    table(&ended);
    println!("mutants={} caught={caught}", ended.len());
    if caught < ended.len() {
        bail!("{} escaped: the checker does not see that guard missing", ended.len() - caught);
    }
    Ok(())
}

/// The copy, built in a place of its own: cargo tells crates apart by where they lie in their workspace, and would
/// take the mutants for the ordinary crates.
fn build(root: &Path, mutants: &[Mutant]) -> Result<PathBuf> {
    let place = cargo::target_dir()?.join("mutants");
    let (sources, built) = (place.join("sources"), place.join("target"));
    copy::make(root, &sources, mutants)?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .current_dir(&sources)
        .env("CARGO_TARGET_DIR", &built)
        .args(["build", "--locked", "--profile", "sim", "--package", "drydock-simulation"])
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the mutants do not build: see above; tests/simulation/mutants.toml holds them");
    }
    Ok(built.join("sim/drydock-simulation"))
}

/// Every mutant, and none of them first: with no mutant switched on the copy is the ordinary code, and nobody may
/// object.
fn try_all<'a>(
    simulation: &Path,
    chosen: &[&'a Mutant],
    wanted: &Wanted,
) -> Result<Vec<(&'a Mutant, Ended)>> {
    let tried: Vec<Option<&'a Mutant>> =
        std::iter::once(None).chain(chosen.iter().copied().map(Some)).collect();
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        while let Some(mutant) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let how = try_one(simulation, mutant.map_or(0, |mutant| mutant.number), wanted.seeds)?;
            let Some(mutant) = *mutant else {
                match how {
                    Ended::Escaped => continue,
                    Ended::Caught(why) => bail!("the simulation fails without any mutant: {why}"),
                }
            };
            let word = if matches!(how, Ended::Escaped) { "ESCAPED" } else { "caught " };
            eprintln!("{word} {:>4} s  {}", began.elapsed().as_secs(), mutant.name);
            ended.lock().unwrap_or_else(PoisonError::into_inner).insert(mutant.number, (mutant, how));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..wanted.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(_) => bail!("a worker of the mutants died"),
        })
    })?;
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(ended.into_values().collect())
}

/// Seed after seed, until the checker objects. A story that does not end ends by its own limit of steps, and that is
/// an objection too.
fn try_one(simulation: &Path, number: usize, seeds: u64) -> Result<Ended> {
    let mut command = Command::new(simulation);
    command.env(SWITCH, number.to_string()).args(["--until-failure", "--seeds", &seeds.to_string()]);
    let output = command.stdin(Stdio::null()).output().context("cannot start the simulation's copy")?;
    if output.status.success() {
        return Ok(Ended::Escaped);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().find(|line| line.starts_with("seed ")) {
        Some(objection) => Ok(Ended::Caught(objection.chars().take(160).collect())),
        // An assertion of the code under test itself, or of the runtime.
        None => {
            let said = String::from_utf8_lossy(&output.stderr);
            let panicked = said.lines().find(|line| line.contains("panicked"));
            let last = panicked.or_else(|| said.lines().last()).unwrap_or("it ended without a word");
            Ok(Ended::Caught(last.trim().chars().take(160).collect()))
        }
    }
}

fn table(ended: &[(&Mutant, Ended)]) {
    println!("{:>4}  {:<44} what the checker said", "rule", "guard taken out");
    for (mutant, how) in ended {
        let said = match how {
            Ended::Caught(why) => why.as_str(),
            Ended::Escaped => "ESCAPED: nobody objected",
        };
        println!("{:>4}  {:<44} {said}", mutant.rule, mutant.name);
    }
}
