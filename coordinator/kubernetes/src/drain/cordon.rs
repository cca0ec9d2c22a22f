//! Our cordon: `unschedulable`, our mark and what was ready before in one merge-patch, guarded by the Node's
//! resourceVersion; and the taking back of ours and nobody else's.
//!
//! A merge-patch with a resourceVersion is one atomic compare-and-set. Not server-side apply: with enough rights that
//! would *make* a Node that is gone. Where a patch was not answered, the Node is read again before anything is
//! concluded.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    Finding, Kind, Order, Weight,
    ask::{self, Fault},
    hands, judge,
    look::node_path,
};
use crate::{
    answer::Refusal,
    api::{Api, Method, Request},
    mark::{
        self, Found, Marker,
        before::{self, Before},
    },
    objects::Node,
};

/// So often the Node may have been changed by others between reading and patching. Its kubelet alone writes every few
/// seconds.
const TRIES: u32 = 10;
/// The pause after a patch that lost.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a Node was not cordoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCordoned {
    /// Somebody or something is in the way. Nothing was changed.
    Blocked(Vec<Finding>),
    /// The Node is gone.
    Gone,
    /// A person uncordoned it while our mark stood: that word stands until somebody says "again".
    Uncordoned,
    /// Our mark stands, and what was ready before does not beside it, or cannot be read: why. Pods may have been evicted
    /// since, so that it cannot be counted now, until somebody says "again".
    Forgotten(String),
    /// The cluster does not say. Our mark may stand.
    Faulted(Box<Fault>),
}

/// What became of our cordon when it was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// It takes new pods again, and our mark is off.
    Uncordoned,
    /// It was cordoned before, and is again as it was; our mark is off.
    LeftCordoned,
    /// Somebody had uncordoned it: only our mark was left, and is off.
    MarkRemoved,
    /// No mark of ours stands on it. What there is instead, where there is something.
    NothingOfOurs(Option<String>),
    /// A mark under our key stands on it that cannot be read: it may be ours. What it is, and what helps.
    Illegible(String),
    /// The Node is gone, or another one has its name: nothing of ours stands there.
    NodeGone,
}

/// What a patch changes of a Node. What is `None` is left as it is.
#[derive(Default)]
struct Change {
    mark: Option<Value>,
    before: Option<Value>,
    unschedulable: Option<bool>,
}

/// Cordons the Node with our mark, and remembers beside it what was ready before, where replacements are waited for. Done
/// already: nothing is sent. `seen` is the Node as it was just read; `ready` what was just counted, of which only that is
/// written which does not stand there.
///
/// # Errors
/// See [`NotCordoned`].
pub async fn cordon(
    api: &dyn Api,
    order: &Order,
    seen: Option<&Node>,
    ready: Option<&Before>,
) -> Result<Node, NotCordoned> {
    let mut node = match seen {
        Some(node) => node.clone(),
        None => read(api, order).await?,
    };
    for tried in 0..TRIES {
        let Some(change) = to_cordon(order, &node, ready)? else { return Ok(node) };
        match patch(api, &node, change).await {
            Ok(node) => return Ok(node),
            Err(fault) if lost(&fault) => pause(tried).await,
            Err(fault) if fault.is_gone() => return Err(NotCordoned::Gone),
            Err(fault) => return Err(NotCordoned::Faulted(Box::new(fault))),
        }
        node = read(api, order).await?;
    }
    Err(NotCordoned::Faulted(Box::new(stale())))
}

/// What is to be done to a Node as it was read, where something is.
fn to_cordon(order: &Order, node: &Node, ready: Option<&Before>) -> Result<Option<Change>, NotCordoned> {
    if node.metadata.uid != order.uid {
        return Err(NotCordoned::Blocked(vec![judge::another_node(order, &node.metadata.uid)]));
    }
    let hands = hands::on_node(node, &order.marker);
    if !hands.is_empty() {
        return Err(NotCordoned::Blocked(hands));
    }
    let ours = matches!(mark::found(node, &order.marker), Found::Ours(_));
    if ours && !node.spec.unschedulable && !order.again {
        return Err(NotCordoned::Uncordoned);
    }
    let before = match ready {
        Some(ready) => to_remember(order, node, ours, ready)?.map(Value::String),
        None => None,
    };
    if ours && node.spec.unschedulable {
        return Ok(before.map(|before| Change { before: Some(before), ..Change::default() }));
    }
    // As it stands now, whatever a mark of ours says that is on it already: who had cordoned it before us has taken
    // that back too, and afterwards it takes pods as it does now.
    let mark = order.marker.mark(&order.node, node.spec.unschedulable);
    let mark = if ready.is_some() { mark.with_before() } else { mark };
    Ok(Some(Change { mark: Some(Value::String(mark.text())), before, unschedulable: Some(true) }))
}

