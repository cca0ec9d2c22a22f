//! `kubernetesCluster`: nothing fails in the node's cluster that did not fail before the run.
//!
//! What failed before is noted at the first gate of a run, while none of its nodes was changed: by what fails, not by its
//! age alone, for a pod in a crash loop has no age that tells. What is noted stands on record, and holds nobody. Where
//! nothing could be noted, only what has failed without a break since before the run began is not its doing.

use std::sync::PoisonError;

use drydock_core::recipe::{Already, Check, KubernetesCluster};
use drydock_kubernetes::health::{self, Known, Problem, Weight};
use drydock_types::{ClusterName, NodeName, Verdict};

use super::{bound, in_time, now_unix_s};
use crate::{checks::Scene, driver::FailedBefore, moves::kubernetes_drain::Bound};

/// More causes than this are not told one by one in the record.
const MOST_SAID: usize = 20;

/// Observes and judges.
pub(crate) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &KubernetesCluster) -> Verdict {
    in_time(async {
        let bound = match bound(scene, node).await {
            Ok(bound) => bound,
            Err(unknown) => return unknown,
        };
        let (problems, now) = observed(&bound, config).await;
        let noted = noted(scene, &bound, &problems, now);
        if config.already_failing == Already::Refuse {
            return health::verdict(&problems, None, now);
        }
        let before = noted.as_deref().or_else(|| known(scene, &bound));
        let began_unix_s = i64::try_from(scene.request.began_unix_ms / 1000).unwrap_or(i64::MAX);
        // A rehearsal has no run yet: all that fails would have failed before it.
        let began_unix_s = if scene.request.rehearses { now } else { began_unix_s };
        health::verdict(&problems, Some(Known { began_unix_s, before }), now)
    })
    .await
}

/// Notes what fails already where no check of this very look has: a check of the soak will ask for it.
pub(crate) async fn note(scene: &Scene<'_>) {
    let is_noted = || scene.failing.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let asked = scene.request.checks.iter().any(|check| matches!(check, Check::KubernetesCluster(_)));
    if !scene.request.notes_failures || asked || is_noted() {
        return;
    }
    let noting = async {
        let Ok(bound) = bound(scene, &scene.request.node).await else { return Verdict::Clear };
        if known(scene, &bound).is_none() {
            let (problems, now) = observed(&bound, &KubernetesCluster::default()).await;
            drop(noted(scene, &bound, &problems, now));
        }
        Verdict::Clear
    };
    drop(in_time(noting).await);
}

async fn observed(bound: &Bound, config: &KubernetesCluster) -> (Vec<Problem>, i64) {
    let now = now_unix_s();
    let seen = health::observe(&*bound.api, Vec::new(), &config.ignore_namespaces, now).await;
    (health::judge(&seen, now), now)
}

fn known<'a>(scene: &'a Scene<'_>, bound: &Bound) -> Option<&'a [String]> {
    let cluster = ClusterName::parse(&bound.cluster).ok()?;
    scene.request.failed_before.get(&cluster).map(Vec::as_slice)
}

/// Notes what fails now, where that is what failed before, and where everything could be seen.
fn noted(scene: &Scene<'_>, bound: &Bound, problems: &[Problem], now: i64) -> Option<Vec<String>> {
    let whole = problems.iter().all(|problem| problem.weight <= Weight::Stops);
    // A rehearsal's are kept by nobody, and yet are what its verdicts go by.
    let notes = scene.request.notes_failures || scene.request.rehearses;
    if !notes || !whole || known(scene, bound).is_some() {
        return None;
    }
    let keys = health::keys(problems);
    let stops =
        problems.iter().filter(|problem| problem.weight == Weight::Stops && !problem.members.is_empty());
    let mut said: Vec<String> = stops.map(|problem| problem.what(now)).collect();
    let more = said.len().saturating_sub(MOST_SAID);
    said.truncate(MOST_SAID);
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    let cluster = ClusterName::parse(&bound.cluster).ok()?;
    let found = FailedBefore { cluster, keys: keys.clone(), said };
    scene.failing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(found);
    Some(keys)
}
