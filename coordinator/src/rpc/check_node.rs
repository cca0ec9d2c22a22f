//! What is wrong with one node: what its agent finds, what its peers run, how its clock stands, and what of its pods
//! fails. All of it is asked at once and for a short time; what does not answer is said and is not taken for well.

mod judge;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use drydock_core::view::{NodeCheckView, NodeView};
use drydock_types::{
    NodeName,
    findings::{FindingsView, Looked},
    probe::{Observation, Probe},
};
use tokio::time::timeout;

use self::judge::{Heard, Pods};
use super::{App, versions};
use crate::{driver::clock::wall_ms, heard};

/// How long the agent may look.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the cluster may take.
const CLUSTER: Duration = Duration::from_secs(20);
/// So many other nodes are asked what they run.
const MOST_PEERS: usize = 64;

/// Looks; never fails: what could not be seen is part of the answer.
pub(super) async fn check(app: &Arc<App>, node: &NodeView) -> NodeCheckView {
    let name = &node.name;
    let peers: Vec<NodeName> = app.sessions.present().into_iter().map(|(peer, ..)| peer).collect();
    let peers = peers.into_iter().filter(|peer| peer != name).take(MOST_PEERS).collect();
    let (findings, own, peers, pods) = tokio::join!(
        findings(app, name),
        versions::one(&app.sessions, name),
        versions::of(app, peers),
        pods(app, node),
    );
    let heard = Heard { node: name.clone(), findings, own, peers, pods };
    judge::judge(heard, node.connected, node.since_unix_ms, wall_ms())
}

/// What the agent finds, and how far its clock is before the coordinator's, in milliseconds, and how sure that is.
async fn findings(app: &Arc<App>, node: &NodeName) -> Result<(FindingsView, judge::Clock), String> {
    let (asked, began) = (wall_ms(), Instant::now());
    match app.sessions.observe(node, &Probe::Findings {}, PATIENCE).await? {
        Observation::Findings(said) => {
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let clock = judge::Clock { asked_unix_ms: asked, took_ms: took, said_unix_ms: said.unix_ms };
            Ok((heard::findings(said), clock))
        }
        _ => Err(format!("{node}'s agent answered another question")),
    }
}

/// What fails of the pods of the Node that it is, if it is one.
async fn pods(app: &Arc<App>, node: &NodeView) -> Option<Result<Pods, Looked>> {
    let unseen = |why: String| Some(Err(Looked { at: "pods".to_owned(), seen: Err(heard::text(&why)) }));
    let key = node.key;
    match app.blocking(move |app| app.clusters.binding(key)).await {
        Ok(None) => return None,
        Ok(Some(_)) => {}
        Err(status) => return unseen(status.message().to_owned()),
    }
    let (binding, opened) = match Arc::clone(&app.clusters).opened_for(key, &node.name).await {
        Ok(opened) => opened,
        Err(why) => return unseen(why),
    };
    let now_unix_s = app.trust.clock.now_unix_s();
    let Ok(problems) = timeout(CLUSTER, opened.failing_on(&binding.kube_node, now_unix_s)).await else {
        let why = format!("{} did not answer within {} s", binding.cluster, CLUSTER.as_secs());
        return unseen(why);
    };
    Some(Ok(Pods { cluster: binding.cluster, problems, now_unix_s }))
}
