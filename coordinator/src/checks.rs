//! The one way of looking: observe through agents, then judge, purely.
//!
//! A check is one file with its raw observation, a pure `judge` and a thin `observe`, and one arm in
//! [`one`]. What was not seen, was seen too late, or is told differently by two sources is `Unknown`.

pub mod etcd_quorum;
mod fetch;
pub mod health;
pub mod hypervisor;
pub mod k3s_datastore;
pub(crate) mod kubernetes;
pub mod prometheus;
pub mod unit;
pub mod version_skew;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drydock_core::{
    inventory::{Role, Seen},
    recipe::{Check, Detect},
    run::CheckResult,
};
use drydock_types::{
    NodeName, Verdict,
    probe::{EtcdView, Observation, Probe, UnitView},
    step::VersionSource,
};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::{
    driver::{FailedBefore, LookRequest},
    heard,
    link::Sessions,
    moves::{self, Carrier, kubernetes_drain::Bindings},
};

/// How long one look through an agent may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(6);
/// How long a look may take, all that it asks together: the reducer takes one anew that is not answered within 30 s. What
/// is asked first takes its time from what comes after it.
const LOOK_WITHIN: Duration = Duration::from_secs(25);

/// What the checks of one look share, so that each agent is asked each thing once.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What is asked.
    pub request: &'a LookRequest,
    /// The way to the agents.
    pub sessions: &'a Sessions,
    /// What each node of the stage sees of its etcd cluster, where a check or the recipe wants it.
    pub etcd: BTreeMap<NodeName, Result<EtcdView, String>>,
    /// When it must have been answered, whatever is not known by then.
    until: Instant,
    /// Which Node of which cluster a node is.
    clusters: Option<Arc<dyn Bindings>>,
    /// What those clusters and the agents have said of the nodes' machines.
    machines: kubernetes::Machines,
    /// What fails in the cluster before anything was changed, once somebody has seen it.
    failing: Mutex<Option<FailedBefore>>,
}

impl Scene<'_> {
    /// What a check says, within the time that the look has left.
    async fn in_time(&self, verdict: impl Future<Output = Verdict>) -> Verdict {
        timeout_at(self.until, verdict).await.unwrap_or_else(|_| {
            let s = LOOK_WITHIN.as_secs();
            Verdict::Unknown(format!("nobody said it within the {s} s that a look has for all its checks"))
        })
    }
}

/// Performs a look: what runs on the node, and every check's verdict, all on evidence of this moment.
pub async fn look(
    sessions: &Sessions,
    carrier: &dyn Carrier,
    request: &LookRequest,
) -> (Vec<CheckResult>, Seen) {
    let (results, seen, _) = look_and_note(sessions, carrier, request).await;
    (results, seen)
}

/// The same, with what fails in the node's cluster before anything of its run was changed, where the look is to note that.
pub async fn look_and_note(
    sessions: &Sessions,
    carrier: &dyn Carrier,
    request: &LookRequest,
) -> (Vec<CheckResult>, Seen, Option<FailedBefore>) {
    let until = Instant::now() + LOOK_WITHIN;
    let etcd = etcd(sessions, request).await;
    taken(sessions, carrier, request, etcd, until).await
}

/// What the nodes of the stage see of their etcd cluster, where a check or the recipe wants it.
pub async fn etcd(
    sessions: &Sessions,
    request: &LookRequest,
) -> BTreeMap<NodeName, Result<EtcdView, String>> {
    if wants_etcd(request) { etcd_views(sessions, request).await } else { BTreeMap::new() }
}

/// The same look, with what the nodes of the stage have just said of their etcd cluster.
pub async fn look_with(
    sessions: &Sessions,
    carrier: &dyn Carrier,
    request: &LookRequest,
    etcd: BTreeMap<NodeName, Result<EtcdView, String>>,
) -> (Vec<CheckResult>, Seen) {
    let until = Instant::now() + LOOK_WITHIN;
    let (results, seen, _) = taken(sessions, carrier, request, etcd, until).await;
    (results, seen)
}

