//! Is this the cluster in which a Node is marked?
//!
//! Credentials are replaced while a node is out of service too: they end, and nothing goes on without new ones. What was
//! marked is given back through them, so they must lead to the very Node. It is that one by our mark on it or, where the
//! mark is not written yet or was taken off by hand, by its machine.

use drydock_types::{FleetId, NodeName};

use crate::{
    api::Api,
    drain::{ask, look::node_path},
    mark,
    objects::Node,
};

/// A Node that is marked, or about to be.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whose mark it is.
    pub fleet: FleetId,
    /// The node by Drydock's name.
    pub node: NodeName,
    /// The Node's name in its cluster.
    pub kube_node: String,
    /// The machine's id by the node's own agent, where that says it.
    pub machine_id: Option<String>,
}

/// Does this lead to that Node? Changes nothing.
///
/// # Errors
/// Why that is not so, or not known.
pub async fn leads_to(api: &dyn Api, known: &Known) -> Result<(), String> {
    let kube_node = &known.kube_node;
    let there: Node = ask::get(api, &node_path(kube_node)).await.map_err(|fault| match fault.is_gone() {
        true => format!("the cluster that they lead to has no Node {kube_node}"),
        false => format!("by them the Node {kube_node} cannot be read: {fault}"),
    })?;
    let ours = |mark: &mark::Mark| mark.fleet == known.fleet && mark.node == known.node;
    if matches!(mark::read(&there), Some(Ok(mark)) if ours(&mark)) {
        return Ok(());
    }
    match &known.machine_id {
        Some(id) if !id.is_empty() && *id == there.status.node_info.machine_id => Ok(()),
        Some(_) => Err(format!("the Node {kube_node} that they lead to is another machine")),
        None => Err(format!(
            "the Node {kube_node} that they lead to does not have the mark, and the agent of {} does not say which machine it is",
            known.node
        )),
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{Epoch, RunId};
    use serde_json::json;

    use super::*;
    use crate::{
        fake::{Cluster, Resource},
        mark::{KEY, Marker},
    };

    fn known(machine_id: Option<&str>) -> Known {
        Known {
            fleet: FleetId([1; 16]),
            node: NodeName::parse("db-2").unwrap(),
            kube_node: "k3s-2".to_owned(),
            machine_id: machine_id.map(str::to_owned),
        }
    }

    /// A cluster with that Node, marked for this node where one is named.
    fn cluster(marked_for: Option<(u8, &str)>) -> Cluster {
        let mut annotations = json!({});
        if let Some((fleet, node)) = marked_for {
            let node = NodeName::parse(node).unwrap();
            let marker = Marker { fleet: FleetId([fleet; 16]), run: RunId([2; 16]), node, epoch: Epoch(1) };
            annotations[KEY] = json!(serde_json::to_string(&marker.mark("k3s-2", false)).unwrap());
        }
        let cluster = Cluster::default();
        cluster.put(
            Resource::Nodes,
            json!({
                "metadata": {"name": "k3s-2", "uid": "u", "annotations": annotations},
                "status": {"nodeInfo": {"machineID": "m-2"}},
            }),
        );
        cluster
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_node_is_told_by_its_mark_and_without_one_by_its_machine() {
        for (marked, machine) in
            [(Some((1, "db-2")), None), (None, Some("m-2")), (Some((9, "db-2")), Some("m-2"))]
        {
            assert_eq!(leads_to(&cluster(marked), &known(machine)).await, Ok(()), "{marked:?} {machine:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_clusters_node_of_that_name_is_not_it() {
        for (marked, machine, words) in [
            (None, Some("m-9"), "another machine"),
            (None, Some(""), "another machine"),
            (Some((9, "db-2")), None, "does not have the mark"),
            (Some((1, "db-3")), None, "the agent of db-2 does not say"),
        ] {
            let why = leads_to(&cluster(marked), &known(machine)).await.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let why = leads_to(&Cluster::default(), &known(Some("m-2"))).await.unwrap_err();
        assert!(why.contains("has no Node k3s-2"), "{why}");
        let mute = cluster(Some((1, "db-2")));
        mute.forbid("get", "nodes");
        let why = leads_to(&mute, &known(Some("m-2"))).await.unwrap_err();
        assert!(why.contains("cannot be read"), "{why}");
    }
}
