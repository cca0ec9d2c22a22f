//! kwok: the kubelets of all nodes, with nothing behind them.
//!
//! Nodes renew their leases and are Ready; pods are ready and end at once, or as `kwok/stages.yaml` says. It runs no
//! init containers and completes no Jobs, and one that is started again may manage nothing for half a minute.

use std::{fs, path::Path};

use crate::{
    Error, Result, binaries,
    cache::Cache,
    process::{self, Process},
};

/// What it does to nodes and pods, as its `--config` wants it.
pub const STAGES: &str = include_str!("../kwok/stages.yaml");
/// As a kubelet does by default.
const LEASE_SECONDS: u32 = 40;

/// A running kwok.
#[derive(Debug)]
pub struct Kwok {
    process: Process,
}

impl Kwok {
    /// Starts it for all nodes of the cluster of `kubeconfig`, there or yet to come; its files lie in `dir`.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(cache: &Cache, kubeconfig: &Path, dir: &Path) -> Result<Self> {
        let binary = binaries::kwok(cache)?;
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let stages = dir.join("stages.yaml");
        fs::write(&stages, STAGES).map_err(Error::io("write", &stages))?;
        let mut command = process::command(&binary, dir);
        command.arg("--kubeconfig").arg(kubeconfig).arg("--config").arg(&stages);
        command.arg("--manage-all-nodes=true").arg(format!("--node-lease-duration-seconds={LEASE_SECONDS}"));
        Ok(Self { process: Process::start("kwok", command, &dir.join("log"))? })
    }

    /// Its process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }
}
