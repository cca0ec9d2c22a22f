//! `drydock run report [RUN]`

use clap::{Args, ValueEnum};

use super::{Ask, newest};
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run's number; the newest when left out
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: Option<u64>,
    /// In which form
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ReportFormat {
    /// For people, and for the upgrade log
    #[default]
    Markdown,
    /// The run's document as the coordinator has it
    Json,
}

pub(super) async fn run(args: ReportArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let view = newest(&client, args.run).await?;
    if args.format == ReportFormat::Json || ask.screen.is_json() {
        ask.screen.json(&view)?;
    } else {
        ask.screen.data(&render::report::markdown(&screen::clean(&view)?))?;
    }
    Ok(Exit::Done)
}
