//! What every object has.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::null_is_default;

/// Which object it is, whatever its name: another one under the same name has another UID.
pub type Uid = String;

/// Annotations that are read: all others are skipped, for there are kilobytes of them on an object.
const KEPT: [&str; 9] = [
    crate::mark::KEY,
    crate::mark::before::KEY,
    "kubernetes.io/config.mirror",
    "weave.works/kured-reboot-in-progress",
    "weave.works/kured-node-lock",
    "harvesterhci.io/maintain-status",
    "machineconfiguration.openshift.io/state",
    "machineconfiguration.openshift.io/desiredDrain",
    "machineconfiguration.openshift.io/lastAppliedDrain",
];

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Its name.
    pub name: String,
    /// Empty for what belongs to no namespace.
    #[serde(default)]
    pub namespace: String,
    /// Which one of that name.
    pub uid: Uid,
    /// As of which change.
    pub resource_version: String,
    /// Which generation of its spec; 0 where the kind counts none.
    #[serde(default)]
    pub generation: i64,
    /// Its labels.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that are read here.
    #[serde(default, deserialize_with = "kept")]
    pub annotations: BTreeMap<String, String>,
    /// Whose it is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub owner_references: Vec<Owner>,
    /// It is to go: since when (RFC 3339).
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    /// How long its processes may take to end, in seconds.
    #[serde(default)]
    pub deletion_grace_period_seconds: Option<u64>,
    /// Who must do something before it goes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub finalizers: Vec<String>,
    /// Since when it is (RFC 3339).
    #[serde(default)]
    pub creation_timestamp: Option<String>,
}

impl Meta {
    /// Is it on its way out?
    #[must_use]
    pub const fn is_going(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whoever makes it anew when it goes.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// One of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Owner {
    /// `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Which one.
    pub uid: Uid,
    /// It is the one that makes the object anew.
    #[serde(default)]
    pub controller: bool,
}

fn kept<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Kept;

    impl<'de> Visitor<'de> for Kept {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut kept = BTreeMap::new();
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                match KEPT.contains(&key.as_ref()) {
                    true => drop(kept.insert(key.into_owned(), map.next_value()?)),
                    false => drop(map.next_value::<serde::de::IgnoredAny>()?),
                }
            }
            Ok(kept)
        }
    }
    from.deserialize_any(Kept)
}
