//! Which StatefulSets make their pods one after the other.
//!
//! Such a one makes no pod before the one ahead of it is ready: behind one that waits for this node there come none. One that
//! makes them all at once (`podManagementPolicy: Parallel`) lacks the others only for the moment until they are made.

use std::collections::BTreeMap;

use super::namespaces;
use crate::{
    api::Api,
    drain::ask::{self, Fault},
    health::objects::Scaled,
    mark::before::{Before, Controller},
    objects::Uid,
};

/// What is known of it. Asked once: a server lets nobody change the policy of a StatefulSet that is there.
#[derive(Debug, Default)]
pub(super) enum InOrder {
    /// Nobody has asked.
    #[default]
    Unasked,
    /// Those that make them in order, by their UIDs, with the number of their first pod.
    Known(BTreeMap<Uid, u64>),
    /// It is not to be seen, for this reason: none of them counts as such a one.
    Unseen(String),
}

impl InOrder {
    /// Does this StatefulSet make none of the pods that it lacks, because of one that waits? By the numbers of its pods
    /// that are there: of each whether it waits.
    pub(super) fn holds_back(&self, uid: &Uid, numbers: &BTreeMap<u64, bool>) -> bool {
        let Self::Known(first) = self else { return false };
        let Some(first) = first.get(uid) else { return false };
        let Some((waiting, _)) = numbers.iter().find(|(_, waits)| **waits) else { return false };
        // One ahead of it that is lacking is made before it, and may find a place.
        (*first..*waiting).all(|ahead| numbers.contains_key(&ahead))
    }

    /// Asks, where nobody has. A refusal is an answer; what may be answered later is not.
    pub(super) async fn ask(api: &dyn Api, before: &Before) -> Result<Self, Fault> {
        match known(api, before).await {
            Ok(known) => Ok(Self::Known(known)),
            Err(fault) if fault.is_final() || fault.is_gone() => Ok(Self::Unseen(fault.to_string())),
            Err(fault) => Err(fault),
        }
    }

    /// What there is to say of it beside the name of a StatefulSet that is waited for.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Unasked | Self::Known(_) => String::new(),
            Self::Unseen(why) => {
                format!(
                    "; whether it makes its pods in order, behind the one that waits, cannot be seen: {why}"
                )
            }
        }
    }
}

async fn known(api: &dyn Api, before: &Before) -> Result<BTreeMap<Uid, u64>, Fault> {
    let mut known = BTreeMap::new();
    for namespace in namespaces(before, is_set) {
        let path = format!("/apis/apps/v1/namespaces/{}/statefulsets", ask::encoded(&namespace));
        ask::each(api, &path, |set: Scaled| {
            let first = u64::try_from(set.spec.ordinals.start).ok();
            let in_order = set.spec.pod_management_policy == "OrderedReady";
            // Another one of that name has another UID, and was not counted.
            let counted = before.controllers().get(&set.metadata.uid).is_some_and(is_set);
            if let Some(first) = first.filter(|_| in_order && counted) {
                known.insert(set.metadata.uid, first);
            }
        })
        .await?;
    }
    Ok(known)
}

/// Is it a StatefulSet that something is waited for of?
pub(super) fn is_set(controller: &Controller) -> bool {
    controller.kind == "StatefulSet" && controller.ready > 0
}

/// The number of a StatefulSet's pod, which its name ends with.
pub(super) fn number(pod: &str) -> Option<u64> {
    pod.rsplit_once('-')?.1.parse().ok()
}
