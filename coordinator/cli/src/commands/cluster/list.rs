//! `drydock cluster list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let clusters = client::connect(&ask.global).await?.clusters().await?;
    ask.screen
        .show(&clusters, |clusters, canvas| render::cluster::list(clusters, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
