//! The move `kubernetesDrain`: the node's Kubernetes Node is cordoned and emptied, and given back.
//!
//! What is done to the cluster, and how its answers are judged, is `drydock-kubernetes`'s. This knows which Node a node is,
//! and proves it: bound once by an operator, and at each look the machine id and the boot id that the kubelet reports
//! must be those that the node's own agent reports.

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use drydock_core::moves::{self, ForcedPod, Move};
use drydock_kubernetes::{
    api::Api,
    drain::{
        Finding, Force, Kind, Order, OwnPod, Word, Words,
        ask::{self, Fault},
        cordon::{self, Released},
        judge::{
            self,
            left::{LeftBehind, left as left_behind},
        },
        look::{self, Look, foresee_from, node_path, pods_path, unseen},
        verdict,
        work::{self, Ended, Progress, Stop},
    },
    mark::Marker,
    objects::{Node, Pod, Uid},
};
use drydock_types::{
    ClusterName, FleetId, NodeKey, NodeName, RunId, Verdict,
    probe::{HostFacts, Observation, Probe},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Carrier, Errand, NotMoved, Sight, Told, fresh::Fresh, left::LeftPod};
use crate::{
    clusters::Clusters,
    driver::{LookRequest, MoveRequest},
    link::Sessions,
};

/// How long the node's own agent may take to say which machine it is.
const SAYS_WITHIN: Duration = Duration::from_secs(6);
/// The reducer stops a drain at its deadline. This is only so that none is without an end.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The pause before marks are tried to be taken back again, from the first to every later one.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];

/// Which Node a node is.
#[derive(Clone)]
pub struct Bound {
    /// The cluster, by Drydock's name.
    pub cluster: String,
    /// The Node's name there.
    pub node: String,
    /// The way to it.
    pub api: Arc<dyn Api>,
    /// The coordinator's own pod, where it runs in one.
    pub own_pod: Option<OwnPod>,
}

/// Who knows which Node a node is.
#[async_trait]
pub trait Bindings: std::fmt::Debug + Send + Sync {
    /// By the node's key: a name in a payload is nobody.
    ///
    /// # Errors
    /// When it is bound to none, or its cluster is not known any more; with what to do about it.
    async fn of(self: Arc<Self>, key: NodeKey, name: &NodeName) -> Result<Bound, String>;

    /// Is any of these machines a Node of this cluster?
    ///
    /// # Errors
    /// When that cannot be read.
    async fn any_of(self: Arc<Self>, cluster: &str, keys: &BTreeSet<NodeKey>) -> Result<bool, String>;
}

#[async_trait]
impl Bindings for Clusters {
    async fn of(self: Arc<Self>, key: NodeKey, name: &NodeName) -> Result<Bound, String> {
        let own_pod = self.runs_in().cloned();
        let (binding, opened) = self.opened_for(key, name).await?;
        let (cluster, node) = (binding.cluster.to_string(), binding.kube_node);
        Ok(Bound { cluster, node, api: opened.client, own_pod })
    }

    async fn any_of(self: Arc<Self>, cluster: &str, keys: &BTreeSet<NodeKey>) -> Result<bool, String> {
        let cluster = ClusterName::parse(cluster).map_err(|why| why.to_string())?;
        let rows = tokio::task::spawn_blocking(move || self.bindings_of(&cluster)).await;
        let rows = rows.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
        Ok(rows.iter().any(|row| keys.contains(&row.key)))
    }
}

/// Drains and gives back.
#[derive(Debug)]
pub struct KubernetesDrain {
    bindings: Arc<dyn Bindings>,
    sessions: Sessions,
    /// What the last look of a node read, for what follows it at once.
    fresh: Fresh,
}

/// For whom.
struct Whom<'a> {
    fleet: FleetId,
    run: RunId,
    name: &'a NodeName,
    again: bool,
    force: Option<&'a moves::Force>,
}

impl<'a> From<&'a LookRequest> for Whom<'a> {
    fn from(asked: &'a LookRequest) -> Self {
        let LookRequest { fleet, run_id, node, again, force, .. } = asked;
        Self { fleet: *fleet, run: *run_id, name: node, again: *again, force: force.as_ref() }
    }
}

impl KubernetesDrain {
    /// Over these bindings; agents are asked over these sessions which machines they are.
    #[must_use]
    pub fn new(bindings: Arc<dyn Bindings>, sessions: Sessions) -> Self {
        Self { bindings, sessions, fresh: Fresh::default() }
    }

