//! How a client's certificate is judged in the handshake.
//!
//! No certificate is fine here (Enroll has none); a wrong one never is. A node's certificate that expired at
//! most 30 days ago passes, marked: a weekend without a coordinator must not lock a fleet out. What it may
//! do is decided in [`super::peers`].

use std::sync::Arc;

use drydock_proto::tls::{PeerIdentity, Role, provider};
use drydock_types::FleetId;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::peers::Trust;

/// How long after its end a node's certificate can still be renewed: 30 days.
pub const RENEWAL_GRACE_S: i64 = 30 * 24 * 60 * 60;

/// Why a client's certificate, though of our CA, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NotAClient {
    #[error("it names nobody: {0}")]
    Identity(#[from] drydock_proto::tls::peer::BadIdentity),
    #[error("it is of fleet {0}")]
    Fleet(FleetId),
    #[error("a coordinator's certificate is not a client's")]
    Role,
}

/// Accepts no certificate, or one of the fleet's CA.
#[derive(Debug)]
pub struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    trust: Arc<Trust>,
}

impl ClientVerifier {
    /// For this fleet under this CA.
    ///
    /// # Errors
    /// When the CA is no certificate.
    pub fn new(ca: CertificateDer<'static>, trust: Arc<Trust>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|why| Error::General(why.to_string()))?;
        Ok(Self { webpki, trust })
    }

    fn judge(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        // No intermediates: the CA's path length is 0.
        match self.webpki.verify_client_cert(certificate, &[], now) {
            Ok(_) => self.judge_identity(certificate, now).map(|_| ()),
            Err(Error::InvalidCertificate(
                expired @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
            )) => self.judge_expired(certificate, now, expired),
            Err(other) => Err(other),
        }
    }

    /// As if it were its last second: everything but the time must be right, and it must be a node's.
    fn judge_expired(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        expired: CertificateError,
    ) -> Result<(), Error> {
        let peer = self.judge_identity(certificate, now)?;
        let late_s = unix_s(now).saturating_sub(peer.not_after_unix_s);
        let last = u64::try_from(peer.not_after_unix_s).unwrap_or(0);
        let last = UnixTime::since_unix_epoch(std::time::Duration::from_secs(last));
        match peer.role {
            Role::Node(..) if (0..=RENEWAL_GRACE_S).contains(&late_s) => {
                self.webpki.verify_client_cert(certificate, &[], last).map(|_| ())
            }
            _ => Err(Error::InvalidCertificate(expired)),
        }
    }

    fn judge_identity(&self, certificate: &[u8], now: UnixTime) -> Result<PeerIdentity, Error> {
        let other =
            |why: NotAClient| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))));
        let peer =
            PeerIdentity::from_certificate(certificate, unix_s(now)).map_err(|why| other(why.into()))?;
        if peer.fleet != self.trust.fleet {
            return Err(other(NotAClient::Fleet(peer.fleet)));
        }
        if peer.role == Role::Coordinator {
            return Err(other(NotAClient::Role));
        }
        // Also asked on every request; here it gives the peer a clear answer.
        if self.trust.revoked.holds(&peer) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(peer)
    }
}

fn unix_s(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.judge(end_entity, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(why) => {
                self.trust.refusals.record("certificate", "handshake", &why.to_string());
                Err(why)
            }
        }
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
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
