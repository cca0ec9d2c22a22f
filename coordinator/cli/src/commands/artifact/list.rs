//! `drydock artifact list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::fleet,
    screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let artifacts = client::connect(&ask.global).await?.artifacts().await?;
    ask.screen.show(&artifacts, |list, canvas| fleet::artifacts(list, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
