//! `drydock marks release NODE --kubeconfig FILE --yes`

use clap::Args;
use drydock_kubernetes::{
    drain::cordon::Released,
    marks::{self, NotReleased, Said},
};
use serde::{Deserialize, Serialize};

use super::{Ask, ClusterArgs, unseen};
use crate::{
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The Node, by the cluster's name for it
    #[arg(value_name = "NODE")]
    kube_node: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Do it; without this it is only shown
    #[arg(long)]
    yes: bool,
}

/// What was taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleasedView {
    /// The Node.
    pub(crate) kube_node: String,
    /// What its mark said.
    pub(crate) mark: Said,
    /// It takes new pods again.
    pub(crate) uncordoned: bool,
    /// What was done, in one line.
    pub(crate) what: String,
}

pub(super) async fn run(args: ReleaseArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = args.cluster.client(ask)?;
    let name = &args.kube_node;
    if !args.yes {
        let found = marks::one(&client, name).await.map_err(|fault| match fault.is_gone() {
            true => not_released(name, &NotReleased::NoNode),
            false => unseen(&fault),
        })?;
        let found = found.ok_or_else(|| not_released(name, &NotReleased::NoMark))?;
        let again = args.cluster.again();
        ask.screen.show(&found, |found, canvas| render::marks::before(found, &again, canvas))?;
        return Ok(Exit::Person);
    }
    let (mark, released) = marks::release(&client, name).await.map_err(|why| not_released(name, &why))?;
    let view = ReleasedView {
        kube_node: name.clone(),
        mark,
        uncordoned: released == Released::Uncordoned,
        what: match released {
            Released::Uncordoned => format!("the Node {name} is uncordoned, and its mark is off"),
            Released::LeftCordoned => {
                format!("the mark is off; the Node {name} stays cordoned, as it was before Drydock came")
            }
            _ => format!("somebody had uncordoned the Node {name}; the mark is off"),
        },
    };
    ask.screen.show(&view, |view, _| render::marks::released(view))?;
    Ok(Exit::Done)
}

fn not_released(name: &str, why: &NotReleased) -> CliError {
    let error = CliError::failed(format!("nothing was taken back of the Node {name}: {why}"));
    match why {
        NotReleased::NoNode | NotReleased::NoMark => error.hint("drydock marks list shows what is marked"),
        NotReleased::Hands(_) => error.hint("nothing is touched beside somebody else who is at work there"),
        NotReleased::Illegible(_) | NotReleased::Changed(_) | NotReleased::Faulted(_) => error,
    }
}
