//! Builds the programs of a cluster ahead, and runs a cluster for a person to try things on.

use std::io::Write as _;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use drydock_test_cluster::{
    Cluster, Settings, available,
    binaries::{self, Release},
    cache::Cache,
};

#[derive(Debug, Parser)]
#[command(name = "drydock-test-cluster", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the server and kwok, unless they are in the cache
    Build {
        /// A version to build, such as v1.36.3+k3s1; may be repeated [default: the two that the tests use]
        #[arg(long)]
        release: Vec<String>,
        /// The minor before as well: a second long build
        #[arg(long)]
        all: bool,
        /// Kubernetes' own kubelet of each of them as well
        #[arg(long)]
        kubelet: bool,
    },
    /// Start a cluster, say where it is, and end it when this is interrupted
    Up {
        /// Servers, each with a member of etcd
        #[arg(long, default_value_t = 1)]
        servers: usize,
        /// Nodes, played by kwok
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// What the servers are [default: what the tests use]
        #[arg(long)]
        release: Option<String>,
        /// A line for each request in the servers' audit.log
        #[arg(long)]
        audit: bool,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    if let Err(why) = available() {
        bail!(why);
    }
    match Cli::parse().command {
        Command::Build { release, all, kubelet } => build(&release, all, kubelet),
        Command::Up { servers, nodes, release, audit } => {
            let release = release.map_or_else(|| Ok(Release::usual()), |stamp| Release::parse(&stamp))?;
            up(Settings { servers, nodes, release, audit, args: Vec::new() }).await
        }
    }
}

fn build(stamps: &[String], all: bool, kubelet: bool) -> Result<()> {
    let cache = Cache::open()?;
    let mut releases = match stamps {
        [] => vec![Release::usual(), Release::usual_before()],
        some => some.iter().map(|stamp| Release::parse(stamp)).collect::<Result<_, _>>()?,
    };
    if all {
        releases.push(Release::minor_before());
    }
    for release in releases {
        say(&format!("server {release}  {}", binaries::server(&cache, &release)?.display()))?;
        if kubelet {
            say(&format!("kubelet {release}  {}", binaries::kubelet(&cache, &release)?.display()))?;
        }
    }
    say(&format!("kwok  {}", binaries::kwok(&cache)?.display()))
}

async fn up(settings: Settings) -> Result<()> {
    let cluster = Cluster::start(settings).await?;
    for server in cluster.servers() {
        say(&format!("{}  {}  {}", server.name(), server.release(), server.url()))?;
    }
    say(&format!("KUBECONFIG={}", cluster.kubeconfig().display()))?;
    say("It ends, and its files go, when this is interrupted.")?;
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = term.recv() => {}
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
