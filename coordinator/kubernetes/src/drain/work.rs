//! The drain itself.
//!
//! | module | what lives there |
//! |---|---|
//! | `roster` | which pods are where on their way out, and who is next: no I/O |
//! | `rounds` | looks, cordons, evicts and watches until the Node is empty |
//! | `streams` | a watch that goes on over ends, gaps and dead endpoints |
//! | `replacements` | as many of each controller's pods ready elsewhere as there were |
//! | `said` | how an order ended, and what it waits for |
//!
//! A drain is stopped by its token at any moment: what is under way is dropped, nothing further is asked, and what was
//! asked is named. Its cordon is not taken back here: whoever gave the order does that by [`super::cordon::release`] on
//! every way out, once the order was given at all.

pub mod replacements;
mod roster;
mod rounds;
mod said;
mod streams;
#[cfg(test)]
mod tests;

use std::time::Duration;

use drydock_types::Verdict;
use futures_util::future;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::said::{Ended, Evidence, Left, Progress, Stage, Stop, Waits};
use super::{
    Order, ask,
    hands::{self, Kured},
    judge,
    look::{self, Look, node_path, pods_path, unseen},
};
use crate::{
    api::Api,
    mark::{self, Found},
    objects::{Node, Pod},
};

/// Takes every pod off a Node that has to leave it, and looks again at the end. `look` is what the gate saw, where that
/// was just now; the Node is cordoned by it only if it is still the same. `within` is how long it may take: at its end
/// the drain stops, and what is left is in the answer. Nothing is deleted, then or ever.
pub async fn drain(
    api: &dyn Api,
    order: &Order,
    look: Option<Look>,
    within: Duration,
    tell: &watch::Sender<Progress>,
    stop: &CancellationToken,
) -> Ended {
    let halt = CancellationToken::new();
    let mut rounds = rounds::Rounds::new(api, order, tell, halt.clone());
    let mut writing = rounds.writing();
    let why = {
        let run = rounds.run(look);
        tokio::pin!(run);
        // In this order: who is told to stop does nothing further, even where it could.
        let why = tokio::select! {
            biased;
            () = stop.cancelled() => Stop::Told,
            () = tokio::time::sleep(within) => Stop::Deadline,
            ended = &mut run => return ended,
        };
        halt.cancel();
        // But a cordon that is being written is brought to its end, within the time that a request has.
        tokio::select! {
            biased;
            _ = writing.wait_for(|writing| !writing) => why,
            ended = &mut run => return ended,
        }
    };
    rounds.stopped(why)
}

/// Is the Node still drained, by us? Asked right before it is worked on, of the Node and its pods as they were read this
/// moment, consistently: what is not there was seen not to be there. Where a kured runs there, its lock is read: it may
/// have taken it since the drain began.
pub async fn still_drained_with(api: &dyn Api, order: &Order, node: &Node, pods: &[Pod]) -> Verdict {
    match look::kured(api, pods).await {
        Ok(kured) => judge_drained(node, pods, &kured, order),
        Err(fault) => unseen(&order.node, &fault),
    }
}

struct ReadAgain {
    node: Node,
    pods: Vec<Pod>,
    pods_version: String,
}

async fn read_again(api: &dyn Api, order: &Order) -> Result<ReadAgain, ask::Fault> {
    let (node, pods) = (node_path(&order.node), pods_path(&order.node));
    let (node, (pods, pods_version)) =
        future::try_join(ask::get::<Node>(api, &node), ask::list::<Pod>(api, &pods)).await?;
    Ok(ReadAgain { node, pods, pods_version })
}

/// Pure: is this a Node that we drained?
fn judge_drained(node: &Node, pods: &[Pod], kured: &Kured, order: &Order) -> Verdict {
    let mut findings = Vec::new();
    if node.metadata.uid != order.uid {
        findings.push(judge::another_node(order, &node.metadata.uid));
    }
    findings.extend(hands::judge(node, pods, kured, &order.marker));
    if !findings.is_empty() {
        return match super::verdict(&findings) {
            // "Waiting" says that somebody is here again, and has the Node drained anew. A kured that reboots another node
            // takes nothing back here: it is looked again until it has ended.
            Verdict::Waiting(why) => Verdict::Unknown(why),
            other => other,
        };
    }
    match mark::found(node, &order.marker) {
        Found::Ours(_) if node.spec.unschedulable => {}
        Found::Ours(_) => {
            return Verdict::Refused(format!(
                "somebody uncordoned the Node {} while this run drained it: find out who, then `drydock run resume`",
                order.node
            ));
        }
        _ => {
            return Verdict::Refused(format!(
                "the Node {} is not marked by this run any more: somebody took the mark off",
                order.node
            ));
        }
    }
    let left: Vec<String> =
        pods.iter().filter(|pod| judge::goes(pod)).map(|pod| pod.name().to_string()).collect();
    if left.is_empty() {
        return Verdict::Clear;
    }
    Verdict::Waiting(format!(
        "{} on the Node {}: {}",
        said::pods(left.len()),
        order.node,
        said::some_of(&left)
    ))
}
