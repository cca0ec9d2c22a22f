//! `drydock plan FILE`

use std::path::PathBuf;

use clap::Args;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    files, render, text,
};

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The plan
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(args: PlanArgs, ask: &Ask) -> Result<Exit, CliError> {
    let compiled = files::compile(&args.file)?;
    let view = client::connect(&ask.global).await?.plan(compiled.bundle).await?;
    let file = text::clean(&args.file.to_string_lossy()).into_owned();
    ask.screen.show(&view, |view, canvas| render::plan::page(view, &file, canvas))?;
    Ok(if view.blockers.is_empty() { Exit::Done } else { Exit::Person })
}
