use std::time::Duration;

use drydock_types::{Epoch, FleetId, NodeName, RunId, Verdict};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    drain::{
        Order, Word, Words,
        cordon::{self, Released},
        look::unseen,
        work::{Ended, Progress, drain, read_again, still_drained_with},
    },
    fake::{Cluster, Resource, Workload, make},
    mark::Marker,
    objects::Node,
};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Three nodes, and an order for `k-1`.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) order: Order,
    pub(super) tell: watch::Sender<Progress>,
    pub(super) stop: CancellationToken,
}

impl Scene {
    pub(super) fn new() -> Self {
        let cluster = Cluster::default();
        for name in ["k-1", "k-2", "k-3"] {
            cluster.put(Resource::Nodes, make::node(name));
        }
        let uid = cluster.object(Resource::Nodes, "", "k-1").unwrap()["metadata"]["uid"].clone();
        let order = Order {
            node: "k-1".to_owned(),
            uid: uid.as_str().unwrap().to_owned(),
            marker: Marker {
                fleet: FleetId([1; 16]),
                run: RunId([2; 16]),
                node: NodeName::parse("k-1").unwrap(),
                epoch: Epoch(3),
            },
            words: Words::default(),
            own_pod: None,
            force: None,
            expects_none: false,
            looks_again: false,
            again: false,
        };
        Self { cluster, order, tell: watch::Sender::default(), stop: CancellationToken::new() }
    }

    /// With a Deployment of so many pods, spread by the scheduler and ready.
    pub(super) async fn with_shop(pods: usize) -> Self {
        let scene = Self::new();
        scene.cluster.workload(Workload::replica_set("shop", "cart", pods));
        scene.cluster.pass(Duration::from_secs(10)).await;
        scene
    }

    /// Without the requests that look for room on other nodes.
    pub(super) fn allowing_nowhere_else(mut self) -> Self {
        self.order.words.nowhere_else = Word::Allow;
        self
    }

    /// A budget over the Deployment's pods, counted.
    pub(super) async fn budget(&self, rule: Value) {
        self.cluster.put(Resource::Budgets, make::budget("shop", "cart", "cart", &rule));
        self.cluster.pass(Duration::from_secs(1)).await;
    }

    pub(super) async fn drain(&self) -> Ended {
        self.drain_within(10 * MINUTE).await
    }

    pub(super) async fn drain_within(&self, within: Duration) -> Ended {
        drain(&self.cluster, &self.order, None, within, &self.tell, &self.stop).await
    }

    /// As it is looked before the node is worked on.
    pub(super) async fn still_drained(&self) -> Verdict {
        match read_again(&self.cluster, &self.order).await {
            Ok(seen) => still_drained_with(&self.cluster, &self.order, &seen.node, &seen.pods).await,
            Err(fault) => unseen(&self.order.node, &fault),
        }
    }

    pub(super) async fn release(&self) -> Released {
        cordon::release(&self.cluster, &self.order.node, &self.order.uid, &self.order.marker, None)
            .await
            .unwrap()
    }

    pub(super) fn node(&self) -> Node {
        serde_json::from_value(self.cluster.object(Resource::Nodes, "", "k-1").unwrap()).unwrap()
    }

    pub(super) fn change_node(&self, change: impl FnOnce(&mut Value)) {
        self.cluster.change(Resource::Nodes, "", "k-1", change);
    }

    /// Uncordons as kubectl does: whatever else stands there.
    pub(super) fn uncordon_by_hand(&self) {
        self.change_node(|node| node["spec"]["unschedulable"] = json!(false));
    }

    pub(super) fn pods_here(&self) -> usize {
        self.cluster.pods_on("k-1").len()
    }

    pub(super) fn because(&self) -> String {
        self.tell.borrow().waits.as_ref().map(|waits| waits.because.clone()).unwrap_or_default()
    }
}

pub(super) fn refused(ended: &Ended) -> &str {
    match ended {
        Ended::Refused { why, next } => {
            assert!(!next.is_empty(), "{ended:?}");
            why
        }
        Ended::Drained(_) | Ended::Stopped { .. } => panic!("not refused: {ended:?}"),
    }
}

pub(super) fn is_drained(ended: &Ended) -> bool {
    matches!(ended, Ended::Drained(_))
}
