//! Ends a witness on SIGTERM or SIGINT.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A receiver that turns true once the process was asked to end. Call it before any work starts:
/// a signal that comes earlier kills the process.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn requested() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listening any more means that the work has already ended.
        let _ = sender.send(true);
    });
    Ok(receiver)
}

/// Waits until the receiver turns true.
pub async fn wait(stop: &mut watch::Receiver<bool>) {
    // A closed channel can only mean that the signal task is gone: treat it as a stop.
    let _ = stop.wait_for(|stopped| *stopped).await;
}
