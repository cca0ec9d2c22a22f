//! The agent is killed when the new binary lies in its place and the service still runs the old one. The next
//! agent finds that in its journal and goes on: the member is restarted once, and ends right.
//!
//! The moment is found from outside: the binary's inode is asked for without pause, and the agent is stopped
//! at once when it changes. If the restart was already under way by then, the next member is another chance.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::proofs::Proofs;
use super::scene::{self, PLAN, RUN, Scene, code};
use crate::Node;
use crate::etcd;
use crate::fleet::agents;

/// Three chances each.
const ROUNDS: usize = 5;
/// How long a stopped agent is watched: a restart that it had asked for would be seen by then.
const SETTLING: Duration = Duration::from_millis(300);

/// A member, its binary as the host reaches it, and what lay there before.
struct Target<'a> {
    node: &'a Node,
    binary: PathBuf,
    inode: u64,
}

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    for round in 1..=ROUNDS {
        let name = format!("fleet{round}");
        let scene = if round == 1 { Scene::set(&lab, &name)? } else { Scene::set_again(&lab, &name)? };
        if upgrade(&scene, round)? {
            return Ok(());
        }
        println!("round {round}: each restart was faster than the kill; once more on fresh nodes");
    }
    bail!(
        "the moment between rename and restart was not hit in {ROUNDS} rounds of {} members",
        scene::MEMBERS
    )
}

/// One run over all members. True: an agent was killed at the moment, and everything ended right.
fn upgrade(scene: &Scene<'_>, round: usize) -> Result<bool> {
    let before = scene.starts()?;
    let watch = scene.watch(&format!("rename{round}"))?;
    let mut waiting: Vec<Target<'_>> = scene.lab.nodes().iter().map(target).collect::<Result<_>>()?;
    ensure!(code(&scene.show(&["run", "start", PLAN, "--detach"])?) == 0, "the run was not started");
    let mut hits = Vec::new();
    while hits.is_empty() && !waiting.is_empty() {
        let swapped = waiting.remove(wait_for_swap(&waiting)?);
        if kill_if_not_restarted(scene, swapped.node, &before)? {
            hits.push(swapped.node.name());
        }
    }
    let output = scene.show(&["run", "watch"])?;
    let seen = watch.finish(scene)?;
    let mut proofs = Proofs::default();
    proofs.exit(&output, 0, "`run watch`");
    proofs.all_answer(&scene.versions()?, &scene.newer.version);
    proofs.untouched_service(&seen);
    proofs.restarted_once(&before, &scene.starts()?, &scene.newer.version);
    if !hits.is_empty() {
        proofs.check(true, format!("the agent on {hits:?} was killed between rename and restart"));
    }
    proofs.conclude()?;
    Ok(!hits.is_empty())
}

fn target(node: &Node) -> Result<Target<'_>> {
    let binary = node.root()?.join(etcd::BINARY.trim_start_matches('/'));
    let inode = inode(&binary)?;
    Ok(Target { node, binary, inode })
}

fn inode(path: &PathBuf) -> Result<u64> {
    Ok(fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?.ino())
}

/// Which of the members has another binary now. Stops its agent before it returns.
fn wait_for_swap(targets: &[Target<'_>]) -> Result<usize> {
    let started = Instant::now();
    while started.elapsed() < RUN {
        for (index, target) in targets.iter().enumerate() {
            if inode(&target.binary)? != target.inode {
                agents::signal(target.node, Signal::SIGSTOP)?;
                return Ok(index);
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    bail!("no binary was exchanged within {} s", RUN.as_secs())
}

/// Kills the stopped agent if its member still runs the old binary and nobody has asked for a restart; else
/// lets it go on.
fn kill_if_not_restarted(scene: &Scene<'_>, node: &Node, before: &scene::Starts) -> Result<bool> {
    std::thread::sleep(SETTLING);
    let now = scene.starts()?;
    let untouched = now.get(&node.name()) == before.get(&node.name());
    println!(
        "{}: the new binary is in place, its agent stopped; etcd {}",
        node.name(),
        if untouched { "still runs the old one: the agent is killed" } else { "was restarted already" }
    );
    agents::signal(node, if untouched { Signal::SIGKILL } else { Signal::SIGCONT })?;
    Ok(untouched)
}
