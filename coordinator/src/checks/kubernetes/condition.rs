//! `kubernetesCondition`: objects of the node's cluster have a condition, or a value at a JSONPath.

use drydock_core::recipe::{KubernetesCondition, Scalar};
use drydock_kubernetes::condition::{self, Asked, Path, Wanted, Which};
use drydock_types::{NodeName, Verdict};
use serde_json::Value;

use super::in_cluster;
use crate::checks::Scene;

/// Observes and judges.
pub(crate) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &KubernetesCondition) -> Verdict {
    let asked = match is_one(config) {
        Ok(asked) => asked,
        Err((what, _)) => return Verdict::Refused(what),
    };
    match in_cluster(scene, node).await {
        Ok(bound) => condition::look(&*bound.api, &asked).await,
        Err(unknown) => unknown,
    }
}

/// Can this be asked? Judged where a plan is read, and again where it is asked.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(crate) fn is_one(config: &KubernetesCondition) -> Result<Asked, (String, &'static str)> {
    let no = |what: &str, help| Err((format!("`kubernetesCondition` {what}"), help));
    if config.kind.trim().is_empty() || config.version.trim().is_empty() {
        return no("names no kind", "group: helm.toolkit.fluxcd.io, version: v2, kind: HelmRelease");
    }
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    if ![&config.group, &config.version, &config.kind].into_iter().all(|text| word(text)) {
        return no("names no kind: letters, digits, '.' and '-'", "kubectl api-resources lists them");
    }
    // What is not as it should be is quoted, in the record too.
    if config.group.is_empty() && config.kind == "Secret" {
        return no("reads no Secrets", "ask for what the Secret is there for");
    }
    let which = match (&config.name, &config.selector) {
        (Some(name), None) if !name.is_empty() => Which::Name(name.clone()),
        (None, Some(selector)) => Which::Selector(selector.clone()),
        (Some(_), Some(_)) => return no("has a name and a selector", "leave one of them out"),
        _ => {
            return no(
                "names no object",
                "name: NAME, or selector: app=shop; selector: \"\" takes all of the kind",
            );
        }
    };
    let one_of: Vec<Value> = config.expected().values().map(value).collect();
    let wanted = match (&config.condition, &config.json_path) {
        (Some(_), Some(_)) => return no("has a condition and a jsonPath", "ask for them in two checks"),
        (None, None) => {
            return no(
                "asks for nothing",
                "condition: {type: Ready}, or jsonPath: $.status.phase with equals: Ready",
            );
        }
        (Some(_), None) if !one_of.is_empty() => {
            return no(
                "has a condition and a value",
                "a condition has a status: condition: {type: Ready, status: \"True\"}",
            );
        }
        (Some(of), None) => Wanted::Condition { kind: of.kind.clone(), status: of.status.clone() },
        (None, Some(_)) if one_of.is_empty() => {
            return no(
                "does not say what the value must be",
                "equals: HEALTH_OK, or oneOf: [HEALTH_OK, HEALTH_WARN]",
            );
        }
        (None, Some(path)) => match Path::parse(path) {
            Ok(path) => Wanted::Values { path, one_of },
            Err(error) => return Err((error.to_string(), "as RFC 9535 has it: $.status.ceph.health")),
        },
    };
    Ok(Asked {
        group: config.group.clone(),
        version: config.version.clone(),
        kind: config.kind.clone(),
        namespace: config.namespace.clone().filter(|namespace| !namespace.is_empty()),
        which,
        wanted,
    })
}

fn value(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Bool(value) => Value::Bool(*value),
        Scalar::Number(value) => Value::from(*value),
        Scalar::Text(value) => Value::from(value.as_str()),
    }
}
