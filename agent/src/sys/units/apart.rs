//! What must go on when the agent itself is stopped. Only systemd can do that.

use std::time::Duration;

use drydock_failpoint::effect;

use super::{Units, UnitsError, systemd::Systemd};

/// A service of our own that systemd runs apart from the agent.
#[derive(Debug, Clone)]
pub struct Apart<'a> {
    /// `drydock-…`, without `.service`.
    pub name: &'a str,
    /// For people, in `systemctl status`.
    pub description: &'a str,
    /// The program by its absolute path, and its arguments.
    pub command: &'a [String],
    /// Is it started again when somebody or something kills it? Only what goes on where it was interrupted may be.
    pub until_done: bool,
    /// What is run behind it, however it ended; nothing where it is empty.
    pub afterwards: &'a [String],
    /// Who stops it waits so long for its own end before its processes are killed; else as systemd does.
    pub stop_within: Option<Duration>,
}

impl<'a> Apart<'a> {
    /// A service that is started once, and stopped as systemd does by itself.
    #[must_use]
    pub const fn new(name: &'a str, description: &'a str, command: &'a [String]) -> Self {
        Self { name, description, command, until_done: false, afterwards: &[], stop_within: None }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> String {
        format!("{}.service", self.name)
    }

    /// The timer's, where there is one.
    #[must_use]
    pub fn timer(&self) -> String {
        format!("{}.timer", self.name)
    }
}

impl Units {
    /// # Errors
    /// Where the agent runs services itself.
    fn systemd(&self) -> Result<&Systemd, UnitsError> {
        match self {
            Self::Systemd(systemd) => Ok(systemd),
            Self::Supervised(_) => Err(UnitsError::Supervisor {
                unit: "this node".into(),
                why: "the agent runs its services itself, and nothing would go on without it".into(),
            }),
        }
    }

    /// Starts a service apart from the agent.
    ///
    /// # Errors
    /// Without systemd, or when it refuses.
    pub async fn start_apart(&self, apart: &Apart<'_>) -> Result<(), UnitsError> {
        let systemd = self.systemd()?;
        effect!("agent.apart.start", systemd.start_apart(apart).await)
    }

    /// Has systemd start it after a time.
    ///
    /// # Errors
    /// As [`Units::start_apart`].
    pub async fn start_apart_after(&self, apart: &Apart<'_>, after: Duration) -> Result<(), UnitsError> {
        let systemd = self.systemd()?;
        effect!("agent.apart.start-after", systemd.start_apart_after(apart, after).await)
    }

    /// Starts now what was to be started after a time; it need not have an end by the return.
    ///
    /// # Errors
    /// As [`Units::start_apart`].
    pub async fn start_apart_now(&self, apart: &Apart<'_>) -> Result<(), UnitsError> {
        let systemd = self.systemd()?;
        let started = async {
            match systemd.kick(&apart.service()).await {
                Ok(()) => Ok(()),
                // Its timer is gone, and with it the service: it is made anew.
                Err(_) => systemd.start_apart(apart).await,
            }
        };
        effect!("agent.apart.start-now", started.await)
    }

    /// Stops the timer of something that need not be started any more.
    ///
    /// # Errors
    /// As [`Units::start_apart`].
    pub async fn stop_timer(&self, apart: &Apart<'_>) -> Result<(), UnitsError> {
        let systemd = self.systemd()?;
        effect!("agent.apart.stop-timer", systemd.stop_timer(apart).await)
    }

    /// What a unit starts, and whether it is enabled.
    ///
    /// # Errors
    /// When there is none of that name, or as [`Units::start_apart`].
    pub async fn what_it_starts(&self, unit: &str) -> Result<(Vec<String>, String), UnitsError> {
        self.systemd()?.what_it_starts(unit).await
    }

    /// What keeps the machine from being shut down.
    ///
    /// # Errors
    /// When nobody says it.
    pub async fn shutdown_blockers(&self) -> Result<Vec<String>, UnitsError> {
        self.systemd()?.shutdown_blockers().await
    }
}
