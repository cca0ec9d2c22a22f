//! A cluster: its servers, the nodes that kwok plays, and its end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Admin, Error, Result,
    binaries::{self, Release},
    cache::Cache,
    kwok::Kwok,
    objects,
    place::Place,
    server::{Server, Setup},
};

/// Of anything that a healthy cluster does by itself, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);
/// Beside that, of kwok for each node.
const EACH_NODE: Duration = Duration::from_millis(500);
const NODES: &str = "/api/v1/nodes";
const DEFAULT_ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many servers, each with a member of etcd.
    pub servers: usize,
    /// How many nodes, `node-1` and so on; all Ready when the cluster is there.
    pub nodes: usize,
    /// What the servers are, and what the nodes' kubelets say.
    pub release: Release,
    /// Keep a line for each request: [`Server::audit_log`].
    pub audit: bool,
    /// Further flags of every server.
    pub args: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { servers: 1, nodes: 3, release: Release::usual(), audit: false, args: Vec::new() }
    }
}

/// A running cluster. When it is dropped its processes are killed and its files removed, but for the logs of one that a
/// failed test had; the kernel kills them when this process ends otherwise.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they go: kwok, the servers, then what they wrote.
    kwok: Option<Kwok>,
    servers: Vec<Server>,
    admin: Admin,
    cache: Cache,
    release: Release,
    place: TempDir,
}

impl Cluster {
    /// Builds what is not built yet and starts everything: when this returns, the API answers, pods can be made and
    /// every node is Ready.
    ///
    /// # Errors
    /// When something cannot be built, does not start, or is not ready in time.
    pub async fn start(settings: Settings) -> Result<Self> {
        let cache = Cache::open()?;
        let place = tempfile::Builder::new().prefix("drydock-cluster-").tempdir();
        let place = place.map_err(Error::io("create", "a directory for a cluster"))?;
        binaries::server(&cache, &settings.release)?; // Not in the time that a server has to become ready.
        binaries::kwok(&cache)?;
        let mut servers = lay_out(&cache, place.path(), &settings)?;
        start_together(&mut servers)?;
        let first = servers.first().ok_or_else(|| Error::Unfit("a cluster of no servers".into()))?;
        let admin = first.admin()?;
        // Made by the controller-manager; without it no pod is admitted.
        admin
            .until("the service account of the namespace default", DEFAULT_ACCOUNTS, SOON, |all| {
                all.iter().any(|one| objects::name(one) == "default").then_some(())
            })
            .await?;
        let mut cluster = Self { kwok: None, servers, admin, cache, release: settings.release, place };
        cluster.start_kwok()?;
        let names: Vec<String> = (1..=settings.nodes).map(|number| format!("node-{number}")).collect();
        cluster.add_nodes(&names).await?;
        Ok(cluster)
    }

    /// Its servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Its servers, to stop and start.
    pub fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// A kubeconfig with all rights, at the first server.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.servers.first().map(Server::kubeconfig).unwrap_or_default()
    }

    /// The URLs of all API servers.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// A client with all rights, at the first server.
    #[must_use]
    pub const fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Where its files are: each server's beside its log, kwok's, and what the servers share in `pki`.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Adds nodes and waits until they are Ready.
    ///
    /// # Errors
    /// When one cannot be created or does not become Ready.
    pub async fn add_nodes(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.admin.create(NODES, &objects::node(name, self.release.as_str())).await?;
        }
        let ready = |all: &[Value]| all.iter().filter(|node| objects::is(node, "Ready")).count();
        let all_ready = |all: &[Value]| {
            let named: Vec<Value> = all
                .iter()
                .filter(|node| names.iter().any(|name| name == objects::name(node)))
                .cloned()
                .collect();
            (ready(&named) == names.len()).then_some(())
        };
        let many = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let within = SOON + EACH_NODE.saturating_mul(many);
        self.admin.until(&format!("{many} nodes to be Ready"), NODES, within, all_ready).await
    }

    /// Ends kwok: nothing happens to pods any more, and no lease is renewed.
    pub fn stop_kwok(&mut self) {
        self.kwok = None;
    }

    /// Starts it again. One that had run before may manage nothing for half a minute.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_kwok(&mut self) -> Result<()> {
        self.kwok = None;
        self.kwok = Some(Kwok::start(&self.cache, &self.kubeconfig(), &self.place.path().join("kwok"))?);
        Ok(())
    }

    /// kwok, while it runs.
    #[must_use]
    pub const fn kwok(&self) -> Option<&Kwok> {
        self.kwok.as_ref()
    }
}

/// After a test that failed, what its servers and kwok said stays; their data does not.
impl Drop for Cluster {
    #[expect(
        clippy::print_stderr,
        reason = "whoever reads why a test failed needs to know where the logs are"
    )]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.kwok = None;
        for server in self.servers.drain(..) {
            let data = self.place.path().join(server.name()).join("etcd");
            drop(server);
            // A little more than need be is left, at the worst.
            drop(std::fs::remove_dir_all(data));
        }
        self.place.disable_cleanup(true);
        eprintln!("what the cluster's servers said is in {}", self.place.path().display());
    }
}

fn lay_out(cache: &Cache, place: &Path, settings: &Settings) -> Result<Vec<Server>> {
    let places: Vec<Place> = (0..settings.servers).map(|_| Place::free()).collect::<Result<_>>()?;
    let named = |index: usize| format!("server-{}", index + 1);
    let members: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(index, place)| format!("{}=https://{}:{}", named(index), place.address, place.peer))
        .collect();
    let members = members.join(",");
    let one = |(index, at): (usize, &Place)| {
        let state = place.join(named(index));
        let mut args = settings.args.clone();
        if settings.audit {
            args.push(format!("-audit-log={}", state.join("audit.log").display()));
        }
        let setup = Setup {
            cache: cache.clone(),
            name: named(index),
            place: *at,
            members: members.clone(),
            elects: settings.servers > 1,
            pki: place.join("pki"),
            state,
            args,
        };
        Server::new(setup, settings.release.clone())
    };
    Ok(places.iter().enumerate().map(one).collect())
}

/// Members of etcd wait for one another, so no server is ready before a majority has been started.
fn start_together(servers: &mut [Server]) -> Result<()> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = servers.iter_mut().map(|server| scope.spawn(|| server.start())).collect();
        starting.into_iter().try_for_each(|one| {
            one.join().unwrap_or_else(|_| Err(Error::Unfit("the start of a server panicked".into())))
        })
    })
}
