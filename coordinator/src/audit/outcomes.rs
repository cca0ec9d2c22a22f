//! Who signed an outcome, and whether he could. The event's text is read loosely here, on purpose: a record is
//! judged years later, by a build that may know other events than the one that wrote it.

use std::collections::BTreeMap;

use drydock_proto::tls::{PeerIdentity, PublicKey, Role, key::certificate_from_pem, peer::is_signed_by};
use drydock_types::{
    EffectId, FleetId, NodeKey, NodeName, Sha256,
    signed::{Proof, Purpose, message},
};
use serde_json::Value;

use super::view::Kind;

/// Clocks of the coordinator and of its CA may differ by so much before a certificate is said not to have been
/// valid.
const CLOCK_SLACK_MS: i64 = 3_600_000;

/// A node's certificate that was found to be the fleet's.
#[derive(Debug, Clone)]
pub struct Known {
    pub(super) node: NodeName,
    pub(super) key: NodeKey,
    pub(super) public: PublicKey,
    from_ms: i64,
    to_ms: i64,
}

/// Certificates by the digest of their PEM text, judged once.
#[derive(Debug, Default)]
pub struct Certificates {
    known: BTreeMap<Sha256, Result<Known, String>>,
}

impl Certificates {
    /// Judges a certificate: of a node of this fleet, signed by its CA.
    pub(super) fn judge(&mut self, pem: &str, fleet: FleetId, ca: &[u8]) -> Result<Known, String> {
        let entry = self.known.entry(Sha256::of(pem.as_bytes()));
        entry.or_insert_with(|| known(pem, fleet, ca)).clone()
    }

    fn get(&self, digest: Sha256) -> Option<&Result<Known, String>> {
        self.known.get(&digest)
    }
}

fn known(pem: &str, fleet: FleetId, ca: &[u8]) -> Result<Known, String> {
    let der = certificate_from_pem(pem).map_err(|why| why.to_string())?;
    let peer = PeerIdentity::from_certificate(&der, 0).map_err(|why| why.to_string())?;
    if !is_signed_by(&der, ca) {
        return Err("it is not signed by the fleet's CA".to_owned());
    }
    if peer.fleet != fleet {
        return Err(format!("it is of fleet {}", peer.fleet));
    }
    let Role::Node(node, key) = peer.role else { return Err(format!("it is that of {}", peer.role)) };
    let public = PublicKey::of(&der).map_err(|why| why.to_string())?;
    let ms = |unix_s: i64| unix_s.saturating_mul(1000);
    Ok(Known { node, key, public, from_ms: ms(peer.not_before_unix_s), to_ms: ms(peer.not_after_unix_s) })
}

/// What is known while an event is judged.
pub(super) struct Around<'a> {
    pub(super) fleet: FleetId,
    pub(super) ca: &'a [u8],
    pub(super) certificates: &'a mut Certificates,
    /// By digest: what stood before the event.
    pub(super) documents: &'a BTreeMap<Sha256, String>,
    pub(super) wall_ms: u64,
}

/// What an event says of an outcome.
pub(super) enum Judged {
    /// It is about no outcome.
    None,
    /// An outcome whose node signed it.
    Good,
    /// One that nobody can be held to.
    Bad { kind: Kind, node: Option<NodeName>, what: String },
}

/// Judges an event's text.
pub(super) fn judge(event: &str, around: &mut Around<'_>) -> Judged {
    let Ok(value) = serde_json::from_str::<Value>(event) else {
        return Judged::Bad { kind: Kind::Outcome, node: None, what: "it is not JSON".to_owned() };
    };
    let node = value["node"].as_str().and_then(|name| NodeName::parse(name).ok());
    let Some(said) = value["event"].get("ended").map(|ended| &ended["outcome"]) else { return Judged::None };
    match signed(said, node.as_ref(), &value["proof"], around) {
        Ok(()) => Judged::Good,
        Err((kind, what)) => Judged::Bad { kind, node, what },
    }
}

fn signed(
    said: &Value,
    node: Option<&NodeName>,
    proof: &Value,
    around: &mut Around<'_>,
) -> Result<(), (Kind, String)> {
    let bad = |what: &str| (Kind::Signature, what.to_owned());
    if proof.is_null() {
        return Err(bad("its outcome is not signed"));
    }
    let proof: Proof = serde_json::from_value(proof.clone())
        .map_err(|why| (Kind::Signature, format!("its proof cannot be read: {why}")))?;
    let missing = |what: &str| (Kind::Outcome, format!("{what} is not in the store, or was changed there"));
    let bytes =
        around.documents.get(&proof.outcome).ok_or_else(|| missing("the outcome as it was signed"))?;
    if around.certificates.get(proof.certificate).is_none() {
        let shown = around.documents.get(&proof.certificate);
        let pem = shown.ok_or_else(|| missing("the certificate that its node showed"))?;
        drop(around.certificates.judge(pem, around.fleet, around.ca));
    }
    let known = match around.certificates.get(proof.certificate) {
        Some(Ok(known)) => known,
        Some(Err(why)) => return Err((Kind::Signature, format!("its node's certificate: {why}"))),
        None => return Err(missing("the certificate that its node showed")),
    };
    if known.key != proof.node || node != Some(&known.node) {
        let who = node.map_or("nobody", NodeName::as_str);
        return Err((Kind::Signature, format!("it is said of {who} and signed by {}", known.node)));
    }
    let at_ms = i64::try_from(around.wall_ms).unwrap_or(i64::MAX);
    if at_ms < known.from_ms - CLOCK_SLACK_MS || at_ms > known.to_ms + CLOCK_SLACK_MS {
        return Err(bad("its node's certificate was not valid when the event was recorded"));
    }
    let effect = said["effect"].as_str().and_then(|id| EffectId::parse(id).ok());
    let effect = effect.ok_or_else(|| (Kind::Outcome, "it names no effect".to_owned()))?;
    let signed = message(Purpose::Outcome, around.fleet, known.key, &effect.0, bytes.as_bytes());
    let judged = known.public.verify(&signed, &proof.signature);
    judged.map_err(|_| bad("its signature is not its node's over this outcome"))?;
    agrees(said, bytes)
}

/// The record's own copy is bounded; what it says came of the section must be what was signed.
fn agrees(said: &Value, signed: &str) -> Result<(), (Kind, String)> {
    let signed: Value = serde_json::from_str(signed)
        .map_err(|why| (Kind::Outcome, format!("what its node signed cannot be read: {why}")))?;
    let result = |of: &Value| of["result"].as_object().and_then(|result| result.keys().next().cloned());
    let (says, meant) = (result(said), result(&signed));
    let same = ["effect", "took", "outOfService"].iter().all(|field| said[*field] == signed[*field]);
    if says != meant || !same {
        let word = |of: Option<String>| of.unwrap_or_else(|| "nothing".to_owned());
        let what = format!("the record says {:?}, and its node signed {:?}", word(says), word(meant));
        return Err((Kind::Outcome, what));
    }
    Ok(())
}
