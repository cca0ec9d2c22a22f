//! `drydock cluster add NAME --kubeconfig FILE`
//!
//! The kubeconfig is read and judged here, before anybody is asked; what goes to the coordinator is what one context
//! of it holds, and no file's name.

use std::path::PathBuf;

use clap::Args;
use drydock_kubernetes::kubeconfig;
use drydock_proto::operator::AddClusterRequest;
use drydock_types::ClusterName;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("credentials").required(true).args(["kubeconfig", "in_cluster"]))]
pub(crate) struct AddArgs {
    /// What it will be called
    #[arg(value_name = "NAME")]
    pub(crate) name: ClusterName,
    /// A file as kubectl has it; read here, on this machine
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of that file [default: its current one]
    #[arg(long = "kube-context", value_name = "CONTEXT", requires = "kubeconfig")]
    pub(crate) context: Option<String>,
    /// With the credentials of the pod that the coordinator runs in
    #[arg(long)]
    pub(crate) in_cluster: bool,
    /// An endpoint instead of the file's one; name each server, the preferred one first
    #[arg(long = "server", value_name = "URL")]
    pub(crate) servers: Vec<String>,
    /// Give a cluster that is known new credentials and endpoints; its nodes stay bound to it
    #[arg(long)]
    pub(crate) replace: bool,
}

pub(super) async fn run(args: AddArgs, ask: &Ask) -> Result<Exit, CliError> {
    let request = request(&args, ask)?;
    let view = client::connect(&ask.global).await?.add_cluster(request).await?;
    ask.screen.show(&view, |view, _| render::cluster::added(view))?;
    Ok(Exit::Done)
}

fn request(args: &AddArgs, ask: &Ask) -> Result<AddClusterRequest, CliError> {
    let mut request = AddClusterRequest {
        name: args.name.to_string(),
        context: String::new(),
        credentials: Vec::new(),
        in_cluster: args.in_cluster,
        servers: args.servers.clone(),
        replace: args.replace,
    };
    let Some(path) = &args.kubeconfig else {
        // A mistyped URL is this command line's: said before the coordinator is asked.
        kubeconfig::endpoints(&args.servers).map_err(|why| CliError::usage(why.to_string()))?;
        return Ok(request);
    };
    let now_unix_s = i64::try_from(screen::now_unix_ms() / 1_000).unwrap_or(i64::MAX);
    let asked = kubeconfig::Asked { context: args.context.as_deref(), servers: &args.servers, now_unix_s };
    let taken = kubeconfig::read(path, &asked).map_err(|why| CliError::usage(why.to_string()))?;
    for warning in &taken.warnings {
        ask.screen.note(&format!("warning: {warning}"));
    }
    request.credentials = serde_json::to_vec(&taken.credentials)
        .map_err(|why| CliError::failed(format!("writing the credentials for the coordinator: {why}")))?;
    request.context = taken.context;
    Ok(request)
}
