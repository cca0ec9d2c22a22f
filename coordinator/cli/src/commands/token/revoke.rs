//! `drydock token revoke ID`

use clap::Args;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
};

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// An id of `drydock token list`
    id: String,
}

pub(super) async fn run(args: RevokeArgs, ask: &Ask) -> Result<Exit, CliError> {
    client::connect(&ask.global).await?.revoke_token(args.id.clone()).await?;
    ask.screen.note(&format!("Token {} is worthless from now on.", args.id));
    Ok(Exit::Done)
}
