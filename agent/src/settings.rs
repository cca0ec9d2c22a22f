//! Flags and environment: where state lies, where the policy is, how to log.
//!
//! Whom to dial is not set here: it came with the join token and lies with the identity. A unit sets these by
//! `EnvironmentFile=-/etc/default/drydock-agent`.

use std::{
    env,
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use drydock_types::{EffectId, Millis, NodeName};

use crate::apt::job::Way;

/// A join token is shorter than this.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// The agent: upgrades services on this node, one section at a time, within its own policy.
#[derive(Debug, Parser)]
#[command(name = "drydock-agent", version = crate::VERSION, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What applies to every command.
    #[command(flatten)]
    pub settings: Settings,
}

/// What the agent can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach to the coordinator and do what it sends (the default).
    Run,
    /// Exchange a join token for this node's identity.
    #[command(visible_alias = "enroll")]
    Enrol(Enrol),
    /// Show, take back or keep a change that is armed to be taken back by itself
    Revert(Revert),
    /// Install staged packages: what the agent has started apart from itself
    #[command(hide = true)]
    Packages(Packages),
}

/// What becomes of packages that were staged.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Packages {
    /// Of which effect
    #[arg(long, value_name = "ID", value_parser = effect_id, required_unless_present = "settle")]
    pub effect: Option<EffectId>,
    /// To the new versions, or back to the old ones
    #[arg(long, value_enum, default_value = "forward")]
    pub way: Way,
    /// Let services be started and stopped by packages again, unless an installation is at work
    #[arg(long, conflicts_with_all = ["effect", "way"])]
    pub settle: bool,
}

/// What becomes of the change that is armed. Without a flag it is shown.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Revert {
    /// Show what is armed, or what came of it (the default)
    #[arg(long, group = "what")]
    pub show: bool,
    /// Take it back now
    #[arg(long, group = "what")]
    pub now: bool,
    /// Only what this effect has armed; what another one has is left alone. Timers say it
    #[arg(long, requires = "now", conflicts_with_all = ["show", "at_boot", "keep"], value_name = "ID", value_parser = effect_id)]
    pub effect: Option<EffectId>,
    /// As `drydock-revert.service` does when the node is started
    #[arg(long, group = "what")]
    pub at_boot: bool,
    /// Keep the change: it is not taken back any more
    #[arg(long, group = "what")]
    pub keep: bool,
}

/// Settings of every command.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Where identity, journal and artifacts lie [default: /var/lib/drydock-agent for root, else
    /// $XDG_STATE_HOME/drydock-agent]
    #[arg(long, global = true, env = "DRYDOCK_AGENT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What this node allows [default: /etc/drydock/agent.toml for root, else
    /// $XDG_CONFIG_HOME/drydock/agent.toml]
    #[arg(long, global = true, env = "DRYDOCK_AGENT_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// How log lines are written to stderr
    #[arg(long, global = true, env = "DRYDOCK_AGENT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,drydock_agent::link=debug`
    #[arg(long, global = true, env = "DRYDOCK_AGENT_LOG", default_value = "info", value_name = "LEVEL")]
    pub log: String,
    /// How long a stopping agent waits for the section at work; below the unit's TimeoutStopSec. What is not
    /// done by then is carried on by the next start
    #[arg(long, global = true, env = "DRYDOCK_AGENT_STOP_WITHIN", default_value = "80s", value_name = "TIME",
          value_parser = duration)]
    pub stop_within: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a node enrols. There is no flag that takes the token itself: command lines are seen by everybody.
#[derive(Debug, Args)]
pub struct Enrol {
    /// The file that holds the join token; `-` reads it from stdin. Else the environment's DRYDOCK_TOKEN
    #[arg(long, value_name = "FILE|-")]
    pub token_file: Option<PathBuf>,
    /// This node's name, when the token must be refused if it is for another
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub name: Option<NodeName>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not root, and nothing says where this user's files lie.
    #[error("neither {0} nor HOME is set; say where with {1}")]
    NoHome(&'static str, &'static str),
    /// No token was given.
    #[error(
        "no join token: give --token-file FILE, pipe it to --token-file -, or set DRYDOCK_TOKEN; \
             `drydock token create` makes one"
    )]
    NoToken,
    /// The token's file.
    #[error("{0}: {1}")]
    TokenFile(PathBuf, std::io::Error),
}

impl Settings {
    /// Where the agent keeps its state.
    ///
    /// # Errors
    /// When a user's place cannot be told.
    pub fn state_dir(&self) -> Result<PathBuf, SettingsError> {
        let of_user = || under_home("XDG_STATE_HOME", ".local/state", "--state-dir");
        place(self.state_dir.as_ref(), "/var/lib/drydock-agent", || Ok(of_user()?.join("drydock-agent")))
    }

