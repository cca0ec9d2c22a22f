//! `drydock node set-aside|release|retire NODE`

use clap::Args;
use drydock_proto::operator::{StandNodeRequest, stand_node_request::Verb};
use drydock_types::NodeName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct WithReasonArgs {
    /// Its name
    #[arg(value_name = "NODE")]
    node: NodeName,
    /// Why: it stands in the record, and others read it
    #[arg(long, value_name = "TEXT")]
    why: String,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// Its name
    #[arg(value_name = "NODE")]
    node: NodeName,
    /// Of two machines with one identity, the one that is the node: the beginning of its machine id
    #[arg(long, value_name = "ID")]
    machine: Option<String>,
}

pub(super) async fn with_reason(args: WithReasonArgs, verb: Verb, ask: &Ask) -> Result<Exit, CliError> {
    let request = StandNodeRequest {
        node_name: args.node.to_string(),
        verb: verb.into(),
        why: args.why,
        machine: String::new(),
    };
    let view = client::connect(&ask.global).await?.stand_node(request).await?;
    ask.screen.show(&view, |view, canvas| render::standing::page(view, verb, canvas))?;
    Ok(Exit::Done)
}

pub(super) async fn release(args: ReleaseArgs, ask: &Ask) -> Result<Exit, CliError> {
    let request = StandNodeRequest {
        node_name: args.node.to_string(),
        verb: Verb::Release.into(),
        why: String::new(),
        machine: args.machine.unwrap_or_default(),
    };
    let view = client::connect(&ask.global).await?.stand_node(request).await?;
    ask.screen.show(&view, |view, canvas| render::standing::page(view, Verb::Release, canvas))?;
    Ok(Exit::Done)
}
