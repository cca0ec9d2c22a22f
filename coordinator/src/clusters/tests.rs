use drydock_kubernetes::kubeconfig::{Identity, Secret, endpoints};

use super::*;
use crate::store::sqlite::SqliteStore;

const NOW_MS: u64 = 1_780_272_000_000;

fn scene() -> (Clusters, Registry, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let registry = SqliteStore::create(&dir.path().join("drydock.db")).unwrap().registry().unwrap();
    (Clusters::new(registry.clone(), SealingKey::new([7; 32], "here")), registry, dir)
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}

fn credentials(token: &str) -> Credentials {
    Credentials {
        endpoints: endpoints(&["https://10.0.0.11:6443".to_owned()]).unwrap(),
        authority: Authority::System,
        tls_server_name: None,
        user: User::Token(Secret::new(token)),
    }
}

fn adding(of: &str, token: &str) -> Adding {
    let credentials = credentials(token);
    Adding { name: name(of), context: "home".into(), credentials, replace: false, by: "anna".into() }
}

#[tokio::test]
async fn credentials_are_in_the_store_only_sealed_and_in_no_view() {
    let (clusters, registry, dir) = scene();
    let view = clusters.add(adding("prod", "the-secret-token"), NOW_MS).unwrap();
    assert_eq!(view.endpoints, ["https://10.0.0.11:6443"]);
    let row = registry.cluster(&name("prod")).unwrap().unwrap();
    let shown = format!("{view:?} {clusters:?} {:?}", clusters.list().unwrap());
    assert!(!shown.contains("secret"), "{shown}");
    let secret = b"the-secret-token";
    assert!(!row.sealed.windows(secret.len()).any(|part| part == secret));
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(secret.len()).any(|part| part == secret));
    }
    // A coordinator that starts anew opens them by the same key, and by no other.
    let again = Clusters::new(registry.clone(), SealingKey::new([7; 32], "here"));
    assert_eq!(*again.open(&name("prod")).unwrap().credentials, credentials("the-secret-token"));
    let other = Clusters::new(registry, SealingKey::new([8; 32], "there"));
    let error = other.open(&name("prod")).unwrap_err();
    assert!(matches!(error, ClusterError::Sealed { .. }), "{error:?}");
}

#[tokio::test]
async fn sealed_credentials_do_not_open_as_another_clusters() {
    let (clusters, registry, _dir) = scene();
    clusters.add(adding("prod", "t"), NOW_MS).unwrap();
    let row = registry.cluster(&name("prod")).unwrap().unwrap();
    registry.put_cluster(&ClusterRow { name: name("lab"), ..row }, false).unwrap();
    let error = clusters.open(&name("lab")).unwrap_err();
    assert!(matches!(error, ClusterError::Sealed { why: SealError::Damaged, .. }), "{error:?}");
}

#[tokio::test]
async fn a_client_is_made_once_and_anew_when_the_cluster_was_added_again() {
    let (clusters, _registry, _dir) = scene();
    clusters.add(adding("prod", "old"), NOW_MS).unwrap();
    let first = clusters.open(&name("prod")).unwrap();
    assert!(Arc::ptr_eq(&first.client, &clusters.open(&name("prod")).unwrap().client));
    let error = clusters.add(adding("prod", "new"), NOW_MS).unwrap_err();
    assert!(matches!(error, ClusterError::Refused(Refusal::ClusterKnown(_))), "{error:?}");
    assert!(
        Arc::ptr_eq(&first.client, &clusters.open(&name("prod")).unwrap().client),
        "refused, and yet used"
    );
    clusters.add(Adding { replace: true, ..adding("prod", "new") }, NOW_MS).unwrap();
    assert_eq!(*clusters.open(&name("prod")).unwrap().credentials, credentials("new"));
    clusters.remove(&name("prod")).unwrap();
    let error = clusters.open(&name("prod")).unwrap_err();
    assert!(error.to_string().contains("drydock cluster list"), "{error}");
}

#[tokio::test]
async fn a_cluster_that_is_restored_is_spoken_to_as_before_it_was_replaced() {
    let (clusters, _registry, _dir) = scene();
    assert_eq!(clusters.kept(&name("prod")).unwrap(), None);
    clusters.add(adding("prod", "old"), NOW_MS).unwrap();
    let before = clusters.kept(&name("prod")).unwrap().unwrap();
    clusters.add(Adding { replace: true, ..adding("prod", "new") }, NOW_MS + 1).unwrap();
    clusters.restore(&before).unwrap();
    assert_eq!(*clusters.open(&name("prod")).unwrap().credentials, credentials("old"));
    assert_eq!(clusters.kept(&name("prod")).unwrap(), Some(before));
}

#[tokio::test]
async fn what_cannot_be_used_is_not_kept() {
    let (clusters, registry, _dir) = scene();
    let mut bad = adding("prod", "t");
    let identity = Identity { certificate: "none".into(), key: Secret::new("the-secret-key") };
    bad.credentials.user = User::Certificate(identity);
    let error = clusters.add(bad, NOW_MS).unwrap_err();
    assert!(matches!(error, ClusterError::Bad { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    let mut none = adding("prod", "t");
    none.credentials.endpoints.clear();
    assert!(clusters.add(none, NOW_MS).unwrap_err().to_string().contains("--server"));
    assert_eq!(registry.clusters().unwrap(), []);
}

#[test]
fn credentials_from_afar_name_no_files_and_quote_nothing_when_they_are_none() {
    let of = |json: &str| Clusters::credentials(&name("prod"), json.as_bytes());
    let good = serde_json::to_string(&credentials("t")).unwrap();
    assert_eq!(of(&good).unwrap(), credentials("t"));
    let file = good.replace("{\"token\":\"t\"}", "{\"tokenFile\":\"/etc/shadow\"}");
    assert!(of(&file).unwrap_err().to_string().contains("name files"));
    let file = good.replace("\"system\"", "{\"file\":\"/etc/shadow\"}");
    assert!(of(&file).unwrap_err().to_string().contains("name files"));
    for none in ["", "{}", "\"the-secret\"", "{\"user\":\"the-secret\"}", &good.replace("https", "http")] {
        let error = of(none).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    assert!(of(&" ".repeat(MOST_CREDENTIALS_BYTES + 1)).unwrap_err().to_string().contains("bytes"));
}

#[tokio::test]
async fn a_machine_is_bound_to_a_node_by_a_name_that_a_node_can_have() {
    let (clusters, _registry, _dir) = scene();
    clusters.add(adding("prod", "t"), NOW_MS).unwrap();
    let row = |kube_node: &str| BindingRow {
        key: drydock_types::Sha256([1; 32]),
        node: NodeName::parse("ctl-1").unwrap(),
        cluster: name("prod"),
        kube_node: kube_node.into(),
        bound_by: "anna".into(),
        bound_unix_ms: NOW_MS,
    };
    for bad in ["", "A", "a/b", "a?x", &"a".repeat(254)] {
        let error = clusters.bind(&row(bad)).unwrap_err();
        assert!(matches!(error, ClusterError::NotANode(_)), "{error:?}");
    }
    clusters.bind(&row("k3s-1.example")).unwrap();
    let view = clusters.show(&name("prod")).unwrap();
    assert_eq!((view.nodes[0].node.as_str(), view.nodes[0].kube_node.as_str()), ("ctl-1", "k3s-1.example"));
    let error = clusters.remove(&name("prod")).unwrap_err();
    assert!(error.to_string().contains("ctl-1"), "{error}");
    assert!(clusters.unbind(row("x").key).unwrap());
    assert!(clusters.nodes_of(&name("prod")).unwrap().is_empty());
}
