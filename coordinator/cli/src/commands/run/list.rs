//! `drydock run list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let runs = client::connect(&ask.global).await?.runs().await?;
    ask.screen.show(&runs, |runs, canvas| render::run::list(runs, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
