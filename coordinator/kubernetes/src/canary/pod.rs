//! The pod as it is made.
//!
//! It keeps to the strictest of the Pod Security Standards ("restricted"), so that its namespace may demand that.

use drydock_types::Sha256;
use serde_json::{Value, json};

use super::{CANARY_NAMESPACE, Canary, LABEL};

/// The longest name that a pod may have.
const MOST_NAME: usize = 253;
/// Looks for a name by what its image has for it.
const RESOLVES: &str = "getent hosts \"$1\" || nslookup \"$1\"";

impl Canary {
    /// Its name: the same for whoever asks again.
    pub(super) fn name(&self) -> String {
        let short = |text: &str| text.chars().take(8).collect::<String>();
        let asked_by = self
            .asked_by
            .as_ref()
            .map_or_else(String::new, |by| format!("-{}", short(&Sha256::of(by.as_bytes()).to_string())));
        let end = format!("-{}{}{asked_by}", self.when.word(), self.of_run());
        let node: String = self.node.chars().take(MOST_NAME - end.len() - "canary-".len()).collect();
        format!("canary-{node}{end}")
    }

    /// What the names of all canaries of its run have.
    pub(super) fn of_run(&self) -> String {
        format!("-{}", self.run.to_string().chars().take(8).collect::<String>())
    }

    /// Does it end by itself, rather than being ready for as long as it is there?
    pub(super) const fn ends(&self) -> bool {
        !self.command.is_empty() || self.resolve.is_some()
    }

    fn does(&self) -> Vec<&str> {
        match (&self.resolve, &*self.command) {
            (_, command @ [_, ..]) => command.iter().map(String::as_str).collect(),
            (Some(name), []) => vec!["sh", "-c", RESOLVES, "canary", name],
            (None, []) => Vec::new(),
        }
    }
}

/// The pod of a canary.
pub(super) fn json(canary: &Canary) -> Value {
    let mut container = json!({
        "name": "canary",
        "image": canary.image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"limits": {"memory": "32Mi"}, "requests": {"cpu": "1m", "memory": "8Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 65534,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    let does = canary.does();
    if !does.is_empty() {
        container["command"] = json!(does);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": canary.name(),
            "namespace": CANARY_NAMESPACE,
            "labels": {
                LABEL: canary.fleet.to_string(),
                "app.kubernetes.io/name": "drydock-canary",
                "app.kubernetes.io/managed-by": "drydock",
            },
            "annotations": {"drydock/run": canary.run.to_string(), "drydock/when": canary.when.word()},
            // Not its controller: nothing makes another one. Where the Node is deleted the cluster takes this along.
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": canary.node, "uid": canary.node_uid,
            }],
        },
        "spec": {
            "nodeName": canary.node,
            "restartPolicy": "Never",
            // Its kubelet ends it where nobody else does.
            "activeDeadlineSeconds": canary.within.as_secs().saturating_add(60),
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    })
}
