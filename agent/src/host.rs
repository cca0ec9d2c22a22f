//! What actions and probes work with: this node, as far as its policy lets them.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

use crate::{artifacts::ArtifactStore, policy::Policy, remote::Remote, sys::units::Units};

/// Shared by every action and probe of one agent.
#[derive(Debug)]
pub struct Host {
    /// What this node allows.
    pub policy: Arc<Policy>,
    /// systemd, or the demo's supervisor.
    pub units: Units,
    /// Fetched and verified artifacts.
    pub artifacts: ArtifactStore,
    /// Unary calls to the coordinator, while there is a connection.
    pub remote: Remote,
    /// Where the agent keeps its state (`/var/lib/drydock-agent`).
    pub state_dir: PathBuf,
    /// Whether the agent's own end is part of the work.
    pub ending: Ending,
}

/// Said by an action that has this agent stopped: whoever stops it then must not wait for the section's end.
#[derive(Debug, Clone)]
pub struct Ending(watch::Sender<bool>);

impl Default for Ending {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Ending {
    /// From now on being stopped is expected.
    pub fn expect(&self) {
        self.0.send_replace(true);
    }

    /// Not any more: what was armed is over.
    pub fn over(&self) {
        self.0.send_replace(false);
    }

    /// Returns once it is.
    pub async fn expected(&self) {
        let mut heard = self.0.subscribe();
        // The sender is this very value: it cannot be gone.
        let _ = heard.wait_for(|expected| *expected).await;
    }
}
