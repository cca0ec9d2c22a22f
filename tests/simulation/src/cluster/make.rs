//! Its Nodes, workloads and budgets, as they are at first.

use drydock_kubernetes::fake::{Cluster, Pace, Resource, Workload, make};
use serde_json::{Value, json};

use super::{ClusterSpec, Kube, WorkloadSpec, boot_id, machine_id, node_of};
use crate::{dice::Dice, ground::Host};

/// The namespace of everything but kured.
pub(crate) const SHOP: &str = "shop";
/// kured's DaemonSet.
pub(crate) const KURED: (&str, &str) = ("kube-system", "kured");

impl Kube {
    pub(crate) fn new(spec: &ClusterSpec, hosts: &[Host], seed: u64) -> Self {
        let mut dice = Dice::new(seed, "requests");
        let cluster = Cluster::new(pace(&mut dice));
        let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
        let cordoned = |name: &str| spec.cordoned.as_deref() == Some(name);
        for name in &names {
            cluster.put(Resource::Nodes, node(name, 0, cordoned(name)));
        }
        for number in 1..=spec.spare {
            cluster.put(Resource::Nodes, make::node(&format!("k-spare-{number}")));
        }
        let mut nodes: Vec<String> = names.iter().map(|name| node_of(name)).collect();
        for workload in &spec.workloads {
            runs(&cluster, workload);
        }
        if spec.kured {
            let (namespace, name) = KURED;
            let metadata = json!({"namespace": namespace, "name": name, "annotations": {}});
            cluster.put(Resource::DaemonSets, json!({"metadata": metadata}));
        }
        for node in &nodes {
            cluster.workload(Workload::daemon_set(SHOP, "logs", node));
            if spec.kured {
                cluster.workload(Workload::daemon_set(KURED.0, KURED.1, node));
            }
        }
        if let Some(host) = &spec.bare {
            cluster.put(Resource::Pods, make::pod(SHOP, "by-hand", &node_of(host)));
        }
        nodes.shrink_to_fit();
        Self {
            cluster,
            dice,
            bound: names.iter().map(|name| !spec.unbound.contains(name)).collect(),
            boots: vec![0; names.len()],
            nodes,
            landed: 0,
            seen: 0,
        }
    }
}

fn pace(dice: &mut Dice) -> Pace {
    let mut ms = |low, high| std::time::Duration::from_millis(dice.between(low, high));
    Pace { schedules: ms(20, 400), readies: ms(300, 9000), ends: ms(100, 4000), counts: ms(20, 300) }
}

/// A machine's Node, as its kubelet registers it.
pub(crate) fn node(host: &str, boots: u32, cordoned: bool) -> Value {
    let mut node = make::node(&node_of(host));
    node["status"]["nodeInfo"]["machineID"] = json!(machine_id(host));
    node["status"]["nodeInfo"]["bootID"] = json!(boot_id(host, boots));
    if cordoned {
        node["spec"]["unschedulable"] = json!(true);
    }
    node
}

fn runs(cluster: &Cluster, spec: &WorkloadSpec) {
    let replicas = usize::try_from(spec.replicas).unwrap_or(1);
    let mut workload = match spec.stable {
        true => Workload::stateful_set(SHOP, &spec.name, replicas),
        false => Workload::replica_set(SHOP, &spec.name, replicas),
    };
    if spec.scratch {
        workload.template = json!({"spec": {"volumes": [{"name": "scratch", "emptyDir": {}}]}});
    }
    cluster.workload(workload);
    if let Some(may_miss) = spec.may_miss {
        let rule = json!({"maxUnavailable": may_miss});
        cluster.put(Resource::Budgets, make::budget(SHOP, &spec.name, &spec.name, &rule));
    }
}
