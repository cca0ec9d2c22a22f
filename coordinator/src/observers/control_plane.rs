//! The API of a Kubernetes cluster, asked through each of its endpoints.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use drydock_kubernetes::client::Client;
use drydock_types::{NodeKey, NodeName};

use super::{Askable, Asked, Places};
use crate::clusters::{Clusters, Opened};

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
        let (binding, Opened { client, .. }) = self.opened_for(key, &name).await?;
        let names: Vec<String> = client.endpoints().map(ToString::to_string).collect();
        let part = |(index, name)| (name, Arc::new(Endpoint { client: Arc::clone(&client), index }) as _);
        Ok(Asked {
            what: format!("the API of {}", binding.cluster),
            parts: names.into_iter().enumerate().map(part).collect(),
        })
    }
}
