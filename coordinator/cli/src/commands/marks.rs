//! `drydock marks …`: what Drydock has marked in a Kubernetes cluster. Spoken to with a kubeconfig, from this machine:
//! for where there is no coordinator, or none that answers.

mod list;
mod release;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use drydock_kubernetes::{client::Client, drain::ask::Fault, kubeconfig};

pub(crate) use self::release::ReleasedView;
use super::Ask;
use crate::{
    error::{CliError, Exit},
    screen,
};

#[derive(Debug, Subcommand)]
pub(crate) enum MarksCommand {
    /// Every Node with a mark of Drydock: whose, for which run, and what was before
    List(ClusterArgs),
    /// Take back what the mark of one Node says: the cordon where it was Drydock's, and the mark
    Release(release::ReleaseArgs),
}

impl MarksCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, ask).await,
            Self::Release(args) => release::run(args, ask).await,
        }
    }
}

/// Which cluster, and with what.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// A file as kubectl has it; read here, on this machine
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// A context of that file [default: its current one]
    #[arg(long = "kube-context", value_name = "CONTEXT")]
    context: Option<String>,
    /// An endpoint instead of the file's one; the next one is asked where one does not answer
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
}

impl ClusterArgs {
    fn client(&self, ask: &Ask) -> Result<Client, CliError> {
        let now_unix_s = i64::try_from(screen::now_unix_ms() / 1_000).unwrap_or(i64::MAX);
        let asked =
            kubeconfig::Asked { context: self.context.as_deref(), servers: &self.servers, now_unix_s };
        let taken = kubeconfig::read(&self.kubeconfig, &asked);
        let taken = taken.map_err(|why| CliError::usage(why.to_string()))?;
        for warning in &taken.warnings {
            ask.screen.note(&format!("warning: {warning}"));
        }
        Client::new(&taken.credentials).map_err(|why| CliError::usage(why.to_string()))
    }

    /// The flags as they are typed again.
    fn again(&self) -> String {
        let mut again = format!("--kubeconfig {}", self.kubeconfig.display());
        if let Some(context) = &self.context {
            again.push_str(&format!(" --kube-context {context}"));
        }
        for server in &self.servers {
            again.push_str(&format!(" --server {server}"));
        }
        again
    }
}

/// The cluster does not say.
fn unseen(fault: &Fault) -> CliError {
    CliError::failed(format!("the cluster does not say which Nodes are marked: {fault}")).hint(
        "name every server with --server https://HOST:6443, or use a kubeconfig that may get, list and patch nodes",
    )
}
