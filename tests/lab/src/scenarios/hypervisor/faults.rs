//! Faults of a hypervisor as they are met in the field: each is really there, with no word of Drydock's, and is mended
//! as its line says.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::rest::until_true;
use super::site::Scene;
use crate::Node;
use crate::guard::ChildGuard;
use crate::hypervisor::bare::{self, Part};

const ENDING: Duration = Duration::from_secs(60);
/// Such as every fleet has one.
const UNIT: &str = r"cat >/run/systemd/system/backup-guests.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/false
UNIT
systemctl daemon-reload
! systemctl start backup-guests.service";
const UNIT_MENDED: &str = r"sed -i 's,/bin/false,/bin/true,' /run/systemd/system/backup-guests.service
systemctl daemon-reload
systemctl start backup-guests.service";
/// As kube-ovn's installer writes it.
const POD_NETWORK: &str = r#"mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/01-kube-ovn.conflist <<'CNI'
{"name":"kube-ovn","cniVersion":"0.3.1","plugins":[
  {"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock"},
  {"type":"portmap","capabilities":{"portMappings":true}}]}
CNI
touch /run/openvswitch/kube-ovn-daemon.sock
rm /run/openvswitch/kube-ovn-daemon.sock"#;
/// In place of kube-ovn's daemon.
const LISTEN: &str = r#"use IO::Socket::UNIX; $| = 1;
my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "/run/openvswitch/kube-ovn-daemon.sock", Listen => 5) or die $!;
print "listens\n"; while (my $c = $s->accept) { close $c }"#;
/// The database's server makes its socket anew, and goes on.
const DATABASE_MENDED: &str = r"remote=$(ovs-appctl -t ovsdb-server ovsdb-server/list-remotes | grep ^punix:)
ovs-appctl -t ovsdb-server ovsdb-server/remove-remote $remote
ovs-appctl -t ovsdb-server ovsdb-server/add-remote $remote
ovs-vsctl --timeout=5 list-br";
/// A package whose script waits for somebody, as one that asks a question in the night.
const WAITING_PACKAGE: &str = r#"work=$(mktemp -d)
mkdir "$work/DEBIAN"
printf 'Package: asks-in-the-night\nVersion: 1\nArchitecture: all\nMaintainer: the lab <lab@drydock.invalid>\nDescription: waits\n' \
    >"$work/DEBIAN/control"
printf '#!/bin/sh\nuntil [ -e /run/answer ]; do sleep 0.1; done\n' >"$work/DEBIAN/postinst"
chmod 755 "$work" "$work/DEBIAN/postinst"
dpkg-deb -b "$work" /var/tmp/asks-in-the-night.deb
rm -r "$work""#;
const FULL: &str = r"mount -t tmpfs -o size=64m none /var/log
fallocate -l 63m /var/log/guest.log
df -h /var/log";

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A daemon of another version than on all other nodes.
    Version,
    /// libvirt's libraries were replaced under the daemons that use them.
    Libraries,
    /// A unit that failed.
    Unit,
    /// The socket of the pod network's daemon is missing.
    PodNetwork,
    /// The socket of Open vSwitch's database was removed.
    Database,
    /// A package manager waits in the middle of its work.
    Packages,
    /// Nothing can be written to /var/log any more.
    Disk,
}

/// A fault that is there.
pub(super) struct Planted {
    pub(super) fault: Fault,
    /// When it was not there yet, and when it was.
    pub(super) between: (Instant, Instant),
    /// The process that is the fault.
    process: Option<ChildGuard>,
}

impl Fault {
    /// In the order in which they can be there together.
    pub(super) const ALL: &[Self] = &[
        Self::Version,
        Self::Libraries,
        Self::Unit,
        Self::PodNetwork,
        Self::Database,
        Self::Packages,
        Self::Disk,
    ];

    /// Is a line about it?
    pub(super) fn is_named_by(self, what: &str) -> bool {
        let words: &[&str] = match self {
            Self::Version => &["ovn-controller 23.03.9 runs here", "23.03.1", "2 of 2 other nodes"],
            Self::Libraries => &["not installed any more", "libvirtd.service", "libvirt"],
            Self::Unit => &["backup-guests.service has failed"],
            Self::PodNetwork => &["/run/openvswitch/kube-ovn-daemon.sock is missing", "01-kube-ovn.conflist"],
            Self::Database => &["/run/openvswitch/db.sock is missing", "ovsdb-server (pid "],
            Self::Packages => &["a package manager is at work", "apt-get (pid ", "/var/lib/dpkg/lock"],
            Self::Disk => &["/var/log has ", "MiB free of 64 MiB"],
        };
        words.iter().all(|word| what.contains(word))
    }

