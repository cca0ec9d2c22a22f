//! What a cluster is like: each endpoint, its version, the nodes' kubelets, how long the credentials are good, which
//! rights are missing. `drydock cluster test` shows it. Changes nothing.
//!
//! | module | what lives there |
//! |---|---|
//! | [`same`] | is this the cluster in which a Node is marked? |
//! | [`servers`] | which server answers, each through its own endpoint |
//! | [`skew`] | which versions of servers and kubelets may be together |

pub mod same;
pub mod servers;
pub mod skew;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    answer,
    api::{Answer, Api, Method, Request},
    client::Client,
    kubeconfig::{
        Credentials,
        expiry::{self, Validity, rfc3339},
    },
    rights::{self, Missing, Purpose},
};

/// How long one endpoint may take with one answer.
const WITHIN: Duration = Duration::from_secs(3);
/// Nodes in one answer.
const PAGE: u32 = 500;
/// Said when less than this is left of the credentials, in seconds.
const SOON_S: i64 = 14 * 24 * 3600;

/// What an endpoint said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointSeen {
    /// Its URL.
    pub url: String,
    /// Of its server: `v1.33.4+k3s1`.
    pub version: Option<String>,
    /// Its own `/readyz` is ok.
    pub ready: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What was seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Survey {
    /// Each endpoint, the preferred one first.
    pub endpoints: Vec<EndpointSeen>,
    /// Who the cluster takes us for; where it says so.
    pub user: Option<String>,
    /// How many nodes have a kubelet of each version.
    pub kubelets: BTreeMap<String, u32>,
    /// Nodes that are not Ready.
    pub not_ready: Vec<String>,
    /// When the credentials end, in seconds since 1970; where they say so.
    pub valid_until_unix_s: Option<i64>,
    /// Rights that drains and checks want.
    pub missing: Vec<Missing>,
    /// Rights that only plans with the check `nodeCanary` want.
    pub missing_for_canary: Vec<Missing>,
    /// Rights that only forced deletions want: `run force`, and `atDeadline: force` in a plan.
    #[serde(default)]
    pub missing_for_force: Vec<Missing>,
    /// Whatever a person must do something about. Empty: nothing.
    pub findings: Vec<String>,
}

/// Looks at a cluster from `now`, in seconds since 1970.
pub async fn survey(client: &Client, credentials: &Credentials, now_unix_s: i64) -> Survey {
    let work = [Purpose::Drain, Purpose::Checks];
    let (versions, ready, user, nodes, missing, canary, force) = tokio::join!(
        client.each("/version", WITHIN),
        client.each("/readyz", WITHIN),
        user(client),
        nodes(client),
        rights::missing(client, &work),
        rights::missing(client, &[Purpose::Canary]),
        rights::missing(client, &[Purpose::Force]),
    );
    let ready: BTreeMap<_, _> = ready.into_iter().collect();
    let endpoints = versions
        .into_iter()
        .map(|(url, version)| {
            let ready = ready.get(&url).and_then(|answer| answer.as_ref().ok()).map(|answer| answer.status);
            endpoint(url.as_str(), version, ready)
        })
        .collect();
    let mut seen = Survey {
        endpoints,
        user,
        kubelets: BTreeMap::new(),
        not_ready: Vec::new(),
        valid_until_unix_s: expiry::of(credentials).map(|validity| validity.until_unix_s),
        missing: Vec::new(),
        missing_for_canary: canary.unwrap_or_default(),
        missing_for_force: force.unwrap_or_default(),
        findings: Vec::new(),
    };
    let mut unknown = Vec::new();
    match nodes {
        Ok(nodes) => seen.count(&nodes),
        Err(why) => unknown.push(format!("the nodes could not be listed: {why}")),
    }
    match missing {
        Ok(missing) => seen.missing = missing,
        Err(why) => unknown.push(why.to_string()),
    }
    // One cause is said once: what nobody answered was said of each endpoint.
    if !seen.endpoints.iter().any(|endpoint| endpoint.version.is_some()) {
        unknown.clear();
    }
    seen.findings = findings(&seen, expiry::of(credentials), now_unix_s);
    unknown.retain(|why| !seen.findings.contains(why));
    seen.findings.extend(unknown);
    seen
}

