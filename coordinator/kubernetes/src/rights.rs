//! Which permission is missing, and for what it would be needed.
//!
//! The cluster itself is asked, one `SelfSubjectAccessReview` a right: every authenticated user may ask that about
//! himself. What is asked about is [`NEEDS`]; `deploy/kubernetes` grants exactly those, and a test compares the two.
//!
//! Source: Kubernetes, "Authorization: checking API access"; the rights that suffice were tried with a token that has
//! nothing else.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    answer::{self, Refusal},
    api::{Api, Method, Request, Unreached},
};

/// How long one endpoint may take for one review.
const WITHIN: Duration = Duration::from_secs(3);
/// Reviews under way at the same time.
const AT_ONCE: usize = 8;
/// Where pods of ours run, and nothing else of ours is.
pub const CANARY_NAMESPACE: &str = "drydock-canary";

/// What rights are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Cordoning, evicting, giving back.
    Drain,
    /// Looking at a cluster: gates, soaks, `check cluster`.
    Checks,
    /// The check `nodeCanary`, which runs a pod of its own.
    Canary,
    /// Deleting pods that cannot be evicted: `run force`, and `atDeadline: force` in a plan.
    Force,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drain, Self::Checks, Self::Canary, Self::Force];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Checks => "checks",
            Self::Canary => "nodeCanary",
            Self::Force => "force",
        }
    }
}

/// One right, and what it is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// For which of our works.
    pub purpose: Purpose,
    /// `patch`.
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: &'static str,
    /// With its subresource: `pods/eviction`.
    pub resource: &'static str,
    /// None for the whole cluster.
    pub namespace: Option<&'static str>,
    /// What cannot be done without it: "cordon and give back".
    pub to: &'static str,
}

const fn cluster(
    purpose: Purpose,
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    to: &'static str,
) -> Need {
    Need { purpose, verb, group, resource, namespace: None, to }
}

const fn canary(resource: &'static str, verb: &'static str, to: &'static str) -> Need {
    let namespace = Some(CANARY_NAMESPACE);
    Need { purpose: Purpose::Canary, verb, group: "", resource, namespace, to }
}

/// Every right that Drydock uses. What is not here is not granted, and so is not to be used.
pub const NEEDS: &[Need] = &[
    cluster(Purpose::Drain, "", "nodes", "get", "read the Node right before its section"),
    cluster(Purpose::Drain, "", "nodes", "list", "find where else pods fit"),
    cluster(Purpose::Drain, "", "nodes", "watch", "see at once that somebody uncordons"),
    cluster(Purpose::Drain, "", "nodes", "patch", "cordon and give back"),
    cluster(Purpose::Drain, "", "pods", "get", "read each pod again before it is evicted"),
    cluster(Purpose::Drain, "", "pods", "list", "know what runs on the node"),
    cluster(Purpose::Drain, "", "pods", "watch", "see pods go without asking again and again"),
    cluster(Purpose::Drain, "", "pods/eviction", "create", "evict"),
    cluster(
        Purpose::Drain,
        "policy",
        "poddisruptionbudgets",
        "list",
        "find what forbids a drain before it begins",
    ),
    cluster(
        Purpose::Drain,
        "policy",
        "poddisruptionbudgets",
        "watch",
        "see at once that a budget allows one more",
    ),
    cluster(Purpose::Drain, "", "persistentvolumes", "list", "find volumes that bind pods to the node"),
    cluster(Purpose::Drain, "apps", "daemonsets", "get", "see whether kured holds its lock"),
    cluster(Purpose::Checks, "", "nodes", "get", "take the check kubernetesNode"),
    cluster(
        Purpose::Checks,
        "",
        "nodes",
        "list",
        "see nodes Ready and under pressure, for kubernetesCluster",
    ),
    cluster(Purpose::Checks, "", "pods", "list", "see failing pods and since when, for kubernetesCluster"),
    cluster(Purpose::Checks, "", "events", "list", "see why pods fail, for kubernetesCluster"),
    cluster(Purpose::Checks, "", "persistentvolumeclaims", "list", "see claims Bound, for kubernetesCluster"),
    cluster(
        Purpose::Checks,
        "apps",
        "deployments",
        "list",
        "see workloads at strength, for kubernetesCluster",
    ),
    cluster(
        Purpose::Checks,
        "apps",
        "statefulsets",
        "list",
        "see workloads at strength, for kubernetesCluster",
    ),
    cluster(
        Purpose::Checks,
        "apps",
        "daemonsets",
        "list",
        "see workloads at strength, for kubernetesCluster",
    ),
    canary("pods", "create", "start the canary's pod"),
    canary("pods", "list", "find one that was left behind"),
    canary("pods", "get", "see it get an address and answer"),
    canary("pods", "watch", "see it start and go"),
    canary("pods", "delete", "take it away again"),
    cluster(
        Purpose::Force,
        "",
        "pods",
        "delete",
        "delete pods that cannot be evicted, where somebody has said so",
    ),
];

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// For which of our works.
    pub purpose: Purpose,
    /// `patch`.
    pub verb: String,
    /// With group and subresource: `nodes`, `pods/eviction`, `poddisruptionbudgets.policy`.
    pub resource: String,
    /// None for the whole cluster.
    pub namespace: Option<String>,
    /// What cannot be done without it.
    pub to: String,
    /// The server's own words, where it has any.
    pub said: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot {} {}", self.verb, self.resource)?;
        if let Some(namespace) = &self.namespace {
            write!(out, " in the namespace {namespace}")?;
        }
        write!(out, ": needed to {} ({})", self.to, self.purpose.name())
    }
}

