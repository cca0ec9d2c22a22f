//! `drydock node …`: the machines of the fleet.

mod bind;
mod label;
mod list;
mod show;
mod stand;

use clap::Subcommand;
use drydock_proto::operator::stand_node_request::Verb;

use super::Ask;
use crate::error::{CliError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Every node: is its agent there, what runs on it
    List(list::ListArgs),
    /// One node, whole
    Show(show::ShowArgs),
    /// Set labels (key=value) and remove them (key-)
    Label(label::LabelArgs),
    /// Say which Node of which Kubernetes cluster a machine is
    Bind(bind::BindArgs),
    /// Take a node out of every count, and keep runs from it
    SetAside(stand::WithReasonArgs),
    /// End what stands on record about a node: set aside, quarantined versions, doubts
    Release(stand::ReleaseArgs),
    /// Take a node out of the fleet for good: its identity is revoked at once
    Retire(stand::WithReasonArgs),
}

impl NodeCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::List(args) => list::run(args, ask).await,
            Self::Show(args) => show::run(args, ask).await,
            Self::Label(args) => label::run(args, ask).await,
            Self::Bind(args) => bind::run(args, ask).await,
            Self::SetAside(args) => stand::with_reason(args, Verb::SetAside, ask).await,
            Self::Release(args) => stand::release(args, ask).await,
            Self::Retire(args) => stand::with_reason(args, Verb::Retire, ask).await,
        }
    }
}
