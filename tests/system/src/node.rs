//! A node: its agent, what its policy allows, its service, and what that service itself can tell.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::Sha256;

use crate::{
    Behaviour, Ran, binaries, cli, place,
    process::{self, Process},
    release, wait,
};

/// The name of the service at every node.
pub const UNIT: &str = "demo.service";
/// The component that it is.
pub const COMPONENT: &str = "demo";

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where all its files are.
    pub dir: PathBuf,
    /// Where its service listens.
    pub service: SocketAddr,
    /// Its agent.
    pub agent: Option<Process>,
}

impl Node {
    /// A node with version 1.0.0 of the service installed and a policy that lets it be exchanged; not enrolled.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new(dir: &Path, name: &str, public_key: &str) -> Self {
        let node = Self { name: name.into(), dir: dir.join(name), service: place::free(), agent: None };
        fs::create_dir_all(node.dir.join("bin")).unwrap_or_else(|error| panic!("{name}: {error}"));
        release::write(&node.binary(), "1.0.0", Behaviour::Well);
        node.write_policy(&node.policy(public_key));
        node
    }

    /// The managed binary.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.dir.join("bin/demo")
    }

    /// The agent's state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The agent's log, of all its starts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// The usual policy.
    #[must_use]
    pub fn policy(&self, public_key: &str) -> String {
        let (binary, dir, service) = (self.binary(), self.dir.display(), self.service);
        let binary = binary.display();
        format!(
            "units = [\"{UNIT}\"]\n\
             signing_keys = [{{ key = \"{public_key}\" }}]\n\
             [binaries.\"{binary}\"]\ncomponent = \"{COMPONENT}\"\n\
             [supervisor]\nas_root_beside_systemd = true\n\
             [supervisor.services.\"{UNIT}\"]\npath = \"{binary}\"\nargs = [\"{service}\", \"{dir}/starts\"]\n\
             directory = \"{dir}\"\nstop_timeout = \"5s\"\n"
        )
    }

    /// Replaces the policy; obeyed at the agent's next start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_policy(&self, text: &str) {
        fs::write(self.dir.join("agent.toml"), text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// `drydock-agent` with this node's directories.
    #[must_use]
    pub fn command(&self) -> std::process::Command {
        let mut command = process::command(&binaries::path("drydock-agent"), &self.dir);
        command.arg("--state-dir").arg(self.state_dir()).arg("--policy").arg(self.dir.join("agent.toml"));
        command.args(["--log", "info,drydock_agent=debug"]);
        command
    }

    /// `drydock-agent enrol`, with the token on stdin's stead in a file.
    ///
    /// # Panics
    /// When the token cannot be written.
    #[must_use]
    pub fn enrol(&self, token: &str) -> Ran {
        let file = self.dir.join("token");
        fs::write(&file, token).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut command = self.command();
        command.args(["enrol", "--token-file"]).arg(&file);
        let ran = cli::run(command, wait::SOON);
        drop(fs::remove_file(&file));
        ran
    }

    /// Starts the agent and returns at once.
    pub fn launch(&mut self) {
        self.launch_as(self.command());
    }

    /// Starts the agent by another command, which has the usual one in it.
    pub fn launch_as(&mut self, command: std::process::Command) {
        self.agent = Some(Process::start(&format!("the agent of {}", self.name), command, &self.log_file()));
    }

    /// Starts the agent and waits for its service.
    ///
    /// # Panics
    /// When that does not answer in time.
    pub fn start(&mut self) {
        self.launch();
        wait::until(&format!("the service of {} to answer", self.name), wait::SOON, || self.version());
    }

    /// `kill -9` of the agent; its service dies with it.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    /// The version that the running service answers.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let (code, body) = get(self.service, "/version")?;
        let body: serde_json::Value = serde_json::from_str(&body).ok()?;
        (code == 200).then(|| body["version"].as_str().map(str::to_owned))?
    }

    /// From now on the service says that it is ill, or is well again.
    ///
    /// # Panics
    /// When the file that tells it cannot be written or removed.
    pub fn make_ill(&self, ill: bool) {
        let file = self.dir.join("ill");
        let done = if ill { fs::write(&file, "") } else { fs::remove_file(&file) };
        done.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// The process of the service that was started last, by its own count.
    #[must_use]
    pub fn service_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.dir.join("starts")).unwrap_or_default();
        text.lines().last()?.split_once(' ')?.1.parse().ok()
    }

    /// The versions that the service was started with, counted by itself.
    #[must_use]
    pub fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("starts")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    }

    /// The digest of the file that is installed.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn installed(&self) -> Sha256 {
        digest(&self.binary())
    }

    /// Names beside the managed binary: what an exchange left behind would be here.
    #[must_use]
    pub fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("bin")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != "demo")
            .collect()
    }

    /// The effects that the agent's journal accepted, in order: each stands there once for each time.
    ///
    /// A young journal is not compacted, so nothing of it is gone yet.
    #[must_use]
    pub fn accepted(&self) -> Vec<String> {
        const RECORD: &str = "{\"accepted\":{\"effect\":\"";
        let journal = fs::read(self.state_dir().join("journal/journal")).unwrap_or_default();
        let journal = String::from_utf8_lossy(&journal);
        let effects = journal.split(RECORD).skip(1);
        effects.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    }

    /// Everything that its agent ever logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }
}

/// The digest of a file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn digest(path: &Path) -> Sha256 {
    Sha256::of(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// HTTP GET: status and body, when there is an answer within a second.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let second = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, second).ok()?;
    stream.set_read_timeout(Some(second)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}
