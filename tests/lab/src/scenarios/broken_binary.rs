//! A binary that is signed in good order and does not come up: undone on this node, the run holds, `why` says
//! what happened and what to do, the others are untouched; an abort ends it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::proofs::Proofs;
use super::scene::{self, Scene, Watch};
use crate::exec::Cmd;

/// Says what a service says that cannot start, and ends with 1.
const SOURCE: &str = "#include <stdio.h>\n\
    int main(void) { fputs(\"etcd 3.5.16: cannot start: this build is broken on purpose\\n\", stderr); return 1; }\n";

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let artifact = scene.fleet.sign(&compile(&scene)?, "broken", &scene.newer.version)?;
    scene.plan("broken.yaml", "etcd", &artifact, "3s")?;
    let (starts, binaries) = (scene.starts()?, scene.binaries()?);
    let watch = scene.watch("broken")?;

    let mut proofs = Proofs::default();
    let output = scene.show(&["run", "start", "broken.yaml", "--wait"])?;
    proofs.exit(&output, 3, "the run holds: `run start`");
    let why = scene.show(&["why"])?;
    proofs.exit(&why, 3, "`why`");
    judge(&scene, &why.text(), &mut proofs)?;
    let failed = scene.fleet.run(0)?.hold.and_then(|hold| hold.node).unwrap_or_default();
    let shown = scene.show(&["run", "show", "--node", &failed])?.text();
    proofs.check(shown.contains("broken on purpose"), "what the service itself said last is shown");
    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;
    proofs.check(scene.binaries()? == binaries, "every binary is the one from before");
    let others = scene.lab.nodes().iter().map(crate::Node::name).filter(|name| *name != failed);
    let others: Vec<String> = others.collect();
    proofs.not_restarted(&starts, &scene.starts()?, others.iter().map(String::as_str));
    end(&scene, watch, &mut proofs)?;
    proofs.conclude()
}

/// What the operator is told.
fn judge(scene: &Scene<'_>, why: &str, proofs: &mut Proofs) -> Result<()> {
    let run = scene.fleet.run(0)?;
    proofs.check(run.status == "held", format!("run {} is {}", run.number, run.status));
    let hold = run.hold.clone().context("a held run says why")?;
    let node = hold.node.clone().context("it holds at a node")?;
    let phase = run.node(&node).map(|node| node.phase.clone()).unwrap_or_default();
    proofs.check(phase == "rolledBack", format!("{node} is {phase}"));
    let untouched =
        run.nodes().filter(|other| other.node != node).all(|other| other.out_of_service_ms.is_none());
    proofs.check(untouched, "the other members never left service");
    proofs.check(
        why.contains(&node) && why.contains(&hold.happened),
        format!("`why` says what happened: {}", hold.happened),
    );
    let shown = !hold.next.is_empty() && hold.next.iter().all(|next| why.contains(&next.command));
    let commands: Vec<&str> = hold.next.iter().map(|next| next.command.as_str()).collect();
    proofs.check(shown, format!("`why` says what to do: {commands:?}"));
    Ok(())
}

fn end(scene: &Scene<'_>, watch: Watch, proofs: &mut Proofs) -> Result<()> {
    let number = scene.fleet.run(0)?.number.to_string();
    let output = scene.show(&["run", "abort", &number])?;
    proofs.exit(&output, 0, "`run abort`");
    let run = scene.fleet.run(0)?;
    proofs.check(run.status == "aborted", format!("run {} is {}", run.number, run.status));
    proofs.untouched_service(&watch.finish(scene)?);
    proofs.all_answer(&scene.versions()?, "3.4.23");
    Ok(())
}

fn compile(scene: &Scene<'_>) -> Result<PathBuf> {
    let (source, binary) = (scene.lab.dir().join("broken.c"), scene.lab.dir().join("broken"));
    fs::write(&source, SOURCE).with_context(|| format!("write {}", source.display()))?;
    Cmd::new("compiling a binary that does not start", "cc")
        .args(["-static", "-o"])
        .args([&binary, &source])
        .run()?;
    Ok(binary)
}
