//! `drydock cluster test NAME`

use clap::Args;
use drydock_types::ClusterName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// A name of `drydock cluster list`
    #[arg(value_name = "NAME")]
    pub(crate) name: ClusterName,
}

pub(super) async fn run(args: TestArgs, ask: &Ask) -> Result<Exit, CliError> {
    let view = client::connect(&ask.global).await?.test_cluster(args.name.to_string()).await?;
    ask.screen.show(&view, |view, canvas| render::cluster::test(view, screen::now_unix_ms(), canvas))?;
    Ok(if view.survey.findings.is_empty() { Exit::Done } else { Exit::Person })
}
