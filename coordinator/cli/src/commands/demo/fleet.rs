//! The demo's processes: a coordinator, agents, and the command line as an operator would type it.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use drydock_types::Version;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{place::Place, service};
use crate::error::CliError;

/// How long a process may take until it answers.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// How long a process may take to end after SIGTERM.
const DOWN_WITHIN: Duration = Duration::from_secs(5);
/// How often a process that starts is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The unit's name in every agent's supervisor.
const UNIT: &str = "web.service";

/// Everything that was started; killed when this is dropped.
pub(super) struct Fleet<'a> {
    place: &'a Place,
    agent: PathBuf,
    me: PathBuf,
    color: bool,
    coordinator: Option<Child>,
    agents: Vec<Child>,
    services: Vec<(String, SocketAddr)>,
    public_key: String,
}

fn failed(what: impl std::fmt::Display) -> CliError {
    CliError::failed(what.to_string())
}

impl<'a> Fleet<'a> {
    pub(super) fn new(place: &'a Place, agent: Option<PathBuf>, color: bool) -> Result<Self, CliError> {
        let me = std::env::current_exe().map_err(|why| failed(format!("finding this program: {why}")))?;
        let agent = agent.unwrap_or_else(|| me.with_file_name("drydock-agent"));
        if !agent.is_file() {
            return Err(failed(format!("there is no agent at {}", agent.display()))
                .hint("from a checkout:  cargo demo")
                .hint("else say where it is:  drydock demo --agent FILE"));
        }
        let agent = agent.canonicalize().map_err(|why| failed(format!("{}: {why}", agent.display())))?;
        let (coordinator, agents, services) = (None, Vec::new(), Vec::new());
        Ok(Self { place, agent, me, color, coordinator, agents, services, public_key: String::new() })
    }

    /// Nodes' services: name and address.
    pub(super) fn services(&self) -> Vec<(String, SocketAddr)> {
        self.services.clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.dir().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("operator")
    }

