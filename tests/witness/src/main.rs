//! The witnesses as commands.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use drydock_witness::clock::Clock;
use drydock_witness::member::Member;
use drydock_witness::observer::Sample;
use drydock_witness::{observer, stop, summary, verify, writer};

/// Judges a component from outside, independently of Drydock.
#[derive(Debug, Parser)]
#[command(name = "drydock-witness", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::enum_variant_names,
    reason = "the prefix names the component; witnesses of others stand beside these"
)]
enum Command {
    /// Write unique keys and record which were acknowledged, until SIGTERM.
    EtcdWriter(WriterArgs),
    /// Ask every member for its status at a steady pace, until SIGTERM.
    EtcdObserver(ObserverArgs),
    /// Read every acknowledged key back from every member; exit 1 unless all are there.
    EtcdVerify(VerifyArgs),
    /// Reduce an observer's file to figures.
    EtcdSummary(SummaryArgs),
    /// Print one sample, or wait until enough members are healthy under one leader.
    EtcdStatus(StatusArgs),
}

#[derive(Debug, Args)]
struct Endpoints {
    /// Client endpoints of the members, HOST:PORT, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
}

#[derive(Debug, Args)]
struct WriterArgs {
    #[command(flatten)]
    members: Endpoints,
    /// Keys are PREFIX/RUN/CLIENT/NUMBER.
    #[arg(long)]
    prefix: String,
    /// Acknowledged keys go here, unknown ones to FILE.unknown.
    #[arg(long, value_name = "FILE")]
    acks: PathBuf,
    /// Clients writing at the same time; each waits for its own answer, so a few would all hang
    /// on the members that are down.
    #[arg(long, default_value_t = 12)]
    clients: u32,
    /// Writes a second, all clients together.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// How long one write may take.
    #[arg(long, default_value_t = 2000)]
    deadline_ms: u64,
}

#[derive(Debug, Args)]
struct ObserverArgs {
    #[command(flatten)]
    members: Endpoints,
    /// Samples go here.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Time between two samples.
    #[arg(long, default_value_t = 50)]
    interval_ms: u64,
    /// How long a member may take to answer.
    #[arg(long, default_value_t = 500)]
    deadline_ms: u64,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    members: Endpoints,
    /// The writer's file.
    #[arg(long, value_name = "FILE")]
    acks: PathBuf,
    /// How long one read may take.
    #[arg(long, default_value_t = 10_000)]
    deadline_ms: u64,
}

#[derive(Debug, Args)]
struct SummaryArgs {
    /// The observer's file.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    members: Endpoints,
    /// Wait until this many members are healthy and agree on a leader.
    #[arg(long, value_name = "COUNT")]
    healthy: Option<usize>,
    /// How long to wait for that.
    #[arg(long, default_value_t = 30_000)]
    wait_ms: u64,
    /// How long a member may take to answer.
    #[arg(long, default_value_t = 500)]
    deadline_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("drydock-witness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True: what the command was to prove holds.
async fn run(command: Command) -> Result<bool> {
    match command {
        Command::EtcdWriter(args) => write(args).await,
        Command::EtcdObserver(args) => observe(args).await,
        Command::EtcdVerify(args) => {
            let deadline = Duration::from_millis(args.deadline_ms);
            let report = verify::run(&args.members.endpoints, &args.acks, deadline).await?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            Ok(report.is_intact())
        }
        Command::EtcdSummary(args) => {
            let figures = summary::of_file(&args.file)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&figures)?);
            } else {
                print!("{figures}");
            }
            Ok(true)
        }
        Command::EtcdStatus(args) => status(args).await,
    }
}

async fn write(args: WriterArgs) -> Result<bool> {
    let stopped = stop::requested()?;
    let options = writer::Options {
        endpoints: args.members.endpoints,
        prefix: args.prefix,
        acks: args.acks,
        clients: args.clients,
        rate_hz: args.rate,
        deadline: Duration::from_millis(args.deadline_ms),
    };
    let report = writer::run(options, stopped).await?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(true)
}

async fn observe(args: ObserverArgs) -> Result<bool> {
    let stopped = stop::requested()?;
    let options = observer::Options {
        endpoints: args.members.endpoints,
        out: args.out,
        interval: Duration::from_millis(args.interval_ms),
        deadline: Duration::from_millis(args.deadline_ms),
    };
    let samples = observer::run(options, stopped).await?;
    println!("{}", serde_json::json!({ "samples": samples }));
    Ok(true)
}

async fn status(args: StatusArgs) -> Result<bool> {
    let deadline = Duration::from_millis(args.deadline_ms);
    let until = Instant::now() + Duration::from_millis(args.wait_ms);
    let members: Vec<Arc<Member>> =
        Member::all(&args.members.endpoints, deadline)?.into_iter().map(Arc::new).collect();
    let clock = Clock::start();
    loop {
        let sample = observer::take_sample(members.clone(), clock.unix_ms(), deadline).await;
        let Some(wanted) = args.healthy else {
            println!("{}", serde_json::to_string_pretty(&sample)?);
            return Ok(true);
        };
        if healthy_under_one_leader(&sample) >= wanted {
            println!("{}", serde_json::to_string_pretty(&sample)?);
            return Ok(true);
        }
        if Instant::now() >= until {
            bail!(
                "after {} ms fewer than {wanted} members are healthy under one leader; last seen: {}",
                args.wait_ms,
                serde_json::to_string(&sample)?
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many members are healthy, when all of those name the same leader; else none.
fn healthy_under_one_leader(sample: &Sample) -> usize {
    let mut leaders: Vec<_> = sample
        .endpoints
        .values()
        .filter(|view| view.is_healthy())
        .map(|view| view.leader_id.clone())
        .collect();
    let healthy = leaders.len();
    leaders.dedup();
    if leaders.len() == 1 { healthy } else { 0 }
}
