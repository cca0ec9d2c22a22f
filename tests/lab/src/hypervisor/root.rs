//! The Debian root of hypervisors: libvirt, QEMU, Open vSwitch, OVN, and what guests boot from.

use std::path::PathBuf;

use crate::Result;
use crate::cache::Cache;
use crate::root;

/// Beside what every node has from debootstrap. `ovn-central` is started on one node only.
const PACKAGES: &str = "busybox-static ethtool iputils-ping libvirt-clients libvirt-daemon-system openvswitch-switch \
                        ovn-central ovn-host qemu-system-x86";
const INSTALL: &str = include_str!("../scripts/hypervisor/install.sh");
const FINISH: &str = include_str!("../scripts/hypervisor/finish-root.sh");

/// Where the root has the packages that the archive's higher versions are made from.
pub(super) const DEBS: &str = "usr/share/drydock-lab/debs";
/// Where a node has what guests boot from.
pub(super) const GUEST: &str = "/usr/share/drydock-lab/guest";

/// The root, built if it is not in the cache.
pub(super) fn get(cache: &Cache) -> Result<PathBuf> {
    root::made_by(cache, "hypervisor", PACKAGES, INSTALL, FINISH)
}
