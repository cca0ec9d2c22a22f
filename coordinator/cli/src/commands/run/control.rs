//! `drydock run pause|resume|abort RUN`

use clap::Args;
use drydock_proto::operator::control_run_request::Verb;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
}

pub(super) async fn run(args: ControlArgs, verb: Verb, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.control(args.run, verb).await?;
    ask.screen.show(&view, render::run::control)?;
    Ok(Exit::Done)
}
