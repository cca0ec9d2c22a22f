//! The gRPC services: who is calling comes from the certificate, what is said is checked, and then it is
//! the driver's, the registry's or the file stores' to do.

pub mod agents;
mod anchors;
mod approvers;
pub mod attach;
mod audit;
mod check_node;
pub(crate) mod clusters;
pub mod enroll;
pub mod fenced;
mod node_live;
pub mod operators;
mod people;
pub(crate) mod planning;
mod takeover;
mod uploads;
mod versions;
mod views;

use std::sync::Arc;

use drydock_proto::tls::Address;
use tonic::Status;

use crate::{
    artifacts::Artifacts,
    backups::Backups,
    clusters::Clusters,
    driver::shell::{DriverGone, DriverHandle},
    fencing::Fencing,
    link::Sessions,
    moves::Carrier,
    quota::Quotas,
    store::{StoreError, registry::Registry, sqlite::SqliteStore},
    trust::{Ca, Trust},
};

/// What all services share.
#[derive(Debug)]
pub struct App {
    /// The single writer.
    pub driver: DriverHandle<SqliteStore>,
    /// The agents' streams.
    pub sessions: Sessions,
    /// Who carries moves out.
    pub carrier: Arc<dyn Carrier>,
    /// Whom agents obey, when it is not this coordinator.
    pub fencing: Arc<Fencing>,
    /// Nodes, tokens, indexes.
    pub registry: Registry,
    /// Artifacts.
    pub artifacts: Artifacts,
    /// Backups.
    pub backups: Backups,
    /// Kubernetes clusters.
    pub clusters: Arc<Clusters>,
    /// The authority.
    pub ca: Arc<Ca>,
    /// What callers are judged by.
    pub trust: Arc<Trust>,
    /// How agents and operators reach this coordinator; written into tokens.
    pub advertise: Address,
    /// How long a node's certificate lives, in seconds.
    pub node_ttl_s: i64,
    /// What each node has left.
    pub quotas: Quotas,
    /// Held while the registry is read and the driver told: of two at once, the older reading must not come
    /// last. A node that the driver does not know counts neither as in service nor as silent.
    pub publishing: tokio::sync::Mutex<()>,
    /// Becomes true when the coordinator stops: followers are sent away.
    pub stopping: tokio::sync::watch::Sender<bool>,
}

impl App {
    /// Tells the driver who is registered.
    ///
    /// # Errors
    /// When the registry cannot be read or the driver is gone.
    pub async fn publish_nodes(self: &Arc<Self>) -> Result<(), Status> {
        let _turn = self.publishing.lock().await;
        let nodes = views::fleet_nodes(&self.blocking(|app| app.registry.nodes()).await?);
        self.driver.tell_surely(crate::driver::Input::Registered { nodes }).await.map_err(gone)
    }

    /// Runs something that waits for the disk beside the services.
    pub(crate) async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status> {
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&app).map_err(|error| error.to_string())).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(why)) => Err(Status::internal(why)),
            Err(_) => Err(Status::internal("the coordinator failed in this request; its log says where")),
        }
    }
}

/// The driver cannot take it.
pub(crate) fn gone(error: DriverGone) -> Status {
    match error {
        DriverGone::Busy => Status::resource_exhausted(error.to_string()),
        DriverGone::Stopped => Status::unavailable(error.to_string()),
    }
}

/// The store failed under a request.
pub(crate) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(%error, "a request failed in the store");
    Status::internal(format!("{error}"))
}
