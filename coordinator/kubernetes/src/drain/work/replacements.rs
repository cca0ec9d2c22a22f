//! `waitForReplacements`: as many of each controller's pods ready elsewhere as were ready before.
//!
//! But for pods that by the plan's word may wait for this node (`nowhereElse`, `localVolumes`) and that the scheduler finds no
//! other place for, and for those that a StatefulSet makes only behind such a one ([`in_order`]): they would be waited for until
//! the deadline.
//!
//! Before this run evicted any of them: that stands on the Node beside our mark ([`before`]), so that an order waits for what
//! an earlier one had evicted too. Counted by the controller's UID. A controller that was replaced meanwhile (a roll-out of
//! its workload) never reaches its number under the old one: the drain's deadline holds then, with the name and with what
//! a person does who wants it counted anew.

mod in_order;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, time::Instant};

use self::in_order::InOrder;
use super::{
    super::{
        Finding, Kind, Order, Weight, Word,
        ask::{self, Fault},
        judge,
    },
    said::{self, Progress, Waits},
    streams::{self, Object as _, Seen},
};
use crate::{
    api::Api,
    mark::before::{self, Before, Controller},
    objects::{Node, Owner, Pod, Uid, pod::PodName},
};

/// What is waited for.
pub const WHAT: &str = "the evicted pods' replacements to be ready";
/// The pause after a list that was not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// The controllers of the pods that have to leave, but for those of which it stands on the Node what was ready: with none
/// counted yet.
pub(super) fn uncounted(order: &Order, node: &Node, here: &[Pod]) -> Before {
    let stands = stands(order, node);
    let known = |uid: &Uid| stands.as_ref().is_some_and(|before| before.controllers().contains_key(uid));
    let mut uncounted = Before::nothing(order.marker.run);
    for pod in here.iter().filter(|pod| judge::goes(pod)) {
        if let Some(Owner { kind, name, uid, .. }) =
            // A Job serves nobody, and has an end: what it was at is not waited for.
            pod.metadata.controller().filter(|owner| owner.kind != "Job" && !known(&owner.uid))
        {
            let (namespace, kind, name) = (pod.metadata.namespace.clone(), kind.clone(), name.clone());
            uncounted.add(uid.clone(), Controller { namespace, kind, name, ready: 0 });
        }
    }
    uncounted
}

/// How many pods of these controllers are ready now.
pub(super) async fn counted(api: &dyn Api, mut of: Before) -> Result<Before, Fault> {
    for namespace in namespaces(&of, |_| true) {
        ask::each(api, &path(&namespace), |pod: Pod| {
            if let Some(owner) = pod.metadata.controller().filter(|_| serves(&pod)) {
                of.count(&owner.uid);
            }
        })
        .await?;
    }
    Ok(of)
}

/// What is to be waited for, by what stands on the Node. `None`: a controller of a pod that has to leave is not in it.
pub(super) fn remembered(order: &Order, node: &Node, here: &[Pod]) -> Option<Before> {
    uncounted(order, node, here).controllers().is_empty().then(|| stands(order, node)).flatten()
}

fn stands(order: &Order, node: &Node) -> Option<Before> {
    match before::found(node, order.marker.run) {
        before::Found::Stands(before) => Some(before),
        before::Found::None | before::Found::Illegible(_) => None,
    }
}

/// Where pods of such controllers are.
fn namespaces(of: &Before, such: impl Fn(&Controller) -> bool) -> BTreeSet<String> {
    let such = of.controllers().values().filter(|controller| such(controller));
    such.map(|controller| controller.namespace.clone()).collect()
}

/// Pods as they count, by their UIDs.
type Counted = BTreeMap<Uid, Stands>;

/// May the pod wait until this node is back? By the plan's word, where the scheduler has found no place for it.
fn may_wait(order: &Order, pod: &Pod) -> bool {
    let Some(why) = pod.fits_nowhere().filter(|_| !pod.metadata.is_going()) else { return false };
    let (nowhere_else, local_volumes) = (order.words.nowhere_else, order.words.local_volumes);
    // Its volumes lie where it was: want of room is another matter. The second is what schedulers said before 1.36.
    let by_volume = ["PersistentVolume's node affinity", "volume node affinity conflict"];
    nowhere_else == Word::Allow
        || (local_volumes == Word::Allow && by_volume.iter().any(|said| why.contains(said)))
}

/// One pod of a controller.
struct Stands {
    /// The controller's UID.
    of: Uid,
    /// It is one of those that are wanted: ready, on another node; or one that may wait for this one.
    wanted: bool,
    /// It is there to stay: its controller makes no other one for it.
    stays: bool,
    /// It may wait for this node.
    waits: bool,
    /// What its name ends with, where that is a number.
    number: Option<u64>,
}

