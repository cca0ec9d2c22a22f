//! A key of our own, and the request for a certificate over it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drydock_types::{NodeKey, Sha256, Signature};
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData as _, SigningKey as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

/// An ECDSA P-256 private key. Its bytes are shown by nothing but [`PrivateKey::to_pem`].
pub struct PrivateKey(rcgen::KeyPair);

/// A key could not be made, read or used. Never says anything of the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The system gave no randomness, or signing failed.
    #[error("a key could not be made or used")]
    Unusable,
    /// The text is not such a key.
    #[error("not an ECDSA P-256 private key in PEM (PKCS#8)")]
    Unreadable,
    /// The text is not a certificate.
    #[error("not a certificate in PEM")]
    Certificate,
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyFault> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(|_| KeyFault::Unusable)
    }

    /// Reads what [`PrivateKey::to_pem`] wrote.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyFault> {
        rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyFault::Unreadable)
    }

    /// The secret itself, for a file that nobody else can read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The secret itself, for rustls.
    #[must_use]
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    /// The identity that this key stands for: SHA-256 of the public half (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        Sha256::of(&self.0.subject_public_key_info())
    }

    /// A certificate request (PKCS#10, DER) that names nobody: what the certificate says is the CA's to say.
    ///
    /// # Errors
    /// When signing fails.
    pub fn request(&self) -> Result<Vec<u8>, KeyFault> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0).map_err(|_| KeyFault::Unusable)?;
        Ok(request.der().to_vec())
    }

    /// Signs the bytes of `drydock_types::signed::message`, and of nothing else: what begins otherwise could be
    /// taken for another purpose's.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, KeyFault> {
        let signed = self.0.sign(message).map_err(|_| KeyFault::Unusable)?;
        Signature::of(&signed).ok_or(KeyFault::Unusable)
    }

    /// For whoever signs certificates with this key.
    #[must_use]
    pub fn into_signer(self) -> rcgen::KeyPair {
        self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PrivateKey(of {})", self.node_key().short())
    }
}

/// A certificate as text.
#[must_use]
pub fn certificate_to_pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// The first certificate of a text.
///
/// # Errors
/// When there is none.
pub fn certificate_from_pem(pem: &str) -> Result<CertificateDer<'static>, KeyFault> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyFault::Certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_is_never_shown() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_pem();
        assert_eq!(PrivateKey::from_pem(&pem).unwrap().node_key(), key.node_key());
        let shown = format!("{key:?} {:?}", PrivateKey::from_pem("garbage").unwrap_err());
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(!shown.contains(&body[..16]));
        assert!(shown.len() < 120, "{shown}");
    }

    #[test]
    fn a_certificate_survives_its_text() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let text = certificate_to_pem(&bytes);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(certificate_from_pem(&text).unwrap().as_ref(), bytes);
        assert!(certificate_from_pem("nothing").is_err());
    }
}
