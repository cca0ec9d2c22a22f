//! The Kubernetes clusters that the coordinator knows, and what it reaches them with.
//!
//! Credentials come from an operator's machine, are judged again here, and are sealed for this one cluster before they
//! are written. They are opened when a cluster is first spoken to, are in no view, no log and no error, and go to no
//! agent. A cluster's client is made once and kept: its connections and what it knows of its endpoints are worth it.
//!
//! | module | what lives there |
//! |---|---|
//! | [`view`] | what operators see |

#[cfg(test)]
mod tests;
pub mod view;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drydock_kubernetes::{
    client::{Client, ClientError},
    drain::OwnPod,
    health::{
        self,
        observe::{READYZ, Readyz},
    },
    kubeconfig::{Authority, Credentials, KubeconfigError, User, expiry, in_cluster, own_pod},
    survey,
};
use drydock_types::{ClusterName, NodeKey, NodeName};

pub use crate::store::registry::{BindingRow, ClusterRow};
use crate::{
    store::{
        StoreError,
        registry::{Refusal, Registry, RegistryError},
    },
    trust::{SealError, SealingKey},
};

/// More endpoints than a cluster has servers help nobody.
const MOST_ENDPOINTS: usize = 16;
/// The largest credentials, in bytes of their JSON: a chain of certificates, a bundle of CAs.
pub const MOST_CREDENTIALS_BYTES: usize = 256 << 10;
/// How long one endpoint may take to say whether it is ready.
const READY_WITHIN: Duration = Duration::from_secs(3);
/// The longest name of a Node: that of a DNS subdomain.
const MOST_NODE_NAME: usize = 253;

/// Why something was not done about a cluster. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealing key.
    #[error("the credentials of the cluster {name} cannot be opened: {why}")]
    Sealed {
        /// Which.
        name: ClusterName,
        /// Why.
        why: SealError,
    },
    /// What was given is not what it should be.
    #[error("the credentials for the cluster {name} are not taken: {why}")]
    Bad {
        /// For which.
        name: ClusterName,
        /// Why, without any of them.
        why: String,
    },
    /// Not in a pod, or a bad URL.
    #[error(transparent)]
    InCluster(#[from] KubeconfigError),
    /// Not a Node's name.
    #[error("{0:?} is not a Node's name: 1 to 253 of a-z, 0-9, '-' and '.'; `kubectl get nodes` lists them")]
    NotANode(String),
}

impl From<RegistryError> for ClusterError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Store(error),
            RegistryError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// A cluster that is to be known from now on.
#[derive(Debug, Clone)]
pub struct Adding {
    /// As operators will call it.
    pub name: ClusterName,
    /// Of the kubeconfig; empty for the coordinator's own pod.
    pub context: String,
    /// What it is reached with.
    pub credentials: Credentials,
    /// Also where there is one of this name.
    pub replace: bool,
    /// Who adds it.
    pub by: String,
}

/// A cluster's client with what it was made from.
#[derive(Debug, Clone)]
pub struct Opened {
    /// To speak to it.
    pub client: Arc<Client>,
    credentials: Arc<Credentials>,
}

/// The clusters. Methods that name the store block: call them from `spawn_blocking`.
pub struct Clusters {
    registry: Registry,
    sealing: SealingKey,
    open: Mutex<BTreeMap<ClusterName, Opened>>,
    /// The pod that this process runs in, where it runs in one: for as long as it lives.
    runs_in: Option<OwnPod>,
}

impl fmt::Debug for Clusters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Clusters").field("open", &self.lock().keys()).finish_non_exhaustive()
    }
}

impl Clusters {
    /// Those that the store knows.
    #[must_use]
    pub fn new(registry: Registry, sealing: SealingKey) -> Self {
        let runs_in = own_pod(|name| std::env::var(name).ok());
        Self { registry, sealing, open: Mutex::default(), runs_in }
    }

