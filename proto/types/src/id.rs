//! Identities: who, which run, which effect, under which coordinator.

use alloc::{format, string::String};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    Invalid, Sha256,
    digest::{from_hex, write_hex},
};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Reads hex digits.
            ///
            /// # Errors
            /// When the text is anything else.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                from_hex::<$bytes>(text)
                    .map(Self)
                    .ok_or_else(|| Invalid::new($what, text, concat!("it is hex digits of ", $bytes, " bytes")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(|error| D::Error::custom(format!("{error}")))
            }
        }
    };
}

hex_id!(
    /// A fleet: 128 random bits, made when its coordinator's directory is made.
    FleetId, 16, "fleet id"
);
hex_id!(
    /// One start of a coordinator: 128 random bits.
    InstanceId, 16, "coordinator instance"
);
hex_id!(
    /// A run, for ever: a ULID's 128 bits (48 of milliseconds, 80 random). People say its number instead.
    RunId, 16, "run id"
);
hex_id!(
    /// A journal: 128 random bits, made when the agent's journal is made. Another id means lost memory.
    JournalId, 16, "journal id"
);
hex_id!(
    /// One effect: what is done once. See [`EffectId::derive`].
    EffectId, 32, "effect id"
);

/// A node's identity: SHA-256 of the public key (SubjectPublicKeyInfo) that it enrolled with. A name that
/// is enrolled again has another key and inherits nothing.
pub type NodeKey = Sha256;

/// The coordinator's number: rises with every start that takes over a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Whom an agent obeys. A lower epoch is refused; so is the same epoch from another instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fence {
    /// The coordinator's number.
    pub epoch: Epoch,
    /// Its 128 random bits per start.
    pub instance: InstanceId,
}

impl Fence {
    /// May a coordinator with this fence be obeyed by one that last obeyed `seen`?
    #[must_use]
    pub fn is_obeyed_after(&self, seen: Option<&Self>) -> bool {
        match seen {
            None => true,
            Some(seen) => self.epoch > seen.epoch || self == seen,
        }
    }
}

/// What an effect id is made of. Two effects that differ in any of it differ in their id.
#[derive(Debug, Clone, Copy)]
pub struct EffectKey<'a> {
    /// The fleet.
    pub fleet: FleetId,
    /// The run.
    pub run: RunId,
    /// The digest of the plan that the run executes.
    pub plan: Sha256,
    /// The node's identity, not its name.
    pub node: NodeKey,
    /// Which stage of the plan.
    pub stage: &'a str,
    /// The section's or move's kind: `stage`, `protect`, `apply`, …
    pub what: &'a str,
    /// `true` when it takes back rather than does.
    pub undo: bool,
    /// Rises only by a recorded decision of the operator.
    pub attempt: u32,
}

impl EffectId {
    /// hash(fleet, run, plan digest, node identity, stage, section or move, do|undo, attempt).
    #[must_use]
    pub fn derive(key: &EffectKey<'_>) -> Self {
        let direction: &[u8] = if key.undo { b"undo" } else { b"do" };
        let parts: [&[u8]; 8] = [
            &key.fleet.0,
            &key.run.0,
            &key.plan.0,
            &key.node.0,
            key.stage.as_bytes(),
            key.what.as_bytes(),
            direction,
            &key.attempt.to_be_bytes(),
        ];
        Self(Sha256::of_parts(&parts).0)
    }

    /// The first eight hex digits: enough to tell two apart on a screen.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = format!("{self}");
        text.truncate(8);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(epoch: u64, instance: u8) -> Fence {
        Fence { epoch: Epoch(epoch), instance: InstanceId([instance; 16]) }
    }

    #[test]
    fn a_lower_epoch_and_the_same_epoch_from_another_instance_are_not_obeyed() {
        let seen = fence(7, 1);
        assert!(!fence(6, 1).is_obeyed_after(Some(&seen)));
        assert!(!fence(7, 2).is_obeyed_after(Some(&seen)));
        assert!(fence(7, 1).is_obeyed_after(Some(&seen)));
        assert!(fence(8, 2).is_obeyed_after(Some(&seen)));
        assert!(fence(u64::MAX, 0).is_obeyed_after(None));
    }

    #[test]
    fn each_part_of_an_effect_changes_its_id() {
        let base = EffectKey {
            fleet: FleetId([1; 16]),
            run: RunId([2; 16]),
            plan: Sha256([3; 32]),
            node: Sha256([4; 32]),
            stage: "etcd",
            what: "apply",
            undo: false,
            attempt: 1,
        };
        let id = EffectId::derive(&base);
        let others = [
            EffectKey { fleet: FleetId([9; 16]), ..base },
            EffectKey { run: RunId([9; 16]), ..base },
            EffectKey { plan: Sha256([9; 32]), ..base },
            EffectKey { node: Sha256([9; 32]), ..base },
            EffectKey { stage: "etc", ..base },
            EffectKey { what: "protect", ..base },
            EffectKey { undo: true, ..base },
            EffectKey { attempt: 2, ..base },
        ];
        for other in &others {
            assert_ne!(EffectId::derive(other), id, "{other:?}");
        }
    }
}
