//! What is read of a cluster before a Node is drained. Changes nothing.
//!
//! Three lists or reads: the Node, its pods, the budgets; where the plan's words ask whether pods find room elsewhere, all
//! Nodes and all pods, of which the Node and its own are a part. The volumes are read only where a pod that has to leave
//! claims one.

use std::{collections::BTreeMap, sync::Arc};

use drydock_types::Verdict;
use futures_util::{FutureExt as _, StreamExt as _, future, stream};

use super::{
    Finding, Kind, Order, Weight, Word,
    ask::{self, Fault},
    evict::{self, Went},
    hands::{self, Kured},
    judge::{self, Judgement},
};
use crate::{
    answer::Refusal,
    api::Api,
    objects::{Budget, Meta, Node, Pod, Volume, pod::PodName, quantity::Amounts, volume::ClaimRef},
};

/// Every budget. From the server's cache: an eviction is judged by the server on its own, with what is newest.
pub(super) const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";
/// Every Node.
const NODES: &str = "/api/v1/nodes";
/// Every pod.
const PODS: &str = "/api/v1/pods";
/// Dry runs at once.
const AT_ONCE: usize = 10;

/// What was read.
#[derive(Debug, Clone)]
pub struct Look {
    /// The Node.
    pub node: Node,
    /// What runs on it.
    pub pods: Vec<Pod>,
    /// From where a watch of its pods goes on.
    pub pods_version: String,
    /// All budgets of the cluster.
    pub budgets: Vec<Budget>,
    /// From where a watch of the budgets goes on.
    pub budgets_version: String,
    /// The other nodes, where some pod has to find room there. Shared: it is as large as the cluster.
    pub elsewhere: Option<Arc<Elsewhere>>,
    /// The volumes that claims are bound to, where they were needed; or why they could not be read.
    pub volumes: Option<Result<BTreeMap<ClaimRef, Volume>, String>>,
    /// kured's lock.
    pub kured: Kured,
}

/// From where watches go on.
pub(super) struct Versions {
    pub(super) pods: String,
    pub(super) budgets: String,
}

/// The other nodes, and what is taken of them.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere {
    /// Every other Node with what its pods ask for together.
    pub nodes: Vec<(Node, Amounts)>,
}

/// What was foreseen.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// What it was judged by: [`super::work::drain`] goes on from there.
    pub look: Look,
    /// Which pods go, and what keeps them from it.
    pub judgement: Judgement,
}

impl Foreseen {
    /// What a drain that begins now goes on from. The other nodes and the volumes, which are as many as the cluster has, are
    /// in it only where they made a finding: else the same is judged without them.
    #[must_use]
    pub fn into_look(self) -> Look {
        let Self { mut look, judgement } = self;
        let by_them =
            |finding: &Finding| matches!(finding.kind, Kind::NowhereElse | Kind::LocalVolume | Kind::Unseen);
        if !judgement.findings.iter().any(by_them) {
            (look.elsewhere, look.volumes) = (None, None);
        }
        look
    }
}

/// The path of a Node.
#[must_use]
pub fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{}", ask::encoded(name))
}

/// The path of the list of a Node's pods.
#[must_use]
pub fn pods_path(node: &str) -> String {
    format!("/api/v1/pods?fieldSelector={}", ask::encoded(&format!("spec.nodeName={node}")))
}

/// Reads what an order needs.
///
/// # Errors
/// When the Node, its pods or the budgets cannot be read. What else cannot is a finding of the judgement.
pub async fn look(api: &dyn Api, order: &Order) -> Result<Look, Fault> {
    // Side by side: each alone is a round trip, and which is the older by a moment decides nothing.
    let (mut look, mut elsewhere) = match order.words.nowhere_else {
        Word::Refuse if !order.expects_none => whole_cluster(api, order).await?,
        Word::Refuse | Word::Allow => (node_alone(api, order).await?, None),
    };
    look.kured = kured(api, &look.pods).await?;
    if !look.pods.iter().any(judge::goes) {
        return Ok(look);
    }
    let claims = look.pods.iter().any(|pod| judge::goes(pod) && pod.claims().next().is_some());
    let reads_volumes = claims && order.words.local_volumes == Word::Refuse;
    if elsewhere.is_none() && (reads_volumes || order.words.nowhere_else == Word::Refuse) {
        elsewhere = Some(elsewhere_of(api, &order.node).await?);
    }
    if reads_volumes {
        look.volumes = Some(volumes(api).await?);
    }
    look.elsewhere = elsewhere.map(Arc::new);
    Ok(look)
}

