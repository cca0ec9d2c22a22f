//! Checks that look at the Kubernetes cluster which a node belongs to.
//!
//! | module | the check |
//! |---|---|
//! | [`cluster`] | `kubernetesCluster`: nothing fails there that did not fail before the run |
//! | [`node`] | `kubernetesNode`: the Node is Ready, by a kubelet of the machine's present boot |
//! | [`skew`] | `kubernetesSkew`: servers and kubelets may be beside the target version |
//! | [`condition`] | `kubernetesCondition`: objects have a condition, or a value |
//! | [`canary`] | `nodeCanary`: a pod of our own starts there and answers |
//!
//! What is asked of the cluster, and what its answers mean, is `drydock-kubernetes`'s. Which cluster it is, an operator said
//! by `node bind`. That is not believed: no check asks a cluster in which the node's Node is another machine.

pub(crate) mod canary;
pub(crate) mod cluster;
pub(crate) mod condition;
pub(crate) mod node;
pub(crate) mod skew;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use drydock_kubernetes::{
    drain::{
        ask,
        look::{node_path, unseen},
    },
    objects::Node,
};
use drydock_types::{
    NodeName, Verdict,
    probe::{HostFacts, Observation, Probe},
};
use tokio::sync::OnceCell;

use super::{PROBE_DEADLINE, Scene};
use crate::{
    driver::clock::wall_ms,
    moves::kubernetes_drain::{Bound, same_machine},
};

/// What a node's cluster and its own agent say of the machine.
type Shown = Result<(Node, HostFacts), Verdict>;

/// What was asked in this look already: both are asked once, however many checks want to know.
#[derive(Debug, Default)]
pub(super) struct Machines(Mutex<BTreeMap<NodeName, Arc<OnceCell<Shown>>>>);

/// The Node that a node is, proven: its kubelet and the node's agent run on one machine, since its present boot.
async fn proven(scene: &Scene<'_>, name: &NodeName) -> Result<(Bound, Node), Verdict> {
    let (bound, node, facts) = shown(scene, name).await?;
    match same_machine(name, &facts, &node) {
        Verdict::Clear => Ok((bound, node)),
        unclear => Err(unclear),
    }
}

/// The cluster that a node is in, proven by its machine. What the cluster says of other things does not wait for the
/// kubelet to report after a restart.
pub(super) async fn in_cluster(scene: &Scene<'_>, name: &NodeName) -> Result<Bound, Verdict> {
    let (bound, node, facts) = shown(scene, name).await?;
    match same_machine(name, &facts, &node) {
        Verdict::Clear | Verdict::Waiting(_) => Ok(bound),
        unclear => Err(unclear),
    }
}

async fn shown(scene: &Scene<'_>, name: &NodeName) -> Result<(Bound, Node, HostFacts), Verdict> {
    let bound = bound(scene, name).await?;
    let asked = {
        let mut machines = scene.machines.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(machines.entry(name.clone()).or_default())
    };
    let (node, facts) = asked.get_or_init(|| heard(scene, name, &bound)).await.clone()?;
    Ok((bound, node, facts))
}

async fn heard(scene: &Scene<'_>, name: &NodeName, bound: &Bound) -> Shown {
    let path = node_path(&bound.node);
    let (node, facts) = tokio::join!(
        ask::get::<Node>(&*bound.api, &path),
        scene.sessions.observe(name, &Probe::Host {}, PROBE_DEADLINE)
    );
    let node = node.map_err(|fault| unseen(&bound.node, &fault))?;
    match facts {
        Ok(Observation::Host(facts)) => Ok((node, facts)),
        Ok(_) => Err(Verdict::Unknown(format!("{name}'s agent answered another question"))),
        Err(why) => {
            Err(Verdict::Unknown(format!("which machine {name} is was not said by its agent: {why}")))
        }
    }
}

/// Which Node of which cluster a node is by an operator's word, or why that is not known.
async fn bound(scene: &Scene<'_>, node: &NodeName) -> Result<Bound, Verdict> {
    let Some(bindings) = &scene.clusters else {
        return Err(Verdict::Unknown("this coordinator speaks to no cluster".to_owned()));
    };
    let key = match scene.request.keys.get(node) {
        Some(key) => *key,
        None if *node == scene.request.node => scene.request.key,
        None => return Err(Verdict::Unknown(format!("who {node} is was not said"))),
    };
    Arc::clone(bindings).of(key, node).await.map_err(Verdict::Refused)
}

/// The coordinator's clock, in seconds since 1970.
fn now_unix_s() -> i64 {
    i64::try_from(wall_ms() / 1000).unwrap_or(i64::MAX)
}
