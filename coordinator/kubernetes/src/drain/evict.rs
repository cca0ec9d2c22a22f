//! One pod's eviction: read again, then asked for by UID.
//!
//! The pod is read again right before, because an eviction of a pod that was made anew under the same name takes one
//! from its budget for two minutes although it is refused (409). The UID in the request then only closes the moment in
//! between.

use serde_json::json;

use super::ask::{self, Fault};
use crate::{
    answer::Refusal,
    api::{Api, Method, Request},
    objects::{Pod, pod::PodName},
};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Went {
    /// The server takes it: the pod is told to end.
    Taken,
    /// It was deleted; what had refused its eviction, where something had.
    Forced {
        /// Which.
        pod: PodName,
        /// In the server's words.
        past: Option<String>,
    },
    /// That pod is not there any more, by its UID.
    Gone,
    /// It was on its way out already.
    Going(Box<Pod>),
    /// It has ended by itself: nothing of it runs.
    Finished,
    /// The server does not.
    Refused(Refusal),
    /// The server did not say. It may have taken it: the next look tells.
    Faulted(Fault),
}

/// The path of a pod.
#[must_use]
pub fn pod_path(pod: &PodName) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", ask::encoded(&pod.namespace), ask::encoded(&pod.name))
}

/// Evicts one pod, or asks what an eviction would say. `grace_s` is its grace period in seconds, where it is not to be
/// its own.
pub async fn evict(api: &dyn Api, name: &PodName, uid: &str, grace_s: Option<u32>, dry_run: bool) -> Went {
    let pod: Pod = match ask::get(api, &pod_path(name)).await {
        Ok(pod) => pod,
        Err(fault) if fault.is_gone() => return Went::Gone,
        Err(fault) => return Went::Faulted(fault),
    };
    if pod.metadata.uid != uid {
        return Went::Gone;
    }
    if pod.metadata.is_going() {
        return Went::Going(Box::new(pod));
    }
    if pod.is_finished() {
        return Went::Finished;
    }
    match ask::ask(api, request(name, uid, grace_s, dry_run)).await {
        Ok(_) => Went::Taken,
        Err(Fault::Refused { refusal: Refusal::Gone { .. }, .. }) => Went::Gone,
        Err(Fault::Refused { refusal, .. }) if !refusal.may_have_taken_effect() => Went::Refused(refusal),
        Err(fault) => Went::Faulted(fault),
    }
}

fn request(name: &PodName, uid: &str, grace_s: Option<u32>, dry_run: bool) -> Request {
    let mut options = json!({"preconditions": {"uid": uid}});
    if let Some(grace_s) = grace_s {
        options["gracePeriodSeconds"] = grace_s.into();
    }
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name.name, "namespace": name.namespace},
        "deleteOptions": options,
    });
    // In the query too: a proxy that drops bodies it does not know must not turn a question into a deed.
    let query = if dry_run { "?dryRun=All" } else { "" };
    Request {
        method: Method::Post,
        path: format!("{}/eviction{query}", pod_path(name)),
        body: Some(body.to_string().into_bytes()),
        within: ask::WITHIN,
    }
}
