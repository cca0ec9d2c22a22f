//! `drydock completions SHELL`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Ask;
use crate::{
    cli::Cli,
    error::{CliError, Exit},
};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, ask: &Ask) -> Result<Exit, CliError> {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "drydock", &mut script);
    ask.screen.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
