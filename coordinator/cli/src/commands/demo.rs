//! `drydock demo`: the whole thing on this machine, with nothing installed.
//!
//! A coordinator and its agents as processes of their own: mTLS, enrolment, journals, signed artifacts,
//! everything real but systemd, in whose place the agents' supervisor runs a small HTTP service. A client
//! that retries nothing uses that service all the while.

mod client;
mod fleet;
mod place;
pub(crate) mod service;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use drydock_types::Version;

use super::Ask;
use crate::{
    error::{CliError, Exit},
    render::time,
};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The agent's binary [default: drydock-agent beside this program]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// How many nodes: 1 to 9
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Leave the demo's directory (logs, journals, store) and say where it is
    #[arg(long)]
    keep: bool,
}

/// What runs at first.
const FROM: &str = "1.0.0";
/// What the demo upgrades to.
const TO: &str = "1.1.0";
/// How long the client goes on before and after the run, to have seen both versions.
const AROUND: Duration = Duration::from_millis(700);

pub(crate) async fn run(args: DemoArgs, ask: &Ask) -> Result<Exit, CliError> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        ended = show(args, ask) => ended,
        _ = interrupted => Err(CliError::failed("interrupted; what the demo had started is ended")),
    }
}

async fn show(args: DemoArgs, ask: &Ask) -> Result<Exit, CliError> {
    let place = place::Place::make(args.keep)?;
    let say = |text: &str| ask.screen.note(text);
    say(&format!("In {}; nothing outside of it is touched.", place.dir().display()));
    let (from, to) = (version(FROM)?, version(TO)?);
    let mut fleet = fleet::Fleet::new(&place, args.agent, ask.screen.color)?;
    fleet.start_coordinator().await?;
    say("A coordinator is up: its CA is made, you are its admin.");
    let artifact = fleet.sign_artifact(&to).await?;
    for number in 1..=args.nodes {
        fleet.start_node(number, &from).await?;
    }
    let nodes = time::count(usize::from(args.nodes), "agent", "agents");
    say(&format!("{nodes} enrolled with one-time tokens, each running web {from} on a port of its own."));
    let plan = fleet.write_plan(&artifact, &to)?;
    let client = client::Client::start(fleet.services(), &place.dir().join("client.log"))?;
    tokio::time::sleep(AROUND).await;

    fleet.show(&["plan", &plan]).await?;
    let upgraded = fleet.show(&["run", "start", &plan, "--wait"]).await;
    tokio::time::sleep(AROUND).await;
    let seen = client.finish().await?;
    upgraded?;
    fleet.show(&["run", "report"]).await?;
    ask.screen.show(&seen, client::page)?;
    fleet.stop().await;
    if args.keep {
        say(&format!("Kept: {}", place.dir().display()));
    }
    seen.verdict(&to)
}

fn version(text: &str) -> Result<Version, CliError> {
    Version::parse(text).map_err(|why| CliError::failed(why.to_string()))
}
