//! What this node allows, whatever the coordinator asks: `/etc/drydock/agent.toml`.
//!
//! The file is root's and nothing on the wire can write it, so a compromised coordinator gets no further
//! than what stands here. Nothing is allowed that is not listed. The judgements are pure functions in
//! `judge`; they answer with the very line that root would have to add.

mod judge;
mod packages;
mod target;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use drydock_types::{AbsPath, ComponentName, Sha256, UnitName, Version};
use serde::Deserialize;

pub use self::{packages::PackagePattern, target::TargetPattern, watched::WatchPattern};
use crate::sys::{process, units::supervisor};

/// Where the policy lies unless settings say otherwise.
pub const DEFAULT_PATH: &str = "/etc/drydock/agent.toml";

/// The largest policy file that is read, in bytes.
const MAX_BYTES: u64 = 256 << 10;

/// The presets that the package ships: name, text.
const PROFILES: [(&str, &str); 6] = [
    ("drydock-agent", include_str!("../profiles/drydock-agent.toml")),
    ("etcd", include_str!("../profiles/etcd.toml")),
    ("k3s", include_str!("../profiles/k3s.toml")),
    ("libvirt", include_str!("../profiles/libvirt.toml")),
    ("openvswitch", include_str!("../profiles/openvswitch.toml")),
    ("ovn", include_str!("../profiles/ovn.toml")),
];

/// What this node allows. The default allows nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The file that this was read from; named in refusals.
    #[serde(skip)]
    pub origin: PathBuf,
    /// The digest of the file's text.
    #[serde(skip)]
    pub digest: Option<Sha256>,
    /// Presets that are merged in: `etcd`, `k3s`. What the file itself says wins.
    pub profiles: Vec<String>,
    /// Units that may be started, stopped and restarted, and units of any type that may stop along with one.
    pub units: BTreeSet<ListedUnit>,
    /// Binaries, and archives that a service takes in, that may be exchanged.
    pub binaries: BTreeMap<AbsPath, BinaryRule>,
    /// Packages of the distribution that may be changed: `openvswitch-switch`, `libvirt*`.
    pub packages: Vec<PackagePattern>,
    /// Keys whose signature on an artifact is believed.
    pub signing_keys: Vec<SigningKey>,
    /// Versions below these are refused, also with a permit to go down.
    pub version_floor: BTreeMap<ComponentName, Version>,
    /// The `age1…` key that backups are encrypted to. Its other half never comes near this node.
    pub backup_recipient: Option<String>,
    /// What may be run to learn a version.
    pub version_commands: BTreeMap<String, VersionCommand>,
    /// What may be asked over the network, as `host:port`; loopback need not be listed.
    pub probe_targets: Vec<TargetPattern>,
    /// What may be watched from here while another node is changed, as addresses and nets; nothing else is.
    pub watch_targets: Vec<WatchPattern>,
    /// What is expected of this node: see `drydock check node`.
    pub expect: Expect,
    /// May this node be started anew?
    pub allow_reboot: bool,
    /// How the local etcd member is reached; over plain HTTP on loopback where neither file nor preset says it.
    pub etcd: Option<EtcdAccess>,
    /// Services that the agent itself runs. For the demo, where there is no systemd.
    pub supervisor: Option<supervisor::Config>,
}

/// What a node has to have to be well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Sockets on which somebody has to listen, such as `/run/openvswitch/db.sock`.
    pub sockets: BTreeSet<AbsPath>,
}

/// A unit's name of any type, in systemd's alphabet: `etcd.service`, `docker.socket`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ListedUnit(String);

impl TryFrom<String> for ListedUnit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const TYPES: [&str; 9] =
            ["service", "socket", "target", "mount", "automount", "timer", "path", "slice", "scope"];
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@' | '\\');
        let known = text.rsplit_once('.').is_some_and(|(stem, kind)| {
            !stem.is_empty() && !stem.ends_with('@') && !stem.starts_with('-') && TYPES.contains(&kind)
        });
        if known && text.len() <= 255 && text.chars().all(fine) {
            return Ok(Self(text));
        }
        Err(format!(
            "{:?} is not a unit: write its full name, such as \"etcd.service\" (a template with its instance; no patterns)",
            text.chars().take(80).collect::<String>()
        ))
    }
}

