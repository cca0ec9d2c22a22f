//! The judgements: pure, each with the line that root would have to add.

use std::net::{IpAddr, SocketAddr};

use drydock_types::{AbsPath, ComponentName, PackageName, UnitName, Version};

use super::{BinaryRule, EtcdAccess, Policy, SigningKey, VersionCommand};
use crate::{
    actions::Problem,
    sys::{http::Endpoint, units::UnitInfo},
};

/// Units that no policy opens, with the reason.
const NEVER: [(&str, &str); 2] = [
    ("libvirt-guests.service", "stopping it shuts the guests down"),
    ("drydock-agent.service", "it is this agent: the section would end in its middle"),
];

impl Policy {
    /// Does what lies there unpack itself, so that what runs is never the file?
    #[must_use]
    pub fn unpacks_itself(&self, path: &AbsPath) -> bool {
        self.binaries.get(path).is_some_and(|rule| !rule.unpacks_under.is_empty())
    }

    /// A refusal that ends with the line to add.
    fn refuse(&self, what: String, line: &str) -> Problem {
        let file = if self.origin.as_os_str().is_empty() {
            super::DEFAULT_PATH.into()
        } else {
            self.origin.display().to_string()
        };
        Problem::new(what)
            .next(format!(
                "if it should be allowed: as root on this node (nobody else can) add to {file}: {line}"
            ))
            .next("systemctl restart drydock-agent")
    }

    /// May this binary be exchanged for one of that component, and under which rule?
    ///
    /// # Errors
    /// When it is not listed, or listed for another component.
    pub fn may_swap(&self, path: &AbsPath, component: &ComponentName) -> Result<&BinaryRule, Problem> {
        let Some(rule) = self.binaries.get(path) else {
            return Err(self.refuse(
                format!("{path} is not among the binaries that this node's policy lets be exchanged"),
                &format!("[binaries.\"{path}\"]"),
            ));
        };
        match &rule.component {
            Some(only) if only != component => Err(self.refuse(
                format!("this node's policy keeps {path} for {only}, and the section is for {component}"),
                &format!("[binaries.\"{path}\"] component = \"{component}\""),
            )),
            _ => Ok(rule),
        }
    }

    /// May a unit be asked for by this name? To be followed by [`Policy::may_touch_unit`] once it is loaded.
    ///
    /// # Errors
    /// When it is not listed.
    pub fn may_touch(&self, unit: &UnitName) -> Result<(), Problem> {
        never(unit.as_str())?;
        if self.lists(unit.as_str()) {
            return Ok(());
        }
        Err(self.unlisted(format!("{unit} is not among the units of this node's policy"), unit.as_str()))
    }

    /// May this unit be stopped, started or restarted, as systemd has it: by its own name (not an alias),
    /// and with everything that would stop along?
    ///
    /// # Errors
    /// When its `Id` or something that stops along is not listed, or any of its names is one that is never touched.
    pub fn may_touch_unit(&self, asked: &UnitName, unit: &UnitInfo) -> Result<(), Problem> {
        self.may_touch(asked)?;
        if unit.id != asked.as_str() && !unit.names.iter().any(|name| name == asked.as_str()) {
            return Err(Problem::new(format!("asked for {asked}, systemd answered with {}", unit.id)));
        }
        core::iter::once(&unit.id).chain(&unit.names).try_for_each(|name| never(name))?;
        if !self.lists(&unit.id) {
            let what = format!(
                "{asked} is another name of {}, which is not among the units of this node's policy",
                unit.id
            );
            return Err(self.unlisted(what, &unit.id));
        }
        match unit.stops_with.iter().find(|name| never(name).is_err() || !self.lists(name)) {
            None => Ok(()),
            Some(other) => {
                never(other)?;
                let what = format!(
                    "{} would take {other} down with it, which is not among the units of this node's policy",
                    unit.id
                );
                Err(self.unlisted(what, other))
            }
        }
    }

    /// May this unit be looked at? Looking at the agent itself does no harm.
    ///
    /// # Errors
    /// When it is not listed.
    pub fn may_watch(&self, unit: &UnitName) -> Result<(), Problem> {
        if self.lists(unit.as_str()) {
            return Ok(());
        }
        Err(self.unlisted(format!("{unit} is not among the units of this node's policy"), unit.as_str()))
    }

    /// May the agent have itself restarted? Its own unit has to be listed for that; by [`Policy::may_touch`] it
    /// is never touched all the same.
    ///
    /// # Errors
    /// When it is not listed.
    pub fn may_restart_agent(&self, unit: &UnitName) -> Result<(), Problem> {
        if self.lists(unit.as_str()) {
            return Ok(());
        }
        let what = format!("this node's policy does not let the agent upgrade itself ({unit} is not listed)");
        Err(self.refuse(what, "profiles = [\"drydock-agent\"]  (or to the list that is there)"))
    }

    /// May the node be started anew?
    ///
    /// # Errors
    /// When the policy does not say so.
    pub fn may_reboot(&self) -> Result<(), Problem> {
        if self.allow_reboot {
            return Ok(());
        }
        Err(self.refuse("this node's policy does not let it be started anew".into(), "allow_reboot = true"))
    }