/// What is to stand beside the mark, where that is not what stands there.
fn to_remember(
    order: &Order,
    node: &Node,
    ours: bool,
    ready: &Before,
) -> Result<Option<String>, NotCordoned> {
    let (stands, why) = match before::found(node, order.marker.run) {
        before::Found::Stands(before) => (Some(before), String::new()),
        before::Found::None => (None, "its annotation is not there".to_owned()),
        before::Found::Illegible(why) => (None, format!("its annotation cannot be read: {why}")),
    };
    if stands.is_none() && ours && !order.again {
        return Err(NotCordoned::Forgotten(why));
    }
    let wanted = stands.clone().unwrap_or_else(|| Before::nothing(order.marker.run)).with(ready);
    if stands.as_ref() == Some(&wanted) {
        return Ok(None);
    }
    let text = wanted.text();
    if text.len() > before::MOST_BYTES {
        return Err(NotCordoned::Blocked(vec![too_long(order, wanted.controllers().len(), text.len())]));
    }
    Ok(Some(text))
}

fn too_long(order: &Order, controllers: usize, bytes: usize) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!(
            "the pods on the Node {} are of {controllers} controllers: to remember how many of each were ready takes an \
             annotation of {bytes} bytes, and {} are the most",
            order.node,
            before::MOST_BYTES
        ),
        "move some of them off by hand, or say `waitForReplacements: false` in the plan",
    )
}

/// Takes our cordon back, where it is ours, and leaves the Node as it was found. Safe to repeat. `seen` is the Node as
/// it was just read.
///
/// # Errors
/// When the cluster does not say: our mark may still stand.
pub async fn release(
    api: &dyn Api,
    node: &str,
    uid: &str,
    marker: &Marker,
    seen: Option<&Node>,
) -> Result<Released, Fault> {
    let mut seen = seen.cloned();
    let mut in_doubt = None;
    for tried in 0..TRIES {
        let node = match seen.take() {
            Some(node) => node,
            None => match ask::get::<Node>(api, &node_path(node)).await {
                Ok(node) => node,
                Err(fault) if fault.is_gone() => return Ok(Released::NodeGone),
                Err(fault) => return Err(fault),
            },
        };
        if node.metadata.uid != uid {
            return Ok(Released::NodeGone);
        }
        let mark = match mark::found(&node, marker) {
            Found::Ours(mark) => mark,
            // The patch that was not answered had been taken.
            Found::None => return Ok(in_doubt.unwrap_or(Released::NothingOfOurs(None))),
            other @ Found::Illegible(_) => {
                return Ok(Released::Illegible(other.in_the_way().unwrap_or_default()));
            }
            other => return Ok(Released::NothingOfOurs(other.in_the_way())),
        };
        let (unschedulable, released) = match (node.spec.unschedulable, mark.was_cordoned) {
            (true, false) => (Some(false), Released::Uncordoned),
            (true, true) => (None, Released::LeftCordoned),
            (false, _) => (None, Released::MarkRemoved),
        };
        // Whosever it is: beside our mark nobody else's can be waited for.
        let before = node.metadata.annotations.contains_key(before::KEY).then_some(Value::Null);
        let change = Change { mark: Some(Value::Null), before, unschedulable };
        match patch(api, &node, change).await {
            Ok(_) => return Ok(released),
            Err(fault) if lost(&fault) => {
                if fault.leaves_doubt() {
                    in_doubt = Some(released);
                }
                pause(tried).await;
            }
            Err(fault) if fault.is_gone() => return Ok(Released::NodeGone),
            Err(fault) => return Err(fault),
        }
    }
    Err(stale())
}

/// Not after the first one that lost: what it went by may have been read a while ago.
async fn pause(tried: u32) {
    if tried > 0 {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The Node changes faster than it can be read.
fn stale() -> Fault {
    Fault::Refused { asked: "PATCH the Node".to_owned(), refusal: Refusal::Stale }
}

/// Somebody was faster, or nobody knows: the Node has to be read again.
const fn lost(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused { refusal: Refusal::Stale, .. }) || fault.leaves_doubt()
}

async fn read(api: &dyn Api, order: &Order) -> Result<Node, NotCordoned> {
    ask::get(api, &node_path(&order.node)).await.map_err(|fault| match fault.is_gone() {
        true => NotCordoned::Gone,
        false => NotCordoned::Faulted(Box::new(fault)),
    })
}

/// One merge-patch, over this very version of the Node.
async fn patch(api: &dyn Api, node: &Node, change: Change) -> Result<Node, Fault> {
    let annotations = [(mark::KEY, change.mark), (before::KEY, change.before)];
    let annotations: Map<String, Value> =
        annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let mut body = json!({
        "metadata": {"resourceVersion": node.metadata.resource_version, "annotations": annotations},
    });
    match change.unschedulable {
        Some(true) => body["spec"] = json!({"unschedulable": true}),
        // Left out is what a Node is that was never cordoned.
        Some(false) => body["spec"] = json!({"unschedulable": null}),
        None => {}
    }
    let request = Request {
        method: Method::MergePatch,
        path: node_path(node.name()),
        body: Some(body.to_string().into_bytes()),
        within: ask::WITHIN,
    };
    ask::read(api, request).await
}
