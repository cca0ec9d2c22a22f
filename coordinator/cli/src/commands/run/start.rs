//! `drydock run start FILE`

use std::path::PathBuf;

use clap::Args;
use drydock_coordinator::files::LocalArtifact;
use drydock_core::view::StartedView;
use tonic::Code;

use super::Ask;
use crate::{
    client::{self, Client},
    error::{CliError, Exit},
    files, follow, render, status, upload,
};

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The plan
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Fail (exit code 1) instead of queueing behind another run
    #[arg(long)]
    no_wait: bool,
    /// Follow until it ends, without a terminal too
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Return as soon as it is accepted, on a terminal too
    #[arg(long)]
    detach: bool,
}

pub(super) async fn run(args: StartArgs, ask: &Ask) -> Result<Exit, CliError> {
    let compiled = files::compile(&args.file)?;
    let client = client::connect(&ask.global).await?;
    if blocked(&client, &compiled.bundle, ask).await? {
        return Ok(Exit::Person);
    }
    send_artifacts(&client, &compiled.artifacts, ask).await?;
    let Some(started) = start(&client, compiled.bundle, args.no_wait, ask).await? else {
        return Ok(Exit::Person);
    };
    // Where there is nothing to do it is over already: that is the whole answer.
    let over = render::plan::nothing_to_do(&started.plan) && started.queued_behind.is_none();
    if follows(args.wait, args.detach, ask.screen.terminal) && !over {
        // With a frame to come the number stands in it; in a file it is the first line.
        if !ask.screen.is_json() {
            ask.screen.show(&started, page)?;
        }
        return follow::follow(&client, started.number, ask.screen).await;
    }
    ask.screen.show(&started, page)?;
    Ok(Exit::Done)
}

/// What should be known of its rehearsal, then that it was started.
fn page(view: &StartedView, canvas: render::Canvas) -> render::Page {
    let mut page = render::rehearsal::since(view, canvas);
    page.append(render::run::started_page(view));
    page
}

/// On a terminal a start is followed unless that is not wanted; elsewhere only when it is.
const fn follows(wait: bool, detach: bool, terminal: bool) -> bool {
    wait || (terminal && !detach)
}

/// Prints what stops the plan, where something does.
async fn blocked(client: &Client, bundle: &[u8], ask: &Ask) -> Result<bool, CliError> {
    let plan = client.plan(bundle.to_vec()).await?;
    if plan.blockers.is_empty() {
        return Ok(false);
    }
    ask.screen.show(&plan, render::plan::blockers)?;
    Ok(true)
}

/// Sends what the coordinator does not have yet.
async fn send_artifacts(client: &Client, artifacts: &[LocalArtifact], ask: &Ask) -> Result<(), CliError> {
    if artifacts.is_empty() {
        return Ok(());
    }
    let mut there: Vec<_> = client.artifacts().await?.into_iter().map(|artifact| artifact.sha256).collect();
    for local in artifacts {
        if there.contains(&local.artifact.sha256) {
            continue;
        }
        upload::upload(client, &local.path, &local.artifact, ask.screen).await?;
        ask.screen.note(&format!("uploaded {} {}", local.label.component, local.label.version));
        there.push(local.artifact.sha256);
    }
    Ok(())
}

/// Starts it. `None`: what stops it came up meanwhile, and has been printed.
async fn start(
    client: &Client,
    bundle: Vec<u8>,
    no_wait: bool,
    ask: &Ask,
) -> Result<Option<StartedView>, CliError> {
    match client.start_run(bundle.clone(), no_wait).await {
        Ok(started) => Ok(Some(started)),
        // Another run, or a blocker that was not there a moment ago? The plan tells.
        Err(error) if error.status == Some(Code::FailedPrecondition) => {
            match blocked(client, &bundle, ask).await {
                Ok(true) => Ok(None),
                Ok(false) | Err(_) => Err(error),
            }
        }
        // The answer may have been lost behind an acceptance: it must not be started twice.
        Err(error) if error.status.is_some_and(status::may_pass) => Err(error.hint(
            "it may have been accepted all the same: look before you start it again:  drydock run list",
        )),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_followed_on_a_terminal_and_where_it_is_asked_for() {
        assert!(follows(false, false, true));
        assert!(follows(true, false, false));
        assert!(!follows(false, false, false));
        assert!(!follows(false, true, true));
    }
}
