//! Which pods go, in which order, and what keeps them from it. Pure.
//!
//! | module | what lives there |
//! |---|---|
//! | `budgets` | what the disruption budgets say of the node's pods, each and together |
//! | [`left`] | who is left, for whoever decides what becomes of them |
//! | `room` | where else they can run, and what binds them here |

mod budgets;
pub mod left;
mod room;
#[cfg(test)]
mod tests;

use drydock_types::Verdict;

pub(super) use self::budgets::counts_as_gone;
use super::{Finding, Force, Kind, Order, Weight, Word, hands, look::Look};
use crate::{
    canary,
    objects::{Budget, Owner, Pod, Uid, pod::PodName},
};

/// A pod that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// Its name.
    pub name: PodName,
    /// Which one.
    pub uid: Uid,
    /// Of its priority class.
    pub priority: i32,
    /// The budget over it that its eviction takes from, `shop/cart`.
    pub budget: Option<String>,
    /// Who makes it anew.
    pub controller: Option<Owner>,
    /// It is on its way out already.
    pub is_going: bool,
}

/// A pod that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stayer {
    /// Its name.
    pub name: PodName,
    /// Why.
    pub why: Stays,
}

/// Why a pod stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// A DaemonSet's: it would be back in a moment, cordoned or not.
    DaemonSet,
    /// The kubelet's own, from a file.
    Mirror,
    /// It has ended: nothing of it runs.
    Finished,
    /// A canary of ours, which goes by itself.
    Canary,
}

/// What a look comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Who goes, first to last.
    pub go: Vec<Leaver>,
    /// Who stays.
    pub stay: Vec<Stayer>,
    /// What keeps them from it, and what is good to know.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// May the drain begin?
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        super::verdict(&self.findings)
    }
}

/// Why a pod stays, where it does.
#[must_use]
pub fn stays(pod: &Pod) -> Option<Stays> {
    if pod.is_mirror() {
        Some(Stays::Mirror)
    } else if pod.is_finished() {
        Some(Stays::Finished)
    } else if canary::is_ours(&pod.metadata) {
        Some(Stays::Canary)
    } else {
        pod.daemon_set().map(|_| Stays::DaemonSet)
    }
}

/// Does it have to leave?
#[must_use]
pub fn goes(pod: &Pod) -> bool {
    stays(pod).is_none()
}

/// Judges what was read.
#[must_use]
pub fn judge(look: &Look, order: &Order) -> Judgement {
    let mut findings = Vec::new();
    if look.node.metadata.uid != order.uid {
        findings.push(another_node(order, &look.node.metadata.uid));
    }
    findings.extend(hands::judge(&look.node, &look.pods, &look.kured, &order.marker));
    let leavers: Vec<&Pod> = look.pods.iter().filter(|pod| goes(pod)).collect();
    // What is on its way out already goes by somebody else's word: the plan's words and the budgets are for the rest.
    let mut asked: Vec<&Pod> = leavers.iter().copied().filter(|pod| !pod.metadata.is_going()).collect();
    findings.extend(asked.iter().filter_map(|pod| own_pod(pod, order)));
    if let Some(force) = &order.force {
        let named = |pod: &&&Pod| force.names(pod);
        findings.extend(asked.iter().filter(named).map(|pod| may_be_deleted(pod, force, &look.budgets)));
        // What is lost with it, and what forbids it, was accepted by its name.
        asked.retain(|pod| !force.names(pod));
    }
    for pod in &asked {
        findings.extend(lost_with(pod, order));
    }
    let pinned = room::judge(&asked, look, order, &mut findings);
    // The plan's word passes over budgets, and over nothing else.
    asked.retain(|pod| !order.force.as_ref().is_some_and(|force| force.takes(pod)));
    budgets::judge(&asked, &look.budgets, &pinned, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    Judgement { go: in_order(&leavers, &look.budgets), stay: stayers(look), findings }
}

/// The budget that a pod's eviction takes from: none where it goes without being counted.
#[must_use]
pub(super) fn counted_by<'a>(pod: &Pod, budgets: impl IntoIterator<Item = &'a Budget>) -> Option<&'a Budget> {
    budgets.into_iter().find(|budget| budget.covers(pod)).filter(|budget| budgets::counts(budget, pod))
}

