//! What the last look of a node read, for what follows it at once: the gate's look for the drain that it lets begin, the
//! Node of the look before the change for its giving back. Nobody is asked twice for what was read this moment.
//!
//! Only what is written by compare-and-set goes by it: a Node that has changed since is read again before anything is
//! written, and no check is answered from here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drydock_kubernetes::{drain::look::Look, objects::Node};
use drydock_types::NodeKey;
use tokio::time::Instant;

/// What is older is not "this moment", and its Node has most likely changed: a kubelet reports every ten seconds.
const FRESH: Duration = Duration::from_secs(5);

/// By node; bounded by the nodes of open runs, and emptied of what is old when it is old: the last look of a run would
/// else stay until the next run.
#[derive(Default)]
pub(super) struct Fresh {
    read: Arc<Mutex<Reads>>,
    /// Nodes of which the last look found no pod that has to leave. Only says what is asked first.
    empty: Mutex<BTreeMap<NodeKey, String>>,
}

type Reads = BTreeMap<NodeKey, (Instant, Read)>;

enum Read {
    Look(Box<Look>),
    Node(Box<Node>),
}

impl Fresh {
    fn with<T>(&self, deed: impl FnOnce(&mut Reads) -> T) -> T {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|_, (at, _)| at.elapsed() <= FRESH);
        deed(&mut read)
    }

    fn keep(&self, key: NodeKey, what: Read) {
        let now = Instant::now();
        self.with(|read| read.insert(key, (now, what)));
        let read = Arc::downgrade(&self.read);
        drop(tokio::spawn(async move {
            tokio::time::sleep_until(now + FRESH).await;
            if let Some(read) = read.upgrade() {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.retain(|_, (at, _)| at.elapsed() < FRESH);
            }
        }));
    }

    fn empty(&self) -> MutexGuard<'_, BTreeMap<NodeKey, String>> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Did the last look at the Node of that name find nobody who has to leave?
    pub(super) fn had_none(&self, key: NodeKey, name: &str) -> bool {
        self.empty().get(&key).is_some_and(|of| of == name)
    }

    pub(super) fn found(&self, key: NodeKey, name: &str, somebody: bool) {
        let mut empty = self.empty();
        match somebody {
            true => drop(empty.remove(&key)),
            false => drop(empty.insert(key, name.to_owned())),
        }
    }

    pub(super) fn keep_look(&self, key: NodeKey, look: Look) {
        self.keep(key, Read::Look(Box::new(look)));
    }

    pub(super) fn keep_node(&self, key: NodeKey, node: Node) {
        self.keep(key, Read::Node(Box::new(node)));
    }

    /// Once, and of the Node of that name only.
    pub(super) fn take_look(&self, key: NodeKey, name: &str) -> Option<Look> {
        match self.with(|read| read.remove(&key))?.1 {
            Read::Look(look) => Some(*look).filter(|look| look.node.name() == name),
            Read::Node(_) => None,
        }
    }

    /// Once, and of the Node of that name only.
    pub(super) fn take_node(&self, key: NodeKey, name: &str) -> Option<Node> {
        match self.with(|read| read.remove(&key))?.1 {
            Read::Node(node) => Some(*node).filter(|node| node.name() == name),
            Read::Look(_) => None,
        }
    }
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Fresh").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::Sha256;

    use super::*;

    fn node(name: &str) -> Node {
        let metadata = serde_json::json!({"name": name, "uid": "u", "resourceVersion": "1"});
        serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_used_once_at_once_and_for_that_node_only() {
        let (fresh, key) = (Fresh::default(), Sha256::of(b"n1"));
        fresh.keep_node(key, node("k-1"));
        assert!(fresh.take_look(key, "k-1").is_none());
        fresh.keep_node(key, node("k-1"));
        assert!(fresh.take_node(Sha256::of(b"n2"), "k-1").is_none());
        assert!(fresh.take_node(key, "k-1").is_some());
        assert!(fresh.take_node(key, "k-1").is_none(), "once");
        fresh.keep_node(key, node("k-1"));
        assert!(fresh.take_node(key, "k-2").is_none(), "it was bound to another one since");
        fresh.keep_node(key, node("k-1"));
        tokio::time::advance(FRESH + Duration::from_millis(1)).await;
        assert!(fresh.take_node(key, "k-1").is_none(), "it is old");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_came_for_is_let_go_when_it_is_old_though_nothing_else_is_read() {
        let (fresh, key) = (Fresh::default(), Sha256::of(b"n1"));
        fresh.keep_node(key, node("k-1"));
        assert_eq!(fresh.read.lock().unwrap().len(), 1);
        tokio::time::sleep(FRESH + Duration::from_millis(1)).await;
        assert!(fresh.read.lock().unwrap().is_empty());
    }

    #[test]
    fn a_node_that_had_nobody_is_asked_about_alone_until_somebody_is_found() {
        let (fresh, key) = (Fresh::default(), Sha256::of(b"n1"));
        assert!(!fresh.had_none(key, "k-1"));
        fresh.found(key, "k-1", false);
        assert!(fresh.had_none(key, "k-1") && !fresh.had_none(key, "k-2"));
        fresh.found(key, "k-1", true);
        assert!(!fresh.had_none(key, "k-1"));
    }
}
