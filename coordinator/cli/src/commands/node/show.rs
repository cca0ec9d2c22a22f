//! `drydock node show NODE`

use clap::Args;
use drydock_core::view::NodeShownView;
use drydock_types::NodeName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::{fleet, hypervisor},
    screen,
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its name
    #[arg(value_name = "NODE")]
    node: NodeName,
}

pub(super) async fn run(args: ShowArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let node = client.node(args.node.to_string()).await?;
    // Of a silent one there is nothing to ask.
    let live = match node.connected {
        true => Some(client.node_live(args.node.to_string()).await?),
        false => None,
    };
    ask.screen.show(&NodeShownView { node, live }, |shown, canvas| {
        let mut page = fleet::node(&shown.node, screen::now_unix_ms(), canvas);
        hypervisor::live(shown.live.as_ref(), &mut page, canvas);
        page
    })?;
    Ok(Exit::Done)
}
