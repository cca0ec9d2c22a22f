//! Settings of the coordinator: flag or environment, else the file, else the default.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_proto::tls::Address;
use drydock_types::Millis;
use serde::Deserialize;

use super::{LogFormat, ServeArgs};
use crate::{error::CliError, local_file};

/// The port of a coordinator.
const PORT: u16 = 7440;
/// 14 days: a weekend without coordinator is far from its end.
const NODE_TTL_MS: u64 = 14 * 86_400_000;
/// A settings file is never larger.
const MAX_BYTES: u64 = 64 << 10;

/// Everything that the coordinator is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where the store is.
    pub(super) state_dir: PathBuf,
    /// Where the first operator's context and a made sealing key go.
    pub(super) config_dir: PathBuf,
    /// Where agents and operators are listened for.
    pub(super) listen: SocketAddr,
    /// What stands in tokens; the listening address when not set.
    pub(super) advertise: Option<Address>,
    /// Where /healthz is answered.
    pub(super) http_listen: Option<SocketAddr>,
    /// The key that seals secrets at rest.
    pub(super) sealing_key_file: Option<PathBuf>,
    /// How long a node's certificate lives.
    pub(super) node_ttl: Duration,
    /// How many nodes may leave service within an hour.
    pub(super) most_disrupted_per_hour: Option<u32>,
    /// The form of the log.
    pub(super) log: LogFormat,
}

/// The file. A key that is not here is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    state_dir: Option<PathBuf>,
    listen: Option<String>,
    advertise: Option<String>,
    http_listen: Option<String>,
    sealing_key_file: Option<PathBuf>,
    node_ttl: Option<Millis>,
    most_disrupted_per_hour: Option<std::num::NonZeroU32>,
    log: Option<LogFormat>,
}

/// Where things are when nobody says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    state_dir: PathBuf,
    config_dir: PathBuf,
}

/// From the flags (the environment is in them already), the file and this machine.
pub(super) fn resolve(args: ServeArgs, config_dir: Option<PathBuf>) -> Result<Settings, CliError> {
    let root = nix::unistd::geteuid().is_root();
    let places = places(root, |name| std::env::var_os(name).map(PathBuf::from));
    let config_dir = config_dir.or_else(|| places.as_ref().map(|places| places.config_dir.clone()));
    let config_dir = config_dir.ok_or_else(|| CliError::usage("HOME is not set: say --config-dir DIR"))?;
    let file = read_file(args.config.as_deref(), &config_dir)?;
    let state_dir = places.map(|places| places.state_dir);
    merge(args, file, config_dir, state_dir, host_name())
}

/// /etc and /var/lib for root, else the XDG base directories. A relative one does not count.
fn places(root: bool, env: impl Fn(&str) -> Option<PathBuf>) -> Option<Places> {
    if root {
        return Some(Places { state_dir: "/var/lib/drydock".into(), config_dir: "/etc/drydock".into() });
    }
    let dir = |xdg: &str, below: &str| {
        let absolute = |name: &str| env(name).filter(|dir| dir.is_absolute());
        absolute(xdg).or_else(|| absolute("HOME").map(|home| home.join(below))).map(|dir| dir.join("drydock"))
    };
    Some(Places {
        state_dir: dir("XDG_STATE_HOME", ".local/state")?,
        config_dir: dir("XDG_CONFIG_HOME", ".config")?,
    })
}

fn read_file(named: Option<&Path>, config_dir: &Path) -> Result<SettingsFile, CliError> {
    let usual = config_dir.join("coordinator.toml");
    let path = match named {
        Some(path) => path,
        None if usual.exists() => &usual,
        None => return Ok(SettingsFile::default()),
    };
    let text = local_file::read_text(path, MAX_BYTES)?;
    toml::from_str(&text).map_err(|why| CliError::usage(format!("{}: {why}", path.display())))
}

