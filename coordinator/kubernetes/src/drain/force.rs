//! What a person, or the plan, has said may be deleted where it cannot be evicted.
//!
//! A pod is evicted first all the same: its budget may let it go by now. Only where a budget, or a webhook, says no to
//! that, it is deleted, by its UID, and the refusal that was passed over is kept with its name.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    ask::{self, Fault},
    evict::{self, Went, pod_path},
};
use crate::{
    answer::Refusal,
    api::{Api, Method, Request},
    objects::{Pod, Uid, pod::PodName},
};

/// Which pods, by whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    /// Who said so: an operator, or the plan.
    pub by: String,
    /// Exactly these; none named: whoever is left.
    pub only: Option<BTreeSet<Uid>>,
    /// Their grace period in seconds, where it is not to be their own.
    pub grace_s: Option<u32>,
}

impl Force {
    /// Is it one of them?
    #[must_use]
    pub fn takes(&self, pod: &Pod) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&pod.metadata.uid))
    }

    /// Was it named? Then what is lost with it was accepted by name as well.
    #[must_use]
    pub fn names(&self, pod: &Pod) -> bool {
        self.only.as_ref().is_some_and(|only| only.contains(&pod.metadata.uid))
    }

    /// It was told to end, and is to end sooner.
    #[must_use]
    pub fn hastens(&self, pod: &Pod) -> bool {
        let has = pod.metadata.deletion_grace_period_seconds;
        pod.metadata.is_going()
            && self.takes(pod)
            && self.grace_s.is_some_and(|s| has.is_none_or(|has| has > u64::from(s)))
    }
}

/// Evicts a pod, and deletes it where that is refused by what may be passed over.
pub async fn remove(api: &dyn Api, name: &PodName, uid: &str, force: &Force) -> Went {
    match evict::evict(api, name, uid, force.grace_s, false).await {
        Went::Refused(refusal) if may_be_passed_over(&refusal, force) => {
            delete(api, name, uid, force, Some(refusal.to_string())).await
        }
        Went::Going(pod) if force.hastens(&pod) => delete(api, name, uid, force, None).await,
        other => other,
    }
}

/// What somebody has set up against evictions; not that the server has too much to do, or lacks a right. A webhook guards
/// what nobody but its owner knows: only who has named the pod has decided about that, and no plan does.
const fn may_be_passed_over(refusal: &Refusal, force: &Force) -> bool {
    match refusal {
        Refusal::Budget { .. } | Refusal::BudgetNotSeen { .. } | Refusal::TwoBudgets => true,
        Refusal::Denied { .. } | Refusal::WebhookDown { .. } => force.only.is_some(),
        _ => false,
    }
}

async fn delete(api: &dyn Api, name: &PodName, uid: &str, force: &Force, past: Option<String>) -> Went {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
    if let Some(grace_s) = force.grace_s {
        options["gracePeriodSeconds"] = grace_s.into();
    }
    let request = Request {
        method: Method::Delete,
        path: pod_path(name),
        body: Some(options.to_string().into_bytes()),
        within: ask::WITHIN,
    };
    match ask::ask(api, request).await {
        Ok(_) => Went::Forced { pod: name.clone(), past },
        // Gone, or another one under its name: that one was not meant.
        Err(Fault::Refused {
            refusal: Refusal::Gone { .. } | Refusal::AnotherUid { .. } | Refusal::Stale,
            ..
        }) => Went::Gone,
        Err(Fault::Refused { refusal, .. }) if !refusal.may_have_taken_effect() => Went::Refused(refusal),
        Err(fault) => Went::Faulted(fault),
    }
}
