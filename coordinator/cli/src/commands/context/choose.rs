//! `drydock context use NAME`

use clap::Args;

use super::Ask;
use crate::{
    contexts::Contexts,
    error::{CliError, Exit},
};

#[derive(Debug, Args)]
pub(crate) struct UseArgs {
    /// A name of `drydock context list`
    name: String,
}

pub(super) fn run(args: &UseArgs, ask: &Ask) -> Result<Exit, CliError> {
    Contexts::of(&ask.global)?.choose(&args.name)?;
    ask.screen.note(&format!("Context {} is in use from now on.", args.name));
    Ok(Exit::Done)
}
