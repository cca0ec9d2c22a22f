//! `waitForReplacements`: as many of each controller's pods ready elsewhere as were ready before.
//!
//! Counted by the controller's UID. A controller that was replaced meanwhile (a roll-out of its workload) never reaches
//! its number under the old one: the drain's deadline holds then, with the name.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, time::Instant};

use super::{
    super::{
        Finding, Kind, Weight,
        ask::{self, Fault},
        judge,
    },
    said::{Progress, Waits},
    streams::{self, Object as _, Seen},
};
use crate::{
    api::Api,
    objects::{Owner, Pod, Uid, pod::PodName},
};

/// What is waited for.
pub const WHAT: &str = "the evicted pods' replacements to be ready";

/// What was there before anything was evicted.
pub(super) struct Replacements {
    /// Of each controller with a pod on the Node: where, and how many were ready.
    before: BTreeMap<Owner, (String, usize)>,
}

/// A pod as it counts: whose it is, and whether it is one of those that are wanted.
type Counted = BTreeMap<Uid, (Owner, bool)>;

impl Replacements {
    pub(super) async fn before(api: &dyn Api, here: &[Pod]) -> Result<Self, Fault> {
        let mut before: BTreeMap<Owner, (String, usize)> = here
            .iter()
            .filter(|pod| judge::goes(pod))
            .filter_map(|pod| Some((pod.metadata.controller()?.clone(), (pod.metadata.namespace.clone(), 0))))
            .collect();
        let namespaces: BTreeSet<String> = before.values().map(|(namespace, _)| namespace.clone()).collect();
        for namespace in namespaces {
            ask::each(api, &path(&namespace), |pod: Pod| {
                if let Some((_, ready)) =
                    pod.metadata.controller().and_then(|owner| before.get_mut(owner)).filter(|_| serves(&pod))
                {
                    *ready += 1;
                }
            })
            .await?;
        }
        Ok(Self { before })
    }

    /// Waits until they are there.
    pub(super) async fn wait(
        &self,
        api: &dyn Api,
        node: &str,
        gone: &[(PodName, Uid)],
        tell: &watch::Sender<Progress>,
    ) -> Result<(), Finding> {
        let since = Instant::now();
        loop {
            let mut counted = Counted::new();
            let mut watches = stream::SelectAll::new();
            for namespace in self.before.values().map(|(namespace, _)| namespace).collect::<BTreeSet<_>>() {
                let listed =
                    ask::each(api, &path(namespace), |pod: Pod| self.count(&mut counted, &pod, node)).await;
                match listed {
                    Ok(version) => watches.push(streams::watch::<Pod>(api, &path(namespace), &version)),
                    Err(fault) if fault.is_final() => return Err(refused(&fault.to_string())),
                    Err(fault) => {
                        said(tell, gone.len(), &fault.to_string(), since);
                        tokio::time::sleep(fault.after().unwrap_or(std::time::Duration::from_secs(1))).await;
                        // The whole list is begun anew below.
                        watches.clear();
                        break;
                    }
                }
            }
            if watches.is_empty() && !self.before.is_empty() {
                continue;
            }
            while let Some(missing) = self.missing(&counted) {
                said(tell, gone.len(), &missing, since);
                match watches.next().await {
                    Some(Seen::Is(pod)) => self.count(&mut counted, &pod, node),
                    Some(Seen::Went(pod)) => drop(counted.remove(&pod.meta().uid)),
                    Some(Seen::Trouble(_) | Seen::Well) => {}
                    Some(Seen::Denied(refusal)) => return Err(refused(&refusal.to_string())),
                    Some(Seen::Expired) | None => break,
                }
            }
            if self.missing(&counted).is_none() {
                return Ok(());
            }
        }
    }

    fn count(&self, counted: &mut Counted, pod: &Pod, node: &str) {
        if let Some(owner) = pod.metadata.controller().filter(|owner| self.before.contains_key(owner)) {
            let wanted = serves(pod) && pod.spec.node_name != node;
            counted.insert(pod.metadata.uid.clone(), (owner.clone(), wanted));
        }
    }

    /// The first controller that has not as many as before.
    fn missing(&self, counted: &Counted) -> Option<String> {
        self.before.iter().find_map(|(owner, (namespace, wanted))| {
            let ready = counted.values().filter(|(whose, ready)| whose == owner && *ready).count();
            (ready < *wanted).then(|| {
                format!(
                    "the {} {namespace}/{} has {ready} of {wanted} pods ready on other nodes",
                    owner.kind, owner.name
                )
            })
        })
    }
}

/// Ready, or done with what it was for.
fn serves(pod: &Pod) -> bool {
    !pod.metadata.is_going() && (pod.is_ready() || pod.status.phase == "Succeeded")
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/pods", ask::encoded(namespace))
}

fn said(tell: &watch::Sender<Progress>, gone: usize, because: &str, since: Instant) {
    let waits = Waits { what: WHAT.to_owned(), because: because.to_owned(), since };
    let progress = Progress { gone, left: Vec::new(), waits: Some(waits) };
    tell.send_if_modified(|told| {
        let news = *told != progress;
        if news {
            *told = progress;
        }
        news
    });
}

fn refused(why: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!("the evicted pods' replacements cannot be seen: {why}"),
        "mend that (`drydock cluster test`), then `drydock run resume`",
    )
}
