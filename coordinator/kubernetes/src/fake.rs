//! A cluster in memory, for tests and the simulation. It has a real server's answers and says no as one does.
//!
//! | module | what lives there |
//! |---|---|
//! | `store` | objects with their versions, and every change since |
//! | `serve` | requests: reading, lists in pages, merge-patches |
//! | `evict` | evictions and budgets, as the server and its disruption controller count them |
//! | `act` | kubelets, scheduler, workload controllers, in virtual time |
//! | `make` | objects for tests |
//! | `fault` | what goes wrong on demand |
//!
//! The texts of its refusals are those of a real server (1.36.3), word for word. What stands in for real code and could
//! be wrong in its place: the times of its controllers, and a scheduler that knows only cordons and the number of pods.

mod act;
mod evict;
mod fault;
pub mod make;
mod serve;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

pub use self::{act::Workload, fault::Fault, store::Resource};
use self::{fault::Rule, serve::Target, store::Store};
use crate::api::{Answer, Api, Line, Method, Request, Unreached};

/// How long a request is on its way, there and back.
const LATENCY: Duration = Duration::from_millis(2);

/// How fast its parts are.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From a pod's being made to its being bound.
    pub schedules: Duration,
    /// From its being bound to its being ready.
    pub readies: Duration,
    /// From its being told to end to its end.
    pub ends: Duration,
    /// From a change to the budgets' status.
    pub counts: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            schedules: Duration::from_millis(50),
            readies: Duration::from_secs(2),
            ends: Duration::from_secs(1),
            counts: Duration::from_millis(70),
        }
    }
}

/// Someone's request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// `GET`, `POST`, `PATCH`, `DELETE`, `WATCH`.
    pub verb: &'static str,
    /// The path with its query.
    pub path: String,
    /// The status that it was answered with; 0 where there was no answer.
    pub status: u16,
}

/// A cluster. Its clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    world: Arc<Mutex<World>>,
}

struct World {
    /// Wakes whoever waits for a change.
    news: watch::Sender<()>,
    store: Store,
    pace: Pace,
    workloads: Vec<Workload>,
    timers: act::Timers,
    /// A controller-manager leads.
    controlled: bool,
    /// No endpoint answers.
    down: bool,
    /// Rises when all watches are cut.
    cuts: u64,
    rules: Vec<Rule>,
    forbidden: Vec<(&'static str, &'static str)>,
    asked: Vec<Asked>,
    /// The fewest healthy pods that each budget ever had since it was first counted, less what it demands.
    slack: BTreeMap<String, i64>,
    /// Up to which version that was looked at.
    noted: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new(Pace::default())
    }
}

