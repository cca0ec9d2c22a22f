//! `nodeCanary`: a pod of our own is started on the node, gets an address, answers, and is gone again.

use std::time::Duration;

use drydock_core::recipe::NodeCanary;
use drydock_kubernetes::{
    canary::{self, Canary, When},
    drain::{
        ask,
        look::{node_path, unseen},
    },
    objects::Node,
};
use drydock_types::{NodeName, Verdict};

use super::{bound, in_time, now_unix_s};
use crate::checks::Scene;

/// Flies one, or goes on with the one that an earlier look began.
pub(crate) async fn verdict(scene: &Scene<'_>, name: &NodeName, config: &NodeCanary, soaks: bool) -> Verdict {
    in_time(async {
        let request = scene.request;
        let bound = match bound(scene, name).await {
            Ok(bound) => bound,
            Err(unknown) => return unknown,
        };
        let node = match ask::get::<Node>(&*bound.api, &node_path(&bound.node)).await {
            Ok(node) => node,
            Err(fault) => return unseen(&bound.node, &fault),
        };
        let when = match (request.before, soaks) {
            (true, _) => When::Before,
            (false, false) => When::After,
            (false, true) => When::Soak,
        };
        let canary = Canary {
            fleet: request.fleet,
            run: request.run_id,
            node: bound.node.clone(),
            node_uid: node.metadata.uid,
            when,
            asked_by: (*name != request.node).then(|| request.node.to_string()),
            image: config.image.clone(),
            command: config.command.clone(),
            resolve: config.resolve.clone(),
            within: Duration::from_millis(config.within.0),
        };
        // A rehearsal changes nothing: it hears whether the cluster would take it.
        if request.rehearses {
            return canary::rehearse(&*bound.api, &canary).await;
        }
        canary::fly(&*bound.api, &canary, now_unix_s).await
    })
    .await
}
