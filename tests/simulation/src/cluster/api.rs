//! The way from a coordinator to the cluster, and everything that can happen to a request on it. What stands in for
//! `drydock_kubernetes::client` is here, without a socket: one endpoint, its deadline, no answer within it.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use drydock_coordinator::moves::kubernetes_drain::{Bindings, Bound};
use drydock_kubernetes::{
    api::{Answer, Api, Line, Method, Request, Unreached},
    fake::Resource,
};
use drydock_types::{NodeKey, NodeName};
use futures_util::stream::BoxStream;
use tokio::time::{sleep, timeout};

use crate::{faults::Kind, rules::marks::Hand, shared::Shared};

/// One start of a coordinator, as the cluster sees it.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) shared: Shared,
    pub(crate) coordinator: usize,
    /// It was killed: nothing further is asked by it.
    pub(crate) dead: Arc<AtomicBool>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// It never arrives.
    Silent,
    /// It is served, and its answer never arrives.
    AnswerLost,
    /// The server has too much to do; it says when to come again, or does not.
    Throttled(Option<u64>),
    /// Something in the server fails.
    Fails,
    /// The Node's kubelet writes right before it.
    Overtaken,
}

/// A request on its way.
struct Journey {
    fate: Fate,
    there_ms: u64,
    back_ms: u64,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { coordinator, .. } = self;
        out.debug_struct("Way").field("coordinator", coordinator).finish_non_exhaustive()
    }
}

impl Way {
    /// Whoever is dead does nothing more.
    async fn lives(&self) {
        if self.dead.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    /// The rules hear of it, and chance decides.
    fn sends(&self, request: &Request) -> Journey {
        let now_ms = self.shared.now_ms();
        let mut inner = self.shared.lock();
        inner.see_cluster(Hand::Others, now_ms);
        let inner = &mut *inner;
        inner.rules.asks(self.coordinator, request, now_ms);
        let fate = match request.method {
            _ if inner.happens(Kind::ApiSilent, now_ms) => Fate::Silent,
            _ if inner.happens(Kind::ApiThrottles, now_ms) => {
                let seconds = inner.kube.as_mut().map_or(0, |kube| kube.dice.below(4));
                Fate::Throttled((seconds > 0).then_some(seconds))
            }
            _ if inner.happens(Kind::ApiFails, now_ms) => Fate::Fails,
            Method::Get => Fate::Arrives,
            _ if inner.happens(Kind::ApiAnswerLost, now_ms) => Fate::AnswerLost,
            Method::MergePatch if inner.happens(Kind::ApiOvertakes, now_ms) => Fate::Overtaken,
            _ => Fate::Arrives,
        };
        let slow = inner.happens(Kind::ApiSlow, now_ms);
        let Some(kube) = &mut inner.kube else { return Journey { fate, there_ms: 1, back_ms: 1 } };
        let (there_ms, back_ms) = (kube.dice.between(1, 9), kube.dice.between(1, 9));
        match slow {
            false => Journey { fate, there_ms, back_ms },
            // Also longer than its sender waits for it.
            true => Journey { fate, there_ms: kube.dice.between(50, 3900), back_ms },
        }
    }
}

/// Goes there and comes back, whatever became of whoever sent it.
async fn carried(way: Way, request: Request, journey: Journey) -> Option<Answer> {
    sleep(Duration::from_millis(journey.there_ms)).await;
    if journey.fate == Fate::Silent {
        pending::<()>().await;
    }
    let answer = serve(&way, &request, journey.fate);
    if journey.fate == Fate::AnswerLost {
        pending::<()>().await;
    }
    sleep(Duration::from_millis(journey.back_ms)).await;
    answer
}

fn serve(way: &Way, request: &Request, fate: Fate) -> Option<Answer> {
    let now_ms = way.shared.now_ms();
    let mut inner = way.shared.lock();
    let cluster = inner.kube.as_ref()?.cluster.clone();
    match fate {
        Fate::Throttled(after) => {
            return Some(Answer {
                status: 429,
                retry_after: after.map(Duration::from_secs),
                content_type: "text/plain".to_owned(),
                body: b"Too many requests, please try again later.\n".to_vec(),
            });
        }
        Fate::Fails => {
            let body = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
                "reason": "InternalError", "message": "Internal error occurred: etcdserver: request timed out",
            });
            return Some(Answer {
                status: 500,
                retry_after: None,
                content_type: "application/json".to_owned(),
                body: body.to_string().into_bytes(),
            });
        }
        Fate::Overtaken => {
            let name = request.path.rsplit('/').next().unwrap_or_default();
            if cluster.object(Resource::Nodes, "", name).is_some() {
                cluster.change(Resource::Nodes, "", name, |node| {
                    node["status"]["heartbeat"] = serde_json::json!(now_ms);
                });
            }
        }
        Fate::Arrives | Fate::Silent | Fate::AnswerLost => {}
    }
    inner.see_cluster(Hand::Others, now_ms);
    let answer = cluster.serve(request);
    inner.see_cluster(Hand::Us { coordinator: way.coordinator }, now_ms);
    answer
}

#[async_trait]
impl Api for Way {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        self.lives().await;
        let (journey, within) = (self.sends(&request), request.within);
        let changes = request.method.changes();
        // A question that nobody waits for changes nothing; what changes something arrives all the same.
        let answer = if changes {
            let under_way = tokio::spawn(carried(self.clone(), request, journey));
            timeout(within, under_way).await.ok().and_then(Result::ok)
        } else {
            timeout(within, carried(self.clone(), request, journey)).await.ok()
        };
        self.lives().await;
        match answer {
            Some(Some(answer)) => Ok(answer),
            Some(None) => Err(Unreached {
                why: "https://127.0.0.1:6443: connection refused".to_owned(),
                may_have_taken_effect: false,
            }),
            None => Err(Unreached {
                why: format!("https://127.0.0.1:6443: no answer within {within:?}"),
                may_have_taken_effect: changes,
            }),
        }
    }

    async fn watch(
        &self,
        path: String,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        self.lives().await;
        let cluster = {
            let mut inner = self.shared.lock();
            inner.kube.as_mut().map(|kube| (kube.cluster.clone(), kube.dice.between(1, 9)))
        };
        let Some((cluster, ms)) = cluster else { return pending().await };
        sleep(Duration::from_millis(ms)).await;
        self.lives().await;
        cluster.open(&path, within)
    }
}

#[async_trait]
impl Bindings for Way {
    async fn of(self: Arc<Self>, key: NodeKey, name: &NodeName) -> Result<Bound, String> {
        let node = {
            let inner = self.shared.lock();
            let host = inner.ground.hosts.iter().position(|host| host.key == key);
            let kube = inner.kube.as_ref();
            kube.zip(host)
                .filter(|(kube, host)| kube.bound[*host])
                .map(|(kube, host)| kube.nodes[host].clone())
        };
        let Some(node) = node else {
            return Err(format!("it is not known which Node of which cluster {name} is"));
        };
        Ok(Bound { cluster: "shop".to_owned(), node, api: self, own_pod: None })
    }

    async fn any_of(self: Arc<Self>, _cluster: &str, keys: &BTreeSet<NodeKey>) -> Result<bool, String> {
        let inner = self.shared.lock();
        let mut hosts = inner.ground.hosts.iter().enumerate().filter(|(_, host)| keys.contains(&host.key));
        Ok(inner.kube.as_ref().is_some_and(|kube| hosts.any(|(index, _)| kube.bound[index])))
    }
}
