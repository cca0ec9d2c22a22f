//! `drydock node list`

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::fleet,
    screen,
};

pub(super) async fn run(ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let (nodes, whole) = (client.nodes().await?, client.fleet().await?);
    ask.screen.show(&nodes, |nodes, canvas| {
        fleet::nodes(nodes, whole.frozen.as_ref(), screen::now_unix_ms(), canvas)
    })?;
    Ok(Exit::Done)
}
