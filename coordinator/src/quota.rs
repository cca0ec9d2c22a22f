//! What one node may ask of the coordinator, over all its streams, calls and connections together: before
//! the single writer, before the disk, before the threads that wait for it. An honest agent needs a small
//! part of any of these; one that does not keep to them is slowed down alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drydock_types::NodeKey;
use tokio::time::Instant;

/// Messages of one node: so many at once, so many a second.
const MESSAGES: Rate = Rate { burst: 500.0, per_second: 500.0 };
/// A message counts once more for every so many bytes: large ones cost their reading.
const BYTES_A_MESSAGE: usize = 16 << 10;
/// Streams that one node opens: each is a Hello, and questions about what is open.
const STREAMS: Rate = Rate { burst: 30.0, per_second: 2.0 };
/// Calls of one node beside its stream: each is a transaction or a file that is opened.
const CALLS: Rate = Rate { burst: 100.0, per_second: 20.0 };
/// Uploads and downloads of one node at once: each holds a thread.
const TRANSFERS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, at: Instant) -> Self {
        Self { left: rate.burst, at }
    }

    fn take(&mut self, rate: Rate, cost: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.at = now;
        let enough = self.left >= cost;
        if enough {
            self.left -= cost;
        }
        enough
    }
}

#[derive(Debug)]
struct Spent {
    messages: Bucket,
    streams: Bucket,
    calls: Bucket,
    transfers: usize,
}

/// What every node has left. As many entries as there are nodes: only a certificate of ours makes one.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    by_node: Arc<Mutex<BTreeMap<NodeKey, Spent>>>,
}

impl Quotas {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeKey, Spent>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<T>(&self, node: NodeKey, take: impl FnOnce(&mut Spent, Instant) -> T) -> T {
        let now = Instant::now();
        let mut by_node = self.lock();
        let spent = by_node.entry(node).or_insert_with(|| Spent {
            messages: Bucket::full(MESSAGES, now),
            streams: Bucket::full(STREAMS, now),
            calls: Bucket::full(CALLS, now),
            transfers: 0,
        });
        take(spent, now)
    }

    /// May it send one more message, of so many bytes?
    #[must_use]
    pub fn message(&self, node: NodeKey, bytes: usize) -> bool {
        let cost = u32::try_from(bytes / BYTES_A_MESSAGE).map_or(f64::INFINITY, f64::from) + 1.0;
        self.of(node, |spent, now| spent.messages.take(MESSAGES, cost, now))
    }

    /// May it open one more stream?
    #[must_use]
    pub fn stream(&self, node: NodeKey) -> bool {
        self.of(node, |spent, now| spent.streams.take(STREAMS, 1.0, now))
    }

    /// May it make one more call?
    #[must_use]
    pub fn call(&self, node: NodeKey) -> bool {
        self.of(node, |spent, now| spent.calls.take(CALLS, 1.0, now))
    }

    /// May it send or fetch one more file? Until what is returned is dropped.
    #[must_use]
    pub fn transfer(&self, node: NodeKey) -> Option<Transfer> {
        self.of(node, |spent, _| {
            let room = spent.transfers < TRANSFERS;
            spent.transfers += usize::from(room);
            room
        })
        .then(|| Transfer { quotas: self.clone(), node })
    }
}

/// A file on its way.
#[derive(Debug)]
pub struct Transfer {
    quotas: Quotas,
    node: NodeKey,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(spent) = self.quotas.lock().get_mut(&self.node) {
            spent.transfers = spent.transfers.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::Sha256;

    use super::*;

    fn node(text: &str) -> NodeKey {
        Sha256::of(text.as_bytes())
    }

    #[test]
    fn a_node_that_floods_spends_its_own_and_nobody_elses() {
        let quotas = Quotas::default();
        let sent = (0..10_000).filter(|_| quotas.message(node("a"), 100)).count();
        assert!((500..1000).contains(&sent), "{sent}");
        assert!(quotas.message(node("b"), 100));
        let opened = (0..1000).filter(|_| quotas.stream(node("a"))).count();
        assert!((30..40).contains(&opened), "{opened}: however many streams and connections it has");
    }

    #[test]
    fn large_messages_are_spent_faster_than_small_ones() {
        let quotas = Quotas::default();
        let sent = (0..1000).filter(|_| quotas.message(node("a"), 1 << 20)).count();
        assert!(sent < 20, "{sent}");
    }

    #[test]
    fn a_file_that_stands_still_holds_a_place_only_until_it_is_given_up() {
        let quotas = Quotas::default();
        let mut held: Vec<_> = (0..TRANSFERS).map(|_| quotas.transfer(node("a")).unwrap()).collect();
        assert!(quotas.transfer(node("a")).is_none());
        assert!(quotas.transfer(node("b")).is_some());
        held.pop();
        assert!(quotas.transfer(node("a")).is_some());
    }
}
