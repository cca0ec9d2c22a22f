//! `drydock recipe …`: how components are upgraded. Needs no coordinator.

mod list;
mod show;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// The recipes in this build
    List,
    /// One recipe: what it takes, and its file
    Show(show::ShowArgs),
}

impl RecipeCommand {
    pub(crate) fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::List => list::run(ask),
            Self::Show(args) => show::run(&args, ask),
        }
    }
}
