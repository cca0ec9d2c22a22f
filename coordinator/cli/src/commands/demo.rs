//! `drydock demo`

use clap::Args;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

pub(crate) async fn run(_args: DemoArgs, _ask: &Ask) -> Result<Exit, CliError> {
    Err(CliError::failed("drydock demo is not in this build").hint("from a checkout:  cargo demo"))
}
