//! The move `kubernetesDrain`: the node's Kubernetes Node is cordoned and emptied, and given back.
//!
//! What is done to the cluster, and how its answers are judged, is `drydock-kubernetes`'s. This knows which Node a node is,
//! and proves it: bound once by an operator, and at each look the machine id and the boot id that the kubelet reports
//! must be those that the node's own agent reports.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use drydock_core::moves::{self, Move};
use drydock_kubernetes::{
    api::Api,
    drain::{
        Order, Word, Words,
        ask::{self, Fault},
        cordon::{self, Released},
        look::{foresee_at, node_path, unseen},
        work::{self, Ended, Progress, Stop},
    },
    mark::Marker,
    objects::{Node, Uid, pod::PodName},
};
use drydock_types::{
    FleetId, NodeKey, NodeName, RunId, Verdict,
    probe::{HostFacts, Observation, Probe},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Carrier, Errand, NotMoved, Told};
use crate::{
    clusters::{ClusterError, Clusters},
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
    /// The coordinator's own pod, where it runs in that cluster.
    pub own_pod: Option<PodName>,
}

/// Who knows which Node a node is.
#[async_trait]
pub trait Bindings: std::fmt::Debug + Send + Sync {
    /// By the node's key: a name in a payload is nobody.
    ///
    /// # Errors
    /// When it is bound to none, or its cluster is not known any more; with what to do about it.
    async fn of(self: Arc<Self>, key: NodeKey, name: &NodeName) -> Result<Bound, String>;
}

#[async_trait]
impl Bindings for Clusters {
    async fn of(self: Arc<Self>, key: NodeKey, name: &NodeName) -> Result<Bound, String> {
        let found = tokio::task::spawn_blocking(move || {
            let Some(binding) = self.binding(key)? else { return Ok(None) };
            let opened = self.open(&binding.cluster)?;
            Ok::<_, ClusterError>(Some((binding, opened)))
        });
        let found =
            found.await.map_err(|_| "the coordinator's log says why it could not be read".to_owned())?;
        let Some((binding, opened)) = found.map_err(|error| error.to_string())? else {
            return Err(format!(
                "it is not known which Node of which cluster {name} is: drydock node bind {name} CLUSTER"
            ));
        };
        // Which pod the coordinator runs in is not known to it: its node is drained like any other.
        let (cluster, node) = (binding.cluster.to_string(), binding.kube_node);
        Ok(Bound { cluster, node, api: opened.client, own_pod: None })
    }
}

/// Drains and gives back.
#[derive(Debug)]
pub struct KubernetesDrain {
    bindings: Arc<dyn Bindings>,
    sessions: Sessions,
}

/// For whom.
struct Whom<'a> {
    fleet: FleetId,
    run: RunId,
    name: &'a NodeName,
    again: bool,
}

impl KubernetesDrain {
    /// Over these bindings; agents are asked over these sessions which machines they are.
    #[must_use]
    pub fn new(bindings: Arc<dyn Bindings>, sessions: Sessions) -> Self {
        Self { bindings, sessions }
    }

    /// For whom an errand is, and where.
    async fn begin<'a>(&self, errand: &Errand<'a>) -> Result<(Bound, Whom<'a>), NotMoved> {
        let MoveRequest { fleet, run_id, key, order, .. } = errand.order;
        let bound = Arc::clone(&self.bindings).of(*key, &order.name).await.map_err(NotMoved::Refused)?;
        Ok((bound, Whom { fleet: *fleet, run: *run_id, name: &order.name, again: order.again }))
    }

    fn marker(&self, whom: &Whom<'_>) -> Marker {
        let epoch = self.sessions.fence().epoch;
        Marker { fleet: whom.fleet, run: whom.run, node: whom.name.clone(), epoch }
    }

    fn order(&self, bound: &Bound, uid: &Uid, whom: &Whom<'_>, of: &Move) -> Order {
        let Move::KubernetesDrain(config) = of;
        Order {
            node: bound.node.clone(),
            uid: uid.clone(),
            marker: self.marker(whom),
            words: words(config),
            own_pod: bound.own_pod.clone(),
            again: whom.again,
        }
    }

    /// The Node that the node is now, proven to be its machine. One that was deleted and has registered again is another
    /// Node of the same machine: it has no mark of ours, and is seen to have none.
    async fn proven(&self, bound: &Bound, name: &NodeName) -> Result<Node, Verdict> {
        let node = ask::get::<Node>(&*bound.api, &node_path(&bound.node)).await;
        let node = node.map_err(|fault| unseen(&bound.node, &fault))?;
        match self.is_proven(name, &node).await {
            Verdict::Clear => Ok(node),
            unclear => Err(unclear),
        }
    }

    /// Is the Node the machine that the node's agent runs on?
    async fn is_proven(&self, name: &NodeName, node: &Node) -> Verdict {
        match self.sessions.observe(name, &Probe::Host {}, SAYS_WITHIN).await {
            Ok(Observation::Host(facts)) => same_machine(name, &facts, node),
            Ok(_) => Verdict::Unknown(format!("{name}'s agent answered another question")),
            Err(why) => Verdict::Unknown(format!("which machine {name} is was not said by its agent: {why}")),
        }
    }
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
/// has not reported since still tells of the boot before.
fn same_machine(name: &NodeName, facts: &HostFacts, node: &Node) -> Verdict {
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
        let bound = match Arc::clone(&self.bindings).of(asked.key, &asked.node).await {
            Ok(bound) => bound,
            Err(why) => return Verdict::Refused(why),
        };
        let whom = Whom { fleet: asked.fleet, run: asked.run_id, name: &asked.node, again: asked.again };
        let node = match self.proven(&bound, &asked.node).await {
            Ok(node) => node,
            Err(unclear) => return unclear,
        };
        let order = self.order(&bound, &node.metadata.uid, &whom, of);
        if asked.drained {
            return work::still_drained_at(&*bound.api, &order, &node).await;
        }
        match foresee_at(&*bound.api, &order, node, asked.rehearses).await {
            Ok(foreseen) => foreseen.judgement.verdict(),
            Err(fault) => unseen(&bound.node, &fault),
        }
    }

    async fn leave(&self, errand: Errand<'_>) -> Result<String, NotMoved> {
        let (bound, whom) = self.begin(&errand).await?;
        let node = self.proven(&bound, whom.name).await.map_err(not_begun)?;
        let order = self.order(&bound, &node.metadata.uid, &whom, errand.of);
        let (tell, mut progress) = watch::channel(Progress::default());
        let drain = work::drain(&*bound.api, &order, None, LONGEST, &tell, errand.stopped);
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
        told(&waits.what, &waits.because);
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
            for note in &evidence.notes {
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
