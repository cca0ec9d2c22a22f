//! From our settings to `drydock_coordinator::serve`. Only this file knows its form.

use drydock_coordinator::serve::{self, ServeError, Started};
use tokio::signal::unix::{SignalKind, signal};

use super::settings::Settings;
use crate::error::{CliError, Exit};

/// Serves until SIGTERM or Ctrl-C.
pub(super) async fn serve(settings: Settings) -> Result<Exit, CliError> {
    let handler = |kind| signal(kind).map_err(|why| CliError::failed(format!("handling signals: {why}")));
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("told to stop");
    };
    let settings = serve::Settings {
        state_dir: settings.state_dir,
        config_dir: settings.config_dir,
        listen: settings.listen,
        advertise: settings.advertise,
        health_listen: settings.http_listen,
        sealing_key_file: settings.sealing_key_file,
        node_ttl: settings.node_ttl,
        most_disrupted_per_hour: settings.most_disrupted_per_hour,
    };
    serve::run(settings, stop, started).await.map_err(|error| to_error(&error))?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

fn started(started: &Started) {
    let Started { address, health, admin_context, sealing_key, fleet, epoch } = started;
    tracing::info!(%address, ?health, %fleet, epoch, sealing_key, "serving");
    if let Some(context) = admin_context {
        tracing::info!(context = %context.display(), "first start: an operator was made; try: drydock node list");
    }
}

fn to_error(error: &ServeError) -> CliError {
    let said = CliError::failed(format!("the coordinator: {error}"));
    match error {
        ServeError::Listen { .. } => {
            said.hint("is another coordinator running here? Else say --listen ADDRESS")
        }
        ServeError::Directory { .. } => {
            said.hint("say --state-dir DIR, or run it as a user who may write there")
        }
        ServeError::Advertise(_) => CliError::usage(error.to_string()),
        ServeError::Store(_)
        | ServeError::Ca(_)
        | ServeError::Seal(_)
        | ServeError::Context(_)
        | ServeError::OtherFleet { .. }
        | ServeError::Files(_)
        | ServeError::Server(_)
        | ServeError::Disk(_)
        | ServeError::Driver(_) => said,
    }
}
