//! `drydock audit …`: is the record what was written?

mod export;
mod lines;
mod verify;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Judge the record: its chain, what the agents keep of it, and who signed its outcomes
    Verify(verify::VerifyArgs),
    /// Seal a run into a file that can be verified years later, without a coordinator
    Export(export::ExportArgs),
}

impl AuditCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Verify(args) => verify::run(args, ask).await,
            Self::Export(args) => export::run(args, ask).await,
        }
    }
}
