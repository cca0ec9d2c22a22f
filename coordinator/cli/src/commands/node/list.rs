//! `drydock node list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::fleet,
    screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let nodes = client::connect(&ask.global).await?.nodes().await?;
    ask.screen.show(&nodes, |nodes, canvas| fleet::nodes(nodes, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
