//! `drydock run show [RUN] [--node NODE]`

use clap::Args;
use drydock_types::NodeName;

use super::{Ask, newest};
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's number; the newest when left out
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) run: Option<u64>,
    /// Only this node: what was done, what was seen, what went wrong
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeName>,
}

pub(super) async fn run(args: ShowArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let mut view = newest(&client, args.run).await?;
    let asks = render::hold::asks(&view).is_some();
    match &args.node {
        None => ask.screen.show(&view, render::run::page)?,
        Some(name) => {
            for wave in view.stages.iter_mut().flat_map(|stage| &mut stage.waves) {
                wave.nodes.retain(|node| node.node == *name);
            }
            if render::run::nodes(&view).next().is_none() {
                return Err(CliError::failed(format!("run {} has no node {name}", view.number))
                    .hint(format!("its nodes:  drydock run show {}", view.number)));
            }
            ask.screen.show(&view, |view, canvas| {
                // A node may stand in more than one stage.
                let mut page = render::Page::default();
                render::run::nodes(view)
                    .for_each(|node| page.append(render::node_of_run::page(view, node, canvas)));
                page
            })?;
        }
    }
    Ok(if asks { Exit::Person } else { Exit::Done })
}
