//! `drydock rehearse FILE`

use std::path::PathBuf;

use clap::Args;
use drydock_core::view::{RehearsalStep, RehearsalView};

use super::Ask;
use crate::{
    client::{self, Client},
    error::{CliError, Exit},
    files, render,
    screen::Screen,
    text,
};

#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// The plan
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(args: RehearseArgs, ask: &Ask) -> Result<Exit, CliError> {
    let compiled = files::compile(&args.file)?;
    let client = client::connect(&ask.global).await?;
    let view = follow(&client, compiled.bundle, ask.screen).await?;
    let file = text::clean(&args.file.to_string_lossy()).into_owned();
    ask.screen.show(&view, |view, canvas| render::rehearsal::page(view, &file, canvas))?;
    Ok(if view.blockers.is_empty() { Exit::Done } else { Exit::Person })
}

/// Until it is over: a bar on a terminal, a line for every tenth of it elsewhere.
async fn follow(client: &Client, bundle: Vec<u8>, screen: Screen) -> Result<RehearsalView, CliError> {
    let mut steps = client.rehearse(bundle).await?;
    let mut said = 0;
    loop {
        match steps.next().await? {
            Some(RehearsalStep::Rehearsed(view)) => {
                if screen.terminal_stderr {
                    screen.draw_stderr("\r\x1b[K");
                }
                return Ok(*view);
            }
            Some(RehearsalStep::Looked { node, done, total }) if screen.terminal_stderr => {
                let node = text::clean(node.as_str()).into_owned();
                let line = render::rehearsal::progress(&node, done, total);
                let line = line.clip(screen.size().0 - 1).to_text(screen.color_stderr);
                screen.draw_stderr(&format!("\r{line}\x1b[K"));
            }
            Some(RehearsalStep::Looked { done, total, .. }) => {
                let tenth = (done * 10).checked_div(total).unwrap_or(10);
                if tenth > said {
                    said = tenth;
                    screen.note(&format!("looked at {done} of {total} nodes"));
                }
            }
            None => {
                let what = "the coordinator ended the rehearsal before it was over";
                return Err(CliError::failed(what).hint("rehearse again; nothing has been changed"));
            }
        }
    }
}
