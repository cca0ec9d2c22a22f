//! `drydock why [RUN|NODE]`

use std::str::FromStr;

use clap::Args;
use drydock_core::view::{RunLineView, RunStatus, RunView};
use drydock_types::{Invalid, NodeName};
use tonic::Code;

use super::{Ask, run::newest};
use crate::{
    client::{self, Client},
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// A run's number or a node's name; the newest open run when left out
    #[arg(value_name = "RUN|NODE")]
    what: Option<What>,
    /// A node whose name is a number
    #[arg(long, value_name = "NODE", conflicts_with = "what")]
    node: Option<NodeName>,
}

/// What is asked about. A number is a run, as everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Run(u64),
    Node(NodeName),
}

impl FromStr for What {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let run = || Invalid::new("run", text, "runs are numbered from 1");
        match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            true => text.parse().ok().filter(|number| *number > 0).map(Self::Run).ok_or_else(run),
            false => NodeName::parse(text).map(Self::Node),
        }
    }
}

pub(crate) async fn run(args: WhyArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    match (args.what, args.node) {
        (Some(What::Node(node)), _) | (None, Some(node)) => of_node(&client, node, ask).await,
        (Some(What::Run(number)), _) => of_run(&client, newest(&client, Some(number)).await?, &[], ask).await,
        (None, None) => of_all(&client, ask).await,
    }
}

async fn of_node(client: &Client, node: NodeName, ask: &Ask) -> Result<Exit, CliError> {
    let view = client.why_node(node.to_string()).await?;
    ask.screen.show(&view, render::why_node::page)?;
    let held_here = |hold: &drydock_core::view::HoldView| hold.node.as_ref() == Some(&view.node);
    let asks = view.runs.iter().any(|run| run.hold.as_ref().is_some_and(held_here));
    Ok(if asks { Exit::Person } else { Exit::Done })
}

/// The newest open run, and a line for each other one that is open; without any the newest.
async fn of_all(client: &Client, ask: &Ask) -> Result<Exit, CliError> {
    let open: Vec<RunLineView> =
        client.runs().await?.into_iter().filter(|run| !run.status.is_closed()).collect();
    let view = match newest(client, open.first().map(|run| run.number)).await {
        // Asked for none in particular, and there is none: that is an answer.
        Err(error) if open.is_empty() && error.status == Some(Code::NotFound) => {
            if ask.screen.is_json() {
                ask.screen.json(&serde_json::Value::Null)?;
            } else {
                ask.screen.data("Nothing is waited for: there is no run yet.\nNext:  drydock plan FILE\n")?;
            }
            return Ok(Exit::Done);
        }
        other => other?,
    };
    of_run(client, view, open.get(1..).unwrap_or_default(), ask).await
}

async fn of_run(client: &Client, view: RunView, others: &[RunLineView], ask: &Ask) -> Result<Exit, CliError> {
    ask.screen.show(&view, render::why::page)?;
    let mut last = view;
    // In the queue the whole answer is what the run at its head waits for. In JSON it is one document.
    let mut told = vec![last.number];
    while let Some(ahead) = last.queued_behind.filter(|_| last.status == RunStatus::Queued) {
        if ask.screen.is_json() || ahead >= last.number {
            break;
        }
        last = newest(client, Some(ahead)).await?;
        told.push(last.number);
        ask.screen.show(&last, render::why::ahead)?;
    }
    let others: Vec<RunLineView> = others.iter().filter(|run| !told.contains(&run.number)).cloned().collect();
    if !ask.screen.is_json() && !others.is_empty() {
        ask.screen.show(&others, |others, canvas| render::why::others(others, canvas))?;
    }
    let held = render::hold::asks(&last).is_some() || others.iter().any(|run| run.status == RunStatus::Held);
    Ok(if held { Exit::Person } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_run_and_anything_else_a_node() {
        assert_eq!("42".parse(), Ok(What::Run(42)));
        assert_eq!("ctl-3".parse(), Ok(What::Node(NodeName::parse("ctl-3").unwrap())));
        assert_eq!("42b".parse(), Ok(What::Node(NodeName::parse("42b").unwrap())));
        for bad in ["0", "", "99999999999999999999999", "../x"] {
            assert!(bad.parse::<What>().is_err(), "{bad}");
        }
    }
}