    /// Does it stop a change, or is it to be known?
    pub(super) const fn weight(self) -> &'static str {
        match self {
            Self::Version | Self::Libraries | Self::Unit => "warns",
            Self::PodNetwork | Self::Database | Self::Packages | Self::Disk => "stops",
        }
    }

    /// A word of what to do.
    pub(super) const fn next(self) -> &'static str {
        match self {
            Self::Version => "drydock node list --versions",
            Self::Libraries => "restart those units",
            Self::Unit => "journalctl -u backup-guests.service",
            Self::PodNetwork => "DaemonSet",
            Self::Database => "ovsdb-server/remove-remote",
            Self::Packages => "let it end",
            Self::Disk => "du -xh /var/log",
        }
    }

    /// Nothing tells since when a file system has been full.
    pub(super) const fn has_age(self) -> bool {
        !matches!(self, Self::Disk)
    }

    pub(super) fn plant(self, scene: &Scene<'_>, node: &Node) -> Result<Planted> {
        let before = Instant::now();
        let process = self.put(scene, node)?;
        Ok(Planted { fault: self, between: (before, Instant::now()), process })
    }

    fn put(self, scene: &Scene<'_>, node: &Node) -> Result<Option<ChildGuard>> {
        let sh = |script: &str| node.run(&["sh", "-ec", script]);
        match self {
            Self::Version => {
                bare::install(node, &Part::OvnController.newer())?;
                node.run(&Part::OvnController.by_hand())?;
            }
            Self::Libraries => {
                let libraries = format!("libvirt0={}", scene.stock_version(Part::Libvirt)?);
                bare::install(node, &["--reinstall".to_owned(), libraries])?;
            }
            Self::Unit => drop(sh(UNIT)?),
            Self::PodNetwork => drop(sh(POD_NETWORK)?),
            Self::Database => drop(node.run(&["rm", "/run/openvswitch/db.sock"])?),
            Self::Packages => {
                sh(WAITING_PACKAGE)?;
                let words = ["apt-get", "-y", "-q", "install", "/var/tmp/asks-in-the-night.deb"];
                let mut guard = node.spawn("apt-get", &words)?;
                until_true("the package's script to wait", || {
                    ensure!(guard.is_running(), "apt-get has ended: {}", guard.printed()?);
                    Ok(guard.printed()?.contains("Setting up asks-in-the-night"))
                })?;
                return Ok(Some(guard));
            }
            Self::Disk => println!("{}", sh(FULL)?),
        }
        Ok(None)
    }
}

impl Planted {
    /// Mends it; what is returned must live on for that.
    pub(super) fn mend(self, scene: &Scene<'_>, node: &Node) -> Result<Option<ChildGuard>> {
        let sh = |script: &str| node.run(&["sh", "-ec", script]);
        match self.fault {
            Fault::Version => {
                bare::install(node, &Part::OvnController.installed(&scene.stock[1])?)?;
                node.run(&Part::OvnController.by_hand())?;
            }
            // virtlogd holds the guests' consoles: its reload runs it anew with them.
            Fault::Libraries => {
                sh("systemctl restart libvirtd.service; systemctl reload virtlogd.service")?;
            }
            Fault::Unit => drop(sh(UNIT_MENDED)?),
            Fault::PodNetwork => {
                let listener = node.spawn("kube-ovn-daemon", &["perl", "-e", LISTEN])?;
                until_true("somebody to listen", || Ok(listener.printed()?.contains("listens")))?;
                return Ok(Some(listener));
            }
            Fault::Database => drop(sh(DATABASE_MENDED)?),
            Fault::Packages => {
                node.run(&["touch", "/run/answer"])?;
                let mut process = self.process.context("apt-get was not kept")?;
                let ended = process.wait(ENDING)?;
                ensure!(ended.success(), "apt-get: {ended}, {}", process.printed()?);
            }
            Fault::Disk => drop(node.run(&["umount", "/var/log"])?),
        }
        Ok(None)
    }
}
