//! `nodeCanary`: a pod of our own is started on the node, gets an address, answers, and is gone again.

use std::time::Duration;

use drydock_core::recipe::NodeCanary;
use drydock_kubernetes::canary::{self, Canary, LOOKS_FOR, When};
use drydock_types::{NodeName, Verdict};
use tokio::time::Instant;

use super::{now_unix_s, proven};
use crate::checks::Scene;

/// How long it may take to see and say what keeps one that has not answered.
const SAYS_WITHIN: Duration = Duration::from_secs(5);

/// Flies one, or goes on with the one that an earlier look began.
pub(crate) async fn verdict(scene: &Scene<'_>, name: &NodeName, config: &NodeCanary, soaks: bool) -> Verdict {
    let request = scene.request;
    // A pod on another machine would answer for this one.
    let (bound, node) = match proven(scene, name).await {
        Ok(proven) => proven,
        Err(unclear) => return unclear,
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
    // The end of the look's time is kept for what is to be said of it.
    let until = (Instant::now() + LOOKS_FOR).min(scene.until - SAYS_WITHIN);
    canary::fly_until(&*bound.api, &canary, now_unix_s, until).await
}
