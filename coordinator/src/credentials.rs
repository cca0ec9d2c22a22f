//! An operator's contexts: which coordinator, and the certificate to show it. One file a context.
//!
//! `$XDG_CONFIG_HOME/drydock/contexts/NAME.json` (0600: it holds a key), and `current` with the name of the
//! one in use. Used by the command line, and by the service when it makes its first operator.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use drydock_proto::tls::{
    Address, Anchor, ClientCertificate, Clock, DialError, KeyFault, PeerIdentity, PrivateKey, client_config,
    dial,
    key::{certificate_from_pem, certificate_to_pem},
    private_file::{self, PrivateFileError},
};
use drydock_types::{FleetId, NodeName};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::trust::{Ca, Issued};

const CONTEXTS: &str = "contexts";
const CURRENT: &str = "current";
const SUFFIX: &str = ".json";

/// Why there is no context. Never holds a part of a key.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The name.
    #[error("{0:?} is not a context's name: 1 to 63 of a-z, 0-9, '-' and '.'")]
    Name(String),
    /// No such context.
    #[error("there is no context {name:?} in {dir}; `drydock context list` shows those there are")]
    Unknown {
        /// Its name.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// None chosen.
    #[error(
        "no context is in use, of those in {0}; `drydock context list` shows them, `drydock context use NAME` chooses"
    )]
    NoneInUse(PathBuf),
    /// No home.
    #[error("neither XDG_CONFIG_HOME nor HOME is set: where are the contexts? Say with --config-dir")]
    NoHome,
    /// What stands in the file.
    #[error("{file} is damaged: {why}")]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What is wrong, without what stands there.
        why: String,
    },
    /// The file that holds the key.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The directory.
    #[error("{path}: {why}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// A way to one coordinator as one operator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Context {
    /// Whom to dial.
    coordinator: String,
    /// The fleet that must answer.
    fleet: FleetId,
    /// PEM.
    ca: String,
    /// PEM.
    certificate: String,
    /// PEM; the secret.
    key: String,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("Context");
        shown.field("coordinator", &self.coordinator).field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl Context {
    /// For an operator whose certificate was just issued.
    #[must_use]
    pub fn new(coordinator: &Address, ca: &Ca, issued: &Issued, key: &PrivateKey) -> Self {
        Self {
            coordinator: coordinator.to_string(),
            fleet: ca.fleet(),
            ca: certificate_to_pem(ca.certificate()),
            certificate: certificate_to_pem(&issued.certificate),
            key: key.to_pem(),
        }
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// Whom to dial.
    ///
    /// # Errors
    /// When the text is no address.
    pub fn coordinator(&self) -> Result<Address, drydock_types::Invalid> {
        Address::parse(&self.coordinator)
    }

    /// Who one is in this context, and until when.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn identity(&self) -> Result<PeerIdentity, String> {
        let certificate = certificate_from_pem(&self.certificate).map_err(|why| why.to_string())?;
        let now = Clock::default().now_unix_s();
        PeerIdentity::from_certificate(&certificate, now).map_err(|why| why.to_string())
    }

    /// The fleet's CA.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn ca(&self) -> Result<CertificateDer<'static>, String> {
        certificate_from_pem(&self.ca).map_err(|why| format!("ca: {why}"))
    }

    /// Everything in it can be read, and belongs together.
    fn check(&self) -> Result<(Address, Parts), String> {
        let address = self.coordinator().map_err(|why| why.to_string())?;
        let ca = certificate_from_pem(&self.ca).map_err(|why| format!("ca: {why}"))?;
        let certificate =
            certificate_from_pem(&self.certificate).map_err(|why| format!("certificate: {why}"))?;
        let key = PrivateKey::from_pem(&self.key).map_err(|why| why.to_string())?;
        let shown = ClientCertificate::new(certificate, &key).map_err(|why| why.to_string())?;
        Ok((address, Parts { anchor: Anchor::Ca(ca), shown }))
    }
}

struct Parts {
    anchor: Anchor,
    shown: Arc<ClientCertificate>,
}

