//! Kubelets, scheduler, workload controllers and the disruption controller, in virtual time: one task that does what is
//! due and sleeps until something else is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    World, make,
    store::{Resource, text},
};

/// A controller that keeps as many pods as it should.
#[derive(Debug, Clone)]
pub struct Workload {
    /// `ReplicaSet`, `StatefulSet`, `DaemonSet`.
    pub kind: &'static str,
    /// Where.
    pub namespace: String,
    /// Its name; its pods have the label `app` with it.
    pub name: String,
    /// How many.
    pub replicas: usize,
    /// Its pods keep their names (`NAME-0`).
    pub stable: bool,
    /// Its pods are bound to this node without the scheduler.
    pub pinned: Option<String>,
    /// Laid over each pod.
    pub template: Value,
}

impl Workload {
    /// A Deployment's ReplicaSet.
    #[must_use]
    pub fn replica_set(namespace: &str, name: &str, replicas: usize) -> Self {
        Self {
            kind: "ReplicaSet",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas,
            stable: false,
            pinned: None,
            template: json!({}),
        }
    }

    /// Pods that keep their names.
    #[must_use]
    pub fn stateful_set(namespace: &str, name: &str, replicas: usize) -> Self {
        Self { kind: "StatefulSet", stable: true, ..Self::replica_set(namespace, name, replicas) }
    }

    /// One pod on one node, cordoned or not.
    #[must_use]
    pub fn daemon_set(namespace: &str, name: &str, node: &str) -> Self {
        Self { kind: "DaemonSet", pinned: Some(node.to_owned()), ..Self::replica_set(namespace, name, 1) }
    }

    /// Its UID.
    #[must_use]
    pub fn uid(&self) -> String {
        let pinned = self.pinned.as_deref().unwrap_or_default();
        match self.kind {
            // One DaemonSet has a pod on each node.
            "DaemonSet" => format!("owner-{}-{}", self.namespace, self.name),
            _ => format!("owner-{}-{}{pinned}", self.namespace, self.name),
        }
    }
}

/// When what is due.
#[derive(Default)]
pub(super) struct Timers {
    /// By pod UID: it is bound, gets ready, ends.
    due: BTreeMap<(String, Due), Instant>,
    /// By budget and pod: since when it counts as disrupted.
    pub(super) disrupted: BTreeMap<(String, String), Instant>,
    count: Option<Instant>,
    counted: u64,
    expires: Option<Instant>,
    made: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Bound,
    Ready,
    Ended,
}

/// The controllers' life. Ends with the world.
pub(super) async fn live(world: Weak<Mutex<World>>, mut news: watch::Receiver<()>) {
    loop {
        news.mark_unchanged();
        let next = {
            let Some(world) = world.upgrade() else { return };
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let before = world.store.version();
            let next = world.step(Instant::now());
            if world.store.version() != before {
                world.news.send_replace(());
                continue;
            }
            next
        };
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Not by chance: the same events make the same cluster.
            biased;
            changed = news.changed() => if changed.is_err() { return },
            () = due => {}
        }
    }
}

impl World {
    /// Does what is due. Brings when the next is.
    fn step(&mut self, now: Instant) -> Option<Instant> {
        self.note_slack();
        if self.controlled {
            self.make_pods();
        }
        // Whoever runs, and is not told to end, wants nothing.
        let settled = |pod: &&Value| {
            let stays = pod["metadata"]["deletionTimestamp"].is_null();
            stays && pod["status"]["phase"] != "Pending" && !pod["spec"]["nodeName"].is_null()
        };
        let pods: Vec<Value> = self.store.all(Resource::Pods).filter(|pod| !settled(pod)).cloned().collect();
        for pod in &pods {
            self.kubelet_and_scheduler(pod, now);
        }
        self.timers.due.retain(|(uid, _), _| pods.iter().any(|pod| pod["metadata"]["uid"] == uid.as_str()));
        self.disruption_controller(now);
        let timers = &self.timers;
        timers.due.values().copied().chain(timers.count).chain(timers.expires).filter(|at| *at > now).min()
    }

