//! A rehearsal on a fleet in good order, on one with a refusal and a warning, and on one with a member off the
//! network. Each time what lies in every node's overlay is compared with what lay there before: only the
//! agent's own state, its log and etcd's own files may be others. No service was started anew, and no key of
//! etcd is another: its revision is equal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::proofs::Proofs;
use super::scene::{self, PLAN, Scene, code};
use crate::disk::Disk;
use crate::exec::Output;
use crate::fleet::agents;
use crate::{Lab, Node};

/// Our own state on a node.
const OWN: &str = "var/lib/drydock-agent";
/// Written all the time by others: the node's journal, and etcd, whose revision is compared in its place.
const OTHERS: [&str; 2] = ["var/log/journal", "var/lib/etcd"];
const POLICY: &str = "/etc/drydock/agent.toml";
const APT: &str = "/etc/apt/apt.conf.d/20auto-upgrades";

/// What must be equal before and after.
struct Before {
    disks: BTreeMap<String, Disk>,
    invocations: BTreeMap<String, String>,
    revision: u64,
}

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let mut observer = scene.cluster.observe("rehearse")?;
    observer.wait_started()?;
    let mut proofs = Proofs::default();
    let starts = scene.starts()?;

    let (output, took) = rehearse(&scene, &lab, &mut proofs)?;
    proofs.exit(&output, 0, &format!("a fleet in good order: `rehearse` ({:.1} s)", took.as_secs_f32()));
    says(
        &mut proofs,
        &output,
        &["Rehearsed 3 of 3 nodes", "0 blockers, 0 warnings", "3 nodes would go through"],
    );

    in_the_way(&lab)?;
    scene.fleet.wait_connected(lab.nodes().len())?;
    let (output, _) = rehearse(&scene, &lab, &mut proofs)?;
    proofs.exit(&output, 3, "a policy that refuses, and packages that upgrade themselves: `rehearse`");
    let refusal =
        ["✗ n2", "allow_package_owned", "! n3", "unattended-upgrades is enabled", "2 nodes would go through"];
    says(&mut proofs, &output, &refusal);
    // In -o json the same.
    let json = scene.fleet.cli(&["-o", "json", "rehearse", PLAN])?;
    let view: serde_json::Value = serde_json::from_slice(&json.stdout).context("rehearse -o json")?;
    proofs.check(view["blockers"][0]["nodes"][0] == "n2", "`-o json` names n2 under blockers");
    proofs.check(view["warnings"][0]["nodes"][0] == "n3", "`-o json` names n3 under warnings");

    let leader = scene.cluster.leader()?.name();
    let cut = lab.nodes().iter().find(|node| node.name() != leader).unwrap_or(lab.node(1));
    cut.cut()?;
    println!("{} is off the network", cut.name());
    let (output, took) = rehearse(&scene, &lab, &mut proofs)?;
    proofs.exit(&output, 3, &format!("a member off the network: `rehearse` ({:.1} s)", took.as_secs_f32()));
    says(&mut proofs, &output, &[&cut.name(), "0 nodes would go through"]);
    cut.heal()?;
    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;

    proofs.check(scene.starts()? == starts, "etcd was started nowhere");
    let list = scene.fleet.cli(&["run", "list"])?;
    proofs.check(list.text().contains("There is no run yet"), "there is no run");
    let seen = crate::etcd::summarize(&observer.finish().context("the observer")?)?;
    proofs.check(seen.samples > 0, format!("the observer saw {} samples", seen.samples));
    proofs.all_answer(&scene.versions()?, "3.4.23");
    proofs.conclude()
}

/// Rehearses, and compares every node with what it was right before.
fn rehearse(scene: &Scene<'_>, lab: &Lab, proofs: &mut Proofs) -> Result<(Output, Duration)> {
    let before = Before::see(lab)?;
    let began = Instant::now();
    let output = scene.show(&["rehearse", PLAN])?;
    let took = began.elapsed();
    ensure!(code(&output) != 1, "the coordinator did not answer");
    let after = Before::see(lab)?;
    for (node, disk) in &before.disks {
        let Some(now) = after.disks.get(node) else { continue };
        let (ours, foreign) = sorted(disk.differs(now));
        let told = format!(
            "{node}: of {} entries of its overlay {} of our own state are others and {} else{}",
            disk.entries(),
            ours.len(),
            if foreign.is_empty() { "nothing" } else { "something" },
            foreign.iter().map(|path| format!(" {}", path.display())).collect::<String>()
        );
        proofs.check(foreign.is_empty(), told);
    }
    proofs.check(
        before.invocations == after.invocations,
        format!("the InvocationIDs of etcd.service are equal: {:?}", after.invocations),
    );
    proofs.check(before.revision == after.revision, format!("etcd's revision is equal: {}", after.revision));
    Ok((output, took))
}

/// Ours, and whose they should not be. What others write all the time is neither.
fn sorted(changed: BTreeSet<PathBuf>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let below = |path: &Path, dir: &str| path.starts_with(dir);
    let changed = changed.into_iter().filter(|path| !OTHERS.iter().any(|dir| below(path, dir)));
    changed.partition(|path| below(path, OWN))
}

impl Before {
    fn see(lab: &Lab) -> Result<Self> {
        let mut seen =
            Self { disks: BTreeMap::new(), invocations: BTreeMap::new(), revision: revision(lab.node(2))? };
        for node in lab.nodes() {
            let id = node.run(&["systemctl", "show", "-P", "InvocationID", "etcd.service"])?;
            ensure!(!id.trim().is_empty(), "etcd.service of {} has no invocation", node.name());
            seen.invocations.insert(node.name(), id.trim().to_owned());
        }
        // Last: what was run in the node to see the rest is done.
        for node in lab.nodes() {
            seen.disks.insert(node.name(), Disk::read(&node.upper())?);
        }
        Ok(seen)
    }
}

/// By etcd's own client, on a node of the cluster.
fn revision(node: &Node) -> Result<u64> {
    let said = node.run(&["env", "ETCDCTL_API=3", "etcdctl", "endpoint", "status", "-w", "json"])?;
    let view: serde_json::Value = serde_json::from_str(&said).context("etcdctl endpoint status")?;
    view[0]["Status"]["header"]["revision"].as_u64().with_context(|| format!("no revision in {said}"))
}

/// n2's policy no longer permits the exchange of the package's binary, and n3 upgrades its packages by itself.
fn in_the_way(lab: &Lab) -> Result<()> {
    let refusing = lab.node(2);
    let policy = refusing.run(&["cat", POLICY])?;
    let without = policy.replace("allow_package_owned = true", "");
    ensure!(without != policy, "the policy has no such line: {policy}");
    refusing.write_file(POLICY, without.as_bytes(), 0o644)?;
    refusing.run(&["systemctl", "restart", "drydock-agent.service"])?;
    agents::wait_back(refusing)?;
    lab.node(3).write_file(APT, b"APT::Periodic::Unattended-Upgrade \"1\";\n", 0o644)?;
    Ok(())
}

fn says(proofs: &mut Proofs, output: &Output, texts: &[&str]) {
    let said = format!("{}\n{}", output.text(), output.error_text());
    for text in texts {
        proofs.check(said.contains(text), format!("it says {text:?}"));
    }
}
