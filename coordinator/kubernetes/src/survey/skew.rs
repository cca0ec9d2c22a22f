//! Which versions of servers and kubelets may be together.
//!
//! Source: Kubernetes, "Version Skew Policy": servers within one minor of each other, no kubelet newer than the oldest
//! server, none more than three minors older than the newest.

use std::{cmp::Ordering, time::Duration};

use drydock_types::Version;
use serde::Deserialize;

use super::servers::{is_server, owners};
use crate::{answer, api::Api, drain::ask, objects::Node};

/// How a refusal ends that servers which go up see to.
pub const SERVERS_FIRST: &str = "servers first";

/// What is about to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changing {
    /// An API server, and the kubelet beside it where there is one.
    Server,
    /// A kubelet alone.
    Kubelet,
}

/// A kubelet as the cluster shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kubelet<'a> {
    /// Its Node.
    pub node: &'a str,
    /// `v1.33.4+k3s1`
    pub version: &'a str,
    /// A server runs on its machine: it goes with that one, and not before or after it.
    pub beside_server: bool,
}

/// May this version join those that run? What stands in its way, by name.
///
/// A server goes up although the kubelets beside other servers are ahead of them for as long as the roll-out lasts: where
/// both are one process there is no other way.
///
/// # Errors
/// When a version cannot be read.
pub fn in_the_way(
    changing: Changing,
    to: &str,
    servers: &[(String, String)],
    kubelets: &[Kubelet<'_>],
) -> Result<Option<String>, String> {
    let read = |what: &str, version: &str| {
        minor(version).ok_or_else(|| format!("{what} says that it is {version:?}, which is no version"))
    };
    let target = read("the target", to)?;
    for (endpoint, version) in servers {
        let server = read(endpoint, version)?;
        let apart = server.0 != target.0 || server.1.abs_diff(target.1) > 1;
        match changing {
            Changing::Server if apart => {
                return Ok(Some(format!("{endpoint} serves {version}, more than one minor away from {to}")));
            }
            Changing::Kubelet if compare(version, to)? == Ordering::Less => {
                return Ok(Some(format!(
                    "{endpoint} serves {version}, and a kubelet of {to} would be ahead of it: {SERVERS_FIRST}"
                )));
            }
            Changing::Kubelet if server.0 != target.0 || server.1.saturating_sub(target.1) > OLDEST => {
                return Ok(Some(format!(
                    "{endpoint} serves {version}, more than {OLDEST} minors ahead of a kubelet of {to}"
                )));
            }
            Changing::Server | Changing::Kubelet => {}
        }
    }
    for kubelet in kubelets.iter().filter(|_| changing == Changing::Server) {
        let (node, version) = (kubelet.node, kubelet.version);
        let runs = read(&format!("the kubelet of {node}"), version)?;
        if runs.0 != target.0 || target.1.saturating_sub(runs.1) > OLDEST {
            return Ok(Some(format!(
                "the kubelet of {node} is {version}, more than {OLDEST} minors older than a server of {to}: bring it nearer first"
            )));
        }
        if !kubelet.beside_server && compare(version, to)? == Ordering::Greater {
            return Ok(Some(format!(
                "the kubelet of {node} is {version}, and would be ahead of a server of {to}"
            )));
        }
    }
    Ok(None)
}

/// Asks every server through every endpoint, and about every kubelet. What stands in the way of this Node's change.
///
/// Endpoints do not name every server: one alone, or a balancer, is whichever answers. So each Node that has a server
/// says its version too, by the kubelet beside it.
///
/// # Errors
/// When an endpoint or the cluster does not say it, or it cannot be read.
pub async fn see(api: &dyn Api, changing: Changing, node: &str, to: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git: String,
    }
    let mut nodes: Vec<Node> = Vec::new();
    let take = |node: Node| nodes.push(node);
    // As of this moment: what some server remembers can be from before the last change.
    let (listed, said) =
        tokio::join!(ask::each(api, "/api/v1/nodes", take), api.through_each("/version", WITHIN));
    let mut servers = Vec::new();
    for (endpoint, answer) in said {
        let version =
            answer.and_then(|answer| answer::read::<Version>(&answer).map_err(|why| why.to_string()));
        let version = version.map_err(|why| format!("{endpoint} does not say its version: {why}"))?;
        servers.push((endpoint, version.git));
    }
    listed.map_err(|fault| fault.to_string())?;
    let told: Vec<&str> = owners(&nodes, servers.iter().map(|(endpoint, _)| endpoint.as_str()))
        .into_iter()
        .flatten()
        .filter_map(|at| nodes.get(at).map(Node::name))
        .collect();
    // One that has never reported runs nothing that could be too new or too old.
    let known = nodes.iter().filter(|node| !node.status.node_info.kubelet_version.is_empty());
    let kubelets: Vec<Kubelet<'_>> = known
        .map(|node| Kubelet {
            node: node.name(),
            version: &node.status.node_info.kubelet_version,
            beside_server: is_server(node),
        })
        .collect();
    servers.extend(by_their_kubelets(changing, node, &told, &kubelets));
    in_the_way(changing, to, &servers, &kubelets)
}