/// What is allowed of one binary beyond exchanging it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BinaryRule {
    /// Only artifacts signed for this component may lie there; any listed key's when left out.
    pub component: Option<ComponentName>,
    /// Exchange it although a package owns it. The package manager will put its own back one day.
    pub allow_package_owned: bool,
    /// Exchange it although it is setuid or setgid.
    pub allow_setuid: bool,
    /// Exchange it although it has other names (hard links), which keep the old content.
    pub allow_hard_links: bool,
    /// Directories under which it unpacks what it then runs, each in one named by its archive's digest: K3s's `data`.
    pub unpacks_under: Vec<AbsPath>,
}

/// A minisign public key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// Base64, the second line of `minisign.pub`: `RWQ…`.
    pub key: String,
    /// Believed for these components only; for all when left out.
    pub components: Option<Vec<ComponentName>>,
}

/// What is run to learn a version. The coordinator names it and cannot say what it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCommand {
    /// The program.
    pub path: AbsPath,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The unit that runs this program: the answer is believed only while its main process runs this very file.
    pub unit: Option<UnitName>,
    /// Run it although it cannot be cut off from the network (an agent that is not root cannot do that).
    #[serde(default)]
    pub allow_network: bool,
}

/// How the local etcd member is reached. Files are read at each connection, so that they may be rotated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdAccess {
    /// The local member's client URL.
    pub endpoint: String,
    /// Client URLs of other members, asked when the local one is down.
    pub peers: Vec<String>,
    /// PEM file of the CA that signed the members' certificates; for `https`.
    pub ca_file: Option<AbsPath>,
    /// PEM file of this node's client certificate.
    pub cert_file: Option<AbsPath>,
    /// PEM file of its key.
    pub key_file: Option<AbsPath>,
}

impl Default for EtcdAccess {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:2379".into(),
            peers: Vec::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// Why a policy is not obeyed. The agent does not start without one.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("policy {path}: {source}; create it as root (a minimal one: profiles = [\"etcd\"])")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("policy {path} is not obeyed: {why}; as root: chown {owner} {path} && chmod 644 {path}")]
    Untrusted {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Whose it must be.
        owner: u32,
    },
    /// It is not a policy.
    #[error("policy {path}: {why}")]
    Form {
        /// Which file, or which preset.
        path: PathBuf,
        /// What the reader said, with line and what is allowed there.
        why: String,
    },
}

impl Policy {
    /// Reads, checks and completes the file with its presets.
    ///
    /// # Errors
    /// When it is missing, not root's own (or the agent's own, where that is not root), writable by others,
    /// or not a policy; the text names line and remedy.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let read = |source| PolicyError::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(read)?;
        let meta = file.metadata().map_err(read)?;
        let me = nix::unistd::geteuid().as_raw();
        trusted(&meta, me).map_err(|why| PolicyError::Untrusted { path: path.into(), why, owner: me })?;
        let mut text = String::new();
        file.by_ref().take(MAX_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_BYTES {
            let why = format!("it is over {MAX_BYTES} bytes");
            return Err(PolicyError::Form { path: path.into(), why });
        }
        let policy = Self::parse(&text, path)?;
        policy.supervisor_fits(me == 0, process::systemd_is_here())?;
        Ok(policy)
    }

