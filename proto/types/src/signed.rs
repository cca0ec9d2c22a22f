//! What a node's key stands for beside TLS: the exact bytes that are signed, and the heads of the record.
//!
//! The key of a node's certificate signs three kinds of things: handshakes, certificate requests, and the
//! messages of [`message`]. The last begin with a text that neither of the others can begin with, so that a
//! signature for one purpose is worth nothing for another. See `docs/adr/0013-signed-outcomes-and-anchored-heads.md`.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Epoch, FleetId, NodeKey, Sha256, digest::write_hex};

/// For what a node's key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An outcome; it is about its effect.
    Outcome,
    /// What the agent keeps of the record ([`HeadStatement`]); it is about the asker's fresh nonce.
    Heads,
}

impl Purpose {
    /// The first bytes of the message. Each ends with a zero byte, so that none is the beginning of another.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Outcome => b"drydock outcome v1\0",
            Self::Heads => b"drydock heads v1\0",
        }
    }
}

/// What is signed: the purpose, then fleet, node and subject (an effect id, a nonce) of fixed length, then the
/// document's exact bytes.
#[must_use]
pub fn message(
    purpose: Purpose,
    fleet: FleetId,
    node: NodeKey,
    about: &[u8; 32],
    document: &[u8],
) -> Vec<u8> {
    [purpose.prefix(), &fleet.0, &node.0, about, document].concat()
}

/// An ECDSA P-256 signature (ASN.1 DER), written as hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// No such signature is longer.
    pub const MAX_BYTES: usize = 80;

    /// Takes bytes as they came; whether they are a good signature is for `drydock_proto::tls` to say.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= Self::MAX_BYTES).then(|| Self(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let plain =
            text.len().is_multiple_of(2) && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(pair).collect();
        bytes.filter(|_| plain).and_then(|bytes| Self::of(&bytes))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signature({self})")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no signature in hex digits")))
    }
}

/// How the record names an outcome's origin. The digests are of documents that the store keeps beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// Of the outcome's exact bytes, as they were signed.
    pub outcome: Sha256,
    /// The node whose key signed them.
    pub node: NodeKey,
    /// Of the node's certificate (PEM) at that time.
    pub certificate: Sha256,
    /// The signature.
    pub signature: Signature,
}

/// The end of the record at some moment: an event's number and hash. The hash covers every event before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Of which fleet's record.
    pub fleet: FleetId,
    /// Under which coordinator's epoch it was told.
    pub epoch: Epoch,
    /// The last event's number; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Sha256,
}

/// What a head that an agent is told is, beside the one that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Later than the one that is kept, or the first.
    News,
    /// The one that is kept.
    Known,
    /// Earlier: events that were told of before are not there any more.
    Back,
    /// The same number and another hash, or another fleet's: there are two records.
    Fork,
}

impl Head {
    /// What `told` is to somebody who keeps this one.
    #[must_use]
    pub fn followed_by(&self, told: &Self) -> Followed {
        match () {
            () if told.fleet != self.fleet => Followed::Fork,
            () if told.seq > self.seq => Followed::News,
            () if told.seq < self.seq => Followed::Back,
            () if told.hash == self.hash => Followed::Known,
            () => Followed::Fork,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "event {} with hash {} (epoch {})", self.seq, self.hash.short(), self.epoch.0)
    }
}

/// Two heads that cannot both be of one record: evidence, kept by the agent that was told both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadConflict {
    /// What the agent had been told before.
    pub kept: Head,
    /// What it was told then.
    pub told: Head,
}

impl HeadConflict {
    /// One sentence without a subject: `was told … after …`.
    #[must_use]
    pub fn text(&self) -> String {
        let what = match self.kept.followed_by(&self.told) {
            Followed::Back => "which goes back",
            Followed::Fork | Followed::Known | Followed::News => "which is of another record",
        };
        format!("was told of {} after {}, {what}", self.told, self.kept)
    }
}

/// The most earlier heads that an agent keeps.
pub const MAX_EARLIER: usize = 24;

/// The most conflicts that an agent keeps; the first ones tell where it began.
pub const MAX_CONFLICTS: usize = 8;

/// What an agent keeps of the record, said to whoever asked with this nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadStatement {
    /// The asker's.
    pub nonce: Sha256,
    /// The latest head; `None` on an agent that was never told one.
    pub head: Option<Head>,
    /// Some earlier ones, oldest first, the closer to each other the later they are: a record that was rewritten
    /// and went on contradicts them.
    pub earlier: Vec<Head>,
    /// Heads that were refused, with what was kept then.
    pub conflicts: Vec<HeadConflict>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64, hash: u8) -> Head {
        Head { fleet: FleetId([1; 16]), epoch: Epoch(1), seq, hash: Sha256([hash; 32]) }
    }

    #[test]
    fn a_head_is_followed_by_later_ones_only() {
        let kept = head(5, 1);
        for (told, followed) in [
            (head(6, 2), Followed::News),
            (head(5, 1), Followed::Known),
            (Head { epoch: Epoch(9), ..kept }, Followed::Known),
            (head(5, 2), Followed::Fork),
            (head(4, 1), Followed::Back),
            (Head { fleet: FleetId([2; 16]), ..head(6, 2) }, Followed::Fork),
        ] {
            assert_eq!(kept.followed_by(&told), followed, "{told}");
        }
    }

    #[test]
    fn what_is_signed_differs_with_every_part_of_it() {
        let base = message(Purpose::Outcome, FleetId([1; 16]), Sha256([2; 32]), &[3; 32], b"{}");
        for other in [
            message(Purpose::Heads, FleetId([1; 16]), Sha256([2; 32]), &[3; 32], b"{}"),
            message(Purpose::Outcome, FleetId([9; 16]), Sha256([2; 32]), &[3; 32], b"{}"),
            message(Purpose::Outcome, FleetId([1; 16]), Sha256([9; 32]), &[3; 32], b"{}"),
            message(Purpose::Outcome, FleetId([1; 16]), Sha256([2; 32]), &[9; 32], b"{}"),
            message(Purpose::Outcome, FleetId([1; 16]), Sha256([2; 32]), &[3; 32], b"{} "),
        ] {
            assert_ne!(other, base);
        }
        assert!(!Purpose::Outcome.prefix().starts_with(Purpose::Heads.prefix()));
    }

    #[test]
    fn a_signature_survives_its_text_and_is_bounded() {
        let signature = Signature::of(&[0x30, 0x45, 0x00, 0xff]).unwrap();
        assert_eq!(Signature::parse(&format!("{signature}")), Some(signature));
        for bad in ["", "3", "3g", "+1", "30 5", "AB"] {
            assert_eq!(Signature::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Signature::of(&[0; Signature::MAX_BYTES + 1]), None);
        assert_eq!(Signature::of(&[]), None);
    }
}
