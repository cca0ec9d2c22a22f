//! One server: etcd, API server, controller-manager and scheduler in one process.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::{
    Admin, Error, Result,
    binaries::{self, Release},
    cache::Cache,
    place::Place,
    process::{self, Process},
};

/// Of a start, on a machine that is busy with other tests; some seconds are usual.
const READY: Duration = Duration::from_secs(150);
/// Of an ordinary end; two seconds are usual.
const STOPPED: Duration = Duration::from_secs(60);

/// What a server is started with, at each of its starts.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) cache: Cache,
    pub(crate) name: String,
    pub(crate) place: Place,
    /// `NAME=https://ADDRESS:PORT,…` of all etcd members.
    pub(crate) members: String,
    pub(crate) elects: bool,
    /// What all servers share: authorities and the key of tokens.
    pub(crate) pki: PathBuf,
    /// Its own.
    pub(crate) state: PathBuf,
    /// Further flags, as the server's `-help` has them.
    pub(crate) args: Vec<String>,
}

/// A server, at work or not; its data stays when it stops.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    release: Release,
    process: Option<Process>,
    /// How long its log was when this process began.
    logged_before: usize,
}

/// Its line when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    version: String,
}

impl Server {
    pub(crate) fn new(setup: Setup, release: Release) -> Self {
        Self { setup, release, process: None, logged_before: 0 }
    }

    /// `server-1`, …: also the name of its etcd member.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// `https://ADDRESS:PORT` of its API server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.setup.place.address, self.setup.place.api)
    }

    /// `https://ADDRESS:PORT` of its etcd member, for clients with a certificate of [`Self::etcd_tls`].
    #[must_use]
    pub fn etcd_url(&self) -> String {
        format!("https://{}:{}", self.setup.place.address, self.setup.place.etcd)
    }

    /// Authority, certificate and key for its etcd.
    #[must_use]
    pub fn etcd_tls(&self) -> [PathBuf; 3] {
        let tls = self.setup.state.join("tls");
        [self.setup.pki.join("etcd-ca.crt"), tls.join("etcd.crt"), tls.join("etcd.key")]
    }

    /// A kubeconfig with all rights and this server's address.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.setup.state.join("admin.kubeconfig")
    }

    /// A client with all rights that asks this server alone.
    ///
    /// # Errors
    /// When the server was never started.
    pub fn admin(&self) -> Result<Admin> {
        Admin::from_kubeconfig(&self.kubeconfig())
    }

    /// Where it writes a line for each request, if the cluster was asked for that: `metadata` only, two lines for a
    /// watch (opened, ended) under one `auditID`.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.setup.state.join("audit.log")
    }

    /// What it says that it is, once it runs.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// Did its controller-manager win the election since this server was started? It leads from then on until the
    /// server ends. Where only one server runs there is no election.
    #[must_use]
    pub fn leads_controllers(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let log = process.log();
        let since = log.get(self.logged_before..).unwrap_or_default();
        since.lines().any(|line| {
            line.contains("Successfully acquired lease")
                && line.contains("kube-system/kube-controller-manager")
        })
    }

    /// Its process, while it has one.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Starts it and waits until its API server is ready. With several servers that needs a majority of them, so they
    /// are started together the first time.
    ///
    /// # Errors
    /// When it runs already, ends again, is not ready in time, or is of another version than it should be.
    pub fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::Unfit(format!("{} runs already; stop it first", self.setup.name)));
        }
        let binary = binaries::server(&self.setup.cache, &self.release)?;
        let command = self.setup.command(&binary);
        let log = self.setup.state.with_extension("log");
        self.logged_before =
            fs::metadata(&log).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
        let (process, line) = Process::start_and_hear(&self.setup.name, command, &log, READY)?;
        let ready: Ready = serde_json::from_str(&line).map_err(|error| {
            process.error(&format!("said {line:?} instead of that it is ready ({error})"))
        })?;
        if ready.version != self.release.as_str() {
            return Err(process.error(&format!("is {} and should be {}", ready.version, self.release)));
        }
        self.process = Some(process);
        Ok(())
    }

    /// Writes a kubeconfig for a user with a certificate that is good for so many seconds; below zero, for one that has
    /// expired.
    ///
    /// # Errors
    /// When the server was never started, or the file cannot be written.
    pub fn write_kubeconfig(&self, user: &str, groups: &[&str], seconds: i64, to: &Path) -> Result<()> {
        let binary = binaries::server(&self.setup.cache, &self.release)?;
        let mut command = process::command(&binary, &self.setup.state);
        command.arg("kubeconfig").arg("-pki").arg(&self.setup.pki).arg("-out").arg(to);
        command.args([
            format!("-server={}", self.url()),
            format!("-user={user}"),
            format!("-valid={seconds}s"),
        ]);
        command.args(groups.iter().map(|group| format!("-group={group}")));
        let out = command.output().map_err(|error| Error::Unfit(format!("{}: {error}", binary.display())))?;
        if out.status.success() {
            return Ok(());
        }
        Err(Error::Unfit(format!(
            "no kubeconfig for {user}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )))
    }

    /// Writes a kubeconfig with a token and nothing else of its user, readable by its owner alone.
    ///
    /// # Errors
    /// When the server was never started, or the file cannot be written.
    pub fn write_kubeconfig_with_token(&self, token: &str, to: &Path) -> Result<()> {
        let authority = self.setup.pki.join("ca.crt");
        let authority = BASE64_STANDARD.encode(fs::read(&authority).map_err(Error::io("read", &authority))?);
        let url = self.url();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    \
             server: {url}\n    certificate-authority-data: {authority}\nusers:\n- name: token\n  user:\n    \
             token: {token}\ncontexts:\n- name: test\n  context:\n    cluster: test\n    user: token\n"
        );
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(to);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::io("write", to))
    }

    /// What the next start starts.
    pub fn set_release(&mut self, release: Release) {
        self.release = release;
    }

    /// SIGTERM, as systemd stops a unit; waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end by itself in time; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let Some(mut process) = self.process.take() else { return Err(self.not_running()) };
        process.terminate(STOPPED)
    }

    /// Ends it with SIGKILL, as a power cut would: etcd keeps what it had written.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map(drop).ok_or_else(|| self.not_running())
    }

    /// Freezes it: connections are accepted and nothing is answered, until [`Self::thaw`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match &mut self.process {
            Some(process) => process.signal(signal),
            None => Err(self.not_running()),
        }
    }

    fn not_running(&self) -> Error {
        Error::Unfit(format!("{} does not run; start it first", self.setup.name))
    }
}

impl Setup {
    fn command(&self, binary: &Path) -> std::process::Command {
        let mut command = process::command(binary, &self.state);
        let Place { address, api, etcd, peer } = self.place;
        command.arg("serve").arg("-state").arg(&self.state).arg("-pki").arg(&self.pki).args([
            format!("-name={}", self.name),
            format!("-address={address}"),
            format!("-api-port={api}"),
            format!("-etcd-port={etcd}"),
            format!("-peer-port={peer}"),
            format!("-initial-cluster={}", self.members),
            format!("-leader-elect={}", self.elects),
        ]);
        command.args(&self.args);
        command
    }
}
