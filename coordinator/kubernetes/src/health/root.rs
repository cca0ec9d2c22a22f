//! Causes read out of other people's error texts.
//!
//! A kubelet's message wraps the runtime's, which wraps the network plugin's, which wraps the system's; the innermost
//! says what is the matter, and everything around it differs from pod to pod. What is known by its form becomes one short
//! text, the same for every pod that it keeps from starting; of anything else the innermost part is kept.
//!
//! Source: texts of containerd and of the plugins flannel, kube-ovn, Cilium and Calico (`pkg/cni`, `cmd/cni`, `plugins`
//! of their repositories), and of `net`, `os` and `syscall` of Go, which all of them are written in.

use super::problem::Kind;

/// Longer causes are cut, in characters: they are other people's.
const MOST: usize = 200;

/// A cause with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What is the matter, by its name.
    pub what: String,
    /// What to do: the command, for a Node of this name.
    pub next: String,
}

/// Why a pod has no sandbox.
#[must_use]
pub fn of_sandbox(message: &str, node: &str) -> Root {
    if let Some(path) = missing_path(message) {
        return Root { next: who_makes(&path, node), what: format!("{path} is not there") };
    }
    if let Some((path, why)) = dialled(message, "dial unix ") {
        return Root { next: who_makes(&path, node), what: format!("{path} is there, and {why}") };
    }
    if let Some((to, why)) = dialled(message, "dial tcp ") {
        let next = "what answers there is the network plugin's, or the API server as the plugin reaches it";
        return Root { what: format!("{to}: {why}"), next: next.to_owned() };
    }
    if let Some(rest) = message.split_once("failed to find plugin ").map(|(_, rest)| rest) {
        let plugin = quoted(rest).unwrap_or("?");
        let place = between(rest, "[", "]").unwrap_or("/opt/cni/bin");
        return Root {
            what: format!("the network plugin {plugin} is not in {place}"),
            next: format!("on {node}: ls {place}; the network's DaemonSet puts it there"),
        };
    }
    if message.contains("no IP addresses available") || message.contains("no available IPs") {
        let range = message.split_once("range set: ").map(|(_, range)| first_word(range));
        let range = range.map_or_else(String::new, |range| format!(" in {range}"));
        return Root {
            what: format!("no address is left{range}"),
            next: format!(
                "addresses of pods that are gone may be held on {node}: ls /var/lib/cni/networks; or the range is too small"
            ),
        };
    }
    if message.contains("cni plugin not initialized") || message.contains("NetworkPluginNotReady") {
        return Root {
            what: "the container runtime has no network plugin yet".to_owned(),
            next: format!("on {node}: ls /etc/cni/net.d; {}", pods_of_node(node)),
        };
    }
    Root { what: innermost(message), next: pods_of_node(node) }
}