fn merge(
    args: ServeArgs,
    file: SettingsFile,
    config_dir: PathBuf,
    state_dir: Option<PathBuf>,
    host: Option<String>,
) -> Result<Settings, CliError> {
    let state_dir = args.state_dir.or(file.state_dir).or(state_dir);
    let state_dir = state_dir.ok_or_else(|| CliError::usage("HOME is not set: say --state-dir DIR"))?;
    let listen = args.listen.or(file.listen).unwrap_or_else(|| format!("[::]:{PORT}"));
    let listen = socket("--listen", &listen)?;
    let advertise = match args.advertise.or(file.advertise) {
        Some(said) => {
            Some(Address::parse(&said).map_err(|why| CliError::usage(format!("--advertise: {why}")))?)
        }
        None => usual_address(listen, host),
    };
    let http = args.http_listen.or(file.http_listen);
    Ok(Settings {
        state_dir,
        config_dir,
        listen,
        advertise,
        http_listen: http.map(|text| socket("--http-listen", &text)).transpose()?,
        sealing_key_file: args.sealing_key_file.or(file.sealing_key_file),
        node_ttl: Duration::from_millis(args.node_ttl.or(file.node_ttl).map_or(NODE_TTL_MS, |ttl| ttl.0)),
        most_disrupted_per_hour: args
            .most_disrupted_per_hour
            .or(file.most_disrupted_per_hour.map(std::num::NonZeroU32::get)),
        log: args.log.or(file.log).unwrap_or_default(),
    })
}

/// What others dial: this machine's name where every address is listened on; else the listening address itself.
fn usual_address(listen: SocketAddr, host: Option<String>) -> Option<Address> {
    if !listen.ip().is_unspecified() || listen.port() == 0 {
        return None;
    }
    Address::parse(&format!("{}:{}", host?, listen.port())).ok()
}

/// This machine's name, where it can be dialled at all.
fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok().filter(|name| !name.is_empty())?;
    (name.as_str(), PORT).to_socket_addrs().is_ok().then_some(name)
}

fn socket(flag: &str, text: &str) -> Result<SocketAddr, CliError> {
    let bad = |why: String| {
        CliError::usage(format!("{flag} {text}: {why}")).hint("for example: 0.0.0.0:7440 or [::]:7440")
    };
    let mut found = text.to_socket_addrs().map_err(|why| bad(why.to_string()))?;
    found.next().ok_or_else(|| bad("no such address".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(args: ServeArgs, file: &str) -> Result<Settings, CliError> {
        let file = toml::from_str(file).map_err(|why| CliError::usage(why.to_string()))?;
        merge(args, file, "/c".into(), Some("/s".into()), Some("hub".into()))
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let plain = merged(ServeArgs::default(), "").unwrap();
        assert_eq!(
            (plain.state_dir.as_path(), plain.listen.to_string().as_str()),
            (Path::new("/s"), "[::]:7440")
        );
        assert_eq!(
            (plain.advertise, plain.http_listen, plain.log),
            (Address::parse("hub:7440").ok(), None, LogFormat::Text)
        );

        let file = "state_dir = \"/f\"\nlisten = \"127.0.0.1:1000\"\nlog = \"json\"\n";
        let from_file = merged(ServeArgs::default(), file).unwrap();
        assert_eq!((from_file.state_dir.as_path(), from_file.listen.port()), (Path::new("/f"), 1000));
        assert_eq!(from_file.advertise, None, "the one address is what others dial");
        assert_eq!(from_file.log, LogFormat::Json);

        let args = ServeArgs { listen: Some("127.0.0.1:2000".into()), ..ServeArgs::default() };
        let from_flag = merged(args, file).unwrap();
        assert_eq!((from_flag.state_dir.as_path(), from_flag.listen.port()), (Path::new("/f"), 2000));
    }

    #[test]
    fn a_wrong_setting_is_named_and_is_exit_code_2() {
        for (args, file, want) in [
            (ServeArgs::default(), "lisen = \"x\"\n", "lisen"),
            (ServeArgs::default(), "listen = \"nonsense\"\n", "--listen nonsense"),
            (ServeArgs { advertise: Some("hub".into()), ..ServeArgs::default() }, "", "--advertise"),
        ] {
            let error = merged(args, file).unwrap_err();
            assert_eq!(error.exit.code(), 2);
            assert!(error.to_string().contains(want), "{error}");
        }
    }

    #[test]
    fn the_usual_places_are_the_systems_for_root_and_xdgs_for_others() {
        let none = |_: &str| None;
        assert_eq!(places(true, none).unwrap().state_dir, Path::new("/var/lib/drydock"));
        assert_eq!(places(false, none), None);
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/alice"));
        let places = places(false, home).unwrap();
        assert_eq!(places.state_dir, Path::new("/home/alice/.local/state/drydock"));
        assert_eq!(places.config_dir, Path::new("/home/alice/.config/drydock"));
    }
}
