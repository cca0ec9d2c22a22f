//! The coordinator, its operator's command line, and the agents: as a user would start them.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{Memory, Process, output, wait_for};

/// The programs that are measured.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `drydock-agent`.
    pub(crate) agent: PathBuf,
    /// `drydock`.
    pub(crate) drydock: PathBuf,
}

/// A coordinator and its connected agents. All of it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    drydock: PathBuf,
    dir: PathBuf,
    // The agents go first: none of them should have to find out that its coordinator is gone.
    agents: RefCell<Vec<Process>>,
    coordinator: RefCell<Process>,
}

/// A node's name, `n01` being the first.
pub(crate) fn name(number: u32) -> String {
    format!("n{number:02}")
}

impl Fleet {
    /// Starts and enrols everything, one agent after another, and waits until all are connected.
    pub(crate) fn start(programs: &Programs, dir: &Path, nodes: u32) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let coordinator = start_coordinator(&programs.drydock, dir)?;
        let fleet = Self {
            drydock: programs.drydock.clone(),
            dir: dir.to_owned(),
            agents: RefCell::new(Vec::new()),
            coordinator: RefCell::new(coordinator),
        };
        fleet.wait_for_line("the coordinator's start", "\"serving\"")?;
        // The agents' own key: what one of them fetches later is judged as any artifact is.
        let key = fleet.operate(&["artifact", "keygen", "--no-password", &fleet.path("signing.key")])?;
        let key = key["publicKey"].as_str().context("keygen printed no key")?;
        let policy = dir.join("agent.toml");
        fs::write(&policy, format!("signing_keys = [{{ key = \"{key}\" }}]\n"))?;
        let tokens = fleet.tokens(nodes)?;
        for (number, token) in (1..).zip(tokens) {
            let agent = start_agent(&programs.agent, &dir.join(name(number)), &policy, &token);
            fleet.agents.borrow_mut().push(agent.with_context(|| name(number))?);
        }
        let all = || Ok((fleet.connected()? == nodes as usize).then_some(()));
        wait_for("all agents connected", Duration::from_secs(30), Duration::from_millis(100), all)?;
        Ok(fleet)
    }

    /// Where a file of the bench lies, as an argument.
    pub(crate) fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u32 {
        u32::try_from(self.agents.borrow().len()).unwrap_or(u32::MAX)
    }

    /// What the coordinator holds in memory.
    pub(crate) fn coordinator_memory(&self) -> Result<Memory> {
        self.coordinator.borrow().memory()
    }

    /// What each agent holds in memory.
    pub(crate) fn memory(&self) -> Result<Vec<Memory>> {
        self.agents.borrow().iter().map(Process::memory).collect()
    }

    /// Runs `drydock` as the operator and brings the document that it prints.
    pub(crate) fn operate(&self, words: &[&str]) -> Result<Value> {
        let text = self.operate_text(words)?;
        serde_json::from_str(&text).with_context(|| format!("drydock {} printed: {text}", words.join(" ")))
    }

    pub(crate) fn operate_text(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.drydock);
        command.args(words).args(["-o", "json"]).env("DRYDOCK_CONFIG_DIR", self.dir.join("config"));
        command.env_remove("DRYDOCK_CONTEXT");
        output(&format!("drydock {}", words.join(" ")), &mut command)
    }

    /// One token a node, through the operator service.
    fn tokens(&self, nodes: u32) -> Result<Vec<String>> {
        let hosts: String = (1..=nodes).map(|number| name(number) + "\n").collect();
        fs::write(self.dir.join("hosts.txt"), hosts)?;
        let lines = self.operate_text(&["token", "create", "--from", &self.path("hosts.txt")])?;
        let read = |line: &str| -> Result<String> {
            let token: Value = serde_json::from_str(line)?;
            Ok(token["token"].as_str().context("no token in the answer")?.to_owned())
        };
        lines.lines().map(read).collect()
    }

    fn connected(&self) -> Result<usize> {
        self.agents.borrow_mut().iter_mut().try_for_each(Process::is_there)?;
        let nodes = self.operate(&["node", "list"])?;
        let nodes = nodes.as_array().context("node list printed no list")?;
        Ok(nodes.iter().filter(|node| node["connected"] == true).count())
    }

    /// Bytes that the coordinator's log has now.
    pub(crate) fn log_length(&self) -> Result<usize> {
        Ok(usize::try_from(fs::metadata(self.dir.join("coordinator.log"))?.len())?)
    }

    /// The lines of the coordinator's log from there on.
    pub(crate) fn log_from(&self, start: usize) -> Result<String> {
        self.coordinator.borrow_mut().is_there()?;
        let log = fs::read_to_string(self.dir.join("coordinator.log"))?;
        Ok(log.get(start..).unwrap_or_default().to_owned())
    }

    fn wait_for_line(&self, what: &str, text: &str) -> Result<()> {
        let look = || Ok(self.log_from(0)?.contains(text).then_some(()));
        wait_for(what, Duration::from_secs(20), Duration::from_millis(20), look)
    }
}

/// On a port that the system chooses, which is written to the contexts and tokens. Its log, as a coordinator
/// writes it unless told otherwise, says when a node enters a phase, to the microsecond.
fn start_coordinator(drydock: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(drydock);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "json", "--state-dir"])
        .arg(dir.join("coordinator"));
    command.env("DRYDOCK_CONFIG_DIR", dir.join("config"));
    command.env("DRYDOCK_LOG_FILTER", "info");
    Process::start("the coordinator", &mut command, &dir.join("coordinator.log"))
}

fn start_agent(agent: &Path, dir: &Path, policy: &Path, token: &str) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let base = || {
        let mut command = Command::new(agent);
        command.arg("--state-dir").arg(dir.join("state")).arg("--policy").arg(policy);
        command
    };
    output("enrolling", base().arg("enrol").env("DRYDOCK_TOKEN", token))?;
    let process = Process::start("an agent", base().arg("run"), &dir.join("agent.log"))?;
    if !dir.join("state/identity.json").exists() {
        bail!("it was enrolled and has no identity");
    }
    Ok(process)
}
