//! What disruption budgets say of the node's pods, each and together.
//!
//! A dry run answers for each pod alone; the node's pods together are counted here. A budget that lets some go lets
//! the others go when replacements are ready elsewhere, so more pods than it allows at once are no blocker by
//! themselves: they go one after another. They are one where nothing replaces them.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go`, `pkg/controller/disruption/disruption.go` of
//! kubernetes/kubernetes, and answers of a real server (1.36.3).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Finding, Kind, Weight};
use crate::objects::{Budget, Pod, budget::UnhealthyPods, pod::PodName};

/// Does the eviction of a pod under this budget have to be allowed by it?
pub(super) fn counts(budget: &Budget, pod: &Pod) -> bool {
    if pod.status.phase == "Pending" {
        return false;
    }
    if pod.is_ready() {
        return true;
    }
    let status = &budget.status;
    let healthy_enough = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
    !(budget.spec.unhealthy_pod_eviction_policy == UnhealthyPods::AlwaysAllow || healthy_enough)
}

/// An eviction that was let through is believed in for so long, where its pod is not seen to end before. It is kept by the
/// pod's name: a StatefulSet's that is back and ready is not counted as healthy until then.
const BELIEVED: Duration = Duration::from_secs(120);

/// Whom a budget counts as gone by an eviction, and until when; empty where nobody.
pub(in crate::drain) fn counts_as_gone(budget: &Budget) -> String {
    let each: Vec<String> = budget
        .status
        .disrupted_pods
        .iter()
        .map(|(pod, since)| match since.parse::<Timestamp>() {
            Ok(since) => {
                format!("{pod} until {} at the latest", since.saturating_add(BELIEVED).unwrap_or(since))
            }
            Err(_) => format!("{pod} for two minutes at the most"),
        })
        .collect();
    if each.is_empty() {
        return String::new();
    }
    format!("; it counts as gone by an eviction, also where a pod of that name is ready: {}", each.join(", "))
}

/// `gone_for_good` are pods that no other node brings back: their going is never made up for.
pub(super) fn judge(
    pods: &[&Pod],
    budgets: &[Budget],
    gone_for_good: &BTreeSet<PodName>,
    findings: &mut Vec<Finding>,
) {
    let mut under: BTreeMap<usize, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        let over: Vec<(usize, &Budget)> =
            budgets.iter().enumerate().filter(|(_, budget)| budget.covers(pod)).collect();
        match &*over {
            [] => {}
            // A pod that is not running is let go before its budgets are counted.
            _ if pod.status.phase == "Pending" => {}
            [(index, budget)] => {
                if counts(budget, pod) {
                    under.entry(*index).or_default().push(pod);
                }
            }
            several => findings.push(two(pod, several)),
        }
    }
    for (index, pods) in under {
        if let Some(budget) = budgets.get(index) {
            findings.extend(one(budget, &pods, gone_for_good));
        }
    }
}

fn two(pod: &Pod, over: &[(usize, &Budget)]) -> Finding {
    let names: Vec<&str> = over.iter().map(|(_, budget)| budget.metadata.name.as_str()).collect();
    Finding::new(
        Weight::Refused,
        Kind::TwoBudgets,
        format!(
            "the PodDisruptionBudgets {} both select the pod {}: the server evicts no such pod",
            names.join(" and "),
            pod.name()
        ),
        "let their selectors exclude each other",
    )
}

fn one(budget: &Budget, pods: &[&Pod], gone_for_good: &BTreeSet<PodName>) -> Option<Finding> {
    let (name, rule, status) = (budget.name(), budget.rule(), &budget.status);
    let (allowed, healthy) = (status.disruptions_allowed, status.current_healthy);
    if !budget.is_counted() {
        return Some(Finding::new(
            Weight::Waiting,
            Kind::Budget,
            format!("the PodDisruptionBudget {name} was not yet counted by the controller-manager"),
            "it passes by itself while a controller-manager leads",
        ));
    }
    if allowed <= 0 {
        // As many must be healthy as there are: no recovery makes room. With none expected (pods without a
        // controller under maxUnavailable) the server never allows one either.
        if status.desired_healthy >= status.expected_pods {
            let must = if status.expected_pods == 0 {
                format!("{rule}, and its {healthy} pods have no controller to count by")
            } else {
                rule
            };
            return Some(Finding::new(
                Weight::Refused,
                Kind::Budget,
                format!(
                    "the PodDisruptionBudget {name} allows 0 disruptions with {healthy} of {} pods healthy ({must})",
                    status.expected_pods.max(healthy)
                ),
                "it can never be satisfied: scale its workload up, or change the budget",
            ));
        }
        return Some(Finding::new(
            Weight::Waiting,
            Kind::Budget,
            format!(
                "the PodDisruptionBudget {name} allows 0 disruptions now: {healthy} of {} pods are healthy and {} must \
                 be ({rule}){}",
                status.expected_pods,
                status.desired_healthy,
                counts_as_gone(budget)
            ),
            "it goes on when the missing pods are ready",
        ));
    }
    let many = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let lost: Vec<String> = pods
        .iter()
        .map(|pod| pod.name())
        .filter(|name| gone_for_good.contains(name))
        .map(|n| n.to_string())
        .collect();
    if many(lost.len()) > allowed {
        return Some(Finding::new(
            Weight::Refused,
            Kind::BudgetSum,
            format!(
                "{} pods of this node under the PodDisruptionBudget {name} are replaced nowhere ({}), and it allows \
                 {allowed} ({rule})",
                lost.len(),
                lost.join(", ")
            ),
            "scale its workload up on other nodes, or change the budget",
        ));
    }
    (many(pods.len()) > allowed).then(|| {
        Finding::new(
            Weight::Note,
            Kind::BudgetSum,
            format!(
                "{} pods of this node are under the PodDisruptionBudget {name}, which allows {allowed} at once ({rule})",
                pods.len()
            ),
            "they go one after another, as replacements get ready",
        )
    })
}
