//! What happens in the cluster by others' hands, and what coordinators' moves there come to.

use drydock_coordinator::driver::{Input, MoveRequest};
use drydock_core::{
    moves::{Doing, MoveEnd},
    standing::Release,
};
use drydock_kubernetes::fake::{Cluster, Resource, make};
use serde_json::{Value, json};

use super::{What, World, open_runs};
use crate::{
    cluster::make::{KURED, SHOP, node},
    coverage::Item,
    faults::{Fault, Kind},
    rules::marks::Hand,
};

/// kured's annotation.
const LOCK: &str = "weave.works/kured-node-lock";
/// The cluster-autoscaler's taint.
const TAINT: &str = "ToBeDeletedByClusterAutoscaler";

fn cordon(node: &mut Value, cordoned: bool) {
    match cordoned {
        true => node["spec"]["unschedulable"] = json!(true),
        false => drop(node["spec"].as_object_mut().and_then(|spec| spec.remove("unschedulable"))),
    }
}

impl World {
    // ---- moves -----------------------------------------------------------------------------------------------

    pub(super) fn say_order(&self, request: &MoveRequest) {
        let order = &request.order;
        if let Some(doing) = order.doing {
            let leaves = doing == Doing::Leave;
            self.shared.lock().rules.ordered(request.run_id, &order.name, leaves);
        }
        self.say(
            || "coordinator".to_string(),
            || {
                let doing = order.doing.map_or("stop", Doing::as_str);
                format!("orders {} to {doing} ({})", order.name, order.effect.short())
            },
        );
    }

    /// A move waits for something, or ended.
    pub(super) fn moved(&mut self, index: usize, start: u32, input: Input) {
        if self.coordinators[index].running.as_ref().is_none_or(|running| running.start != start) {
            return;
        }
        match &input {
            Input::Moved { effect, end, .. } => {
                let (how, why) = match end {
                    MoveEnd::Left { seen } => ("left", seen),
                    MoveEnd::GivenBack { seen } => ("given back", seen),
                    MoveEnd::Refused { why } => ("refused", why),
                    MoveEnd::NeverBegun { why } => ("never begun", why),
                    MoveEnd::Lapsed { why } => ("lapsed", why),
                };
                let runs = open_runs(&self.coordinators[index]);
                let mut moves =
                    runs.iter().flat_map(|run| &run.nodes).filter_map(|node| node.moving.as_ref());
                if let Some(moving) = moves.find(|moving| moving.effect == *effect) {
                    let kind = if moving.doing == Doing::Leave { "leave" } else { "give back" };
                    self.note(Item::Outcome(kind, how));
                }
                self.say(|| format!("move {}", effect.short()), || format!("{how}: {why}"));
            }
            Input::MoveWaits { what, because, .. } => {
                self.say(|| "move".to_string(), || format!("waits for {what}: {because}"));
            }
            _ => {}
        }
        self.tell(index, input);
    }

    /// Is a move of the first coordinator's under way?
    pub(super) fn is_moving(&self) -> bool {
        let runs = open_runs(&self.coordinators[self.first]);
        runs.iter().any(|run| run.nodes.iter().any(|node| node.moving.is_some()))
    }

    // ---- others ----------------------------------------------------------------------------------------------

    /// Something is done to the cluster, and the rules see what.
    fn in_cluster<T>(&self, deed: impl FnOnce(&Cluster) -> T) -> Option<T> {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        inner.see_cluster(Hand::Others, now_ms);
        let cluster = inner.kube.as_ref()?.cluster.clone();
        let done = deed(&cluster);
        inner.see_cluster(Hand::Others, now_ms);
        Some(done)
    }

    fn kube_node(&self, host: usize) -> String {
        let inner = self.shared.lock();
        inner.kube.as_ref().map(|kube| kube.nodes[host].clone()).unwrap_or_default()
    }

    /// `false` where that Node is not there.
    fn change_node(&self, host: usize, change: impl FnOnce(&mut Value)) -> bool {
        let name = self.kube_node(host);
        let changed = self.in_cluster(|cluster| {
            let there = cluster.object(Resource::Nodes, "", &name).is_some();
            if there {
                cluster.change(Resource::Nodes, "", &name, change);
            }
            there
        });
        changed == Some(true)
    }

    /// Is what it is to strike not there yet? What others do to a Node that is marked, and a death in a move, are aimed.
    pub(super) fn is_too_early(&self, fault: &Fault) -> bool {
        let there = match fault.kind {
            Kind::CoordinatorKilledDraining => self.is_moving(),
            Kind::NodeUncordoned | Kind::PodLands => {
                let inner = self.shared.lock();
                inner.rules.marks.is_marked(&inner.ground, fault.host)
            }
            _ => return false,
        };
        !there && fault.chance > 0
    }