/// The Node with its own pods, and the budgets. The lists as the server has them in its memory: a list as of this moment
/// waits there for up to a tenth of a second, and none of them is the last word. The Node is written by compare-and-set,
/// its pods are watched from here on and listed as of that moment before the change, and each eviction is judged by the
/// server.
async fn node_alone(api: &dyn Api, order: &Order) -> Result<Look, Fault> {
    let path = node_path(&order.node);
    let (pods, budgets) = (from_memory(&pods_path(&order.node)), from_memory(BUDGETS));
    let (node, pods, budgets) = future::try_join3(
        ask::get::<Node>(api, &path),
        ask::list::<Pod>(api, &pods),
        ask::list::<Budget>(api, &budgets),
    )
    .await?;
    Ok(Look::of(node, pods, budgets))
}

/// Where every pod has to find room elsewhere, every Node and every pod is read: then the Node and its own pods are
/// among them, and are not asked for a second time.
async fn whole_cluster(api: &dyn Api, order: &Order) -> Result<(Look, Option<Elsewhere>), Fault> {
    let (mut here, mut used) = (Vec::new(), BTreeMap::<String, Amounts>::new());
    // Summed page by page: no list of all pods is ever held.
    let pods = ask::each(api, PODS, |pod: Pod| {
        if pod.spec.node_name == order.node {
            here.push(pod);
        } else if !pod.is_finished() && !pod.spec.node_name.is_empty() {
            used.entry(pod.spec.node_name.clone()).or_default().add(&pod.asks());
        }
    });
    let ((nodes, _), version, budgets) =
        future::try_join3(ask::list::<Node>(api, NODES), pods, ask::list::<Budget>(api, BUDGETS)).await?;
    let mut node = None;
    let mut elsewhere = Elsewhere::default();
    for one in nodes {
        if one.name() == order.node {
            node = Some(one);
        } else {
            let taken = used.remove(one.name()).unwrap_or_default();
            elsewhere.nodes.push((one, taken));
        }
    }
    let node = match node {
        Some(node) => node,
        // Its own answer says what is not there.
        None => ask::get(api, &node_path(&order.node)).await?,
    };
    Ok((Look::of(node, (here, version), budgets), Some(elsewhere)))
}

fn from_memory(path: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}resourceVersion=0")
}

impl Look {
    fn of(
        node: Node,
        (pods, pods_version): (Vec<Pod>, String),
        (budgets, budgets_version): (Vec<Budget>, String),
    ) -> Self {
        let (elsewhere, volumes, kured) = (None, None, Kured::None);
        Self { node, pods, pods_version, budgets, budgets_version, elsewhere, volumes, kured }
    }

    /// Lets go of everything that watches do not go on from.
    pub(super) fn into_versions(self) -> Versions {
        Versions { pods: self.pods_version, budgets: self.budgets_version }
    }
}

/// The gate's look: everything that can be known of a drain before anything is touched. `rehearse` asks the server
/// about each eviction by a dry run too, by which webhooks are heard.
///
/// # Errors
/// When the cluster does not say what is needed: see [`unseen`].
pub async fn foresee(api: &dyn Api, order: &Order, rehearse: bool) -> Result<Foreseen, Fault> {
    let look = look(api, order).await?;
    Ok(foresee_from(api, order, look, rehearse).await)
}

/// The same, by what was just read.
pub async fn foresee_from(api: &dyn Api, order: &Order, look: Look, rehearse: bool) -> Foreseen {
    let mut judgement = judge::judge(&look, order);
    if rehearse {
        let mut more = dry_runs(api, &judgement).await;
        more.retain(|finding| !judgement.findings.contains(finding));
        judgement.findings.append(&mut more);
    }
    Foreseen { look, judgement }
}

/// What a gate says where the cluster did not answer as it must.
#[must_use]
pub fn unseen(node: &str, fault: &Fault) -> Verdict {
    if fault.is_gone() {
        return Verdict::Refused(format!(
            "the Node {node} is not in the cluster any more: leave it out (`drydock run skip`), or bind the node anew"
        ));
    }
    let why = format!("the Node {node} could not be looked at: {fault}");
    if fault.is_final() { Verdict::Refused(why) } else { Verdict::Unknown(why) }
}

async fn elsewhere_of(api: &dyn Api, but: &str) -> Result<Elsewhere, Fault> {
    let mut used = BTreeMap::<String, Amounts>::new();
    let pods = ask::each(api, PODS, |pod: Pod| {
        if !pod.is_finished() && !pod.spec.node_name.is_empty() {
            used.entry(pod.spec.node_name.clone()).or_default().add(&pod.asks());
        }
    });
    let ((nodes, _), _) = future::try_join(ask::list::<Node>(api, NODES), pods).await?;
    let others = nodes.into_iter().filter(|node| node.name() != but);
    let with_used = others.map(|node| {
        let taken = used.remove(node.name()).unwrap_or_default();
        (node, taken)
    });
    Ok(Elsewhere { nodes: with_used.collect() })
}

