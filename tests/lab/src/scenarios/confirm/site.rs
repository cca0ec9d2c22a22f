//! Nodes with Drydock, a small service that can be upgraded, and witnesses that take connections.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::exec::{Cmd, Output};
use crate::fleet::{Fleet, agents};
use crate::scenarios::answering;
use crate::{Lab, LabOptions, Node};

/// The service.
pub(super) const UNIT: &str = "cutter.service";
pub(super) const BINARY: &str = "/usr/local/bin/cutter";
pub(super) const AGENT: &str = "/usr/bin/drydock-agent";
/// How long a command of the operator may take that waits for a run's end.
const RUN: Duration = Duration::from_secs(240);

/// A service that says its version, does something at its start, and sleeps for ever.
const SOURCE: &str = r#"#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) { puts("cutter " VERSION); return 0; }
    fputs("cutter " VERSION " starts\n", stderr);
    if (*AT_START && system(AT_START)) fputs("what is done at the start failed\n", stderr);
    for (;;) pause();
}
"#;
/// Says what a program says that cannot start, and ends with 1; asked for its version it answers.
const CRASHES: &str = r#"#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) { puts("drydock-agent " VERSION); return 0; }
    fputs("drydock-agent " VERSION ": cannot start: this build is broken on purpose\n", stderr);
    return 1;
}
"#;
const SERVICE: &str = "[Unit]\nDescription=A service that can cut its node off\n[Service]\n\
    ExecStart=/usr/local/bin/cutter\nRestart=always\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n";

/// The scene.
pub(super) struct Site<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) fleet: Fleet<'lab>,
    /// What the installed agents say.
    pub(super) version: String,
    /// Their program.
    agent: Vec<u8>,
}

/// A plan over some nodes.
pub(super) struct Plan<'a> {
    pub(super) file: &'a str,
    pub(super) component: &'a str,
    pub(super) recipe: &'a str,
    pub(super) with: &'a str,
    pub(super) to: &'a str,
    pub(super) artifact: Option<&'a str>,
    pub(super) nodes: &'a str,
}

/// Boots so many nodes.
pub(super) fn boot(count: usize) -> Result<Lab> {
    let started = Instant::now();
    let lab = Lab::up(count, LabOptions::default())?;
    println!("lab {}: {count} nodes up after {} ms", lab.id(), started.elapsed().as_millis());
    Ok(lab)
}

impl<'lab> Site<'lab> {
    /// Sets the scene.
    pub(super) fn set(lab: &'lab Lab) -> Result<Self> {
        let fleet = Fleet::install(lab, "fleet")?;
        let version = lab.node(1).run(&[AGENT, "--version"])?;
        let version = version.strip_prefix("drydock-agent ").context("the agent's version")?.to_owned();
        let agent = lab.node(1).read_file(AGENT)?;
        let site = Self { lab, fleet, version, agent };
        let first = site.compile("cutter-1.0", SOURCE, "1.0", "")?;
        for node in lab.nodes() {
            node.copy_in(&first, BINARY, 0o755)?;
            node.write_file("/etc/systemd/system/cutter.service", SERVICE.as_bytes(), 0o644)?;
            answering::install(node)?;
            site.allow(node)?;
            node.run(&["systemctl", "daemon-reload"])?;
            node.run(&["systemctl", "enable", "--now", "--quiet", UNIT, answering::SOCKET_UNIT])?;
            node.run(&["systemctl", "restart", "drydock-agent.service"])?;
        }
        site.fleet.wait_connected(lab.nodes().len())?;
        Ok(site)
    }

    /// What this administrator lets be done on the node, beside what the fleet's installation says.
    fn allow(&self, node: &Node) -> Result<()> {
        let file = "/etc/drydock/agent.toml";
        let policy = String::from_utf8(node.read_file(file)?).context("the policy")?;
        let head = format!(
            "allow_reboot = true\nunits = [\"{UNIT}\"]\nprobe_targets = [\"*:{}\"]\nprofiles = \
             [\"drydock-agent\", \"etcd\"]",
            answering::PORT
        );
        let policy = policy.replace("profiles = [\"etcd\"]", &head);
        let tail = format!(
            "\n[binaries.\"{BINARY}\"]\ncomponent = \"cutter\"\n\n[version_commands.cutter]\npath = \"{BINARY}\"\n\
             args = [\"--version\"]\nunit = \"{UNIT}\"\n"
        );
        Ok(node.write_file(file, format!("{policy}{tail}").as_bytes(), 0o644)?)
    }

    /// The witnesses of a plan: every node's, its own counts for nothing.
    pub(super) fn witnesses(&self) -> String {
        answering::witnesses(self.lab)
    }