/// Waits until as many are ready elsewhere as were before.
pub(super) async fn wait(
    before: &Before,
    api: &dyn Api,
    order: &Order,
    gone: &[(PodName, Uid)],
    tell: &watch::Sender<Progress>,
) -> Result<(), Finding> {
    let since = Instant::now();
    // Of whom none was ready nothing is waited for.
    let namespaces = namespaces(before, |controller| controller.ready > 0);
    let mut in_order = InOrder::default();
    'anew: loop {
        let mut counted = Counted::new();
        let mut watches = stream::SelectAll::new();
        for namespace in &namespaces {
            let path = path(namespace);
            match ask::each(api, &path, |pod: Pod| count(before, &mut counted, &pod, order)).await {
                Ok(version) => watches.push(streams::watch::<Pod>(api, &path, &version)),
                Err(fault) if fault.is_final() => return Err(refused(&fault.to_string())),
                Err(fault) => {
                    later(tell, gone.len(), &fault, since).await;
                    continue 'anew;
                }
            }
        }
        while let Some(missing) = missing(before, &counted, &in_order, &order.node) {
            if missing.may_be_held_back && matches!(in_order, InOrder::Unasked) {
                match InOrder::ask(api, before).await {
                    Ok(known) => in_order = known,
                    Err(fault) => {
                        later(tell, gone.len(), &fault, since).await;
                        continue 'anew;
                    }
                }
                continue;
            }
            tells(tell, gone.len(), &missing.words, since);
            match watches.next().await {
                Some(Seen::Is(pod)) => count(before, &mut counted, &pod, order),
                Some(Seen::Went(pod)) => drop(counted.remove(&pod.meta().uid)),
                Some(Seen::Trouble(_) | Seen::Well) => {}
                Some(Seen::Denied(refusal)) => return Err(refused(&refusal.to_string())),
                Some(Seen::Expired) | None => continue 'anew,
            }
        }
        return Ok(());
    }
}

/// Names what was not answered, and waits a little.
async fn later(tell: &watch::Sender<Progress>, gone: usize, fault: &Fault, since: Instant) {
    tells(tell, gone, &fault.to_string(), since);
    tokio::time::sleep(fault.after().unwrap_or(PAUSE)).await;
}

fn count(before: &Before, counted: &mut Counted, pod: &Pod, order: &Order) {
    let owner = pod.metadata.controller().filter(|owner| before.controllers().contains_key(&owner.uid));
    if let Some(owner) = owner {
        let waits = may_wait(order, pod);
        let wanted = (serves(pod) && pod.spec.node_name != order.node) || waits;
        let stays = !pod.metadata.is_going() && pod.status.phase != "Failed";
        let number = in_order::number(&pod.metadata.name);
        let (of, uid) = (owner.uid.clone(), pod.metadata.uid.clone());
        counted.insert(uid, Stands { of, wanted, stays, waits, number });
    }
}

/// What is waited for.
struct Missing {
    words: String,
    /// Of a StatefulSet that lacks only pods which, if it makes them in order, it does not make now.
    may_be_held_back: bool,
}

/// The first controller that has not as many as before.
fn missing(before: &Before, counted: &Counted, in_order: &InOrder, node: &str) -> Option<Missing> {
    before.controllers().iter().find_map(|(uid, controller)| {
        let Controller { namespace, kind, name, ready: wanted } = controller;
        let of = || counted.values().filter(|pod| pod.of == *uid);
        let ready = of().filter(|pod| pod.wanted).count();
        let there = of().filter(|pod| pod.stays).count();
        if ready >= *wanted {
            return None;
        }
        let may_be_held_back =
            in_order::is_set(controller) && ready == there && of().any(|pod| pod.waits && pod.stays);
        let numbers = of().filter(|pod| pod.stays).filter_map(|pod| Some((pod.number?, pod.waits))).collect();
        if may_be_held_back && in_order.holds_back(uid, &numbers) {
            return None;
        }
        let has = format!("the {kind} {namespace}/{name} has {ready} of {wanted} pods ready on other nodes");
        let mut words = match there < *wanted {
            // Never again, or only not yet: a quota or a webhook may keep them from being made.
            true => format!("{has}, and {there} at all; {}", if_not_again(node)),
            false => has,
        };
        if may_be_held_back {
            words.push_str(&in_order.said());
        }
        Some(Missing { words, may_be_held_back })
    })
}

/// What a person does about a controller that is not to be as many again.
fn if_not_again(node: &str) -> String {
    format!(
        "if it was rolled out anew, scaled down or has ended: while the run holds for this node, \
         `kubectl annotate node {node} {}-`, then `drydock run resume` has what is there now counted \
         (after a pause, or a hold for something else, it holds once more first)",
        before::KEY
    )
}

/// Ready, or done with what it was for.
fn serves(pod: &Pod) -> bool {
    !pod.metadata.is_going() && (pod.is_ready() || pod.status.phase == "Succeeded")
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/pods", ask::encoded(namespace))
}

fn tells(tell: &watch::Sender<Progress>, gone: usize, because: &str, since: Instant) {
    let waits = Waits { what: WHAT.to_owned(), because: because.to_owned(), since };
    said::tell(tell, Progress { gone, left: Vec::new(), waits: Some(waits) });
}

fn refused(why: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!("the evicted pods' replacements cannot be seen: {why}"),
        "mend that (`drydock cluster test`), then `drydock run resume`",
    )
}
