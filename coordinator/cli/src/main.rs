//! `drydock`: the operator's command line, and the coordinator (`drydock serve`).
//!
//! | module | what lives there |
//! |---|---|
//! | [`cli`] | what may be typed |
//! | [`commands`] | one file a command |
//! | [`contexts`], [`client`], [`status`] | the way to the coordinator, and what its errors mean |
//! | [`files`] | plan files and recipes |
//! | [`follow`], [`view`], [`upload`] | what takes long, and is shown while it does |
//! | [`render`] | from a view to text; pure |
//! | [`screen`], [`text`] | what is printed where; nothing hostile reaches the terminal |
//! | [`signing`], [`local_file`] | keys and signatures; the files that are written |
//! | [`error`] | errors and exit codes |

mod cli;
mod client;
mod commands;
mod contexts;
mod error;
mod files;
mod follow;
mod local_file;
mod render;
mod screen;
mod signing;
mod status;
mod text;
mod upload;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    error::CliError,
    screen::Screen,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new(cli.global.output, cli.global.color);
    let ended = runtime(&cli.command).and_then(|runtime| runtime.block_on(commands::run(cli, screen)));
    let exit = ended.unwrap_or_else(|error| {
        screen.draw_stderr(&error.to_text(screen.color_stderr));
        error.exit
    });
    ExitCode::from(exit.code())
}

/// The coordinator uses every processor; a command needs one.
fn runtime(command: &Command) -> Result<tokio::runtime::Runtime, CliError> {
    let mut builder = match command {
        Command::Serve(_) | Command::Demo(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let built = builder.enable_all().build();
    built.map_err(|why| CliError::failed(format!("starting: {why}")))
}
