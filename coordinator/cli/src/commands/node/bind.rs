//! `drydock node bind NODE CLUSTER [KUBE_NODE]`

use clap::Args;
use drydock_proto::operator::BindNodeRequest;
use drydock_types::{ClusterName, NodeName};

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["cluster", "none"]))]
pub(crate) struct BindArgs {
    /// A machine of `drydock node list`
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeName,
    /// A name of `drydock cluster list`
    #[arg(value_name = "CLUSTER")]
    pub(crate) cluster: Option<ClusterName>,
    /// What the cluster calls the machine: a name of `kubectl get nodes` [default: NODE]
    #[arg(value_name = "KUBE_NODE", requires = "cluster")]
    pub(crate) kube_node: Option<String>,
    /// The machine is no cluster's Node any more
    #[arg(long)]
    pub(crate) none: bool,
}

pub(super) async fn run(args: BindArgs, ask: &Ask) -> Result<Exit, CliError> {
    let request = BindNodeRequest {
        node_name: args.node.to_string(),
        cluster: args.cluster.map(|name| name.to_string()).unwrap_or_default(),
        kube_node: args.kube_node.unwrap_or_default(),
    };
    let view = client::connect(&ask.global).await?.bind_node(request).await?;
    ask.screen.show(&view, |view, _| render::cluster::bound(view))?;
    Ok(Exit::Done)
}
