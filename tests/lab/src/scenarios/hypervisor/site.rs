//! The nodes as hypervisors with Drydock on them, what the archive offers them, plans and recipes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::exec::Output;
use crate::fleet::{Fleet, Outfit};
use crate::hypervisor::archive::{Archive, Flavour};
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::Facts;
use crate::hypervisor::{self, Hypervisors};
use crate::scenarios::{answering, scene};
use crate::{Lab, Node};

/// How long a command of the operator may take that waits for a run.
pub(super) const RUN: Duration = Duration::from_secs(600);
/// The recipes of scenarios whose packages were exchanged by hand.
const RECIPES: [(&str, &str); 2] = [
    ("libvirtOnly.yaml", include_str!("recipes/libvirtOnly.yaml")),
    ("switchOnly.yaml", include_str!("recipes/switchOnly.yaml")),
];

/// The scene.
pub(super) struct Scene<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) site: Hypervisors<'lab>,
    pub(super) archive: Archive,
    pub(super) fleet: Fleet<'lab>,
    /// Every node before anything was done to it, Drydock there already.
    pub(super) stock: Vec<Facts>,
}

/// A stage of a plan.
#[derive(Debug, Clone)]
pub(super) struct Stage<'a> {
    pub(super) component: &'a str,
    pub(super) recipe: &'a str,
    /// What stands in `with:`, in braces; empty for nothing.
    pub(super) with: String,
    pub(super) to: &'a str,
    /// May the version go down?
    pub(super) down: bool,
}

/// Boots so many nodes.
pub(super) fn boot(nodes: usize) -> Result<Lab> {
    let started = Instant::now();
    let lab = hypervisor::boot(nodes, false)?;
    println!("lab {}: {nodes} nodes up after {} ms", lab.id(), started.elapsed().as_millis());
    Ok(lab)
}

impl<'lab> Scene<'lab> {
    /// Guests, switches and OVN at work, every node's one archive the newer one, agents enrolled.
    pub(super) fn set(lab: &'lab Lab) -> Result<Self> {
        let started = Instant::now();
        let site = Hypervisors::start(lab)?;
        println!("everybody answers after {} ms more", started.elapsed().as_millis());
        let archive = Archive::serve(&site)?;
        for node in lab.nodes() {
            archive.offer(node, Flavour::Newer)?;
            answering::install(node)?;
            node.run(&["systemctl", "daemon-reload"])?;
            node.run(&["systemctl", "enable", "--now", "--quiet", answering::SOCKET_UNIT])?;
        }
        let policy = format!(
            "profiles = [\"libvirt\", \"openvswitch\", \"ovn\"]\nprobe_targets = [\"*:{}\"]",
            answering::PORT
        );
        let outfit = Outfit { policy: &policy, tables: "", label: &|_| "role=hypervisor", backups: false };
        let fleet = Fleet::install_for(lab, "fleet", &outfit)?;
        for (name, text) in RECIPES {
            let path = fleet.dir().join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let stock = lab.nodes().iter().map(Facts::of).collect::<crate::Result<_>>()?;
        println!("{} agents enrolled after {} ms", lab.nodes().len(), started.elapsed().as_millis());
        Ok(Self { lab, site, archive, fleet, stock })
    }

    /// The version of a part's packages on the first node as it was at the beginning.
    pub(super) fn stock_version(&self, part: Part) -> Result<&str> {
        let package = part.versions().packages.first().context("a part without packages")?;
        let fact = self.stock[0].get(&format!("package {package}"))?;
        fact.split(' ').next().filter(|version| !version.is_empty()).context("a package without a version")
    }

    /// Writes a plan whose stages follow one another over the nodes named, or all of them.
    pub(super) fn write_plan(&self, name: &str, stages: &[Stage<'_>], nodes: Option<&str>) -> Result<String> {
        let mut text =
            format!("apiVersion: drydock/v1\nkind: Plan\nmetadata: {{name: {name}}}\nspec:\n  stages:\n");
        let chosen =
            nodes.map_or("labels: {role: hypervisor}".to_owned(), |names| format!("names: [{names}]"));
        let mut before = None;
        for stage in stages {
            let Stage { component, recipe, with, to, down } = stage;
            text +=
                &format!("    - name: {component}\n      component: {component}\n      recipe: {recipe}\n");
            if !with.is_empty() {
                text += &format!("      with: {with}\n");
            }
            text += &format!("      to: \"{to}\"\n");
            if *down {
                text += "      allowDowngrade: true\n";
            }
            if let Some(before) = before.replace(component) {
                text += &format!("      needs: [{before}]\n");
            }
            text += &format!(
                "      waves:\n        - name: all\n          nodes: {{{chosen}}}\n          soak: 2s\n"
            );
        }
        let file = format!("{name}.yaml");
        let path = self.fleet.dir().join(&file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(file)
    }

    /// Runs a command of the operator and prints it as a terminal would show it.
    pub(super) fn show(&self, words: &[&str]) -> Result<Output> {
        println!("\n$ drydock {}", words.join(" "));
        let output = self.fleet.cli_within(RUN, words)?;
        for text in [output.text(), output.error_text()].iter().filter(|text| !text.is_empty()) {
            println!("{text}");
        }
        println!("[exit {}]", scene::code(&output));
        Ok(output)
    }

    /// Starts a plan and leaves it.
    pub(super) fn begin(&self, file: &str) -> Result<u64> {
        let started = self.show(&["run", "start", file, "--detach"])?;
        ensure!(scene::code(&started) == 0, "the run of {file} was not started");
        Ok(self.fleet.run(0)?.number)
    }

    /// The part's packages go to the archive's higher version by hand, services held still: what is left is ours.
    pub(super) fn exchange_by_hand(&self, node: &Node, part: Part) -> Result<()> {
        Ok(hypervisor::bare::install(node, &part.newer())?)
    }
}
