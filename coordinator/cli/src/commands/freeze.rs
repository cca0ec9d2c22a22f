//! `drydock freeze --why TEXT`, `drydock thaw`

use clap::Args;
use drydock_proto::operator::FreezeFleetRequest;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    /// Why: every waiting run shows it
    #[arg(long, value_name = "TEXT")]
    why: String,
}

pub(crate) async fn freeze(args: FreezeArgs, ask: &Ask) -> Result<Exit, CliError> {
    ordered(FreezeFleetRequest { freeze: true, why: args.why }, ask).await
}

pub(crate) async fn thaw(ask: &Ask) -> Result<Exit, CliError> {
    ordered(FreezeFleetRequest { freeze: false, why: String::new() }, ask).await
}

async fn ordered(request: FreezeFleetRequest, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.freeze(request).await?;
    ask.screen.show(&view, |view, canvas| render::standing::fleet(view, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
