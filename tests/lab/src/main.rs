//! The lab as a command.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use drydock_lab::hypervisor::{self, Hypervisors};
use drydock_lab::scenarios::{Datastore, Scenario};
use drydock_lab::{EtcdCluster, Lab, LabOptions, cache, etcd_binary, lab};

/// Real Debian nodes with real systemd on this machine, for trying upgrades.
#[derive(Debug, Parser)]
#[command(name = "drydock-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot nodes and leave them running.
    Up(Up),
    /// Boot three nodes with a running etcd cluster and leave them running.
    EtcdUp(Up),
    /// Boot three hypervisors with guests, Open vSwitch and OVN and leave them running.
    HypervisorUp {
        /// How many nodes.
        #[arg(default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
        nodes: u8,
    },
    /// Remove labs: the one named, or all that no living process has.
    Down {
        /// The lab's id.
        id: Option<String>,
    },
    /// List labs.
    List,
    /// Run a command in a node.
    Exec {
        #[command(flatten)]
        lab: Which,
        /// The node, such as n1.
        node: String,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a command of this machine inside the lab's network.
    Netns {
        #[command(flatten)]
        lab: Which,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Do something to a node.
    Fault {
        #[command(flatten)]
        lab: Which,
        /// The node, such as n1.
        node: String,
        /// What to do.
        fault: Fault,
    },
    /// Restart one etcd member by hand and print what it cost, seen from outside.
    EtcdRestart {
        #[command(flatten)]
        lab: Which,
        /// The node, such as n1.
        node: String,
    },
    /// Upgrade a live etcd cluster with Drydock on a lab of its own, and judge it from outside.
    Etcd {
        /// Another scenario than the plain upgrade; may be repeated.
        #[arg(long = "variant", value_name = "NAME", value_parser = scenario)]
        variants: Vec<Scenario>,
        /// All scenarios, the plain upgrade first.
        #[arg(long, conflicts_with = "variants")]
        all: bool,
    },
    /// A night of an operator: every power that he has, typed from the screens, on a lab of its own.
    Operate,
    /// Upgrade a live cluster in K3s's shape with Drydock on a lab of its own, and judge it from outside; wants Go.
    Kubernetes {
        /// One server and two agents in place of three and two.
        #[arg(long)]
        one_server: bool,
        /// Where the one server keeps the cluster's state; three have a member of etcd each.
        #[arg(long, requires = "one_server", default_value = "sqlite")]
        datastore: Datastore,
    },
    /// Upgrade three hypervisors under their running guests on a lab of its own, and judge it from outside.
    Hypervisor {
        /// Another scenario than the upgrade and the way back; may be repeated.
        #[arg(long = "variant", value_name = "NAME", value_parser = scenario)]
        variants: Vec<Scenario>,
        /// All scenarios of hypervisors, the upgrade first.
        #[arg(long, conflicts_with = "variants")]
        all: bool,
    },
    /// Print the path of a newer etcd server: Debian 13's 3.5, or a version built by Go.
    EtcdBinary {
        /// Such as 3.6.8; without it Debian 13's.
        version: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Up {
    /// How many nodes.
    #[arg(default_value_t = 3)]
    nodes: usize,
    /// A Debian package in every node beside the usual ones; may be repeated.
    #[arg(long)]
    package: Vec<String>,
}

#[derive(Debug, Args)]
struct Which {
    /// The lab's id; not needed while there is only one.
    #[arg(long)]
    lab: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fault {
    /// Off the network.
    Cut,
    /// Back on the network.
    Heal,
    /// Power off without warning.
    PowerLoss,
    /// Power on.
    Start,
    /// Reboot in good order.
    Reboot,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("drydock-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) => {
            boot(up)?;
        }
        Command::EtcdUp(up) => {
            let lab = boot(up)?;
            let started = Instant::now();
            let cluster = match EtcdCluster::start(&lab) {
                Ok(cluster) => cluster,
                Err(error) => {
                    lab.down()?;
                    return Err(error.into());
                }
            };
            println!(
                "etcd healthy after {} ms: {}",
                started.elapsed().as_millis(),
                cluster.endpoints().join(",")
            );
        }
        Command::HypervisorUp { nodes } => hypervisors(nodes.into())?,
        Command::Down { id } => down(id.as_deref())?,
        Command::List => {
            for lab in lab::list()? {
                let owner = if lab.free { "no owner" } else { "owned" };
                println!("{}  {} nodes  {owner}", lab.id, lab.nodes);
            }
        }
        Command::Exec { lab, node, words } => {
            let lab = Lab::attach(lab.lab.as_deref())?;
            return Ok(show(&find(&lab, &node)?.exec(&words)?));
        }
        Command::Netns { lab, words } => {
            let lab = Lab::attach(lab.lab.as_deref())?;
            let mut command = std::process::Command::new(&words[0]);
            command.args(&words[1..]);
            return Ok(show(&lab.run_in_netns(&command, Duration::from_secs(600))?));
        }
        Command::Fault { lab, node, fault } => {
            let lab = Lab::attach(lab.lab.as_deref())?;
            let node = find(&lab, &node)?;
            match fault {
                Fault::Cut => node.cut()?,
                Fault::Heal => node.heal()?,
                Fault::PowerLoss => node.power_loss()?,
                Fault::Start => node.start()?,
                Fault::Reboot => node.reboot()?,
            }
        }
        Command::EtcdRestart { lab, node } => {
            let lab = Lab::attach(lab.lab.as_deref())?;
            restart(&EtcdCluster::of(&lab), find(&lab, &node)?)?;
        }
        Command::Etcd { variants, all } => {
            let scenarios = match (all, variants.as_slice()) {
                (true, _) => &Scenario::ALL[..Scenario::ORDINARY],
                (false, []) => &[Scenario::Upgrade],
                (false, some) => some,
            };
            scenarios.iter().try_for_each(|scenario| scenario.play())?;
        }
        Command::Kubernetes { one_server: false, .. } => Scenario::Kubernetes.play()?,
        Command::Kubernetes { one_server: true, datastore } => Scenario::OneServer(datastore).play()?,
        Command::Operate => Scenario::Operate.play()?,
        Command::Hypervisor { variants, all } => {
            let scenarios = match (all, variants.as_slice()) {
                (true, _) => &Scenario::ALL[Scenario::ALL.len() - Scenario::HYPERVISORS..],
                (false, []) => &[Scenario::Hypervisor],
                (false, some) => some,
            };
            scenarios.iter().try_for_each(|scenario| scenario.play())?;
        }
        Command::EtcdBinary { version } => {
            let cache = cache::Cache::open()?;
            let binary = match version {
                None => etcd_binary::debian_35(&cache)?,
                Some(version) => etcd_binary::from_go(&cache, &version)?,
            };
            println!("{} {}", binary.version, binary.path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    let names = || Scenario::ALL.map(Scenario::name).join(", ");
    known.ok_or_else(|| format!("there is no scenario {name:?}; there are: {}", names()))
}

fn boot(up: Up) -> Result<Lab> {
    let started = Instant::now();
    let lab =
        Lab::up(up.nodes, LabOptions { packages: up.package, detached: true, ..LabOptions::default() })?;
    println!(
        "lab {}: {} nodes up after {} ms; files in {}",
        lab.id(),
        lab.nodes().len(),
        started.elapsed().as_millis(),
        lab.dir().display()
    );
    for node in lab.nodes() {
        println!("  {}  {}", node.name(), node.address());
    }
    Ok(lab)
}

fn hypervisors(nodes: usize) -> Result<()> {
    let started = Instant::now();
    let lab = hypervisor::boot(nodes, true)?;
    println!("lab {}: {nodes} nodes up after {} ms", lab.id(), started.elapsed().as_millis());
    let site = Hypervisors::start(&lab)?;
    println!("everybody answers after {} ms:", started.elapsed().as_millis());
    for target in site.targets() {
        println!("  {}  {}", target.name(), target.address());
    }
    Ok(())
}

fn down(id: Option<&str>) -> Result<()> {
    let labs = lab::list()?;
    let chosen = labs.iter().filter(|lab| match id {
        Some(id) => lab.id == id,
        None => lab.free,
    });
    let mut removed = 0;
    for lab in chosen {
        Lab::attach(Some(&lab.id))?.down()?;
        println!("removed lab {}", lab.id);
        removed += 1;
    }
    if removed == 0 {
        anyhow::ensure!(id.is_none(), "there is no such lab; see `drydock-lab list`");
        println!("no lab to remove");
    }
    Ok(())
}

fn find<'lab>(lab: &'lab Lab, name: &str) -> Result<&'lab drydock_lab::Node> {
    let found = lab.nodes().iter().find(|node| node.name() == name);
    found.ok_or_else(|| anyhow::anyhow!("no node {name}: this lab has n1 to n{}", lab.nodes().len()))
}

fn restart(cluster: &EtcdCluster<'_>, node: &drydock_lab::Node) -> Result<()> {
    let cost = cluster.measure_bare_restart(node)?;
    println!(
        "{} ({}): no answer for {} ms, systemctl took {} ms, no leader for {} ms",
        node.name(),
        if cost.was_leader { "leader" } else { "follower" },
        cost.silent.as_millis(),
        cost.command.as_millis(),
        cost.leaderless.as_millis()
    );
    Ok(())
}

fn show(output: &drydock_lab::Output) -> ExitCode {
    use std::io::Write;
    // A closed pipe on our side is the reader's choice.
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    let code = output.status.code().unwrap_or(255);
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
