//! Services that the agent runs itself, where there is no systemd: for the demo and for tests, nothing else.
//!
//! A service is a child process in a process group of its own. It is not started again when it ends by
//! itself. It dies with the agent: the kernel sends it SIGKILL when the *thread* that started it ends
//! (`PR_SET_PDEATHSIG`, set by `setpriv`), so that after a kill -9 of the agent no old process is left that a
//! new agent does not know; the new agent starts those with `autostart` again. For that reason the supervisor has
//! a thread of its own, which lives as long as the supervisor.

mod service;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drydock_types::{AbsPath, Millis, UnitName};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::service::Service;
use super::{JobEnd, UnitInfo, UnitsError, Verb};

/// The `[supervisor]` table of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Run services although this is root on a machine with systemd.
    pub as_root_beside_systemd: bool,
    /// What is run, by the name that a recipe calls it.
    pub services: BTreeMap<UnitName, ServiceConfig>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The program.
    pub path: AbsPath,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its whole environment beside `PATH`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs; `/` when left out.
    pub directory: Option<AbsPath>,
    /// How long after SIGTERM it is killed.
    #[serde(default = "ten_seconds")]
    pub stop_timeout: Millis,
    /// Start it when the agent starts.
    #[serde(default = "yes")]
    pub autostart: bool,
}

const fn ten_seconds() -> Millis {
    Millis::secs(10)
}

const fn yes() -> bool {
    true
}

/// A handle on the supervisor's thread. When it is dropped, the services are killed.
pub struct Supervisor {
    services: Arc<BTreeMap<String, Service>>,
    requests: mpsc::UnboundedSender<Request>,
}

struct Request {
    unit: String,
    verb: Verb,
    done: oneshot::Sender<Result<JobEnd, UnitsError>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.services.keys()).finish()
    }
}

impl Supervisor {
    /// Starts the thread, and on it the services with `autostart`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(config: Config) -> Result<Self, UnitsError> {
        let service =
            |(name, config): (UnitName, _)| (name.as_str().to_owned(), Service::new(name.as_str(), config));
        let services: Arc<BTreeMap<_, _>> = Arc::new(config.services.into_iter().map(service).collect());
        let (requests, inbox) = mpsc::unbounded_channel();
        let failed = |error: std::io::Error| UnitsError::Supervisor {
            unit: "supervisor".into(),
            why: format!("its thread could not be started: {error}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let on_thread = services.clone();
        std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || runtime.block_on(serve(&on_thread, inbox)))
            .map_err(failed)?;
        Ok(Self { services, requests })
    }

    pub(super) fn load(&self, unit: &str) -> Result<UnitInfo, UnitsError> {
        self.service(unit).map(Service::info)
    }

    /// Every service.
    pub(super) fn all(&self) -> impl Iterator<Item = UnitInfo> {
        self.services.values().map(Service::info)
    }

    pub(super) fn log_tail(&self, unit: &str, lines: usize) -> Vec<String> {
        self.service(unit).map(|service| service.log_tail(lines)).unwrap_or_default()
    }

    pub(super) async fn run(&self, unit: &str, verb: Verb, deadline: Duration) -> Result<JobEnd, UnitsError> {
        self.service(unit)?;
        let (done, answer) = oneshot::channel();
        let gone =
            || UnitsError::Supervisor { unit: unit.into(), why: "the supervisor's thread has ended".into() };
        self.requests.send(Request { unit: unit.into(), verb, done }).map_err(|_| gone())?;
        match timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(UnitsError::Deadline { doing: verb.word(), unit: unit.into(), deadline }),
        }
    }

    fn service(&self, unit: &str) -> Result<&Service, UnitsError> {
        self.services.get(unit).ok_or_else(|| UnitsError::NotFound { unit: unit.into() })
    }
}

/// The thread's work: jobs one after another for each service, side by side for several.
async fn serve(services: &Arc<BTreeMap<String, Service>>, mut inbox: mpsc::UnboundedReceiver<Request>) {
    for (unit, service) in services.iter().filter(|(_, service)| service.starts_by_itself()) {
        if let Err(error) = service.job(Verb::Start).await {
            tracing::warn!(%unit, %error, "the supervisor could not start a service");
        }
    }
    while let Some(Request { unit, verb, done }) = inbox.recv().await {
        let services = services.clone();
        tokio::spawn(async move {
            if let Some(service) = services.get(&unit) {
                let _ = done.send(service.job(verb).await);
            }
        });
    }
    services.values().for_each(Service::kill);
}

/// A lock on plain data: what a panicking thread left is as good as ever.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
