//! Clusters through the command line, on a real control plane, with a token that has the shipped roles and nothing else.
//!
//! `tests/run kubernetes` runs this; without Go it says that it is left out.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "kubernetes_real/checked.rs"]
mod checked;
#[path = "kubernetes_real/drained.rs"]
mod drained;
#[path = "kubernetes_real/forced.rs"]
mod forced;
#[path = "kubernetes_real/troubled.rs"]
mod troubled;

use std::{fs, path::Path, time::Instant};

use drydock_coordinator::clusters::view::ClusterTestView;
use drydock_system_tests::{Fleet, Ran};
use drydock_test_cluster::{Admin, Cluster, Settings, cluster::SOON, here};
use serde_json::{Value, json};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

fn typed(fleet: &Fleet, line: &str) -> Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

/// `cluster test` until it says so: an API server hears of changed roles a moment later, and believes a token that it
/// has just judged for ten seconds more.
fn tested(fleet: &Fleet, name: &str, what: &str, is: impl Fn(&ClusterTestView) -> bool) -> ClusterTestView {
    let began = Instant::now();
    loop {
        let ran = typed(fleet, &format!("-o json cluster test {name}"));
        ran.exits(3);
        let view: ClusterTestView = serde_json::from_str(&ran.stdout).unwrap();
        if is(&view) {
            return view;
        }
        assert!(began.elapsed() < SOON, "not {what}: {view:?}");
    }
}

/// A file of `deploy/kubernetes`, as `kubectl apply` would send it.
async fn apply(admin: &Admin, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes").join(file);
    let text = fs::read_to_string(path).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for document in documents {
        let kind = document["kind"].as_str().unwrap();
        let namespace = document["metadata"]["namespace"].as_str().unwrap_or_default();
        let path = match kind {
            "Namespace" => "/api/v1/namespaces".to_owned(),
            "ServiceAccount" => format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            "Secret" => format!("/api/v1/namespaces/{namespace}/secrets"),
            "ClusterRole" => format!("{ROLES}/clusterroles"),
            "ClusterRoleBinding" => format!("{ROLES}/clusterrolebindings"),
            "Role" => format!("{ROLES}/namespaces/{namespace}/roles"),
            "RoleBinding" => format!("{ROLES}/namespaces/{namespace}/rolebindings"),
            other => panic!("{file} has a {other}"),
        };
        admin.create(&path, &document).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants Go: tests/run kubernetes"]
async fn the_shipped_roles_are_enough_and_what_is_missing_is_named() {
    if !here() {
        return;
    }
    let cluster = Cluster::start(Settings { nodes: 2, ..Settings::default() }).await.unwrap();
    let fleet = Fleet::without_nodes();
    let (server, admin) = (&cluster.servers()[0], cluster.admin());
    let version = server.release().as_str();

    // Everything may be done with all rights.
    typed(&fleet, &format!("cluster add root --kubeconfig {}", cluster.kubeconfig().display())).exits(0);
    typed(&fleet, "cluster test root").exits(0).says(&[version, "on 2 nodes", "Nothing is missing"]);

    // Nothing is bound yet: each right is named with what it would be for.
    apply(admin, "account.yaml").await;
    let token = admin.token("drydock", "coordinator", 600).await.unwrap();
    let file = fleet.dir().join("account.kubeconfig");
    server.write_kubeconfig_with_token(&token, &file).unwrap();
    let add = format!("cluster add prod --kubeconfig {}", file.display());
    typed(&fleet, &add).exits(0).says(&["the token of the context test expires at"]);
    typed(&fleet, "cluster test prod").exits(3).says(&[
        "as system:serviceaccount:drydock:coordinator",
        "cannot patch nodes: needed to cordon and give back (drain)",
        "cannot create pods/eviction: needed to evict (drain)",
        "kubectl apply -f deploy/kubernetes/clusterrole.yaml",
    ]);

    // With the shipped role nothing is missing but what only the canary wants, and the token's end is near.
    apply(admin, "clusterrole.yaml").await;
    let view = tested(&fleet, "prod", "all rights but the canary's", |view| view.survey.missing.is_empty());
    // To get and to watch pods is everybody's who drains.
    assert_eq!(view.survey.missing_for_canary.len(), 2, "{view:?}");
    assert!(view.survey.findings.iter().all(|found| found.contains("expire")), "{view:?}");
    apply(admin, "canary.yaml").await;
    tested(&fleet, "prod", "the canary's rights", |view| view.survey.missing_for_canary.is_empty());

    // Taken back by whoever may, one right is named.
    let less =
        json!({"rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]});
    admin.patch(&format!("{ROLES}/clusterroles/drydock"), &less).await.unwrap();
    let lacks = |view: &ClusterTestView, what: &str| {
        view.survey.missing.iter().any(|missing| missing.to_string().starts_with(what))
    };
    let view = tested(&fleet, "prod", "a missing right", |view| lacks(view, "cannot patch nodes:"));
    assert!(!lacks(&view, "cannot list nodes:"), "{view:?}");

    // A token that is none any more.
    admin.delete("/api/v1/namespaces/drydock/serviceaccounts/coordinator").await.unwrap();
    let refused = |found: &String| found.contains("does not take the credentials");
    tested(&fleet, "prod", "a token refused", |view| view.survey.findings.iter().any(refused));

    // Certificates: one that has expired is refused here, before the cluster is asked.
    let old = fleet.dir().join("old.kubeconfig");
    server.write_kubeconfig("anna", &["system:masters"], -60, &old).unwrap();
    typed(&fleet, &format!("cluster add old --kubeconfig {}", old.display()))
        .exits(2)
        .says(&["the client certificate of the context", "expired at"]);
}
