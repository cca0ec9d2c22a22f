//! `drydock serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    binaries, place,
    process::{self, Process},
    wait,
};

/// A coordinator: its directories, its address, and its process while it runs.
#[derive(Debug)]
pub struct Coordinator {
    /// Where all its files are.
    pub dir: PathBuf,
    /// Where agents and operators reach it.
    pub address: SocketAddr,
    /// Where `/healthz` is answered.
    pub health: SocketAddr,
    /// How agents are told to reach it, where that is not its own address.
    pub advertise: Option<SocketAddr>,
    /// Settings beside these: variables of its environment.
    pub settings: Vec<(&'static str, String)>,
    /// Its process.
    pub process: Option<Process>,
}

impl Coordinator {
    /// One that has not been started.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let (address, health) = (place::free(), place::free());
        Self { dir: dir.into(), address, health, advertise: None, settings: Vec::new(), process: None }
    }

    /// Where its store is.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where the first operator's context is.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Its log, of all its starts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("serve.log")
    }

    /// What is typed to start it.
    #[must_use]
    pub fn command(&self) -> std::process::Command {
        let mut command = process::command(&binaries::path("drydock"), &self.dir);
        command.current_dir(&self.dir).arg("--config-dir").arg(self.config_dir());
        command.args([
            "serve",
            "--listen",
            &self.address.to_string(),
            "--http-listen",
            &self.health.to_string(),
        ]);
        command.arg("--state-dir").arg(self.state_dir());
        command
            .args(self.advertise.iter().flat_map(|address| ["--advertise".to_owned(), address.to_string()]));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("DRYDOCK_LOG_FILTER", "info,drydock_coordinator=debug");
        command
    }

    /// Starts it and returns at once.
    pub fn launch(&mut self) {
        self.process = Some(Process::start("drydock serve", self.command(), &self.log_file()));
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it ends, or does not answer in time.
    pub fn start(&mut self) {
        self.launch();
        wait::until("the coordinator to answer /healthz", wait::SOON, || {
            if let Some(ended) = self.process.as_mut().and_then(Process::ended) {
                panic!("the coordinator ended ({ended}):\n{}", self.log());
            }
            crate::node::get(self.health, "/healthz").filter(|(code, _)| *code == 200)
        });
    }

    /// Another coordinator in `dir`, on copies of this one's state and configuration as they lie on the disk
    /// now. Not started.
    ///
    /// # Panics
    /// When they cannot be copied.
    #[must_use]
    pub fn copy_to(&self, dir: &Path) -> Self {
        let copy = Self { advertise: self.advertise, settings: self.settings.clone(), ..Self::new(dir) };
        for (from, to) in [(self.state_dir(), copy.state_dir()), (self.config_dir(), copy.config_dir())] {
            place::copy(&from, &to);
        }
        // An operator's context names the coordinator that it dials.
        let context = copy.config_dir().join("contexts/admin.json");
        let text = std::fs::read_to_string(&context).unwrap_or_else(|error| panic!("{context:?}: {error}"));
        let text = text.replace(&self.address.to_string(), &copy.address.to_string());
        std::fs::write(&context, text).unwrap_or_else(|error| panic!("{context:?}: {error}"));
        copy
    }

    /// A command typed by its operator.
    #[must_use]
    pub fn drydock(&self, args: &[&str]) -> crate::Ran {
        crate::cli::drydock(&self.dir, &self.config_dir(), args)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn terminate(&mut self) -> Option<i32> {
        self.process.take().and_then(|mut process| process.terminate(Duration::from_secs(15)).code())
    }

    /// Everything that it ever logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }
}
