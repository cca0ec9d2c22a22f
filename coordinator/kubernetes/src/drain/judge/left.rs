//! Who has to leave and could be forced to, with what that would pass over and lose. Pure.

use super::{Look, Order, goes, lost_with};
use crate::objects::{Budget, Pod, Uid, pod::PodName};

/// Kubernetes' own grace period, where a pod names none, in seconds.
const GRACE_S: u64 = 30;

/// A pod that has to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// Its name.
    pub name: PodName,
    /// Which one.
    pub uid: Uid,
    /// The budget over it, `shop/cart`.
    pub budget: Option<String>,
    /// What keeps it, and what would be lost with it.
    pub because: Vec<String>,
    /// How long its processes may take to end, in seconds.
    pub grace_s: u64,
    /// It was told to end: since when (RFC 3339).
    pub ends_since: Option<String>,
}

/// Everybody who has to leave, by name.
#[must_use]
pub fn left(look: &Look, order: &Order) -> Vec<LeftBehind> {
    let mut left: Vec<LeftBehind> =
        look.pods.iter().filter(|pod| goes(pod)).map(|pod| of(pod, &look.budgets, order)).collect();
    left.sort_by(|a, b| a.name.cmp(&b.name));
    left
}

fn of(pod: &Pod, budgets: &[Budget], order: &Order) -> LeftBehind {
    let over = budgets.iter().find(|budget| budget.covers(pod));
    let mut because = Vec::new();
    if let Some(budget) = over.filter(|_| !pod.metadata.is_going()) {
        let status = &budget.status;
        because.push(format!(
            "the PodDisruptionBudget {} allows {} more now ({} of {} pods healthy, {})",
            budget.name(),
            status.disruptions_allowed,
            status.current_healthy,
            status.expected_pods,
            budget.rule()
        ));
    }
    if pod.metadata.is_going() && !pod.metadata.finalizers.is_empty() {
        because.push(format!(
            "its finalizer {} keeps it: deleting it again does not help, whoever set that must take it off",
            pod.metadata.finalizers.join(", ")
        ));
    }
    because.extend(lost_with(pod, order).into_iter().map(|finding| finding.what));
    let meta = &pod.metadata;
    LeftBehind {
        name: pod.name(),
        uid: meta.uid.clone(),
        budget: over.map(Budget::name),
        because,
        grace_s: meta
            .deletion_grace_period_seconds
            .or(pod.spec.termination_grace_period_seconds)
            .unwrap_or(GRACE_S),
        ends_since: meta.deletion_timestamp.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests as table, *};

    #[test]
    fn everybody_who_has_to_leave_is_listed_with_what_would_be_passed_over_and_lost() {
        let ends = json!({"metadata": {"deletionTimestamp": "2026-11-21T03:00:00Z", "finalizers": ["x/y"]}});
        let bare = json!({"metadata": {"ownerReferences": []}});
        let daemon =
            json!({"metadata": {"ownerReferences": [crate::fake::make::owner("DaemonSet", "d", "o")]}});
        let pods = vec![table::pod("b", ends), table::pod("a", bare), table::pod("d", daemon)];
        let mut look = table::look(pods);
        look.budgets = vec![table::budget(json!({"minAvailable": 2}), json!({"disruptionsAllowed": 0}))];
        let left = left(&look, &table::order());
        let names: Vec<&str> = left.iter().map(|one| one.name.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(left[0].budget.as_deref(), Some("shop/cart"));
        assert!(left[0].because[0].contains("shop/cart allows 0 more now"), "{left:?}");
        assert!(left[0].because[1].contains("belongs to no controller"), "{left:?}");
        assert_eq!((left[0].grace_s, left[0].ends_since.is_some()), (30, false));
        assert!(left[1].because[0].contains("finalizer x/y"), "{left:?}");
        assert!(left[1].ends_since.is_some());
    }
}