    /// The pod that this coordinator runs in, in whichever cluster.
    #[must_use]
    pub const fn runs_in(&self) -> Option<&OwnPod> {
        self.runs_in.as_ref()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClusterName, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads credentials as they came over the wire. Files are never named from afar: whoever could would have the
    /// coordinator read any file of its machine and send it to a server of his choice.
    ///
    /// # Errors
    /// When they are none, or name files of this machine.
    pub fn credentials(name: &ClusterName, json: &[u8]) -> Result<Credentials, ClusterError> {
        let bad = |why: &str| ClusterError::Bad { name: name.clone(), why: why.to_owned() };
        if json.len() > MOST_CREDENTIALS_BYTES {
            return Err(bad(&format!("they have more than {MOST_CREDENTIALS_BYTES} bytes")));
        }
        // Not the reader's own words: they may quote a key.
        let read: Credentials = serde_json::from_slice(json).map_err(|_| {
            bad("they are not of this version's form: use a drydock of the coordinator's version")
        })?;
        if matches!(read.user, User::TokenFile(_)) || matches!(read.authority, Authority::File(_)) {
            return Err(bad("they name files on the coordinator's machine"));
        }
        Ok(read)
    }

    /// The credentials of the pod that this coordinator runs in.
    ///
    /// # Errors
    /// When it runs in none.
    pub fn own_pod(servers: &[String]) -> Result<Credentials, ClusterError> {
        Ok(in_cluster(|name| std::env::var(name).ok(), servers)?)
    }

    /// Adds a cluster; connects to nothing.
    ///
    /// # Errors
    /// When there is one of this name, the credentials cannot be used, or the store says no.
    pub fn add(&self, adding: Adding, now_unix_ms: u64) -> Result<view::ClusterView, ClusterError> {
        let Adding { name, context, credentials, replace, by } = adding;
        let bad = |why: String| ClusterError::Bad { name: name.clone(), why };
        if credentials.endpoints.len() > MOST_ENDPOINTS {
            return Err(bad(format!("{MOST_ENDPOINTS} endpoints are the most")));
        }
        let opened = Self::led_to(&name, credentials)?;
        let json = serde_json::to_vec(&*opened.credentials).map_err(|why| bad(why.to_string()))?;
        let sealed = self.sealing.seal(&purpose(&name), &json);
        let sealed = sealed.map_err(|why| ClusterError::Sealed { name: name.clone(), why })?;
        let row = ClusterRow {
            context,
            endpoints: opened.credentials.endpoints.iter().map(ToString::to_string).collect(),
            sealed,
            valid_until_unix_s: expiry::of(&opened.credentials).map(|validity| validity.until_unix_s),
            added_by: by,
            added_unix_ms: now_unix_ms,
            name,
        };
        // One at a time, so that the client that is kept is that of the row that stayed.
        let mut clients = self.lock();
        self.registry.put_cluster(&row, replace)?;
        clients.insert(row.name.clone(), opened);
        drop(clients);
        self.view(row)
    }

    /// Every cluster.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<view::ClusterView>, ClusterError> {
        let bindings = self.registry.bindings()?;
        Ok(self.registry.clusters()?.into_iter().map(|row| view::of(row, &bindings)).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name, or the store cannot be read.
    pub fn show(&self, name: &ClusterName) -> Result<view::ClusterView, ClusterError> {
        self.view(self.row(name)?)
    }

    /// Forgets a cluster with its credentials.
    ///
    /// # Errors
    /// When there is none of this name, nodes are bound to it, or the store says no.
    pub fn remove(&self, name: &ClusterName) -> Result<(), ClusterError> {
        let mut clients = self.lock();
        self.registry.remove_cluster(name)?;
        clients.remove(name);
        Ok(())
    }

    /// What a cluster is spoken to with. Made at the first call, and anew after it was added again.
    ///
    /// # Errors
    /// When there is none of this name, or its credentials cannot be opened or used.
    pub fn open(&self, name: &ClusterName) -> Result<Opened, ClusterError> {
        let mut clients = self.lock();
        if let Some(opened) = clients.get(name) {
            return Ok(opened.clone());
        }
        let row = self.row(name)?;
        let json = self.sealing.open(&purpose(name), &row.sealed);
        let json = json.map_err(|why| ClusterError::Sealed { name: name.clone(), why })?;
        let bad = |why: &dyn fmt::Display| ClusterError::Bad { name: name.clone(), why: why.to_string() };
        let credentials: Credentials = serde_json::from_slice(&json).map_err(|_| {
            bad(&"they were sealed by another version of Drydock: add the cluster again with --replace")
        })?;
        let opened = open(credentials).map_err(|error| bad(&error))?;
        clients.insert(name.clone(), opened.clone());
        Ok(opened)
    }

    /// Which Node of which cluster a machine is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn binding(&self, key: NodeKey) -> Result<Option<BindingRow>, ClusterError> {
        Ok(self.registry.binding(key)?)
    }

    /// Which Node of which cluster a machine is, with the way to it; for whoever may not wait for the disk.
    ///
    /// # Errors
    /// When it is bound to none, or its cluster cannot be spoken to; with what to do about it.
    pub async fn opened_for(
        self: Arc<Self>,
        key: NodeKey,
        name: &NodeName,
    ) -> Result<(BindingRow, Opened), String> {
        let found = tokio::task::spawn_blocking(move || {
            let Some(binding) = self.binding(key)? else { return Ok(None) };
            let opened = self.open(&binding.cluster)?;
            Ok::<_, ClusterError>(Some((binding, opened)))
        });
        let found =
            found.await.map_err(|_| "the coordinator's log says why it could not be read".to_owned())?;
        found.map_err(|error| error.to_string())?.ok_or_else(|| {
            format!("it is not known which Node of which cluster {name} is: drydock node bind {name} CLUSTER")
        })
    }

    /// Says which Node of which cluster a machine is. Nothing is proven here: whether it is so is seen at each look that is
    /// to drain it, and by each check that asks the cluster for it, by both machine ids.
    ///
    /// # Errors
    /// When there is no such cluster, another machine is that Node, it is no Node's name, or the store says no.
    pub fn bind(&self, row: &BindingRow) -> Result<(), ClusterError> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let name = &row.kube_node;
        if name.is_empty() || name.len() > MOST_NODE_NAME || !name.chars().all(fine) {
            return Err(ClusterError::NotANode(name.chars().take(80).collect()));
        }
        Ok(self.registry.bind_node(row)?)
    }

