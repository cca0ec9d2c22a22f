//! `drydock node list`

use clap::Args;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render::{fleet, versions},
    screen,
};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Ask every agent what runs on its node, and mark the odd ones
    #[arg(long)]
    versions: bool,
}

pub(super) async fn run(args: ListArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    if args.versions {
        ask.screen.show(&client.node_versions().await?, |nodes, canvas| versions::versions(nodes, canvas))?;
        return Ok(Exit::Done);
    }
    let (nodes, whole) = (client.nodes().await?, client.fleet().await?);
    ask.screen.show(&nodes, |nodes, canvas| {
        fleet::nodes(nodes, whole.frozen.as_ref(), screen::now_unix_ms(), canvas)
    })?;
    Ok(Exit::Done)
}