    fn compile(&self, name: &str, source: &str, version: &str, at_start: &str) -> Result<PathBuf> {
        let (file, binary) = (self.lab.dir().join(format!("{name}.c")), self.lab.dir().join(name));
        fs::write(&file, source).with_context(|| format!("write {}", file.display()))?;
        Cmd::new("compiling a program of the scene", "cc")
            .args([format!("-DVERSION=\"{version}\""), format!("-DAT_START=\"{at_start}\"")])
            .args(["-static", "-o"])
            .args([&binary, &file])
            .run()?;
        Ok(binary)
    }

    /// A newer version of the service, signed; gives its path from the fleet's directory.
    pub(super) fn newer_service(&self, version: &str, at_start: &str) -> Result<String> {
        let binary = self.compile(&format!("cutter-{version}"), SOURCE, version, at_start)?;
        self.sign(&binary, "cutter", version)
    }

    /// An agent that cannot start, signed.
    pub(super) fn broken_agent(&self, version: &str) -> Result<String> {
        let binary = self.compile("broken-agent", CRASHES, version, "")?;
        self.sign(&binary, "drydock-agent", version)
    }

    /// The agent that is installed, saying another version of the same length: signed.
    pub(super) fn newer_agent(&self, version: &str) -> Result<String> {
        ensure!(version.len() == self.version.len(), "{version} has another length than {}", self.version);
        let mut bytes = self.agent.clone();
        let (old, new) = (format!("drydock-agent {}", self.version), format!("drydock-agent {version}"));
        let mut found = 0;
        let mut at = 0;
        while let Some(next) = bytes[at..].windows(old.len()).position(|window| window == old.as_bytes()) {
            at += next;
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            found += 1;
        }
        ensure!(found > 0, "the agent does not hold its own version as one text");
        let binary = self.lab.dir().join(format!("drydock-agent-{version}"));
        fs::write(&binary, bytes).with_context(|| format!("write {}", binary.display()))?;
        self.sign(&binary, "drydock-agent", version)
    }

    fn sign(&self, binary: &PathBuf, component: &str, version: &str) -> Result<String> {
        let name = format!("{component}-{version}");
        let file = self.fleet.dir().join(&name);
        fs::copy(binary, &file).with_context(|| format!("copy {}", binary.display()))?;
        let words = ["artifact", "sign", &name, "--component", component, "--version", version];
        self.fleet.succeed(&[&words[..], &["--key", agents::SIGNING_KEY]].concat())?;
        Ok(format!("./{name}"))
    }

    /// The recipe of the service, whose newer versions can cut the node off.
    pub(super) fn write_recipe(&self, within: Duration) -> Result<()> {
        let text = format!(
            "apiVersion: drydock/v1\nkind: Recipe\nmetadata:\n  name: cutter\n  component: cutter\n  \
             summary: a service that can cut its node off\nspec:\n  detect: {{unit: {UNIT}, path: {BINARY}, version: \
             {{command: {{name: cutter}}}}}}\n  stage: [fetchArtifact, {{checkSwap: {{path: {BINARY}}}}}]\n  gate: \
             [versionSkew]\n  apply: [{{swapBinary: {{path: {BINARY}}}}}, {{restartUnit: {{unit: {UNIT}}}}}]\n  \
             verify: [{{runningExecutable: {{unit: {UNIT}, path: {BINARY}, stableFor: 0s}}}}]\n  commitConfirmed: \
             {{within: {}s, witness: {}}}\n",
            within.as_secs(),
            self.witnesses()
        );
        let path = self.fleet.dir().join("cutter.yaml");
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn write_plan(&self, plan: &Plan<'_>) -> Result<()> {
        let Plan { file, component, recipe, with, to, artifact, nodes } = plan;
        let artifact = artifact.map(|path| format!("      artifact: {{path: {path}}}\n")).unwrap_or_default();
        let with = if with.is_empty() { String::new() } else { format!("      with: {with}\n") };
        let text = format!(
            "apiVersion: drydock/v1\nkind: Plan\nmetadata: {{name: {component}}}\nspec:\n  stages:\n    - name: only\n      \
             component: {component}\n      recipe: {recipe}\n{with}      to: \"{to}\"\n{artifact}      waves:\n        \
             - name: all\n          nodes: {{names: {nodes}}}\n          soak: 1s\n"
        );
        let path = self.fleet.dir().join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Runs a command of the operator and prints it as a terminal would show it.
    pub(super) fn show(&self, words: &[&str]) -> Result<Output> {
        println!("\n$ drydock {}", words.join(" "));
        let output = self.fleet.cli_within(RUN, words)?;
        for text in [output.text(), output.error_text()].iter().filter(|text| !text.is_empty()) {
            println!("{text}");
        }
        println!("[exit {}]", super::super::scene::code(&output));
        Ok(output)
    }

    /// The digest of a file on a node, read from outside.
    pub(super) fn digest(&self, node: &Node, path: &str) -> Result<String> {
        let line = node.run(&["sha256sum", path])?;
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    }
}
