//! `waitForReplacements` over several orders, as the driver gives them: none of them says that the node has left before what
//! an earlier one evicted is ready elsewhere, and until that is said no section of the node is handed out.

use drydock_core::moves::{Doing, MoveEnd, MoveOrder};
use drydock_kubernetes::fake::{Cluster, Resource, Workload, make};
use drydock_types::{EffectId, Sha256};

use super::*;
use crate::{driver::Input, moves::Movers};

/// One start of a coordinator: what carries its orders out, and what its driver hears.
struct Coordinator {
    movers: Movers,
    heard: mpsc::UnboundedReceiver<Input>,
    inputs: mpsc::UnboundedSender<Input>,
    epoch: Epoch,
    agent: tokio::task::JoinHandle<()>,
}

impl Coordinator {
    fn start(cluster: &Cluster, epoch: u64) -> Self {
        let (name, epoch) = (NodeName::parse("n1").unwrap(), Epoch(epoch));
        let (sessions, agent) = sessions(&name, Sha256::of(b"n1"), epoch);
        let drains = KubernetesDrain::new(Arc::new(Binding(Arc::new(cluster.clone()))), sessions);
        let (inputs, heard) = mpsc::unbounded_channel();
        Self { movers: Movers::new(Arc::new(drains)), heard, inputs, epoch, agent }
    }

    /// Gives an order, or stops it.
    fn order(&self, effect: u8, doing: Option<Doing>) {
        let of: Move = serde_json::from_value(
            json!({"kubernetesDrain": {"nowhereElse": "allow", "waitForReplacements": true}}),
        )
        .unwrap();
        let request = MoveRequest {
            run: 7,
            run_id: RunId([7; 16]),
            fleet: FleetId([1; 16]),
            fence: Fence { epoch: self.epoch, instance: InstanceId([1; 16]) },
            key: Sha256::of(b"n1"),
            order: MoveOrder {
                node: 0,
                name: NodeName::parse("n1").unwrap(),
                effect: EffectId([effect; 32]),
                doing,
                again: false,
                mark_of: None,
                force: None,
                moves: vec![of],
            },
        };
        self.movers.expect(&request);
        let inputs = self.inputs.clone();
        self.movers.perform(request, move |input| {
            let _ = inputs.send(input);
            async {}
        });
    }

    /// Hears what an order waits for, until it is that.
    async fn waits(&mut self, effect: u8, for_what: &str) {
        loop {
            match self.heard.recv().await.unwrap() {
                Input::MoveWaits { effect: of, what, because, .. } if of == EffectId([effect; 32]) => {
                    if format!("{what}: {because}").contains(for_what) {
                        return;
                    }
                }
                Input::MoveWaits { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn ended(&mut self) -> MoveEnd {
        loop {
            if let Input::Moved { end, .. } = self.heard.recv().await.unwrap() {
                return end;
            }
        }
    }
}

/// Nine pods on three nodes, three on each; a budget lets one of them be missing.
async fn cluster() -> Cluster {
    let cluster = Cluster::default();
    for name in ["k-1", "k-2", "k-3"] {
        cluster.put(Resource::Nodes, make::node(name));
    }
    cluster.change(Resource::Nodes, "", "k-1", |node| {
        node["status"]["nodeInfo"] = json!({"machineID": "m", "bootID": "b"});
    });
    cluster.workload(Workload::replica_set("shop", "cart", 9));
    cluster.pass(Duration::from_secs(10)).await;
    let rule = json!({"maxUnavailable": 1});
    cluster.put(Resource::Budgets, make::budget("shop", "cart", "cart", &rule));
    cluster.pass(Duration::from_secs(1)).await;
    cluster
}

fn others_take_pods(cluster: &Cluster, take: bool) {
    for name in ["k-2", "k-3"] {
        cluster.change(Resource::Nodes, "", name, |node| node["spec"]["unschedulable"] = json!(!take));
    }
}

const NOT_AS_MANY: &str =
    "the evicted pods' replacements to be ready: the ReplicaSet shop/cart has 6 of 9 pods ready";

#[tokio::test(start_paused = true)]
async fn an_order_after_a_pause_or_a_restart_waits_for_what_was_evicted_before_it() {
    for restarted in [false, true] {
        let cluster = cluster().await;
        others_take_pods(&cluster, false);
        let mut first = Coordinator::start(&cluster, 1);
        first.order(1, Some(Doing::Leave));
        // One has left, and its budget keeps the others: then it is stopped.
        first.waits(1, "PodDisruptionBudget shop/cart").await;
        while cluster.pods_on("k-1").len() == 3 {
            cluster.pass(Duration::from_millis(100)).await;
        }
        first.order(1, None);
        cluster.remove(Resource::Budgets, "shop", "cart");

        let mut later = if restarted { Coordinator::start(&cluster, 2) } else { first };
        later.order(2, Some(Doing::Leave));
        later.waits(2, NOT_AS_MANY).await;
        assert!(cluster.pods_on("k-1").is_empty());
        // And one that finds nobody there any more.
        later.order(2, None);
        later.order(3, Some(Doing::Leave));
        later.waits(3, NOT_AS_MANY).await;
        cluster.pass(Duration::from_secs(600)).await;
        assert!(
            !std::iter::from_fn(|| later.heard.try_recv().ok())
                .any(|input| matches!(input, Input::Moved { .. })),
            "nobody has said that the node has left"
        );

        others_take_pods(&cluster, true);
        let end = later.ended().await;
        assert!(matches!(&end, MoveEnd::Left { .. }), "{end:?}");
        let ready = cluster.all(Resource::Pods).into_iter().filter(|(name, _)| {
            let pod = cluster.object(Resource::Pods, "shop", name).unwrap();
            pod["status"]["phase"] == "Running" && pod["spec"]["nodeName"] != "k-1"
        });
        assert_eq!(ready.count(), 9);

        later.order(4, Some(Doing::GiveBack));
        let end = later.ended().await;
        assert!(matches!(&end, MoveEnd::GivenBack { .. }), "{end:?}");
        let node = cluster.object(Resource::Nodes, "", "k-1").unwrap();
        assert_eq!(node["metadata"]["annotations"], json!({}));
        later.agent.abort();
    }
}
