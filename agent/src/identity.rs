//! Who this node is: its key, its certificate, whom it belongs to; how it got them and keeps them fresh.
//!
//! Everything is one file, `identity.json` (0600), so that it is there wholly or not at all: an enrolment or
//! a renewal that is cut off leaves what was before. The key is made here and never leaves. A renewal keeps
//! the key, because the key *is* the node's identity.

mod enrolment;
mod signing;
mod stored;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use drydock_proto::{
    agent::{RenewRequest, agent_service_client::AgentServiceClient},
    tls::{
        Address, Anchor, BadToken, ClientCertificate, Clock, DialError, KeyFault, PeerIdentity, PrivateKey,
        Role, client_config, dial,
        private_file::{self, PrivateFileError},
    },
};
use drydock_types::{FleetId, NodeKey, NodeName};
use rustls_pki_types::CertificateDer;
use tonic::transport::Channel;

pub use enrolment::enrol;
use stored::Stored;

/// The file in the agent's state directory.
pub const FILE: &str = "identity.json";
/// How long the coordinator may take over a certificate.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Why there is no identity, or no new certificate. Never holds a part of a key or a token.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The node has not been enrolled.
    #[error(
        "this node is not enrolled ({0} does not exist); type: drydock-agent enrol --token-file FILE|-, \
         with a token of `drydock token create`"
    )]
    NotEnrolled(PathBuf),
    /// It has.
    #[error(
        "this node is enrolled already, as {node} of fleet {fleet}; to enrol it anew, remove {file} first"
    )]
    AlreadyEnrolled {
        /// Its name.
        node: NodeName,
        /// Its fleet.
        fleet: FleetId,
        /// What to remove.
        file: PathBuf,
    },
    /// The text of the token.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The token was made for another node.
    #[error("the token is for node {token}, and this node is called {name}")]
    OtherName {
        /// Whom the token is for.
        token: NodeName,
        /// What this node calls itself.
        name: NodeName,
    },
    /// The file that holds the key.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// What stands in it.
    #[error("{file} is damaged: {why}; remove it and enrol again")]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The coordinator could not be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The coordinator said no; nothing was changed here.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
    /// The request went out and no answer came back.
    #[error(
        "the coordinator's answer was lost ({0}). The token may be used up now, and nothing was stored here; \
         look with `drydock token list` and make a new one with `drydock token create`"
    )]
    AnswerLost(String),
    /// The certificate came, and could not be stored.
    #[error("the certificate was issued and could not be stored ({0}); the token is used up: make a new one")]
    NotStored(PrivateFileError),
    /// The coordinator's answer is not what was asked for.
    #[error("the coordinator's answer is wrong: {0}; nothing was stored")]
    BadAnswer(String),
}

/// This node's identity. Clones share the certificate: a renewal by one is seen by all.
#[derive(Debug, Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    node: NodeName,
    fleet: FleetId,
    coordinator: Address,
    ca: CertificateDer<'static>,
    key: PrivateKey,
    shown: Arc<ClientCertificate>,
    validity: RwLock<Validity>,
    clock: Arc<Clock>,
}

#[derive(Debug, Clone, Copy)]
struct Validity {
    from_unix_s: i64,
    to_unix_s: i64,
}

impl From<&PeerIdentity> for Validity {
    fn from(peer: &PeerIdentity) -> Self {
        Self { from_unix_s: peer.not_before_unix_s, to_unix_s: peer.not_after_unix_s }
    }
}

impl Validity {
    /// Past the middle: two chances in three fail and there is still time.
    fn is_due(self, now_unix_s: i64) -> bool {
        let middle = self.from_unix_s + (self.to_unix_s - self.from_unix_s) / 2;
        now_unix_s >= middle
    }
}

