//! `kubernetesCluster`: nothing fails in the node's cluster that did not fail before the run.
//!
//! What failed before is noted at the first gate of a run in each cluster, while no Node of that cluster was changed: by
//! what fails, not by its age alone, for a pod in a crash loop has no age that tells. What is noted stands on record, and
//! holds nobody. Where nothing could be noted, only what has failed without a break since before the run began is not its
//! doing.

use std::sync::{Arc, PoisonError};

use drydock_core::recipe::{Already, Check, KubernetesCluster};
use drydock_kubernetes::health::{self, Known, Problem, Weight};
use drydock_types::{ClusterName, NodeName, Verdict};

use super::{in_cluster, now_unix_s};
use crate::{checks::Scene, driver::FailedBefore, moves::kubernetes_drain::Bound};

/// More causes than this are not told one by one in the record.
const MOST_SAID: usize = 20;

/// Observes and judges.
pub(crate) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &KubernetesCluster) -> Verdict {
    let bound = match in_cluster(scene, node).await {
        Ok(bound) => bound,
        Err(unknown) => return unknown,
    };
    let (problems, now) = observed(&bound, config).await;
    let noted = noted(scene, &bound, &problems, now).await;
    if config.already_failing == Already::Refuse {
        return health::verdict(&problems, None, now);
    }
    let before = noted.as_deref().or_else(|| known(scene, &bound));
    let began_unix_s = i64::try_from(scene.request.began_unix_ms / 1000).unwrap_or(i64::MAX);
    // A rehearsal has no run yet: all that fails would have failed before it.
    let began_unix_s = if scene.request.rehearses { now } else { began_unix_s };
    health::verdict(&problems, Some(Known { began_unix_s, before }), now)
}

/// Notes what fails already where no check of this very look does: a check of the soak will ask for it.
pub(crate) async fn note(scene: &Scene<'_>) {
    let asked = scene.request.checks.iter().any(|check| matches!(check, Check::KubernetesCluster(_)));
    if !scene.request.notes_failures || asked {
        return;
    }
    let noting = async {
        let Ok(bound) = in_cluster(scene, &scene.request.node).await else { return Verdict::Clear };
        if known(scene, &bound).is_none() {
            let (problems, now) = observed(&bound, &KubernetesCluster::default()).await;
            drop(noted(scene, &bound, &problems, now).await);
        }
        Verdict::Clear
    };
    drop(scene.in_time(noting).await);
}

async fn observed(bound: &Bound, config: &KubernetesCluster) -> (Vec<Problem>, i64) {
    let now = now_unix_s();
    let mut seen = health::observe(&*bound.api, Vec::new(), &config.ignore_namespaces, now).await;
    seen.bound = Some(bound.node.clone());
    (health::judge(&seen, now), now)
}

fn known<'a>(scene: &'a Scene<'_>, bound: &Bound) -> Option<&'a [String]> {
    let cluster = ClusterName::parse(&bound.cluster).ok()?;
    scene.request.failed_before.get(&cluster).map(Vec::as_slice)
}

