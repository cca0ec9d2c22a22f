//! A Kubernetes cluster beside the machines, in the stories that have one: each machine is a Node of it.
//!
//! | module | what lives there |
//! |---|---|
//! | [`draw`] | which seeds have one, and what such a story is about |
//! | `api` | the way from a coordinator to it, with everything that can happen to a request; which Node a machine is |
//! | `make` | its Nodes, workloads and budgets |
//!
//! The cluster is the one that the drain's own tests have (`drydock_kubernetes::fake`): it says no as a real server does.
//! Requests travel as messages do: what is under way when its sender dies or gives it up still arrives.

pub(crate) mod api;
pub mod draw;
pub(crate) mod make;

use drydock_kubernetes::fake::Cluster;

use crate::{dice::Dice, rules::marks::Hand, shared::Inner};

/// What there is of it at first.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Names of machines that nobody said which Node they are.
    pub unbound: Vec<String>,
    /// Nodes that are no machine of the fleet.
    pub spare: u64,
    /// What runs there.
    pub workloads: Vec<WorkloadSpec>,
    /// The machine with a pod that belongs to nobody.
    pub bare: Option<String>,
    /// The machine that somebody has cordoned.
    pub cordoned: Option<String>,
    /// kured runs on every Node.
    pub kured: bool,
}

/// A controller and its budget.
#[derive(Debug, Clone)]
pub struct WorkloadSpec {
    /// Its name.
    pub name: String,
    /// How many pods.
    pub replicas: u64,
    /// They keep their names.
    pub stable: bool,
    /// So many may be missing at once; `None`: no budget.
    pub may_miss: Option<u64>,
    /// They keep something in an emptyDir.
    pub scratch: bool,
}

/// What a recipe's drain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSpec {
    /// What people may lose is lost.
    pub allows: bool,
    /// Replacements are waited for.
    pub waits: bool,
    /// The deadline, where it is not the usual.
    pub within_ms: Option<u64>,
}

/// The cluster of a story.
pub(crate) struct Kube {
    pub(crate) cluster: Cluster,
    /// What happens to requests, and to what is in it.
    pub(crate) dice: Dice,
    /// By host: its Node's name.
    pub(crate) nodes: Vec<String>,
    /// By host: somebody said which Node it is.
    pub(crate) bound: Vec<bool>,
    /// By host: how often the machine was started.
    pub(crate) boots: Vec<u32>,
    /// So many pods that belong to no workload were made.
    pub(crate) landed: u32,
    /// Looked at by the rules up to this version.
    seen: u64,
}

/// The Node of a machine of this name.
pub(crate) fn node_of(host: &str) -> String {
    format!("k-{host}")
}

/// As its agent and its kubelet report it.
pub(crate) fn machine_id(host: &str) -> String {
    format!("machine-{host}")
}

/// The same.
pub(crate) fn boot_id(host: &str, boots: u32) -> String {
    format!("boot-{boots}-of-{host}")
}

impl Inner {
    /// Everything that has changed in the cluster since this was last asked, before the rules.
    pub(crate) fn see_cluster(&mut self, by: Hand, now_ms: u64) {
        let Some(kube) = &mut self.kube else { return };
        let (rules, ground, story) = (&mut self.rules, &self.ground, &mut self.story);
        kube.seen = kube.cluster.each_change(kube.seen, |resource, kind, object| {
            if let Some(line) = rules.cluster_changed(ground, (resource, kind, object), by, now_ms) {
                story.say(now_ms, || line);
            }
        });
    }
}
