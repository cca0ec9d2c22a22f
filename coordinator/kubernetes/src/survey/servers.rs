//! Servers one by one: which of them answers, through an endpoint that is its own.
//!
//! That the API answers says nothing of who answers: the first endpoint may be the very server that is about to stop, and
//! behind a balancer it may be any. An endpoint is a server's own where its host is an address or name of that server's
//! Node and of no other one's.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use http::Uri;

use crate::{
    api::{Answer, Api},
    drain::ask::{self, Fault},
    objects::Node,
};

/// Nodes with one of these labels have a server beside their kubelet.
const LABELS: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// How long each endpoint may take to say whether it is ready.
const WITHIN: Duration = Duration::from_secs(3);

/// A server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its Node's name.
    pub node: String,
    /// Whether it answers.
    pub says: Says,
}

/// Whether a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// It calls itself ready, through this endpoint.
    Ready(String),
    /// It does not, through any endpoint of its own: each with why.
    Silent(Vec<String>),
    /// No endpoint of its own is known: nobody can tell.
    NoEndpoint,
}

/// Does a server run beside this Node's kubelet?
pub(super) fn is_server(node: &Node) -> bool {
    LABELS.iter().any(|label| node.metadata.labels.contains_key(*label))
}

/// The cluster's servers but for the one on this Node, by name. Every endpoint is asked.
///
/// # Errors
/// When the cluster does not list its Nodes.
pub async fn others(api: &dyn Api, node: &str) -> Result<Vec<Server>, Fault> {
    let mut nodes: Vec<Node> = Vec::new();
    let (listed, said) = tokio::join!(
        ask::each(api, "/api/v1/nodes", |node| nodes.push(node)),
        api.through_each("/readyz", WITHIN)
    );
    listed?;
    Ok(of(&nodes, node, &said))
}

/// Whose each endpoint is, by its place among the Nodes, where it is one's alone.
pub(super) fn owners<'a>(nodes: &[Node], endpoints: impl Iterator<Item = &'a str>) -> Vec<Option<usize>> {
    let hosts: Vec<BTreeSet<Host>> = nodes.iter().map(hosts).collect();
    let owner = |endpoint: &str| {
        let host = endpoint.parse::<Uri>().ok()?.host().map(Host::of)?;
        let mut owners = hosts.iter().enumerate().filter(|(_, hosts)| hosts.contains(&host));
        owners.next().filter(|_| owners.next().is_none()).map(|(at, _)| at)
    };
    endpoints.map(owner).collect()
}

fn of(nodes: &[Node], node: &str, said: &[(String, Result<Answer, String>)]) -> Vec<Server> {
    let owners = owners(nodes, said.iter().map(|(endpoint, _)| endpoint.as_str()));
    let mut servers: Vec<Server> = nodes
        .iter()
        .enumerate()
        .filter(|(_, other)| is_server(other) && other.name() != node)
        .map(|(at, other)| {
            let own = said.iter().zip(&owners).filter(|(_, owner)| **owner == Some(at)).map(|(said, _)| said);
            Server { node: other.name().to_owned(), says: says(own) }
        })
        .collect();
    servers.sort_by(|a, b| a.node.cmp(&b.node));
    servers
}

fn says<'a>(own: impl Iterator<Item = &'a (String, Result<Answer, String>)>) -> Says {
    let mut silent = Vec::new();
    for (endpoint, said) in own {
        match said {
            Ok(Answer { status: 200, .. }) => return Says::Ready(endpoint.clone()),
            Ok(Answer { status, .. }) => silent.push(format!("{endpoint}: /readyz answers {status}")),
            Err(why) => silent.push(format!("{endpoint}: {why}")),
        }
    }
    if silent.is_empty() { Says::NoEndpoint } else { Says::Silent(silent) }
}

/// An address is the same however it is written.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Host {
    fn of(text: &str) -> Self {
        let bare = text.trim_matches(['[', ']']);
        let name = || Self::Name(bare.trim_end_matches('.').to_ascii_lowercase());
        bare.parse::<IpAddr>().map_or_else(|_| name(), |ip| Self::Ip(ip.to_canonical()))
    }
}