/// Notes what fails now, where that is what failed before, and where everything could be seen.
async fn noted(scene: &Scene<'_>, bound: &Bound, problems: &[Problem], now: i64) -> Option<Vec<String>> {
    let whole = problems.iter().all(|problem| problem.weight <= Weight::Stops);
    // A rehearsal's are kept by nobody, and yet are what its verdicts go by.
    let notes = scene.request.notes_failures || scene.request.rehearses;
    if !notes || !whole || known(scene, bound).is_some() || !is_untouched(scene, bound).await {
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

/// Has nothing of the run been done to this cluster yet? What it did to others is no reason to note nothing here.
async fn is_untouched(scene: &Scene<'_>, bound: &Bound) -> bool {
    let changed = &scene.request.changed;
    let Some(bindings) = scene.clusters.as_ref().filter(|_| !changed.is_empty()) else { return true };
    // What cannot be read is no proof.
    Arc::clone(bindings).any_of(&bound.cluster, changed).await == Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use async_trait::async_trait;
    use drydock_core::moves::Move;
    use drydock_kubernetes::api::{Answer, Api, Line, Request, Unreached};
    use drydock_proto::tls::peer::Shown;
    use drydock_types::{Epoch, Fence, InstanceId, NodeKey};
    use futures_util::stream::BoxStream;
    use serde_json::json;
    use tokio::time::timeout;

    use crate::{
        checks::{look_and_note, tests::request},
        driver::LookRequest,
        link::Sessions,
        moves::{
            Carrier, Errand, NotMoved,
            kubernetes_drain::{Bindings, tests::sessions},
        },
    };

    use super::*;

    /// A cluster in which the node's Node is not Ready, and which says nothing where a path begins with this.
    #[derive(Debug, Clone, Copy)]
    struct Mute(&'static str);

    #[async_trait]
    impl Api for Mute {
        async fn call(&self, request: Request) -> Result<Answer, Unreached> {
            let node = json!({"metadata": {"name": "k3s-1", "uid": "u", "resourceVersion": "1"}, "status": {
                "nodeInfo": {"machineID": "m", "bootID": "b"},
                "conditions": [{"type": "Ready", "status": "False", "message": "PLEG is not healthy",
                    "lastTransitionTime": "2026-11-21T20:00:00Z"}]}});
            let body = match request.path.as_str() {
                path if path.starts_with(self.0) => std::future::pending().await,
                "/readyz" => json!("ok"),
                "/api/v1/nodes/k3s-1" => node,
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

        async fn any_of(self: Arc<Self>, cluster: &str, keys: &BTreeSet<NodeKey>) -> Result<bool, String> {
            match cluster {
                "shop" => Ok(keys.contains(&OF_SHOP)),
                other => Err(format!("nobody knows {other}")),
            }
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

    /// A machine that is another Node of the cluster, and one that is of another cluster.
    const OF_SHOP: NodeKey = drydock_types::Sha256([7; 32]);
    const ELSEWHERE: NodeKey = drydock_types::Sha256([8; 32]);

    /// A look at the first gate with a check of the cluster, which is not the one that would note what fails.
    async fn looked(cluster: Mute) -> (Vec<drydock_core::run::CheckResult>, Option<FailedBefore>) {
        looked_after(cluster, &[]).await
    }

    /// The same, after the run has changed these.
    async fn looked_after(
        cluster: Mute,
        changed: &[NodeKey],
    ) -> (Vec<drydock_core::run::CheckResult>, Option<FailedBefore>) {
        let check = json!({"kubernetesCondition": {"group": "helm.toolkit.fluxcd.io", "version": "v2",
            "kind": "HelmRelease", "selector": "", "condition": {"type": "Ready"}}});
        let name = NodeName::parse("k3s-1").unwrap();
        let request = LookRequest {
            checks: vec![serde_json::from_value(check).unwrap()],
            notes_failures: true,
            changed: changed.iter().copied().collect(),
            ..request(&name)
        };
        let (sessions, _agent) = sessions(&name, request.key, Epoch(1));
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
    async fn a_look_that_nobody_answers_at_all_shares_one_deadline_among_its_checks() {
        let name = NodeName::parse("k3s-1").unwrap();
        let checks = json!([
            {"etcdQuorum": {}},
            {"k3sDatastore": {"unit": "k3s.service"}},
            {"kubernetesCluster": {}},
            {"kubernetesNode": {}},
            {"kubernetesSkew": {"of": "server"}},
            {"nodeCanary": {"image": "registry.k8s.io/pause:3.10"}},
        ]);
        let request = request(&name);
        let moves = json!([{"kubernetesDrain": {}}, {"kubernetesDrain": {}}]);
        let request = LookRequest {
            checks: serde_json::from_value(checks).unwrap(),
            moves: serde_json::from_value(moves).unwrap(),
            peers: vec![(name.clone(), request.detect.clone())],
            ..request
        };
        let sessions = Sessions::new(Fence { epoch: Epoch(1), instance: InstanceId([1; 16]) });
        // An agent whose stream is open, and who never says a word.
        let (queue, _sent) = tokio::sync::mpsc::channel(64);
        let shown = Shown(Arc::from(&b"certificate"[..]));
        let _seat = sessions.sit(name, request.key, shown, queue).unwrap();
        let look = timeout(Duration::from_secs(30), look_and_note(&sessions, &Mute("/"), &request));
        let (results, ..) = look.await.expect("the reducer has begun another look by now");
        assert_eq!(results.len(), 8, "each is answered: {results:?}");
        for result in &results {
            assert!(matches!(result.verdict, Verdict::Unknown(_)), "{result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_noted_beside_a_check_that_hears_nothing() {
        let (results, failing) = looked(Mute("/apis/helm.toolkit.fluxcd.io")).await;
        assert!(matches!(&results[0].verdict, Verdict::Unknown(_)), "{results:?}");
        let failing = failing.expect("nothing was noted");
        assert_eq!((failing.cluster.as_str(), failing.keys.len()), ("shop", 1));
        assert!(failing.said[0].contains("PLEG is not healthy"), "{failing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_in_a_second_cluster_is_noted_although_the_first_was_changed() {
        let silent = Mute("/apis/helm.toolkit.fluxcd.io");
        let (_, failing) = looked_after(silent, &[ELSEWHERE]).await;
        assert_eq!(failing.expect("nothing was noted").cluster.as_str(), "shop");
        let (_, failing) = looked_after(silent, &[ELSEWHERE, OF_SHOP]).await;
        assert_eq!(failing, None, "a Node of this very cluster was changed: it may be that");
    }
}
