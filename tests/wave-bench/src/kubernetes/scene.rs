//! The cluster, the fleet whose nodes are its Nodes, pods to be evicted, and many nodes and pods more.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use drydock_test_cluster::{Admin, Cluster, Settings, cluster::SOON, objects};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{audited::Audited, bare};
use crate::{
    fleet::{self, Fleet, Programs},
    process::wait_for,
    wave,
};

/// Pods on a Node that is drained.
pub(super) const PODS: usize = 10;
const NODES: &str = "/api/v1/nodes";
const ALL_PODS: &str = "/api/v1/namespaces/default/pods";
const CLUSTER_ROLE: &str = include_str!("../../../../deploy/kubernetes/clusterrole.yaml");
/// Objects that are put there at once.
const AT_ONCE: usize = 16;
/// Looks at the large cluster.
const LOOKS: u32 = 3;
/// A line of an audit log is written when its answer has gone out.
const WRITTEN: Duration = Duration::from_millis(200);

const RECIPE: &str = "apiVersion: drydock/v1
kind: Recipe
metadata:
  name: drained-noop
  summary: leaves service, has one section done that changes nothing, is given back
spec:
  detect: {}
  drain:
    - kubernetesDrain:
        barePods: allow
  apply: [nothing]
";

pub(super) struct Scene {
    // The fleet goes first: nothing should have to find out that its cluster is gone.
    fleet: Fleet,
    cluster: Cluster,
    admin: Admin,
    audited: Audited,
    runtime: Runtime,
    next: usize,
    round: u32,
}

/// What one drain by Drydock cost.
pub(super) struct Ours {
    pub(super) ms: f64,
    pub(super) requests: usize,
}

fn kube_node(number: usize) -> String {
    format!("node-{number}")
}

impl Scene {
    /// Starts everything; each agent's Node reports the machine that it runs on.
    pub(super) fn start(programs: &Programs, state: &Path, nodes: u32) -> Result<Self> {
        let runtime = Runtime::new()?;
        let settings = Settings { nodes: nodes as usize, audit: true, ..Settings::default() };
        let cluster = runtime.block_on(Cluster::start(settings))?;
        let server = cluster.servers().first().context("a cluster without a server")?;
        let ours = cluster.place().join("drydock.kubeconfig");
        server.write_kubeconfig("drydock", &[], 24 * 3600, &ours)?;
        let audited = Audited::new(server.audit_log(), "drydock");
        let admin = Admin::keeping_connections(&cluster.kubeconfig())?;
        runtime.block_on(grant(&admin))?;
        // The authorizer hears of the role a moment after it was made.
        let user = Admin::from_kubeconfig(&ours)?;
        let may = || Ok(runtime.block_on(user.get("/apis/policy/v1/poddisruptionbudgets")).ok());
        wait_for("the shipped role", SOON, Duration::from_millis(200), may)?;
        eprintln!("kubernetes-bench: enrolling {nodes} agents …");
        let fleet = Fleet::start(programs, &state.join("fleet"), nodes)?;
        fleet.operate(&["cluster", "add", "bench", "--kubeconfig", &ours.display().to_string()])?;
        fs::write(fleet.path("drained.yaml"), RECIPE)?;
        let scene = Self { fleet, cluster, admin, audited, runtime, next: 0, round: 0 };
        scene.bind(nodes)?;
        Ok(scene)
    }

    fn bind(&self, nodes: u32) -> Result<()> {
        // All agents run on this machine.
        let shown = self.fleet.operate(&["node", "show", &fleet::name(1)])?;
        let fact = |of: &str| find(&shown, of).cloned().with_context(|| format!("no {of} in {shown}"));
        let info =
            json!({"status": {"nodeInfo": {"machineID": fact("machineId")?, "bootID": fact("bootId")?}}});
        for number in 1..=nodes {
            let name = kube_node(number as usize);
            self.runtime.block_on(self.admin.patch(&format!("{NODES}/{name}/status"), &info))?;
            self.fleet.operate(&["node", "bind", &fleet::name(number), "bench", &name])?;
        }
        Ok(())
    }

    /// The next Node, with as many pods as are evicted.
    fn with_pods(&mut self) -> Result<(usize, String, Vec<String>)> {
        self.next = self.next % (self.fleet.nodes() as usize) + 1;
        self.round += 1;
        let node = kube_node(self.next);
        let pods: Vec<String> = (0..PODS).map(|pod| format!("pod-{}-{pod}", self.round)).collect();
        let (admin, round) = (&self.admin, format!("round-{}", self.round));
        self.runtime.block_on(async {
            for name in &pods {
                let mut pod = objects::bare_pod(name);
                pod["metadata"]["labels"]["round"] = json!(round);
                pod["spec"]["nodeName"] = json!(node);
                admin.create(ALL_PODS, &pod).await?;
            }
            let path = format!("{ALL_PODS}?labelSelector=round%3D{round}");
            let ready = |all: &[Value]| {
                (all.iter().filter(|pod| objects::is(pod, "Ready")).count() == PODS).then_some(())
            };
            admin.until("the pods to be ready", &path, SOON, ready).await
        })?;
        Ok((self.next, node, pods))
    }

    /// One drain by the bare client, in milliseconds.
    pub(super) fn drained_by_hand(&mut self) -> Result<f64> {
        let (_, node, pods) = self.with_pods()?;
        self.runtime.block_on(bare::drain(&self.admin, &node, &pods))
    }

