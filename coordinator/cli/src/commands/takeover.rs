//! `drydock takeover`

use clap::Args;
use drydock_core::view::TakeOverView;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct TakeOverArgs {
    /// Take over, on the evidence that names this as the highest epoch that an agent obeys
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    confirm: Option<u64>,
}

pub(crate) async fn run(args: TakeOverArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let view = client.take_over(args.confirm.unwrap_or(0)).await?;
    ask.screen.show(&view, render::fencing::page)?;
    Ok(match view {
        TakeOverView::Fenced(_) => Exit::Person,
        TakeOverView::Obeyed { .. } | TakeOverView::TakenOver(_) => Exit::Done,
    })
}
