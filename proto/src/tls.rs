//! How the two sides know each other: TLS 1.3, one private CA a fleet, names in certificates.
//!
//! | module | what lives there |
//! |---|---|
//! | [`clock`] | what time it is when certificates are judged |
//! | [`peer`] | who a certificate speaks for |
//! | [`key`] | a key of our own and the request over it |
//! | [`token`] | the text of a join token |
//! | [`verify`] | how a client judges a coordinator's certificate |
//! | [`dial`] | from an address to a connection, and what to say when there is none |
//! | [`signature`] | what a key signs beside TLS, judged against a certificate |
//! | [`private_file`] | files that hold a private key |
//!
//! The server's side, the CA and everything that refuses is the coordinator's (`trust`).

pub mod clock;
pub mod dial;
pub mod key;
pub mod peer;
pub mod private_file;
pub mod signature;
pub mod token;
pub mod verify;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use drydock_types::{FleetId, Invalid};
use rustls::{
    ClientConfig,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;

pub use clock::Clock;
pub use dial::{DialError, DialFault, dial};
pub use key::{KeyFault, PrivateKey};
pub use peer::{PeerIdentity, Role, Serial};
pub use signature::{BadSignature, PublicKey};
pub use token::{BadToken, JoinToken, TokenId, TokenSecret};
pub use verify::{Anchor, CoordinatorVerifier};

/// The protocol that is spoken inside: HTTP/2.
pub const ALPN: &[u8] = b"h2";

/// The one provider of cryptography, chosen here for both sides.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Where a coordinator is: `host:port`, `10.0.0.1:7440`, `[fd00::1]:7440`. 255 bytes at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// Checks the text.
    ///
    /// # Errors
    /// When it is not a host and a port.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("coordinator address", text, "it is HOST:PORT, an IPv6 host in [ ]");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host_fine = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
            None => !host.is_empty() && !host.starts_with('-') && host.chars().all(plain),
        };
        let port_fine = port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
        if !host_fine || !port_fine || text.len() > 255 {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl std::str::FromStr for Address {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// The certificate that a client shows. Exchanged on renewal; the next handshake shows the new one.
#[derive(Debug)]
pub struct ClientCertificate {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ClientCertificate {
    /// A certificate and its key.
    ///
    /// # Errors
    /// When the two do not belong together.
    pub fn new(certificate: CertificateDer<'static>, key: &PrivateKey) -> Result<Arc<Self>, rustls::Error> {
        let current = RwLock::new(Arc::new(certified(vec![certificate], key)?));
        Ok(Arc::new(Self { current }))
    }

    /// From the next handshake on this one is shown.
    ///
    /// # Errors
    /// When certificate and key do not belong together; then the old one stays.
    pub fn replace(
        &self,
        certificate: CertificateDer<'static>,
        key: &PrivateKey,
    ) -> Result<(), rustls::Error> {
        let next = Arc::new(certified(vec![certificate], key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A chain and its key, compared with each other before anybody sees them.
///
/// # Errors
/// When the key is not the first certificate's.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKey,
) -> Result<CertifiedKey, rustls::Error> {
    let signer = provider().key_provider.load_private_key(key.to_der())?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match()?;
    Ok(certified)
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The client's side of TLS: 1.3 and nothing below, the coordinator judged by [`CoordinatorVerifier`], no
/// resumption (a resumed session would skip the judgement of certificates).
///
/// # Errors
/// When the anchor is no certificate.
pub fn client_config(
    anchor: Anchor,
    fleet: FleetId,
    certificate: Option<Arc<ClientCertificate>>,
    clock: Arc<Clock>,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = Arc::new(CoordinatorVerifier::new(anchor, fleet)?);
    let time: Arc<dyn rustls::time_provider::TimeProvider> = clock;
    let builder = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["localhost:7440", "10.0.0.1:1", "[fd00::1]:65535", "a.example.org:7440"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "localhost",
            ":7440",
            "a:0",
            "a:65536",
            "a:+80",
            "fd00::1:7440",
            "[x]:7440",
            "a b:1",
            "https://a:1",
            "user@a:1",
            "a/b:1",
            "-a:1",
            "a:1\n",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }
}
