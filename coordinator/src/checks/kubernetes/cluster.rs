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

/// Notes what fails already where no check of this very look does: a check of the soak will ask for it.
pub(crate) async fn note(scene: &Scene<'_>) {
    let asked = scene.request.checks.iter().any(|check| matches!(check, Check::KubernetesCluster(_)));
    if !scene.request.notes_failures || asked {
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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use async_trait::async_trait;
    use drydock_core::moves::Move;
    use drydock_kubernetes::api::{Answer, Api, Line, Request, Unreached};
    use drydock_types::{Epoch, Fence, InstanceId, NodeKey};
    use futures_util::stream::BoxStream;
    use serde_json::json;
    use tokio::time::timeout;

    use crate::{
        checks::{look_and_note, tests::request},
        driver::LookRequest,
        link::Sessions,
        moves::{Carrier, Errand, NotMoved, kubernetes_drain::Bindings},
    };

    use super::*;

    /// A cluster in which one Node is not Ready, and which says nothing where a path begins with this.
    #[derive(Debug, Clone, Copy)]
    struct Mute(&'static str);

    #[async_trait]
    impl Api for Mute {
        async fn call(&self, request: Request) -> Result<Answer, Unreached> {
            let node = json!({"metadata": {"name": "k3s-1", "uid": "u", "resourceVersion": "1"}, "status": {
                "conditions": [{"type": "Ready", "status": "False", "message": "PLEG is not healthy"}]}});
            let body = match request.path.as_str() {
                path if path.starts_with(self.0) => std::future::pending().await,
                "/readyz" => json!("ok"),
                path if path.starts_with("/api/v1/nodes?") => {
                    json!({"metadata": {"resourceVersion": "7"}, "items": [node]})
                }
                _ => json!({"metadata": {"resourceVersion": "7"}, "items": []}),
            };
            let content_type = "application/json".to_owned();
            Ok(Answer { status: 200, retry_after: None, content_type, body: body.to_string().into_bytes() })
        }

        async fn watch(
            &self,
            _: String,
            _: Duration,
        ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
            std::future::pending().await
        }
    }

    #[async_trait]
    impl Bindings for Mute {
        async fn of(self: Arc<Self>, _: NodeKey, _: &NodeName) -> Result<Bound, String> {
            let (cluster, node) = ("shop".to_owned(), "k3s-1".to_owned());
            Ok(Bound { cluster, node, api: self, own_pod: None })
        }
    }

    #[async_trait]
    impl Carrier for Mute {
        async fn look(&self, _: &LookRequest, _: &Move) -> Verdict {
            std::future::pending().await
        }
        fn bindings(&self) -> Option<Arc<dyn Bindings>> {
            Some(Arc::new(*self))
        }
        async fn leave(&self, _: Errand<'_>) -> Result<String, NotMoved> {
            std::future::pending().await
        }
        async fn give_back(&self, _: Errand<'_>) -> Result<String, NotMoved> {
            std::future::pending().await
        }
    }

    /// A look at the first gate with a check of the cluster, which is not the one that would note what fails.
    async fn looked(cluster: Mute) -> (Vec<drydock_core::run::CheckResult>, Option<FailedBefore>) {
        let check = json!({"kubernetesCondition": {"group": "helm.toolkit.fluxcd.io", "version": "v2",
            "kind": "HelmRelease", "selector": "", "condition": {"type": "Ready"}}});
        let request = LookRequest {
            checks: vec![serde_json::from_value(check).unwrap()],
            notes_failures: true,
            ..request(&NodeName::parse("k3s-1").unwrap())
        };
        let sessions = Sessions::new(Fence { epoch: Epoch(1), instance: InstanceId([1; 16]) });
        // So long the reducer waits; the clock is the test's own.
        let look = timeout(Duration::from_secs(30), look_and_note(&sessions, &cluster, &request));
        let (results, _, failing) = look.await.expect("the reducer has begun another look by now");
        (results, failing)
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_a_cluster_that_says_nothing_is_over_before_the_reducer_takes_it_anew() {
        let (results, failing) = looked(Mute("/")).await;
        assert!(matches!(&results[0].verdict, Verdict::Unknown(why) if why.contains("25 s")), "{results:?}");
        assert_eq!(failing, None, "what was not seen is not noted");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_noted_beside_a_check_that_hears_nothing() {
        let (results, failing) = looked(Mute("/apis/helm.toolkit.fluxcd.io")).await;
        assert!(matches!(&results[0].verdict, Verdict::Unknown(_)), "{results:?}");
        let failing = failing.expect("nothing was noted");
        assert_eq!((failing.cluster.as_str(), failing.keys.len()), ("shop", 1));
        assert!(failing.said[0].contains("PLEG is not healthy"), "{failing:?}");
    }
}
