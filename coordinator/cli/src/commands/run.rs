//! `drydock run …`: carry plans out, and follow them.

mod amend;
mod control;
mod force;
mod list;
mod report;
mod rollback;
mod show;
mod start;
mod watch;

use clap::Subcommand;
use drydock_core::view::RunView;
use drydock_proto::operator::control_run_request::Verb;

use super::Ask;
use crate::{
    client::Client,
    error::{CliError, Exit},
};

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Start a plan; on a terminal follow it
    Start(start::StartArgs),
    /// Every run, newest first
    List,
    /// One run as it stands, or one node of it
    Show(show::ShowArgs),
    /// Follow a run until it ends; closing the view does not stop it
    Watch(watch::WatchArgs),
    /// What was planned and what came of it
    Report(report::ReportArgs),
    /// Hand nothing further out; what is handed out ends by itself
    Pause(control::ControlArgs),
    /// Go on after a pause or a hold
    Resume(control::ControlArgs),
    /// End it: no further node begins, the one at work is brought to an end
    Abort(control::ControlArgs),
    /// Take a run back by a new one: last out first, one at a time, from what the nodes recorded
    Rollback(rollback::RollbackArgs),
    /// Let a wave begin that waits for an approval
    Approve(amend::ApproveArgs),
    /// Change what the plan allows to be changed: a soak, a concurrency, the window
    Amend(amend::AmendArgs),
    /// Leave a node out that nothing was changed on
    Skip(amend::SkipArgs),
    /// Give a node longer before the run holds at it
    Extend(amend::ExtendArgs),
    /// Show which pods keep a node from leaving service; with --yes, have exactly those deleted
    Force(force::ForceArgs),
}

impl RunCommand {
    pub(crate) async fn run(self, ask: &Ask) -> Result<Exit, CliError> {
        match self {
            Self::Start(args) => start::run(args, ask).await,
            Self::List => list::run(ask).await,
            Self::Show(args) => show::run(args, ask).await,
            Self::Watch(args) => watch::run(args, ask).await,
            Self::Report(args) => report::run(args, ask).await,
            Self::Pause(args) => control::run(args, Verb::Pause, ask).await,
            Self::Resume(args) => control::run(args, Verb::Resume, ask).await,
            Self::Abort(args) => control::run(args, Verb::Abort, ask).await,
            Self::Rollback(args) => rollback::run(args, ask).await,
            Self::Approve(args) => amend::approve(args, ask).await,
            Self::Amend(args) => amend::amend(args, ask).await,
            Self::Skip(args) => amend::skip(args, ask).await,
            Self::Extend(args) => amend::extend(args, ask).await,
            Self::Force(args) => force::run(args, ask).await,
        }
    }
}

/// The run of this number, or the newest.
pub(super) async fn newest(client: &Client, run: Option<u64>) -> Result<RunView, CliError> {
    client.run(run.unwrap_or(0)).await
}
