//! `kubernetesSkew`: no kubelet is ahead of a server or too old for one, and no server too far from another.

use drydock_core::recipe::{KubernetesSkew, Part};
use drydock_kubernetes::survey::skew::{self, Changing};
use drydock_types::{NodeName, Verdict};

use super::in_cluster;
use crate::checks::Scene;

/// Observes and judges.
pub(crate) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: KubernetesSkew) -> Verdict {
    let bound = match in_cluster(scene, node).await {
        Ok(bound) => bound,
        Err(unknown) => return unknown,
    };
    let changing = match config.of {
        Part::Server => Changing::Server,
        Part::Kubelet => Changing::Kubelet,
    };
    match skew::see(&*bound.api, changing, &bound.node, scene.request.to.as_str()).await {
        Ok(None) => Verdict::Clear,
        Ok(Some(way)) => Verdict::Refused(format!("in the cluster {}: {way}", bound.cluster)),
        Err(why) => Verdict::Unknown(format!("in the cluster {}: {why}", bound.cluster)),
    }
}