    /// The policy that a text says; `origin` is named in errors and refusals.
    ///
    /// # Errors
    /// When it is not a policy.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, PolicyError> {
        let mut policy = Self::read(text, origin)?;
        for name in policy.profiles.clone() {
            let known = PROFILES.iter().find(|(known, _)| *known == name);
            let Some((_, preset)) = known else {
                let all: Vec<_> = PROFILES.iter().map(|(name, _)| *name).collect();
                return Err(
                    policy.form(format!("there is no profile {name:?}; there are: {}", all.join(", ")))
                );
            };
            policy.absorb(Self::read(preset, Path::new(&format!("profile {name}")))?);
        }
        policy.validate()?;
        Ok(policy)
    }

    fn read(text: &str, origin: &Path) -> Result<Self, PolicyError> {
        let form = |error: toml::de::Error| PolicyError::Form { path: origin.into(), why: error.to_string() };
        let mut policy: Self = toml::from_str(text).map_err(form)?;
        (policy.origin, policy.digest) = (origin.into(), Some(Sha256::of(text.as_bytes())));
        Ok(policy)
    }

    /// Takes over what a preset allows and the file does not mention.
    fn absorb(&mut self, preset: Self) {
        self.units.extend(preset.units);
        for (path, rule) in preset.binaries {
            let unpacks = rule.unpacks_under.clone();
            let own = self.binaries.entry(path).or_insert(rule);
            // Where it unpacks itself is a fact about it, not a permission that the file takes back.
            if own.unpacks_under.is_empty() {
                own.unpacks_under = unpacks;
            }
        }
        for (name, command) in preset.version_commands {
            self.version_commands.entry(name).or_insert(command);
        }
        self.probe_targets.extend(preset.probe_targets);
        self.packages.extend(preset.packages);
        self.watch_targets.extend(preset.watch_targets);
        self.expect.sockets.extend(preset.expect.sockets);
        self.etcd = self.etcd.take().or(preset.etcd);
    }

    fn form(&self, why: String) -> PolicyError {
        PolicyError::Form { path: self.origin.clone(), why }
    }

    /// What the types of the fields do not say.
    fn validate(&self) -> Result<(), PolicyError> {
        for key in &self.signing_keys {
            minisign_verify::PublicKey::from_base64(&key.key).map_err(|error| {
                let shown: String = key.key.chars().take(60).collect();
                self.form(format!(
                    "signing_keys: {shown:?} is not a minisign public key ({error}); take the second line of minisign.pub, RW…"
                ))
            })?;
        }
        if let Some(recipient) = &self.backup_recipient {
            // A secret key pasted by mistake must not reach a log: the value is not repeated.
            age::x25519::Recipient::from_str(recipient).map_err(|_| {
                self.form(
                    "backup_recipient: it must be a public age key, age1… (age-keygen -y KEYFILE)".into(),
                )
            })?;
        }
        let etcd = self.etcd();
        for url in core::iter::once(&etcd.endpoint).chain(&etcd.peers) {
            self.etcd_url(url, &etcd)?;
        }
        if etcd.cert_file.is_some() != etcd.key_file.is_some() {
            return Err(self.form("etcd: cert_file and key_file go together; give both or neither".into()));
        }
        let hidden = |text: &String| text.contains('\0');
        match self.version_commands.iter().find(|(_, command)| command.args.iter().any(hidden)) {
            Some((name, _)) => Err(self.form(format!("version_commands.{name}: an argument holds a NUL"))),
            None => Ok(()),
        }
    }

    fn etcd_url(&self, url: &str, etcd: &EtcdAccess) -> Result<(), PolicyError> {
        let uri = url.parse::<http::Uri>().ok();
        let scheme = uri.as_ref().filter(|uri| uri.host().is_some()).and_then(http::Uri::scheme_str);
        match scheme {
            Some("http") => Ok(()),
            Some("https") if etcd.ca_file.is_some() => Ok(()),
            Some("https") => Err(self.form(format!("etcd: {url} needs ca_file"))),
            _ => Err(self.form(format!("etcd: {url:?} is not a client URL such as http://127.0.0.1:2379"))),
        }
    }

    /// A supervisor beside systemd, as root, would be a second master of the same services.
    fn supervisor_fits(&self, root: bool, systemd: bool) -> Result<(), PolicyError> {
        match &self.supervisor {
            Some(config) if root && systemd && !config.as_root_beside_systemd => Err(self.form(
                "supervisor: this is root on a machine with systemd, which already runs the services; \
                 remove [supervisor] or, for a demo, set as_root_beside_systemd = true in it"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// May a file with this metadata say what an agent of this user may do?
fn trusted(meta: &std::fs::Metadata, me: u32) -> Result<(), String> {
    if !meta.is_file() {
        return Err("it is not a regular file".into());
    }
    if meta.uid() != 0 && meta.uid() != me {
        return Err(format!("it belongs to uid {}, who is neither root nor the agent", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("others may write it (mode {:03o})", meta.mode() & 0o777));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
