//! What runs on every node, asked just now.

use std::{sync::Arc, time::Duration};

use drydock_core::view::NodeVersionsView;
use drydock_types::{
    NodeName,
    findings::RunningVersion,
    probe::{Observation, Probe},
};
use futures_util::{StreamExt as _, stream};

use super::App;
use crate::{heard, link::Sessions};

/// How long one agent may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many are asked at once.
const AT_ONCE: usize = 32;

/// Of each of these nodes, in their order.
pub(super) async fn of(app: &Arc<App>, nodes: Vec<NodeName>) -> Vec<NodeVersionsView> {
    let sessions = app.sessions.clone();
    let each = stream::iter(nodes).map(move |node| {
        let sessions = sessions.clone();
        async move {
            let versions = one(&sessions, &node).await;
            NodeVersionsView { node, versions }
        }
    });
    each.buffered(AT_ONCE).collect().await
}

/// Of one node.
pub(super) async fn one(sessions: &Sessions, node: &NodeName) -> Result<Vec<RunningVersion>, String> {
    match sessions.observe(node, &Probe::Versions {}, PATIENCE).await? {
        Observation::Versions(versions) => Ok(heard::versions(versions)),
        _ => Err(format!("{node}'s agent answered another question")),
    }
}
