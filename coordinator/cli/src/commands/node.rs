//! `drydock node …`: the machines of the fleet.

mod label;
mod list;
mod show;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Every node: is its agent there, what runs on it
    List,
    /// One node, whole
    Show(show::ShowArgs),
    /// Set labels (key=value) and remove them (key-)
    Label(label::LabelArgs),
}

impl NodeCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::List => list::run(ask).await,
            Self::Show(args) => show::run(args, ask).await,
            Self::Label(args) => label::run(args, ask).await,
        }
    }
}