    /// Where the policy is.
    ///
    /// # Errors
    /// When a user's place cannot be told.
    pub fn policy(&self) -> Result<PathBuf, SettingsError> {
        let of_user = || under_home("XDG_CONFIG_HOME", ".config", "--policy");
        place(self.policy.as_ref(), "/etc/drydock/agent.toml", || Ok(of_user()?.join("drydock/agent.toml")))
    }
}

impl Enrol {
    /// The join token's text.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn token(&self) -> Result<String, SettingsError> {
        match &self.token_file {
            Some(file) if file.as_os_str() == "-" => read(file, std::io::stdin().lock()),
            Some(file) => {
                let opened = std::fs::File::open(file);
                read(file, opened.map_err(|error| SettingsError::TokenFile(file.clone(), error))?)
            }
            None => match env::var("DRYDOCK_TOKEN") {
                Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
                _ => Err(SettingsError::NoToken),
            },
        }
    }
}

fn read(file: &Path, from: impl std::io::Read) -> Result<String, SettingsError> {
    let mut text = String::new();
    let read = from.take(MAX_TOKEN_BYTES).read_to_string(&mut text);
    read.map_err(|error| SettingsError::TokenFile(file.to_owned(), error))?;
    match text.trim() {
        "" => Err(SettingsError::NoToken),
        token => Ok(token.to_owned()),
    }
}

fn place(
    given: Option<&PathBuf>,
    of_root: &str,
    of_user: impl FnOnce() -> Result<PathBuf, SettingsError>,
) -> Result<PathBuf, SettingsError> {
    match given {
        Some(place) => Ok(place.clone()),
        None if nix::unistd::geteuid().is_root() => Ok(of_root.into()),
        None => of_user(),
    }
}

fn under_home(variable: &'static str, beside: &str, flag: &'static str) -> Result<PathBuf, SettingsError> {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(beside));
    set(variable).or_else(home).ok_or(SettingsError::NoHome(variable, flag))
}

fn duration(text: &str) -> Result<Duration, String> {
    Millis::parse(text).map(|millis| Duration::from_millis(millis.0)).map_err(|error| error.to_string())
}

fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::parse(text).map_err(|error| error.to_string())
}

fn effect_id(text: &str) -> Result<EffectId, String> {
    EffectId::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn nothing_said_means_run_and_flags_may_stand_anywhere() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["drydock-agent", "--state-dir", "/x", "--stop-within", "5s"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.settings.state_dir().unwrap(), Path::new("/x"));
        assert_eq!(cli.settings.stop_within, Duration::from_secs(5));
        let cli = Cli::try_parse_from(["drydock-agent", "run", "--policy", "/p"]).unwrap();
        assert_eq!(cli.settings.policy().unwrap(), Path::new("/p"));
        assert!(Cli::try_parse_from(["drydock-agent", "--stop-within", "5"]).is_err());
    }

    #[test]
    fn a_token_on_the_command_line_is_refused() {
        assert!(Cli::try_parse_from(["drydock-agent", "enrol", "secret"]).is_err());
        assert!(Cli::try_parse_from(["drydock-agent", "enrol", "--token", "secret"]).is_err());
    }

    #[test]
    fn a_token_is_read_from_a_file_and_an_empty_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "  abc\n").unwrap();
        let enrol = |file: &Path| Enrol { token_file: Some(file.to_owned()), name: None };
        assert_eq!(enrol(&file).token().unwrap(), "abc");
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(enrol(&file).token(), Err(SettingsError::NoToken)));
        let missing = enrol(Path::new("/nowhere/token")).token().unwrap_err();
        assert!(missing.to_string().contains("/nowhere/token"));
    }

    #[test]
    fn an_effect_is_named_only_for_what_is_taken_back_now_and_one_thing_is_asked_at_a_time() {
        let revert = |flags: &[&str]| {
            let words = ["drydock-agent", "revert"].iter().chain(flags);
            Cli::try_parse_from(words).map(|cli| cli.command)
        };
        let id = EffectId([7; 32]);
        let named = revert(&["--now", "--effect", &id.to_string()]).unwrap();
        assert!(
            matches!(named, Some(Command::Revert(Revert { now: true, effect: Some(it), .. })) if it == id)
        );
        let unnamed = revert(&["--now"]).unwrap();
        assert!(matches!(unnamed, Some(Command::Revert(Revert { now: true, effect: None, .. }))));
        let id = id.to_string();
        let refused: [&[&str]; 4] = [
            &["--effect", &id],
            &["--keep", "--effect", &id],
            &["--now", "--effect", "7"],
            &["--now", "--keep"],
        ];
        for flags in refused {
            assert!(revert(flags).is_err(), "{flags:?}");
        }
    }
}
