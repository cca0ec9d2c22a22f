//! What every scenario begins with: three nodes, a healthy etcd 3.4, Drydock installed, a signed 3.5, a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use drydock_witness::observer::Sample;
use drydock_witness::summary::Summary;
use drydock_witness::verify::Report;
use serde::Deserialize;

use crate::cache::Cache;
use crate::etcd::{self, Witness};
use crate::etcd_binary::{self, EtcdBinary};
use crate::exec::Output;
use crate::fleet::{Fleet, PlanText};
use crate::{EtcdCluster, Lab, LabOptions, Node};

pub(super) const MEMBERS: usize = 3;
/// The plan that goes to the newer version.
pub(super) const PLAN: &str = "plan.yaml";
/// How long a run over three members may take.
pub(super) const RUN: Duration = Duration::from_secs(180);
/// How long each member is watched in the usual plan.
const SOAK: &str = "3s";

/// The scene.
pub(super) struct Scene<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) cluster: EtcdCluster<'lab>,
    pub(super) fleet: Fleet<'lab>,
    pub(super) newer: EtcdBinary,
}

/// Witnesses at work.
pub(super) struct Watch {
    observer: Witness,
    writer: Witness,
}

/// What the witnesses saw.
pub(super) struct Seen {
    pub(super) summary: Summary,
    pub(super) report: Report,
    /// Every acknowledged key.
    pub(super) acks: PathBuf,
}

/// One start of etcd: systemd's invocation, and the version that it said in its log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    pub(super) invocation: String,
    pub(super) version: Option<String>,
}

/// All starts of each node's etcd, by the node's name.
pub(super) type Starts = BTreeMap<String, BTreeSet<Start>>;

/// Boots the nodes.
pub(super) fn boot() -> Result<Lab> {
    let started = std::time::Instant::now();
    let lab = Lab::up(MEMBERS, LabOptions::default())?;
    println!("lab {}: {MEMBERS} nodes up after {} ms", lab.id(), started.elapsed().as_millis());
    Ok(lab)
}

impl<'lab> Scene<'lab> {
    /// Sets the scene on nodes that have just been booted.
    pub(super) fn set(lab: &'lab Lab, name: &str) -> Result<Self> {
        let started = std::time::Instant::now();
        let cluster = EtcdCluster::start(lab)?;
        let fleet = Fleet::install(lab, name)?;
        let newer = etcd_binary::debian_35(&Cache::open()?)?;
        let artifact = fleet.sign(&newer.path, "newer", &newer.version)?;
        let scene = Self { lab, cluster, fleet, newer };
        scene.plan(PLAN, "etcd", &artifact, SOAK)?;
        println!(
            "etcd healthy, {MEMBERS} agents enrolled, etcd {} signed after {} ms more",
            scene.newer.version,
            started.elapsed().as_millis()
        );
        Ok(scene)
    }

    /// Sets it again on nodes that have been used: everything on them is as it was at the first boot.
    pub(super) fn set_again(lab: &'lab Lab, name: &str) -> Result<Self> {
        lab.reset()?;
        Self::set(lab, name)
    }

    /// Writes a plan to the newer version.
    pub(super) fn plan(&self, file: &str, recipe: &str, artifact: &str, soak: &str) -> Result<()> {
        let name = format!("etcd-{}", self.newer.version);
        let plan = PlanText { name: &name, recipe, to: &self.newer.version, artifact, soak };
        Ok(self.fleet.write_plan(file, &plan)?)
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

    /// Starts the witnesses, and lets them see the cluster in peace for a moment.
    pub(super) fn watch(&self, name: &str) -> Result<Watch> {
        let mut watch = Watch { observer: self.cluster.observe(name)?, writer: self.cluster.write(name)? };
        watch.observer.wait_started()?;
        watch.writer.wait_started()?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(watch)
    }

    /// Every start of etcd on each node so far, from the nodes' journals.
    pub(super) fn starts(&self) -> Result<Starts> {
        self.lab.nodes().iter().map(|node| Ok((node.name(), starts_on(node)?))).collect()
    }

    /// The members' own answers, by the node's name.
    pub(super) fn versions(&self) -> Result<BTreeMap<String, Option<String>>> {
        let sample = self.cluster.status()?;
        let version = |node: &Node| version_in(&sample, &self.cluster.endpoint(node));
        Ok(self.lab.nodes().iter().map(|node| (node.name(), version(node))).collect())
    }

    /// The digest of each node's binary on disk.
    pub(super) fn binaries(&self) -> Result<BTreeMap<String, String>> {
        let digest = |node: &Node| Ok((node.name(), node.run(&["sha256sum", etcd::BINARY])?));
        self.lab.nodes().iter().map(digest).collect()
    }
}

impl Watch {
    /// Lets the witnesses see what came after, ends them, and reads every key back.
    pub(super) fn finish(mut self, scene: &Scene<'_>) -> Result<Seen> {
        std::thread::sleep(Duration::from_secs(1));
        let acks = self.writer.finish().context("the writer")?;
        let samples = self.observer.finish().context("the observer")?;
        Ok(Seen { summary: etcd::summarize(&samples)?, report: scene.cluster.verify(&acks)?, acks })
    }
}

/// The exit code; 255 for a command that was killed.
pub(super) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(255)
}

fn version_in(sample: &Sample, endpoint: &str) -> Option<String> {
    sample.endpoints.get(endpoint).filter(|view| view.ok).and_then(|view| view.version.clone())
}

#[derive(Deserialize)]
struct JournalLine {
    #[serde(rename = "_SYSTEMD_INVOCATION_ID")]
    invocation: Option<String>,
    #[serde(rename = "MESSAGE")]
    message: Option<serde_json::Value>,
}

fn starts_on(node: &Node) -> Result<BTreeSet<Start>> {
    let fields = "--output-fields=MESSAGE,_SYSTEMD_INVOCATION_ID";
    let lines = node.run(&["journalctl", "-q", "-o", "json", fields, "_SYSTEMD_UNIT=etcd.service"])?;
    let mut starts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for line in lines.lines() {
        let line: JournalLine = serde_json::from_str(line).context("a line of the node's journal")?;
        let Some(invocation) = line.invocation else { continue };
        let version = starts.entry(invocation).or_default();
        let message = line.message.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        if let Some(said) = version_said(message) {
            *version = Some(said.to_owned());
        }
    }
    Ok(starts.into_iter().map(|(invocation, version)| Start { invocation, version }).collect())
}

/// Of `…"local-server-version":"3.5.16"…`, which every etcd logs when it starts.
fn version_said(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"local-server-version\":\"")?;
    rest.split_once('"').map(|(version, _)| version)
}
