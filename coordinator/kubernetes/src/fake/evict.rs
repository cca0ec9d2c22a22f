//! Evictions and budgets, as the server and its disruption controller count them.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go` and `pkg/controller/disruption/disruption.go` of
//! kubernetes/kubernetes; the texts are a real server's (1.36.3).

use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    World,
    serve::{Target, json_answer, named, not_found, status},
    store::{Resource, text},
};
use crate::{
    api::Answer,
    objects::{
        Budget, Pod,
        budget::{Amount, UnhealthyPods},
    },
};

impl World {
    pub(super) fn evict(&mut self, target: &Target, body: &Value) -> Answer {
        let (namespace, name) = named(target);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let Some(pod) = self.pod(&namespace, &name) else {
            return not_found(target);
        };
        let dry_run = target.dry_run || body["deleteOptions"]["dryRun"] == json!(["All"]);
        if !(pod.metadata.is_going()
            || matches!(pod.status.phase.as_str(), "Pending" | "Succeeded" | "Failed"))
            && let Err(answer) = self.ask_budget(&pod, dry_run)
        {
            return answer;
        }
        // Only now is the UID compared: the budget is one lower already.
        let wanted = &body["deleteOptions"]["preconditions"]["uid"];
        if !wanted.is_null() && wanted != pod.metadata.uid.as_str() {
            return status(
                409,
                "Conflict",
                &format!(
                    "Operation cannot be fulfilled on Pod \"{name}\": the UID in the precondition ({}) does not match the \
                     UID in record ({}). The object might have been deleted and then recreated",
                    text(wanted),
                    pod.metadata.uid
                ),
                json!({"name": name, "kind": "Pod"}),
            );
        }
        if !dry_run {
            self.end_pod(&namespace, &name);
        }
        json_answer(
            201,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        )
    }

    /// Deletes a pod, past every budget: told to end within its grace period or the one that is asked for.
    pub(super) fn delete(&mut self, target: &Target, body: &Value) -> Answer {
        let (namespace, name) = named(target);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let Some(pod) = self.pod(&namespace, &name) else {
            return not_found(target);
        };
        let wanted = &body["preconditions"]["uid"];
        if !wanted.is_null() && wanted != pod.metadata.uid.as_str() {
            return status(
                409,
                "Conflict",
                &format!(
                    "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                    text(wanted),
                    pod.metadata.uid
                ),
                json!({"name": name, "kind": "pods"}),
            );
        }
        self.end_pod(&namespace, &name);
        if let Some(grace) = body["gracePeriodSeconds"].as_u64() {
            self.hasten(&namespace, &name, grace);
        }
        match self.store.get(Resource::Pods, &namespace, &name) {
            Some(pod) => json_answer(200, pod),
            None => json_answer(200, &json!({"kind": "Status", "status": "Success", "code": 200})),
        }
    }

    /// A pod that was told to end is to end sooner; with no grace at all it is forgotten at once.
    fn hasten(&mut self, namespace: &str, name: &str, grace: u64) {
        if grace == 0 {
            self.store.remove(Resource::Pods, namespace, name);
            return;
        }
        self.store.change(Resource::Pods, namespace, name, |pod| {
            pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        });
    }

