//! Clusters through the command line, as far as no cluster is needed for it: `kubernetes_real` has the rest.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use drydock_coordinator::clusters::view::{ClusterTestView, ClusterView};
use drydock_system_tests::{Fleet, Ran, place};

fn typed(fleet: &Fleet, line: &str) -> Ran {
    fleet.drydock(&line.split(' ').collect::<Vec<_>>())
}

/// A kubeconfig with two contexts; nobody listens at its server.
fn kubeconfig(fleet: &Fleet, user: &str) -> String {
    let server = place::free();
    let text = format!(
        "current-context: home\ncontexts:\n- name: home\n  context: {{cluster: c, user: u}}\n\
         - name: away\n  context: {{cluster: c, user: gone}}\n\
         clusters:\n- name: c\n  cluster: {{server: 'https://{server}'}}\nusers:\n- name: u\n  user: {user}\n"
    );
    let path = fleet.write("kubeconfig", &text);
    mode(fleet, 0o600);
    path
}

fn mode(fleet: &Fleet, mode: u32) {
    fs::set_permissions(fleet.dir().join("kubeconfig"), fs::Permissions::from_mode(mode)).unwrap();
}

const TOKEN: &str = "{token: a-token-that-nobody-sees}";

/// Every file below a directory.
fn files(dir: &Path, take: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, take);
        } else if let Ok(content) = fs::read(&path) {
            take(&path, &content);
        }
    }
}

fn clusters(fleet: &Fleet) -> Vec<ClusterView> {
    serde_json::from_str(&typed(fleet, "-o json cluster list").exits(0).stdout).unwrap()
}

#[test]
fn a_cluster_is_added_bound_tested_and_removed_and_its_token_is_nowhere_in_plain_text() {
    let fleet = Fleet::start(1);
    let path = kubeconfig(&fleet, TOKEN);
    typed(&fleet, "cluster list").exits(0).says(&["drydock cluster add NAME --kubeconfig FILE"]);
    typed(&fleet, &format!("cluster add prod --kubeconfig {path}"))
        .exits(0)
        .says(&["prod is known", "drydock cluster test prod"]);
    typed(&fleet, &format!("cluster add prod --kubeconfig {path}")).exits(1).says(&["--replace"]);
    let two = "--server https://a.example:6443 --server https://b.example:6443";
    typed(&fleet, &format!("cluster add prod --kubeconfig {path} --replace {two}")).exits(0);
    assert_eq!(clusters(&fleet)[0].endpoints, ["https://a.example:6443", "https://b.example:6443"]);

    typed(&fleet, "node bind n1 lab").exits(1).says(&["no cluster lab"]);
    typed(&fleet, "node bind n9 prod").exits(1).says(&["no node n9"]);
    typed(&fleet, "node bind n1 prod A/b").exits(2).says(&["not a Node's name"]);
    typed(&fleet, "node bind n1 prod k3s-1").exits(0).says(&["the Node k3s-1 of the cluster prod"]);
    assert_eq!(clusters(&fleet)[0].nodes[0].kube_node, "k3s-1");
    typed(&fleet, "cluster remove prod").exits(1).says(&["n1 is bound", "drydock node bind NODE --none"]);
    typed(&fleet, "node bind n1 --none").exits(0);
    typed(&fleet, "cluster remove prod").exits(0);
    typed(&fleet, "cluster remove prod").exits(1).says(&["no cluster prod"]);

    // What people did about it stands in the record, and the record is whole.
    typed(&fleet, "audit verify").exits(0);
    typed(&fleet, &format!("cluster add prod --kubeconfig {path}")).exits(0);
    let mut records = 0;
    files(fleet.dir(), &mut |file, content| {
        if file == fleet.dir().join(&path) {
            return;
        }
        let has = |text: &str| content.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has("a-token-that-nobody-sees"), "the token stands in {}", file.display());
        records += usize::from(has("clusterAdded"));
    });
    assert!(records > 0, "nothing in the record says that a cluster was added");
}

#[test]
fn a_cluster_that_does_not_answer_is_a_finding_and_so_is_it_as_json() {
    let fleet = Fleet::without_nodes();
    let path = kubeconfig(&fleet, TOKEN);
    typed(&fleet, &format!("cluster add prod --kubeconfig {path}")).exits(0);
    typed(&fleet, "cluster test prod").exits(3).says(&["1 finding", "connection refused"]);
    let view: ClusterTestView =
        serde_json::from_str(&typed(&fleet, "-o json cluster test prod").exits(3).stdout).unwrap();
    assert_eq!(view.survey.findings.len(), 1, "{view:?}");
    typed(&fleet, "cluster test lab").exits(1).says(&["no cluster lab"]);
}

#[test]
fn a_kubeconfig_that_is_bad_is_refused_before_anybody_is_asked() {
    let fleet = Fleet::without_nodes();
    let add = |path: &str, flags: &str| {
        typed(&fleet, format!("cluster add prod --kubeconfig {path} {flags}").trim())
    };
    add("/nowhere/kubeconfig", "").exits(2).says(&["/nowhere/kubeconfig does not exist"]);
    let path = kubeconfig(&fleet, TOKEN);
    add(&path, "--kube-context hone").exits(2).says(&["no context hone", "home, away"]);
    add(&path, "--kube-context away").exits(2).says(&["the user gone"]);
    add(&path, "--server http://a:8080").exits(2).says(&["plain http"]);
    for (user, words) in [
        ("{exec: {command: aws}}", "the program aws"),
        ("{token: ''}", "empty"),
        ("{}", "neither a token nor a client certificate"),
    ] {
        add(&kubeconfig(&fleet, user), "").exits(2).says(&[words]);
    }
    let not_yaml = fleet.write("kubeconfig", "users: [{token: a-secret");
    let ran = add(&not_yaml, "");
    ran.exits(2).says(&["is no kubeconfig"]);
    assert!(!ran.said().contains("a-secret"), "{}", ran.said());
    typed(&fleet, "cluster add prod --in-cluster").exits(2).says(&["does not run in a pod"]);

    // Readable by others: taken, with a warning.
    let path = kubeconfig(&fleet, TOKEN);
    mode(&fleet, 0o644);
    add(&path, "").exits(0).says(&["warning:", "chmod 600"]);
}
