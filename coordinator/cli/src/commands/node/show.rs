//! `drydock node show NODE`

use clap::Args;
use drydock_types::NodeName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::fleet,
    screen,
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its name
    #[arg(value_name = "NODE")]
    node: NodeName,
}

pub(super) async fn run(args: ShowArgs, ask: &Ask) -> Result<Exit, CliError> {
    let node = client::connect(&ask.global).await?.node(args.node.to_string()).await?;
    ask.screen.show(&node, |node, canvas| fleet::node(node, screen::now_unix_ms(), canvas))?;
    Ok(Exit::Done)
}