    /// One run of one node.
    pub(super) fn drained_by_drydock(&mut self, number: u32) -> Result<Ours> {
        let (index, _, _) = self.with_pods()?;
        let name = fleet::name(u32::try_from(index)?);
        let start = self.audited.length()?;
        self.carry_out(&format!("drain-{number}"), &[name])?;
        let requests = self.requests(start)?;
        let evictions = requests.of("create", "pods/eviction");
        if evictions != PODS {
            bail!("{PODS} pods were evicted by {evictions} evictions: {}", requests.in_words());
        }
        if number == 0 {
            eprintln!("kubernetes-bench: a run of one node asks: {}", requests.in_words());
        }
        Ok(Ours { ms: requests.between_patches_ms()?, requests: requests.count() })
    }

    /// A run over every node, one at a time, without a pod to evict: each node's time, and how much each asked.
    pub(super) fn wave(&mut self, number: u32) -> Result<(Vec<f64>, f64)> {
        let names: Vec<String> = (1..=self.fleet.nodes()).map(fleet::name).collect();
        let start = self.audited.length()?;
        let times = self.carry_out(&format!("wave-{number}"), &names)?;
        let requests = self.requests(start)?;
        let patches = requests.of("patch", "nodes");
        if patches < 2 * names.len() {
            bail!("{patches} patches of Nodes for {} nodes: {}", names.len(), requests.in_words());
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let each = requests.count() as f64 / names.len() as f64;
        Ok((times, each))
    }

    #[expect(clippy::disallowed_methods, reason = "what a server writes to its log is no event here")]
    fn requests(&self, start: usize) -> Result<super::audited::Requests> {
        std::thread::sleep(WRITTEN);
        self.audited.since(start)
    }

    fn carry_out(&self, what: &str, names: &[String]) -> Result<Vec<f64>> {
        self.write_plan(what, names)?;
        wave::carry_out(&self.fleet, "plan.yaml", names)
    }

    fn write_plan(&self, what: &str, names: &[String]) -> Result<()> {
        let plan = format!(
            "apiVersion: drydock/v1
kind: Plan
metadata: {{name: {what}}}
spec:
  stages:
    - name: noop
      component: noop
      recipe: ./drained.yaml
      to: \"1.0.0\"
      waves:
        - name: all
          nodes: {{names: [{}]}}
          soak: 0s
",
            names.join(", ")
        );
        fs::write(self.fleet.path("plan.yaml"), plan)?;
        Ok(())
    }

    /// What the coordinator holds now, in KiB.
    pub(super) fn coordinator_kb(&self) -> Result<u64> {
        Ok(self.fleet.coordinator_memory()?.resident_kb)
    }

    /// Puts nodes and pods into the cluster that nothing runs: only their objects are wanted.
    pub(super) fn grow(&mut self, nodes: usize, pods: usize) -> Result<()> {
        self.cluster.stop_kwok();
        let (admin, version) = (&self.admin, env!("CARGO_PKG_VERSION"));
        let put =
            |path: &'static str, object: Value| async move { admin.create(path, &object).await.map(drop) };
        let there = self.fleet.nodes() as usize;
        let more_nodes = (there..nodes)
            .map(|number| put(NODES, objects::node(&format!("large-{number}"), &format!("v{version}"))));
        let of = nodes.saturating_sub(there).max(1);
        let more_pods = (0..pods).map(|number| {
            let mut pod = objects::bare_pod(&format!("large-{number}"));
            pod["spec"]["nodeName"] = json!(format!("large-{}", there + number % of));
            put(ALL_PODS, pod)
        });
        self.runtime.block_on(async {
            stream::iter(more_nodes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
            stream::iter(more_pods).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await
        })?;
        Ok(())
    }

    /// Looks at a gate in the large cluster, whole: at a node with a pod that has to find room elsewhere and that no word
    /// lets go. The most that the coordinator ever held, in KiB.
    pub(super) fn coordinator_peak_after_gates(&mut self) -> Result<u64> {
        let mut pod = objects::bare_pod("kept");
        pod["spec"]["nodeName"] = json!(kube_node(1));
        self.runtime.block_on(self.admin.create(ALL_PODS, &pod))?;
        fs::write(self.fleet.path("drained.yaml"), RECIPE.replace("barePods: allow", "barePods: refuse"))?;
        self.write_plan("large", &[fleet::name(1)])?;
        for _ in 0..LOOKS {
            match self.fleet.operate_text(&["rehearse", &self.fleet.path("plan.yaml")]) {
                // What was found is the proof that it was looked.
                Err(error) if error.to_string().contains("default/kept belongs to no controller") => {}
                other => bail!("the gate in the large cluster was not looked at: {other:?}"),
            }
        }
        Ok(self.fleet.coordinator_memory()?.peak_kb)
    }
}

/// The shipped role, for the user whose requests are counted.
async fn grant(admin: &Admin) -> Result<()> {
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let role: Value = serde_saphyr::from_str(CLUSTER_ROLE)?;
    admin.create(&format!("{roles}/clusterroles"), &role).await?;
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "drydock"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "drydock"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "drydock"}],
    });
    admin.create(&format!("{roles}/clusterrolebindings"), &binding).await?;
    Ok(())
}

/// A field of that name, wherever it stands.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        Value::Array(items) => items.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}
