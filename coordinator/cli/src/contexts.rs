//! Which coordinator is spoken to: `drydock_coordinator::credentials`, as commands use it.

use std::path::PathBuf;

use drydock_coordinator::credentials::{self, ChannelError, Context, ContextError};
use drydock_proto::tls::DialFault;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::{cli::Global, error::CliError};

/// Where the service keeps the context of its first operator.
const SERVICE_DIR: &str = "/etc/drydock";

/// The directories with contexts, nearest first.
pub(crate) struct Contexts {
    dirs: Vec<PathBuf>,
}

/// The context that a command uses.
pub(crate) struct Chosen {
    name: String,
    context: Context,
}

/// A context for screens. Never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContextView {
    /// Its name.
    pub(crate) name: String,
    /// Is it the one in use?
    pub(crate) current: bool,
    /// Whom it dials.
    pub(crate) coordinator: String,
    /// The fleet.
    pub(crate) fleet: String,
    /// Who one is there.
    pub(crate) operator: String,
    /// Where its file is.
    pub(crate) directory: String,
    /// Why it cannot be used.
    pub(crate) problem: Option<String>,
}

impl Contexts {
    /// `--config-dir`, else the user's directory and, for root, the service's.
    pub(crate) fn of(global: &Global) -> Result<Self, CliError> {
        if let Some(dir) = &global.config_dir {
            return Ok(Self { dirs: vec![dir.clone()] });
        }
        let service = nix::unistd::geteuid().is_root().then(|| PathBuf::from(SERVICE_DIR));
        let dirs: Vec<PathBuf> = match (credentials::user_dir(), service) {
            (Ok(user), service) => std::iter::once(user).chain(service).collect(),
            (Err(_), Some(service)) => vec![service],
            (Err(error), None) => return Err(to_error(&error)),
        };
        Ok(Self { dirs })
    }

    /// The context of this name, or the one in use.
    pub(crate) fn pick(&self, name: Option<&str>) -> Result<Chosen, CliError> {
        let mut first_error = None;
        for dir in &self.dirs {
            let found = match name {
                Some(name) => Ok(name.to_owned()),
                None => credentials::current(dir),
            };
            match found.and_then(|name| credentials::load(dir, &name).map(|context| Chosen { name, context }))
            {
                Ok(chosen) => return Ok(chosen),
                // Not here: perhaps in the next directory.
                Err(error @ (ContextError::Unknown { .. } | ContextError::NoneInUse(_))) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(to_error(&error)),
            }
        }
        Err(first_error
            .map_or_else(|| CliError::usage("there is no directory with contexts"), |error| to_error(&error)))
    }

    /// Every context; one that cannot be read is listed with the reason.
    pub(crate) fn list(&self) -> Result<Vec<ContextView>, CliError> {
        let in_use = self.pick(None).ok().map(|chosen| chosen.name);
        let mut views: Vec<ContextView> = Vec::new();
        for dir in &self.dirs {
            for name in credentials::list(dir).map_err(|error| to_error(&error))? {
                if views.iter().any(|view| view.name == name) {
                    continue;
                }
                let mut view = match credentials::load(dir, &name) {
                    Ok(context) => Chosen { name, context }.view(),
                    Err(error) => broken(name, error.to_string()),
                };
                view.current = in_use.as_ref() == Some(&view.name);
                view.directory = dir.display().to_string();
                views.push(view);
            }
        }
        Ok(views)
    }

    /// From now on this one is in use. A context of the service's directory is chosen there.
    pub(crate) fn choose(&self, name: &str) -> Result<(), CliError> {
        let has =
            |dir: &&PathBuf| credentials::list(dir).is_ok_and(|names| names.iter().any(|have| have == name));
        let dir = self.dirs.iter().find(has).or(self.dirs.first());
        let dir = dir.ok_or_else(|| CliError::usage("there is no directory with contexts"))?;
        credentials::set_current(dir, name).map_err(|error| to_error(&error))
    }
}

fn broken(name: String, problem: String) -> ContextView {
    let nothing = String::new;
    ContextView {
        name,
        current: false,
        coordinator: nothing(),
        fleet: nothing(),
        operator: nothing(),
        directory: nothing(),
        problem: Some(problem),
    }
}

impl Chosen {
    /// Whom it dials.
    pub(crate) fn address(&self) -> Result<String, CliError> {
        let address = self
            .context
            .coordinator()
            .map_err(|why| CliError::usage(format!("context {}: {why}", self.name)));
        address.map(|address| address.to_string())
    }

    /// The fleet's CA, DER: what this machine judges everything by.
    pub(crate) fn ca(&self) -> Result<Vec<u8>, CliError> {
        let ca = self.context.ca().map_err(|why| CliError::usage(format!("context {}: {why}", self.name)))?;
        Ok(ca.to_vec())
    }

    /// A connection.
    pub(crate) async fn channel(&self) -> Result<Channel, CliError> {
        credentials::channel(&self.context).await.map_err(|error| {
            let refused =
                matches!(&error, ChannelError::Dial(dial) if matches!(dial.fault, DialFault::RefusedUs(_)));
            let said = CliError::failed(error.to_string());
            if refused { said.hint("is this the right context?  drydock context list") } else { said }
        })
    }

    /// For screens.
    pub(crate) fn view(&self) -> ContextView {
        let Self { name, context } = self;
        let (operator, problem) = match context.identity() {
            Ok(identity) => (identity.name().to_string(), None),
            Err(why) => (String::new(), Some(why)),
        };
        ContextView {
            name: name.clone(),
            current: true,
            coordinator: context.coordinator().map(|address| address.to_string()).unwrap_or_default(),
            fleet: context.fleet().to_string(),
            operator,
            directory: String::new(),
            problem,
        }
    }
}

/// What is wrong with a context is wrong usage: nothing has been asked of anybody yet.
fn to_error(error: &ContextError) -> CliError {
    let said = CliError::usage(error.to_string());
    match error {
        ContextError::NoneInUse(_) | ContextError::Unknown { .. } => {
            said.hint("on the coordinator's machine root has one:  sudo drydock context list")
        }
        ContextError::Name(_)
        | ContextError::NoHome
        | ContextError::Damaged { .. }
        | ContextError::File(_)
        | ContextError::Key(_)
        | ContextError::Io { .. } => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_context_the_error_says_what_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let contexts = Contexts { dirs: vec![dir.path().to_owned()] };
        let none = contexts.pick(None).err().unwrap();
        assert_eq!(none.exit.code(), 2);
        let text = none.to_text(false);
        assert!(
            text.contains("drydock context use NAME") && text.contains("sudo drydock context list"),
            "{text}"
        );
        let other = contexts.pick(Some("prod")).err().unwrap();
        assert!(other.to_string().contains("there is no context \"prod\""), "{other}");
        assert_eq!(contexts.list().unwrap(), []);
    }
}
