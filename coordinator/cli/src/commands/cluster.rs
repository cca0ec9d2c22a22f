//! `drydock cluster …`: Kubernetes clusters that nodes of the fleet belong to.

mod add;
mod list;
mod remove;
mod test;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a cluster known, with what it is reached with; the coordinator seals that and shows it to nobody
    Add(add::AddArgs),
    /// Every cluster, and which machines are its Nodes
    List,
    /// Look at a cluster: endpoints, versions and their skew, credentials, which permission is missing for what
    Test(test::TestArgs),
    /// Forget a cluster with its credentials
    Remove(remove::RemoveArgs),
}

impl ClusterCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Add(args) => add::run(args, ask).await,
            Self::List => list::run(ask).await,
            Self::Test(args) => test::run(args, ask).await,
            Self::Remove(args) => remove::run(args, ask).await,
        }
    }
}
