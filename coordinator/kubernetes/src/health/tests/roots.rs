//! Causes read out of texts that are word for word as their programs write them.

use crate::health::{
    root::{innermost, of_image, of_sandbox, of_scheduling},
    when::age,
};

#[test]
fn the_innermost_cause_of_a_missing_sandbox_is_named() {
    let sandbox = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"5d0e8c1f8f2c\": ";
    for (said, what) in [
        (
            "plugin type=\"flannel\" failed (add): loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory",
            "/run/flannel/subnet.env is not there",
        ),
        (
            "plugin type=\"cilium-cni\" failed (add): unable to connect to Cilium agent: failed to create cilium agent client after 30.000000 seconds timeout: Get \"http://localhost/v1/config\": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory\nIs the agent running?",
            "/var/run/cilium/cilium.sock is not there",
        ),
        (
            "plugin type=\"calico\" failed (add): stat /var/lib/calico/nodename: no such file or directory: check that the calico/node container is running and has mounted /var/lib/calico/",
            "/var/lib/calico/nodename is not there",
        ),
        (
            "plugin type=\"kube-ovn\" failed (add): RPC failed; request ip return 500 Post \"http://dummy/api/v1/add\": dial unix /run/openvswitch/kube-ovn-daemon.sock: connect: connection refused",
            "/run/openvswitch/kube-ovn-daemon.sock is there, and nobody listens there",
        ),
        (
            "failed to find plugin \"flannel\" in path [/opt/cni/bin]",
            "the network plugin flannel is not in /opt/cni/bin",
        ),
        (
            "plugin type=\"flannel\" failed (add): failed to delegate add: failed to allocate for range 0: no IP addresses available in range set: 10.42.1.1-10.42.1.254",
            "no address is left in 10.42.1.1-10.42.1.254",
        ),
        (
            "plugin type=\"calico\" failed (add): error getting ClusterInformation: Get \"https://10.43.0.1:443/apis/crd.projectcalico.org/v1/clusterinformations/default\": dial tcp 10.0.0.12:41000->10.43.0.1:443: i/o timeout",
            "10.43.0.1:443: nobody answers in time",
        ),
        ("cni plugin not initialized", "the container runtime has no network plugin yet"),
    ] {
        let root = of_sandbox(&format!("{sandbox}{said}"), "k3s-2");
        assert_eq!(root.what, what);
        assert!(!root.next.is_empty() && !root.next.contains("5d0e8c1f8f2c"), "{root:?}");
    }
    let pods =
        of_sandbox("open /run/openvswitch/kube-ovn-daemon.sock: no such file or directory", "k3s-2").next;
    assert!(
        pods.contains("kubectl get pods -A -l app=kube-ovn-cni --field-selector spec.nodeName=k3s-2"),
        "{pods}"
    );
}

#[test]
fn an_unknown_cause_is_its_innermost_part_without_what_differs_from_pod_to_pod() {
    let said = |id: &str| {
        format!(
            "rpc error: code = Unknown desc = failed to reserve sandbox name \"cart_shop_{id}_0\": name \"x\" is reserved for {id}"
        )
    };
    let one = innermost(&said("5d0e8c1f8f2c4a7b5d0e8c1f8f2c4a7b"));
    assert_eq!(one, "failed to reserve sandbox name \"cart_shop_…_0\": name \"x\" is reserved for …");
    assert_eq!(innermost("a: open /b: permission denied"), "open /b: permission denied");
    assert!(innermost(&"x".repeat(5000)).chars().count() <= 201);
    assert_eq!(innermost(""), "");
    assert!(!innermost("a\u{1b}[31mb").contains('\u{1b}'));
}

#[test]
fn what_is_the_registrys_matter_is_the_same_for_all_its_images() {
    for (image, said, what) in [
        (
            "nginx:1.27",
            "dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host",
            "the registry docker.io has no address (DNS)",
        ),
        (
            "10.9.9.9:5000/a/b:1",
            "failed to do request: Head \"https://10.9.9.9:5000/v2/a/b/manifests/1\": dial tcp 10.9.9.9:5000: connect: connection refused",
            "the registry 10.9.9.9:5000 refuses connections",
        ),
        (
            "nginx",
            "429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit",
            "the registry docker.io allows no more pulls for now",
        ),
        (
            "ghcr.io/a/b:1",
            "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
            "the registry ghcr.io does not give ghcr.io/a/b:1 to whoever asks so",
        ),
        (
            "r.example/a:1",
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "the nodes do not take the certificate of the registry r.example",
        ),
        (
            "a:1",
            "no match for platform in manifest: not found",
            "a:1 has nothing for the node's architecture",
        ),
        (
            "a:1",
            "write /var/lib/rancher/k3s/agent/containerd/tmp: no space left on device",
            "no space is left on k3s-2",
        ),
        (
            "A:B:C",
            "Failed to apply default image tag \"A:B:C\": couldn't parse image name \"A:B:C\": invalid reference format",
            "A:B:C is no image's name",
        ),
        ("a:1", "Back-off pulling image \"a:1\"", "a:1 cannot be pulled"),
    ] {
        assert_eq!(of_image(said, image, "k3s-2").what, what, "{said}");
    }
}

#[test]
fn a_scheduler_is_quoted_without_what_it_says_of_preemption() {
    let root = of_scheduling(
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
    );
    assert_eq!(root.what, "0/3 nodes are available: 3 Insufficient cpu");
    assert!(root.next.contains("too small"), "{}", root.next);
}

#[test]
fn ages_are_told_as_people_do() {
    let told = [0, 119, 120, 7199, 7200, 172_799, 172_800, 41 * 86_400, -5].map(age);
    assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "41 d", "0 s"]);
}
