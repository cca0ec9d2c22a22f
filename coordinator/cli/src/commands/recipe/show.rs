//! `drydock recipe show RECIPE`

use clap::Args;

use super::Ask;
use crate::{
    error::{CliError, Exit},
    files, render,
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A name of `drydock recipe list`, or a file: ./my-recipe.yaml
    #[arg(value_name = "RECIPE")]
    recipe: String,
}

pub(super) fn run(args: &ShowArgs, ask: &Ask) -> Result<Exit, CliError> {
    ask.screen.show(&files::recipe(&args.recipe)?, render::recipe::page)?;
    Ok(Exit::Done)
}
