//! A signed archive of packages with higher versions of what the nodes have, served in the lab's own network.

use std::path::PathBuf;
use std::time::Duration;

use super::root::DEBS;
use super::site::Hypervisors;
use crate::cache::Cache;
use crate::exec::{self, Cmd};
use crate::guard::ChildGuard;
use crate::node::Node;
use crate::{Error, Result, apt, net};

const MAKE: &str = include_str!("../scripts/hypervisor/archive.sh");
const PORT: u16 = 8085;
const MAKING: Duration = Duration::from_secs(600);
const FETCHING: Duration = Duration::from_secs(120);
const NEEDED: [(&str, &str); 2] = [("/usr/bin/gpg", "gpg"), ("/usr/bin/dpkg-deb", "dpkg")];

/// The archive at work; it is not served any more once this is dropped.
#[derive(Debug)]
pub struct Archive {
    place: PathBuf,
    _server: ChildGuard,
}

/// What a node finds in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// What Debian has and the nodes have, nothing else.
    Stock,
    /// That, and a higher version of each package.
    Newer,
    /// The higher versions, one of them built anew under the same version.
    Changed,
    /// A higher `openvswitch-switch` whose postinst fails.
    Broken,
    /// A higher `openvswitch-switch` that cannot be beside `ovn-host`.
    Removing,
    /// A higher `openvswitch-switch` whose `ovs-vswitchd` ends at once.
    Dead,
    /// A higher `openvswitch-switch` whose `ovs-vswitchd` serves, and gives no bridge an interface of its own.
    Mute,
}

impl Flavour {
    /// Its directory in the archive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Newer => "newer",
            Self::Changed => "changed",
            Self::Broken => "broken",
            Self::Removing => "removing",
            Self::Dead => "dead",
            Self::Mute => "mute",
        }
    }
}

/// Debian's version and the archive's higher one, as packages and as the programs say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Packages that go together.
    pub packages: &'static [&'static str],
    /// The packages' version that Debian's begins with.
    pub stock: &'static str,
    /// The packages' higher version, whole.
    pub newer: &'static str,
    /// What the higher programs say.
    pub said: &'static str,
}

/// Open vSwitch.
pub const OPENVSWITCH: Versions = Versions {
    packages: &["openvswitch-common", "openvswitch-switch", "python3-openvswitch"],
    stock: "3.1.0-",
    newer: "3.1.9-1",
    said: "3.1.9",
};

/// libvirt, whole.
pub const LIBVIRT: Versions = Versions {
    packages: &[
        "libvirt-clients",
        "libvirt-daemon",
        "libvirt-daemon-config-network",
        "libvirt-daemon-config-nwfilter",
        "libvirt-daemon-driver-qemu",
        "libvirt-daemon-system",
        "libvirt-daemon-system-systemd",
        "libvirt0",
    ],
    stock: "9.0.0-",
    newer: "9.0.9-1",
    said: "9.0.9",
};

/// OVN's controller; its databases' package wants the very same `ovn-common`.
pub const OVN_HOST: Versions = Versions {
    packages: &["ovn-central", "ovn-common", "ovn-host"],
    stock: "23.03.1-",
    newer: "23.03.9-1",
    said: "23.03.9",
};

impl Archive {
    /// Serves the archive to the lab's nodes; made if it is not in the cache.
    ///
    /// # Errors
    /// When it cannot be made or served.
    pub fn serve(site: &Hypervisors<'_>) -> Result<Self> {
        apt::ensure(&NEEDED)?;
        let root = site.root();
        let made_of = root.file_name().unwrap_or_default().to_string_lossy();
        let place = Cache::open()?.get("hypervisor-archive", &[&made_of, MAKE], |half| {
            Cmd::new("making an archive of higher versions", "sh")
                .args(["-c", MAKE, "sh"])
                .args([root.join(DEBS), half.to_owned()])
                .deadline(MAKING)
                .run()
                .map(|_| ())
        })?;
        // The nodes' own static busybox: nothing is installed on this machine for it.
        let mut command = exec::command(root.join("bin/busybox"));
        command
            .args(["httpd", "-f", "-p"])
            .arg(format!("{}:{PORT}", net::HOST_ADDRESS))
            .arg("-h")
            .arg(&place);
        let server = site.lab().spawn_in_netns("archive", &command)?;
        Ok(Self { place, _server: server })
    }

    /// Where a flavour lies, with its `InRelease`.
    #[must_use]
    pub fn flavour(&self, flavour: Flavour) -> PathBuf {
        self.place.join(flavour.name())
    }

    /// Makes a flavour the one source of packages of a node, and lets apt read it.
    ///
    /// # Errors
    /// When apt does not take it.
    pub fn offer(&self, node: &Node, flavour: Flavour) -> Result<()> {
        node.copy_in(&self.place.join("key.gpg"), "/etc/apt/keyrings/drydock-lab.gpg", 0o644)?;
        let line = format!(
            "deb [signed-by=/etc/apt/keyrings/drydock-lab.gpg] http://{}:{PORT}/{} ./\n",
            net::HOST_ADDRESS,
            flavour.name()
        );
        node.write_file("/etc/apt/sources.list", line.as_bytes(), 0o644)?;
        let output = node.exec_within(FETCHING, &["apt-get", "-q", "update"])?;
        exec::succeed(&node.purpose("reading the lab's archive"), "apt-get update", &output)?;
        // An unreachable or unsigned source is only a warning to apt.
        let said = output.error_text();
        if said.contains("W:") || said.contains("E:") {
            return Err(Error::Unfit(format!("apt on {} does not trust the archive: {said}", node.name())));
        }
        Ok(())
    }
}