    /// For whom an errand is, and where.
    async fn begin<'a>(&self, errand: &Errand<'a>) -> Result<(Bound, Whom<'a>), NotMoved> {
        let MoveRequest { fleet, run_id, key, order, .. } = errand.order;
        let bound = Arc::clone(&self.bindings).of(*key, &order.name).await.map_err(NotMoved::Refused)?;
        let (name, again, force) = (&order.name, order.again, order.force.as_ref());
        Ok((bound, Whom { fleet: *fleet, run: *run_id, name, again, force }))
    }

    fn marker(&self, whom: &Whom<'_>) -> Marker {
        let epoch = self.sessions.fence().epoch;
        Marker { fleet: whom.fleet, run: whom.run, node: whom.name.clone(), epoch }
    }

    /// For the Node that has the name now; which one that is, is filled in when it was read.
    fn order(&self, bound: &Bound, whom: &Whom<'_>, of: &Move) -> Order {
        let Move::KubernetesDrain(config) = of;
        Order {
            node: bound.node.clone(),
            uid: Uid::new(),
            marker: self.marker(whom),
            words: words(config),
            own_pod: bound.own_pod.clone(),
            force: whom.force.map(force),
            again: whom.again,
            expects_none: false,
            // The reducer has node and pods read again before anything is done there.
            looks_again: true,
        }
    }

    /// What is there now, on the Node that is proven to be the node's machine.
    async fn look_around(&self, bound: &Bound, name: &NodeName, order: &mut Order) -> Result<Look, Verdict> {
        let (look, facts) = tokio::join!(look::look(&*bound.api, order), self.facts(name));
        let look = look.map_err(|fault| unseen(&bound.node, &fault))?;
        match same_machine(name, &facts?, &look.node) {
            Verdict::Clear => {}
            unclear => return Err(unclear),
        }
        order.uid.clone_from(&look.node.metadata.uid);
        Ok(look)
    }

    async fn still_drained(&self, bound: &Bound, asked: &LookRequest, mut order: Order) -> Verdict {
        let (path, pods) = (node_path(&bound.node), pods_path(&bound.node));
        let (node, pods, facts) = tokio::join!(
            ask::get::<Node>(&*bound.api, &path),
            ask::list::<Pod>(&*bound.api, &pods),
            self.facts(&asked.node)
        );
        let proven = node.map_err(|fault| unseen(&bound.node, &fault)).and_then(|node| {
            match same_machine(&asked.node, &facts?, &node) {
                Verdict::Clear => Ok(node),
                unclear => Err(unclear),
            }
        });
        let node = match proven {
            Ok(node) => node,
            Err(unclear) => return unclear,
        };
        let pods = match pods {
            Ok((pods, _)) => pods,
            Err(fault) => return unseen(&bound.node, &fault),
        };
        order.uid.clone_from(&node.metadata.uid);
        let said = work::still_drained_with(&*bound.api, &order, &node, &pods).await;
        if said.is_clear() {
            self.fresh.keep_node(asked.key, node);
        }
        said
    }

    /// What the node's own agent says of its machine.
    async fn facts(&self, name: &NodeName) -> Result<HostFacts, Verdict> {
        match self.sessions.observe(name, &Probe::Host {}, SAYS_WITHIN).await {
            Ok(Observation::Host(facts)) => Ok(facts),
            Ok(_) => Err(Verdict::Unknown(format!("{name}'s agent answered another question"))),
            Err(why) => {
                Err(Verdict::Unknown(format!("which machine {name} is was not said by its agent: {why}")))
            }
        }
    }
}

fn force(of: &moves::Force) -> Force {
    match of {
        moves::Force::Plan {} => {
            Force { by: "the plan (atDeadline: force)".to_owned(), only: None, grace_s: None }
        }
        moves::Force::Pods { by, pods, grace_s } => {
            let only = pods.iter().map(|pod| pod.uid.clone()).collect();
            Force { by: by.clone(), only: Some(only), grace_s: *grace_s }
        }
    }
}

fn left_pod(of: LeftBehind) -> LeftPod {
    let LeftBehind { name, uid, budget, because, grace_s, ends_since } = of;
    let pod = ForcedPod { namespace: name.namespace, name: name.name, uid, budget };
    LeftPod { pod, because, grace_s, ends_since }
}

const fn words(config: &moves::KubernetesDrain) -> Words {
    const fn word(word: moves::Word) -> Word {
        match word {
            moves::Word::Refuse => Word::Refuse,
            moves::Word::Allow => Word::Allow,
        }
    }
    Words {
        bare_pods: word(config.bare_pods),
        empty_dir: word(config.empty_dir),
        local_volumes: word(config.local_volumes),
        nowhere_else: word(config.nowhere_else),
        wait_for_replacements: config.wait_for_replacements,
    }
}

