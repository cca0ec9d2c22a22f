//! `drydock why [RUN]`

use clap::Args;
use drydock_core::view::RunStatus;
use tonic::Code;

use super::{Ask, run::newest};
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The run's number; the newest when left out
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: Option<u64>,
}

pub(crate) async fn run(args: WhyArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let view = match newest(&client, args.run).await {
        // Asked for none in particular, and there is none: that is an answer.
        Err(error) if args.run.is_none() && error.status == Some(Code::NotFound) => {
            if ask.screen.is_json() {
                ask.screen.json(&serde_json::Value::Null)?;
            } else {
                ask.screen.data("Nothing is waited for: there is no run yet.\nNext:  drydock plan FILE\n")?;
            }
            return Ok(Exit::Done);
        }
        other => other?,
    };
    ask.screen.show(&view, render::why::page)?;
    let mut last = view;
    // In the queue the whole answer is what the run at its head waits for. In JSON it is one document.
    while let Some(ahead) = last.queued_behind.filter(|_| last.status == RunStatus::Queued) {
        if ask.screen.is_json() || ahead >= last.number {
            break;
        }
        last = newest(&client, Some(ahead)).await?;
        ask.screen.show(&last, render::why::ahead)?;
    }
    Ok(if render::hold::asks(&last).is_some() { Exit::Person } else { Exit::Done })
}
