//! The nodes as K3s's installer leaves them, the fleet over them, and the plan.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use drydock_test_cluster::binaries::{self, Release};
use drydock_test_cluster::cache::Cache;
use drydock_test_cluster::{Admin, objects};
use serde_json::Value;

use super::Datastore;
use super::canary;
use super::kubelet;
use super::network::{self, Network, SOON};
use super::workloads;
use crate::exec::{self, Output};
use crate::fleet::{Fleet, Outfit};
use crate::guard::ChildGuard;
use crate::scenarios::scene::code;
use crate::wait::until;
use crate::{Lab, LabOptions, Node};

/// Beside the servers. The last of them has a real kubelet.
const AGENTS: usize = 2;
/// By Drydock's name.
pub(super) const CLUSTER: &str = "lab";
pub(super) const PLAN: &str = "k3s.yaml";
pub(super) const BINARY: &str = "/usr/local/bin/k3s";
pub(super) const DATA: &str = "/var/lib/rancher/k3s";
const TOKEN: &str = "K3S_TOKEN=a-secret-of-the-lab\n";
pub(super) const KUBE_NODES: &str = "/api/v1/nodes";
/// How long a command may take that waits for the run.
pub(super) const RUN: Duration = Duration::from_secs(420);

/// The scene.
pub(super) struct Site<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) fleet: Fleet<'lab>,
    pub(super) network: Network,
    /// Each server's own, by its node's name.
    pub(super) endpoints: Vec<(String, Admin)>,
    pub(super) newer: Release,
    /// The first so many nodes are servers.
    servers: usize,
    artifact: String,
    _kwok: ChildGuard,
    _datastore: Option<ChildGuard>,
}

/// So many nodes for servers, and two for agents.
pub(super) fn boot(servers: usize) -> Result<Lab> {
    let (started, nodes) = (Instant::now(), servers + AGENTS);
    let packages = kubelet::PACKAGES.map(str::to_owned).to_vec();
    let lab = Lab::up(nodes, LabOptions { packages, ..LabOptions::default() })?;
    println!("lab {}: {nodes} nodes up after {} ms", lab.id(), started.elapsed().as_millis());
    Ok(lab)
}

impl<'lab> Site<'lab> {
    pub(super) fn set(lab: &'lab Lab, datastore: Datastore) -> Result<Self> {
        let started = Instant::now();
        let nodes = lab.nodes().len();
        let servers = nodes - AGENTS;
        let last = lab.node(nodes);
        let cache = Cache::open()?;
        let older = binaries::server(&cache, &Release::usual_before())?;
        for node in lab.nodes() {
            install(node, node_role(node, servers), datastore, node.name() == last.name(), &older)?;
        }
        kubelet::prepare(lab, last)?;
        let store = datastore.start(lab)?;
        start(lab, servers)?;
        let network = Network::enter(lab)?;
        let endpoints = lab.nodes()[..servers].iter().map(|node| endpoint(lab, node));
        let endpoints: Vec<(String, Admin)> = endpoints.collect::<Result<_>>()?;
        let admin = &endpoints[0].1;
        network.until(admin, "all Nodes to be Ready", KUBE_NODES, move |all| {
            all.iter().filter(|node| objects::is(node, "Ready")).count() == nodes
        })?;
        let kwok = play_pods(lab, &cache)?;
        workloads::create(&network, admin, &last.name())?;
        canary::make_room(&network, admin)?;
        println!(
            "a cluster of {servers} servers and {AGENTS} agents with its workloads after {} ms more",
            started.elapsed().as_millis()
        );

        let outfit = Outfit {
            policy: "profiles = [\"k3s\"]",
            tables: "",
            label: &|node| node_role(node, servers).label(),
            backups: true,
        };
        let fleet = Fleet::install_for(lab, "fleet", &outfit)?;
        let newer = Release::usual();
        let artifact = fleet.sign_as("k3s", &binaries::server(&cache, &newer)?, "newer", newer.as_str())?;
        let site =
            Self { lab, fleet, network, endpoints, newer, servers, artifact, _kwok: kwok, _datastore: store };
        site.make_known()?;
        println!(
            "{nodes} agents enrolled and bound, K3s {} signed after {} ms",
            site.newer,
            started.elapsed().as_millis()
        );
        Ok(site)
    }

