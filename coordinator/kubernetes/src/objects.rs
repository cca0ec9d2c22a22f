//! Kubernetes' objects, trimmed to the fields that are used: twenty thousand pods must cost little memory.
//!
//! | module | what lives there |
//! |---|---|
//! | [`meta`] | what every object has, and which annotations are kept |
//! | [`node`] | a Node |
//! | [`pod`] | a Pod |
//! | [`budget`] | a PodDisruptionBudget |
//! | [`volume`] | a PersistentVolume, as far as it says where its data lies |
//! | [`selector`] | label selectors, node selectors and tolerations, as the server matches them |
//! | [`quantity`] | `100m`, `1.5Gi`; sums of what pods ask for |
//!
//! Fields that are not named here are skipped while reading. What has to be there and is not is an error of the
//! reading, and never a default: a Node without a UID is no Node.
//!
//! Source: `staging/src/k8s.io/api/{core/v1,policy/v1}/types.go` of kubernetes/kubernetes.

use serde::Deserialize;

pub mod budget;
pub mod meta;
pub mod node;
pub mod pod;
pub mod quantity;
pub mod selector;
#[cfg(test)]
mod tests;
pub mod volume;

pub use self::{
    budget::Budget,
    meta::{Meta, Owner, Uid},
    node::Node,
    pod::Pod,
    volume::Volume,
};

/// The answer of a list, one page of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "T: serde::de::DeserializeOwned")]
pub struct List<T> {
    /// Of the list itself.
    pub metadata: ListMeta,
    /// Its objects. Go's nil slice is `null`; an answer without them is no list, and not an empty one.
    #[serde(deserialize_with = "null_is_default")]
    pub items: Vec<T>,
}

/// What a list says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// From where a watch goes on.
    pub resource_version: String,
    /// More is to be had under this word; empty where this was the last page.
    #[serde(rename = "continue", default)]
    pub more: String,
}

/// One line of a watch.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum Change<T> {
    /// It came, or was there when the watch began.
    Added(T),
    /// It changed.
    Modified(T),
    /// It went, as it was last; or it changed so that the watch's selector no longer matches.
    Deleted(T),
    /// Nothing happened up to here.
    Bookmark(Bookmark),
    /// The watch ends with a Status.
    Error(serde_json::Value),
}

/// An object of which only the version is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bookmark {
    /// With the version.
    pub metadata: BookmarkMeta,
}

/// See [`Bookmark`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookmarkMeta {
    /// From where a watch goes on.
    pub resource_version: String,
}

/// Go writes `null` for an empty slice or map now and then.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}
