//! Who is calling: asked by every service on every request. The answer comes from the certificate alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drydock_proto::tls::{Clock, PeerIdentity, Role, Serial, peer::Shown};
use drydock_types::{FleetId, NodeKey, NodeName};
use tonic::{Request, Status};

use super::{connection::PeerConnection, revocation::RevocationList};

/// More names than this are not remembered.
const MOST_CALLERS: usize = 1000;

/// What every connection is judged by. One a coordinator, shared.
#[derive(Debug)]
pub struct Trust {
    /// The fleet.
    pub fleet: FleetId,
    /// Who is no longer believed.
    pub revoked: RevocationList,
    /// What time it is.
    pub clock: Arc<Clock>,
    /// How often whom was refused.
    pub refusals: Arc<Refusals>,
    /// Operators that have called since the start.
    pub operators: Arc<Callers>,
}

impl Trust {
    /// For this fleet; nobody refused yet.
    #[must_use]
    pub fn new(fleet: FleetId, revoked: RevocationList, clock: Arc<Clock>) -> Arc<Self> {
        Arc::new(Self { fleet, revoked, clock, refusals: Arc::default(), operators: Arc::default() })
    }
}

/// How often somebody was refused, by kind. The kinds are a fixed handful.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Refusals {
    /// Counts and logs one.
    pub fn record(&self, kind: &'static str, who: &str, why: &str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        tracing::warn!(target: "drydock::refused", kind, who, why, "refused");
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names of operators that have called, as the CA gave them.
#[derive(Debug, Default)]
pub struct Callers(Mutex<BTreeSet<String>>);

impl Callers {
    fn note(&self, name: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MOST_CALLERS && !names.contains(name) {
            names.insert(name.to_string());
        }
    }

    /// All of them.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A node that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePeer {
    /// Its name, as the CA gave it.
    pub name: NodeName,
    /// Its identity.
    pub key: NodeKey,
    /// Its certificate's number.
    pub serial: Serial,
    /// Its certificate's end.
    pub not_after_unix_s: i64,
    /// `true` only from [`renewing_peer`].
    pub expired: bool,
    /// The certificate itself.
    pub certificate: Shown,
}

/// An operator that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPeer {
    /// The name, as the CA gave it.
    pub name: String,
    /// The certificate's number.
    pub serial: Serial,
}

/// The node that calls a method of the agent's service.
///
/// # Errors
/// `UNAUTHENTICATED` without a certificate; `PERMISSION_DENIED` with an operator's, a revoked or an expired.
pub fn node_peer<T>(request: &Request<T>) -> Result<NodePeer, Status> {
    let (trust, peer) = known(request)?;
    if peer.expired {
        return Err(trust.deny("expired", &peer, "the certificate has expired: only Renew may use it"));
    }
    trust.node(&peer)
}

/// The node that calls `Renew`: its certificate may have expired.
///
/// # Errors
/// As [`node_peer`], except for expiry.
pub fn renewing_peer<T>(request: &Request<T>) -> Result<NodePeer, Status> {
    let (trust, peer) = known(request)?;
    trust.node(&peer)
}

/// The operator that calls a method of the operators' service.
///
/// # Errors
/// `UNAUTHENTICATED` without a certificate; `PERMISSION_DENIED` with a node's, a revoked or an expired.
pub fn operator_peer<T>(request: &Request<T>) -> Result<OperatorPeer, Status> {
    let (trust, peer) = known(request)?;
    if peer.expired {
        return Err(trust.deny("expired", &peer, "the certificate has expired: ask for a new one"));
    }
    match &peer.role {
        Role::Operator(name) => {
            trust.operators.note(name);
            Ok(OperatorPeer { name: name.clone(), serial: peer.serial })
        }
        Role::Node(..) | Role::Coordinator => {
            let why = "this service is for operators, and the certificate is not an operator's";
            Err(trust.deny("role", &peer, why))
        }
    }
}

/// The peer of this request's connection, of our fleet, not revoked, its expiry judged now.
fn known<T>(request: &Request<T>) -> Result<(Arc<Trust>, PeerIdentity), Status> {
    let Some(connection) = request.extensions().get::<PeerConnection>() else {
        return Err(Status::unauthenticated("the connection is not one of the coordinator's own"));
    };
    let trust = Arc::clone(&connection.trust);
    let Some(peer) = &connection.peer else {
        let who = connection.address.to_string();
        trust.refusals.record("no certificate", &who, "a call without a client certificate");
        return Err(Status::unauthenticated("a client certificate is needed; enrol first"));
    };
    let mut peer = peer.clone();
    peer.expired = trust.clock.now_unix_s() > peer.not_after_unix_s;
    if peer.fleet != trust.fleet {
        return Err(trust.deny("fleet", &peer, "the certificate is of another fleet"));
    }
    if trust.revoked.holds(&peer) {
        return Err(trust.deny("revoked", &peer, "the certificate has been revoked"));
    }
    Ok((trust, peer))
}

impl Trust {
    fn node(&self, peer: &PeerIdentity) -> Result<NodePeer, Status> {
        match &peer.role {
            Role::Node(name, key) => Ok(NodePeer {
                name: name.clone(),
                key: *key,
                serial: peer.serial,
                not_after_unix_s: peer.not_after_unix_s,
                expired: peer.expired,
                certificate: peer.certificate.clone(),
            }),
            Role::Operator(_) | Role::Coordinator => {
                let why = "this service is for agents, and the certificate is not a node's";
                Err(self.deny("role", peer, why))
            }
        }
    }

    fn deny(&self, kind: &'static str, peer: &PeerIdentity, why: &str) -> Status {
        self.refusals.record(kind, &peer.to_string(), why);
        Status::permission_denied(why)
    }
}
