//! A coordinator with nodes, enrolled through the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_core::view::{Phase, RunNodeView, RunStatus, RunView};
use tempfile::TempDir;

use crate::{
    Behaviour, Ran, binaries, cli,
    coordinator::Coordinator,
    node::{COMPONENT, Node, UNIT},
    process, release, wait,
};

/// A fleet. Its processes end and its files go when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// Its nodes: `n1`, `n2`, …
    pub nodes: Vec<Node>,
    /// Its coordinator.
    pub coordinator: Coordinator,
    /// The public half of the key that signs its artifacts.
    pub public_key: String,
    // Last: removed when the processes are gone.
    dir: TempDir,
}

impl Fleet {
    /// A coordinator and `count` nodes, all connected, each with version 1.0.0 of the service running.
    ///
    /// # Panics
    /// When something of it does not come up; the logs are in the message.
    #[must_use]
    pub fn start(count: usize) -> Self {
        let mut fleet = Self::without_nodes();
        for number in 1..=count {
            fleet.add(&format!("n{number}"));
        }
        for node in &mut fleet.nodes {
            node.start();
        }
        fleet.all_connected();
        fleet
    }

    /// A coordinator alone.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn without_nodes() -> Self {
        let mut fleet = Self::offline();
        fleet.coordinator.start();
        fleet
    }

    /// Only directories and a signing key: nothing runs.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn offline() -> Self {
        let dir = tempfile::Builder::new().prefix("fleet-").tempdir_in(binaries::scratch());
        let dir = dir.unwrap_or_else(|error| panic!("a directory: {error}"));
        let config = dir.path().join("config");
        let keygen = ["-o", "json", "artifact", "keygen", "--no-password", "signing.key"];
        let key = cli::drydock(dir.path(), &config, &keygen);
        let key = key.exits(0).json();
        let public_key = key["publicKey"].as_str().unwrap_or_default().to_owned();
        let coordinator = Coordinator::new(dir.path());
        Self { nodes: Vec::new(), coordinator, public_key, dir }
    }

    /// Where everything of it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Enrols another node; its agent is not started.
    ///
    /// # Panics
    /// When it cannot be enrolled.
    pub fn add(&mut self, name: &str) -> &mut Node {
        let node = Node::new(self.dir.path(), name, &self.public_key);
        let token = self.token(
            name,
            &[
                "--label",
                "role=demo",
                "--label",
                &format!("ip={}", node.service.ip()),
                "--label",
                &format!("port={}", node.service.port()),
            ],
        );
        node.enrol(&token).exits(0);
        self.nodes.push(node);
        let last = self.nodes.len() - 1;
        &mut self.nodes[last]
    }

    /// A join token.
    #[must_use]
    pub fn token(&self, name: &str, flags: &[&str]) -> String {
        let typed = [&["-o", "json", "token", "create", name], flags].concat();
        self.drydock(&typed).exits(0).json()["token"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds an operator beside `admin`, whom commands still are typed by: `--context NAME` is the other one.
    ///
    /// # Panics
    /// When it cannot be issued.
    pub fn second_operator(&self, name: &str) {
        let mut command = process::command(&binaries::path("second-operator"), self.dir());
        command.arg(self.coordinator.state_dir()).arg(self.coordinator.config_dir());
        command.args([&self.coordinator.address.to_string(), name]);
        cli::run(command, wait::SOON).exits(0);
        self.drydock(&["context", "use", "admin"]).exits(0);
    }

    /// A command typed by the operator, in the fleet's directory.
    #[must_use]
    pub fn drydock(&self, args: &[&str]) -> Ran {
        cli::drydock(self.dir(), &self.coordinator.config_dir(), args)
    }

    /// The same, as a process that goes on.
    #[must_use]
    pub fn drydock_in_background(&self, log: &str, args: &[&str]) -> process::Process {
        let mut command = process::command(&binaries::path("drydock"), self.dir());
        command.current_dir(self.dir()).arg("--config-dir").arg(self.coordinator.config_dir()).args(args);
        process::Process::start(&format!("drydock {}", args.join(" ")), command, &self.dir().join(log))
    }

    /// Writes and signs a version of the service: `demo-VERSION` in the fleet's directory.
    pub fn release(&self, version: &str, behaviour: Behaviour) -> PathBuf {
        let file = self.dir().join(format!("demo-{version}"));
        release::write(&file, version, behaviour);
        self.sign(&file, COMPONENT, version);
        file
    }

    /// Signs a file as a version of a component.
    pub fn sign(&self, file: &Path, component: &str, version: &str) {
        let file = file.display().to_string();
        let typed = [
            "artifact",
            "sign",
            &file,
            "--component",
            component,
            "--version",
            version,
            "--key",
            "signing.key",
        ];
        self.drydock(&typed).exits(0);
    }

    /// The text of a plan that brings every node to `version`, from the file that [`Fleet::release`] wrote.
    #[must_use]
    pub fn plan_text(&self, version: &str) -> String {
        let dir = self.dir().display();
        format!(
            "apiVersion: drydock/v1\n\
             kind: Plan\n\
             metadata: {{name: demo-{version}}}\n\
             spec:\n\
             \x20 stages:\n\
             \x20   - name: demo\n\
             \x20     component: {COMPONENT}\n\
             \x20     recipe: systemd-binary\n\
             \x20     to: \"{version}\"\n\
             \x20     artifact: {{path: ./demo-{version}}}\n\
             \x20     with:\n\
             \x20       unit: {UNIT}\n\
             \x20       path: \"{dir}/{{node}}/bin/demo\"\n\
             \x20       health: {{http: {{url: \"http://{{label:ip}}:{{label:port}}/healthz\"}}}}\n\
             \x20       version: {{http: {{url: \"http://{{label:ip}}:{{label:port}}/version\", pointer: /version}}}}\n\
             \x20     waves:\n\
             \x20       - name: all\n\
             \x20         nodes: {{labels: {{role: demo}}}}\n\
             \x20         soak: 0s\n"
        )
    }

    /// The same plan by a recipe that gives a changed service three seconds to be well, and not minutes.
    ///
    /// # Panics
    /// When the recipe cannot be written, or is no longer what it was.
    #[must_use]
    pub fn impatient(&self, plan: &str) -> String {
        let recipe = include_str!("../../../coordinator/recipes/systemd-binary.yaml");
        let (before, after) =
            recipe.split_once("  verify:").unwrap_or_else(|| panic!("no verify in {recipe}"));
        let (verify, returned) =
            after.split_once("  returned:").unwrap_or_else(|| panic!("no returned in {after}"));
        let verify = verify.replace("probe: ${health}\n", "probe: ${health}\n        within: 3s\n");
        let verify = verify.replace("source: ${?version}\n", "source: ${?version}\n        within: 3s\n");
        let after = format!("{verify}  returned:{returned}");
        assert_eq!(after.matches("within: 3s").count(), 2, "{after}");
        self.write("impatient-recipe.yaml", &format!("{before}  verify:{after}"));
        plan.replace("recipe: systemd-binary", "recipe: ./impatient-recipe.yaml")
    }

    /// Writes a plan; its file name.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.dir().join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
        name.to_owned()
    }

    /// The usual plan in the usual file, with its release.
    pub fn plan(&self, version: &str, behaviour: Behaviour) -> String {
        self.release(version, behaviour);
        self.write(&format!("plan-{version}.yaml"), &self.plan_text(version))
    }

    /// A run as it stands; 0 is the newest.
    ///
    /// # Panics
    /// When there is no answer, or it is not a run.
    #[must_use]
    pub fn run(&self, number: u64) -> RunView {
        self.try_run(number).unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same, while the coordinator may be away.
    ///
    /// # Errors
    /// What was said.
    pub fn try_run(&self, number: u64) -> Result<RunView, String> {
        let typed = format!("{number}");
        let ran = match number {
            0 => self.drydock(&["-o", "json", "run", "show"]),
            _ => self.drydock(&["-o", "json", "run", "show", &typed]),
        };
        serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {}", ran.said()))
    }

    /// Waits until a run stands so.
    ///
    /// # Panics
    /// When it does not in time; the run is in the message.
    pub fn until_run(&self, what: &str, within: Duration, mut is: impl FnMut(&RunView) -> bool) -> RunView {
        let began = std::time::Instant::now();
        loop {
            let seen = self.try_run(0);
            match &seen {
                Ok(view) if is(view) => return view.clone(),
                _ if began.elapsed() > within => {
                    panic!("waited {within:?} in vain: {what}\n{}", self.everything(&seen))
                }
                _ => wait::pause(Duration::from_millis(50)),
            }
        }
    }

    /// Waits until the newest run is over or holds.
    ///
    /// # Panics
    /// When it ends otherwise, or not in time.
    pub fn until_status(&self, status: RunStatus) -> RunView {
        self.until_run(&format!("the run to be {status:?}"), wait::RUN, |view| view.status == status)
    }

    /// Waits until every agent's stream is open.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn all_connected(&self) {
        wait::until_true("all agents to be connected", wait::SOON, || {
            let nodes = self.drydock(&["-o", "json", "node", "list"]).exits(0).json();
            let nodes = nodes.as_array().cloned().unwrap_or_default();
            nodes.len() == self.nodes.len() && nodes.iter().all(|node| node["connected"] == true)
        });
    }

    /// The logs of everything, for a message.
    #[must_use]
    pub fn everything(&self, view: &Result<RunView, String>) -> String {
        let view = view.as_ref().map(summary).unwrap_or_else(Clone::clone);
        let agents = self.nodes.iter().map(|node| format!("--- {}\n{}", node.name, tail(&node.log())));
        format!("{view}\n--- coordinator\n{}\n{}", tail(&self.coordinator.log()), agents.collect::<String>())
    }
}

/// The nodes of a run.
pub fn nodes(view: &RunView) -> impl Iterator<Item = &RunNodeView> {
    view.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes)
}

/// Where each node of a run is.
#[must_use]
pub fn phases(view: &RunView) -> Vec<Phase> {
    nodes(view).map(|node| node.phase).collect()
}

fn summary(view: &RunView) -> String {
    let nodes: Vec<_> =
        nodes(view).map(|node| format!("{} {} {}", node.node, node.phase.word(), node.note)).collect();
    let log: Vec<_> =
        view.log.iter().map(|line| format!("{} {:?} {}", line.seq, line.node, line.text)).collect();
    format!(
        "run {} {:?}\n{nodes:#?}\nwaiting {:#?}\nhold {:#?}\n{log:#?}",
        view.number, view.status, view.waiting, view.hold
    )
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
