//! `cargo sim`: many seeds, or one story.

mod exploration;

use std::{
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Parser;
use drydock_simulation::{Options, many, simulate};

/// Twice as many stories a minute as with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells stories from seeds, and asserts the rules after everything that happens.
#[derive(Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim")]
struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// One seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// With --seed: the whole story, line by line
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Nothing goes wrong
    #[arg(long)]
    no_faults: bool,
    /// Measure only: so many plain waves of fifty nodes
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "seeds"])]
    waves: Option<u64>,
    /// Do not judge how often everything took place
    #[arg(long)]
    no_coverage: bool,
    /// Stop at the first seed that fails, and say no more than which it is
    #[arg(long, requires = "seeds")]
    until_failure: bool,
    #[command(flatten)]
    exploration: exploration::Exploration,
}

/// How many waves are measured beside the seeds.
const MEASURED_WAVES: u64 = 20;
/// Fewer seeds say nothing about how often something takes place.
const ENOUGH_SEEDS: u64 = 2000;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.exploration.explore {
        return exploration::run(&args.exploration);
    }
    let options = Options { faults: !args.no_faults, trace: args.trace, plain_wave: None };
    if let Some(seed) = args.seed {
        return one(seed, &options);
    }
    if let Some(waves) = args.waves {
        println!("waves={waves} waves_per_minute={}", waves_per_minute(waves)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.until_failure {
        return until_failure(&args, &options);
    }
    all(&args, &options)
}

/// Seeds until one fails.
fn until_failure(args: &Args, options: &Options) -> Result<ExitCode> {
    let seeds = args.seeds.unwrap_or_default();
    let failed = many::first_failed(args.from..args.from.saturating_add(seeds), options)?;
    let Some(many::Failed { seed, violation }) = failed else {
        println!("seeds={seeds} failed=0");
        return Ok(ExitCode::SUCCESS);
    };
    println!("seed {seed}: rule {} did not hold: {}", violation.rule, violation.what);
    Ok(ExitCode::FAILURE)
}

/// One story.
fn one(seed: u64, options: &Options) -> Result<ExitCode> {
    let ended = simulate(seed, options)?;
    let mut out = std::io::stdout().lock();
    out.write_all(ended.story.as_bytes())?;
    let seconds = ended.story_ms / 1000;
    match ended.violation {
        None => {
            writeln!(out, "seed={seed} ok steps={} story={seconds}s", ended.steps)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(broken) => {
            writeln!(
                out,
                "seed={seed} rule {} did not hold at {} ms: {}",
                broken.rule, broken.at_ms, broken.what
            )?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn all(args: &Args, options: &Options) -> Result<ExitCode> {
    let seeds = args.seeds.unwrap_or(200);
    let began = Instant::now();
    let mut shown = began;
    let mut count = 0;
    let mut failures = 0;
    let sum = many::tell(args.from..args.from.saturating_add(seeds), options, |seed, broken| {
        count += 1;
        if let Some(broken) = broken {
            failures += 1;
            if failures <= 20 {
                println!("seed {seed}: rule {} did not hold: {}", broken.rule, broken.what);
            }
        }
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            eprintln!("{count} of {seeds} seeds, {failures} failed");
        }
    })?;
    if let Some(first) = sum.failed.first() {
        let options = Options { trace: true, ..options.clone() };
        let ended = simulate(first.seed, &options)?;
        let lines: Vec<&str> = ended.story.lines().collect();
        println!("\nthe end of seed {}:", first.seed);
        for line in &lines[lines.len().saturating_sub(25)..] {
            println!("  {line}");
        }
        println!("all of it: cargo sim --seed {} --trace", first.seed);
    }
    println!();
    for (item, count) in &sum.table.counts {
        println!("{count:>8} {:>6.1} %  {}", percent(*count, sum.table.stories), item.name());
    }
    let done = sum.faulty_done_permille();
    println!(
        "{:>8} stories with faults, {}.{} % of them with a run that was done",
        sum.table.faulty,
        done / 10,
        done % 10
    );
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} nodes done, {} steps (at most {} in a story), {} h of stories in {took:.1} s",
        sum.nodes_done,
        sum.steps,
        sum.most_steps,
        sum.story.as_secs() / 3600
    );
    let mut bad = !sum.failed.is_empty();
    if seeds >= ENOUGH_SEEDS && options.faults && !args.no_coverage {
        for (name, count) in sum.too_rare() {
            println!("too rare: {name} took place in {count} of {seeds} stories; 1 % is wanted");
            bad = true;
        }
        if done < 400 {
            println!("too few of the faulty stories have a run that was done: 40 % are wanted");
            bad = true;
        }
    }
    println!(
        "seeds={seeds} failed={} waves_per_minute={}",
        sum.failed.len(),
        waves_per_minute(MEASURED_WAVES)?
    );
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Milliseconds that this process has had a core for: what else the machine does meanwhile is not counted.
fn core_ms() -> Result<u64> {
    let time = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
    Ok(u64::try_from(time.as_millis())?)
}

/// Waves of fifty nodes with everything that belongs to them, on this core.
fn waves_per_minute(waves: u64) -> Result<u64> {
    let options = Options { faults: false, trace: false, plain_wave: Some(50) };
    let began = core_ms()?;
    for seed in 0..waves {
        let ended = simulate(seed, &options)?;
        anyhow::ensure!(ended.violation.is_none(), "a plain wave: {:?}", ended.violation);
        anyhow::ensure!(ended.nodes_done == 50, "a plain wave came to {} nodes", ended.nodes_done);
    }
    Ok(waves * 60_000 / (core_ms()? - began).max(1))
}
