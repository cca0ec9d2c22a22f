//! The pod as it is made.
//!
//! It keeps to the strictest of the Pod Security Standards ("restricted"), so that its namespace may demand that.

use drydock_types::Sha256;
use serde_json::{Value, json};

use super::{CANARY_NAMESPACE, Canary, LABEL, is_ours};
use crate::objects::Meta;

/// The longest name: that of a DNS label, for it is the name of the pod's host too.
const MOST_NAME: usize = 63;
/// How much of a canary's digest its name has, in hexadecimal digits; its label has [`IN_LABEL`] of them.
const IN_NAME: usize = 16;
/// See [`IN_NAME`].
const IN_LABEL: usize = 32;
/// The label of every canary with its run.
const RUN: &str = "drydock/canary-run";
/// The label of every canary with its digest.
const DIGEST: &str = "drydock/canary-digest";
/// Looks for a name by what its image has for it.
const RESOLVES: &str = "getent hosts \"$1\" || nslookup \"$1\"";

impl Canary {
    /// Its name: the same for whoever asks the same again, and another one for whatever else is asked.
    pub(super) fn name(&self) -> String {
        let end = format!("-{}-{}", self.when.word(), self.digest(IN_NAME));
        let most = MOST_NAME - end.len() - "canary-".len();
        // A Node's name may have dots, which a label has not. What is lost here is in the digest.
        let node: String = self.node.chars().map(|c| if c == '.' { '-' } else { c }).take(most).collect();
        format!("canary-{node}{end}")
    }

    /// Of all that tells it from another one, so many hexadecimal digits.
    fn digest(&self, digits: usize) -> String {
        let Self { fleet, run, node, node_uid, when, asked_by, image, command, resolve, within } = self;
        let all = json!([
            fleet.to_string(),
            run.to_string(),
            node,
            node_uid,
            when.word(),
            asked_by,
            image,
            command,
            resolve,
            u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        ]);
        Sha256::of(all.to_string().as_bytes()).to_string().chars().take(digits).collect()
    }

    /// Is it this canary's, whatever it is called?
    pub(super) fn is_it(&self, meta: &Meta) -> bool {
        is_ours(meta) && meta.labels.get(DIGEST) == Some(&self.digest(IN_LABEL))
    }

    /// Is it one of this run?
    pub(super) fn is_of_its_run(&self, meta: &Meta) -> bool {
        meta.labels.get(RUN) == Some(&self.run.to_string())
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
                RUN: canary.run.to_string(),
                DIGEST: canary.digest(IN_LABEL),
                "app.kubernetes.io/name": "drydock-canary",
                "app.kubernetes.io/managed-by": "drydock",
            },
            "annotations": {"drydock/when": canary.when.word()},
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
