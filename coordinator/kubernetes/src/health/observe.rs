//! The reads: a handful of lists in pages, of which only what is unwell is kept.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{
    objects::{Claim, Event, Pod, Scaled},
    pods::{self, Failing},
    root,
};
use crate::{
    api::{Api, Method, Request},
    canary,
    drain::ask::{self, Fault, WITHIN},
    objects::{Meta, Node},
};

/// More pods that are not well are counted, and not kept: their causes are those of the others.
const MOST_KEPT: usize = 5000;
/// Events that are asked for: warnings about pods. Which of them count, [`super::root::kind_of_event`] says.
const EVENTS: &str = "/api/v1/events?fieldSelector=involvedObject.kind%3DPod%2Ctype%3DWarning";

/// What was observed of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What each endpoint that was asked says of itself.
    pub api: Vec<Readyz>,
    /// Every Node.
    pub nodes: Vec<Node>,
    /// Pods that are not well.
    pub failing: Vec<Failing>,
    /// What was said of them lately, by UID.
    pub events: BTreeMap<String, Vec<Event>>,
    /// Claims that are not bound.
    pub claims: Vec<Claim>,
    /// Workloads with fewer pods than they should have, with their kind.
    pub workloads: Vec<(&'static str, Scaled)>,
    /// Our own pods that nobody took away.
    pub left: Vec<Pod>,
    /// What could not be seen: what, and why.
    pub unseen: Vec<(&'static str, Fault)>,
    /// How much was looked at.
    pub counted: Counted,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Pods.
    pub pods: usize,
    /// Claims.
    pub claims: usize,
    /// Deployments, StatefulSets and DaemonSets.
    pub workloads: usize,
    /// Pods that are not well and were not kept.
    pub more_failing: usize,
}

/// What an API server says of its readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readyz {
    /// Its URL; empty where whichever answers was asked.
    pub endpoint: String,
    /// `/readyz?verbose`: the status and the text; or why there is none.
    pub said: Result<(u16, String), String>,
}

/// The path under which a server says which of its own checks fails.
pub const READYZ: &str = "/readyz?verbose";

/// Observes a cluster, as of `now` (seconds since 1970). Changes nothing. `api_said` is what its endpoints say of
/// themselves; where nobody asked them, whichever answers is.
pub async fn observe(api: &dyn Api, api_said: Vec<Readyz>, ignore: &[String], now: i64) -> Observed {
    let mut seen = Observed { api: api_said, ..Observed::default() };
    if seen.api.is_empty() {
        seen.api.push(readyz(api).await);
    }
    // Where nobody answers, every list would say so once more.
    if seen.api.iter().all(|server| server.said.is_err()) {
        return seen;
    }
    let (nodes, pods, claims, deployments, stateful, daemons) = tokio::join!(
        ask::list::<Node>(api, "/api/v1/nodes"),
        pods(api, ignore, now),
        lists::<Claim>(api, "/api/v1/persistentvolumeclaims", ignore, unbound),
        lists::<Scaled>(api, "/apis/apps/v1/deployments", ignore, lacks_replicas),
        lists::<Scaled>(api, "/apis/apps/v1/statefulsets", ignore, lacks_replicas),
        lists::<Scaled>(api, "/apis/apps/v1/daemonsets", ignore, lacks_daemons),
    );
    match nodes {
        Ok((nodes, _)) => seen.nodes = nodes,
        Err(fault) => seen.unseen.push(("nodes", fault)),
    }
    match pods {
        Ok(Pods { all, failing, more_failing, left }) => {
            (seen.failing, seen.left) = (failing, left);
            (seen.counted.pods, seen.counted.more_failing) = (all, more_failing);
        }
        Err(fault) => seen.unseen.push(("pods", fault)),
    }
    match claims {
        Ok((all, claims)) => (seen.counted.claims, seen.claims) = (all, claims),
        Err(fault) => seen.unseen.push(("claims", fault)),
    }
    for (kind, what, listed) in [
        ("Deployment", "deployments", deployments),
        ("StatefulSet", "statefulsets", stateful),
        ("DaemonSet", "daemonsets", daemons),
    ] {
        match listed {
            Ok((all, short)) => {
                seen.counted.workloads += all;
                seen.workloads.extend(short.into_iter().map(|scaled| (kind, scaled)));
            }
            Err(fault) => seen.unseen.push((what, fault)),
        }
    }
    // Only where something fails that its own status may not explain.
    if !seen.failing.is_empty() {
        match events(api, &seen.failing).await {
            Ok(events) => seen.events = events,
            Err(fault) => seen.unseen.push(("events", fault)),
        }
    }
    seen
}

async fn readyz(api: &dyn Api) -> Readyz {
    let request = Request { method: Method::Get, path: READYZ.to_owned(), body: None, within: WITHIN };
    let said = match api.call(request).await {
        Ok(answer) => Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned())),
        Err(unreached) => Err(unreached.to_string()),
    };
    Readyz { endpoint: String::new(), said }
}

struct Pods {
    all: usize,
    failing: Vec<Failing>,
    more_failing: usize,
    left: Vec<Pod>,
}

async fn pods(api: &dyn Api, ignore: &[String], now: i64) -> Result<Pods, Fault> {
    let mut pods = Pods { all: 0, failing: Vec::new(), more_failing: 0, left: Vec::new() };
    ask::each(api, "/api/v1/pods", |pod: Pod| {
        if canary::is_ours(&pod.metadata) {
            if canary::is_left_behind(&pod.metadata, now) {
                pods.left.push(pod);
            }
            return;
        }
        if ignore.contains(&pod.metadata.namespace) {
            return;
        }
        pods.all += 1;
        if let Some(seems) = pods::look(&pod, now) {
            match pods.failing.len() < MOST_KEPT {
                true => pods.failing.push(Failing { pod, seems }),
                false => pods.more_failing += 1,
            }
        }
    })
    .await?;
    Ok(pods)
}

/// What a list has that is not as it should be, and how much it has in all.
async fn lists<T: DeserializeOwned + HasMeta>(
    api: &dyn Api,
    path: &str,
    ignore: &[String],
    is_unwell: fn(&T) -> bool,
) -> Result<(usize, Vec<T>), Fault> {
    let (mut all, mut unwell) = (0, Vec::new());
    ask::each(api, path, |item: T| {
        if ignore.contains(&item.meta().namespace) {
            return;
        }
        all += 1;
        if is_unwell(&item) {
            unwell.push(item);
        }
    })
    .await?;
    Ok((all, unwell))
}

trait HasMeta {
    fn meta(&self) -> &Meta;
}

impl HasMeta for Claim {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl HasMeta for Scaled {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

fn unbound(claim: &Claim) -> bool {
    claim.status.phase != "Bound"
}

fn lacks_replicas(scaled: &Scaled) -> bool {
    scaled.status.ready_replicas < scaled.spec.replicas
}

fn lacks_daemons(scaled: &Scaled) -> bool {
    scaled.status.number_ready < scaled.status.desired_number_scheduled
}

/// What was said lately of pods that are not well.
async fn events(api: &dyn Api, failing: &[Failing]) -> Result<BTreeMap<String, Vec<Event>>, Fault> {
    let mut events: BTreeMap<String, Vec<Event>> =
        failing.iter().map(|failing| (failing.pod.metadata.uid.clone(), Vec::new())).collect();
    ask::each(api, EVENTS, |event: Event| {
        if root::kind_of_event(&event.reason).is_some()
            && let Some(of) = events.get_mut(&event.involved_object.uid)
        {
            of.push(event);
        }
    })
    .await?;
    Ok(events)
}
