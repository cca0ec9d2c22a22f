//! `drydock run rollback RUN`

use clap::Args;
use drydock_types::NodeName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    follow, render, status,
};

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The number of the run that is taken back: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// Only this node
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// Follow the new run until it ends
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: RollbackArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let view = match client.rollback(args.run, args.node.as_ref()).await {
        // The answer may have been lost behind an acceptance: it must not be asked for twice.
        Err(error) if error.status.is_some_and(status::may_pass) => {
            return Err(error.hint(
                "it may have been accepted all the same: look before you ask again:  drydock run list",
            ));
        }
        answer => answer?,
    };
    if args.wait {
        // The following prints JSON of its own.
        if !ask.screen.is_json() {
            ask.screen.show(&view, render::rollback::page)?;
        }
        return follow::follow(&client, view.number, ask.screen).await;
    }
    ask.screen.show(&view, render::rollback::page)?;
    Ok(Exit::Done)
}
