//! Objects with their versions, and every change since.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// `nodes`
    Nodes,
    /// `pods`
    Pods,
    /// `poddisruptionbudgets`
    Budgets,
    /// `persistentvolumes`
    Volumes,
    /// `daemonsets`
    DaemonSets,
    /// `statefulsets`
    StatefulSets,
}

impl Resource {
    /// Its plural, as in paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Budgets => "poddisruptionbudgets",
            Self::Volumes => "persistentvolumes",
            Self::DaemonSets => "daemonsets",
            Self::StatefulSets => "statefulsets",
        }
    }

    /// Its API group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Nodes | Self::Pods | Self::Volumes => "",
            Self::Budgets => "policy",
            Self::DaemonSets | Self::StatefulSets => "apps",
        }
    }

    pub(super) fn of(plural: &str) -> Option<Self> {
        let all =
            [Self::Nodes, Self::Pods, Self::Budgets, Self::Volumes, Self::DaemonSets, Self::StatefulSets];
        all.into_iter().find(|resource| resource.plural() == plural)
    }
}

/// A change, as a watch tells it.
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: Resource,
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

#[derive(Default)]
pub(super) struct Store {
    version: u64,
    uids: u64,
    objects: BTreeMap<(Resource, String, String), Value>,
    changes: Vec<Change>,
    forgotten: u64,
}

/// The text of a value; empty where it is none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn forget(&mut self) {
        // One more, so that even the latest list's version is too old.
        self.version += 1;
        self.forgotten = self.version;
        self.changes.clear();
    }

    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        let from = self.changes.partition_point(|change| change.version <= version);
        self.changes.iter().skip(from)
    }

    pub(super) fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(resource, namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn all(&self, resource: Resource) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((kind, ..), _)| *kind == resource).map(|(_, object)| object)
    }

    /// Puts an object there; brings its UID.
    pub(super) fn put(&mut self, resource: Resource, mut object: Value) -> String {
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        if object["metadata"]["uid"].is_null() {
            self.uids += 1;
            object["metadata"]["uid"] = json!(format!("uid-{:04}", self.uids));
        }
        let uid = text(&object["metadata"]["uid"]);
        let key = (resource, namespace, name);
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let object = self.changed(resource, kind, object);
        self.objects.insert(key, object);
        uid
    }

    pub(super) fn change(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let key = (resource, namespace.to_owned(), name.to_owned());
        let Some(old) = self.objects.get(&key).cloned() else { return false };
        let mut object = old.clone();
        change(&mut object);
        if object != old {
            // What asks for something else is a new generation, where the kind counts them.
            if object["spec"] != old["spec"]
                && let Some(generation) = object["metadata"]["generation"].as_i64()
            {
                object["metadata"]["generation"] = json!(generation + 1);
            }
            let object = self.changed(resource, "MODIFIED", object);
            self.objects.insert(key, object);
        }
        true
    }

    pub(super) fn remove(&mut self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let object = self.objects.remove(&(resource, namespace.to_owned(), name.to_owned()))?;
        Some(self.changed(resource, "DELETED", object))
    }

    fn changed(&mut self, resource: Resource, kind: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changes.push(Change { version: self.version, resource, kind, object: object.clone() });
        object
    }
}
