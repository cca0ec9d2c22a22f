//! The last member comes up with the new version, the cluster's version rises, and then a check of the plan's
//! own recipe fails there: no way back. The binary is left alone, the run holds, the cluster is well.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::proofs::Proofs;
use super::scene::{self, Scene};

/// A port that answers on the followers only: what the extra check asks for.
const PORT: u16 = 9;
/// The cluster's version rises within 4 s after the last member; the check gives up well after that.
const EXTRA: &str = "    - healthy:\n        probe: {tcp: {address: \"127.0.0.1:9\"}}\n        within: 15s\n";
/// The part of `recipe show -o json` that is needed here.
#[derive(Deserialize)]
struct RecipeShown {
    source: Vec<String>,
}

const SOCKET: &str = "[Socket]\nListenStream=127.0.0.1:9\nAccept=yes\n";
const SERVICE: &str = "[Service]\nExecStart=/bin/true\nStandardInput=socket\n";

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    write_recipe(&scene)?;
    scene.plan("extra.yaml", "./etcd-extra.yaml", "./newer/etcd", "1s")?;
    let leader = scene.cluster.leader()?.name();
    for node in lab.nodes().iter().filter(|node| node.name() != leader) {
        node.write_file("/etc/systemd/system/extra.socket", SOCKET.as_bytes(), 0o644)?;
        node.write_file("/etc/systemd/system/extra@.service", SERVICE.as_bytes(), 0o644)?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "start", "extra.socket"])?;
    }
    println!("port {PORT} answers on all members but the leader, {leader}");
    let before = scene.starts()?;
    let watch = scene.watch("past")?;

    let mut proofs = Proofs::default();
    let output = scene.show(&["run", "start", "extra.yaml", "--wait"])?;
    proofs.exit(&output, 3, "the run holds: `run start`");
    let why = scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    proofs.check(run.status == "held", format!("run {} is {}", run.number, run.status));
    let hold = run.hold.context("a held run says why")?;
    proofs.check(
        hold.node.as_deref() == Some(&leader),
        format!("it holds at the last member: {:?}", hold.node),
    );
    proofs.check(why.text().contains(&hold.reason), format!("`why` says so: {}", hold.reason));
    proofs.check(hold.state_now.contains("left alone"), format!("and what is there now: {}", hold.state_now));

    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;
    let seen = watch.finish(&scene)?;
    proofs.untouched_service(&seen);
    proofs.all_answer(&scene.versions()?, &scene.newer.version);
    proofs.restarted_once(&before, &scene.starts()?, &scene.newer.version);
    proofs.leader_last(&scene, &seen.summary);
    proofs.conclude()
}

/// The built-in recipe with one more step at the end of its `verify`.
fn write_recipe(scene: &Scene<'_>) -> Result<()> {
    let RecipeShown { source } = scene.fleet.json(&["recipe", "show", "etcd"])?;
    let text = source.join("\n");
    let (before, rest) = text.split_once("\n  verify:\n").context("the etcd recipe has no `verify`")?;
    let end =
        rest.find("\n  # Once").or_else(|| rest.find("\n  canUndo:")).context("nothing follows `verify`")?;
    let (verify, after) = rest.split_at(end + 1);
    ensure!(
        verify.trim_end().ends_with(|c: char| c.is_alphanumeric() || c == '}'),
        "`verify` has another form: {verify}"
    );
    let path = scene.fleet.dir().join("etcd-extra.yaml");
    let text = format!("{before}\n  verify:\n{}\n{EXTRA}\n{after}", verify.trim_end());
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
