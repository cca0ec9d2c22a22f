//! The reads: a handful of lists in pages, of which only what is unwell is kept.

use std::{collections::BTreeMap, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

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

/// Of each list, more that is not well is counted and not kept. More Nodes no cluster has.
pub(super) const MOST_KEPT: usize = 5000;
/// How long all of it may take. Whoever has less time leaves earlier.
const ALL_WITHIN: Duration = Duration::from_secs(60);
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
    /// A Node that must be there, for a machine is bound to it; none where nobody asks for one.
    pub bound: Option<String>,
    /// How far the API server's clock is before the coordinator's, in seconds, where it said.
    pub clock_ahead_s: Option<i64>,
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
    /// Nodes that were not kept.
    pub more_nodes: usize,
    /// Pods that are not well and were not kept.
    pub more_failing: usize,
    /// Claims that are not bound and were not kept.
    pub more_claims: usize,
    /// Workloads that lack pods and were not kept.
    pub more_workloads: usize,
}

impl Counted {
    /// What was not kept, and so is not judged: what, and how much of it.
    pub fn not_kept(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
        let Self { more_nodes, more_failing, more_claims, more_workloads, .. } = *self;
        let all = [
            ("Nodes (of whatever state)", more_nodes),
            ("pods", more_failing),
            ("claims", more_claims),
            ("workloads", more_workloads),
        ];
        all.into_iter().filter(|(_, many)| *many > 0)
    }
}

/// What is kept of a list.
struct Kept<T> {
    /// How much it has in all.
    all: usize,
    kept: Vec<T>,
    /// What would have been kept, had there been less of it.
    more: usize,
}

impl<T> Kept<T> {
    const fn new() -> Self {
        Self { all: 0, kept: Vec::new(), more: 0 }
    }

    fn keep(&mut self, item: T) {
        if self.kept.len() < MOST_KEPT {
            self.kept.push(item);
        } else {
            self.more += 1;
        }
    }
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
    seen.clock_ahead_s = api.clock_ahead_s();
    let until = Instant::now() + ALL_WITHIN;
    let (nodes, pods, claims, deployments, stateful, daemons) = tokio::join!(
        in_time(until, "/api/v1/nodes", lists::<Node>(api, "/api/v1/nodes", &[], |_| true)),
        in_time(until, "/api/v1/pods", pods(api, "/api/v1/pods", ignore, now)),
        in_time(
            until,
            "/api/v1/persistentvolumeclaims",
            lists(api, "/api/v1/persistentvolumeclaims", ignore, unbound)
        ),
        in_time(
            until,
            "/apis/apps/v1/deployments",
            lists(api, "/apis/apps/v1/deployments", ignore, lacks_replicas)
        ),
        in_time(
            until,
            "/apis/apps/v1/statefulsets",
            lists(api, "/apis/apps/v1/statefulsets", ignore, lacks_replicas)
        ),
        in_time(
            until,
            "/apis/apps/v1/daemonsets",
            lists(api, "/apis/apps/v1/daemonsets", ignore, lacks_daemons)
        ),
    );
    match nodes {
        Ok(nodes) => (seen.nodes, seen.counted.more_nodes) = (nodes.kept, nodes.more),
        Err(fault) => seen.unseen.push(("nodes", fault)),
    }
    match pods {
        Ok((pods, left)) => {
            (seen.failing, seen.left) = (pods.kept, left);
            (seen.counted.pods, seen.counted.more_failing) = (pods.all, pods.more);
        }
        Err(fault) => seen.unseen.push(("pods", fault)),
    }
    match claims {
        Ok(claims) => {
            seen.claims = claims.kept;
            (seen.counted.claims, seen.counted.more_claims) = (claims.all, claims.more);
        }
        Err(fault) => seen.unseen.push(("claims", fault)),
    }
    for (kind, what, listed) in [
        ("Deployment", "deployments", deployments),
        ("StatefulSet", "statefulsets", stateful),
        ("DaemonSet", "daemonsets", daemons),
    ] {
        match listed {
            Ok(short) => {
                seen.counted.workloads += short.all;
                seen.counted.more_workloads += short.more;
                seen.workloads.extend(short.kept.into_iter().map(|scaled| (kind, scaled)));
            }
            Err(fault) => seen.unseen.push((what, fault)),
        }
    }
    // Only where something fails that its own status may not explain.
    if !seen.failing.is_empty() {
        match in_time(until, EVENTS, events(api, EVENTS, &seen.failing)).await {
            Ok(events) => seen.events = events,
            Err(fault) => seen.unseen.push(("events", fault)),
        }
    }
    seen
}

/// A list, while there is time: a server can be slow with each of its pages.
async fn in_time<T>(
    until: Instant,
    path: &'static str,
    list: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match timeout_at(until, list).await {
        Ok(listed) => listed,
        Err(_) => Err(Fault::Late { list: path.to_owned(), within: ALL_WITHIN }),
    }
}

async fn readyz(api: &dyn Api) -> Readyz {
    let request = Request { method: Method::Get, path: READYZ.to_owned(), body: None, within: WITHIN };
    let said = match api.call(request).await {
        Ok(answer) => Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned())),
        Err(unreached) => Err(unreached.to_string()),
    };
    Readyz { endpoint: String::new(), said }
}

/// Pods that are not well, and canaries that nobody took away.
async fn pods(
    api: &dyn Api,
    path: &str,
    ignore: &[String],
    now: i64,
) -> Result<(Kept<Failing>, Vec<Pod>), Fault> {
    let (mut pods, mut left) = (Kept::new(), Kept::new());
    ask::each(api, path, |pod: Pod| {
        if canary::is_ours(&pod.metadata) {
            if canary::is_left_behind(&pod, now) {
                left.keep(pod);
            }
            return;
        }
        if ignore.contains(&pod.metadata.namespace) {
            return;
        }
        pods.all += 1;
        if let Some(seems) = pods::look(&pod, now) {
            pods.keep(Failing { pod, seems });
        }
    })
    .await?;
    Ok((pods, left.kept))
}

/// What a list has that is not as it should be, and how much it has in all.
async fn lists<T: DeserializeOwned + HasMeta>(
    api: &dyn Api,
    path: &str,
    ignore: &[String],
    is_unwell: fn(&T) -> bool,
) -> Result<Kept<T>, Fault> {
    let mut found = Kept::new();
    ask::each(api, path, |item: T| {
        if ignore.contains(&item.meta().namespace) {
            return;
        }
        found.all += 1;
        if is_unwell(&item) {
            found.keep(item);
        }
    })
    .await?;
    Ok(found)
}

trait HasMeta {
    fn meta(&self) -> &Meta;
}

impl HasMeta for Node {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
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

/// What was said lately of pods that are not well: of each and of each kind the newest, for nothing else is read of them.
async fn events(
    api: &dyn Api,
    path: &str,
    failing: &[Failing],
) -> Result<BTreeMap<String, Vec<Event>>, Fault> {
    let mut events: BTreeMap<String, Vec<Event>> =
        failing.iter().map(|failing| (failing.pod.metadata.uid.clone(), Vec::new())).collect();
    ask::each(api, path, |event: Event| {
        let kind = root::kind_of_event(&event.reason);
        let Some(of) = events.get_mut(&event.involved_object.uid).filter(|_| kind.is_some()) else { return };
        match of.iter_mut().find(|there| root::kind_of_event(&there.reason) == kind) {
            Some(there) if there.last_unix_s() > event.last_unix_s() => {}
            Some(there) => *there = event,
            None => of.push(event),
        }
    })
    .await?;
    Ok(events)
}
