//! `kubernetesNode`: the node's Node is Ready, by a kubelet that has reported since the machine was started; once the node
//! was changed, by the kubelet that it should be running where the recipe says so.

use drydock_core::recipe::{KubeletVersion, KubernetesNode};
use drydock_kubernetes::objects::Node;
use drydock_types::{NodeName, Verdict, Version};

use super::proven;
use crate::checks::Scene;

/// Observes and judges.
pub(crate) async fn verdict(scene: &Scene<'_>, name: &NodeName, config: &KubernetesNode) -> Verdict {
    let node = match proven(scene, name).await {
        Ok((_, node)) => node,
        Err(unclear) => return unclear,
    };
    let changed = !scene.request.before && !scene.request.rehearses;
    judge(&node, config.kubelet.filter(|_| changed).map(|KubeletVersion::Target| &scene.request.to))
}

/// Ready is clear, by the kubelet that was expected where one was.
#[must_use]
pub(crate) fn judge(node: &Node, expected: Option<&Version>) -> Verdict {
    let name = node.name();
    let Some(ready) = node.condition("Ready") else {
        return Verdict::Waiting(format!("the kubelet of the Node {name} has never reported"));
    };
    if ready.status != "True" {
        let why = if ready.message.is_empty() { &ready.reason } else { &ready.message };
        let said: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        return Verdict::Waiting(format!(
            "the Node {name} is not Ready ({said}): kubectl describe node {name}"
        ));
    }
    let Some(expected) = expected else { return Verdict::Clear };
    let reports = &node.status.node_info.kubelet_version;
    let bare = reports.strip_prefix('v').unwrap_or(reports);
    match Version::parse(bare) {
        Ok(version) if version == *expected => Verdict::Clear,
        Ok(_) => Verdict::Waiting(format!(
            "the kubelet of the Node {name} reports {reports}, and should be {expected}"
        )),
        Err(_) => Verdict::Unknown(format!("the kubelet of the Node {name} reports no version: {reports:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(status: &str, kubelet: &str) -> Node {
        let conditions: Value = match status {
            "" => json!([]),
            status => json!([{"type": "Ready", "status": status, "reason": "KubeletNotReady",
                "message": "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"}]),
        };
        serde_json::from_value(json!({
            "metadata": {"name": "k3s-2", "uid": "u", "resourceVersion": "7"},
            "status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": kubelet}},
        }))
        .unwrap()
    }

    #[test]
    fn ready_by_the_kubelet_that_should_be_there_is_clear_and_nothing_else() {
        let to = Version::parse("1.33.4+k3s2").unwrap();
        assert_eq!(judge(&node("True", "v1.33.4+k3s1"), None), Verdict::Clear);
        assert_eq!(judge(&node("True", "v1.33.4+k3s2"), Some(&to)), Verdict::Clear);
        for (status, kubelet, expected, said) in [
            ("", "v1.33.4+k3s1", None, "has never reported"),
            ("False", "v1.33.4+k3s1", None, "NetworkPluginNotReady"),
            ("Unknown", "v1.33.4+k3s2", Some(&to), "is not Ready"),
            ("True", "v1.33.4+k3s1", Some(&to), "reports v1.33.4+k3s1, and should be 1.33.4+k3s2"),
        ] {
            let verdict = judge(&node(status, kubelet), expected);
            assert!(matches!(&verdict, Verdict::Waiting(why) if why.contains(said)), "{verdict:?}");
        }
        assert!(matches!(judge(&node("True", ""), Some(&to)), Verdict::Unknown(_)));
    }
}
