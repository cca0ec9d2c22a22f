//! An outcome is believed when the node's key has signed it; judged over its exact bytes, before anything of it
//! is read, cut or kept.

use drydock_proto::{
    limits::MAX_OUTCOME_BYTES,
    tls::{BadSignature, PublicKey, key::certificate_to_pem},
};
use drydock_types::{
    EffectId, FleetId, NodeKey, Outcome, Sha256, Signature, document,
    signed::{Proof, Purpose, message},
};

/// An outcome as it stands in the record: the exact bytes, by whom they are signed, and his certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// How the event names the rest.
    pub proof: Proof,
    /// The outcome's exact bytes.
    pub outcome: Vec<u8>,
    /// The node's certificate (PEM).
    pub certificate: Vec<u8>,
}

impl Signed {
    /// Puts the parts together. Says nothing of whether the signature is good: [`read`] does.
    #[must_use]
    pub fn new(node: NodeKey, outcome: Vec<u8>, certificate: Vec<u8>, signature: Signature) -> Self {
        let (digest, shown) = (Sha256::of(&outcome), Sha256::of(&certificate));
        Self { proof: Proof { outcome: digest, node, certificate: shown, signature }, outcome, certificate }
    }
}

/// Why an outcome is not believed. Whoever sent it holds the node's certificate, and the connection was good: it
/// is a fault of the agent, or somebody's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    /// No signature.
    #[error("it is not signed")]
    Missing,
    /// Not this node's, or over something else.
    #[error("{0}")]
    Signature(#[from] BadSignature),
    /// Longer than any agent writes one.
    #[error("it has {0} bytes; {MAX_OUTCOME_BYTES} are the most")]
    TooLong(usize),
}

/// Who is heard: a node of a fleet, by the certificate of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// Whose node.
    pub fleet: FleetId,
    /// Its key; its digest is the node's identity.
    pub key: &'a PublicKey,
    /// Its certificate, DER.
    pub certificate: &'a [u8],
}

/// Judges an outcome's signature, and only then reads it. What it says stays as it was said.
///
/// # Errors
/// The outer error: it is signed and is not an outcome of this effect; no agent of ours says such a thing, and
/// its stream ends. The inner: it is not believed and changes nothing.
pub fn read(
    speaker: Speaker<'_>,
    effect: EffectId,
    bytes: &[u8],
    signature: &[u8],
) -> Result<Result<(Outcome, Signed), NotBelieved>, String> {
    let signature = match judge(speaker, effect, bytes, signature) {
        Ok(signature) => signature,
        Err(why) => return Ok(Err(why)),
    };
    let outcome: Outcome = document::decode("outcome", bytes).map_err(|error| error.to_string())?;
    if outcome.effect != effect {
        return Err("it reported one effect's outcome under another's id".to_string());
    }
    let certificate = certificate_to_pem(speaker.certificate).into_bytes();
    Ok(Ok((outcome, Signed::new(speaker.key.node_key(), bytes.to_vec(), certificate, signature))))
}

