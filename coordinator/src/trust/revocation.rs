//! Who is no longer believed. Asked on every request, and by every open connection.

use std::collections::BTreeSet;

use drydock_proto::tls::{PeerIdentity, Role, Serial};
use drydock_types::NodeKey;
use tokio::sync::watch;

/// Everything that is revoked, as the store has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Single certificates.
    pub serials: BTreeSet<Serial>,
    /// Nodes: every certificate over the key, past and future.
    pub keys: BTreeSet<NodeKey>,
    /// Operators by name: every certificate that names them.
    pub operators: BTreeSet<String>,
}

impl Revoked {
    /// Is this peer among them?
    #[must_use]
    pub fn holds(&self, peer: &PeerIdentity) -> bool {
        self.serials.contains(&peer.serial)
            || match &peer.role {
                Role::Node(_, key) => self.keys.contains(key),
                Role::Operator(name) => self.operators.contains(name),
                Role::Coordinator => false,
            }
    }
}

/// The shared list. Clones are the same list. The store is the truth: fill this from it at a start, and
/// change it right after the store took a change.
#[derive(Debug, Clone)]
pub struct RevocationList {
    list: watch::Sender<Revoked>,
}

impl Default for RevocationList {
    fn default() -> Self {
        Self::new(Revoked::default())
    }
}

impl RevocationList {
    /// A list that begins with these.
    #[must_use]
    pub fn new(revoked: Revoked) -> Self {
        Self { list: watch::Sender::new(revoked) }
    }

    /// Changes the list; open connections of whom it now holds end at once.
    pub fn change(&self, change: impl FnOnce(&mut Revoked)) {
        self.list.send_modify(change);
    }

    /// Is this peer revoked?
    #[must_use]
    pub fn holds(&self, peer: &PeerIdentity) -> bool {
        self.list.borrow().holds(peer)
    }

    /// Is every certificate of this operator revoked?
    #[must_use]
    pub fn holds_operator(&self, name: &str) -> bool {
        self.list.borrow().operators.contains(name)
    }

    /// Returns when this peer is revoked; never otherwise. For streams that stay open.
    pub async fn until_revoked(self, peer: PeerIdentity) {
        let mut changes = self.list.subscribe();
        // The sender lives in `self`, so waiting cannot end otherwise than with the peer on the list.
        drop(changes.wait_for(|revoked| revoked.holds(&peer)).await);
    }
}
