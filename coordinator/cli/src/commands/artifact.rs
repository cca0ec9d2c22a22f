//! `drydock artifact …`: signed binaries.

mod add;
mod keygen;
mod list;
mod sign;

use clap::Subcommand;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// Make a key pair that signs artifacts
    Keygen(keygen::KeygenArgs),
    /// Sign a binary: what it is stands in the signature
    Sign(sign::SignArgs),
    /// Upload a signed binary (a run does that by itself)
    Add(add::AddArgs),
    /// The binaries that the coordinator has
    List,
}

impl ArtifactCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Keygen(args) => keygen::run(&args, ask),
            Self::Sign(args) => sign::run(&args, ask),
            Self::Add(args) => add::run(args, ask).await,
            Self::List => list::run(ask).await,
        }
    }
}

/// Asks for a password on the terminal; it is not shown.
fn ask_password(prompt: &str) -> Result<String, CliError> {
    rpassword::prompt_password(prompt).map_err(|why| {
        CliError::usage(format!("a password is needed and there is no terminal to ask on: {why}"))
            .hint("a key without a password:  drydock artifact keygen --no-password")
    })
}