async fn volumes(api: &dyn Api) -> Result<Result<BTreeMap<ClaimRef, Volume>, String>, Fault> {
    let mut bound = BTreeMap::new();
    let listed = ask::each(api, "/api/v1/persistentvolumes", |volume: Volume| {
        if let Some(claim) = volume.spec.claim_ref.clone() {
            bound.insert(claim, volume);
        }
    });
    match listed.await {
        Ok(_) => Ok(Ok(bound)),
        // A missing right is no reason to see nothing else: it is named beside whatever else is found.
        Err(fault) if fault.is_final() => Ok(Err(fault.to_string())),
        Err(fault) => Err(fault),
    }
}

/// A DaemonSet, of which only kured's annotation is read.
#[derive(serde::Deserialize)]
struct DaemonSet {
    metadata: Meta,
}

/// Asks only where a kured runs on the Node.
pub(super) async fn kured(api: &dyn Api, pods: &[Pod]) -> Result<Kured, Fault> {
    let Some((namespace, name)) = hands::kured_here(pods) else {
        return Ok(Kured::None);
    };
    let path =
        format!("/apis/apps/v1/namespaces/{}/daemonsets/{}", ask::encoded(namespace), ask::encoded(name));
    match ask::get::<DaemonSet>(api, &path).await {
        Ok(mut set) => Ok(Kured::Lock(set.metadata.annotations.remove("weave.works/kured-node-lock"))),
        Err(fault) if fault.is_gone() => Ok(Kured::None),
        Err(fault) if fault.is_final() => Ok(Kured::Unseen(fault.to_string())),
        Err(fault) => Err(fault),
    }
}

/// Asks the server about each eviction. It judges each alone, and changes nothing.
async fn dry_runs(api: &dyn Api, judgement: &Judgement) -> Vec<Finding> {
    let mut asked = Vec::new();
    for pod in judgement.go.iter().filter(|pod| !pod.is_going) {
        // Boxed: as one of many futures over borrowed pods it would not be known to be `Send`.
        asked.push(
            async move {
                said_no(&pod.name, evict::evict(api, &pod.name, &pod.uid, None, true).await, judgement)
            }
            .boxed(),
        );
    }
    let findings: Vec<Option<Finding>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    findings.into_iter().flatten().collect()
}

fn said_no(pod: &PodName, went: Went, judgement: &Judgement) -> Option<Finding> {
    let (weight, kind, next) = match &went {
        Went::Refused(refusal) => match refusal {
            // What the budgets' own status says is judged with more words, and over all pods together.
            Refusal::Budget { .. } | Refusal::BudgetNotSeen { .. }
                if judgement.findings.iter().any(|finding| finding.kind == Kind::Budget) =>
            {
                return None;
            }
            Refusal::TwoBudgets
                if judgement.findings.iter().any(|finding| finding.kind == Kind::TwoBudgets) =>
            {
                return None;
            }
            Refusal::Budget { .. } | Refusal::BudgetNotSeen { .. } => (Weight::Waiting, Kind::Budget, ""),
            Refusal::TwoBudgets => (Weight::Refused, Kind::TwoBudgets, ""),
            Refusal::Denied { later: false, .. } => (
                Weight::Refused,
                Kind::Webhook,
                "ask whoever runs that webhook or policy, or leave the node out",
            ),
            Refusal::Denied { later: true, .. } | Refusal::WebhookDown { .. } => {
                (Weight::Waiting, Kind::Webhook, "look at that webhook")
            }
            Refusal::NoDryRun { .. } => (Weight::Note, Kind::Webhook, ""),
            Refusal::Gone { .. } | Refusal::AnotherUid { .. } | Refusal::NamespaceTerminating { .. } => {
                return None;
            }
            other if other.is_final() => (Weight::Refused, Kind::Unseen, ""),
            _ => (Weight::Unknown, Kind::Unseen, "ask again"),
        },
        Went::Faulted(_) => (Weight::Unknown, Kind::Unseen, "ask again"),
        Went::Taken | Went::Forced { .. } | Went::Gone | Went::Going(_) | Went::Finished => return None,
    };
    let why = match went {
        Went::Refused(refusal) => refusal.to_string(),
        Went::Faulted(fault) => fault.to_string(),
        Went::Taken | Went::Forced { .. } | Went::Gone | Went::Going(_) | Went::Finished => String::new(),
    };
    Some(Finding::new(weight, kind, format!("evicting {pod} would fail: {why}"), next))
}