/// Why it is not known which rights there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// No endpoint answered.
    #[error("the cluster could not be asked for its rights: {0}")]
    Unreached(#[from] Unreached),
    /// It answered, and not what was asked.
    #[error("the cluster does not say which rights there are: {0}")]
    Refused(#[from] Refusal),
}

/// Which of the rights for `purposes` the credentials lack. Changes nothing in the cluster.
///
/// # Errors
/// When the cluster cannot be asked. Then nothing is known, and that is not the same as nothing missing.
pub async fn missing(api: &dyn Api, purposes: &[Purpose]) -> Result<Vec<Missing>, RightsError> {
    // A right that two works need is asked about once.
    let mut asked: BTreeSet<(&str, &str, &str, Option<&str>)> = BTreeSet::new();
    let needs: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| purposes.contains(&need.purpose))
        .filter(|need| asked.insert((need.verb, need.group, need.resource, need.namespace)))
        .collect();
    let reviews: Vec<_> = needs.iter().map(|need| review(api, need)).collect();
    let reviews: Vec<_> = stream::iter(reviews).buffered(AT_ONCE).collect().await;
    let mut missing = Vec::new();
    for (need, review) in needs.into_iter().zip(reviews) {
        let review = review?;
        if !review.allowed {
            missing.push(of(need, &review));
        }
    }
    Ok(missing)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Review {
    allowed: bool,
    reason: String,
    evaluation_error: String,
}

async fn review(api: &dyn Api, need: &Need) -> Result<Review, RightsError> {
    #[derive(Deserialize)]
    struct Answered {
        status: Review,
    }
    let answer = api.call(question(need)).await?;
    Ok(answer::read::<Answered>(&answer)?.status)
}

fn question(need: &Need) -> Request {
    let (resource, subresource) = need.resource.split_once('/').unwrap_or((need.resource, ""));
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "verb": need.verb,
            "group": need.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": need.namespace.unwrap_or_default(),
        } },
    });
    Request {
        method: Method::Post,
        path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
        body: Some(body.to_string().into_bytes()),
        within: WITHIN,
    }
}

fn of(need: &Need, review: &Review) -> Missing {
    let group = if need.group.is_empty() { String::new() } else { format!(".{}", need.group) };
    let said = if review.evaluation_error.is_empty() { &review.reason } else { &review.evaluation_error };
    Missing {
        purpose: need.purpose,
        verb: need.verb.to_owned(),
        resource: format!("{}{group}", need.resource),
        namespace: need.namespace.map(str::to_owned),
        to: need.to.to_owned(),
        said: said.clone(),
    }
}
