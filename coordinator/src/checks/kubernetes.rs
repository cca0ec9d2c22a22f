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
//! by `node bind`.

pub(crate) mod canary;
pub(crate) mod cluster;
pub(crate) mod condition;
pub(crate) mod node;
pub(crate) mod skew;

use std::{sync::Arc, time::Duration};

use drydock_types::{NodeName, Verdict};
use tokio::time::timeout;

use super::Scene;
use crate::{driver::clock::wall_ms, moves::kubernetes_drain::Bound};

/// How long one of these checks may take. The reducer takes a look anew that is not answered within 30 s.
const WITHIN: Duration = Duration::from_secs(25);

/// Which Node of which cluster a node is, or why that is not known.
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

/// What a check says, within the time that a look has.
async fn in_time(verdict: impl Future<Output = Verdict>) -> Verdict {
    let late = || Verdict::Unknown(format!("the cluster did not say it within {} s", WITHIN.as_secs()));
    timeout(WITHIN, verdict).await.unwrap_or_else(|_| late())
}

/// The coordinator's clock, in seconds since 1970.
fn now_unix_s() -> i64 {
    i64::try_from(wall_ms() / 1000).unwrap_or(i64::MAX)
}
