//! From a scenario's plan to the bundle that an operator's command line would send. The recipes are the built-in
//! ones, with their parameters filled in.

use drydock_core::bundle::Bundle;
use drydock_types::{ArtifactRef, ComponentName, Sha256, Version, document, section::ArtifactLabel};
use serde_json::{Value, json};

use crate::scenario::{PlanSpec, Quality, Role, StageSpec};

/// The digest of a binary.
#[must_use]
pub fn digest(role: Role, version: &str, quality: Quality) -> Sha256 {
    Sha256::of(format!("{role:?} {version} {quality:?}").as_bytes())
}

/// The component of a role.
#[must_use]
pub const fn component(role: Role) -> &'static str {
    match role {
        Role::Etcd => "etcd",
        Role::Service => "service",
        Role::Bare => "thing",
    }
}

/// Everything that the operator submits.
///
/// # Errors
/// When the core does not know a plan or a recipe of this form.
pub fn bundle(plan: &PlanSpec, number: usize) -> Result<Bundle, String> {
    let stages: Vec<Value> = plan.stages.iter().map(stage).collect();
    let mut pinned = Vec::new();
    for spec in &plan.stages {
        let artifact = artifact(spec)?;
        pinned.push(json!({"stage": component(spec.role), "recipe": recipe(spec), "artifact": artifact}));
    }
    let mut budget = json!({"perFailureDomain": plan.budget});
    if plan.by_zone {
        budget["domainLabel"] = json!("zone");
    }
    let file = json!({
        "apiVersion": "drydock/v1", "kind": "Plan", "metadata": {"name": format!("plan-{number}")},
        "spec": {"budget": budget, "stages": stages, "allow": ["extend", "skip"]},
    });
    let bundle = json!({"file": format!("plan-{number}.yaml"), "plan": file, "stages": pinned});
    document::decode("bundle", &document::encode(&bundle)).map_err(|error| error.to_string())
}

fn stage(spec: &StageSpec) -> Value {
    let waves: Vec<Value> = spec
        .waves
        .iter()
        .enumerate()
        .map(|(index, wave)| {
            let order = if spec.role == Role::Etcd { "followers-first" } else { "listed" };
            let mut value = json!({
                "name": format!("w{index}"), "nodes": {"names": wave.hosts}, "order": order,
                "soak": format!("{}ms", wave.soak_ms),
            });
            if wave.approval {
                value["approval"] = json!({"by": "somebodyElse"});
            }
            if wave.concurrency > 1 {
                value["concurrency"] = json!(wave.concurrency);
            }
            value
        })
        .collect();
    let mut value = json!({
        "name": component(spec.role), "component": component(spec.role), "recipe": component(spec.role),
        "to": spec.to, "waves": waves, "onFailure": if spec.rollback { "rollback" } else { "hold" },
    });
    if spec.outage {
        value["outage"] = json!({"etcd": "5m"});
    }
    if spec.downgrade {
        value["allowDowngrade"] = json!(true);
    }
    value
}

fn artifact(spec: &StageSpec) -> Result<Option<ArtifactRef>, String> {
    if spec.role == Role::Bare {
        return Ok(None);
    }
    let sha256 = digest(spec.role, spec.to, spec.quality);
    let label = ArtifactLabel {
        component: ComponentName::parse(component(spec.role)).map_err(|error| error.to_string())?,
        version: Version::parse(spec.to).map_err(|error| error.to_string())?,
        os: "linux".to_string(),
        arch: "x86_64".to_string(),
        size: 20 << 20,
        sha256,
    };
    let signature = format!("untrusted comment: x\nAAAA\ntrusted comment: {}\nBBBB\n", label.to_comment());
    Ok(Some(ArtifactRef { sha256, size: 20 << 20, signature }))
}

fn recipe(stage: &StageSpec) -> Value {
    let role = stage.role;
    let mut spec = match role {
        Role::Etcd => etcd(),
        Role::Service => service(),
        Role::Bare => json!({"detect": {}, "stage": [{"nothing": {}}], "apply": [{"nothing": {}}]}),
    };
    if let Some(drain) = &stage.drain {
        let word = if drain.allows { "allow" } else { "refuse" };
        spec["drain"] = json!([{"kubernetesDrain": {
            "barePods": word, "emptyDir": word, "nowhereElse": word, "waitForReplacements": drain.waits,
        }}]);
        if let Some(within_ms) = drain.within_ms {
            spec["deadlines"] = json!({"drain": format!("{within_ms}ms")});
        }
    }
    json!({
        "apiVersion": "drydock/v1", "kind": "Recipe",
        "metadata": {"name": component(role), "summary": "as built in"}, "spec": spec,
    })
}

/// As `coordinator/recipes/etcd.yaml`.
fn etcd() -> Value {
    let (unit, path) = ("etcd.service", "/usr/bin/etcd");
    json!({
        "detect": {"unit": unit, "path": path, "version": {"etcd": {}}},
        "versions": {"oneMinorAtATime": true, "noReturnAfterLastMember": true},
        "stage": [{"fetchArtifact": {}}, {"checkSwap": {"path": path}}],
        "gate": [{"etcdQuorum": {}}, {"versionSkew": {}}],
        "protect": [{"snapshotEtcd": {"maxAge": "15m"}}],
        "apply": [{"moveEtcdLeader": {}}, {"swapBinary": {"path": path}}, {"restartUnit": {"unit": unit}}],
        "verify": [
            {"runningExecutable": {"unit": unit, "path": path, "stableFor": "0s"}},
            {"etcdMemberHealthy": {"within": "2m"}},
            {"runningExecutable": {"unit": unit, "path": path}},
        ],
        "canUndo": [{"etcdClusterNotRisen": {}}, {"etcdQuorumWithoutThis": {}}],
        "returned": [{"etcdQuorum": {}}],
    })
}

/// As `coordinator/recipes/systemd-binary.yaml`.
fn service() -> Value {
    let (unit, path) = ("service.service", "/usr/local/bin/service");
    let health = json!({"tcp": {"address": "127.0.0.1:80"}});
    let version = json!({"http": {"url": "http://127.0.0.1:80/version"}});
    json!({
        "detect": {"unit": unit, "path": path, "version": version},
        "stage": [{"fetchArtifact": {}}, {"checkSwap": {"path": path}}],
        "gate": [{"health": {"probe": health}}, {"versionSkew": {}}],
        "apply": [{"swapBinary": {"path": path}}, {"restartUnit": {"unit": unit}}],
        "verify": [
            {"runningExecutable": {"unit": unit, "path": path, "stableFor": "0s"}},
            {"serviceVersion": {"source": version}},
            {"healthy": {"probe": health}},
            {"runningExecutable": {"unit": unit, "path": path}},
        ],
        "returned": [{"health": {"probe": health}}],
    })
}