    /// Is it time? The first question sets the time.
    fn is_due(&mut self, uid: &str, what: Due, now: Instant) -> bool {
        let after = match what {
            Due::Bound => self.pace.schedules,
            Due::Ready => self.pace.readies,
            Due::Ended => self.pace.ends,
        };
        let at = *self.timers.due.entry((uid.to_owned(), what)).or_insert(now + after);
        at <= now
    }

    fn kubelet_and_scheduler(&mut self, pod: &Value, now: Instant) {
        let meta = &pod["metadata"];
        let (namespace, name, uid) = (text(&meta["namespace"]), text(&meta["name"]), text(&meta["uid"]));
        let bound = text(&pod["spec"]["nodeName"]);
        if !meta["deletionTimestamp"].is_null() {
            let held = meta["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
            if self.is_due(&uid, Due::Ended, now) && !held {
                self.store.remove(Resource::Pods, &namespace, &name);
            }
            return;
        }
        if bound.is_empty() {
            if self.is_due(&uid, Due::Bound, now)
                && let Some(node) = self.emptiest()
            {
                self.store
                    .change(Resource::Pods, &namespace, &name, |pod| pod["spec"]["nodeName"] = json!(node));
            }
            return;
        }
        let starts = pod["status"]["phase"] == "Pending" && meta["annotations"]["fake/never-ready"].is_null();
        if starts && self.is_due(&uid, Due::Ready, now) {
            self.store.change(Resource::Pods, &namespace, &name, |pod| {
                pod["status"] = make::running_status();
            });
        }
    }

    /// The node that is not cordoned and has the fewest pods.
    fn emptiest(&self) -> Option<String> {
        let nodes = self.store.all(Resource::Nodes).filter(|node| node["spec"]["unschedulable"] != true);
        let mut free: Vec<(usize, String)> = nodes
            .map(|node| {
                let name = text(&node["metadata"]["name"]);
                let pods = self.store.all(Resource::Pods);
                (pods.filter(|pod| pod["spec"]["nodeName"] == name.as_str()).count(), name)
            })
            .collect();
        free.sort();
        free.into_iter().next().map(|(_, name)| name)
    }

    fn make_pods(&mut self) {
        for workload in self.workloads.clone() {
            let own = |pod: &&Value| {
                pod["metadata"]["ownerReferences"][0]["uid"] == workload.uid().as_str()
                    && workload.pinned.as_ref().is_none_or(|node| pod["spec"]["nodeName"] == node.as_str())
            };
            // A StatefulSet waits until its pod is gone before it makes one of that name.
            let counts = |pod: &&Value| workload.stable || pod["metadata"]["deletionTimestamp"].is_null();
            let there: Vec<String> = self
                .store
                .all(Resource::Pods)
                .filter(own)
                .filter(counts)
                .map(|pod| text(&pod["metadata"]["name"]))
                .collect();
            for index in there.len()..workload.replicas {
                self.timers.made += 1;
                let name = match workload.stable {
                    true => (0..workload.replicas)
                        .map(|i| format!("{}-{i}", workload.name))
                        .find(|name| {
                            !there.contains(name)
                                && self.store.get(Resource::Pods, &workload.namespace, name).is_none()
                        })
                        .unwrap_or_else(|| format!("{}-{index}", workload.name)),
                    false => format!("{}-{:04}", workload.name, self.timers.made),
                };
                let pod = make::pod_of(&workload, &name);
                self.store.put(Resource::Pods, pod);
            }
        }
    }

    /// Counts a moment after each change, and no more often.
    fn disruption_controller(&mut self, now: Instant) {
        if !self.controlled {
            self.timers.count = None;
            return;
        }
        if self.timers.count.is_none() && self.store.version() != self.timers.counted {
            self.timers.count = Some(now + self.pace.counts);
        }
        if [self.timers.count, self.timers.expires].into_iter().flatten().any(|at| at <= now) {
            self.count_budgets(now);
            self.timers.counted = self.store.version();
            self.timers.count = None;
            // A pod that counts as disrupted and stays is forgotten in two minutes.
            let expires = self.timers.disrupted.values().map(|at| *at + Duration::from_secs(121));
            self.timers.expires = expires.filter(|at| *at > now).min();
        }
    }
}
