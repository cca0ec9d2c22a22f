//! The API of a Kubernetes cluster, asked through each of its endpoints.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use drydock_kubernetes::client::Client;
use drydock_types::{NodeKey, NodeName};

use super::{Askable, Asked, Places};
use crate::clusters::{ClusterError, Clusters};

/// What is asked: the server's own word on whether it can serve.
const READY: &str = "/readyz";

/// One endpoint's clients, connections and all, are the cluster's own.
#[derive(Debug)]
struct Endpoint {
    client: Arc<Client>,
    index: usize,
}

#[async_trait]
impl Askable for Endpoint {
    async fn answers(&self, within: Duration) -> bool {
        // A server that forbids the question has answered it; one that is overloaded, stopping or without its store has not.
        matches!(self.client.at(self.index, READY, within).await, Ok(answer) if answer.status < 500 && answer.status != 429)
    }
}

#[async_trait]
impl Places for Clusters {
    async fn control_plane(self: Arc<Self>, key: NodeKey, name: NodeName) -> Result<Asked, String> {
        let found = tokio::task::spawn_blocking(move || {
            let Some(binding) = self.binding(key)? else { return Ok(None) };
            let opened = self.open(&binding.cluster)?;
            Ok::<_, ClusterError>(Some((binding.cluster, opened.client)))
        });
        let found =
            found.await.map_err(|_| "the coordinator's log says why it could not be read".to_owned())?;
        let Some((cluster, client)) = found.map_err(|error| error.to_string())? else {
            return Err(format!("{name} is bound to no cluster: drydock node bind {name} CLUSTER"));
        };
        let names: Vec<String> = client.endpoints().map(ToString::to_string).collect();
        let part = |(index, name)| (name, Arc::new(Endpoint { client: Arc::clone(&client), index }) as _);
        Ok(Asked {
            what: format!("the API of {cluster}"),
            parts: names.into_iter().enumerate().map(part).collect(),
        })
    }
}
