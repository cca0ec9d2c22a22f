//! `drydock token …`: one-time tokens with which nodes join.

mod create;
mod hosts;
mod list;
mod revoke;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a node, or for every node of a file; prints the command to type on the node
    Create(create::CreateArgs),
    /// Every token, without its secret
    List,
    /// Make a token worthless
    Revoke(revoke::RevokeArgs),
}

impl TokenCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Create(args) => create::run(args, ask).await,
            Self::List => list::run(ask).await,
            Self::Revoke(args) => revoke::run(args, ask).await,
        }
    }
}
