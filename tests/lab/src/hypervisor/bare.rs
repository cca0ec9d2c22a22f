//! The same upgrades by hand: what nobody can do better, and what goes wrong when it is done the obvious way.

use std::time::Duration;

use super::archive::{LIBVIRT, OPENVSWITCH, OVN_HOST, Versions};
use super::observe::{Facts, Pinger, Seen};
use super::site::Hypervisors;
use crate::node::Node;
use crate::wait::until;
use crate::{Error, Result, exec};

/// Packages with every service held still, and what was there of policy-rc.d put back.
const INSTALL: &str = r#"printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
code=0
DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-remove --allow-downgrades install "$@" || code=$?
rm -f /usr/sbin/policy-rc.d
exit "$code""#;
const INSTALLING: Duration = Duration::from_secs(180);
const AS_BEFORE: Duration = Duration::from_secs(30);

/// What is upgraded under running guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// libvirtd.
    Libvirt,
    /// ovs-vswitchd and its database.
    Openvswitch,
    /// ovn-controller.
    OvnController,
}

/// What an upgrade by hand costs.
#[derive(Debug, Clone)]
pub struct Cost {
    /// What the node's three targets had of it, through package, restart, and until all was as before.
    pub seen: Vec<Seen>,
    /// The node before.
    pub before: Facts,
    /// The node after.
    pub after: Facts,
}

impl Cost {
    /// The longest gap of all.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.seen.iter().map(|seen| seen.longest_gap).max().unwrap_or_default()
    }
}

impl Part {
    /// In the order in which a node is taken through them.
    pub const ALL: [Self; 3] = [Self::Libvirt, Self::Openvswitch, Self::OvnController];

    /// Its packages and versions.
    #[must_use]
    pub const fn versions(self) -> &'static Versions {
        match self {
            Self::Libvirt => &LIBVIRT,
            Self::Openvswitch => &OPENVSWITCH,
            Self::OvnController => &OVN_HOST,
        }
    }

    /// The unit, and what is done to it so that guests and flows stay.
    #[must_use]
    pub const fn by_hand(self) -> [&'static str; 3] {
        match self {
            Self::Libvirt => ["systemctl", "restart", "libvirtd.service"],
            Self::Openvswitch => ["systemctl", "reload", "openvswitch-switch.service"],
            Self::OvnController => ["systemctl", "restart", "ovn-controller.service"],
        }
    }

    /// What of a node's facts says which version runs.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Libvirt => "says libvirtd",
            Self::Openvswitch => "says ovs-vswitchd",
            Self::OvnController => "says ovn-controller",
        }
    }

    /// The program whose inode changes.
    #[must_use]
    pub const fn runs(self) -> &'static str {
        match self {
            Self::Libvirt => "running libvirtd",
            Self::Openvswitch => "running ovs-vswitchd",
            Self::OvnController => "running ovn-controller",
        }
    }

    /// Whether a fact may be another after an upgrade of this part. Everything else may not.
    #[must_use]
    pub fn may_change(self, of: &str) -> bool {
        let units: &[&str] = match self {
            Self::Libvirt => &["unit libvirtd.service"],
            // Debian's reload restarts both, and the database is a program of the same packages.
            Self::Openvswitch => {
                &["unit ovs-vswitchd.service", "unit ovsdb-server.service", "running ovsdb-server"]
            }
            Self::OvnController => &["unit ovn-controller.service"],
        };
        let package = of.strip_prefix("package ");
        of == self.says()
            || of == self.runs()
            || units.contains(&of)
            || package.is_some_and(|package| self.versions().packages.contains(&package))
    }

    /// The versions that a node has of its packages, as `NAME=VERSION`.
    ///
    /// # Errors
    /// When one is not installed.
    pub fn installed(self, facts: &Facts) -> Result<Vec<String>> {
        let one = |package: &&str| {
            let fact = facts.get(&format!("package {package}"))?;
            Ok(format!("{package}={}", fact.split(' ').next().unwrap_or_default()))
        };
        self.versions().packages.iter().map(one).collect()
    }

    /// The archive's higher versions, as `NAME=VERSION`.
    #[must_use]
    pub fn newer(self) -> Vec<String> {
        let versions = self.versions();
        versions.packages.iter().map(|package| format!("{package}={}", versions.newer)).collect()
    }

    /// Installs `packages` by hand and restarts, watched from outside.
    ///
    /// # Errors
    /// When a command fails, or something is another within 30 s after it that may not be.
    pub fn change(self, site: &Hypervisors<'_>, number: usize, packages: &[String]) -> Result<Cost> {
        let node = site.lab().node(number);
        let before = Facts::of(node)?;
        let pingers = Pinger::of_node(site, self.says().trim_start_matches("says "), number)?;
        install(node, packages)?;
        node.run(&self.by_hand())?;
        let mut differences = Vec::new();
        let after = until(
            &format!("everything on {} to be as before", node.name()),
            AS_BEFORE,
            Duration::from_millis(200),
            || {
                let after = Facts::of(node)?;
                differences = before.differences(&after, |of| self.may_change(of));
                Ok(differences.is_empty().then_some(after))
            },
            String::new,
        );
        let after = after.map_err(|error| Error::Unfit(format!("{error}{}", differences.join("\n"))))?;
        let seen = pingers.into_iter().map(Pinger::finish).collect::<Result<_>>()?;
        Ok(Cost { seen, before, after })
    }
}

/// Installs packages in a node with its services held still.
///
/// # Errors
/// When apt refuses or fails.
pub fn install(node: &Node, packages: &[String]) -> Result<()> {
    let mut words = vec!["sh", "-c", INSTALL, "sh"];
    words.extend(packages.iter().map(String::as_str));
    let output = node.exec_within(INSTALLING, &words)?;
    exec::succeed(&node.purpose("installing packages by hand"), "apt-get install", &output)
}