    /// Tells a pod to end.
    pub(super) fn end_pod(&mut self, namespace: &str, name: &str) {
        self.store.change(Resource::Pods, namespace, name, |pod| {
            if pod["metadata"]["deletionTimestamp"].is_null() {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T03:00:00Z");
                pod["metadata"]["deletionGracePeriodSeconds"] =
                    pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30).into();
            }
        });
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        serde_json::from_value(self.store.get(Resource::Pods, namespace, name)?.clone()).ok()
    }

    fn budgets(&self) -> Vec<Budget> {
        self.store.all(Resource::Budgets).filter_map(|one| Budget::deserialize(one).ok()).collect()
    }

    fn ask_budget(&mut self, pod: &Pod, dry_run: bool) -> Result<(), Answer> {
        let over: Vec<Budget> = self.budgets().into_iter().filter(|budget| budget.covers(pod)).collect();
        let budget = match &*over {
            [] => return Ok(()),
            [budget] => budget,
            _ => {
                let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                               support.";
                return Err(status(500, "", message, Value::Null));
            }
        };
        let counted = &budget.status;
        if !pod.is_ready() {
            let enough = counted.current_healthy >= counted.desired_healthy && counted.desired_healthy > 0;
            if enough || budget.spec.unhealthy_pod_eviction_policy == UnhealthyPods::AlwaysAllow {
                return Ok(());
            }
        }
        let name = &budget.metadata.name;
        if counted.observed_generation < budget.metadata.generation {
            let said = format!("The disruption budget {name} is still being processed by the server.");
            return Err(no(&said, Some(10)));
        }
        if counted.disruptions_allowed <= 0 {
            let said = if counted.current_healthy <= counted.desired_healthy {
                format!(
                    "The disruption budget {name} needs {} healthy pods and has {} currently",
                    counted.desired_healthy, counted.current_healthy
                )
            } else {
                format!("The disruption budget {name} does not allow evicting pods currently")
            };
            return Err(no(&said, None));
        }
        if !dry_run {
            let pod_name = pod.metadata.name.clone();
            self.timers.disrupted.insert((budget.name(), pod_name.clone()), Instant::now());
            self.store.change(Resource::Budgets, &budget.metadata.namespace, name, |budget| {
                let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
                budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
                budget["status"]["disruptedPods"][pod_name] = json!("2026-11-21T03:00:00Z");
            });
        }
        Ok(())
    }

    /// Counts every budget anew, as the disruption controller does.
    pub(super) fn count_budgets(&mut self, now: Instant) {
        let pods: Vec<Pod> =
            self.store.all(Resource::Pods).filter_map(|pod| Pod::deserialize(pod).ok()).collect();
        for budget in self.budgets() {
            let under: Vec<&Pod> =
                pods.iter().filter(|pod| budget.covers(pod) && !pod.is_finished()).collect();
            let mut disrupted = budget.status.disrupted_pods.clone();
            disrupted.retain(|name, _| {
                let since = self.timers.disrupted.get(&(budget.name(), name.clone()));
                let fresh = since.is_some_and(|since| now.duration_since(*since).as_secs() < 120);
                // Over when the pod is seen to end. One that stays is believed in for two minutes.
                fresh && under.iter().any(|pod| pod.metadata.name == *name && !pod.metadata.is_going())
            });
            let healthy = under
                .iter()
                .filter(|pod| {
                    pod.is_ready() && !pod.metadata.is_going() && !disrupted.contains_key(&pod.metadata.name)
                })
                .count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            let (expected, desired) = self.expected(&budget, &under);
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            self.store.change(
                Resource::Budgets,
                &budget.metadata.namespace,
                &budget.metadata.name,
                |object| {
                    object["status"] = json!({
                        "observedGeneration": budget.metadata.generation,
                        "disruptionsAllowed": allowed,
                        "currentHealthy": healthy,
                        "desiredHealthy": desired,
                        "expectedPods": expected,
                        "disruptedPods": disrupted,
                    });
                },
            );
        }
    }

    fn expected(&self, budget: &Budget, under: &[&Pod]) -> (i64, i64) {
        let many = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let scaled: i64 = self
            .workloads
            .iter()
            .filter(|workload| {
                under
                    .iter()
                    .any(|pod| pod.metadata.controller().is_some_and(|owner| owner.uid == workload.uid()))
            })
            .map(|workload| many(workload.replicas))
            .sum();
        let share = |text: &str| text.trim_end_matches('%').parse::<i64>().unwrap_or(0);
        match (&budget.spec.min_available, &budget.spec.max_unavailable) {
            (Some(Amount::Number(number)), _) => (many(under.len()), *number),
            (Some(Amount::Share(text)), _) => (scaled, (scaled * share(text) + 99) / 100),
            (None, Some(Amount::Number(number))) => (scaled, (scaled - number).max(0)),
            (None, Some(Amount::Share(text))) => {
                (scaled, (scaled - (scaled * share(text) + 99) / 100).max(0))
            }
            (None, None) => (many(under.len()), 1),
        }
    }

    /// How far each budget's healthy pods are above what it demands, at this moment.
    pub(super) fn note_slack(&mut self) {
        if std::mem::replace(&mut self.noted, self.store.version()) == self.store.version() {
            return;
        }
        let pods: Vec<Pod> =
            self.store.all(Resource::Pods).filter_map(|pod| Pod::deserialize(pod).ok()).collect();
        for budget in self.budgets().into_iter().filter(|budget| budget.status.observed_generation > 0) {
            let serving = |pod: &&Pod| budget.covers(pod) && pod.is_ready() && !pod.metadata.is_going();
            let healthy = i64::try_from(pods.iter().filter(serving).count()).unwrap_or(i64::MAX);
            let slack = healthy - budget.status.desired_healthy;
            let least = self.slack.entry(budget.name()).or_insert(slack);
            *least = slack.min(*least);
        }
    }
}

fn no(said: &str, retry_s: Option<u64>) -> Answer {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": said}]});
    if let Some(retry_s) = retry_s {
        details["retryAfterSeconds"] = json!(retry_s);
    }
    status(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details,
    )
}
