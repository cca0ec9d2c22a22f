//! `drydock serve`: the coordinator. Settings come from flags, the environment and a file, in this order.

mod settings;
mod wiring;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use drydock_types::Millis;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// A TOML file with the settings below [default: CONFIG_DIR/coordinator.toml where it exists]
    #[arg(long, env = "DRYDOCK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store is [default: /var/lib/drydock for root, else $XDG_STATE_HOME/drydock]
    #[arg(long, env = "DRYDOCK_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where agents and operators are listened for [default: [::]:7440]
    #[arg(long, env = "DRYDOCK_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// How agents and operators reach this coordinator: stands in tokens [default: host name and port]
    #[arg(long, env = "DRYDOCK_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where /healthz is answered; nowhere when left out
    #[arg(long, env = "DRYDOCK_HTTP_LISTEN", value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// The key that seals secrets at rest; a systemd credential drydock-sealing-key goes before it
    #[arg(long, env = "DRYDOCK_SEALING_KEY_FILE", value_name = "FILE")]
    sealing_key_file: Option<PathBuf>,
    /// How long a node's certificate lives; renewed by itself long before [default: 14d]
    #[arg(long, env = "DRYDOCK_NODE_TTL", value_parser = Millis::parse, value_name = "TIME")]
    node_ttl: Option<Millis>,
    /// No more nodes than so many leave service within an hour, whatever runs ask for [default: no such limit]
    #[arg(long, env = "DRYDOCK_MOST_DISRUPTED_PER_HOUR", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    most_disrupted_per_hour: Option<u32>,
    /// The form of the log on stderr; how much of it: DRYDOCK_LOG_FILTER=info,drydock_coordinator=debug
    #[arg(long, env = "DRYDOCK_LOG", value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One object a line
    Json,
}

pub(crate) async fn run(args: ServeArgs, ask: &Ask) -> Result<Exit, CliError> {
    let settings = settings::resolve(args, ask.global.config_dir.clone())?;
    start_log(settings.log, ask.screen.color_stderr)?;
    wiring::serve(settings).await
}

/// The log goes to stderr: the journal puts the time on it, and a terminal has its own.
fn start_log(format: LogFormat, color: bool) -> Result<(), CliError> {
    let wanted = std::env::var("DRYDOCK_LOG_FILTER").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|why| {
        CliError::usage(format!("DRYDOCK_LOG_FILTER={wanted}: {why}")).hint("for example: info")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(color).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|why| CliError::failed(format!("starting the log: {why}")))
}