impl Cluster {
    /// An empty cluster, and the task in which its controllers live: it ends with the last clone. Needs a runtime.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let world = World {
            news: watch::Sender::new(()),
            store: Store::default(),
            pace,
            workloads: Vec::new(),
            timers: act::Timers::default(),
            controlled: true,
            down: false,
            cuts: 0,
            rules: Vec::new(),
            forbidden: Vec::new(),
            asked: Vec::new(),
            slack: BTreeMap::new(),
            noted: 0,
        };
        let news = world.news.subscribe();
        let cluster = Self { world: Arc::new(Mutex::new(world)) };
        drop(tokio::spawn(act::live(Arc::downgrade(&cluster.world), news)));
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the world, and lets everybody know.
    fn act<T>(&self, deed: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let result = deed(&mut world);
        world.news.send_replace(());
        result
    }

    /// Puts an object there, as it is given, with a new UID where it has none.
    pub fn put(&self, resource: Resource, object: Value) {
        self.act(|world| drop(world.store.put(resource, object)));
    }

    /// Changes an object by somebody else's hand.
    ///
    /// # Panics
    /// When there is none.
    pub fn change(&self, resource: Resource, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.act(|world| {
            let there = world.store.change(resource, namespace, name, change);
            assert!(there, "there is no {namespace}/{name}");
        });
    }

    /// Takes an object away by somebody else's hand, at once.
    pub fn remove(&self, resource: Resource, namespace: &str, name: &str) {
        self.act(|world| drop(world.store.remove(resource, namespace, name)));
    }

    /// An object as it is now.
    #[must_use]
    pub fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.lock().store.get(resource, namespace, name).cloned()
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().store.version()
    }

    /// The names of the pods that are bound to a node, with their UIDs.
    #[must_use]
    pub fn pods_on(&self, node: &str) -> Vec<(String, String)> {
        let world = self.lock();
        let pods = world.store.all(Resource::Pods).filter(|pod| pod["spec"]["nodeName"] == node);
        pods.map(|pod| (store::text(&pod["metadata"]["name"]), store::text(&pod["metadata"]["uid"])))
            .collect()
    }

    /// The names of all objects of a kind, with their UIDs.
    #[must_use]
    pub fn all(&self, resource: Resource) -> Vec<(String, String)> {
        let world = self.lock();
        let names = |object: &Value| {
            (store::text(&object["metadata"]["name"]), store::text(&object["metadata"]["uid"]))
        };
        world.store.all(resource).map(names).collect()
    }

    /// A controller that keeps as many pods as it should.
    pub fn workload(&self, workload: Workload) {
        self.act(|world| world.workloads.push(workload));
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// No controller-manager leads, or one does again.
    pub fn controlled(&self, controlled: bool) {
        self.act(|world| world.controlled = controlled);
    }

    /// No endpoint answers, and open watches break; or they answer again.
    pub fn down(&self, down: bool) {
        self.act(|world| {
            world.down = down;
            world.cuts += u64::from(down);
        });
    }

    /// Every open watch breaks, and none goes on from before now.
    pub fn forget(&self) {
        self.act(|world| {
            world.store.forget();
            world.cuts += 1;
        });
    }

    /// Nobody may do this any more: `("patch", "nodes")`.
    pub fn forbid(&self, verb: &'static str, resource: &'static str) {
        self.act(|world| world.forbidden.push((verb, resource)));
    }

    /// What is forbidden is allowed again.
    pub fn allow_all(&self) {
        self.act(|world| world.forbidden.clear());
    }

    /// What goes wrong with the next so many requests that match.
    pub fn fault(&self, times: usize, when: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.act(|world| world.rules.push(Rule { times, when: Box::new(when), fault }));
    }

    /// Every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Evictions so far, dry runs not counted: when, the pod's path, the status.
    #[must_use]
    pub fn evictions(&self) -> Vec<Asked> {
        let asked = self.asked();
        asked.into_iter().filter(|asked| asked.verb == "POST" && asked.path.ends_with("/eviction")).collect()
    }

    /// How far the healthy pods of a budget ever were above what it demands: below 0 it was violated.
    #[must_use]
    pub fn least_slack(&self, budget: &str) -> Option<i64> {
        self.lock().slack.get(budget).copied()
    }

    /// Answers a request at this very moment, with none of the delays and faults of its own: for whoever brings theirs.
    #[must_use]
    pub fn serve(&self, request: &Request) -> Option<Answer> {
        let mut world = self.lock();
        if world.down {
            return None;
        }
        let before = world.store.version();
        let answer = world.serve(request);
        if world.store.version() != before {
            world.news.send_replace(());
        }
        Some(answer)
    }

    /// Every change behind a version, in order: what was changed, `ADDED`, `MODIFIED` or `DELETED`, and the object. Brings
    /// the version of the last.
    pub fn each_change(&self, since: u64, mut told: impl FnMut(Resource, &'static str, &Value)) -> u64 {
        let world = self.lock();
        for change in world.store.since(since) {
            told(change.resource, change.kind, &change.object);
        }
        world.store.version()
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Unreached> {
        let fault = {
            let mut world = self.lock();
            if world.down {
                return Err(refused());
            }
            fault::take(&mut world.rules, request)
        };
        match fault {
            None => self.serve(request).ok_or_else(refused),
            Some(Fault::Answer(answer)) => Ok(answer),
            Some(Fault::Hang { takes_effect }) => {
                if takes_effect {
                    drop(self.act(|world| world.serve(request)));
                }
                tokio::time::sleep(request.within).await;
                Err(Unreached {
                    why: format!("https://127.0.0.1:6443: no answer within {:?}", request.within),
                    may_have_taken_effect: request.method.changes(),
                })
            }
            Some(Fault::Before(mut deed)) => {
                deed(self);
                Ok(self.act(|world| world.serve(request)))
            }
        }
    }
}

fn refused() -> Unreached {
    Unreached { why: "https://127.0.0.1:6443: connection refused".to_owned(), may_have_taken_effect: false }
}

#[async_trait]
impl Api for Cluster {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        tokio::time::sleep(LATENCY / 2).await;
        let answer = self.answer(&request).await;
        let verb = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::MergePatch => "PATCH",
            Method::Delete => "DELETE",
        };
        self.noted(verb, request.path, answer.as_ref().map_or(0, |answer| answer.status));
        tokio::time::sleep(LATENCY / 2).await;
        answer
    }

    async fn watch(
        &self,
        path: String,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        tokio::time::sleep(LATENCY).await;
        let opened = self.open(&path, within);
        let status = match &opened {
            Ok(Ok(_)) => 200,
            Ok(Err(answer)) => answer.status,
            Err(_) => 0,
        };
        self.noted("WATCH", path, status);
        opened
    }
}

/// A watch that is open.
struct Open {
    cluster: Cluster,
    target: Target,
    after: u64,
    cuts: u64,
    news: watch::Receiver<()>,
    until: Instant,
    over: bool,
}

impl Cluster {
    fn noted(&self, verb: &'static str, path: String, status: u16) {
        self.lock().asked.push(Asked { at: Instant::now(), verb, path, status });
    }

    /// Opens a watch at this very moment.
    ///
    /// # Errors
    /// When no endpoint answers.
    pub fn open(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        let world = self.lock();
        if world.down {
            return Err(refused());
        }
        let target = match world.target("watch", path) {
            Ok(target) => target,
            Err(answer) => return Ok(Err(answer)),
        };
        let after: u64 = target.version.parse().unwrap_or(0);
        if after < world.store.forgotten() {
            return Ok(Err(serve::expired()));
        }
        let open = Open {
            cluster: self.clone(),
            target,
            after,
            cuts: world.cuts,
            news: world.news.subscribe(),
            until: Instant::now() + within,
            over: false,
        };
        Ok(Ok(stream::unfold(open, |mut open| async move {
            let line = open.next().await?;
            Some((line, open))
        })
        .boxed()))
    }
}

impl Open {
    async fn next(&mut self) -> Option<Line> {
        while !self.over {
            // Seen as of now: what comes while the log is read wakes the wait below.
            self.news.mark_unchanged();
            let found = {
                let world = self.cluster.lock();
                if world.down || world.cuts != self.cuts {
                    self.over = true;
                    return Some(Err(Unreached {
                        why: "https://127.0.0.1:6443: connection reset".to_owned(),
                        may_have_taken_effect: false,
                    }));
                }
                world.store.since(self.after).find(|change| self.target.selects(change)).map(|change| {
                    let line = serde_json::json!({"type": change.kind, "object": change.object});
                    (change.version, line.to_string().into_bytes())
                })
            };
            if let Some((version, line)) = found {
                self.after = version;
                return Some(Ok(line));
            }
            if tokio::time::timeout_at(self.until, self.news.changed()).await.is_err() {
                self.over = true;
            }
        }
        None
    }
}