    /// A client of a server that is up as long as the others are upgraded.
    pub(super) fn admin(&self) -> &Admin {
        &self.endpoints[0].1
    }

    /// The nodes that are servers.
    pub(super) fn servers(&self) -> &'lab [Node] {
        &self.lab.nodes()[..self.servers]
    }

    /// The node with a real kubelet.
    pub(super) fn last(&self) -> &'lab Node {
        self.lab.node(self.lab.nodes().len())
    }

    /// The cluster is added with all its endpoints, and each node is bound to its Node.
    fn make_known(&self) -> Result<()> {
        let file = kubeconfig_file(self.lab, self.lab.node(1)).display().to_string();
        let mut words = vec!["cluster".to_owned(), "add".into(), CLUSTER.into(), "--kubeconfig".into(), file];
        for node in self.servers() {
            words.extend(["--server".to_owned(), format!("https://{}:6443", node.address())]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.fleet.succeed(&words)?;
        for node in self.lab.nodes() {
            let name = node.name();
            self.fleet.succeed(&["node", "bind", &name, CLUSTER, &name])?;
        }
        Ok(())
    }

    /// All servers, then the agents; `with` and `more` stand in the servers' stage, in `with:` and beside it.
    pub(super) fn write_plan(&self, with: &str, more: &str) -> Result<()> {
        let artifact = &self.artifact;
        let stage = |name: &str, recipe: &str, role: &str, with: &str, more: &str| {
            format!(
                "    - name: {name}\n      component: k3s\n      recipe: {recipe}\n      to: \"{}\"\n      \
                 artifact: {{path: {artifact}}}\n      with: {{waitForReplacements: true{with}}}\n{more}      waves:\n        \
                 - name: {name}\n          nodes: {{labels: {{role: {role}}}}}\n          soak: 2s\n",
                self.newer
            )
        };
        let agents = format!("      needs: [servers]\n{}", canary::checks());
        let text = format!(
            "apiVersion: drydock/v1\nkind: Plan\nmetadata: {{name: k3s-{}}}\nspec:\n  stages:\n{}{}",
            self.newer.as_str().replace('+', "-"),
            stage("servers", "k3s-server", "server", with, more),
            stage("agents", "k3s-agent", "agent", "", &agents),
        );
        let path = self.fleet.dir().join(PLAN);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Runs a command of the operator and prints it as a terminal would show it.
    pub(super) fn show(&self, words: &[&str]) -> Result<Output> {
        println!("\n$ drydock {}", words.join(" "));
        let output = self.fleet.cli_within(RUN, words)?;
        for text in [output.text(), output.error_text()].iter().filter(|text| !text.is_empty()) {
            println!("{text}");
        }
        println!("[exit {}]", code(&output));
        Ok(output)
    }

    /// All Nodes, as the cluster has them.
    pub(super) fn kube_nodes(&self) -> Result<Vec<Value>> {
        let nodes = self.network.get(self.admin(), KUBE_NODES)?;
        nodes["items"].as_array().cloned().context("no list of Nodes")
    }

    /// Restarts a server by hand, as somebody would who has just put a new file in its place: what was unpacked is
    /// gone, so the same file unpacks itself again.
    pub(super) fn restart_by_hand(&self, node: &Node) -> Result<()> {
        node.run(&[
            "sh",
            "-c",
            &format!("mv $(readlink {DATA}/data/current) {DATA}/by-hand && systemctl restart k3s.service"),
        ])?;
        node.run(&["rm", "-r", &format!("{DATA}/by-hand")])?;
        Ok(())
    }
}

/// What K3s is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    First,
    Server,
    Agent,
}

impl Role {
    const fn label(self) -> &'static str {
        match self {
            Self::First | Self::Server => "role=server",
            Self::Agent => "role=agent",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::First | Self::Server => "k3s.service",
            Self::Agent => "k3s-agent.service",
        }
    }
}

fn node_role(node: &Node, servers: usize) -> Role {
    match node.name() {
        name if name == "n1" => Role::First,
        name if (2..=servers).any(|number| name == format!("n{number}")) => Role::Server,
        _ => Role::Agent,
    }
}

fn kubeconfig_file(lab: &Lab, node: &Node) -> PathBuf {
    lab.dir().join(format!("{}.kubeconfig", node.name()))
}

