//! What `waitForReplacements` waits for, on the Node beside our mark: how many pods of each controller were ready before
//! this run evicted the first of them.
//!
//! Written by the patch that cordons, so that it is there before anything is evicted and whatever is cut short; read by
//! every later order of the run, for after a pause, a resume or a coordinator's end nobody else knows it. What stands is
//! never changed, only added to: controllers whose first pod came to this Node since. It is taken off with the mark.
//!
//! An annotation of its own: the mark is for people, and is read by coordinators that know nothing of this one.

use std::collections::BTreeMap;

use drydock_types::RunId;
use serde::{Deserialize, Serialize};

use super::one_line;
use crate::objects::{Node, Uid};

/// The annotation's key.
pub const KEY: &str = "drydock/replacements";
/// It is no longer than this, in bytes: some thousand controllers. All annotations of an object may have 256 KiB
/// together, and whoever watches Nodes is sent them with each change.
pub const MOST_BYTES: usize = 128 * 1024;

/// What was ready on a cluster's Nodes before, of each controller with a pod on this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Before {
    /// For which run: another one's is nobody's.
    run: RunId,
    /// By the controller's UID.
    ready: BTreeMap<Uid, Controller>,
}

/// A controller as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controller {
    /// Where its pods are.
    pub namespace: String,
    /// `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// So many of its pods were ready, wherever they ran.
    pub ready: usize,
}

/// What stands on a Node for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or another run's.
    None,
    /// This.
    Stands(Before),
    /// Something that this version of Drydock does not write: why it cannot be read.
    Illegible(String),
}

impl Before {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn nothing(run: RunId) -> Self {
        Self { run, ready: BTreeMap::new() }
    }

    /// The controllers by their UIDs.
    #[must_use]
    pub const fn controllers(&self) -> &BTreeMap<Uid, Controller> {
        &self.ready
    }

    /// Adds a controller, unless it is there.
    pub fn add(&mut self, uid: Uid, controller: Controller) {
        self.ready.entry(uid).or_insert(controller);
    }

    /// One more pod of that controller was ready.
    pub fn count(&mut self, uid: &str) {
        if let Some(controller) = self.ready.get_mut(uid) {
            controller.ready = controller.ready.saturating_add(1);
        }
    }

    /// This, and of the other one what is not in this.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (uid, controller) in &other.ready {
            self.add(uid.clone(), controller.clone());
        }
        self
    }

    /// As it stands in the annotation.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Reads what stands on a Node for a run.
#[must_use]
pub fn found(node: &Node, run: RunId) -> Found {
    let Some(text) = node.metadata.annotations.get(KEY) else { return Found::None };
    if text.len() > MOST_BYTES {
        return Found::Illegible(format!("it has {} bytes", text.len()));
    }
    match serde_json::from_str::<Before>(text) {
        Ok(before) if before.run == run => Found::Stands(before),
        Ok(_) => Found::None,
        Err(why) => Found::Illegible(one_line(&why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUN: RunId = RunId([2; 16]);

    fn node(annotation: &str) -> Node {
        let annotations = json!({KEY: annotation});
        let meta = json!({"name": "k-1", "uid": "u", "resourceVersion": "1", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    fn cart(ready: usize) -> Controller {
        Controller { namespace: "shop".into(), kind: "ReplicaSet".into(), name: "cart".into(), ready }
    }

    fn before(uid: &str, ready: usize) -> Before {
        let mut before = Before::nothing(RUN);
        before.add(uid.to_owned(), cart(ready));
        before
    }

    #[test]
    fn what_was_written_is_read_by_its_own_run_and_is_nothing_to_another() {
        let written = before("r", 9);
        assert_eq!(found(&node(&written.text()), RUN), Found::Stands(written.clone()));
        assert_eq!(found(&node(&written.text()), RunId([3; 16])), Found::None);
        let nothing = Before::nothing(RUN);
        assert_eq!(found(&node(&nothing.text()), RUN), Found::Stands(nothing), "nothing is not unknown");
    }

    #[test]
    fn what_stands_is_added_to_and_never_changed() {
        let both = before("r", 9).with(&before("r", 4)).with(&before("s", 2));
        let counts: Vec<(&str, usize)> =
            both.controllers().iter().map(|(uid, controller)| (uid.as_str(), controller.ready)).collect();
        assert_eq!(counts, [("r", 9), ("s", 2)]);
    }

    #[test]
    fn what_cannot_be_read_is_neither_nothing_nor_believed() {
        let long = format!("{}{}", " ".repeat(MOST_BYTES), before("r", 9).text());
        let mut more = json!(before("r", 9));
        more["more"] = json!(1);
        for text in ["", "null", "{}", "nine", more.to_string().as_str(), long.as_str()] {
            let found = found(&node(text), RUN);
            assert!(matches!(found, Found::Illegible(_)), "{found:?}");
        }
    }
}
