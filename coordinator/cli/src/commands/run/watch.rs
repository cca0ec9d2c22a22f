//! `drydock run watch [RUN]`

use clap::Args;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    follow,
};

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The run's number; the newest when left out
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: Option<u64>,
}

pub(super) async fn run(args: WatchArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    follow::follow(&client, args.run.unwrap_or(0), ask.screen).await
}
