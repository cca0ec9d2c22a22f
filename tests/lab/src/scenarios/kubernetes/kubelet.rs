//! The node with a real kubelet: Debian's containerd and CNI plugins, an image of a program that waits, and what a kubelet
//! wants of a machine that a container is not.
//!
//! Not as on a real node: no cgroup controllers (the machine's are bound to cgroup v1), so no limits, no QoS classes and
//! `disable_cgroup`; no session keyrings of containers; the native snapshotter, for overlayfs cannot lie on overlayfs;
//! one subnet written by hand in place of a network of the cluster; containerd is Debian's and apart, while K3s's is its
//! own child.

use anyhow::Result;

use crate::exec::Cmd;
use crate::{Lab, Node};

pub(super) const PACKAGES: [&str; 3] = ["containerd", "containernetworking-plugins", "runc"];
/// For the pods' own process and for that of their sandbox.
pub(super) const IMAGE: &str = "drydock.test/pause:1";

const CONTAINERD: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "drydock.test/pause:1"
  disable_cgroup = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      NoNewKeyring = true
"#;
const CNI: &str = r#"{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
"ranges": [[{"subnet": "10.42.5.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
"#;
/// Waits until it is told to end, and takes in whatever it is the parent of.
const PAUSE: &str = r"#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
static void reap(int signal) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
";
/// A docker archive of one layer with one file, in the directory $1.
const MAKE_IMAGE: &str = r#"set -e
cd "$1"
cc -static -O2 -s -o pause pause.c
tar --owner=0 --group=0 -cf layer.tar pause
layer=$(sha256sum layer.tar | cut -d' ' -f1)
printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" >config.json
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$2" >manifest.json
tar -cf pause.tar manifest.json config.json layer.tar
"#;
/// What a kubelet would set for the whole machine is shown to it as set: these files would be the host's own. And it
/// reads the kernel's log, which a container has not.
const SETTLE: &str = r#"set -e
mkdir -p /run/as-set
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    file=/run/as-set/$(basename "${setting%=*}")
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
ln -sf /dev/null /dev/kmsg
"#;

/// Makes the node fit for a kubelet.
pub(super) fn prepare(lab: &Lab, node: &Node) -> Result<()> {
    let place = lab.dir().join("pause");
    std::fs::create_dir_all(&place)?;
    std::fs::write(place.join("pause.c"), PAUSE)?;
    let directory = place.display().to_string();
    Cmd::new("making an image of a program that waits", "sh")
        .args(["-c", MAKE_IMAGE, "sh", &directory, IMAGE])
        .run()?;
    node.copy_in(&place.join("pause.tar"), "/root/pause.tar", 0o644)?;
    node.write_file("/etc/containerd/config.toml", CONTAINERD.as_bytes(), 0o644)?;
    node.write_file("/etc/cni/net.d/10-lab.conflist", CNI.as_bytes(), 0o644)?;
    node.run(&["sh", "-c", SETTLE])?;
    node.run(&["systemctl", "restart", "containerd.service"])?;
    node.run(&["ctr", "-n", "k8s.io", "images", "import", "/root/pause.tar"])?;
    Ok(())
}

/// The arguments of its `k3s agent`, each K3s's own.
pub(super) fn words() -> Vec<String> {
    let mut words =
        vec!["--container-runtime-endpoint".to_owned(), "unix:///run/containerd/containerd.sock".into()];
    for arg in [
        "feature-gates=KubeletInUserNamespace=true",
        "cgroup-driver=cgroupfs",
        "cgroups-per-qos=false",
        "enforce-node-allocatable=",
        "fail-swap-on=false",
        "eviction-hard=",
    ] {
        words.extend(["--kubelet-arg".to_owned(), arg.into()]);
    }
    words
}

/// The containers that run on the node, by containerd's own word.
pub(super) fn containers(node: &Node) -> Result<Vec<String>> {
    let tasks = node.run(&["ctr", "-n", "k8s.io", "tasks", "ls", "-q"])?;
    Ok(tasks.lines().map(str::to_owned).collect())
}