    /// This program again, as the demo's operator.
    fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.me);
        command.args(arguments).env("DRYDOCK_CONFIG_DIR", self.config()).env_remove("DRYDOCK_CONTEXT");
        command.current_dir(self.place.dir()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// A command whose output is read here.
    async fn ask(&self, arguments: &[&str]) -> Result<String, CliError> {
        let output = self.operator(arguments).output().await.map_err(failed)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(failed(format!("drydock {}: {why}", arguments.join(" "))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command as the operator would see it.
    pub(super) async fn show(&self, arguments: &[&str]) -> Result<(), CliError> {
        let mut typed: Vec<&str> = arguments.to_vec();
        if self.color {
            typed.push("--color=always");
        }
        println!("\n$ drydock {}", shown(arguments));
        let status = self.operator(&typed).status().await.map_err(failed)?;
        if !status.success() {
            return Err(failed(format!("drydock {} ended with {status}", shown(arguments))));
        }
        Ok(())
    }

    pub(super) async fn start_coordinator(&mut self) -> Result<(), CliError> {
        let (listen, health) = (free_address()?, free_address()?);
        let log = File::create(self.path("coordinator.log")).map_err(failed)?;
        let state = self.path("coordinator");
        let mut command = self.operator(&["serve"]);
        command.args(["--listen", &listen.to_string(), "--http-listen", &health.to_string()]);
        command.arg("--state-dir").arg(&state).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        until("the coordinator", &mut child, &self.path("coordinator.log"), || {
            service::answers(health, "/healthz")
        })
        .await?;
        self.coordinator = Some(child);
        Ok(())
    }

    /// The binary of a version: this program with the version behind it, so that two versions are two files
    /// with digests of their own.
    fn write_service(&self, path: &Path, version: &Version) -> Result<(), CliError> {
        let mut from = File::open(&self.me).map_err(failed)?;
        let mut to = File::options().write(true).create_new(true).mode(0o755).open(path).map_err(failed)?;
        std::io::copy(&mut from, &mut to).map_err(failed)?;
        to.write_all(service::trailer(version).as_bytes()).map_err(failed)
    }

    pub(super) async fn sign_artifact(&mut self, to: &Version) -> Result<String, CliError> {
        let path = self.path("web");
        self.write_service(&path, to)?;
        let key = self.ask(&["artifact", "keygen", "--no-password", "-o", "json"]).await?;
        self.public_key = text_of(&key, "publicKey")?;
        self.ask(&["artifact", "sign", "web", "--component", "web", "--version", to.as_str()]).await?;
        Ok("./web".to_owned())
    }

    /// Enrols a node by a one-time token and starts its agent, which starts the service.
    pub(super) async fn start_node(&mut self, number: u16, from: &Version) -> Result<(), CliError> {
        let name = format!("node-{number}");
        let (dir, address) = (self.path(&name), free_address()?);
        std::fs::create_dir(&dir).map_err(failed)?;
        self.write_service(&dir.join("web"), from)?;
        let (policy, state, log) = (dir.join("agent.toml"), dir.join("state"), dir.join("agent.log"));
        write_private(&policy, &self.policy(&dir.join("web"), address))?;
        let port = format!("port={}", address.port());
        let token = self
            .ask(&["token", "create", &name, "--label", "role=web", "--label", &port, "-o", "json"])
            .await?;
        self.enrol(&dir, &state, &token).await?;
        let mut command = Command::new(&self.agent);
        command.arg("--state-dir").arg(&state).arg("--policy").arg(&policy).arg("run");
        let file = File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        until(&format!("the service of {name}"), &mut child, &log, || service::answers(address, "/healthz"))
            .await?;
        self.agents.push(child);
        self.wait_connected(&name).await?;
        self.services.push((name, address));
        Ok(())
    }

    async fn enrol(&self, dir: &Path, state: &Path, created: &str) -> Result<(), CliError> {
        let file = dir.join("token");
        write_private(&file, &text_of(created, "token")?)?;
        let mut command = Command::new(&self.agent);
        command.arg("--state-dir").arg(state).args(["enrol", "--token-file"]).arg(&file);
        let output = command.stdin(Stdio::null()).output().await.map_err(failed)?;
        if !output.status.success() {
            return Err(failed(format!("enrolling: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        std::fs::remove_file(&file).map_err(failed)
    }

    async fn wait_connected(&self, name: &str) -> Result<(), CliError> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            let node = self.ask(&["node", "show", name, "-o", "json"]).await?;
            let node: serde_json::Value = serde_json::from_str(&node).map_err(failed)?;
            if node.get("connected") == Some(&serde_json::Value::Bool(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(failed(format!(
                    "the agent of {name} did not attach within {} s",
                    UP_WITHIN.as_secs()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn policy(&self, binary: &Path, address: SocketAddr) -> String {
        let (binary, key) = (binary.display(), &self.public_key);
        format!(
            "# What this node of the demo allows.\nunits = [\"{UNIT}\"]\nsigning_keys = [{{ key = \"{key}\" }}]\n\n\
             [binaries.\"{binary}\"]\ncomponent = \"web\"\n\n[supervisor]\nas_root_beside_systemd = true\n\n\
             [supervisor.services.\"{UNIT}\"]\npath = \"{binary}\"\nargs = [\"demo-service\", \"--listen\", \"{address}\"]\n\
             stop_timeout = \"5s\"\n"
        )
    }

    pub(super) fn write_plan(&self, artifact: &str, to: &Version) -> Result<String, CliError> {
        let root = self.place.dir().display();
        let url = "http://127.0.0.1:{label:port}";
        let text = format!(
            "apiVersion: drydock/v1\nkind: Plan\nmetadata:\n  name: web-{to}\nspec:\n  stages:\n    - name: web\n\
             \x20     component: web\n      recipe: systemd-binary\n      to: \"{to}\"\n      artifact:\n        path: {artifact}\n\
             \x20     with:\n        unit: {UNIT}\n        path: \"{root}/{{node}}/web\"\n\
             \x20       health:\n          http:\n            url: \"{url}/healthz\"\n\
             \x20       version:\n          http:\n            url: \"{url}/version\"\n\
             \x20     waves:\n        - name: all\n          nodes:\n            labels:\n              role: web\n          soak: 1s\n"
        );
        let path = self.path("web.yaml");
        std::fs::write(&path, text).map_err(failed)?;
        Ok("web.yaml".to_owned())
    }

    /// Ends everything as systemd would.
    pub(super) async fn stop(&mut self) {
        let children = self.agents.drain(..).chain(self.coordinator.take());
        let mut children: Vec<Child> = children.collect();
        for child in &children {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        for child in &mut children {
            if timeout(DOWN_WITHIN, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

/// A text of a document that a command printed.
fn text_of(json: &str, key: &str) -> Result<String, CliError> {
    let document: serde_json::Value = serde_json::from_str(json).map_err(failed)?;
    let text = document.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
    text.ok_or_else(|| failed(format!("a command printed no {key}")))
}

/// As it would be typed: without the demo's own paths.
fn shown(arguments: &[&str]) -> String {
    arguments.join(" ")
}

/// Waits until a process answers; says what it printed when it does not.
async fn until<F>(
    what: &str,
    child: &mut Child,
    log: &Path,
    mut answers: impl FnMut() -> F,
) -> Result<(), CliError>
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + UP_WITHIN;
    while Instant::now() < deadline {
        if answers().await {
            return Ok(());
        }
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Err(failed(format!("{what} ended with {status}: {}", last_line(log))));
        }
        sleep(LOOK_EVERY).await;
    }
    Err(failed(format!("{what} does not answer within {} s: {}", UP_WITHIN.as_secs(), last_line(log))))
}

fn last_line(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2000))).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        text.lines().next_back().map(str::to_owned)
    };
    read().unwrap_or_else(|| "it printed nothing".to_owned())
}

/// A port that is free now. Nobody else is given it in the moment until it is used.
fn free_address() -> Result<SocketAddr, CliError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.local_addr().map_err(failed)
}

fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
