//! `drydock recipe list`

use super::Ask;
use crate::{
    error::{CliError, Exit},
    files, render,
};

pub(super) fn run(ask: &Ask) -> Result<Exit, CliError> {
    ask.screen.show(&files::recipes(), |recipes, canvas| render::recipe::list(recipes, canvas))?;
    Ok(Exit::Done)
}