    /// May this be watched from here? Without a port it is pinged.
    ///
    /// # Errors
    /// When it is not listed, or an address that means another machine to everybody.
    pub fn may_watch_target(&self, address: IpAddr, port: Option<u16>) -> Result<(), Problem> {
        let plain = address.to_canonical();
        let never = match plain {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if never || plain.is_loopback() || plain.is_multicast() || plain.is_unspecified() {
            return Err(Problem::new(format!(
                "{address} is not watched: loopback, link-local, multicast and unspecified addresses never are"
            ))
            .next("name an address by which other machines reach it"));
        }
        if self.watch_targets.iter().any(|pattern| pattern.covers(plain, port)) {
            return Ok(());
        }
        let target = match (port, plain) {
            (None, ip) => ip.to_string(),
            (Some(port), ip) => SocketAddr::new(ip, port).to_string(),
        };
        Err(self.refuse(
            format!("{target} is not among what this node's policy lets be watched from here"),
            &format!("watch_targets = [\"{target}\"]  (or to the list that is there)"),
        ))
    }

    /// Is it a unit that is worked on here?
    pub(crate) fn lists(&self, name: &str) -> bool {
        self.units.iter().any(|listed| listed.0 == name)
    }

    fn unlisted(&self, what: String, unit: &str) -> Problem {
        self.refuse(what, &format!("units = [\"{unit}\"]  (or to the list that is there)"))
    }

    /// May this package be added, changed or removed?
    ///
    /// # Errors
    /// When it is not listed.
    pub fn may_change_package(&self, package: &PackageName) -> Result<(), Problem> {
        if self.packages.iter().any(|pattern| pattern.covers(package)) {
            return Ok(());
        }
        Err(self.refuse(
            format!("{package} is not among the packages that this node's policy lets be changed"),
            &format!("packages = [\"{package}\"]  (or to the list that is there)"),
        ))
    }

    /// May this be asked over the network? Loopback always may.
    ///
    /// # Errors
    /// When it is neither loopback nor covered by a pattern.
    pub fn may_ask(&self, endpoint: &Endpoint) -> Result<(), Problem> {
        if endpoint.is_loopback() || self.probe_targets.iter().any(|pattern| pattern.covers(endpoint)) {
            return Ok(());
        }
        Err(self.refuse(
            format!("{endpoint} is not among the probe targets of this node's policy"),
            &format!("probe_targets = [\"{endpoint}\"]"),
        ))
    }

    /// What is run under this name to learn a version.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn version_command(&self, name: &str) -> Result<&VersionCommand, Problem> {
        self.version_commands.get(name).ok_or_else(|| {
            let known: Vec<_> = self.version_commands.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            // The name comes from the wire: it is shown escaped and cut.
            let shown: String = name.chars().take(60).collect();
            self.refuse(
                format!("this node's policy has no version command {shown:?} (it has: {known})"),
                "[version_commands.NAME] with path = \"/usr/bin/…\" and args = [\"--version\"]",
            )
        })
    }

    /// May this version of the component be put here at all?
    ///
    /// # Errors
    /// When it is below the floor, or cannot be compared with it.
    pub fn may_install(&self, component: &ComponentName, version: &Version) -> Result<(), Problem> {
        let Some(floor) = self.version_floor.get(component) else { return Ok(()) };
        let line = format!("[version_floor] {component} = \"{version}\" in place of \"{floor}\"");
        match version.compare(floor) {
            Some(order) if order.is_ge() => Ok(()),
            Some(_) => {
                Err(self.refuse(format!("{component} {version} is below this node's floor {floor}"), &line))
            }
            None => Err(self.refuse(
                format!("{component} {version} cannot be compared with this node's floor {floor}"),
                &line,
            )),
        }
    }

    /// The keys whose signature on an artifact of this component is believed.
    ///
    /// # Errors
    /// When there is none.
    pub fn signing_keys_for(&self, component: &ComponentName) -> Result<Vec<&SigningKey>, Problem> {
        let fits = |key: &&SigningKey| key.components.as_ref().is_none_or(|list| list.contains(component));
        let keys: Vec<_> = self.signing_keys.iter().filter(fits).collect();
        if keys.is_empty() {
            return Err(self.refuse(
                format!("this node's policy has no signing key for {component}"),
                "[[signing_keys]] with key = \"RW…\" (the second line of minisign.pub)",
            ));
        }
        Ok(keys)
    }

    /// The key that backups are encrypted to.
    ///
    /// # Errors
    /// When there is none: nothing leaves the node in clear.
    pub fn recipient(&self) -> Result<&str, Problem> {
        self.backup_recipient.as_deref().ok_or_else(|| {
            self.refuse(
                "this node's policy names no key to encrypt backups to".into(),
                "backup_recipient = \"age1…\" (age-keygen; keep the secret half off the nodes)",
            )
        })
    }

    /// How the local etcd member is reached.
    #[must_use]
    pub fn etcd(&self) -> EtcdAccess {
        self.etcd.clone().unwrap_or_default()
    }
}

fn never(unit: &str) -> Result<(), Problem> {
    match NEVER.iter().find(|(name, _)| *name == unit) {
        None => Ok(()),
        Some((name, why)) => Err(Problem::new(format!("{name} is never touched: {why}"))),
    }
}