async fn taken(
    sessions: &Sessions,
    carrier: &dyn Carrier,
    request: &LookRequest,
    etcd: BTreeMap<NodeName, Result<EtcdView, String>>,
    until: Instant,
) -> (Vec<CheckResult>, Seen, Option<FailedBefore>) {
    let (clusters, failing) = (carrier.bindings(), Mutex::default());
    let machines = kubernetes::Machines::default();
    let scene = Scene { request, sessions, etcd, until, clusters, machines, failing };
    let looks = looks(request);
    let mine = scene.etcd.get(&request.node);
    // Beside one another: each of these may take nearly as long as there is.
    let (seen, verdicts, moves, ()) = tokio::join!(
        seen(sessions, &request.node, &request.detect, mine),
        join_all(looks.iter().map(|look| scene.in_time(one(&scene, look)))),
        moves::looks(carrier, request, until),
        kubernetes::cluster::note(&scene)
    );
    // A reason may quote an agent, and stands in the run's state and in the record.
    let result = |(look, verdict): (&OneLook<'_>, Verdict)| CheckResult {
        check: look.name.clone(),
        verdict: heard::verdict(verdict),
    };
    let results = looks.iter().zip(verdicts).map(result).chain(moves).collect();
    (results, seen, scene.failing.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One check of a look: on which node, and how its result is called.
#[derive(Debug)]
struct OneLook<'a> {
    check: &'a Check,
    node: &'a NodeName,
    name: String,
    /// In a soak: for how long it has lasted, in milliseconds.
    soaking_ms: Option<u64>,
}

fn looks(request: &LookRequest) -> Vec<OneLook<'_>> {
    let own = |check: &'_ Check| check.name().to_string();
    let own = request.checks.iter().map(|check| (check, &request.node, own(check), None));
    let soak =
        request.soak.iter().map(|look| (&look.check, &look.node, look.name(), Some(request.soaking_ms)));
    own.chain(soak).map(|(check, node, name, soaking_ms)| OneLook { check, node, name, soaking_ms }).collect()
}

async fn one(scene: &Scene<'_>, look: &OneLook<'_>) -> Verdict {
    match look.check {
        Check::EtcdQuorum(config) => etcd_quorum::verdict(scene, config),
        Check::VersionSkew(_) => version_skew::verdict(scene).await,
        Check::Health(config) => health::verdict(scene, look.node, config).await,
        Check::Unit(config) => unit::verdict(scene, look.node, config, look.soaking_ms).await,
        Check::K3sDatastore(config) => k3s_datastore::verdict(scene, config).await,
        Check::Prometheus(config) => prometheus::verdict(config).await,
        Check::Packages(config) => hypervisor::packages(scene, look.node, *config).await,
        Check::LibvirtQuiescence(config) => hypervisor::libvirt(scene, look.node, *config).await,
        Check::Openvswitch(config) => hypervisor::openvswitch(scene, look.node, *config).await,
        Check::OvnController(config) => hypervisor::ovn(scene, look.node, *config).await,
        Check::KubernetesCluster(config) => kubernetes::cluster::verdict(scene, look.node, config).await,
        Check::KubernetesNode(config) => kubernetes::node::verdict(scene, look.node, config).await,
        Check::KubernetesSkew(config) => kubernetes::skew::verdict(scene, look.node, *config).await,
        Check::KubernetesCondition(config) => kubernetes::condition::verdict(scene, look.node, config).await,
        Check::NodeCanary(config) => {
            kubernetes::canary::verdict(scene, look.node, config, look.soaking_ms.is_some()).await
        }
    }
}

fn wants_etcd(request: &LookRequest) -> bool {
    matches!(request.detect.version, Some(VersionSource::Etcd {}))
        || looks(request)
            .iter()
            .any(|look| matches!(look.check, Check::EtcdQuorum(_) | Check::K3sDatastore(_)))
}

/// Every node of the stage says what it sees: no member's word stands alone.
async fn etcd_views(
    sessions: &Sessions,
    request: &LookRequest,
) -> BTreeMap<NodeName, Result<EtcdView, String>> {
    let ask = |node: NodeName| async move {
        let view = match sessions.observe(&node, &Probe::Etcd {}, PROBE_DEADLINE).await {
            Ok(Observation::Etcd(view)) => Ok(view),
            Ok(_) => Err(format!("{node}'s agent answered another question")),
            Err(why) => Err(why),
        };
        (node, view)
    };
    join_all(request.peers.iter().map(|(node, _)| ask(node.clone()))).await.into_iter().collect()
}

/// What runs on a node: the process and its own answer.
pub async fn seen(
    sessions: &Sessions,
    node: &NodeName,
    detect: &Detect,
    etcd: Option<&Result<EtcdView, String>>,
) -> Seen {
    let version = async {
        match (&detect.version, etcd) {
            (None, _) => None,
            (Some(VersionSource::Etcd {}), Some(view)) => Some(etcd_version(view)),
            (Some(source), _) => Some(version(sessions, node, source).await),
        }
    };
    let (version, process) = tokio::join!(version, process(sessions, node, detect));
    let role = etcd.and_then(|view| view.as_ref().ok()).and_then(|view| view.local.as_ref().ok());
    let role = role.map(|status| if status.leads() { Role::Leader } else { Role::Follower });
    heard::seen(Seen { version, exe_sha256: process.exe_sha256, role, down: process.down })
}

fn etcd_version(view: &Result<EtcdView, String>) -> Result<drydock_types::Version, String> {
    let status = view.as_ref().map_err(Clone::clone)?.local.as_ref().map_err(Clone::clone)?;
    Ok(status.version.clone())
}