fn hosts(node: &Node) -> BTreeSet<Host> {
    let addresses = node.status.addresses.iter().map(|one| one.address.as_str());
    addresses.chain([node.name()]).map(Host::of).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        client::{
            Client,
            tests::server::{Ca, Reply, Server as Played, json as answers, plain},
        },
        objects::Node,
    };

    /// On loopback, each machine with an address of its own.
    const ADDRESSES: [Ipv4Addr; 4] = [
        Ipv4Addr::new(127, 0, 0, 1),
        Ipv4Addr::new(127, 0, 0, 2),
        Ipv4Addr::new(127, 0, 0, 3),
        Ipv4Addr::new(127, 0, 0, 4),
    ];

    fn node(at: usize, server: bool) -> Value {
        let labels = if server { json!({LABELS[0]: "true"}) } else { json!({}) };
        json!({
            "metadata": {"name": format!("k3s-{at}"), "uid": format!("u{at}"), "resourceVersion": "1", "labels": labels},
            "status": {"addresses": [
                {"type": "InternalIP", "address": ADDRESSES[at].to_string()},
                {"type": "Hostname", "address": format!("k3s-{at}")},
            ]},
        })
    }

    /// Three servers and an agent.
    fn nodes() -> Vec<Value> {
        vec![node(0, true), node(1, true), node(2, true), node(3, false)]
    }

    /// A server at this machine's address; `ready` is what `/readyz` says there.
    async fn played(ca: &Ca, at: usize, ready: Reply) -> Played {
        let list = json!({"kind": "NodeList", "metadata": {"resourceVersion": "1"}, "items": nodes()});
        let list = list.to_string();
        let reply = move |asked: &str| match asked.contains("/readyz") {
            true => ready.clone(),
            false => answers(200, &list),
        };
        Played::start_at(ca, ADDRESSES[at], reply).await
    }

    async fn seen(ca: &Ca, urls: &[&str]) -> Vec<Says> {
        let client = Client::new(&ca.credentials(urls)).unwrap();
        let servers = others(&client, "k3s-0").await.unwrap();
        let names: Vec<&str> = servers.iter().map(|server| server.node.as_str()).collect();
        assert_eq!(names, ["k3s-1", "k3s-2"], "neither itself nor an agent is another server");
        servers.into_iter().map(|server| server.says).collect()
    }

    #[tokio::test]
    async fn each_other_server_is_told_by_its_own_endpoint() {
        let ca = Ca::new();
        let itself = played(&ca, 0, plain(200, "ok")).await;
        let (well, ill) = (played(&ca, 1, plain(200, "ok")).await, played(&ca, 2, plain(500, "no")).await);
        let says = seen(&ca, &[&itself.url, &well.url, &ill.url]).await;
        let silent = vec![format!("{}: /readyz answers 500", ill.url)];
        assert_eq!(says, [Says::Ready(well.url.clone()), Says::Silent(silent)]);
    }

    #[tokio::test]
    async fn what_answers_for_the_server_that_is_to_go_down_says_nothing_of_another_one() {
        let ca = Ca::new();
        let itself = played(&ca, 0, plain(200, "ok")).await;
        let stopped = {
            let gone = played(&ca, 1, plain(200, "ok")).await;
            gone.url.clone()
        };
        let says = seen(&ca, &[&itself.url, &stopped]).await;
        assert!(matches!(&says[0], Says::Silent(why) if why[0].starts_with(&stopped)), "{says:?}");
        assert_eq!(says[1], Says::NoEndpoint);
    }

    #[tokio::test]
    async fn a_server_that_hangs_does_not_answer() {
        let ca = Ca::new();
        let itself = played(&ca, 0, plain(200, "ok")).await;
        let hangs = played(&ca, 1, Reply::Hang).await;
        let says = seen(&ca, &[&itself.url, &hangs.url]).await;
        assert!(matches!(&says[0], Says::Silent(_)), "{says:?}");
    }

    #[test]
    fn an_endpoint_that_is_nobodys_or_several_machines_is_no_servers_own() {
        let read = |all: Vec<Value>| -> Vec<Node> {
            all.into_iter().map(|one| serde_json::from_value(one).unwrap()).collect()
        };
        let ok = || {
            let (content_type, body) = ("text/plain".to_owned(), b"ok".to_vec());
            Ok(Answer { status: 200, retry_after: None, content_type, body })
        };
        let said = |url: &str| of(&read(nodes()), "k3s-0", &[(url.to_owned(), ok())]).remove(0).says;
        assert_eq!(said("https://k3s.example:6443"), Says::NoEndpoint, "a balancer in front of all of them");
        assert!(matches!(said("https://K3S-1.:6443/k8s"), Says::Ready(_)));
        assert!(matches!(said("https://[::ffff:127.0.0.2]:6443"), Says::Ready(_)));
        let mut shared = nodes();
        for at in [0, 1] {
            let addresses = shared[at]["status"]["addresses"].as_array_mut().unwrap();
            addresses.push(json!({"type": "ExternalIP", "address": "192.0.2.1"}));
        }
        let floating = [("https://192.0.2.1:6443".to_owned(), ok())];
        assert_eq!(of(&read(shared), "k3s-0", &floating)[0].says, Says::NoEndpoint);
    }
}