/// What a person must do something about. Pure.
#[must_use]
pub fn findings(seen: &Survey, validity: Option<Validity>, now_unix_s: i64) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for endpoint in &seen.endpoints {
        if let Some(problem) = &endpoint.problem {
            found.push(format!("{}: {problem}", endpoint.url));
        }
    }
    let servers: Vec<&str> =
        seen.endpoints.iter().filter_map(|endpoint| endpoint.version.as_deref()).collect();
    let kubelets: Vec<&str> = seen.kubelets.keys().map(String::as_str).collect();
    found.extend(skew::findings(&servers, &kubelets));
    if let Some(validity) = validity {
        let until = rfc3339(validity.until_unix_s);
        if now_unix_s > validity.until_unix_s {
            found.push(format!("the credentials expired at {until}: add the cluster again with --replace"));
        } else if validity.until_unix_s - now_unix_s < SOON_S {
            found.push(format!("the credentials expire at {until}: add the cluster again with --replace"));
        }
    }
    found.extend(seen.missing.iter().map(ToString::to_string));
    found
}

fn endpoint(url: &str, version: Result<Answer, String>, ready: Option<u16>) -> EndpointSeen {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git: String,
    }
    let read = version.and_then(|answer| {
        let version = answer::read::<Version>(&answer).map_err(|refusal| refusal.to_string())?;
        Ok(version.git.chars().filter(|c| c.is_ascii_graphic()).take(80).collect::<String>())
    });
    let is_ready = ready == Some(200);
    let problem = match (&read, is_ready, ready) {
        (Err(why), _, _) => Some(why.clone()),
        (Ok(_), true, _) => None,
        (Ok(_), false, Some(status)) => Some(format!("it is not ready: /readyz answers {status}")),
        (Ok(_), false, None) => Some("it does not say whether it is ready".to_owned()),
    };
    EndpointSeen { url: url.to_owned(), version: read.ok(), ready: is_ready, problem }
}

async fn user(client: &Client) -> Option<String> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(rename = "userInfo")]
        user: User,
    }
    #[derive(Deserialize)]
    struct User {
        username: String,
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let request = Request {
        method: Method::Post,
        path: "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(),
        body: Some(body.to_string().into_bytes()),
        within: WITHIN,
    };
    // There from 1.28 on; only shown.
    let answer = client.call(request).await.ok()?;
    Some(answer::read::<Review>(&answer).ok()?.status.user.username)
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Page,
    #[serde(default)]
    items: Vec<NodeSeen>,
}

#[derive(Default, Deserialize)]
struct Page {
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct NodeSeen {
    metadata: Named,
    status: NodeStatus,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
    node_info: NodeInfo,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    #[serde(default)]
    kubelet_version: String,
}

impl Survey {
    fn count(&mut self, nodes: &[NodeSeen]) {
        for node in nodes {
            let kubelet = &node.status.node_info.kubelet_version;
            if !kubelet.is_empty() {
                *self.kubelets.entry(kubelet.clone()).or_default() += 1;
            }
            let ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
            if !node.status.conditions.iter().any(ready) {
                self.not_ready.push(node.metadata.name.clone());
            }
        }
    }
}

async fn nodes(client: &Client) -> Result<Vec<NodeSeen>, String> {
    let (mut nodes, mut next) = (Vec::new(), String::new());
    loop {
        let on = if next.is_empty() { String::new() } else { format!("&continue={}", encoded(&next)) };
        let path = format!("/api/v1/nodes?limit={PAGE}{on}");
        let request = Request { method: Method::Get, path, body: None, within: WITHIN };
        let answer = client.call(request).await.map_err(|error| error.to_string())?;
        let page = answer::read::<List>(&answer).map_err(|refusal| refusal.to_string())?;
        nodes.extend(page.items);
        if page.metadata.next.is_empty() || nodes.len() > 100_000 {
            return Ok(nodes);
        }
        next = page.metadata.next;
    }
}

/// A continue token is base64 in its URL form, and yet somebody else's text.
fn encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}