/// The version that a service answers on a node.
///
/// # Errors
/// A text for people.
pub async fn version(
    sessions: &Sessions,
    node: &NodeName,
    source: &VersionSource,
) -> Result<drydock_types::Version, String> {
    match sessions.observe(node, &Probe::Version { source: source.clone() }, PROBE_DEADLINE).await? {
        Observation::Version(view) => Ok(view.version),
        _ => Err(format!("{node}'s agent answered another question")),
    }
}

/// What a node's agent says of a unit's process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Process {
    exe_sha256: Option<drydock_types::Sha256>,
    down: bool,
}

impl Process {
    fn of(view: UnitView) -> Self {
        Self {
            down: view.running.is_none() && view.runs_for_ms.is_none() && view.active_state != "active",
            // What runs is not what lies there: the next start is another one, so neither of the two is what runs.
            exe_sha256: match view.runs_the_file {
                Some(false) => None,
                _ => view.running.map(|running| running.exe_sha256),
            },
        }
    }
}

async fn process(sessions: &Sessions, node: &NodeName, detect: &Detect) -> Process {
    let Some(unit) = detect.unit.clone() else { return Process::default() };
    let probe = Probe::Unit { unit, path: detect.path.clone() };
    match sessions.observe(node, &probe, PROBE_DEADLINE).await {
        Ok(Observation::Unit(view)) => Process::of(view),
        Ok(_) => Process::default(),
        Err(why) => {
            tracing::debug!(%node, %why, "its unit could not be looked at");
            Process::default()
        }
    }
}

/// Looks at a component on every connected node of a stage, for the planner.
pub async fn survey(sessions: &Sessions, nodes: &[(NodeName, Detect)]) -> BTreeMap<NodeName, Seen> {
    let ask = |(node, detect): (NodeName, Detect)| async move {
        let etcd = match detect.version {
            Some(VersionSource::Etcd {}) => {
                let view = sessions.observe(&node, &Probe::Etcd {}, PROBE_DEADLINE).await;
                Some(view.and_then(|view| match view {
                    Observation::Etcd(view) => Ok(view),
                    _ => Err("the agent answered another question".to_string()),
                }))
            }
            _ => None,
        };
        let seen = seen(sessions, &node, &detect, etcd.as_ref()).await;
        (node, seen)
    };
    join_all(nodes.iter().cloned().map(ask)).await.into_iter().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use drydock_types::{Sha256, outcome::RunningUnit};

    use super::*;

    /// A look at the gate of a node that is asked about nothing.
    pub(crate) fn request(node: &NodeName) -> LookRequest {
        LookRequest {
            run: 1,
            index: 0,
            round: 0,
            node: node.clone(),
            before: true,
            detect: serde_json::from_value::<Detect>(serde_json::json!({})).unwrap(),
            checks: Vec::new(),
            moves: Vec::new(),
            drained: false,
            again: false,
            force: None,
            run_id: drydock_types::RunId([1; 16]),
            fleet: drydock_types::FleetId([1; 16]),
            key: drydock_types::Sha256([1; 32]),
            rehearses: false,
            soak: Vec::new(),
            soaking_ms: 0,
            peers: Vec::new(),
            to: drydock_types::Version::parse("2.0").unwrap(),
            outages: Vec::new(),
            one_minor_at_a_time: false,
            observe: Vec::new(),
            began_unix_ms: 0,
            failed_before: BTreeMap::new(),
            notes_failures: false,
            changed: std::collections::BTreeSet::new(),
            keys: BTreeMap::new(),
        }
    }

    #[test]
    fn down_is_only_what_has_no_process_by_its_agents_own_word() {
        let unit: drydock_types::UnitName = "thing.service".parse().unwrap();
        let view = |state: &str, pid: Option<u32>, runs_the_file: Option<bool>| UnitView {
            unit: unit.clone(),
            active_state: state.to_string(),
            sub_state: String::new(),
            running: pid.map(|pid| RunningUnit {
                unit: unit.clone(),
                pid,
                invocation: "1".to_string(),
                exe_inode: 1,
                exe_sha256: Sha256([1; 32]),
                unpacked: None,
            }),
            runs_the_file,
            runs_for_ms: pid.map(|_| 1),
        };
        for (view, down, seen) in [
            (view("failed", None, Some(false)), true, false),
            (view("inactive", None, None), true, false),
            // Between two starts of a unit that crashes again and again.
            (view("activating", None, None), true, false),
            (view("active", Some(7), Some(true)), false, true),
            // The old process goes on over another file: it serves.
            (view("active", Some(7), Some(false)), false, false),
            (view("activating", Some(7), None), false, true),
            // A unit without a main process can be well.
            (view("active", None, None), false, false),
            // A process whose executable could not be read.
            (UnitView { runs_for_ms: Some(1), ..view("deactivating", None, None) }, false, false),
        ] {
            let process = Process::of(view.clone());
            assert_eq!((process.down, process.exe_sha256.is_some()), (down, seen), "{view:?}");
        }
        assert!(!Process::default().down, "whoever did not answer is not known to be down");
    }
}