    /// `false` when there was nothing that it could have struck.
    pub(super) fn cluster_struck(&mut self, fault: Fault) -> bool {
        let Fault { kind, host, for_ms, chance } = fault;
        if self.shared.lock().kube.is_none() {
            return false;
        }
        let struck = match kind {
            Kind::NodeCordoned => {
                let mut newly = false;
                self.change_node(host, |node| {
                    newly = node["spec"]["unschedulable"] != true;
                    cordon(node, true);
                }) && newly
            }
            Kind::NodeUncordoned => {
                let mut was = false;
                self.change_node(host, |node| {
                    was = node["spec"]["unschedulable"] == true;
                    cordon(node, false);
                }) && was
            }
            Kind::KuredLocks => self.kured_locks(host, true),
            Kind::AutoscalerTaints => self.change_node(host, |node| {
                node["spec"]["taints"] = json!([{"key": TAINT, "value": "1", "effect": "NoSchedule"}]);
            }),
            Kind::NodeAnew => self.node_goes(host),
            Kind::BudgetBlocks => self.budget_demands(chance, Some(0)),
            Kind::PodLands => self.pod_lands(host),
            Kind::PodStays => self.pod_stays(host, true),
            Kind::NoControllers => self.in_cluster(|cluster| cluster.controlled(false)).is_some(),
            Kind::ApiDown => self.in_cluster(|cluster| cluster.down(true)).is_some(),
            Kind::WatchesBreak => self.in_cluster(Cluster::forget).is_some(),
            _ => return false,
        };
        let lasts = struck && !matches!(kind, Kind::NodeUncordoned | Kind::PodLands | Kind::WatchesBreak);
        if lasts {
            self.soon(for_ms, What::ClusterMends(fault));
        }
        struck
    }

    /// Whoever did it takes it back.
    pub(super) fn cluster_mends(&mut self, fault: Fault) {
        let Fault { kind, host, chance, .. } = fault;
        match kind {
            Kind::NodeCordoned => drop(self.change_node(host, |node| cordon(node, false))),
            Kind::KuredLocks => drop(self.kured_locks(host, false)),
            Kind::AutoscalerTaints => drop(self.change_node(host, |node| {
                node["spec"].as_object_mut().map(|spec| spec.remove("taints"));
            })),
            Kind::NodeAnew => self.node_registers(host),
            Kind::BudgetBlocks => drop(self.budget_demands(chance, None)),
            Kind::PodStays => drop(self.pod_stays(host, false)),
            Kind::NoControllers => drop(self.in_cluster(|cluster| cluster.controlled(true))),
            Kind::ApiDown => drop(self.in_cluster(|cluster| cluster.down(false))),
            _ => {}
        }
        self.say(|| "cluster".to_string(), || format!("over: {}", kind.name()));
    }

    /// As kured does it: the lock, then the cordon; uncordoned, then released.
    fn kured_locks(&self, host: usize, locks: bool) -> bool {
        let name = self.kube_node(host);
        let there = self.in_cluster(|cluster| {
            let (namespace, set) = KURED;
            if cluster.object(Resource::DaemonSets, namespace, set).is_none() {
                return false;
            }
            cluster.change(Resource::DaemonSets, namespace, set, |set| match locks {
                true => set["metadata"]["annotations"][LOCK] = json!(json!({"nodeID": name}).to_string()),
                false => set["metadata"]["annotations"] = json!({}),
            });
            true
        });
        // A Node that was cordoned before it leaves so, as kured itself does.
        there == Some(true)
    }

    /// Its pods go with it, as the garbage collector has it.
    fn node_goes(&self, host: usize) -> bool {
        let name = self.kube_node(host);
        let gone = self.in_cluster(|cluster| {
            if cluster.object(Resource::Nodes, "", &name).is_none() {
                return false;
            }
            for (pod, _) in cluster.pods_on(&name) {
                for namespace in [SHOP, KURED.0] {
                    cluster.remove(Resource::Pods, namespace, &pod);
                }
            }
            cluster.remove(Resource::Nodes, "", &name);
            true
        });
        gone == Some(true)
    }

    fn node_registers(&self, host: usize) {
        let boots = self.shared.lock().kube.as_ref().map_or(0, |kube| kube.boots[host]);
        let anew = node(self.agents[host].node.as_str(), boots, false);
        self.in_cluster(|cluster| cluster.put(Resource::Nodes, anew));
    }

    /// A machine was started: its kubelet reports that before long.
    pub(super) fn kubelet_reports(&self, host: usize) {
        let boots = self.shared.lock().kube.as_ref().map_or(0, |kube| kube.boots[host]);
        let told = node(self.agents[host].node.as_str(), boots, false);
        self.change_node(host, |node| node["status"]["nodeInfo"] = told["status"]["nodeInfo"].clone());
    }