fn judge(
    speaker: Speaker<'_>,
    effect: EffectId,
    bytes: &[u8],
    signature: &[u8],
) -> Result<Signature, NotBelieved> {
    if bytes.len() > MAX_OUTCOME_BYTES {
        return Err(NotBelieved::TooLong(bytes.len()));
    }
    if signature.is_empty() {
        return Err(NotBelieved::Missing);
    }
    let signature = Signature::of(signature).ok_or(BadSignature::Wrong)?;
    let signed = message(Purpose::Outcome, speaker.fleet, speaker.key.node_key(), &effect.0, bytes);
    speaker.key.verify(&signed, &signature)?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use drydock_proto::tls::PrivateKey;
    use drydock_types::{Millis, outcome::SectionResult};

    use super::*;

    const FLEET: FleetId = FleetId([6; 16]);

    struct Node {
        key: PrivateKey,
        public: PublicKey,
        certificate: Vec<u8>,
    }

    impl Node {
        fn new() -> Self {
            let key = PrivateKey::generate().unwrap();
            let pair = PrivateKey::from_pem(&key.to_pem()).unwrap().into_signer();
            let der = rcgen::CertificateParams::default().self_signed(&pair).unwrap().der().to_vec();
            Self { key, public: PublicKey::of(&der).unwrap(), certificate: der }
        }

        fn signs(&self, fleet: FleetId, effect: EffectId, bytes: &[u8]) -> Vec<u8> {
            let message = message(Purpose::Outcome, fleet, self.key.node_key(), &effect.0, bytes);
            self.key.sign(&message).unwrap().as_bytes().to_vec()
        }

        fn speaker(&self) -> Speaker<'_> {
            Speaker { fleet: FLEET, key: &self.public, certificate: &self.certificate }
        }
    }

    fn outcome(effect: EffectId) -> Vec<u8> {
        document::encode(&Outcome {
            effect,
            result: SectionResult::Done {},
            steps: Vec::new(),
            took: Millis(5),
            out_of_service: None,
            evidence: Vec::new(),
        })
    }

    #[test]
    fn what_the_nodes_key_signed_is_read_and_kept_to_the_byte() {
        let (node, effect) = (Node::new(), EffectId([1; 32]));
        let bytes = outcome(effect);
        let signature = node.signs(FLEET, effect, &bytes);
        let (read_back, signed) = read(node.speaker(), effect, &bytes, &signature).unwrap().unwrap();
        assert_eq!(read_back.effect, effect);
        assert_eq!((signed.outcome.as_slice(), signed.proof.outcome), (bytes.as_slice(), Sha256::of(&bytes)));
        assert_eq!(signed.proof.node, node.key.node_key());
        assert!(signed.certificate.starts_with(b"-----BEGIN CERTIFICATE"));
    }

    #[test]
    fn what_is_unsigned_or_signed_by_another_or_for_something_else_is_not_believed() {
        let (node, other, effect) = (Node::new(), Node::new(), EffectId([1; 32]));
        let bytes = outcome(effect);
        let good = node.signs(FLEET, effect, &bytes);
        let wrong = || Err(NotBelieved::Signature(BadSignature::Wrong));
        let said = |effect, bytes: &[u8], signature: &[u8]| {
            read(node.speaker(), effect, bytes, signature).unwrap().map(|_| ())
        };
        assert_eq!(said(effect, &bytes, &good), Ok(()));
        assert_eq!(said(effect, &bytes, &[]), Err(NotBelieved::Missing));
        assert_eq!(said(effect, &bytes, &[0; 400]), wrong());
        assert_eq!(said(effect, &bytes, &other.signs(FLEET, effect, &bytes)), wrong(), "another node's");
        assert_eq!(said(effect, &bytes, &node.signs(FleetId([7; 16]), effect, &bytes)), wrong());
        assert_eq!(said(effect, &bytes, &node.signs(FLEET, EffectId([2; 32]), &bytes)), wrong());
        assert_eq!(said(effect, &[&bytes[..], b" "].concat(), &good), wrong(), "other bytes of one meaning");
        assert_eq!(said(EffectId([2; 32]), &bytes, &good), wrong(), "under another effect's id");
        let long = vec![b' '; MAX_OUTCOME_BYTES + 1];
        let signed = node.signs(FLEET, effect, &long);
        assert_eq!(said(effect, &long, &signed), Err(NotBelieved::TooLong(long.len())));
    }

    #[test]
    fn what_is_signed_and_no_outcome_of_this_effect_ends_the_stream() {
        let (node, effect) = (Node::new(), EffectId([1; 32]));
        for bytes in [outcome(EffectId([2; 32])), b"{}".to_vec()] {
            let signature = node.signs(FLEET, effect, &bytes);
            assert!(read(node.speaker(), effect, &bytes, &signature).is_err());
        }
    }
}
