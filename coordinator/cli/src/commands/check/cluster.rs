//! `drydock check cluster NAME`

use clap::Args;
use drydock_types::ClusterName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// A name of `drydock cluster list`
    #[arg(value_name = "NAME")]
    pub(crate) name: ClusterName,
}

pub(super) async fn run(args: ClusterArgs, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.check_cluster(args.name.to_string()).await?;
    ask.screen.show(&view, render::check::cluster)?;
    Ok(if view.stops() { Exit::Person } else { Exit::Done })
}
