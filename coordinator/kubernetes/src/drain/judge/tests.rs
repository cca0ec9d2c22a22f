//! Tables of what is judged.
//!
//! | module | what is judged there |
//! |---|---|
//! | `pods` | who goes, who stays, and what the plan's words allow |
//! | `budgets` | budgets, each and together |
//! | `room` | where else pods can run, and what binds them |
//! | `hands` | who else is at work on a Node |

mod budgets;
mod hands;
mod pods;
mod room;

use std::{collections::BTreeMap, sync::Arc};

use drydock_types::{Epoch, FleetId, NodeName, RunId, Verdict};
use serde_json::{Value, json};

use super::{Judgement, Stays, judge};
use crate::{
    drain::{
        Force, Kind, Order, OwnPod, Word, Words,
        hands::Kured,
        look::{Elsewhere, Look},
    },
    fake::make,
    mark::{self, Marker},
    objects::{Budget, Node, Pod, Volume, pod::PodName, quantity::Amounts, volume::ClaimRef},
};

fn object<T: serde::de::DeserializeOwned>(mut value: Value) -> T {
    let uid = format!("uid-{}", value["metadata"]["name"].as_str().unwrap());
    make::overlay(&mut value, &json!({"metadata": {"uid": uid, "resourceVersion": "1"}}));
    serde_json::from_value(value).unwrap()
}

pub(super) fn order() -> Order {
    Order {
        node: "k-1".to_owned(),
        uid: "uid-k-1".to_owned(),
        marker: Marker {
            fleet: FleetId([1; 16]),
            run: RunId([2; 16]),
            node: NodeName::parse("k-1").unwrap(),
            epoch: Epoch(3),
        },
        words: Words::default(),
        own_pod: None,
        force: None,
        expects_none: false,
        looks_again: false,
        again: false,
    }
}

/// A pod of a ReplicaSet on this node, that runs.
pub(super) fn pod(name: &str, with: Value) -> Pod {
    let mut pod = make::pod("shop", name, "k-1");
    pod["metadata"]["labels"] = json!({"app": "cart"});
    pod["metadata"]["ownerReferences"] = json!([make::owner("ReplicaSet", "cart", "owner")]);
    make::overlay(&mut pod, &with);
    object(pod)
}

pub(super) fn budget(spec: Value, status: Value) -> Budget {
    let mut budget = make::budget("shop", "cart", "cart", &spec);
    budget["status"] = json!({"observedGeneration": 1});
    make::overlay(&mut budget["status"], &status);
    object(budget)
}

pub(super) fn look(pods: Vec<Pod>) -> Look {
    let others = ["k-2", "k-3"].map(|name| (object::<Node>(make::node(name)), Amounts::default()));
    Look {
        node: object(make::node("k-1")),
        pods,
        pods_version: "1".to_owned(),
        budgets: Vec::new(),
        budgets_version: "1".to_owned(),
        elsewhere: Some(Arc::new(Elsewhere { nodes: others.to_vec() })),
        volumes: Some(Ok(BTreeMap::new())),
        kured: Kured::None,
    }
}

fn said(judgement: &Judgement) -> String {
    judgement.verdict().reason().unwrap_or_default().to_owned()
}

fn kinds(judgement: &Judgement) -> Vec<Kind> {
    judgement.findings.iter().map(|finding| finding.kind).collect()
}

#[derive(Debug, PartialEq)]
enum Is {
    Clear,
    Waiting,
    Refused,
    Unknown,
}

fn is(judgement: &Judgement) -> Is {
    match judgement.verdict() {
        Verdict::Clear => Is::Clear,
        Verdict::Waiting(_) => Is::Waiting,
        Verdict::Refused(_) => Is::Refused,
        Verdict::Unknown(_) => Is::Unknown,
    }
}