/// Why an image cannot be pulled. What is the registry's matter is the same for all its images.
#[must_use]
pub fn of_image(message: &str, image: &str, node: &str) -> Root {
    let registry = registry(image);
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    let root = |what: String, next: &str| Root { what, next: next.to_owned() };
    let reach = "see whether the nodes reach it: curl -sSI https://REGISTRY/v2/";
    if has(&["no such host", "Temporary failure in name resolution", "server misbehaving"]) {
        return root(
            format!("the registry {registry} has no address (DNS)"),
            "see the DNS that the nodes use",
        );
    }
    if has(&["toomanyrequests", "429 Too Many Requests"]) {
        return root(
            format!("the registry {registry} allows no more pulls for now"),
            "wait, or pull with credentials, or through a mirror",
        );
    }
    if has(&["x509:", "certificate"]) {
        return root(
            format!("the nodes do not take the certificate of the registry {registry}"),
            "see its certificate and the nodes' CAs",
        );
    }
    for (text, why) in [
        ("connection refused", "refuses connections"),
        ("i/o timeout", "does not answer"),
        ("context deadline exceeded", "does not answer"),
        ("no route to host", "cannot be reached"),
        ("network is unreachable", "cannot be reached"),
        ("503 Service Unavailable", "is not available (503)"),
        ("502 Bad Gateway", "is not available (502)"),
    ] {
        if message.contains(text) {
            return root(format!("the registry {registry} {why}"), &reach.replace("REGISTRY", &registry));
        }
    }
    if has(&["no space left on device"]) {
        return root(
            format!("no space is left on {node}"),
            "crictl rmi --prune on the node, or a larger disk",
        );
    }
    if has(&["401 Unauthorized", "403 Forbidden", "authorization failed", "denied", "unauthorized"]) {
        return root(
            format!("the registry {registry} does not give {image} to whoever asks so"),
            "see the pull secret of the pod or its ServiceAccount, and whether the image is called so",
        );
    }
    if has(&["no match for platform", "exec format error"]) {
        return root(
            format!("{image} has nothing for the node's architecture"),
            "push it for that architecture",
        );
    }
    if has(&["not found", "manifest unknown", "name unknown"]) {
        return root(format!("{image} is not in its registry"), "see its name and tag");
    }
    if has(&["InvalidImageName", "invalid reference format", "couldn't parse image"]) {
        return root(format!("{image} is no image's name"), "see its name and tag");
    }
    let why = innermost(message);
    // "Back-off pulling image" says that it was tried, and not what came of it.
    let why = if why.is_empty() || why.starts_with("Back-off pulling image") {
        String::new()
    } else {
        format!(": {why}")
    };
    root(format!("{image} cannot be pulled{why}"), "kubectl describe pod")
}

/// The registry of an image, as the runtime understands its name.
fn registry(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => "docker.io".to_owned(),
    }
}

/// `open /run/flannel/subnet.env: no such file or directory`, `dial unix /run/x.sock: connect: no such file or directory`,
/// `stat /var/lib/calico/nodename: no such file or directory`: the path.
fn missing_path(message: &str) -> Option<String> {
    let (before, _) = message.split_once(": no such file or directory")?;
    let before = before.strip_suffix(": connect").unwrap_or(before);
    path_at_end(before)
}

/// `dial unix /run/x.sock: connect: connection refused`: to whom, and what became of it.
fn dialled(message: &str, how: &str) -> Option<(String, &'static str)> {
    let (_, rest) = message.split_once(how)?;
    // `dial tcp 10.42.0.1:35000->10.43.0.1:443: i/o timeout` has two addresses, and the second is whom it was to reach.
    let (to, why) = rest.split_once(": ")?;
    let to = to.rsplit("->").next().unwrap_or(to);
    let to = first_word(to);
    let why = [
        ("connection refused", "nobody listens there"),
        ("i/o timeout", "nobody answers in time"),
        ("no route to host", "there is no route to it"),
        ("network is unreachable", "there is no route to it"),
        ("permission denied", "it may not be opened"),
        ("connection reset", "the connection was broken off"),
    ]
    .into_iter()
    .find_map(|(text, words)| why.contains(text).then_some(words))?;
    Some((cut(to), why))
}

fn path_at_end(text: &str) -> Option<String> {
    let from = text.rfind(" /").map(|at| at + 1).or_else(|| text.starts_with('/').then_some(0))?;
    let path = text.get(from..)?.trim_matches(['"', '\'', '\\', ',']);
    let is_one = !path.is_empty() && !path.contains(char::is_whitespace);
    is_one.then(|| cut(path))
}

