//! Marks on other people's objects: whose cordon stands on which Node, told from what was written there and by whom.
//!
//! | rule | when |
//! |---|---|
//! | 1 budget, 4 one after another | a Node gets our mark; a section is decided, or takes a service down (in [`super::said`], [`super::leaving`]) |
//! | 5 only our own marks | whenever we write anything into the cluster |
//! | 7 pause means now | a pod is asked to leave |
//! | 8 unknown is not clear | a section is handed out: its node has left, as it was right before |
//! | 10 every way out restores | a mark is taken off, a node is called through, a run is over, the story is |

use std::collections::{BTreeMap, BTreeSet};

use drydock_kubernetes::{
    api::{Method, Request},
    fake::Resource,
};
use drydock_types::{FleetId, NodeName, RunId, SectionKind};
use serde::Deserialize;
use serde_json::Value;

use super::{Intent, Rules, decided::Evidence, leaving::shares_domain};
use crate::{
    cluster::node_of,
    ground::{By, Ground},
};

/// The annotation, as people read it.
const KEY: &str = "drydock/mark";
/// What stands beside it where replacements are waited for, and goes with it.
const BESIDE: &str = "drydock/replacements";
/// What was asked for before somebody undid a cordon is not held against it so long: a request's time, and its sender's.
const UNDER_WAY_MS: u64 = 10_000;

/// By whom something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// One of ours.
    Us {
        /// Which coordinator's.
        coordinator: usize,
    },
    /// Controllers, kubelets, people.
    Others,
}

/// What the annotation says, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Whose.
    pub fleet: FleetId,
    /// For which run.
    pub run: RunId,
    /// For which node.
    pub node: NodeName,
    /// By which coordinator.
    pub epoch: u64,
    /// The Node was cordoned before.
    pub was_cordoned: bool,
}

/// A Node as it is.
#[derive(Debug, Clone, Default)]
pub struct NodeTruth {
    object: Value,
    /// What stands on it.
    pub mark: Option<Mark>,
    /// Since when.
    marked_ms: u64,
    /// Who made it take no pods.
    cordon: Option<Cordon>,
    /// When it last was marked, cordoned and empty, as long as it is not.
    drained_until_ms: Option<u64>,
    /// When mark or cordon were last taken off.
    undone_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cordon {
    Ours,
    Others,
}

#[derive(Debug, Clone)]
struct PodTruth {
    /// `shop/cart-0`
    name: String,
    node: String,
    /// It has to leave a Node that is drained.
    goes: bool,
    told_to_end: bool,
}

/// Everything in the cluster, by name and UID.
#[derive(Debug, Default)]
pub struct Marks {
    nodes: BTreeMap<String, NodeTruth>,
    pods: BTreeMap<String, PodTruth>,
    /// What was ever ordered: for which run's marks, at which node, and whether it is to leave.
    ordered: BTreeSet<(RunId, NodeName, bool)>,
}

/// Who, and what, for the story.
type Line = (String, String);

impl Marks {
    /// A Node by a machine's name.
    #[must_use]
    pub fn of(&self, host: &NodeName) -> Option<&NodeTruth> {
        self.nodes.get(&node_of(host.as_str()))
    }

    /// Does a mark of ours stand on this machine's Node?
    #[must_use]
    pub fn is_marked(&self, ground: &Ground, host: usize) -> bool {
        !self.nodes.is_empty() && self.of(&ground.hosts[host].name).is_some_and(|node| node.mark.is_some())
    }

    fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodTruth> {
        self.pods.values().filter(move |pod| pod.node == node && pod.goes)
    }

    fn is_drained(&self, name: &str) -> bool {
        let node = self.nodes.get(name);
        node.is_some_and(|node| node.mark.is_some() && node.cordon.is_some())
            && self.pods_on(name).next().is_none()
    }