/// The servers that have a Node, each with its kubelet's version. Where the kubelet of such a Node goes up alone, after
/// its server, it is not held up by itself and those that are to follow it.
fn by_their_kubelets(
    changing: Changing,
    node: &str,
    told: &[&str],
    kubelets: &[Kubelet<'_>],
) -> Vec<(String, String)> {
    let beside = kubelets.iter().filter(|kubelet| kubelet.beside_server);
    if changing == Changing::Kubelet && beside.clone().any(|kubelet| kubelet.node == node) {
        return Vec::new();
    }
    let said = |kubelet: &Kubelet<'_>| {
        (format!("the server on {} (by its kubelet)", kubelet.node), kubelet.version.to_owned())
    };
    // What a server itself has said counts: a kubelet may be older than the server beside it.
    beside.filter(|kubelet| !told.contains(&kubelet.node)).map(said).collect()
}

/// How long each server may take to say its version.
const WITHIN: Duration = Duration::from_secs(3);

/// How many minors a kubelet may be older than a server.
const OLDEST: u32 = 3;

/// By Drydock's order of versions.
fn compare(a: &str, b: &str) -> Result<Ordering, String> {
    let order = Version::parse(a).ok().zip(Version::parse(b).ok()).and_then(|(a, b)| a.compare(&b));
    order.ok_or_else(|| format!("{a} and {b} have no order: nothing tells which of the two is ahead"))
}

/// What of the policy is broken, a line each.
pub(super) fn findings(servers: &[&str], kubelets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut minors = Vec::new();
    for version in servers {
        match minor(version) {
            Some(minor) => minors.push((minor, *version)),
            None => found.push(format!("a server says that it is {version}, which is no version")),
        }
    }
    let (Some(oldest), Some(newest)) = (minors.iter().min(), minors.iter().max()) else { return found };
    if newest.0.0 != oldest.0.0 || newest.0.1 - oldest.0.1 > 1 {
        found.push(format!("servers are {} and {}: more than one minor apart", oldest.1, newest.1));
    }
    for version in kubelets {
        match minor(version) {
            None => found.push(format!("a kubelet says that it is {version}, which is no version")),
            Some(kubelet) if kubelet > oldest.0 => {
                found.push(format!("a kubelet is {version}, newer than a server ({})", oldest.1));
            }
            Some(kubelet) if kubelet.0 != newest.0.0 || newest.0.1 - kubelet.1 > 3 => {
                found.push(format!("a kubelet is {version}, more than three minors older than {}", newest.1));
            }
            Some(_) => {}
        }
    }
    found
}

