//! `drydock check node NAME`

use clap::Args;
use drydock_types::NodeName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// A name of `drydock node list`
    #[arg(value_name = "NAME")]
    pub(crate) name: NodeName,
}

pub(super) async fn run(args: NodeArgs, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.check_node(args.name.to_string()).await?;
    ask.screen.show(&view, render::check_node::node)?;
    Ok(if view.stops() { Exit::Person } else { Exit::Done })
}
