//! `drydock check …`: looks at something as the checks of a run do.

mod cluster;
mod node;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// What fails in a Kubernetes cluster, by root cause and with its age; exit code 3 when something would stop a run
    Cluster(cluster::ClusterArgs),
    /// What is wrong with a node, as its agent, its peers and its cluster see it; exit code 3 when it would stop a change
    Node(node::NodeArgs),
}

impl CheckCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Cluster(args) => cluster::run(args, ask).await,
            Self::Node(args) => node::run(args, ask).await,
        }
    }
}
