//! Canaries on the agents' nodes, before and after their change: on the node with a real kubelet they are containers. What
//! is proven is what that kubelet itself says of them, and that nothing of them is left.

use std::collections::BTreeSet;

use anyhow::Result;
use drydock_test_cluster::Admin;
use serde_json::{Value, json};

use super::kubelet::IMAGE;
use super::network::Network;
use super::site::Site;
use crate::scenarios::proofs::Proofs;

/// As `deploy/kubernetes/canary.yaml` names it.
const NAMESPACE: &str = "drydock-canary";

/// Its namespace, which lets in nothing that is not restricted: as the shipped file has it.
pub(super) fn make_room(network: &Network, admin: &Admin) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels},
    });
    network.create(admin, "/api/v1/namespaces", namespace)?;
    // A pod is not taken in before its ServiceAccount is there.
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    network.until(admin, "the ServiceAccount of the canaries", &accounts, |all| !all.is_empty())
}

/// Of a stage: a canary before the drain of each node, and one after its change.
pub(super) fn checks() -> String {
    let canary = format!("        - nodeCanary: {{image: \"{IMAGE}\"}}\n");
    format!("      gate:\n{canary}      returned:\n{canary}")
}

/// By the word of the last node's kubelet.
pub(super) fn flown(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let last = site.last().name();
    let events = site.network.get(site.admin(), &format!("/api/v1/namespaces/{NAMESPACE}/events"))?;
    let events = events["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let started = |event: &&Value| {
        event["reason"] == "Started"
            && event["source"]["component"] == "kubelet"
            && event["source"]["host"] == last.as_str()
    };
    let started: BTreeSet<&str> =
        events.iter().filter(started).filter_map(|event| event["involvedObject"]["name"].as_str()).collect();
    let both = ["before", "after"]
        .iter()
        .all(|when| started.iter().any(|name| name.starts_with(&format!("canary-{last}-{when}-"))));
    proofs.check(
        both,
        format!("the kubelet of {last} started a canary's container before and after: {started:?}"),
    );
    let left = site.network.get(site.admin(), &format!("/api/v1/namespaces/{NAMESPACE}/pods"))?;
    let none = left["items"].as_array().is_some_and(Vec::is_empty);
    proofs.check(none, "no canary is left");
    Ok(())
}