    /// Right before something changes on a Node.
    fn until(&mut self, name: &str, now_ms: u64) {
        if self.is_drained(name)
            && let Some(node) = self.nodes.get_mut(name)
        {
            node.drained_until_ms = Some(now_ms);
        }
    }

    /// Nodes that nobody calls ours to be cordoned any more, and those whose mark stands: name, and the mark.
    pub fn left(&self) -> impl Iterator<Item = (&str, Option<&Mark>)> {
        let ours = |node: &&NodeTruth| node.mark.is_some() || node.cordon == Some(Cordon::Ours);
        let nodes = self.nodes.iter().map(|(name, node)| (name.as_str(), node));
        nodes.filter(move |(_, node)| ours(node)).map(|(name, node)| (name, node.mark.as_ref()))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn mark_on(node: &Value) -> Option<Mark> {
    serde_json::from_str(node["metadata"]["annotations"][KEY].as_str()?).ok()
}

/// A Node without what we may write of it, and without what the server does.
fn theirs(node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(meta) = node["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(KEY);
            annotations.remove(BESIDE);
        }
    }
    if let Some(spec) = node["spec"].as_object_mut() {
        spec.remove("unschedulable");
    }
    node
}

impl Rules {
    // ---- asked -----------------------------------------------------------------------------------------------

    /// A coordinator sends a request.
    pub fn asks(&mut self, by: usize, request: &Request, now_ms: u64) {
        let path = request.path.split('?').next().unwrap_or_default();
        let evicts = path.strip_suffix("/eviction").filter(|_| request.method == Method::Post);
        let may = match request.method {
            Method::Get => true,
            Method::Post => evicts.is_some(),
            Method::MergePatch => path.starts_with("/api/v1/nodes/"),
            Method::Delete => false,
        };
        if !may {
            self.broken(5, now_ms, || format!("{:?} {path} was sent to the cluster", request.method));
        }
        let Some(pod) = evicts.and_then(|path| path.strip_prefix("/api/v1/namespaces/")) else { return };
        let pod = pod.replace("/pods/", "/");
        let node = self.marks.pods.values().find(|known| known.name == pod).map(|pod| pod.node.clone());
        let Some(mark) = node.and_then(|node| self.marks.nodes.get(&node)?.mark.clone()) else { return };
        let Some(run) = self.runs.get(&mark.run) else { return };
        // One that takes it back may be at what it has left marked.
        let taken_back = self.runs.values().any(|other| other.plan.undoes == Some(run.number));
        let closed = run.closed && !self.copied && !taken_back;
        let (number, paused) = (run.number, run.paused == Some(by));
        if paused || self.frozen == Some(by) {
            self.broken(7, now_ms, || {
                format!("the pod {pod} was asked to leave while run {number} was paused, or the fleet frozen")
            });
        }
        if closed {
            self.broken(10, now_ms, || format!("the pod {pod} was asked to leave, and run {number} is over"));
        }
    }

    /// A coordinator orders a node to leave, or to be given back.
    pub fn ordered(&mut self, run: RunId, node: &NodeName, leaves: bool) {
        self.marks.ordered.insert((run, node.clone(), leaves));
    }

    // ---- changed ---------------------------------------------------------------------------------------------