fn endpoint(lab: &Lab, node: &Node) -> Result<(String, Admin)> {
    let text = String::from_utf8(node.read_file("/etc/rancher/k3s/k3s.yaml")?)?;
    let admin = network::admin_of(&text, &node.address(), &kubeconfig_file(lab, node))?;
    Ok((node.name(), admin))
}

/// As K3s's install.sh: the program, a unit, and the unit's environment, which only root may read.
fn install(node: &Node, role: Role, datastore: Datastore, real_kubelet: bool, program: &Path) -> Result<()> {
    node.copy_in(program, BINARY, 0o755)?;
    let first = format!("https://{}:6443", crate::net::node_address(1));
    let (kind, mut words, environment) = match role {
        Role::First => ("notify", [vec!["server".to_owned()], datastore.words()].concat(), TOKEN.to_owned()),
        Role::Server => ("notify", vec!["server".into(), "--server".into(), first], TOKEN.to_owned()),
        Role::Agent => ("exec", vec!["agent".into()], format!("{TOKEN}K3S_URL={first}\n")),
    };
    if real_kubelet {
        words.extend(kubelet::words());
    }
    let (place, unit) = ("/etc/systemd/system", role.unit());
    node.write_file(&format!("{place}/{unit}.env"), environment.as_bytes(), 0o600)?;
    node.write_file(&format!("{place}/{unit}"), unit_text(unit, kind, &words).as_bytes(), 0o644)?;
    node.run(&["systemctl", "daemon-reload"])?;
    node.run(&["systemctl", "enable", "--quiet", unit])?;
    Ok(())
}

/// install.sh of K3s (create_systemd_service_file) line by line, but for the two that load kernel modules: a node of a lab
/// has no modules of its own.
fn unit_text(unit: &str, kind: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\t'{word}' \\\n")).collect();
    format!(
        "[Unit]\nDescription=Lightweight Kubernetes\nDocumentation=https://k3s.io\nWants=network-online.target\n\
         After=network-online.target\n\n[Install]\nWantedBy=multi-user.target\n\n[Service]\nType={kind}\n\
         EnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\n\
         EnvironmentFile=-/etc/systemd/system/{unit}.env\nKillMode=process\nDelegate=yes\nUser=root\n\
         LimitNOFILE=1048576\nLimitNPROC=infinity\nLimitCORE=infinity\nTasksMax=infinity\nTimeoutStartSec=0\n\
         Restart=always\nRestartSec=5s\nExecStart={BINARY} \\\n{}\n",
        words.concat()
    )
}

/// The first server alone, then the others, which join it, then the agents.
fn start(lab: &Lab, servers: usize) -> Result<()> {
    lab.node(1).run(&["systemctl", "start", "k3s.service"])?;
    for node in &lab.nodes()[1..] {
        let unit = node_role(node, servers).unit();
        node.run(&["systemctl", "start", "--no-block", unit])?;
    }
    for node in lab.nodes() {
        let unit = node_role(node, servers).unit();
        until(
            &format!("{unit} on {} to be up", node.name()),
            SOON,
            Duration::from_millis(200),
            || Ok((node.exec(&["systemctl", "is-active", unit])?.text() == "active").then_some(())),
            || {
                let log = node.exec(&["journalctl", "-q", "-n", "15", "-o", "cat", "-u", unit]);
                exec::last_lines(&log.map(|log| log.stdout).unwrap_or_default())
            },
        )?;
    }
    Ok(())
}

/// kwok, for the pods of played kubelets alone: the Nodes are the servers' and agents' own, and renew their own leases.
fn play_pods(lab: &Lab, cache: &Cache) -> Result<ChildGuard> {
    let stages = lab.dir().join("stages.yaml");
    fs::write(&stages, drydock_test_cluster::kwok::STAGES)?;
    let mut command = exec::command(binaries::kwok(cache)?);
    command.arg("--kubeconfig").arg(kubeconfig_file(lab, lab.node(1))).arg("--config").arg(&stages);
    command.args(["--manage-all-nodes=false", "--node-lease-duration-seconds=0"]);
    command.arg("--manage-nodes-with-annotation-selector=drydock.test/hands-off");
    // It writes below its home.
    command.env("HOME", lab.dir());
    Ok(lab.spawn_in_netns("kwok", &command)?)
}
