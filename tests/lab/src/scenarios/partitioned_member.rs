//! A member is off the network before the run: the run is refused, the member named, nothing changed.

use anyhow::Result;

use super::proofs::Proofs;
use super::scene::{self, PLAN, Scene};

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let (starts, binaries) = (scene.starts()?, scene.binaries()?);
    // Not the leader: the rest shall be a cluster in good order.
    let leader = scene.cluster.leader()?.name();
    let cut = lab.nodes().iter().rfind(|node| node.name() != leader).unwrap_or(lab.node(3));
    let name = cut.name();
    let watch = scene.watch("partition")?;
    cut.cut()?;
    println!("{name} is off the network");

    let mut proofs = Proofs::default();
    // At once, while the coordinator still believes its stream to be open.
    for words in [&["plan", PLAN][..], &["run", "start", PLAN, "--wait"]] {
        let started = std::time::Instant::now();
        let output = scene.show(words)?;
        let took = started.elapsed();
        let said = format!("{}\n{}", output.text(), output.error_text());
        let command = words.join(" ");
        proofs.exit(&output, 3, &format!("after {:.1} s `{command}`", took.as_secs_f32()));
        proofs.check(said.contains(&name), format!("`{command}` names {name}"));
    }
    let list = scene.show(&["run", "list"])?;
    proofs.check(!list.text().contains("etcd-"), "no run was begun");
    cut.heal()?;
    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;
    proofs.check(scene.starts()? == starts, "etcd was restarted nowhere");
    proofs.check(scene.binaries()? == binaries, "no binary was exchanged");
    let seen = watch.finish(&scene)?;
    proofs.untouched_service(&seen);
    proofs.all_answer(&scene.versions()?, "3.4.23");
    proofs.conclude()
}