/// Pure: what the kubelet and the agent report of the machine they run on. After a restart of the machine a kubelet that
/// has not reported since still tells of the boot before: that is waited for, and another machine is refused.
pub(crate) fn same_machine(name: &NodeName, facts: &HostFacts, node: &Node) -> Verdict {
    let info = &node.status.node_info;
    let of = node.name();
    if info.machine_id.is_empty() || info.machine_id != facts.machine_id {
        return Verdict::Refused(format!(
            "the Node {of} is another machine: its kubelet reports machine id {:?}, and the agent of {name} {:?}; see which is wrong, then drydock node bind {name} CLUSTER KUBE_NODE",
            info.machine_id, facts.machine_id
        ));
    }
    if info.boot_id != facts.boot_id {
        return Verdict::Waiting(format!(
            "the kubelet of the Node {of} has not reported since the machine was started: it tells of boot {}, and the agent of {name} of {}",
            info.boot_id, facts.boot_id
        ));
    }
    Verdict::Clear
}

/// Before anything was done: what is not clear for good is refused, all else is tried again from the gate.
fn not_begun(unclear: Verdict) -> NotMoved {
    match unclear {
        Verdict::Refused(why) => NotMoved::Refused(why),
        Verdict::Waiting(why) | Verdict::Unknown(why) => NotMoved::Lapsed(why),
        Verdict::Clear => NotMoved::Lapsed("nothing was in the way".to_owned()),
    }
}

async fn release(bound: &Bound, marker: &Marker) -> Result<Released, Fault> {
    let node = match ask::get::<Node>(&*bound.api, &node_path(&bound.node)).await {
        Ok(node) => node,
        Err(fault) if fault.is_gone() => return Ok(Released::NodeGone),
        Err(fault) => return Err(fault),
    };
    let uid = node.metadata.uid.clone();
    cordon::release(&*bound.api, &bound.node, &uid, marker, Some(&node)).await
}

#[async_trait]
impl Carrier for KubernetesDrain {
    async fn look(&self, asked: &LookRequest, of: &Move) -> Verdict {
        self.see(asked, of).await.verdict
    }

    async fn see(&self, asked: &LookRequest, of: &Move) -> Sight {
        let bound = match Arc::clone(&self.bindings).of(asked.key, &asked.node).await {
            Ok(bound) => bound,
            Err(why) => return Verdict::Refused(why).into(),
        };
        let mut order = self.order(&bound, &Whom::from(asked), of);
        if asked.drained {
            return self.still_drained(&bound, asked, order).await.into();
        }
        order.expects_none = self.fresh.had_none(asked.key, &bound.node);
        let look = match self.look_around(&bound, &asked.node, &mut order).await {
            Ok(look) => look,
            Err(unclear) => return unclear.into(),
        };
        self.fresh.found(asked.key, &bound.node, look.pods.iter().any(judge::goes));
        let foreseen = foresee_from(&*bound.api, &order, look, asked.rehearses).await;
        let (own, rest): (Vec<Finding>, Vec<Finding>) =
            foreseen.judgement.findings.iter().cloned().partition(|finding| finding.kind == Kind::OwnPod);
        let sight =
            Sight { verdict: verdict(&rest), hosts_coordinator: own.first().map(ToString::to_string) };
        if sight.verdict.is_clear() && !asked.rehearses {
            self.fresh.keep_look(asked.key, foreseen.into_look());
        }
        sight
    }

    async fn left(&self, asked: &LookRequest, of: &Move) -> Result<Vec<LeftPod>, String> {
        let bound = Arc::clone(&self.bindings).of(asked.key, &asked.node).await?;
        let mut order = self.order(&bound, &Whom::from(asked), of);
        let look = self.look_around(&bound, &asked.node, &mut order).await;
        let look = look.map_err(|unclear| unclear.reason().unwrap_or_default().to_owned())?;
        Ok(left_behind(&look, &order).into_iter().map(left_pod).collect())
    }

    fn bindings(&self) -> Option<Arc<dyn Bindings>> {
        Some(Arc::clone(&self.bindings))
    }

