//! Signatures by a node's key, apart from TLS: made with [`PrivateKey::sign`](super::PrivateKey::sign), judged
//! here against a certificate. What is signed is `drydock_types::signed`'s to say.

use drydock_types::{NodeKey, Sha256, Signature};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::peer::{self, BadIdentity};

/// How the SubjectPublicKeyInfo of an ECDSA P-256 key begins (RFC 5480): everything but the point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why a signature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The certificate.
    #[error("the certificate: {0}")]
    Certificate(#[from] BadIdentity),
    /// Not the kind of key that nodes have.
    #[error("the certificate's key is not an ECDSA P-256 key")]
    Key,
    /// Another key made it, or over other bytes.
    #[error("the signature is not by this key over these bytes")]
    Wrong,
}

/// The public half of a node's key, from its certificate. Parsed once, used for every signature.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: [u8; 65],
    key: NodeKey,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PublicKey({})", self.key.short())
    }
}

impl PublicKey {
    /// The key of this certificate (DER).
    ///
    /// # Errors
    /// When it is no certificate, or its key is of another kind.
    pub fn of(certificate_der: &[u8]) -> Result<Self, BadSignature> {
        let spki = peer::spki_of(certificate_der)?;
        let point = spki.strip_prefix(&P256_SPKI).and_then(|point| point.try_into().ok());
        Ok(Self { point: point.ok_or(BadSignature::Key)?, key: Sha256::of(&spki) })
    }

    /// The identity that the key stands for.
    #[must_use]
    pub const fn node_key(&self) -> NodeKey {
        self.key
    }

    /// Judges a signature.
    ///
    /// # Errors
    /// When it is not this key's over these bytes.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point);
        key.verify(message, signature.as_bytes()).map_err(|_| BadSignature::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;
    use crate::tls::PrivateKey;

    fn certificate(key: &PrivateKey) -> Vec<u8> {
        let pair = PrivateKey::from_pem(&key.to_pem()).unwrap().into_signer();
        CertificateParams::default().self_signed(&pair).unwrap().der().to_vec()
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_its_bytes_alone() {
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let public = PublicKey::of(&certificate(&key)).unwrap();
        assert_eq!(public.node_key(), key.node_key());
        let signature = key.sign(b"message").unwrap();
        assert_eq!(public.verify(b"message", &signature), Ok(()));
        assert_eq!(public.verify(b"messagf", &signature), Err(BadSignature::Wrong));
        let theirs = PublicKey::of(&certificate(&other)).unwrap();
        assert_eq!(theirs.verify(b"message", &signature), Err(BadSignature::Wrong));
        for at in 0..signature.as_bytes().len() {
            let mut bytes = signature.as_bytes().to_vec();
            bytes[at] ^= 1;
            let bent = Signature::of(&bytes).unwrap();
            assert_eq!(public.verify(b"message", &bent), Err(BadSignature::Wrong), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_certificate_of_such_a_key_is_refused() {
        assert!(matches!(PublicKey::of(b"garbage"), Err(BadSignature::Certificate(_))));
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(PublicKey::of(der.der()), Err(BadSignature::Key));
    }

    #[test]
    #[ignore = "a measurement, not a test"]
    fn signing_and_verifying_measured() {
        let key = PrivateKey::generate().unwrap();
        let public = PublicKey::of(&certificate(&key)).unwrap();
        let message = vec![7; 1500];
        let signature = key.sign(&message).unwrap();
        let median_us = |work: &dyn Fn()| {
            let took = |_| {
                let began = std::time::Instant::now();
                work();
                began.elapsed().as_micros()
            };
            let mut took: Vec<_> = (0..500).map(took).collect();
            took.sort_unstable();
            took[took.len() / 2]
        };
        let signing = median_us(&|| drop(key.sign(&message).unwrap()));
        let verifying = median_us(&|| public.verify(&message, &signature).unwrap());
        eprintln!("sign {signing} us, verify {verifying} us");
    }
}
