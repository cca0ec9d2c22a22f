//! `drydock context …`: which coordinator is spoken to.

mod choose;
mod list;
mod show;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Every context, and which one is in use
    List,
    /// Use this one from now on
    Use(choose::UseArgs),
    /// One context: its coordinator, and who you are there
    Show(show::ShowArgs),
}

impl ContextCommand {
    pub(crate) fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::List => list::run(ask),
            Self::Use(args) => choose::run(&args, ask),
            Self::Show(args) => show::run(&args, ask),
        }
    }
}