/// Where contexts are: `$XDG_CONFIG_HOME/drydock` or `$HOME/.config/drydock`. The service's own admin
/// context is in `/etc/drydock`, which the service names itself.
///
/// # Errors
/// When neither is set.
pub fn user_dir() -> Result<PathBuf, ContextError> {
    dir_from(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn dir_from(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, ContextError> {
    // A relative path is to be ignored, says the XDG base directory specification.
    let absolute = |dir: OsString| Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute());
    let config = xdg.and_then(absolute).or_else(|| home.and_then(absolute).map(|home| home.join(".config")));
    config.map(|config| config.join("drydock")).ok_or(ContextError::NoHome)
}

/// A context's name is a file's name too: the form of a node's name has no slash and no leading dot.
fn checked(name: &str) -> Result<&str, ContextError> {
    NodeName::parse(name).map(|_| name).map_err(|_| ContextError::Name(name.chars().take(80).collect()))
}

fn file_of(dir: &Path, name: &str) -> Result<PathBuf, ContextError> {
    Ok(dir.join(CONTEXTS).join(format!("{}{SUFFIX}", checked(name)?)))
}

/// The names of the contexts, sorted. None is fine.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<String>, ContextError> {
    let path = dir.join(CONTEXTS);
    let failed = |why| ContextError::Io { path: path.clone(), why };
    let entries = match fs::read_dir(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
        names.extend(name.filter(|name| checked(name).is_ok()).map(ToOwned::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Reads a context.
///
/// # Errors
/// When there is none, it is another's or open to others, or damaged.
pub fn load(dir: &Path, name: &str) -> Result<Context, ContextError> {
    let file = file_of(dir, name)?;
    let text = private_file::read(&file).map_err(|error| match error {
        PrivateFileError::Missing(_) => ContextError::Unknown { name: name.to_owned(), dir: dir.to_owned() },
        other => ContextError::File(other),
    })?;
    let context: Context = serde_json::from_str(&text).map_err(|why| ContextError::Damaged {
        file: file.clone(),
        why: format!("not of the form expected, line {} column {}", why.line(), why.column()),
    })?;
    context.check().map_err(|why| ContextError::Damaged { file, why })?;
    Ok(context)
}

/// Writes a context; one of this name is replaced.
///
/// # Errors
/// When the name is none, or the disk does not take it.
pub fn save(dir: &Path, name: &str, context: &Context) -> Result<PathBuf, ContextError> {
    let file = file_of(dir, name)?;
    let text = serde_json::to_vec_pretty(context)
        .map_err(|why| ContextError::Damaged { file: file.clone(), why: why.to_string() })?;
    private_file::write(&file, &text)?;
    Ok(file)
}

/// From now on this context is the one in use.
///
/// # Errors
/// When there is none of this name.
pub fn set_current(dir: &Path, name: &str) -> Result<(), ContextError> {
    load(dir, name)?;
    Ok(private_file::write(&dir.join(CURRENT), format!("{name}\n").as_bytes())?)
}

/// The name of the context in use; when none was chosen and there is only one, that one.
///
/// # Errors
/// When none is in use.
pub fn current(dir: &Path) -> Result<String, ContextError> {
    match private_file::read(&dir.join(CURRENT)) {
        Ok(text) => Ok(checked(text.trim())?.to_owned()),
        Err(PrivateFileError::Missing(_)) => match list(dir)?.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(ContextError::NoneInUse(dir.to_owned())),
        },
        Err(other) => Err(other.into()),
    }
}

/// Dials the context's coordinator as its operator. See [`DialError::of`] for what the coordinator thinks
/// of the certificate: that comes with the first call.
///
/// # Errors
/// When there is no connection: who was dialled and why not.
pub async fn channel(context: &Context) -> Result<Channel, ChannelError> {
    let (address, parts) = context.check().map_err(ChannelError::Context)?;
    let clock = Arc::new(Clock::default());
    let config = client_config(parts.anchor, context.fleet, Some(parts.shown), clock)
        .map_err(|why| ChannelError::Context(why.to_string()))?;
    Ok(dial(&address, config).await?)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The context itself.
    #[error("the context: {0}")]
    Context(String),
    /// The way there.
    #[error(transparent)]
    Dial(#[from] DialError),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::trust::SealingKey;

    fn context(dir: &Path) -> Context {
        let now = Clock::default().now_unix_s();
        let ca = Ca::create(dir, FleetId([5; 16]), &SealingKey::new([1; 32], "test"), now).unwrap();
        let (issued, key) = ca.issue_operator("alice", 1000, now).unwrap();
        Context::new(&Address::parse("localhost:7440").unwrap(), &ca, &issued, &key)
    }

    #[test]
    fn contexts_are_saved_listed_chosen_and_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("drydock");
        let context = context(dir.path());
        assert_eq!(list(&at).unwrap(), Vec::<String>::new());
        assert!(matches!(current(&at), Err(ContextError::NoneInUse(_))));
        save(&at, "prod", &context).unwrap();
        assert_eq!(current(&at).unwrap(), "prod", "the only one needs no choosing");
        save(&at, "lab", &context).unwrap();
        assert_eq!(list(&at).unwrap(), ["lab", "prod"]);
        assert!(matches!(current(&at), Err(ContextError::NoneInUse(_))));
        set_current(&at, "lab").unwrap();
        assert_eq!(current(&at).unwrap(), "lab");
        assert_eq!(load(&at, "lab").unwrap().identity().unwrap().name(), "alice");
        assert!(matches!(set_current(&at, "none"), Err(ContextError::Unknown { .. })));
        for bad in ["../x", "", ".hidden", "a/b", "A"] {
            assert!(matches!(save(&at, bad, &context), Err(ContextError::Name(_))), "{bad:?}");
        }
    }

    /// Hostile input 27.
    #[test]
    fn a_context_open_to_others_is_refused_and_its_key_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path());
        let file = save(dir.path(), "prod", &context).unwrap();
        let secret: String = context.key.lines().nth(1).unwrap().to_owned();
        assert!(!format!("{context:?}").contains(&secret));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(dir.path(), "prod").unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        let text = serde_json::to_string(&context).unwrap().replacen("fleet", "fleeet", 1);
        private_file::write(&file, text.as_bytes()).unwrap();
        let error = load(dir.path(), "prod").unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret), "{error}");
    }

    #[test]
    fn the_directory_is_xdgs_or_homes_and_never_relative() {
        let dir = |xdg: Option<&str>, home: Option<&str>| dir_from(xdg.map(Into::into), home.map(Into::into));
        assert_eq!(dir(Some("/x"), Some("/h")).unwrap(), Path::new("/x/drydock"));
        assert_eq!(dir(Some("x"), Some("/h")).unwrap(), Path::new("/h/.config/drydock"));
        assert!(matches!(dir(None, None), Err(ContextError::NoHome)));
    }
}