    /// A budget lets so many go, or as many as it did at first.
    fn budget_demands(&self, chance: u64, may_miss: Option<u64>) -> bool {
        let budgets: Vec<_> = self.scenario.cluster.iter().flat_map(|spec| &spec.workloads).collect();
        let budgets: Vec<_> = budgets.into_iter().filter(|workload| workload.may_miss.is_some()).collect();
        let at = usize::try_from(chance).unwrap_or(0) % budgets.len().max(1);
        let Some(workload) = budgets.get(at) else { return false };
        let may_miss = may_miss.or(workload.may_miss).unwrap_or(1);
        let changed = self.in_cluster(|cluster| {
            cluster.change(Resource::Budgets, SHOP, &workload.name, |budget| {
                budget["spec"]["maxUnavailable"] = json!(may_miss);
            });
        });
        changed.is_some()
    }

    /// Somebody's controller that asks no scheduler.
    fn pod_lands(&self, host: usize) -> bool {
        let name = self.kube_node(host);
        let number = {
            let mut inner = self.shared.lock();
            let Some(kube) = &mut inner.kube else { return false };
            kube.landed += 1;
            kube.landed
        };
        let mut pod = make::pod(SHOP, &format!("late-{number}"), &name);
        if !number.is_multiple_of(4) {
            pod["metadata"]["ownerReferences"] = json!([make::owner("Job", "late", "owner-late")]);
        }
        let landed = self.in_cluster(|cluster| {
            let there = cluster.object(Resource::Nodes, "", &name).is_some();
            if there {
                cluster.put(Resource::Pods, pod);
            }
            there
        });
        landed == Some(true)
    }

    /// Finalizers on every pod of a Node, or none on any pod.
    fn pod_stays(&self, host: usize, stays: bool) -> bool {
        let name = self.kube_node(host);
        let changed = self.in_cluster(|cluster| {
            let pods = match stays {
                true => cluster.pods_on(&name),
                false => cluster.all(Resource::Pods),
            };
            let mut some = false;
            for (pod, _) in pods {
                if cluster.object(Resource::Pods, SHOP, &pod).is_none() {
                    continue;
                }
                some = true;
                cluster.change(Resource::Pods, SHOP, &pod, |pod| match stays {
                    true => pod["metadata"]["finalizers"] = json!(["shop/keeps"]),
                    false => drop(pod["metadata"].as_object_mut().and_then(|meta| meta.remove("finalizers"))),
                });
            }
            some
        });
        changed == Some(true)
    }

    // ---- people ----------------------------------------------------------------------------------------------

    /// What a run that is over has left marked is taken back by hand, as its mark says, and that is said.
    pub(super) fn take_marks_back(&mut self, host: usize) {
        let first = self.first;
        let node = self.agents[host].node.clone();
        let key = self.shared.lock().ground.hosts[host].key;
        let busy =
            open_runs(&self.coordinators[first]).iter().any(|run| run.nodes.iter().any(|it| it.key == key));
        let Some(running) = self.coordinators[first].running.as_ref().filter(|_| !busy) else { return };
        let Some(left) = running.driver.standing(key).map(|standing| standing.marks.clone()) else { return };
        if left.is_empty() {
            return;
        }
        let ours = |mark: &str| left.iter().any(|left| mark.contains(&left.run_id.to_string()));
        self.change_node(host, |node| {
            let mark =
                node["metadata"]["annotations"]["drydock/mark"].as_str().unwrap_or_default().to_owned();
            if !ours(&mark) {
                return;
            }
            if !mark.contains("\"wasCordoned\":true") {
                cordon(node, false);
            }
            if let Some(all) = node["metadata"]["annotations"].as_object_mut() {
                all.remove("drydock/mark");
                all.remove("drydock/replacements");
            }
        });
        let release = Release { marks: true, ..Release::default() };
        self.ask("release", |running, now| {
            running.driver.release(&node, &release, "bert", now).map(|_| Vec::new())
        });
    }

    /// Rule 10, when all runs are over: what of ours stands in the cluster stands on record.
    pub(super) fn nothing_is_left(&self) {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        inner.see_cluster(Hand::Others, now_ms);
        if inner.rules.copied || inner.rules.split {
            return;
        }
        let Some(running) = &self.coordinators[self.first].running else { return };
        let on_record = |host: usize| {
            let standing = running.driver.standing(inner.ground.hosts[host].key);
            standing.is_some_and(|standing| !standing.marks.is_empty())
        };
        let left = inner.rules.marks.left().find(|(name, _)| {
            let host = inner.kube.as_ref().and_then(|kube| kube.nodes.iter().position(|node| node == name));
            !host.is_some_and(on_record)
        });
        let said = left.map(|(name, mark)| format!("all runs are over, and ours stands on {name}: {mark:?}"));
        if let Some(said) = said {
            inner.rules.broken(10, now_ms, || said);
        }
    }
}