/// Who makes what is missing, as far as it is known.
fn who_makes(path: &str, node: &str) -> String {
    let labelled = |who: &str, label: &str| {
        format!("{who} makes it: kubectl get pods -A -l {label} --field-selector spec.nodeName={node}")
    };
    if path.contains("/flannel/") {
        return format!(
            "flannel makes it when it starts, which in K3s is the agent itself: journalctl -u k3s -u k3s-agent on {node}; elsewhere kubectl get pods -A -l app=flannel --field-selector spec.nodeName={node}"
        );
    }
    if path.contains("kube-ovn") {
        return labelled("the DaemonSet kube-ovn-cni", "app=kube-ovn-cni");
    }
    if path.contains("openvswitch") {
        return labelled("Open vSwitch", "app=ovs");
    }
    if path.contains("cilium") {
        return labelled("the Cilium agent", "k8s-app=cilium");
    }
    if path.contains("calico") {
        return labelled("calico-node", "k8s-app=calico-node");
    }
    if path.contains("multus") {
        return labelled("multus", "app=multus");
    }
    if path.contains("containerd") || path.contains("crio") {
        return format!(
            "the container runtime makes it: systemctl status containerd crio k3s k3s-agent on {node}"
        );
    }
    format!("whatever makes it does not run on {node}: {}", pods_of_node(node))
}

fn pods_of_node(node: &str) -> String {
    format!("kubectl get pods -A --field-selector spec.nodeName={node}")
}

/// The innermost part of a chain of errors, without what differs from pod to pod.
#[must_use]
pub fn innermost(message: &str) -> String {
    let mut rest = message.trim();
    // What is wrapped around: `rpc error: code = Unknown desc = …`.
    if let Some((_, inner)) = rest.rsplit_once(" desc = ") {
        rest = inner;
    }
    let lines = rest.lines().next().unwrap_or_default();
    let parts: Vec<&str> = lines.split(": ").collect();
    // Two parts, so that `open x: permission denied` keeps what it is about.
    let from = parts.len().saturating_sub(2);
    cut(&without_ids(&parts.get(from..).unwrap_or_default().join(": ")))
}

/// Long numbers in hexadecimal are sandboxes, containers, UIDs: never the same twice.
fn without_ids(text: &str) -> String {
    let is_id = |word: &str| {
        word.len() >= 12
            && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            && word.bytes().any(|b| b.is_ascii_digit())
    };
    let is_in_one = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let (mut out, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let end = rest.find(|c| !is_in_one(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        out.push_str(if is_id(word) { "…" } else { word });
        let mut behind = behind.chars();
        out.extend(behind.next());
        rest = behind.as_str();
    }
    out
}

/// Why no node takes a pod, without the numbers that change with every node that comes and goes.
#[must_use]
pub fn of_scheduling(message: &str) -> Root {
    // `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: 0/3 nodes are …`
    let said = message.split(" preemption:").next().unwrap_or(message).trim().trim_end_matches('.');
    let next = if said.contains("Insufficient") {
        "the nodes that are left are too small for it: free some room, or wait until the others are back"
    } else if said.contains("unbound immediate PersistentVolumeClaims")
        || said.contains("persistentvolumeclaim")
    {
        "see its claims: kubectl get pvc"
    } else if said.contains("unschedulable") {
        "a node is cordoned: drydock why, or kubectl get nodes"
    } else if said.contains("volume node affinity conflict") {
        "its volume lies on a node that does not take it"
    } else {
        "see its node selector, affinity and tolerations: kubectl describe pod"
    };
    Root { what: cut(said), next: next.to_owned() }
}

/// What an event says of a pod that does not start.
#[must_use]
pub fn kind_of_event(reason: &str) -> Option<Kind> {
    match reason {
        "FailedCreatePodSandBox" | "NetworkNotReady" | "FailedPodSandBoxStatus" => Some(Kind::Sandbox),
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => Some(Kind::Volume),
        // The kubelet's word on an image that it could not pull, with the reason.
        "Failed" | "ErrImageNeverPull" | "InspectFailed" => Some(Kind::Image),
        "Unhealthy" => Some(Kind::Unready),
        _ => None,
    }
}

fn quoted(text: &str) -> Option<&str> {
    between(text, "\"", "\"")
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    rest.split_once(to).map(|(inner, _)| inner)
}

fn first_word(text: &str) -> &str {
    text.split([' ', ',', ';', '"']).next().unwrap_or_default()
}

/// One line of printable text, not too long.
#[must_use]
pub fn cut(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.take(MOST + 1).collect();
    if out.chars().count() > MOST {
        out.pop();
        out.push('…');
    }
    out
}
