//! Drydock installed in a lab: a coordinator in the lab's network, an agent on every node, one operator.
//!
//! Everything is done by the programs that users have, through their command lines: no Drydock crate is
//! linked here. What is done on the nodes is in [`agents`], what screens show in [`run`].

pub mod agents;
pub mod log;
pub mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use self::log::CoordinatorLog;
use self::run::RunSeen;
use crate::exec::{self, Output};
use crate::guard::ChildGuard;
use crate::lab::Lab;
use crate::node::Node;
use crate::wait::until;
use crate::{Error, Result, built};

const PORT: u16 = 7440;
/// How long one command of the CLI may take, unless it follows a run.
const COMMAND: Duration = Duration::from_secs(60);
const STARTING: Duration = Duration::from_secs(15);
const STOPPING: Duration = Duration::from_secs(10);
const CONNECTING: Duration = Duration::from_secs(20);

/// A coordinator with its operator, and agents on all nodes of a lab.
#[derive(Debug)]
pub struct Fleet<'lab> {
    pub(crate) lab: &'lab Lab,
    name: String,
    dir: PathBuf,
    drydock: PathBuf,
    coordinator: Option<ChildGuard>,
}

/// A node as `node list -o json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Is its stream open?
    pub connected: bool,
}

/// What a plan file says; the rest of it is the same in all scenarios.
#[derive(Debug, Clone)]
pub struct PlanText<'a> {
    /// The plan's name.
    pub name: &'a str,
    /// A built-in recipe, or a file beside the plan.
    pub recipe: &'a str,
    /// The version to reach.
    pub to: &'a str,
    /// The binary, from the plan's directory.
    pub artifact: &'a str,
    /// How long each member is watched.
    pub soak: &'a str,
}

/// What the agents of a fleet are given.
pub struct Outfit<'a> {
    /// The beginning of their policy: profiles, units.
    pub policy: &'a str,
    /// Its tables.
    pub tables: &'a str,
    /// The label of a node.
    pub label: &'a dyn Fn(&Node) -> &'static str,
    /// Is there something on them that is saved before a change? Then they have a key for it, by the first node's age.
    pub backups: bool,
}

impl Outfit<'_> {
    /// Of members of etcd. Debian's package owns the binary; this administrator says that it may be exchanged all the
    /// same.
    #[must_use]
    pub fn etcd() -> Self {
        Self {
            policy: "profiles = [\"etcd\"]",
            tables: "[binaries.\"/usr/bin/etcd\"]\ncomponent = \"etcd\"\nallow_package_owned = true\n",
            label: &|_| "role=etcd",
            backups: true,
        }
    }
}

impl<'lab> Fleet<'lab> {
    /// Starts a coordinator in a directory of the lab, makes the keys, and installs and enrols an agent on
    /// every node, for upgrades of etcd. `name` tells several fleets of one lab apart.
    ///
    /// # Errors
    /// When a program was not built, or a step does not succeed; the error holds what it printed.
    pub fn install(lab: &'lab Lab, name: &str) -> Result<Self> {
        Self::install_for(lab, name, &Outfit::etcd())
    }

    /// The same for something else.
    ///
    /// # Errors
    /// See [`Self::install`].
    pub fn install_for(lab: &'lab Lab, name: &str, outfit: &Outfit<'_>) -> Result<Self> {
        let dir = lab.dir().join(name);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let drydock = built::program("drydock", "DRYDOCK_CLI")?;
        let mut fleet = Self { lab, name: name.to_owned(), dir, drydock, coordinator: None };
        fleet.start_coordinator()?;
        fleet.wait_serving()?;
        let policy = fleet.make_policy(outfit)?;
        for node in lab.nodes() {
            fleet.install_agent(node, &policy, (outfit.label)(node))?;
        }
        fleet.wait_connected(lab.nodes().len())?;
        Ok(fleet)
    }

