//! Checks of a Kubernetes cluster in plans: what they say, and what cannot be meant.

use drydock_core::recipe::{Already, Check, KubeletVersion, Scalar};
use drydock_types::Millis;

use crate::desk::{Desk, edit, said, same};

/// The good plan with these checks before its waves.
fn in_stage(lines: &str) -> String {
    edit("      waves:\n", &format!("{lines}      waves:\n"))
}

fn condition(keys: &str) -> String {
    said(in_stage(&format!("      gate: [{{kubernetesCondition: {{{keys}}}}}]\n")))
}

#[test]
fn checks_of_a_stage_stand_beside_its_recipes_own() {
    let lines = r#"      gate:
        - kubernetesCluster
        - kubernetesCluster: {alreadyFailing: refuse, ignoreNamespaces: [dev]}
        - kubernetesCondition: {group: ceph.rook.io, version: v1, kind: CephCluster, namespace: rook-ceph, name: rook-ceph, jsonPath: $.status.ceph.health, equals: HEALTH_OK}
        - kubernetesCondition: {group: longhorn.io, version: v1beta2, kind: Volume, selector: "", jsonPath: "$.status.robustness", oneOf: [healthy, unknown]}
        - kubernetesCondition: {version: v1, kind: Node, selector: "role=db", condition: {type: Ready}}
      returned:
        - kubernetesNode: {kubelet: target}
        - nodeCanary: {image: "busybox:1.37", resolve: kubernetes.default.svc.cluster.local, within: 90s}
        - health: {probe: {tcp: {address: "10.0.0.40:5432"}}, from: coordinator}
"#;
    let (bundle, _) = Desk::new().compile(in_stage(lines)).unwrap();
    let spec = &bundle.stages[0].recipe.spec;
    let names: Vec<&str> = spec.gate.iter().map(Check::name).collect();
    assert!(names.starts_with(&["etcdQuorum"]), "{names:?}");
    let ours = [
        "kubernetesCluster",
        "kubernetesCluster",
        "kubernetesCondition",
        "kubernetesCondition",
        "kubernetesCondition",
    ];
    assert!(names.ends_with(&ours), "{names:?}");
    let of = |back: usize| &spec.gate[spec.gate.len() - back];
    assert!(matches!(of(5), Check::KubernetesCluster(check) if check.already_failing == Already::Record));
    assert!(matches!(of(4), Check::KubernetesCluster(check) if check.already_failing == Already::Refuse));
    let Check::KubernetesCondition(ceph) = of(3) else { panic!() };
    assert_eq!(ceph.equals, Some(Scalar::Text("HEALTH_OK".to_owned())));
    let Check::KubernetesCondition(nodes) = of(1) else { panic!() };
    assert_eq!(nodes.condition.as_ref().unwrap().status, "True", "when nothing is said");
    let [.., Check::KubernetesNode(node), Check::NodeCanary(canary), Check::Health(_)] = &*spec.returned
    else {
        panic!("{:?}", spec.returned)
    };
    assert_eq!((node.kubelet, canary.within), (Some(KubeletVersion::Target), Millis::secs(90)));
}

#[test]
fn a_json_path_that_does_not_parse_is_refused_with_its_place() {
    same(
        &condition("version: v1, kind: Node, name: a, jsonPath: \"$.status[\", equals: 1"),
        r#"
error: etcd.yaml:11:14: "$.status[" is no JSONPath: it cannot be read from character 9 on: [
   |
11 |       gate: [{kubernetesCondition: {version: v1, kind: Node, name: a, jsonPath: "$.status[", equals: 1}}]
   |              ^ as RFC 9535 has it: $.status.ceph.health
"#,
    );
    let kubectls = condition("version: v1, kind: Node, name: a, jsonPath: .status.phase, equals: Ready");
    assert!(kubectls.contains("it begins with $") && kubectls.contains("$.status.phase"), "{kubectls}");
}

#[test]
fn a_condition_that_asks_for_nothing_or_for_two_things_is_refused() {
    for (keys, says) in [
        ("version: v1, kind: Node, condition: {type: Ready}", "names no object"),
        (
            "version: v1, kind: Node, name: a, selector: b, condition: {type: Ready}",
            "has a name and a selector",
        ),
        ("version: v1, kind: Node, name: a", "asks for nothing"),
        ("version: v1, kind: Node, name: a, jsonPath: $.a", "does not say what the value must be"),
        (
            "version: v1, kind: Node, name: a, condition: {type: Ready}, equals: 1",
            "has a condition and a value",
        ),
        (
            "version: v1, kind: Node, name: a, condition: {type: Ready}, jsonPath: $.a, equals: 1",
            "has a condition and a jsonPath",
        ),
        ("version: v1, kind: \"no/de\", name: a, condition: {type: Ready}", "names no kind"),
        ("version: v1, kind: Secret, name: a, jsonPath: $.data.key, equals: x", "reads no Secrets"),
        ("version: v1, kind: Node, name: a, jsonPath: $.a, equals: [1]", "equals"),
        ("version: v1, kind: Node, name: a, jsonpath: $.a, equals: 1", "jsonPath"),
    ] {
        let said = condition(keys);
        assert!(said.contains(says), "{keys}: {said}");
    }
}

#[test]
fn a_canary_has_an_image_one_thing_to_do_and_a_time_that_can_be_met() {
    for (keys, says) in [
        ("image: \"\"", "has no image"),
        ("image: a, command: [sh], resolve: b", "has a command and a name to resolve"),
        ("image: a, within: 2s", "between 10s and 10m"),
        ("within: 30s", "image"),
    ] {
        let said = said(in_stage(&format!("      returned: [{{nodeCanary: {{{keys}}}}}]\n")));
        assert!(said.contains(says), "{keys}: {said}");
    }
}