    /// Something in the cluster is another one than it was. What is to be said of it.
    pub fn cluster_changed(
        &mut self,
        ground: &Ground,
        (resource, kind, object): (Resource, &'static str, &Value),
        by: Hand,
        now_ms: u64,
    ) -> Option<Line> {
        match resource {
            Resource::Nodes => self.node_changed(ground, kind, object, by, now_ms),
            Resource::Pods => self.pod_changed(kind, object, by, now_ms),
            _ => None,
        }
    }

    fn pod_changed(&mut self, kind: &'static str, pod: &Value, by: Hand, now_ms: u64) -> Option<Line> {
        let meta = &pod["metadata"];
        let (uid, node) = (text(&meta["uid"]), text(&pod["spec"]["nodeName"]));
        let name = format!("{}/{}", text(&meta["namespace"]), text(&meta["name"]));
        let was = self.marks.pods.get(&uid).cloned();
        self.marks.until(&node, now_ms);
        if kind == "DELETED" {
            self.marks.pods.remove(&uid);
            if by != Hand::Others {
                self.broken(5, now_ms, || format!("we deleted the pod {name}"));
            }
            return (!node.is_empty()).then(|| (node, format!("the pod {name} is gone")));
        }
        let daemon = meta["ownerReferences"][0]["kind"] == "DaemonSet";
        let finished = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
        let told_to_end = !meta["deletionTimestamp"].is_null();
        let is = PodTruth { name: name.clone(), node: node.clone(), goes: !daemon && !finished, told_to_end };
        self.marks.pods.insert(uid, is);
        let newly = told_to_end && !was.as_ref().is_some_and(|was| was.told_to_end);
        if by == Hand::Others {
            let lands = !node.is_empty() && was.is_none_or(|was| was.node != node) && !daemon;
            return match (newly, lands) {
                (true, _) => Some((node, format!("the pod {name} is told to end"))),
                (false, true) => Some((node, format!("the pod {name} is put here"))),
                (false, false) => None,
            };
        }
        if daemon || finished {
            self.broken(5, now_ms, || format!("we evicted the pod {name}, which had not to leave"));
        }
        let truth = self.marks.nodes.get(&node).cloned().unwrap_or_default();
        let undone = truth.undone_ms.is_some_and(|at| now_ms <= at + UNDER_WAY_MS);
        if (truth.mark.is_none() || truth.cordon.is_none()) && !undone {
            self.broken(5, now_ms, || {
                format!("we evicted the pod {name} from {node}, which is not ours to empty: {:?}", truth.mark)
            });
        }
        Some((node, format!("the pod {name} is evicted")))
    }

    fn node_changed(
        &mut self,
        ground: &Ground,
        kind: &'static str,
        object: &Value,
        by: Hand,
        now_ms: u64,
    ) -> Option<Line> {
        let name = text(&object["metadata"]["name"]);
        self.marks.until(&name, now_ms);
        let was = self.marks.nodes.get(&name).cloned().unwrap_or_default();
        let known = !was.object.is_null();
        if kind == "DELETED" {
            if by != Hand::Others {
                self.broken(5, now_ms, || format!("we deleted the Node {name}"));
            }
            let undone_ms = was.mark.is_some().then_some(now_ms).or(was.undone_ms);
            let (object, mark, cordon) = (Value::Null, None, None);
            self.marks.nodes.insert(name.clone(), NodeTruth { object, mark, cordon, undone_ms, ..was });
            return Some((name, "the Node is deleted".to_owned()));
        }
        let mark = mark_on(object);
        let cordoned = object["spec"]["unschedulable"] == true;
        let cordon = match (was.cordon, cordoned, by) {
            (_, false, _) => None,
            (Some(whose), true, _) => Some(whose),
            (None, true, Hand::Us { .. }) => Some(Cordon::Ours),
            // Beside a mark that says that nobody had cordoned it, a cordon is ours, whoever put it back.
            (None, true, Hand::Others) => match was.mark.as_ref().is_some_and(|mark| !mark.was_cordoned) {
                true => Some(Cordon::Ours),
                false => Some(Cordon::Others),
            },
        };
        let undone = was.mark.is_some() && mark.is_none() || was.cordon.is_some() && cordon.is_none();
        let is = NodeTruth {
            object: object.clone(),
            marked_ms: if was.mark.is_none() && mark.is_some() { now_ms } else { was.marked_ms },
            mark,
            cordon,
            drained_until_ms: was.drained_until_ms,
            undone_ms: if undone { Some(now_ms) } else { was.undone_ms },
        };
        self.marks.nodes.insert(name.clone(), is.clone());
        if let Hand::Us { .. } = by {
            if !known || theirs(&was.object) != theirs(object) {
                self.broken(5, now_ms, || format!("we changed more of the Node {name} than is ours"));
            }
            self.marked(ground, &name, &was, &is, now_ms);
        }
        let said = match (was.mark.is_some(), is.mark.as_ref()) {
            (false, Some(mark)) => format!("marked by run {} of epoch {}", mark.run, mark.epoch),
            (true, None) => "the mark is off".to_owned(),
            _ => String::new(),
        };
        let whose = match (was.cordon, is.cordon) {
            (None, Some(whose)) => format!("cordoned ({whose:?})"),
            (Some(_), None) => "uncordoned".to_owned(),
            _ => String::new(),
        };
        let hand = if by == Hand::Others { "others" } else { "us" };
        (!said.is_empty() || !whose.is_empty()).then(|| (name, format!("{said} {whose}, by {hand}")))
    }

    /// We wrote a mark, or took one off.
    fn marked(&mut self, ground: &Ground, name: &str, was: &NodeTruth, is: &NodeTruth, now_ms: u64) {
        match (&was.mark, &is.mark) {
            (None, Some(mark)) => {
                if mark.was_cordoned != was.cordon.is_some() || is.cordon.is_none() {
                    self.broken(5, now_ms, || {
                        format!(
                            "{name} was {:?} cordoned, is {:?}, and our mark says {mark:?}",
                            was.cordon, is.cordon
                        )
                    });
                }
                let order = (mark.run, mark.node.clone(), true);
                if !self.marks.ordered.contains(&order) {
                    self.broken(2, now_ms, || {
                        format!("{name} was marked, and nobody had ordered so: {mark:?}")
                    });
                }
                self.may_leave(ground, mark, now_ms);
            }
            (Some(old), Some(new)) => {
                if old.run != new.run || old.fleet != new.fleet || old.epoch > new.epoch {
                    self.broken(5, now_ms, || format!("on {name} we put {new:?} over {old:?}"));
                }
                if was.cordon.is_some() && is.cordon.is_none() {
                    self.broken(5, now_ms, || format!("we uncordoned {name} and left our mark"));
                }
            }
            (Some(old), None) => self.given_back(ground, name, old, (was, is), now_ms),
            (None, None) => {
                self.broken(5, now_ms, || format!("we changed the Node {name} without a mark"));
            }
        }
    }

    /// Rule 1, and rule 4: whoever leaves service counts from its mark on.
    fn may_leave(&mut self, ground: &Ground, mark: &Mark, now_ms: u64) {
        let Some(host) = ground.host(&mark.node) else { return };
        let Some(run) = self.runs.get(&mark.run) else { return };
        // A store that was copied or restored does not know who is marked by what it has lost.
        if self.copied || self.split || self.aside.contains(&host) {
            return;
        }
        let counts = |of: usize| {
            let ours = ground.hosts[of].out.is_some_and(|out| matches!(out.by, By::Us(_)));
            !self.aside.contains(&of) && (ours || self.marks.is_marked(ground, of))
        };
        let others: Vec<&str> = (0..ground.hosts.len())
            .filter(|of| *of != host && shares_domain(ground, &run.plan, host, *of) && counts(*of))
            .map(|of| ground.hosts[of].name.as_str())
            .collect();
        if others.len() >= run.plan.budget.per_failure_domain as usize {
            let what =
                format!("{} leaves service while out or marked by us: {}", mark.node, others.join(", "));
            self.broken(1, now_ms, || what);
        }
    }

    /// Rules 5 and 10: the Node is as it was found, and a machine that was changed serves.
    fn given_back(
        &mut self,
        ground: &Ground,
        name: &str,
        old: &Mark,
        (was, is): (&NodeTruth, &NodeTruth),
        now_ms: u64,
    ) {
        if was.cordon == Some(Cordon::Others) && is.cordon.is_none() {
            self.broken(5, now_ms, || format!("we took somebody else's cordon off {name}"));
        }
        if !self.marks.ordered.contains(&(old.run, old.node.clone(), false)) {
            self.broken(5, now_ms, || {
                format!("the mark on {name} is of run {}, which had not asked for it", old.run)
            });
        }
        if is.cordon == Some(Cordon::Ours) {
            self.broken(10, now_ms, || format!("we gave {name} back, and our cordon stands on it"));
        }
        if !is.object["metadata"]["annotations"][BESIDE].is_null() {
            self.broken(10, now_ms, || format!("we gave {name} back, and {BESIDE} stands on it"));
        }
        let Some(host) = ground.host(&old.node) else { return };
        let changed = self.began_ms.get(&host).is_some_and(|at| *at >= was.marked_ms);
        let out = ground.hosts[host].out.is_some_and(|out| matches!(out.by, By::Us(_)));
        if changed && out && !self.copied && !self.split {
            self.broken(4, now_ms, || format!("{name} was given back while its service is out by our doing"));
        }
    }

    // ---- decided ---------------------------------------------------------------------------------------------

    /// Rule 8: a section of a node that has to leave first goes out only where it has left, at some moment since it was
    /// looked at for that.
    pub(super) fn has_left(
        &mut self,
        ground: &Ground,
        intent: &Intent,
        evidence: Option<&Evidence>,
        now_ms: u64,
    ) {
        let drains = self.runs.get(&intent.run).is_some_and(|run| {
            let stages = run.plan.stages.iter().filter(|stage| stage.node(&intent.node).is_some());
            stages.map(|stage| &stage.recipe.spec.drain).any(|drain| !drain.is_empty())
        });
        let changes = matches!(intent.kind, SectionKind::Apply | SectionKind::Undo);
        let Some(evidence) = evidence.filter(|_| drains && changes) else { return };
        let Some(host) = ground.host(&intent.node) else { return };
        // Who is down already is worked on there: there is nothing to move away from it.
        if ground.hosts[host].out.is_some() || ground.hosts[host].in_since_ms >= evidence.asked_ms {
            return;
        }
        let name = node_of(intent.node.as_str());
        let until = self.marks.nodes.get(&name).and_then(|node| node.drained_until_ms);
        if !self.marks.is_drained(&name) && until.is_none_or(|until| until < evidence.asked_ms) {
            let truth = self.marks.nodes.get(&name).cloned().unwrap_or_default();
            let pods: Vec<&str> = self.marks.pods_on(&name).map(|pod| pod.name.as_str()).collect();
            let what = format!(
                "{:?} on {} was handed out: cordoned {:?}, marked {}, pods left: {}",
                intent.kind,
                intent.node,
                truth.cordon,
                truth.mark.is_some(),
                pods.join(", ")
            );
            self.broken(8, now_ms, || what);
        }
    }

    // ---- told ------------------------------------------------------------------------------------------------

    /// Rule 10: whoever is through with a run has no mark of it any more.
    pub fn called_through(&mut self, node: &NodeName, run: RunId, now_ms: u64) {
        let stands =
            self.marks.of(node).and_then(|node| node.mark.as_ref()).is_some_and(|mark| mark.run == run);
        if stands && !self.copied && !self.split {
            self.broken(10, now_ms, || format!("{node} is through, and run {run}'s mark stands on its Node"));
        }
    }

    /// Rule 10, at the end of a run: a mark that is left is said.
    pub(super) fn marks_are_said(&mut self, node: &NodeName, run: RunId, said: &str, now_ms: u64) {
        let stands =
            self.marks.of(node).and_then(|node| node.mark.as_ref()).is_some_and(|mark| mark.run == run);
        if stands && !said.contains("marked") && !self.copied && !self.split {
            let said = said.to_owned();
            self.broken(10, now_ms, || {
                format!("run {run} is over, its mark stands on the Node of {node}, and only this is said: {said:?}")
            });
        }
    }
}