/// `v1.33.4+k3s1` → (1, 33).
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures_util::stream::BoxStream;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{Answer, Line, Request, Unreached};

    #[test]
    fn versions_that_may_be_together_are_no_finding() {
        for (servers, kubelets) in [
            (&["v1.33.4+k3s1"][..], &["v1.33.4+k3s0", "v1.30.0"][..]),
            (&["v1.33.4", "v1.34.0"], &["v1.33.9", "v1.31.2"]),
            (&[], &["v1.33.0"]),
        ] {
            assert_eq!(findings(servers, kubelets), Vec::<String>::new(), "{servers:?} {kubelets:?}");
        }
    }

    #[test]
    fn versions_that_may_not_are_each_named() {
        for (servers, kubelets, words) in [
            (&["v1.33.4", "v1.35.0"][..], &[][..], "more than one minor apart"),
            (&["v1.33.4", "v1.34.0"], &["v1.34.0"], "newer than a server (v1.33.4)"),
            (&["v1.34.0"], &["v1.30.9"], "more than three minors older"),
            (&["v1.34.0"], &["v2.0.0"], "newer than a server"),
            (&["one"], &[], "no version"),
            (&["v1.34.0"], &["latest"], "no version"),
        ] {
            let found = findings(servers, kubelets);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(words), "{found:?}");
        }
    }

    fn way(changing: Changing, to: &str, servers: &[&str], kubelets: &[(&str, bool)]) -> Option<String> {
        let servers: Vec<(String, String)> =
            servers.iter().map(|version| ("https://a:6443".to_owned(), (*version).to_owned())).collect();
        let kubelets: Vec<Kubelet<'_>> = kubelets
            .iter()
            .map(|(version, beside_server)| Kubelet { node: "n1", version, beside_server: *beside_server })
            .collect();
        in_the_way(changing, to, &servers, &kubelets).unwrap()
    }

    #[test]
    fn a_server_goes_up_past_the_kubelets_and_those_beside_servers_are_no_blocker() {
        let servers = ["v1.33.4+k3s1", "v1.34.1+k3s1"];
        let kubelets = [("v1.33.4+k3s1", true), ("v1.34.1+k3s1", true), ("v1.31.2+k3s1", false)];
        assert_eq!(way(Changing::Server, "1.34.1+k3s1", &servers, &kubelets), None);
    }

    #[test]
    fn a_server_too_far_from_another_server_or_from_a_kubelet_is_named() {
        for (to, servers, kubelets, words) in [
            ("1.35.0", &["v1.33.4"][..], &[][..], "https://a:6443 serves v1.33.4, more than one minor away"),
            ("2.33.0", &["v1.33.4"], &[], "more than one minor away"),
            (
                "1.34.0",
                &["v1.33.4"],
                &[("v1.30.9", false)],
                "the kubelet of n1 is v1.30.9, more than 3 minors older",
            ),
            (
                "1.33.4",
                &["v1.34.1"],
                &[("v1.34.1", false)],
                "the kubelet of n1 is v1.34.1, and would be ahead",
            ),
        ] {
            let found = way(Changing::Server, to, servers, kubelets).unwrap_or_default();
            assert!(found.contains(words), "{to}: {found}");
        }
    }

    #[test]
    fn a_kubelet_is_never_ahead_of_any_server_and_never_too_old_for_one() {
        assert_eq!(way(Changing::Kubelet, "1.34.1+k3s1", &["v1.34.1+k3s1"], &[("v1.20.0", false)]), None);
        assert_eq!(way(Changing::Kubelet, "1.31.0", &["v1.34.1"], &[]), None);
        for (to, server, words) in [
            ("1.34.1", "v1.33.4", "servers first"),
            ("1.34.2", "v1.34.1", "servers first"),
            ("1.34.1+k3s2", "v1.34.1+k3s1", "servers first"),
            ("1.30.9", "v1.34.1", "more than 3 minors ahead"),
        ] {
            let found = way(Changing::Kubelet, to, &["v1.36.0", server][1..], &[]).unwrap_or_default();
            assert!(found.contains(words), "{to} {server}: {found}");
        }
    }

    #[test]
    fn what_is_no_version_is_an_error_and_not_clear() {
        let server = [("https://a:6443".to_owned(), "latest".to_owned())];
        assert!(in_the_way(Changing::Kubelet, "1.34.1", &server, &[]).unwrap_err().contains("latest"));
        let server = [("https://a:6443".to_owned(), "v1.34.1+rke2r1".to_owned())];
        let why = in_the_way(Changing::Kubelet, "1.34.1+k3s1", &server, &[]).unwrap_err();
        assert!(why.contains("no order"), "{why}");
    }

    /// Servers of which only one is ever heard: behind a balancer, or because no other one was named.
    struct Behind {
        version: &'static str,
        nodes: Value,
        asked: Mutex<Vec<String>>,
    }

    impl Behind {
        fn new(version: &'static str, nodes: &[(&str, &str, bool)]) -> Self {
            let node = |(name, kubelet, server): &(&str, &str, bool)| {
                let label = "node-role.kubernetes.io/control-plane";
                let labels = if *server { json!({label: "true"}) } else { json!({}) };
                json!({
                    "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels},
                    "status": {"nodeInfo": {"kubeletVersion": kubelet}},
                })
            };
            let nodes = nodes.iter().map(node).collect();
            Self { version, nodes, asked: Mutex::default() }
        }

        async fn way(&self, changing: Changing, node: &str, to: &str) -> String {
            see(self, changing, node, to).await.unwrap().unwrap_or_default()
        }
    }

    #[async_trait]
    impl Api for Behind {
        async fn call(&self, request: Request) -> Result<Answer, Unreached> {
            let body = match request.path.as_str() {
                "/version" => json!({"gitVersion": self.version}),
                _ => json!({"metadata": {"resourceVersion": "7"}, "items": self.nodes}),
            };
            self.asked.lock().unwrap().push(request.path);
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

    #[tokio::test]
    async fn a_server_that_no_endpoint_names_is_judged_by_the_kubelet_beside_it() {
        let nodes = [
            ("k3s-1", "v1.34.1+k3s1", true),
            ("k3s-2", "v1.33.4+k3s1", true),
            ("k3s-3", "v1.33.4+k3s1", false),
        ];
        let cluster = Behind::new("v1.34.1+k3s1", &nodes);
        let way = cluster.way(Changing::Kubelet, "k3s-3", "1.34.1+k3s1").await;
        assert!(way.starts_with("the server on k3s-2 (by its kubelet) serves v1.33.4+k3s1"), "{way}");
        assert!(way.contains("servers first"), "{way}");
        let way = cluster.way(Changing::Server, "k3s-1", "1.35.0+k3s1").await;
        assert!(
            way.contains("the server on k3s-2 (by its kubelet) serves v1.33.4+k3s1, more than one"),
            "{way}"
        );
        // The one that is about to follow is in nobody's way, its own neither.
        assert_eq!(cluster.way(Changing::Server, "k3s-2", "1.34.1+k3s1").await, "");
    }

    #[test]
    fn what_a_server_says_itself_counts_and_not_what_the_kubelet_beside_it_is() {
        // kubeadm's kubelets may be three minors behind the servers that they run.
        let kubelet = |node, version| Kubelet { node, version, beside_server: true };
        let kubelets = [kubelet("cp-1", "v1.31.9"), kubelet("cp-2", "v1.33.0")];
        let of = |told: &[&str]| by_their_kubelets(Changing::Server, "cp-3", told, &kubelets);
        let said =
            |node, version: &str| (format!("the server on {node} (by its kubelet)"), version.to_owned());
        assert_eq!(of(&["cp-1"]), [said("cp-2", "v1.33.0")]);
        assert_eq!(of(&[]), [said("cp-1", "v1.31.9"), said("cp-2", "v1.33.0")]);
    }

    #[tokio::test]
    async fn what_an_endpoint_says_counts_beside_what_the_nodes_say() {
        let nodes = [("k3s-1", "v1.34.1+k3s1", true), ("k3s-3", "v1.33.4+k3s1", false)];
        let way = Behind::new("v1.33.4+k3s1", &nodes).way(Changing::Kubelet, "k3s-3", "1.34.1+k3s1").await;
        assert!(way.starts_with("the API serves v1.33.4+k3s1"), "{way}");
        let way = Behind::new("v1.34.1+k3s1", &nodes).way(Changing::Kubelet, "k3s-3", "1.34.1+k3s1").await;
        assert_eq!(way, "");
    }

    #[tokio::test]
    async fn a_kubelet_that_goes_up_after_the_server_beside_it_does_not_wait_for_itself() {
        let nodes = [("cp-1", "v1.33.4", true), ("cp-2", "v1.33.4", true), ("w-1", "v1.33.4", false)];
        let cluster = Behind::new("v1.34.1", &nodes);
        assert_eq!(cluster.way(Changing::Kubelet, "cp-1", "1.34.1").await, "");
        let way = cluster.way(Changing::Kubelet, "w-1", "1.34.1").await;
        assert!(way.contains("the server on cp-1 (by its kubelet) serves v1.33.4"), "{way}");
    }

    #[tokio::test]
    async fn nodes_are_read_as_of_this_moment() {
        let cluster = Behind::new("v1.34.1", &[("cp-1", "v1.34.1", true)]);
        for changing in [Changing::Server, Changing::Kubelet] {
            assert_eq!(cluster.way(changing, "w-1", "1.34.1").await, "");
        }
        let asked = cluster.asked.into_inner().unwrap();
        let lists: Vec<_> = asked.iter().filter(|path| path.starts_with("/api/v1/nodes")).collect();
        assert_eq!(lists.len(), 2, "{asked:?}");
        assert!(!lists.iter().any(|path| path.contains("resourceVersion")), "{asked:?}");
    }
}
