//! What actions and probes work with: this node, as far as its policy lets them.

use std::{path::PathBuf, sync::Arc};

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
}
