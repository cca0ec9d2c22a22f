//! `drydock node set-aside|release|retire NODE`

use std::str::FromStr;

use clap::Args;
use drydock_proto::operator::{StandNodeRequest, stand_node_request::Verb};
use drydock_types::{ComponentName, Invalid, NodeName, Version};

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
    /// Of two machines with one identity, the one that is the node: the beginning of its machine id, which you choose
    #[arg(long, value_name = "ID")]
    machine: Option<String>,
    /// Any machine with its key is the node again: ends what was said with --machine
    #[arg(long, conflicts_with = "machine")]
    any_machine: bool,
    /// It may be worked on again, and counts again
    #[arg(long)]
    aside: bool,
    /// A version that failed on it may be put there again; can be given several times
    #[arg(long, value_name = "COMPONENT@VERSION")]
    quarantine: Vec<Quarantined>,
    /// It is well, whatever a run left in doubt; of one component with --doubt=COMPONENT
    #[arg(long, value_name = "COMPONENT", num_args = 0..=1, require_equals = true)]
    doubt: Option<Option<ComponentName>>,
    /// What a run has marked for it (a cordon) was taken back by hand
    #[arg(long)]
    marks: bool,
    /// Everything that stands on record about it; of two machines with ids of their own, together with --machine ID
    #[arg(long, conflicts_with_all = ["aside", "quarantine", "doubt", "marks"])]
    all: bool,
}

/// A version of a component: `etcd@3.5.16`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantined {
    component: ComponentName,
    version: Version,
}

impl FromStr for Quarantined {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let form = || Invalid::new("version of a component", text, "it is COMPONENT@VERSION, as etcd@3.5.16");
        let (component, version) = text.split_once('@').ok_or_else(form)?;
        Ok(Self { component: ComponentName::parse(component)?, version: Version::parse(version)? })
    }
}

pub(super) async fn with_reason(args: WithReasonArgs, verb: Verb, ask: &Ask) -> Result<Exit, CliError> {
    let request = StandNodeRequest {
        node_name: args.node.to_string(),
        verb: verb.into(),
        why: args.why,
        ..StandNodeRequest::default()
    };
    let view = client::connect(&ask.global).await?.stand_node(request).await?;
    ask.screen.show(&view, |view, canvas| render::standing::page(view, verb, canvas))?;
    Ok(Exit::Done)
}

pub(super) async fn release(args: ReleaseArgs, ask: &Ask) -> Result<Exit, CliError> {
    let request = StandNodeRequest {
        node_name: args.node.to_string(),
        verb: Verb::Release.into(),
        machine: args.machine.unwrap_or_default(),
        any_machine: args.any_machine,
        all: args.all,
        aside: args.aside,
        marks: args.marks,
        doubt: args.doubt.is_some(),
        doubt_component: args.doubt.flatten().map(|component| component.to_string()).unwrap_or_default(),
        quarantine: args.quarantine.iter().map(|bad| format!("{}@{}", bad.component, bad.version)).collect(),
        ..StandNodeRequest::default()
    };
    let view = client::connect(&ask.global).await?.stand_node(request).await?;
    ask.screen.show(&view, |view, canvas| render::standing::page(view, Verb::Release, canvas))?;
    Ok(Exit::Done)
}
