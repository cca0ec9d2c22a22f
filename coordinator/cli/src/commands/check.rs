//! `drydock check …`: looks at something as the checks of a run do.

mod cluster;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// What fails in a Kubernetes cluster, by root cause and with its age; exit code 3 when something would stop a run
    Cluster(cluster::ClusterArgs),
}

impl CheckCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Cluster(args) => cluster::run(args, ask).await,
        }
    }
}
