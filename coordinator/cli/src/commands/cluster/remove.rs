//! `drydock cluster remove NAME`

use clap::Args;
use drydock_types::ClusterName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// A name of `drydock cluster list`
    #[arg(value_name = "NAME")]
    pub(crate) name: ClusterName,
}

pub(super) async fn run(args: RemoveArgs, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.remove_cluster(args.name.to_string()).await?;
    if ask.screen.is_json() {
        ask.screen.json(&view)?;
    }
    ask.screen.note(&format!("The cluster {} and its credentials are forgotten.", args.name));
    Ok(Exit::Done)
}
