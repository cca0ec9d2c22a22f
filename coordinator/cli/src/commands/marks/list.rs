//! `drydock marks list --kubeconfig FILE`

use drydock_kubernetes::marks;

use super::{Ask, ClusterArgs, unseen};
use crate::{
    error::{CliError, Exit},
    render,
};

pub(super) async fn run(args: ClusterArgs, ask: &Ask) -> Result<Exit, CliError> {
    let marks = marks::list(&args.client(ask)?).await.map_err(|fault| unseen(&fault))?;
    let again = args.again();
    ask.screen.show(&marks, |marks, canvas| render::marks::list(marks, &again, canvas))?;
    Ok(Exit::Done)
}