    /// The directory with plans, keys, the coordinator's state.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the coordinator keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where operators' contexts are.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Where the coordinator is reached, inside the lab.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.lab.host_address())
    }

    /// Starts the coordinator; it serves a moment later.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_coordinator(&mut self) -> Result<()> {
        let mut command = exec::command(&self.drydock);
        command
            .arg("--config-dir")
            .arg(self.config_dir())
            .args(["serve", "--log", "json", "--listen", &self.address(), "--state-dir"])
            .arg(self.state_dir());
        self.coordinator = Some(self.lab.spawn_in_netns(&self.log_name(), &command)?);
        Ok(())
    }

    fn log_name(&self) -> String {
        format!("{}-coordinator", self.name)
    }

    /// Kills the coordinator (SIGKILL).
    ///
    /// # Errors
    /// When it does not die.
    pub fn kill_coordinator(&mut self) -> Result<()> {
        self.coordinator.take().map_or(Ok(()), |mut guard| guard.kill())
    }

    /// Asks the coordinator to end (SIGTERM); one that does not end well is an error.
    ///
    /// # Errors
    /// When it ends with another code than 0, or not in time.
    pub fn stop_coordinator(&mut self) -> Result<()> {
        self.coordinator.take().map_or(Ok(()), |mut guard| guard.finish(STOPPING))
    }

    /// The coordinator's log from its first line on.
    #[must_use]
    pub fn log(&self) -> CoordinatorLog {
        CoordinatorLog::open(self.lab.dir().join(format!("{}.log", self.log_name())))
    }

    /// Waits until the coordinator answers its operator.
    ///
    /// # Errors
    /// When it does not within 15 s.
    pub fn wait_serving(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let answer = self.cli(&["node", "list"])?;
            if answer.status.success() {
                return Ok(());
            }
            let alive = self.coordinator.as_mut().is_some_and(ChildGuard::is_running);
            if !alive || started.elapsed() >= STARTING {
                let log =
                    self.coordinator.as_ref().and_then(|guard| guard.printed().ok()).unwrap_or_default();
                return Err(Error::Waited {
                    what: "the coordinator to answer its operator".to_owned(),
                    waited: started.elapsed(),
                    seen: format!(
                        "`drydock node list` said {}; its log ends with{}",
                        answer.error_text(),
                        exec::last_lines(log.as_bytes())
                    ),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until so many agents have their streams open.
    ///
    /// # Errors
    /// When they do not within 20 s.
    pub fn wait_connected(&self, count: usize) -> Result<()> {
        let mut last = Vec::new();
        until(
            &format!("{count} agents to be connected"),
            CONNECTING,
            Duration::from_millis(50),
            || {
                last = self.nodes()?;
                Ok((last.iter().filter(|node| node.connected).count() >= count).then_some(()))
            },
            || "see `drydock node list` and the node's `journalctl -u drydock-agent`".to_owned(),
        )
    }

    /// The nodes as the operator sees them.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub fn nodes(&self) -> Result<Vec<NodeSeen>> {
        self.json(&["node", "list"])
    }

    /// A run as the operator sees it; 0 is the newest.
    ///
    /// # Errors
    /// When the coordinator does not answer, or there is none.
    pub fn run(&self, number: u64) -> Result<RunSeen> {
        let number = number.to_string();
        let words = ["run", "show", number.as_str()];
        let words = if number == "0" { &words[..2] } else { &words[..] };
        self.json(words)
    }

    /// Runs the CLI as the operator would, in the fleet's directory; any exit code is fine.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub fn cli(&self, words: &[&str]) -> Result<Output> {
        self.cli_within(COMMAND, words)
    }

    /// Like [`Fleet::cli`], with a deadline of its own.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn cli_within(&self, deadline: Duration, words: &[&str]) -> Result<Output> {
        let mut command = exec::command(&self.drydock);
        command.arg("--config-dir").arg(self.config_dir()).args(words).current_dir(&self.dir);
        self.lab.run_in_netns(&command, deadline)
    }

    /// Types a line into a shell in the fleet's directory, as the operator whose context has that name.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn shell(&self, who: &str, line: &str, deadline: Duration) -> Result<Output> {
        let programs = self.drydock.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = exec::command("sh");
        command
            .args(["-c", line])
            .current_dir(&self.dir)
            .env("PATH", format!("{}:{path}", programs.display()));
        command.env("DRYDOCK_CONFIG_DIR", self.config_dir()).env("DRYDOCK_CONTEXT", who);
        self.lab.run_in_netns(&command, deadline)
    }

    /// Like [`Fleet::cli`], but any exit code other than 0 is an error; gives its data.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed.
    pub fn succeed(&self, words: &[&str]) -> Result<String> {
        let output = self.cli(words)?;
        exec::succeed("the operator's command", &format!("drydock {}", words.join(" ")), &output)?;
        Ok(output.text())
    }

    /// What a command prints with `-o json`; exit code 3 (a person must act) is an answer too.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub fn json<T: for<'a> Deserialize<'a>>(&self, words: &[&str]) -> Result<T> {
        let output = self.cli(&[&["-o", "json"], words].concat())?;
        let line = format!("drydock -o json {}", words.join(" "));
        if output.status.code() != Some(3) {
            exec::succeed("the operator's command", &line, &output)?;
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            Error::Unfit(format!("`{line}` printed something unexpected ({error}): {}", output.text()))
        })
    }

    /// Copies a binary to `NAME/etcd` in the fleet's directory and signs it as etcd of that version; gives
    /// its path from there.
    ///
    /// # Errors
    /// When it cannot be copied or signed.
    pub fn sign(&self, binary: &Path, name: &str, version: &str) -> Result<String> {
        self.sign_as("etcd", binary, name, version)
    }

    /// The same as another component: `NAME/COMPONENT`.
    ///
    /// # Errors
    /// When it cannot be copied or signed.
    pub fn sign_as(&self, component: &str, binary: &Path, name: &str, version: &str) -> Result<String> {
        let place = self.dir.join(name);
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        let file = place.join(component);
        fs::copy(binary, &file).map_err(Error::io("copy", binary))?;
        let path = format!("{name}/{component}");
        let words = ["artifact", "sign", &path, "--component", component, "--version", version];
        self.succeed(&[&words[..], &["--key", agents::SIGNING_KEY]].concat())?;
        Ok(format!("./{path}"))
    }

    /// Writes a plan for all members.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_plan(&self, file: &str, plan: &PlanText<'_>) -> Result<()> {
        let PlanText { name, recipe, to, artifact, soak } = plan;
        let text = format!(
            "apiVersion: drydock/v1\nkind: Plan\nmetadata: {{name: {name}}}\nspec:\n  stages:\n    - name: etcd\n      \
             component: etcd\n      recipe: {recipe}\n      to: \"{to}\"\n      artifact: {{path: {artifact}}}\n      \
             waves:\n        - name: members\n          nodes: {{labels: {{role: etcd}}}}\n          \
             order: followers-first\n          soak: {soak}\n      onFailure: rollback\n"
        );
        let path = self.dir.join(file);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }
}