impl Identity {
    /// Reads what [`enrol`] stored. A certificate past its end is read too: it can still be renewed.
    ///
    /// # Errors
    /// When the node is not enrolled, the file is open to others, or damaged.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let file = dir.join(FILE);
        let text = private_file::read(&file).map_err(|error| match error {
            PrivateFileError::Missing(file) => IdentityError::NotEnrolled(file),
            other => IdentityError::File(other),
        })?;
        let damaged = |why: String| IdentityError::Damaged { file: file.clone(), why };
        let stored = Stored::read(&text).map_err(&damaged)?;
        Self::from_parts(file.clone(), stored).map_err(damaged)
    }

    fn from_parts(file: PathBuf, stored: Stored) -> Result<Self, String> {
        let clock = Arc::new(Clock::default());
        let wanted = Role::Node(stored.node.clone(), stored.key.node_key());
        let peer = judge(&stored.certificate, &stored.ca, stored.fleet, &wanted, &clock)?;
        // Our CA issued this certificate: it is at least as late as its beginning.
        clock.raise(peer.not_before_unix_s);
        let shown = ClientCertificate::new(stored.certificate, &stored.key).map_err(|why| why.to_string())?;
        Ok(Self {
            inner: Arc::new(Inner {
                file,
                node: stored.node,
                fleet: stored.fleet,
                coordinator: stored.coordinator,
                ca: stored.ca,
                key: stored.key,
                shown,
                validity: RwLock::new(Validity::from(&peer)),
                clock,
            }),
        })
    }

    /// The name that the CA knows this node by.
    #[must_use]
    pub fn node_name(&self) -> &NodeName {
        &self.inner.node
    }

    /// The identity itself: SHA-256 of the public key.
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        self.inner.key.node_key()
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> FleetId {
        self.inner.fleet
    }

    /// Whom to dial.
    #[must_use]
    pub fn coordinator(&self) -> &Address {
        &self.inner.coordinator
    }

    /// The clock that certificates are judged by. Raise it to the journal's last record after a start.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.inner.clock
    }

    /// When the certificate ends.
    #[must_use]
    pub fn not_after_unix_s(&self) -> i64 {
        self.validity().to_unix_s
    }

    /// `true`: past its end; the coordinator takes nothing but `Renew` from us.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.inner.clock.now_unix_s() > self.not_after_unix_s()
    }

    fn validity(&self) -> Validity {
        *self.inner.validity.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dials the coordinator. With an expired certificate too: call [`Identity::renew_if_due`] first, and
    /// dial again when it says `true`.
    ///
    /// # Errors
    /// When there is no connection: who was dialled and why not. What the coordinator thinks of our
    /// certificate comes with the first call only; see [`Identity::explain`].
    pub async fn channel(&self) -> Result<Channel, DialError> {
        let inner = &self.inner;
        let anchor = Anchor::Ca(inner.ca.clone());
        let shown = Some(Arc::clone(&inner.shown));
        let config = client_config(anchor, inner.fleet, shown, Arc::clone(&inner.clock))
            .map_err(|error| DialError::of(&inner.coordinator, &error))?;
        dial(&inner.coordinator, config).await
    }

    /// What a failed call says of the connection or of our certificate; `None` when it is an answer of the
    /// coordinator's own.
    #[must_use]
    pub fn explain(&self, status: &tonic::Status) -> Option<DialError> {
        std::error::Error::source(status)?;
        Some(DialError::of(&self.inner.coordinator, status))
    }

    /// Asks for a new certificate when the present one is past its middle, over the same key. `true`: there
    /// is a new one, stored and shown from the next handshake on. The present connection goes on with the
    /// old one and is ended by the coordinator when that ends: dial anew when it suits.
    ///
    /// # Errors
    /// When the coordinator refuses, does not answer, or the disk does; the old certificate stays.
    pub async fn renew_if_due(&self, channel: &Channel) -> Result<bool, IdentityError> {
        if !self.validity().is_due(self.inner.clock.now_unix_s()) {
            return Ok(false);
        }
        let draft = private_file::Draft::open(&self.inner.file)?;
        let mut request = tonic::Request::new(RenewRequest { csr_der: self.inner.key.request()? });
        request.set_timeout(CALL_DEADLINE);
        let call = AgentServiceClient::new(channel.clone()).renew(request).await;
        let answer = call.map_err(|status| self.refusal(&status))?.into_inner();
        self.take(answer.certificate_der.into(), draft)?;
        Ok(true)
    }

    fn refusal(&self, status: &tonic::Status) -> IdentityError {
        match self.explain(status) {
            Some(error) => IdentityError::Dial(error),
            None => IdentityError::Refused(status.message().to_owned()),
        }
    }

    /// Checks, stores and shows a new certificate, in this order.
    fn take(&self, new: CertificateDer<'static>, draft: private_file::Draft) -> Result<(), IdentityError> {
        let inner = &self.inner;
        let wanted = Role::Node(inner.node.clone(), inner.key.node_key());
        let peer =
            judge(&new, &inner.ca, inner.fleet, &wanted, &inner.clock).map_err(IdentityError::BadAnswer)?;
        if peer.expired || peer.not_after_unix_s < self.not_after_unix_s() {
            return Err(IdentityError::BadAnswer("the new certificate ends before the old one".to_owned()));
        }
        let stored = stored::Write {
            node: &inner.node,
            fleet: inner.fleet,
            coordinator: &inner.coordinator,
            ca: &inner.ca,
            certificate: &new,
            key: &inner.key,
        };
        draft.commit(stored.text().as_bytes())?;
        inner.shown.replace(new, &inner.key).map_err(|why| IdentityError::BadAnswer(why.to_string()))?;
        *inner.validity.write().unwrap_or_else(PoisonError::into_inner) = Validity::from(&peer);
        inner.clock.raise(peer.not_before_unix_s);
        Ok(())
    }
}

/// A certificate of ours is signed by our CA and names exactly what is wanted.
fn judge(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    fleet: FleetId,
    wanted: &Role,
    clock: &Clock,
) -> Result<PeerIdentity, String> {
    let peer = PeerIdentity::from_certificate(certificate, clock.now_unix_s())
        .map_err(|why| format!("the certificate: {why}"))?;
    if !drydock_proto::tls::peer::is_signed_by(certificate, ca) {
        return Err("the certificate is not signed by our CA".to_owned());
    }
    if peer.fleet != fleet || peer.role != *wanted {
        return Err(format!("the certificate is for {} of fleet {}", peer.role, peer.fleet));
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_from_its_middle_on_and_for_ever_after() {
        let validity = Validity { from_unix_s: 100, to_unix_s: 300 };
        for (now, due) in [(0, false), (199, false), (200, true), (300, true), (i64::MAX, true)] {
            assert_eq!(validity.is_due(now), due, "{now}");
        }
    }

    #[test]
    fn a_node_that_is_not_enrolled_is_told_what_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("drydock token create"), "{error}");
    }

    #[test]
    fn a_damaged_or_readable_identity_is_refused_without_showing_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        private_file::write(&file, br#"{"version":1,"key":"s3cret"}"#).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
