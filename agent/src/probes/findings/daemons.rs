//! Sockets of a hypervisor's daemons: where one runs, its tools and its peers find it only by them, and a daemon does not
//! notice that its socket was removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    actions::Problem,
    sys::bounded::{self, Kind},
};

/// A daemon as distributions install it. One in a container has a PID file of its own, and is not judged by these.
struct Daemon {
    /// As the kernel has its name.
    name: &'static str,
    pid_file: &'static str,
    /// `{pid}` is filled in.
    sockets: &'static [&'static str],
    next: &'static str,
}

const CONTROLS: &str = "only a restart of this daemon makes it anew: by a plan, so that flows are kept";
const DAEMONS: [Daemon; 5] = [
    Daemon {
        name: "ovsdb-server",
        pid_file: "run/openvswitch/ovsdb-server.pid",
        sockets: &["/run/openvswitch/db.sock"],
        next: "without a restart: ovs-appctl -t ovsdb-server ovsdb-server/remove-remote punix:/var/run/openvswitch/db.sock; \
               the same with add-remote; ovsdb-server/list-remotes shows how it is named here",
    },
    Daemon {
        name: "ovs-vswitchd",
        pid_file: "run/openvswitch/ovs-vswitchd.pid",
        sockets: &["/run/openvswitch/ovs-vswitchd.{pid}.ctl"],
        next: CONTROLS,
    },
    Daemon {
        name: "ovn-controller",
        pid_file: "run/ovn/ovn-controller.pid",
        sockets: &["/run/ovn/ovn-controller.{pid}.ctl"],
        next: CONTROLS,
    },
    Daemon {
        name: "libvirtd",
        pid_file: "run/libvirtd.pid",
        sockets: &["/run/libvirt/libvirt-sock"],
        next: "guests go on: systemctl stop libvirtd.service; systemctl restart libvirtd.socket; systemctl start libvirtd.service",
    },
    Daemon {
        name: "virtqemud",
        pid_file: "run/virtqemud.pid",
        sockets: &["/run/libvirt/virtqemud-sock"],
        next: "guests go on: systemctl stop virtqemud.service; systemctl restart virtqemud.socket",
    },
];

/// A socket that a daemon which runs here must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfDaemon {
    pub(super) path: PathBuf,
    /// `ovsdb-server (pid 812)`
    pub(super) daemon: String,
    pub(super) next: &'static str,
}

/// Those of the daemons that run.
pub(super) fn sockets(root: &Path) -> Result<Vec<OfDaemon>, Problem> {
    let mut found = Vec::new();
    for daemon in &DAEMONS {
        let Some(pid) = running(daemon, root)? else { continue };
        found.extend(daemon.sockets.iter().map(|path| OfDaemon {
            path: path.replace("{pid}", &pid.to_string()).into(),
            daemon: format!("{} (pid {pid})", daemon.name),
            next: daemon.next,
        }));
    }
    Ok(found)
}

/// Whoever wrote the file may be gone, and somebody else have its number.
fn running(daemon: &Daemon, root: &Path) -> Result<Option<u32>, Problem> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(Problem::new(format!("/{}: {error}", daemon.pid_file))),
    };
    let text = match bounded::text(&root.join(daemon.pid_file), Kind::Name) {
        Ok(text) => text,
        Err(error) => return gone(error),
    };
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(None) };
    let name = fs::read_to_string(root.join(format!("proc/{pid}/comm"))).unwrap_or_default();
    Ok((name.trim() == daemon.name).then_some(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_runs_must_have_its_socket_and_what_others_left_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sockets(dir.path()).unwrap(), [], "no hypervisor");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("run/openvswitch/ovsdb-server.pid", "812\n");
        put("run/openvswitch/ovs-vswitchd.pid", "813\n");
        put("run/ovn/ovn-controller.pid", "814\n");
        put("run/libvirtd.pid", "no number\n");
        put("proc/812/comm", "ovsdb-server\n");
        put("proc/813/comm", "ovs-vswitchd\n");
        // Its number is somebody else's by now.
        put("proc/814/comm", "bash\n");
        let found = sockets(dir.path()).unwrap();
        let told: Vec<_> =
            found.iter().map(|one| (one.path.to_str().unwrap(), one.daemon.as_str())).collect();
        assert_eq!(
            told,
            [
                ("/run/openvswitch/db.sock", "ovsdb-server (pid 812)"),
                ("/run/openvswitch/ovs-vswitchd.813.ctl", "ovs-vswitchd (pid 813)"),
            ]
        );
    }
}