    async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
        let (bound, whom) = self.begin(&errand).await?;
        let mut order = self.order(&bound, &whom, errand.of);
        // The gate's own look, where the order came at once: the cordon is written only over that very Node, and all is
        // read again before the change.
        let look = match self.fresh.take_look(errand.order.key, &bound.node) {
            Some(look) => {
                order.uid.clone_from(&look.node.metadata.uid);
                look
            }
            None => self.look_around(&bound, whom.name, &mut order).await.map_err(not_begun)?,
        };
        let (tell, mut progress) = watch::channel(Progress::default());
        let drain = work::drain(&*bound.api, &order, Some(look), LONGEST, &tell, errand.stopped);
        tokio::pin!(drain);
        loop {
            tokio::select! {
                biased;
                ended = &mut drain => return left(ended, &bound.node),
                changed = progress.changed() => if changed.is_ok() {
                    say(&progress.borrow_and_update(), errand.told);
                },
            }
        }
    }

    async fn give_back(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
        let (bound, whom) = self.begin(&errand).await?;
        let marker = self.marker(&whom);
        if let Some(node) = self.fresh.take_node(errand.order.key, &bound.node) {
            let uid = &node.metadata.uid;
            // Written only over that very Node. What does not come of it at once is tried by a reading of its own.
            let done = cordon::release(&*bound.api, &bound.node, uid, &marker, Some(&node)).await;
            if let Ok(released @ (Released::Uncordoned | Released::LeftCordoned | Released::MarkRemoved)) =
                done
            {
                return given_back(&bound.node, released);
            }
        }
        for tried in 0_usize.. {
            // Whichever Node has the name now: the mark on it says whether the cordon is ours.
            match release(&bound, &marker).await {
                Ok(released) => return given_back(&bound.node, released),
                Err(fault) if fault.is_final() => {
                    return Err(NotMoved::Refused(not_given_back(&bound, &fault)));
                }
                Err(fault) => (errand.told)("the cordon to be taken back", &not_given_back(&bound, &fault)),
            }
            let pause = AGAIN[tried.min(AGAIN.len() - 1)];
            if stop_or(errand.stopped, pause).await {
                break;
            }
        }
        Err(NotMoved::Lapsed("it was stopped".to_owned()))
    }
}

/// `true`: it was stopped before the pause was over.
async fn stop_or(stopped: &CancellationToken, pause: Duration) -> bool {
    tokio::time::timeout(pause, stopped.cancelled()).await.is_ok()
}

fn say(progress: &Progress, told: Told<'_>) {
    if let Some(waits) = &progress.waits {
        // The reducer knows this wait by its own word.
        let what = if waits.what == work::replacements::WHAT { moves::REPLACEMENTS } else { &waits.what };
        told(what, &waits.because);
    }
}

fn left(ended: Ended, node: &str) -> Result<String, NotMoved> {
    match ended {
        Ended::Drained(evidence) => {
            let mut seen = format!(
                "the Node {node} is cordoned and empty ({} pods left it, {} stay)",
                evidence.gone.len(),
                evidence.stayed.len()
            );
            for note in evidence.forced.iter().chain(&evidence.notes) {
                seen.push_str("; ");
                seen.push_str(note);
            }
            Ok(seen)
        }
        Ended::Stopped { why: Stop::Told, .. } => Err(NotMoved::Lapsed("it was stopped".to_owned())),
        Ended::Stopped { why: Stop::Deadline, waits, .. } => {
            let because =
                waits.map_or_else(String::new, |waits| format!(": {}: {}", waits.what, waits.because));
            Err(NotMoved::Refused(format!("the Node {node} was not empty in time{because}")))
        }
        Ended::Refused { why, next } if next.is_empty() => Err(NotMoved::Refused(why)),
        Ended::Refused { why, next } => Err(NotMoved::Refused(format!("{why}: {next}"))),
    }
}

/// Nothing of ours is left there; but what cannot be read may be ours, and a node is not called given back on it.
fn given_back(node: &str, released: Released) -> Result<String, NotMoved> {
    Ok(match released {
        Released::Uncordoned => format!("the Node {node} is uncordoned"),
        Released::LeftCordoned => {
            format!("the Node {node} stays cordoned, as it was before this run; our mark is off")
        }
        Released::MarkRemoved => format!("somebody had uncordoned the Node {node}; our mark is off"),
        Released::NothingOfOurs(None) => format!("nothing of ours stands on the Node {node}"),
        Released::NothingOfOurs(Some(other)) => format!("nothing of ours stands on the Node {node}; {other}"),
        Released::Illegible(what) => {
            return Err(NotMoved::Refused(format!(
                "whether the cordon of the Node {node} is ours is not known: {what}"
            )));
        }
        Released::NodeGone => format!("the Node {node} is not in the cluster any more"),
    })
}

fn not_given_back(bound: &Bound, fault: &Fault) -> String {
    format!("the cordon of the Node {} in {} could not be taken back: {fault}", bound.node, bound.cluster)
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cluster, node, .. } = self;
        out.debug_struct("Bound").field("cluster", cluster).field("node", node).finish_non_exhaustive()
    }
}