    /// Ends what was said of a machine. `false`: nothing was.
    ///
    /// # Errors
    /// When the store says no.
    pub fn unbind(&self, key: NodeKey) -> Result<bool, ClusterError> {
        Ok(self.registry.unbind_node(key)?)
    }

    /// Of which cluster each machine is a Node.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn bound(&self) -> Result<BTreeMap<NodeName, ClusterName>, ClusterError> {
        Ok(self.registry.bindings()?.into_iter().map(|row| (row.node, row.cluster)).collect())
    }

    /// Which machines are Nodes of a cluster: their names, and those of their Nodes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn nodes_of(&self, name: &ClusterName) -> Result<BTreeMap<NodeName, String>, ClusterError> {
        Ok(self.bindings_of(name)?.into_iter().map(|row| (row.node, row.kube_node)).collect())
    }

    /// The same, with their keys and who said so.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn bindings_of(&self, name: &ClusterName) -> Result<Vec<BindingRow>, ClusterError> {
        Ok(self.registry.bindings()?.into_iter().filter(|row| &row.cluster == name).collect())
    }

    /// A cluster as it is kept, for [`Clusters::restore`]; none where there is none of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn kept(&self, name: &ClusterName) -> Result<Option<ClusterRow>, ClusterError> {
        Ok(self.registry.cluster(name)?)
    }

    /// Has a cluster be again what it was before it was added anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restore(&self, row: &ClusterRow) -> Result<(), ClusterError> {
        let mut clients = self.lock();
        self.registry.put_cluster(row, true)?;
        clients.remove(&row.name);
        Ok(())
    }

    /// What credentials lead to, before they are kept; connects to nothing yet.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn led_to(name: &ClusterName, credentials: Credentials) -> Result<Opened, ClusterError> {
        open(credentials).map_err(|error| ClusterError::Bad { name: name.clone(), why: error.to_string() })
    }

    fn row(&self, name: &ClusterName) -> Result<ClusterRow, ClusterError> {
        self.registry.cluster(name)?.ok_or_else(|| Refusal::UnknownCluster(name.clone()).into())
    }

    fn view(&self, row: ClusterRow) -> Result<view::ClusterView, ClusterError> {
        Ok(view::of(row, &self.registry.bindings()?))
    }
}

impl Opened {
    /// Looks at the cluster; changes nothing there.
    pub async fn survey(&self, now_unix_s: i64) -> survey::Survey {
        survey::survey(&self.client, &self.credentials, now_unix_s).await
    }

    /// What fails on one Node of the cluster; changes nothing there.
    pub async fn failing_on(&self, kube_node: &str, now_unix_s: i64) -> Vec<health::Problem> {
        let seen = health::observe(&*self.client, Vec::new(), &[], now_unix_s).await;
        let whole = health::judge(&seen, now_unix_s).into_iter();
        let here = whole.filter_map(|mut problem| {
            // Without members it is something that could not be seen, or the whole cluster's.
            let all = problem.members.is_empty();
            problem.members.retain(|member| member.node == kube_node || member.name == kube_node);
            (all || !problem.members.is_empty()).then_some(problem)
        });
        here.collect()
    }

    /// What fails in the cluster; changes nothing there. Every endpoint is asked how it is.
    pub async fn check(&self, cluster: ClusterName, now_unix_s: i64) -> view::ClusterCheckView {
        let said = self.client.each(READYZ, READY_WITHIN).await.into_iter().map(|(endpoint, said)| Readyz {
            endpoint: endpoint.to_string(),
            said: said.map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned())),
        });
        let seen = health::observe(&*self.client, said.collect(), &[], now_unix_s).await;
        view::checked(cluster, &seen, now_unix_s)
    }
}

fn open(credentials: Credentials) -> Result<Opened, ClientError> {
    let client = Arc::new(Client::new(&credentials)?);
    Ok(Opened { client, credentials: Arc::new(credentials) })
}

/// Sealed for one cluster, credentials do not open as another's.
fn purpose(name: &ClusterName) -> String {
    format!("kubernetes cluster {name}")
}
