//! How a client judges a coordinator's certificate.
//!
//! There is no public authority and no host name in this judgement, on purpose. The one trusted CA is the
//! fleet's own; it issues `drydock://FLEET/coordinator` to coordinators and to nobody else; nodes' and
//! operators' certificates carry another URI and lack the server's usage. A host name would add nothing to
//! that and would lock nodes out that reach the coordinator by an address it does not know of (a virtual IP,
//! NAT, a bare number). So the URI and the fleet are checked in its place.

use std::sync::Arc;

use drydock_types::{FleetId, Sha256};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::peer::{BadIdentity, PeerIdentity, Role};

/// What a client knows of the fleet's CA before it dials.
#[derive(Debug, Clone)]
pub enum Anchor {
    /// The certificate itself (DER).
    Ca(CertificateDer<'static>),
    /// SHA-256 of the certificate (DER), from a join token. The server shows the certificate itself.
    Pin(Sha256),
}

/// Why a server that may be an honest TLS server is not our coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurCoordinator {
    /// No certificate of the chain has the pin.
    #[error("the CA that it shows is not the one of the join token")]
    Pin,
    /// The name is not a coordinator's.
    #[error("its certificate is that of {0}, not of a coordinator")]
    Role(String),
    /// The coordinator of others.
    #[error("it is the coordinator of fleet {0}")]
    Fleet(FleetId),
    /// No identity.
    #[error("its certificate names nobody: {0}")]
    Identity(BadIdentity),
}

impl From<NotOurCoordinator> for Error {
    fn from(why: NotOurCoordinator) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

/// Accepts the fleet's coordinator and nobody else.
#[derive(Debug)]
pub struct CoordinatorVerifier {
    roots: Trusted,
    fleet: FleetId,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trusted {
    Ca(RootCertStore),
    Pin(Sha256),
}

fn root(ca: CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    Ok(roots)
}

impl CoordinatorVerifier {
    /// For this fleet, under this CA.
    ///
    /// # Errors
    /// When the CA is no certificate.
    pub fn new(anchor: Anchor, fleet: FleetId) -> Result<Self, Error> {
        let roots = match anchor {
            Anchor::Ca(ca) => Trusted::Ca(root(ca)?),
            Anchor::Pin(pin) => Trusted::Pin(pin),
        };
        Ok(Self { roots, fleet, provider: super::provider() })
    }

    /// The leaf is signed by `roots`, for a server, and is valid now.
    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        // No intermediates: the CA's path length is 0.
        verify_server_cert_signed_by_trust_anchor(&leaf, roots, &[], now, algorithms)
    }

    fn check_identity(&self, leaf: &[u8], now: UnixTime) -> Result<(), NotOurCoordinator> {
        let now_unix_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let peer = PeerIdentity::from_certificate(leaf, now_unix_s).map_err(NotOurCoordinator::Identity)?;
        if peer.role != Role::Coordinator {
            return Err(NotOurCoordinator::Role(peer.role.to_string()));
        }
        if peer.fleet != self.fleet {
            return Err(NotOurCoordinator::Fleet(peer.fleet));
        }
        Ok(())
    }
}

impl ServerCertVerifier for CoordinatorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.roots {
            Trusted::Ca(roots) => self.check_chain(end_entity, roots, now)?,
            Trusted::Pin(pin) => {
                let shown = intermediates.iter().find(|shown| Sha256::of(shown.as_ref()) == *pin);
                let shown = shown.ok_or(NotOurCoordinator::Pin)?;
                self.check_chain(end_entity, &root(shown.clone().into_owned())?, now)?;
            }
        }
        self.check_identity(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
