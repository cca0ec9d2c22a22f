//! Where a cluster of one server keeps its state: chosen by what K3s is told, as K3s itself chooses.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::network::SOON;
use crate::cache::Cache;
use crate::guard::ChildGuard;
use crate::net::HOST_ADDRESS;
use crate::wait::until;
use crate::{Lab, etcd_binary, exec};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// One of K3s's datastores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Datastore {
    /// A database in a file of the server's own, through kine: K3s's choice where it is told nothing.
    Sqlite,
    /// A member of etcd inside of the server.
    Etcd,
    /// etcd apart from K3s and from Drydock: here a process on the lab's own address, without TLS.
    External,
}

impl Datastore {
    /// What the first server is told, beside `server`.
    pub(super) fn words(self) -> Vec<String> {
        match self {
            Self::Sqlite => Vec::new(),
            Self::Etcd => vec!["--cluster-init".into()],
            Self::External => vec![format!("--datastore-endpoint=http://{HOST_ADDRESS}:{CLIENT_PORT}")],
        }
    }

    /// What must run before the first server does.
    pub(super) fn start(self, lab: &Lab) -> Result<Option<ChildGuard>> {
        if self != Self::External {
            return Ok(None);
        }
        let binary = etcd_binary::debian_35(&Cache::open()?)?;
        let (client, peer) =
            (format!("http://{HOST_ADDRESS}:{CLIENT_PORT}"), format!("http://{HOST_ADDRESS}:{PEER_PORT}"));
        let mut command = exec::command(binary.path);
        command.arg("--data-dir").arg(lab.dir().join("datastore"));
        command.args(["--name", "datastore", "--initial-cluster", &format!("datastore={peer}")]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        let store = lab.spawn_in_netns("datastore", &command)?;
        until(
            "the external datastore to serve",
            SOON,
            Duration::from_millis(50),
            || Ok(store.printed()?.contains("ready to serve client requests").then_some(())),
            || exec::last_lines(store.printed().unwrap_or_default().as_bytes()),
        )?;
        Ok(Some(store))
    }
}