pub(super) fn another_node(order: &Order, uid: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Node,
        format!("the Node {} is another one now (UID {uid}, bound was {})", order.node, order.uid),
        "somebody deleted it and it came anew: bind the node again (`drydock node bind`)",
    )
}

/// Lower priorities first: what others need (DNS, storage) is of a higher class and goes when they are gone.
fn in_order(leavers: &[&Pod], budgets: &[Budget]) -> Vec<Leaver> {
    let mut go: Vec<Leaver> = leavers
        .iter()
        .map(|pod| Leaver {
            name: pod.name(),
            uid: pod.metadata.uid.clone(),
            priority: pod.spec.priority,
            budget: counted_by(pod, budgets).map(Budget::name),
            controller: pod.metadata.controller().cloned(),
            is_going: pod.metadata.is_going(),
        })
        .collect();
    go.sort_by(|a, b| a.priority.cmp(&b.priority).then_with(|| a.name.cmp(&b.name)));
    go
}

fn stayers(look: &Look) -> Vec<Stayer> {
    look.pods.iter().filter_map(|pod| stays(pod).map(|why| Stayer { name: pod.name(), why })).collect()
}

/// Evicted, the coordinator could not give the node back; whatever else is said of its pod.
fn own_pod(pod: &Pod, order: &Order) -> Option<Finding> {
    order.own_pod.as_ref().filter(|own| own.is(pod))?;
    let (name, node) = (pod.name(), &order.node);
    let claims: Vec<String> = pod.claims().collect();
    let volume = if claims.is_empty() {
        String::new()
    } else {
        format!(
            " (its volume {} must be able to follow it: ReadWriteOnce is let go first, a local one never)",
            claims.join(", ")
        )
    };
    let (of, its) = (&name.namespace, &name.name);
    Some(Finding::new(
        Weight::Refused,
        Kind::OwnPod,
        format!("this coordinator itself runs here, in the pod {name}"),
        format!(
            "its node goes last; move the pod to a node that is done{volume}: `kubectl cordon {node} && kubectl -n {of} \
             delete pod {its}`, and `kubectl uncordon {node}` when it runs elsewhere; then `drydock run resume`, or leave \
             the node out (`drydock run skip`)"
        ),
    ))
}

/// Somebody named it: that is said before, and again when it is done.
fn may_be_deleted(pod: &Pod, force: &Force, budgets: &[Budget]) -> Finding {
    let past = counted_by(pod, budgets)
        .map_or_else(String::new, |budget| format!(" past the PodDisruptionBudget {}", budget.name()));
    let what = format!(
        "the pod {} is deleted{past} where it cannot be evicted, by the word of {}",
        pod.name(),
        force.by
    );
    Finding::new(Weight::Note, Kind::Budget, what, "")
}

/// What people lose by a pod's going.
fn lost_with(pod: &Pod, order: &Order) -> Vec<Finding> {
    let name = pod.name();
    let mut findings = Vec::new();
    if pod.metadata.controller().is_none() {
        let what = format!("the pod {name} belongs to no controller: evicted, it is gone for good");
        findings.push(by_word(
            order.words.bare_pods,
            Kind::BarePod,
            what,
            "move or delete it, or say `barePods: allow` in the plan",
        ));
    }
    let volumes: Vec<&str> = pod
        .spec
        .volumes
        .iter()
        .filter(|volume| volume.empty_dir.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    if !volumes.is_empty() {
        let what =
            format!("the pod {name} keeps data in an emptyDir ({}), which go with it", volumes.join(", "));
        findings.push(by_word(
            order.words.empty_dir,
            Kind::EmptyDir,
            what,
            "save them, or say `emptyDir: allow` in the plan",
        ));
    }
    findings
}

/// What one of the plan's words decides.
fn by_word(word: Word, kind: Kind, what: String, next: &str) -> Finding {
    match word {
        Word::Refuse => Finding::new(Weight::Refused, kind, what, next),
        Word::Allow => Finding::new(Weight::Note, kind, what, "the plan allows it"),
    }
}
