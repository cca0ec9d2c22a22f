//! `drydock token list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::fleet,
    screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let tokens = client::connect(&ask.global).await?.tokens().await?;
    ask.screen.show(&tokens, |tokens, canvas| fleet::tokens(tokens, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
